/* SPDX-License-Identifier: Apache-2.0 */
/* TCP connections of UCX whose peers take nothing any more. */
#ifndef RW_UCX_STUCK_H
#define RW_UCX_STUCK_H

#include <stdint.h>

/* Shuts down the TCP connections of a UCX worker, by its event descriptor, through which nothing
 * could be sent for ms milliseconds though bytes wait. UCX takes them as ended by the peer. Returns
 * their number. */
unsigned rw_stuck_cut(int worker_fd, uint32_t ms);

#endif
