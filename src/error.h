/* SPDX-License-Identifier: Apache-2.0 */
/* The calling thread's latest error sentence. */
#ifndef RW_ERROR_H
#define RW_ERROR_H

#include "ropeway.h"

/* Stores the formatted sentence for ropeway_last_error() and returns error, so that
 * `return rw_fail(ROPEWAY_ERR_X, "...")` reads well. */
ropeway_error_t rw_fail(ropeway_error_t error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
