/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UCX is loaded by dlopen() when something first needs it, and stays until the process ends. Who
 * moves host memory by Ropeway's own links never maps it. Which UCX it is decides ROPEWAY_UCX, else
 * the order of find.c; docs/rationale.md has the reasons.
 */
#ifndef RW_UCX_LOAD_H
#define RW_UCX_LOAD_H

#include "ropeway.h"

#include <stdbool.h>

#define RW_UCX_MAJOR_NEEDED 1u
#define RW_UCX_MINOR_NEEDED 22u

/* Loads UCX, unless that was done. Any thread may call it, with any lock. After a failure the next
 * call tries again. Errors: ERR_UNSUPPORTED, with a sentence that says what was found, why it can't
 * be used, and what to install. */
ropeway_error_t rw_ucx_load(void);
bool rw_ucx_is_loaded(void);

/* Of the loaded one; "" while there is none: the path of its libucp, and why it was chosen, such as
 * "it is in the libucx wheel". */
const char *rw_ucx_library(void);
const char *rw_ucx_why(void);

#endif
