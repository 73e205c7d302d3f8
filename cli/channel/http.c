/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to one HTTP server, with libcurl. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <curl/curl.h>
#include <ropeway.h>

#include "channel.h"
#include "common/api.h"
#include "common/interrupt.h"
#include "common/local.h"
#include "common/message.h"
#include "common/name.h"
#include "common/text.h"

#define TRIES 4
#define AGAIN_PAUSE_MS 50
#define HEADERS_MAX ((size_t)64 << 10)
#define SLOWEST 256L /* bytes per second; less is silence */

struct http {
    struct cli_channel channel;
    const char *origin; /* what URLs begin with */
    const char *socket; /* as in struct cli_url */
    CURL *easy;
    CURLM *multi;
    struct curl_slist *headers;
    size_t header_bytes; /* of the present answer */
    curl_socket_t fd;    /* of the latest connection to a Unix socket */
    bool is_strange;     /* somebody else listens at it: */
    uid_t stranger;
    char error[CURL_ERROR_SIZE];
};

/* Where the bytes of an answer go. */
struct incoming {
    struct cli_reply *reply;
    size_t limit;
    bool too_long;
};

static size_t on_data(char *data, size_t unit, size_t count, void *arg) {
    struct incoming *incoming = arg;
    struct cli_reply *reply = incoming->reply;
    size_t size = unit * count;
    if (size > incoming->limit - reply->length) {
        incoming->too_long = true;
        return 0;
    }
    size_t needed = reply->length + size;
    if (needed > reply->capacity) {
        size_t capacity = reply->capacity * 2 > needed ? reply->capacity * 2 : needed;
        char *grown = realloc(reply->data, capacity);
        if (grown == NULL) {
            return 0;
        }
        reply->data = grown;
        reply->capacity = capacity;
    }
    memcpy(reply->data + reply->length, data, size);
    reply->length += size;
    return size;
}

static size_t on_header(char *data, size_t unit, size_t count, void *arg) {
    (void)data;
    struct http *http = arg;
    http->header_bytes += unit * count;
    return http->header_bytes <= HEADERS_MAX ? unit * count : 0;
}

/* libcurl tells the socket of a connection only once a request was sent. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)purpose;
    struct http *http = arg;
    http->fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    return http->fd;
}

/* Connected, and nothing was sent: neither the token nor the request is for other users. */
static int on_connected(void *arg, char *address, char *local_address, int port, int local_port) {
    (void)address, (void)local_address, (void)port, (void)local_port;
    struct http *http = arg;
    uid_t user = (uid_t)-1;
    http->is_strange = !cli_local_peer(http->fd, &user) || (user != geteuid() && user != 0);
    http->stranger = user;
    return http->is_strange ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static void set_credentials(CURL *easy, const struct cli_credentials *credentials) {
    if (credentials->tls_ca != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, credentials->tls_ca);
    }
    if (credentials->tls_cert != NULL) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, credentials->tls_cert);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, credentials->tls_key);
    }
}

static bool set_up(struct http *http) {
    CURL *easy = http->easy;
    long seconds = ((long)http->channel.timeout_ms + 999) / 1000;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* Peers reach each other directly, so a proxy in between makes no sense. */
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http->channel.timeout_ms);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, SLOWEST);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, seconds);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "ropeway/" ROPEWAY_VERSION_STRING);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, http);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, http->headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, http->error);
    if (http->socket != NULL) {
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, http->socket);
        http->fd = CURL_SOCKET_BAD;
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, http);
        curl_easy_setopt(easy, CURLOPT_PREREQDATA, http);
        if (curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected) != CURLE_OK) {
            return false;
        }
    }
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
}

static bool add_header(struct http *http, const char *header) {
    struct curl_slist *longer = header != NULL ? curl_slist_append(http->headers, header) : NULL;
    if (longer != NULL) {
        http->headers = longer;
    }
    return longer != NULL;
}

static void http_close(struct cli_channel *channel) {
    struct http *http = (struct http *)channel;
    curl_multi_cleanup(http->multi);
    curl_easy_cleanup(http->easy);
    curl_slist_free_all(http->headers);
    free(http);
}

static struct cli_channel *http_open(const struct cli_url *url,
                                     const struct cli_channel_options *options) {
    struct http *http = calloc(1, sizeof *http);
    char *authorization =
        options->token != NULL ? cli_format("Authorization: Bearer %s", options->token) : NULL;
    bool opened = false;
    if (http != NULL && curl_global_init(CURL_GLOBAL_DEFAULT) == 0) {
        http->channel = (struct cli_channel){&cli_channel_http, url->base, options->timeout_ms};
        http->origin = url->socket != NULL ? "http://localhost" : url->base;
        http->socket = url->socket;
        http->easy = curl_easy_init();
        http->multi = curl_multi_init();
        opened = http->easy != NULL && http->multi != NULL &&
                 add_header(http, "Content-Type: application/json") &&
                 (options->token == NULL || add_header(http, authorization)) && set_up(http);
    }
    if (authorization != NULL) {
        explicit_bzero(authorization, strlen(authorization));
    }
    free(authorization);
    if (opened) {
        set_credentials(http->easy, &options->credentials);
        return &http->channel;
    }
    cli_fail("can't start the HTTP client: out of memory, or libcurl lacks HTTP");
    if (http != NULL) {
        http_close(&http->channel);
    }
    return NULL;
}

/* Drives one request to its end. False: a signal came. */
static bool drive(struct http *http, CURLcode *result) {
    struct curl_waitfd interrupt = {.fd = cli_interrupt_fd(), .events = CURL_WAIT_POLLIN};
    int running = 1;
    *result = CURLE_FAILED_INIT;
    http->error[0] = '\0';
    http->header_bytes = 0;
    http->is_strange = false;
    curl_multi_add_handle(http->multi, http->easy);
    while (running != 0 && !cli_interrupted()) {
        if (curl_multi_perform(http->multi, &running) != CURLM_OK) {
            break;
        }
        if (running != 0) {
            curl_multi_poll(http->multi, &interrupt, 1, 1000, NULL);
        }
    }
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            *result = message->data.result;
        }
    }
    curl_multi_remove_handle(http->multi, http->easy);
    return !cli_interrupted();
}

/* The system's error of an attempt to connect; 0: none. */
static int connect_error(const struct http *http) {
    long error = 0;
    curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &error);
    return (int)error;
}

/* Says why an exchange failed. */
static void explain(const struct http *http, CURLcode result, const struct incoming *incoming) {
    const char *base = http->channel.base;
    const char *words = http->error[0] != '\0' ? http->error : curl_easy_strerror(result);
    if (incoming->too_long) {
        cli_fail("the answer of %s is longer than %zu bytes; is this a Ropeway server?", base,
                 incoming->limit);
        return;
    }
    if (http->header_bytes > HEADERS_MAX) {
        cli_fail("the headers of %s are longer than %zu bytes; is this a Ropeway server?", base,
                 HEADERS_MAX);
        return;
    }
    if (http->is_strange) {
        cli_fail("%s is not trusted: a process of user %u listens there; only servers of this user "
                 "and of root are",
                 base, http->stranger);
        return;
    }
    if (http->socket != NULL && result == CURLE_COULDNT_CONNECT) {
        int error = connect_error(http);
        cli_fail("can't reach %s: %s; check that 'ropeway serve' runs there, as the same user",
                 base, error != 0 ? cli_errno_text(error) : words);
        return;
    }
    switch (result) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        cli_fail("can't reach %s: %s; check that 'ropeway serve' runs there", base, words);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        cli_fail("%s was silent for %u s; check the server, or give it more time with '--timeout'",
                 base, (http->channel.timeout_ms + 999) / 1000);
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
        cli_fail("the certificate of %s is not trusted: %s; '--tls-ca FILE' says whom to trust",
                 base, words);
        break;
    case CURLE_SSL_CACERT_BADFILE:
        cli_fail("can't use the file of '--tls-ca': %s; give certificates as PEM", words);
        break;
    case CURLE_SSL_CERTPROBLEM:
        cli_fail("can't use the files of '--tls-cert' and '--tls-key': %s; give them as PEM",
                 words);
        break;
    case CURLE_SSL_CONNECT_ERROR:
        cli_fail("no TLS with %s: %s; is it an http:// server?", base, words);
        break;
    default:
        cli_fail("lost %s: %s; check whether the server still runs", base, words);
    }
}

/* A server that has too many connections closes some without a word. It has not begun to answer,
 * and an offer that nobody takes up is dropped: the request may be sent again. To libcurl a Unix
 * socket that is closed so early was never connected. */
static bool was_put_out(const struct http *http, CURLcode result) {
    return http->header_bytes == 0 &&
           (result == CURLE_GOT_NOTHING || result == CURLE_RECV_ERROR ||
            result == CURLE_SEND_ERROR ||
            (result == CURLE_COULDNT_CONNECT && http->socket != NULL && connect_error(http) == 0));
}

static bool pause_unless_interrupted(int ms) {
    struct pollfd interrupt = {.fd = cli_interrupt_fd(), .events = POLLIN};
    poll(&interrupt, 1, ms);
    return !cli_interrupted();
}

/* Sends it, and again where that may help. False: a sentence was printed, or a signal came. */
static bool exchange(struct http *http, const char *url, const char *body,
                     struct incoming *incoming) {
    curl_easy_setopt(http->easy, CURLOPT_URL, url);
    curl_easy_setopt(http->easy, CURLOPT_WRITEDATA, incoming);
    if (body != NULL) {
        curl_easy_setopt(http->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        curl_easy_setopt(http->easy, CURLOPT_POSTFIELDS, body);
    } else {
        curl_easy_setopt(http->easy, CURLOPT_HTTPGET, 1L);
    }
    CURLcode result;
    for (int left = TRIES; left > 0; left--) {
        if (!drive(http, &result)) {
            return false;
        }
        if (!was_put_out(http, result) || !pause_unless_interrupted(AGAIN_PAUSE_MS)) {
            break;
        }
    }
    if (cli_interrupted()) {
        return false;
    }
    if (result != CURLE_OK) {
        explain(http, result, incoming);
    }
    return result == CURLE_OK;
}

static void take_status(struct http *http, struct cli_reply *reply) {
    long status = 0;
    curl_off_t seconds = 0;
    curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(http->easy, CURLINFO_RETRY_AFTER, &seconds);
    reply->status = (int)status;
    reply->retry_after_s = (long)seconds;
}

static char *list_url(const char *base, const struct cli_query *ask) {
    char *after = cli_name_encode(ask->after);
    char *url = after != NULL ? cli_format("%s" CLI_PATH_OBJECTS "?limit=%u%s%s", base, ask->page,
                                           after[0] != '\0' ? "&after=" : "", after)
                              : NULL;
    free(after);
    return url;
}

static char *url_of(const struct http *http, const struct cli_query *ask) {
    const char *base = http->origin;
    if (ask->route == CLI_ROUTE_LIST) {
        return list_url(base, ask);
    }
    if (ask->route == CLI_ROUTE_TRANSFER) {
        return cli_format("%s" CLI_PATH_TRANSFERS "/%s?wait=%u", base, ask->transfer, ask->wait_s);
    }
    char *name = cli_name_encode(ask->name);
    char *url = name != NULL ? cli_format("%s" CLI_PATH_OBJECTS "/%s/%s", base, name,
                                          ask->route == CLI_ROUTE_READ ? "read" : "write")
                             : NULL;
    free(name);
    return url;
}

static bool http_send(struct cli_channel *channel, const struct cli_query *ask,
                      struct cli_reply *reply) {
    struct http *http = (struct http *)channel;
    struct incoming incoming = {.reply = reply, .limit = ask->limit};
    bool post = ask->route == CLI_ROUTE_READ || ask->route == CLI_ROUTE_WRITE;
    char *url = url_of(http, ask);
    char *text = post && ask->body != NULL ? json_dumps(ask->body, JSON_COMPACT) : NULL;
    bool sent = false;
    if (url == NULL || (post && text == NULL)) {
        cli_fail("out of memory");
    } else {
        sent = exchange(http, url, text, &incoming);
    }
    if (sent) {
        take_status(http, reply);
    }
    free(url);
    free(text);
    return sent;
}

const struct cli_channel_kind cli_channel_http = {http_open, http_send, http_close};
