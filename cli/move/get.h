/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways in which `ropeway get` fetches an object. */
#ifndef CLI_GET_H
#define CLI_GET_H

#include "client.h"
#include "common/checksum.h"

/* What a get has fetched. */
struct cli_got {
    uint64_t bytes;
    char checksum[CLI_CHECKSUM_SIZE]; /* of all bytes, with --verify; else "" */
};

/* get_file.c: through a mapping of a new file in directory, which gets its name at the very end.
 * path: where that is. False: a sentence was printed, or a signal came. */
bool cli_get_file(struct cli_client *client, int directory, const char *path, struct cli_got *got);

/* get_stream.c: in ranges through buffers, into a descriptor that is written in order. target: what
 * it is called. */
bool cli_get_stream(struct cli_client *client, int fd, const char *target, struct cli_got *got);

/* Compares checksums; false: a sentence was printed. */
bool cli_get_compare(struct cli_client *client, const char *here, const char *there);

#endif
