/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets, for those who speak HTTP on one host: "unix:PATH" where an address is asked for. */
#ifndef CLI_LOCAL_H
#define CLI_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "text.h"

#define CLI_LOCAL "unix:"
#define CLI_LOCAL_END ":/" /* where the path ends in a URL */

/* The path in "unix:PATH"; NULL: it is another address. */
const char *cli_local_path(const char *address);

/* A socket in the file system that this process made. */
struct cli_local {
    char path[112]; /* "": none */
    dev_t device;
    ino_t file;
};

/* Listens at a path, for processes of the same user: its mode is 0600. A socket that nobody listens
 * at any more is replaced; any other file is not. Two who try at once do not replace each other's.
 * Returns the socket; -1: text says why. */
int cli_local_listen(const char *path, struct cli_local *local, char text[CLI_SENTENCE_SIZE]);

/* Removes the socket's file if it is still the one that was made. */
void cli_local_remove(struct cli_local *local);

/* Connects, without waiting: EAGAIN says that somebody listens who is behind. -1: see errno. The
 * socket itself waits, as others do. */
int cli_local_connect(const char *path);

/* Whose process is at the other end: who connected, or listened. False: it is no Unix socket. */
bool cli_local_peer(int fd, uid_t *user);

#endif
