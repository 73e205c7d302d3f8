/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connections of an HTTP server, and how long each may keep a place. The headers of a request
 * have ten seconds as a whole, and so has its body. Who owes the server something may be put out
 * for others: when there are too many connections, one of the address that has most of them goes,
 * that which kept the server waiting longest, and strangers before those that were permitted to
 * ask. So strangers who only hold connections hold each other up, and nobody else.
 */
#ifndef CLI_SERVE_GUARD_H
#define CLI_SERVE_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct cli_guard;
struct cli_connection;

/* What a connection does. */
enum cli_phase {
    CLI_PHASE_IDLE,    /* nothing after a request that was answered */
    CLI_PHASE_HEADERS, /* it owes the headers of a request, or was refused */
    CLI_PHASE_BODY,    /* it may ask, and owes the rest of its request */
    CLI_PHASE_ANSWER,  /* it owes us to read the answer */
    CLI_PHASE_WORK     /* the server owes the answer */
};

/* max: connections at a time. NULL: out of memory or threads. */
struct cli_guard *cli_guard_create(uint32_t max);

/* The connections must be gone. */
void cli_guard_destroy(struct cli_guard *guard);

/* A connection has come, and goes. fd must stay open until it is removed. peer: its name in the
 * log. NULL: out of memory. */
struct cli_connection *cli_guard_add(struct cli_guard *guard, int fd,
                                     const struct sockaddr *address, const char *peer);
void cli_guard_remove(struct cli_guard *guard, struct cli_connection *connection);

/* The connection does this from now on; its time begins anew when that is something else. NULL is
 * allowed. */
void cli_guard_phase(struct cli_guard *guard, struct cli_connection *connection,
                     enum cli_phase phase);

/* Whether it was put out, of which the log tells. NULL is allowed. */
bool cli_guard_was_shut(struct cli_guard *guard, const struct cli_connection *connection);

#endif
