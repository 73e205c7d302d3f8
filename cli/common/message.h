/* SPDX-License-Identifier: Apache-2.0 */
/* What the command says on stderr, and the standard streams themselves. */
#ifndef CLI_MESSAGE_H
#define CLI_MESSAGE_H

#include <stdbool.h>

#include <ropeway.h>

/* Prints "ropeway: SENTENCE" on stderr, control characters shown as '?'. Returns CLI_EXIT_FAILED.
 */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As cli_fail(), with "warning: " before the sentence. */
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As cli_fail(), and names the help text to read. command: NULL for the help of ropeway itself.
 * Returns CLI_EXIT_USAGE. */
int cli_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What to return after getopt_long() met an option that it does not know (or that lacks its
 * argument), which is in argv[optind - 1]. The option string must begin with ':'. */
int cli_usage_option(const char *command, int result, char *const *argv);

/* Opens /dev/null for standard descriptors that are closed, so that no file of ours becomes one of
 * them by accident. */
bool cli_open_standard_fds(void);

/* Hands all sentences to a function from now on, instead of printing them. level: "warning" or
 * "error". Call it before other threads start. */
void cli_redirect_sentences(void (*sink)(const char *level, const char *sentence));

/* Flushes stdout. Returns an exit code. */
int cli_flush_stdout(void);

/* The library's log goes here: warnings on stderr. arg is not used. */
void cli_log_line(void *arg, ropeway_log_level_t level, const char *text);

#endif
