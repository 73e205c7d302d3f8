/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The release of a UCX that is not loaded. One that was loaded can't be unloaded: it holds itself,
 * and another one that is loaded beside it gets its libraries. So one that is too old had better
 * never be loaded; many systems have such a one, which other programs need.
 */
#ifndef RW_UCX_PEEK_H
#define RW_UCX_PEEK_H

#include <stdbool.h>

typedef struct rw_ucx_release {
    unsigned major, minor, patch;
} rw_ucx_release_t;

/* Looks into the file of a libucp. false: it does not tell. */
bool rw_ucx_peek(const char *path, rw_ucx_release_t *release);
/* Whether the file is a library for this kind of processor and process. */
bool rw_ucx_is_library(const char *path);
/* Whether both paths lead to one file. */
bool rw_ucx_are_same(const char *one, const char *other);

#endif
