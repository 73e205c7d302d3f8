/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to a NATS server that the command's two sides share: how it is made, and what is
 * said when it can't be. */
#ifndef CLI_NATS_LINK_H
#define CLI_NATS_LINK_H

#include <nats/nats.h>

#include "common/text.h"
#include "credentials.h"
#include "url.h"

/* The headers of requests and answers. */
#define CLI_NATS_AUTHORIZATION "Authorization"
#define CLI_NATS_ERROR "Nats-Service-Error"
#define CLI_NATS_ERROR_CODE "Nats-Service-Error-Code"
#define CLI_NATS_RETRY_AFTER "Retry-After"
/* Bytes of them as a whole. The NATS library takes time for them that grows with their square. */
#define CLI_NATS_HEADERS_MAX ((size_t)16 << 10)

/* What the owner of a connection gets to know, from threads of the NATS library. */
struct cli_nats_events {
    natsConnectionHandler disconnected, reconnected, closed;
    natsErrHandler error;
    void *arg;
};

/* Prepares a connection that, once it was made, is made again for as long as it takes. name: what
 * the server calls this side. NULL: text says why. */
natsOptions *cli_nats_options(const struct cli_url *url, const struct cli_credentials *credentials,
                              const char *name, uint32_t timeout_ms,
                              const struct cli_nats_events *events, char text[CLI_SENTENCE_SIZE]);

/* Connects; blocks as long as that takes. base: as in struct cli_url. NULL: text says why. The
 * process gets 1 GiB of private memory at most from then on (RLIMIT_DATA), besides what it has:
 * that bounds what the server can make the NATS library take. */
natsConnection *cli_nats_connect(natsOptions *options, const char *base,
                                 char text[CLI_SENTENCE_SIZE]);

/* How many bytes the headers of a message that came have, without looking into them. The NATS
 * library does not tell, but keeps them between what it does tell; 0 if it does that no longer. */
size_t cli_nats_headers_size(const natsMsg *message);

/* Closes a connection and waits until no thread of the NATS library is left. False: one does not
 * end, and what it may use must stay. */
bool cli_nats_close(natsConnection *connection, natsOptions *options);

#endif
