/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT and SIGTERM for a command that must clean up first. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

/* Installs the handlers; SIGPIPE is ignored. Returns false after a sentence. */
bool cli_interrupt_install(void);

/* The signals are blocked between the two: threads that start there leave them to this one. */
void cli_interrupt_block(void);
void cli_interrupt_unblock(void);

/* The signal that came, or 0. */
int cli_interrupted(void);

/* Polls readable from the first signal on. */
int cli_interrupt_fd(void);

#endif
