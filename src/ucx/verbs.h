/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A UCX that brings verbs libraries of its own. The wheels of nixl carry copies of libibverbs and
 * its like, under names with hashes, which look for the drivers of RDMA devices in the folders of
 * the distribution that they were built on: on another one their UCX finds no device. And if they
 * find the drivers, these bring the system's libibverbs into the process as a second one.
 *
 * So such a UCX is loaded from a folder of links to its libraries and modules, in which the names
 * of those copies lead to the system's libraries: they know each other by name, and are searched
 * for in the folder that the path of the one that needs them names.
 *
 * UCX looks for modules in that folder, and for a configuration beside it, whenever it likes, and
 * either can make it run foreign code. Folders for temporary files are everybody's, and are cleaned
 * up: so the folder is reached through a descriptor, /proc/self/fd/N/lib, and never by its name.
 * Who makes one of that name later has no part in it; what was removed is simply not there.
 */
#ifndef RW_UCX_VERBS_H
#define RW_UCX_VERBS_H

#include <limits.h>
#include <stdbool.h>

/* Makes such a folder for the libucp of this path. *led: of its link there. false: it has no verbs
 * libraries of its own, or the system has none (nothing is said), or the folder can't be made (a
 * warning). With rw_ucx_load()'s lock held. */
bool rw_ucx_verbs_lead(const char *path, char led[PATH_MAX]);
/* Nothing has come of it. */
void rw_ucx_verbs_undo(void);
/* UCX has loaded its modules; on a host with a GPU it may load one more when it first meets memory
 * of that, and the folder stays until the process ends. One that ends by _exit() or a signal leaves
 * it behind. */
void rw_ucx_verbs_done(void);

#endif
