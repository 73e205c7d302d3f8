/* SPDX-License-Identifier: Apache-2.0 */
/* RDMA devices as the kernel lists them. folder: RW_RDMA_FOLDER, or one that looks like it. */
#ifndef RW_RDMA_H
#define RW_RDMA_H

#include <stdbool.h>
#include <stddef.h>

#define RW_RDMA_FOLDER "/sys/class/infiniband"

/* Whether there is one. */
bool rw_rdma_is_here(const char *folder);
/* Whether a port of one is up that the option net_devices allows: a list of names of interfaces and
 * devices, the latter perhaps with ":PORT" behind them, each perhaps with a range of numbers as in
 * "mlx5_[0-3]", or "^" before what is left out; NULL: those that UCX_NET_DEVICES allows, else all.
 */
bool rw_rdma_is_up(const char *folder, const char *net_devices);
/* Copies such a list, with interfaces in the place of the RDMA devices that have one, and without
 * the others; "all" where nothing is left, or something is left out. Returns its length, as
 * snprintf(). */
int rw_rdma_write_interfaces(const char *folder, const char *net_devices, char *text, size_t size);

#endif
