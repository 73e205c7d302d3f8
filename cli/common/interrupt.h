/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT and SIGTERM for a command that must clean up first. */
#ifndef RW_INTERRUPT_H
#define RW_INTERRUPT_H

#include <stdbool.h>

/* Installs the handlers; SIGPIPE is ignored. Returns false after a sentence. */
bool rw_interrupt_install(void);

/* The signals are blocked between the two: threads that start there leave them to this one. */
void rw_interrupt_block(void);
void rw_interrupt_unblock(void);

/* The signal that came, or 0. */
int rw_interrupted(void);

/* Polls readable from the first signal on. */
int rw_interrupt_fd(void);

#endif
