/* SPDX-License-Identifier: Apache-2.0 */
/* Where a UCX may lie on this machine, in the order in which they are tried. */
#ifndef RW_UCX_FIND_H
#define RW_UCX_FIND_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define RW_UCX_PLACES 16

typedef struct rw_ucx_place {
    char path[PATH_MAX]; /* of libucp; a plain name: the dynamic linker knows where */
    const char *why;     /* a phrase that says why this one */
    unsigned lacks;      /* modules for devices of this host that are not beside it */
} rw_ucx_place_t;

/* Lists the places for a choice (ROPEWAY_UCX's value; NULL: there is none). Returns how many. Those
 * that lack modules which this host has devices for come last, unless a choice was made. */
size_t rw_ucx_find(const char *choice, rw_ucx_place_t places[RW_UCX_PLACES]);

/* The folders where Python's packages are, for a process that is a Python: they are the only ones
 * that are searched for wheels, and a wheel comes before what the dynamic linker finds, which the
 * package was not tested with. The list replaces an earlier one. false: out of memory. */
bool rw_ucx_prefer_packages(const char *const *folders, size_t count);

#endif
