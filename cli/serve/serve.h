/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `ropeway serve` share. */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include <stdatomic.h>

#include <jansson.h>
#include <ropeway.h>
#include <sodium.h>

#include "channel/credentials.h"
#include "common/address.h"
#include "common/api.h"
#include "guard.h"
#include "health.h"
#include "list.h"
#include "origin.h"
#include "request.h"
#include "transfer.h"
#include "tree.h"

#define CLI_TOKEN_HASH_SIZE crypto_generichash_BYTES

struct cli_server {
    ropeway_connector_t *connector;
    struct cli_tree *tree;
    struct cli_transfers *transfers;
    int writable; /* the directory for uploads; -1: none */
    bool needs_token;
    unsigned char token_hash[CLI_TOKEN_HASH_SIZE];
    uint32_t max_clients;
    char id[CLI_SERVER_ID_SIZE];   /* tells servers apart that share subjects */
    atomic_uint_fast64_t requests; /* over HTTP */
    atomic_uint_fast64_t messages; /* over NATS */
    atomic_uint_fast64_t active;   /* requests that came and are not yet answered in full */
    atomic_uint waits;             /* requests that wait for the end of a transfer */
    struct cli_health *health;
    int idle_fd; /* an event: one was answered */
};

/* An answer: json, a text (to be freed) or a list; or a refusal when refusal.status is not 0. */
struct cli_answer {
    json_t *json;
    char *text;
    bool is_plain;         /* the text is no JSON */
    struct cli_list *list; /* over HTTP alone */
    struct cli_refusal refusal;
};

/* api.c: carries a request out. */
void cli_serve_answer(struct cli_server *server, const struct cli_request *request,
                      struct cli_answer *answer);

/* Whether a request with this Authorization header (NULL: none) may be carried out. */
bool cli_serve_authorized(const struct cli_server *server, const char *header);

/* Logs that a request was refused. what: its method and target, or its subject. */
void cli_serve_log_refusal(const char *peer, const char *what, const struct cli_refusal *refusal);

/* openapi.c: the description of the HTTP interface, JSON. */
const char *cli_serve_openapi(void);

/* metrics.c: the metrics as Prometheus text, to be freed; NULL: out of memory. */
char *cli_serve_metrics(struct cli_server *server);

/* httpd.c: HTTP around it. */
struct cli_httpd;

struct cli_httpd_options {
    const char *listen; /* "HOST:PORT" */
    uint32_t max_connections;
    struct cli_hosts hosts;
};

/* Listens, and says where. The options must stay. NULL: a sentence was printed. */
struct cli_httpd *cli_httpd_start(struct cli_server *server,
                                  const struct cli_httpd_options *options, struct cli_bound *bound);
void cli_httpd_stop(struct cli_httpd *http);

/* natsd.c: NATS around it. */
struct cli_natsd;

struct cli_natsd_options {
    const char *url;
    const char *subject; /* the prefix */
    struct cli_credentials credentials;
};

/* Connects, takes requests and writes the URL for clients into url. NULL: a sentence was printed.
 */
struct cli_natsd *cli_natsd_start(struct cli_server *server,
                                  const struct cli_natsd_options *options, char *url,
                                  size_t url_size);

/* An event that is signalled when the connection can't be made again; -1 when natsd is NULL. */
int cli_natsd_lost_fd(const struct cli_natsd *natsd);

/* Leaves new requests to other servers, and waits for the answers to those that came; questions for
 * outcomes are still taken. natsd may be NULL. */
void cli_natsd_leave(struct cli_natsd *natsd);

/* Returns false when a thread does not end; then nothing may be freed. natsd may be NULL. */
bool cli_natsd_stop(struct cli_natsd *natsd);

#endif
