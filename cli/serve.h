/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `ropeway serve` share. */
#ifndef RW_SERVE_H
#define RW_SERVE_H

#include <stdatomic.h>

#include <jansson.h>
#include <ropeway.h>
#include <sodium.h>

#include "request.h"
#include "serve_transfer.h"
#include "serve_tree.h"

#define RW_TOKEN_HASH_SIZE crypto_generichash_BYTES

struct rw_server {
    ropeway_connector_t *connector;
    struct rw_tree *tree;
    struct rw_transfers *transfers;
    int writable; /* the directory for uploads; -1: none */
    bool needs_token;
    unsigned char token_hash[RW_TOKEN_HASH_SIZE];
    atomic_uint_fast64_t requests;
    atomic_uint_fast64_t active; /* requests that came and are not yet answered in full */
    int idle_fd;                 /* an eventfd that is written to when one was answered */
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

/* serve_metrics.c: the metrics as Prometheus text, to be freed; NULL: out of memory. */
char *rw_serve_metrics(struct rw_server *server);

/* serve_httpd.c: HTTP around it. */
struct rw_httpd;

/* Listens on "HOST:PORT" and writes the URL into url. NULL: a sentence was printed. */
struct rw_httpd *rw_httpd_start(struct rw_server *server, const char *listen,
                                uint32_t max_connections, char *url, size_t url_size,
                                bool *is_loopback);
void rw_httpd_stop(struct rw_httpd *http);

#endif
