/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways in which `ropeway get` fetches an object. */
#ifndef RW_GET_H
#define RW_GET_H

#include "client.h"
#include "common/temp.h"

/* What a get has fetched. */
struct rw_got {
    uint64_t bytes;
    char checksum[RW_CHECKSUM_SIZE]; /* of all bytes, with --verify; else "" */
};

/* get_file.c: through a mapping of a new file in directory, which gets its name at the very end.
 * target: the path, for messages. False: a sentence was printed, or a signal came. */
bool rw_get_file(struct rw_client *client, int directory, const char *target, struct rw_got *got);

/* get_stream.c: in ranges through buffers, into a descriptor that is written in order. target: what
 * it is called. */
bool rw_get_stream(struct rw_client *client, int fd, const char *target, struct rw_got *got);

/* Compares checksums; false: a sentence was printed. */
bool rw_get_compare(struct rw_client *client, const char *here, const char *there);

#endif
