/* SPDX-License-Identifier: Apache-2.0 */
/* What all sub-commands share: sentences on stderr, sizes and times as text, numbers from text. */
#ifndef CLI_UTIL_H
#define CLI_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ropeway.h>

#define CLI_SENTENCE_SIZE 1024

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
 * them by accident. False: a sentence was printed. */
bool cli_open_standard_fds(void);

/* Flushes stdout. Returns CLI_EXIT_OK, or prints a sentence and returns CLI_EXIT_FAILED. */
int cli_flush_stdout(void);

/* Writes a sentence and cuts it, if need be, between two characters. */
void cli_sentence(char text[CLI_SENTENCE_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Replaces control characters, so that foreign text can't steer a terminal. */
void cli_printable(char *text);

/* printf() into new memory; NULL: out of memory. */
char *cli_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "0 B", "17 B", "4.0 KiB", "1.5 GiB". */
#define CLI_SIZE_TEXT 24
const char *cli_size_text(uint64_t size, char buffer[CLI_SIZE_TEXT]);

/* Reads a number of decimal digits. False: it is none, or outside min to max. */
bool cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* Reads seconds, with a fraction if wanted, as milliseconds. False: none, or outside min to max. */
bool cli_parse_seconds(const char *text, uint32_t min_ms, uint32_t max_ms, uint32_t *ms);

/* Milliseconds on the monotonic clock. */
uint64_t cli_now_ms(void);
double cli_now_seconds(void);

/* The errno value as text. */
const char *cli_errno_text(int number);

/* The library's log goes here: warnings on stderr. arg is not used. */
void cli_log_line(void *arg, ropeway_log_level_t level, const char *text);

#endif
