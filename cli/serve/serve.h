/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `ropeway serve` share. */
#ifndef RW_SERVE_H
#define RW_SERVE_H

#include <stdatomic.h>

#include <jansson.h>
#include <ropeway.h>
#include <sodium.h>

#include "channel/credentials.h"
#include "request.h"
#include "transfer.h"
#include "tree.h"

#define RW_TOKEN_HASH_SIZE crypto_generichash_BYTES

struct rw_server {
    ropeway_connector_t *connector;
    struct rw_tree *tree;
    struct rw_transfers *transfers;
    int writable; /* the directory for uploads; -1: none */
    bool needs_token;
    unsigned char token_hash[RW_TOKEN_HASH_SIZE];
    uint32_t max_clients;
    char id[RW_SERVER_ID_SIZE];    /* tells servers apart that share subjects */
    atomic_uint_fast64_t requests; /* over HTTP */
    atomic_uint_fast64_t messages; /* over NATS */
    atomic_uint_fast64_t active;   /* requests that came and are not yet answered in full */
    int idle_fd;                   /* an eventfd that is written to when one was answered */
};

/* An answer: json, or text (to be freed) when that is NULL; or a refusal when refusal.status is not
 * 0. */
struct rw_answer {
    json_t *json;
    char *text;
    struct rw_refusal refusal;
};

/* serve_api.c: carries a request out. */
void rw_serve_answer(struct rw_server *server, const struct rw_request *request,
                     struct rw_answer *answer);

/* Whether a request with this Authorization header (NULL: none) may be carried out. */
bool rw_serve_authorized(const struct rw_server *server, const char *header);

/* serve_metrics.c: the metrics as Prometheus text, to be freed; NULL: out of memory. */
char *rw_serve_metrics(struct rw_server *server);

/* serve_httpd.c: HTTP around it. */
struct rw_httpd;

/* Listens on "HOST:PORT" and writes the URL into url. NULL: a sentence was printed. */
struct rw_httpd *rw_httpd_start(struct rw_server *server, const char *listen,
                                uint32_t max_connections, char *url, size_t url_size,
                                bool *is_loopback);
void rw_httpd_stop(struct rw_httpd *http);

/* serve_natsd.c: NATS around it. */
struct rw_natsd;

struct rw_natsd_options {
    const char *url;
    const char *subject; /* the prefix */
    struct rw_credentials credentials;
};

/* Connects, takes requests and writes the URL for clients into url. NULL: a sentence was printed.
 */
struct rw_natsd *rw_natsd_start(struct rw_server *server, const struct rw_natsd_options *options,
                                char *url, size_t url_size);

/* An eventfd that is written to when the connection can't be made again; -1 when natsd is NULL. */
int rw_natsd_lost_fd(const struct rw_natsd *natsd);

/* Leaves new requests to other servers, and waits for the answers to those that came; questions for
 * outcomes are still taken. natsd may be NULL. */
void rw_natsd_leave(struct rw_natsd *natsd);

/* Returns false when a thread does not end; then nothing may be freed. natsd may be NULL. */
bool rw_natsd_stop(struct rw_natsd *natsd);

#endif
