/* SPDX-License-Identifier: Apache-2.0 */
/* Two nameless network namespaces with a cable between them. */
#ifndef TS_NETNS_H
#define TS_NETNS_H

#include <stdbool.h>

#define TS_VETH "rwtest0" /* the cable's name at both ends */

/* Moves the calling, single-threaded process into a new namespace (10.77.0.1) that is joined with
 * another one (10.77.0.2), whose descriptor goes to *peer. Returns NULL, or why it can't. */
const char *ts_netns_enter(int *peer);

/* Makes /sys tell of the calling process's network namespace (UCX finds its devices there), in a
 * mount namespace of its own. */
bool ts_netns_show(void);

/* Waits until the cable carries (the kernel says so a moment after both ends are up); false when it
 * doesn't. */
bool ts_netns_carrier(void);

/* Takes an interface of the caller's namespace up or down. */
bool ts_netns_link(const char *name, bool up);

#endif
