/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP around cli_serve_answer(): libmicrohttpd with one thread per connection, so that a request
 * may wait (for the outcome of a transfer, for a disk) without holding others up. The number of
 * connections is bounded.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <microhttpd.h>

#include "common/address.h"
#include "common/api.h"
#include "common/event.h"
#include "common/message.h"
#include "common/text.h"
#include "serve.h"

#define IDLE_TIMEOUT_S 60
#define THREAD_STACK ((size_t)512 << 10)
#define BODY_HARD_LIMIT (16 * CLI_BODY_MAX) /* more is not even read */

struct cli_httpd {
    struct MHD_Daemon *daemon;
};

/* A request while it comes in. */
struct exchange {
    struct cli_server *server;
    char *target; /* path and query as they came */
    char peer[CLI_PEER_SIZE];
    bool started; /* the headers were looked at */
    char *body;
    size_t length; /* of the body, even where it is too long to be kept */
};

/* ---- Answers ----------------------------------------------------------------- */

static void add_refusal_headers(struct MHD_Response *response, const struct cli_refusal *refusal) {
    char seconds[16];
    if (refusal->allow != NULL) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, refusal->allow);
    }
    if (refusal->status == 401) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    }
    if (refusal->retry_after != 0) {
        snprintf(seconds, sizeof seconds, "%d", refusal->retry_after);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    }
}

/* Sends an answer and frees what it holds. */
static enum MHD_Result send_answer(const struct exchange *exchange,
                                   struct MHD_Connection *connection, struct cli_answer *answer) {
    struct cli_refusal *refusal = &answer->refusal;
    const char *type =
        answer->text != NULL ? "text/plain; version=0.0.4; charset=utf-8" : "application/json";
    if (refusal->status != 0) {
        cli_serve_log_refusal(exchange->peer, exchange->target, refusal);
        json_decref(answer->json);
        answer->json = json_pack("{s:s}", "error", refusal->text);
    }
    char *text = answer->json != NULL ? json_dumps(answer->json, JSON_COMPACT) : answer->text;
    json_decref(answer->json);
    if (text == NULL) {
        return MHD_NO;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    /* Metadata is a capability, and used once. */
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    add_refusal_headers(response, refusal);
    unsigned status = refusal->status != 0 ? (unsigned)refusal->status : MHD_HTTP_OK;
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_refusal(const struct exchange *exchange,
                                    struct MHD_Connection *connection, int status,
                                    const char *sentence) {
    struct cli_answer answer = {0};
    cli_refuse(&answer.refusal, status, "%s", sentence);
    return send_answer(exchange, connection, &answer);
}

/* ---- Requests ----------------------------------------------------------------- */

static bool is_authorized(const struct cli_server *server, struct MHD_Connection *connection) {
    return cli_serve_authorized(server, MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                                                    MHD_HTTP_HEADER_AUTHORIZATION));
}

static bool declares_long_body(struct MHD_Connection *connection) {
    const char *header =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t length;
    return header != NULL && !cli_parse_number(header, 0, CLI_BODY_MAX, &length);
}

/* The headers are there, the body is not. */
static enum MHD_Result start_exchange(struct exchange *exchange,
                                      struct MHD_Connection *connection) {
    exchange->started = true;
    atomic_fetch_add(&exchange->server->requests, 1);
    if (!is_authorized(exchange->server, connection)) {
        return send_refusal(exchange, connection, 401,
                            "this server needs its token; give it with '--token-file FILE'");
    }
    if (declares_long_body(connection)) {
        return send_refusal(exchange, connection, 413,
                            "the body is too long; 65536 bytes are allowed");
    }
    return MHD_YES;
}

static enum MHD_Result add_body(struct exchange *exchange, const char *data, size_t size) {
    if (exchange->length + size <= CLI_BODY_MAX) {
        char *body = realloc(exchange->body, exchange->length + size);
        if (body == NULL) {
            return MHD_NO;
        }
        memcpy(body + exchange->length, data, size);
        exchange->body = body;
    }
    exchange->length += size;
    return exchange->length <= BODY_HARD_LIMIT ? MHD_YES : MHD_NO;
}

static enum MHD_Result finish_exchange(struct exchange *exchange, struct MHD_Connection *connection,
                                       const char *method) {
    struct cli_answer answer = {0};
    struct cli_request *request = malloc(sizeof *request);
    if (request == NULL) {
        return MHD_NO;
    }
    if (cli_request_parse(method, exchange->target, exchange->body, exchange->length, request,
                          &answer.refusal)) {
        request->peer = exchange->peer;
        cli_serve_answer(exchange->server, request, &answer);
    }
    free(request);
    return send_answer(exchange, connection, &answer);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **context) {
    (void)arg;
    (void)url;
    (void)version;
    struct exchange *exchange = *context;
    if (exchange == NULL) {
        return MHD_NO;
    }
    if (!exchange->started) {
        return start_exchange(exchange, connection);
    }
    if (*size != 0) {
        enum MHD_Result result = add_body(exchange, data, *size);
        *size = 0;
        return result;
    }
    return finish_exchange(exchange, connection, method);
}

/* The request line has come: what is returned is the exchange's context. */
static void *on_target(void *arg, const char *target, struct MHD_Connection *connection) {
    struct cli_server *server = arg;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) {
        return NULL;
    }
    exchange->server = server;
    exchange->target = strdup(target);
    if (exchange->target == NULL) {
        free(exchange);
        return NULL;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    cli_address_host(info != NULL ? info->client_addr : NULL, exchange->peer,
                     sizeof exchange->peer);
    atomic_fetch_add(&server->active, 1);
    return exchange;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)arg;
    (void)connection;
    (void)code;
    struct exchange *exchange = *context;
    *context = NULL;
    if (exchange == NULL) {
        return;
    }
    atomic_fetch_sub(&exchange->server->active, 1);
    cli_event_signal(exchange->server->idle_fd);
    free(exchange->target);
    free(exchange->body);
    free(exchange);
}

/* Names are decoded by cli_request_parse(), once, with its checks. */
static size_t keep_escapes(void *arg, struct MHD_Connection *connection, char *text) {
    (void)arg;
    (void)connection;
    return strlen(text);
}

static void on_log(void *arg, const char *format, va_list arguments) {
    /* Its complaints are about broken connections of clients. */
    (void)arg;
    (void)format;
    (void)arguments;
}

/* ---- Start and stop ------------------------------------------------------------- */

struct cli_httpd *cli_httpd_start(struct cli_server *server, const char *listen,
                                  uint32_t max_connections, char *url, size_t url_size,
                                  bool *is_loopback) {
    struct cli_httpd *http = calloc(1, sizeof *http);
    if (http == NULL) {
        cli_fail("out of memory");
        return NULL;
    }
    struct cli_bound bound;
    char text[CLI_SENTENCE_SIZE];
    int fd = cli_address_listen(listen, &bound, text);
    if (fd < 0) {
        cli_fail("%s", text);
        free(http);
        return NULL;
    }
    snprintf(url, url_size, "http://%s/", bound.name);
    *is_loopback = bound.is_loopback;
    http->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
            MHD_USE_ITC | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, NULL, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_THREAD_STACK_SIZE,
        THREAD_STACK, MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, NULL, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (http->daemon != NULL) {
        return http;
    }
    cli_fail("can't start the HTTP server: %s", cli_errno_text(errno));
    close(fd);
    free(http);
    return NULL;
}

void cli_httpd_stop(struct cli_httpd *http) {
    if (http == NULL) {
        return;
    }
    MHD_stop_daemon(http->daemon);
    free(http);
}
