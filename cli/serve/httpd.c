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
#include <strings.h>
#include <unistd.h>

#include <linux/tcp.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include "common/address.h"
#include "common/api.h"
#include "common/event.h"
#include "common/local.h"
#include "common/message.h"
#include "common/text.h"
#include "log.h"
#include "serve.h"

#define IDLE_TIMEOUT_S 60
#define LEAVING_MAX 64 /* connections that were put out and are not closed yet */
#define LIST_BLOCK ((size_t)32 << 10)
#define THREAD_STACK ((size_t)512 << 10)
#define NO_HTTP "what came is no HTTP request that this server can read"
#define BODY_HARD_LIMIT (16 * CLI_BODY_MAX) /* more is not even read */

struct cli_httpd {
    struct cli_server *server;
    const struct cli_hosts *hosts;
    struct cli_guard *guard;
    struct MHD_Daemon *daemon;
    struct cli_local local; /* what it listens at, if that is a Unix socket */
};

/* A connection. */
struct visitor {
    struct cli_connection *place; /* NULL: not known to the guard */
    char peer[CLI_PEER_SIZE];
    int fd;
    uint64_t heard; /* bytes that had come when its latest request was over */
    bool is_spent;  /* it carries no further request, and what still comes is of the latest */
};

/* A request while it comes in. */
struct exchange {
    struct cli_httpd *http;
    struct visitor *visitor;
    char *target; /* path and query as they came */
    bool started; /* the headers were looked at */
    bool told;    /* it was answered, or the log says why not */
    bool cut;     /* it was answered before its body was read */
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

static ssize_t read_list(void *arg, uint64_t position, char *buffer, size_t size) {
    (void)position;
    ssize_t count = cli_list_read(arg, buffer, size);
    return count > 0    ? count
           : count == 0 ? (ssize_t)MHD_CONTENT_READER_END_OF_STREAM
                        : (ssize_t)MHD_CONTENT_READER_END_WITH_ERROR;
}

static void close_list(void *arg) {
    cli_list_close(arg);
}

/* Takes over what the answer holds. NULL: out of memory. */
static struct MHD_Response *make_response(struct cli_answer *answer) {
    if (answer->refusal.status != 0) {
        json_decref(answer->json);
        answer->json = json_pack("{s:s}", "error", answer->refusal.text);
    } else if (answer->list != NULL) {
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, LIST_BLOCK, read_list,
                                                 answer->list, close_list);
    }
    char *text = answer->json != NULL ? json_dumps(answer->json, JSON_COMPACT) : answer->text;
    json_decref(answer->json);
    struct MHD_Response *response =
        text != NULL ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE)
                     : NULL;
    if (response == NULL) {
        free(text);
    }
    return response;
}

/* Tells the log of a request that is refused without an answer of ours. */
static void tell(const struct visitor *visitor, const char *what, int status, const char *text) {
    struct cli_refusal refusal = {0};
    cli_refuse(&refusal, status, "%s", text);
    cli_serve_log_refusal(visitor->peer, what, &refusal);
}

/* Sends an answer and frees what it holds. */
static enum MHD_Result send_answer(struct exchange *exchange, struct MHD_Connection *connection,
                                   struct cli_answer *answer) {
    struct cli_refusal *refusal = &answer->refusal;
    struct MHD_Response *response = make_response(answer);
    if (refusal->status != 0) {
        cli_serve_log_refusal(exchange->visitor->peer, exchange->target, refusal);
    } else if (response == NULL) {
        tell(exchange->visitor, exchange->target, 500, "the server is out of memory");
    }
    exchange->told = true;
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                            answer->is_plain && refusal->status == 0
                                ? "text/plain; version=0.0.4; charset=utf-8"
                                : "application/json");
    /* Metadata is a capability, and used once. */
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    add_refusal_headers(response, refusal);
    cli_guard_phase(exchange->http->guard, exchange->visitor->place, CLI_PHASE_ANSWER);
    unsigned status = refusal->status != 0 ? (unsigned)refusal->status : MHD_HTTP_OK;
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- Requests ----------------------------------------------------------------- */

static const char *header_of(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* Whether the headers permit what is asked. What monitors ask for is open to everybody, and tells
 * nothing. */
static bool is_permitted(const struct exchange *exchange, struct MHD_Connection *connection,
                         struct cli_refusal *refusal) {
    if (cli_request_is_open(exchange->target)) {
        return true;
    }
    struct cli_origin origin = {header_of(connection, MHD_HTTP_HEADER_HOST),
                                header_of(connection, MHD_HTTP_HEADER_ORIGIN),
                                header_of(connection, "Sec-Fetch-Site")};
    if (!cli_origin_check(exchange->http->hosts, &origin, refusal)) {
        return false;
    }
    const char *authorization = header_of(connection, MHD_HTTP_HEADER_AUTHORIZATION);
    return cli_serve_authorized(exchange->http->server, authorization) ||
           cli_refuse(refusal, 401,
                      "this server needs its token; give it with '--token-file FILE'");
}

static bool declares_long_body(struct MHD_Connection *connection) {
    const char *header = header_of(connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t length;
    return header != NULL && !cli_parse_number(header, 0, CLI_BODY_MAX, &length);
}

/* How often headers came that may come once. */
struct once {
    int hosts, lengths;
};

static enum MHD_Result count_once(void *arg, enum MHD_ValueKind kind, const char *name,
                                  const char *value) {
    (void)kind;
    (void)value;
    struct once *once = arg;
    once->hosts += strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0;
    once->lengths += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0 ||
                     strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0;
    return MHD_YES;
}

/* What a proxy in front may have understood otherwise than we would. */
static bool is_ambiguous(struct MHD_Connection *connection) {
    struct once once = {0};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, count_once, &once);
    return once.hosts > 1 || once.lengths > 1;
}

/* The headers are there, the body is not: nothing of it is read for a request that is refused. */
static enum MHD_Result start_exchange(struct exchange *exchange,
                                      struct MHD_Connection *connection) {
    struct cli_answer answer = {0};
    exchange->started = true;
    if ((!is_ambiguous(connection) ||
         cli_refuse(&answer.refusal, 400, "the request names two hosts, or two lengths")) &&
        is_permitted(exchange, connection, &answer.refusal) &&
        (!declares_long_body(connection) ||
         cli_refuse(&answer.refusal, 413, "the body is too long; %zu bytes are allowed",
                    CLI_BODY_MAX))) {
        cli_guard_phase(exchange->http->guard, exchange->visitor->place, CLI_PHASE_BODY);
        return MHD_YES;
    }
    exchange->cut = true;
    return send_answer(exchange, connection, &answer);
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
    if (exchange->length <= BODY_HARD_LIMIT) {
        return MHD_YES;
    }
    tell(exchange->visitor, exchange->target, 413, "the body does not end where it may");
    exchange->told = true;
    return MHD_NO;
}

static enum MHD_Result finish_exchange(struct exchange *exchange, struct MHD_Connection *connection,
                                       const char *method) {
    struct cli_answer answer = {0};
    struct cli_request *request = malloc(sizeof *request);
    if (request == NULL) {
        return MHD_NO;
    }
    cli_guard_phase(exchange->http->guard, exchange->visitor->place, CLI_PHASE_WORK);
    if (cli_request_parse(method, exchange->target, exchange->body, exchange->length, request,
                          &answer.refusal)) {
        request->peer = exchange->visitor->peer;
        cli_serve_answer(exchange->http->server, request, &answer);
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
    struct cli_httpd *http = arg;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) {
        return NULL;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    exchange->http = http;
    exchange->visitor = info != NULL ? info->socket_context : NULL;
    exchange->target = strdup(target);
    if (exchange->visitor == NULL || exchange->target == NULL) {
        free(exchange->target);
        free(exchange);
        return NULL;
    }
    cli_guard_phase(http->guard, exchange->visitor->place, CLI_PHASE_HEADERS);
    atomic_fetch_add(&http->server->requests, !cli_request_is_open(target));
    atomic_fetch_add(&http->server->active, 1);
    return exchange;
}

/* The status that the client was sent; 0: none. */
static int status_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_HTTP_STATUS);
    return info != NULL ? (int)info->http_status : 0;
}

/* What the HTTP library refused by itself, and what broke off, has its line as well. */
static void tell_the_end(const struct exchange *exchange, struct MHD_Connection *connection,
                         enum MHD_RequestTerminationCode code) {
    const struct visitor *visitor = exchange->visitor;
    int status = status_of(connection);
    if (code == MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN ||
        cli_guard_was_shut(exchange->http->guard, visitor->place)) {
        return;
    }
    if (!exchange->told) {
        tell(visitor, exchange->target, status != 0 ? status : 400,
             status != 0 ? NO_HTTP : "the request broke off");
    } else if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && status != 0) {
        cli_log(&(struct cli_log_entry){.level = "warning",
                                        .outcome = "failed",
                                        .kind = exchange->target,
                                        .peer = visitor->peer,
                                        .status = status,
                                        .text = "the answer broke off"});
    }
}

/* Bytes that have come on a connection; its end may count as one. */
static uint64_t bytes_heard(int fd) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_received : 0;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    (void)arg;
    struct exchange *exchange = *context;
    *context = NULL;
    if (exchange == NULL) {
        return;
    }
    tell_the_end(exchange, connection, code);
    /* What the HTTP library refused by itself was not told by us. */
    exchange->visitor->is_spent =
        exchange->cut || !exchange->told || code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
    exchange->visitor->heard = bytes_heard(exchange->visitor->fd);
    cli_guard_phase(exchange->http->guard, exchange->visitor->place, CLI_PHASE_IDLE);
    atomic_fetch_sub(&exchange->http->server->active, 1);
    cli_event_signal(exchange->http->server->idle_fd);
    free(exchange->target);
    free(exchange->body);
    free(exchange);
}

static void name_visitor(struct visitor *visitor, const struct sockaddr *address) {
    uid_t user;
    if (cli_local_peer(visitor->fd, &user)) {
        snprintf(visitor->peer, sizeof visitor->peer, "user %u", user);
    } else {
        cli_address_host(address, visitor->peer, sizeof visitor->peer);
    }
}

static struct visitor *greet(struct cli_httpd *http, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info != NULL ? info->client_addr : NULL;
    struct visitor *visitor = fd != NULL ? calloc(1, sizeof *visitor) : NULL;
    if (visitor != NULL) {
        visitor->fd = fd->connect_fd;
        name_visitor(visitor, address);
        visitor->place = cli_guard_add(http->guard, visitor->fd, address, visitor->peer);
    }
    return visitor;
}

/* What came and was not even the first line of a request is told, too; who only connects, to see
 * whether somebody listens, is not. */
static void see_off(struct cli_httpd *http, struct visitor *visitor) {
    if (!visitor->is_spent && bytes_heard(visitor->fd) > visitor->heard + 1 &&
        !cli_guard_was_shut(http->guard, visitor->place)) {
        tell(visitor, "connection", 400, NO_HTTP);
    }
    cli_guard_remove(http->guard, visitor->place);
    free(visitor);
}

/* A connection has come or goes; its socket is open in both cases. */
static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct cli_httpd *http = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = greet(http, connection);
    } else if (code == MHD_CONNECTION_NOTIFY_CLOSED && *context != NULL) {
        see_off(http, *context);
        *context = NULL;
    }
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

static struct MHD_Daemon *start_daemon(struct cli_httpd *http, int fd, uint32_t max_connections) {
    return MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
            MHD_USE_ITC | MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, NULL, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)max_connections + LEAVING_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_THREAD_STACK_SIZE, THREAD_STACK,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, http, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

static int start_listening(const char *listen, struct cli_bound *bound, struct cli_local *local,
                           char text[CLI_SENTENCE_SIZE]) {
    const char *path = cli_local_path(listen);
    local->path[0] = '\0';
    if (path == NULL) {
        return cli_address_listen(listen, bound, text);
    }
    int fd = cli_local_listen(path, local, text);
    snprintf(bound->name, sizeof bound->name, CLI_LOCAL "%s", local->path);
    bound->is_loopback = true;
    return fd;
}

struct cli_httpd *cli_httpd_start(struct cli_server *server,
                                  const struct cli_httpd_options *options,
                                  struct cli_bound *bound) {
    char text[CLI_SENTENCE_SIZE];
    struct cli_local local;
    int fd = start_listening(options->listen, bound, &local, text);
    if (fd < 0) {
        cli_fail("%s", text);
        return NULL;
    }
    struct cli_httpd *http = calloc(1, sizeof *http);
    if (http != NULL) {
        http->server = server;
        http->local = local;
        http->hosts = &options->hosts;
        http->guard = cli_guard_create(options->max_connections);
    }
    if (http != NULL && http->guard != NULL) {
        http->daemon = start_daemon(http, fd, options->max_connections);
    }
    if (http != NULL && http->daemon != NULL) {
        return http;
    }
    cli_fail("can't start the HTTP server: %s", cli_errno_text(errno));
    cli_local_remove(&local);
    cli_httpd_stop(http);
    close(fd);
    return NULL;
}

void cli_httpd_stop(struct cli_httpd *http) {
    if (http == NULL) {
        return;
    }
    /* While it still listens: no other server takes the file for one that was left behind. */
    cli_local_remove(&http->local);
    if (http->daemon != NULL) {
        MHD_stop_daemon(http->daemon);
    }
    cli_guard_destroy(http->guard);
    free(http);
}
