/* SPDX-License-Identifier: Apache-2.0 */
/* The calling thread's latest error sentence. */
#ifndef RW_ERROR_H
#define RW_ERROR_H

#include "ropeway.h"

/* Stores the formatted sentence for ropeway_last_error(). */
void rw_explain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, with error as its value, so that `return rw_fail(ROPEWAY_ERR_X, "...")` reads well. A
 * macro, so that the static analyser sees that it is not ROPEWAY_OK. */
#define rw_fail(error, ...) (rw_explain(__VA_ARGS__), (error))

#endif
