/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksum of --verify: XXH3-128 over all bytes, as "xxh3-128:" and 32 hexadecimal digits
 * (those that `xxh128sum` prints). It is to find damage, not forgery: both texts travel on the same
 * HTTP connection, so a cryptographic hash would prove no more, and at a tenth of the speed it
 * would take longer than the transfer.
 */
#ifndef CLI_CHECKSUM_H
#define CLI_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>

#define CLI_CHECKSUM_SIZE 42 /* with the final NUL */

struct cli_checksum;

/* NULL: out of memory. */
struct cli_checksum *cli_checksum_create(void);
void cli_checksum_add(struct cli_checksum *checksum, const void *data, size_t size);
void cli_checksum_text(const struct cli_checksum *checksum, char text[CLI_CHECKSUM_SIZE]);
void cli_checksum_destroy(struct cli_checksum *checksum);

/* All of it at once. go_on: asked now and then, returns false to give up; may be NULL. False: given
 * up, or out of memory. */
bool cli_checksum_memory(const void *data, size_t size, bool (*go_on)(void *arg), void *arg,
                         char text[CLI_CHECKSUM_SIZE]);

/* True when text has the form of a checksum. */
bool cli_checksum_valid(const char *text);

#endif
