/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of TCP sockets as people write them: "HOST:PORT", an IPv6 host in brackets. */
#ifndef CLI_ADDRESS_H
#define CLI_ADDRESS_H

#include <stdbool.h>

#include "text.h"

#define CLI_ADDRESS_SIZE 128

/* Where a socket listens. */
struct cli_bound {
    char name[CLI_ADDRESS_SIZE]; /* "HOST:PORT" in numbers */
    bool is_loopback;
};

/* Listens; an empty host means every address. Returns the socket; -1: text says why. */
int cli_address_listen(const char *address, struct cli_bound *bound, char text[CLI_SENTENCE_SIZE]);

/* The first address that a socket listens at which is given this one: the host in numbers, an IPv6
 * one in brackets. false: text says why. */
bool cli_address_host_of(const char *address, char host[CLI_ADDRESS_SIZE],
                         char text[CLI_SENTENCE_SIZE]);

/* Connects. server: what should run there, for the text. As above. */
int cli_address_connect(const char *address, const char *server, char text[CLI_SENTENCE_SIZE]);

/* "HOST:PORT" of a socket's address, in numbers; "?" when it has none. */
struct sockaddr;
void cli_address_name(const struct sockaddr *address, char *name, size_t size);

/* The host of a socket's address in numbers; "?" when it has none. An IPv4 address that IPv6 wraps
 * is shown as such. */
void cli_address_host(const struct sockaddr *address, char *host, size_t size);

#endif
