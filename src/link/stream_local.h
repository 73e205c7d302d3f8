/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers on this host, by a Unix socket. Its name is in the abstract namespace, so there is no file
 * to be left behind, and follows from the connector's fingerprint and its instance, which nobody
 * else has before its birth. Whoever can reach the name may squat it in a network namespace of his
 * own: both sides ask the kernel for the other one's user, and a connection is used only between
 * processes of one user. All others fall back to TCP.
 */
#ifndef RW_STREAM_LOCAL_H
#define RW_STREAM_LOCAL_H

#include "base/table.h"
#include "link/link.h"
#include "link/stream_address.h"

#include <sys/types.h>

#define RW_LOCAL_FOREIGN "it belongs to another user"

/* The Unix socket of this connector. */
void rw_local_place(const uint8_t fingerprint[RW_FINGERPRINT_BYTES],
                    const uint8_t instance[RW_ID_BYTES], rw_place_t *place);
/* Whether the process that the connected socket goes to belongs to our user. *pid: the process as
 * we see it; 0: it lives in a PID namespace that we don't see. */
bool rw_local_is_ours(int fd, pid_t *pid);
/* Whose process listens there: knocks, asks the kernel, and hangs up before a byte is sent. NULL:
 * ours, or there is no telling; else why it is of no use, as a phrase. */
const char *rw_local_find_owner(const rw_place_t *place, rw_owner_t *owner);

#endif
