/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT and SIGTERM for a command that must clean up first. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

/* Blocks the signals in this thread and those it starts later, and returns a signalfd for them; -1:
 * a sentence was printed. SIGPIPE is ignored. */
int cli_interrupt_watch(void);

/* Installs handlers; SIGPIPE is ignored. The functions below are for after that. */
bool cli_interrupt_install(void);

/* The signals are blocked between the two: threads that start there leave them to this one. */
void cli_interrupt_block(void);
void cli_interrupt_unblock(void);

/* Whether a signal came, and which; 0: none. */
bool cli_interrupted(void);
int cli_interrupt_signal(void);

/* Polls readable from the first signal on. */
int cli_interrupt_fd(void);

#endif
