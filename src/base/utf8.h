/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 from strangers: checked, written, made printable. */
#ifndef RW_UTF8_H
#define RW_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the UTF-8 character at bytes, of which length (at least 1) may be read; 0 when it
 * is malformed. */
size_t rw_utf8_length(const char *bytes, size_t length);

/* How many bytes character takes. */
size_t rw_utf8_size(uint32_t character);

/* Copies a peer's words: cut to size at a character; control characters, those that turn the
 * direction of writing and bytes that are no UTF-8 replaced by '?'; NUL-terminated. */
void rw_printable(const void *bytes, size_t length, char *text, size_t size);

/* Writes character, and returns the place behind it. */
char *rw_utf8_put(char *at, uint32_t character);

#endif
