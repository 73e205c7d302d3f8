/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to a NATS server that the command's two sides share: how it is made, and what is
 * said when it can't be. */
#ifndef RW_NATS_LINK_H
#define RW_NATS_LINK_H

#include <nats/nats.h>

#include "credentials.h"
#include "url.h"
#include "common/util.h"

/* The headers of requests and answers. */
#define RW_NATS_AUTHORIZATION "Authorization"
#define RW_NATS_ERROR "Nats-Service-Error"
#define RW_NATS_ERROR_CODE "Nats-Service-Error-Code"
#define RW_NATS_RETRY_AFTER "Retry-After"

/* What the owner of a connection gets to know, from threads of the NATS library. */
struct rw_nats_events {
    natsConnectionHandler disconnected, reconnected, closed;
    natsErrHandler error;
    void *arg;
};

/* Prepares a connection that, once it was made, is made again for as long as it takes. name: what
 * the server calls this side. NULL: text says why. */
natsOptions *rw_nats_options(const struct rw_url *url, const struct rw_credentials *credentials,
                             const char *name, uint32_t timeout_ms,
                             const struct rw_nats_events *events, char text[RW_SENTENCE_SIZE]);

/* Connects; blocks as long as that takes. base: as in struct rw_url. NULL: text says why. */
natsConnection *rw_nats_connect(natsOptions *options, const char *base,
                                char text[RW_SENTENCE_SIZE]);

/* Closes a connection and waits until no thread of the NATS library is left. False: one does not
 * end, and what it may use must stay. */
bool rw_nats_close(natsConnection *connection, natsOptions *options);

#endif
