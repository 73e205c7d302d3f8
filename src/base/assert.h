/* SPDX-License-Identifier: Apache-2.0 */
/* Invariants that are checked while the library runs, in release builds too: each costs a
 * comparison, and what it guards is memory. A failure is a fault of the library, never a peer's or
 * a user's doing, and ends the process before that memory is touched. */
#ifndef RW_ASSERT_H
#define RW_ASSERT_H

/* Says what did not hold on stderr, and aborts. */
_Noreturn void rw_assert_failed(const char *what, const char *file, int line);

#define rw_assert(condition)                                                                       \
    (__builtin_expect(!!(condition), 1) ? (void)0                                                  \
                                        : rw_assert_failed(#condition, __FILE__, __LINE__))

#endif
