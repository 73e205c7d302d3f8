/* SPDX-License-Identifier: Apache-2.0 */
/* Text: sentences for people, foreign text made safe to show, numbers from and to text. */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLI_SENTENCE_SIZE 1024

/* Writes a sentence and cuts it, if need be, between two characters. */
void cli_sentence(char text[CLI_SENTENCE_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts a '?' in place of each character that could steer a terminal or mislead who reads: control
 * characters of both sets, what changes the direction of text, and what is not UTF-8. All foreign
 * text that is printed passes through here. */
void cli_printable(char *text);

/* True for valid UTF-8 without NUL. */
bool cli_utf8_valid(const char *text, size_t length);

/* printf() into new memory; NULL: out of memory. */
char *cli_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "0 B", "17 B", "4.0 KiB", "1.5 GiB". */
#define CLI_SIZE_TEXT 24
const char *cli_size_text(uint64_t size, char buffer[CLI_SIZE_TEXT]);

/* Reads a number of decimal digits. False: it is none, or outside min to max. */
bool cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* Reads seconds, with a fraction if wanted, as milliseconds. False: none, or outside min to max. */
bool cli_parse_seconds(const char *text, uint32_t min_ms, uint32_t max_ms, uint32_t *ms);

/* The errno value as text. */
const char *cli_errno_text(int number);

#endif
