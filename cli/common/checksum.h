/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksum of --verify: XXH3-128 over all bytes, as "xxh3-128:" and 32 hexadecimal digits
 * (those that `xxh128sum` prints). It is to find damage, not forgery: both texts travel on the same
 * HTTP connection, so a cryptographic hash would prove no more, and at a tenth of the speed it
 * would take longer than the transfer.
 */
#ifndef RW_CHECKSUM_H
#define RW_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>

#define RW_CHECKSUM_SIZE 42 /* with the final NUL */

struct rw_checksum;

/* NULL: out of memory. */
struct rw_checksum *rw_checksum_create(void);
void rw_checksum_add(struct rw_checksum *checksum, const void *data, size_t size);
void rw_checksum_text(const struct rw_checksum *checksum, char text[RW_CHECKSUM_SIZE]);
void rw_checksum_destroy(struct rw_checksum *checksum);

/* All of it at once. go_on: asked now and then, returns false to give up; may be NULL. False: given
 * up, or out of memory. */
bool rw_checksum_memory(const void *data, size_t size, bool (*go_on)(void *arg), void *arg,
                        char text[RW_CHECKSUM_SIZE]);

/* True when text has the form of a checksum. */
bool rw_checksum_valid(const char *text);

#endif
