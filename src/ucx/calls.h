/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every function of UCX that this library calls, by one table of pointers into the UCX that was
 * loaded at run time (load.h). calls.c defines each of them under its own name, hidden from other
 * objects, as a step through the table: so callers, and the inline functions of UCX's headers, are
 * written as if the library were linked with UCX, and what the table lacks is an error when the
 * library is linked.
 */
#ifndef RW_UCX_CALLS_H
#define RW_UCX_CALLS_H

#include <ucs/type/status.h>

/* Fills the table from what dlopen() gave for libucp, which brings the others along. Returns NULL,
 * or the name of the first symbol that is missing there. Before it has been filled nothing of UCX
 * may be called. */
const char *rw_ucx_calls_fill(void *library);

/* As in a header of UCX's that it does not install. */
ucs_status_t ucs_global_opts_set_value(const char *name, const char *value);

/* The names of ucs_memory_type_t. */
const char *rw_ucx_memory_name(unsigned type);

#endif
