/* SPDX-License-Identifier: Apache-2.0 */
/* What all sub-commands share: sentences on stderr, sizes and times as text, numbers from text. */
#ifndef RW_UTIL_H
#define RW_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ropeway.h>

#define RW_SENTENCE_SIZE 1024

/* Prints "ropeway: SENTENCE" on stderr, control characters shown as '?'. Returns RW_EXIT_FAILED. */
int rw_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As rw_fail(), with "warning: " before the sentence. */
void rw_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As rw_fail(), and names the help text to read. command: NULL for the help of ropeway itself.
 * Returns RW_EXIT_USAGE. */
int rw_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What to return after getopt_long() met an option that it does not know (or that lacks its
 * argument), which is in argv[optind - 1]. The option string must begin with ':'. */
int rw_usage_option(const char *command, int result, char *const *argv);

/* Opens /dev/null for standard descriptors that are closed, so that no file of ours becomes one of
 * them by accident. False: a sentence was printed. */
bool rw_open_standard_fds(void);

/* Flushes stdout. Returns RW_EXIT_OK, or prints a sentence and returns RW_EXIT_FAILED. */
int rw_flush_stdout(void);

/* Writes a sentence and cuts it, if need be, between two characters. */
void rw_sentence(char text[RW_SENTENCE_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Replaces control characters, so that foreign text can't steer a terminal. */
void rw_printable(char *text);

/* printf() into new memory; NULL: out of memory. */
char *rw_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "0 B", "17 B", "4.0 KiB", "1.5 GiB". */
#define RW_SIZE_TEXT 24
const char *rw_size_text(uint64_t size, char buffer[RW_SIZE_TEXT]);

/* Reads a number of decimal digits. False: it is none, or outside min to max. */
bool rw_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* Reads seconds, with a fraction if wanted, as milliseconds. False: none, or outside min to max. */
bool rw_parse_seconds(const char *text, uint32_t min_ms, uint32_t max_ms, uint32_t *ms);

/* Milliseconds on the monotonic clock. */
uint64_t rw_now_ms(void);
double rw_now_seconds(void);

/* The errno value as text. */
const char *rw_errno_text(int number);

/* The library's log goes here: warnings on stderr. arg is not used. */
void rw_log_line(void *arg, ropeway_log_level_t level, const char *text);

#endif
