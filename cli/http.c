/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <ropeway.h>

#include "interrupt.h"
#include "util.h"

#define RETRY_MAX_MS 5000

struct rw_http {
    CURL *easy;
    CURLM *multi;
    char *base;
    struct curl_slist *headers;
    uint32_t timeout_ms;
    char error[CURL_ERROR_SIZE];
};

/* What came as an answer. */
struct answer {
    char *data;
    size_t length;
    size_t capacity;
    size_t limit;
    bool too_long;
};

static size_t on_data(char *data, size_t unit, size_t count, void *arg) {
    struct answer *answer = arg;
    size_t size = unit * count;
    if (size > answer->limit - answer->length) {
        answer->too_long = true;
        return 0;
    }
    size_t needed = answer->length + size;
    if (needed > answer->capacity) {
        size_t capacity = answer->capacity * 2 > needed ? answer->capacity * 2 : needed;
        char *grown = realloc(answer->data, capacity);
        if (!grown)
            return 0;
        answer->data = grown;
        answer->capacity = capacity;
    }
    memcpy(answer->data + answer->length, data, size);
    answer->length += size;
    return size;
}

static bool set_up(struct rw_http *http) {
    CURL *easy = http->easy;
    long seconds = ((long)http->timeout_ms + 999) / 1000;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    /* Peers reach each other directly, so a proxy in between makes no sense. */
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, seconds);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "ropeway/" ROPEWAY_VERSION_STRING);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, http->headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, http->error);
    return curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
}

static bool add_header(struct rw_http *http, const char *header) {
    struct curl_slist *longer = header ? curl_slist_append(http->headers, header) : NULL;
    if (longer)
        http->headers = longer;
    return longer != NULL;
}

struct rw_http *rw_http_open(const char *base, const char *token, uint32_t timeout_ms) {
    struct rw_http *http = calloc(1, sizeof *http);
    char *authorization = token ? rw_format("Authorization: Bearer %s", token) : NULL;
    bool opened = false;
    if (http && curl_global_init(CURL_GLOBAL_DEFAULT) == 0) {
        http->timeout_ms = timeout_ms;
        http->base = strdup(base);
        http->easy = curl_easy_init();
        http->multi = curl_multi_init();
        opened = http->base && http->easy && http->multi &&
                 add_header(http, "Content-Type: application/json") &&
                 (!token || add_header(http, authorization)) && set_up(http);
    }
    if (authorization)
        explicit_bzero(authorization, strlen(authorization));
    free(authorization);
    if (opened)
        return http;
    rw_fail("can't start the HTTP client: out of memory, or libcurl lacks HTTP");
    rw_http_close(http);
    return NULL;
}

void rw_http_close(struct rw_http *http) {
    if (!http)
        return;
    curl_multi_cleanup(http->multi);
    curl_easy_cleanup(http->easy);
    curl_slist_free_all(http->headers);
    free(http->base);
    free(http);
}

/* Drives one request to its end. False: a signal came. */
static bool drive(struct rw_http *http, CURLcode *result) {
    struct curl_waitfd interrupt = {.fd = rw_interrupt_fd(), .events = CURL_WAIT_POLLIN};
    int running = 1;
    *result = CURLE_FAILED_INIT;
    http->error[0] = '\0';
    curl_multi_add_handle(http->multi, http->easy);
    while (running && !rw_interrupted()) {
        if (curl_multi_perform(http->multi, &running) != CURLM_OK)
            break;
        if (running)
            curl_multi_poll(http->multi, &interrupt, 1, 1000, NULL);
    }
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(http->multi, &left))) {
        if (message->msg == CURLMSG_DONE)
            *result = message->data.result;
    }
    curl_multi_remove_handle(http->multi, http->easy);
    return !rw_interrupted();
}

/* Sends it once. Returns the HTTP status; 0: a sentence was printed, or a signal came. */
static long send_once(struct rw_http *http, const char *url, const char *body,
                      struct answer *answer) {
    answer->length = 0;
    curl_easy_setopt(http->easy, CURLOPT_URL, url);
    curl_easy_setopt(http->easy, CURLOPT_WRITEDATA, answer);
    if (body) {
        curl_easy_setopt(http->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
        curl_easy_setopt(http->easy, CURLOPT_POSTFIELDS, body);
    } else {
        curl_easy_setopt(http->easy, CURLOPT_HTTPGET, 1L);
    }
    CURLcode result;
    long status = 0;
    if (!drive(http, &result))
        return 0;
    if (result == CURLE_OK)
        curl_easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &status);
    if (answer->too_long)
        rw_fail("the answer of %s is longer than %zu bytes; is this a Ropeway server?", http->base,
                answer->limit);
    else if (result == CURLE_COULDNT_CONNECT || result == CURLE_COULDNT_RESOLVE_HOST)
        rw_fail("can't reach %s: %s; check that 'ropeway serve' runs there", http->base,
                *http->error ? http->error : curl_easy_strerror(result));
    else if (result == CURLE_OPERATION_TIMEDOUT)
        rw_fail("%s was silent for %u s; check the server, or give it more time with '--timeout'",
                http->base, (http->timeout_ms + 999) / 1000);
    else if (result != CURLE_OK)
        rw_fail("lost %s: %s; check whether the server still runs", http->base,
                *http->error ? http->error : curl_easy_strerror(result));
    return status;
}

/* Sends it again while the server is busy and says when to come back. */
static long send_patiently(struct rw_http *http, const char *url, const char *body,
                           struct answer *answer) {
    uint64_t give_up = rw_now_ms() + http->timeout_ms;
    for (;;) {
        long status = send_once(http, url, body, answer);
        curl_off_t seconds = 0;
        if (status == 503)
            curl_easy_getinfo(http->easy, CURLINFO_RETRY_AFTER, &seconds);
        uint64_t now = rw_now_ms();
        if (status != 503 || seconds <= 0 || now >= give_up)
            return status;
        uint64_t pause = seconds > RETRY_MAX_MS / 1000 ? RETRY_MAX_MS : (uint64_t)seconds * 1000;
        if (pause > give_up - now)
            pause = give_up - now;
        struct pollfd interrupt = {.fd = rw_interrupt_fd(), .events = POLLIN};
        poll(&interrupt, 1, (int)pause);
        if (rw_interrupted())
            return 0;
    }
}

static json_t *read_answer(struct rw_http *http, long status, const struct answer *answer) {
    json_error_t error;
    json_t *json = json_loadb(answer->data ? answer->data : "", answer->length,
                              JSON_REJECT_DUPLICATES, &error);
    if (status == 200 && json_is_object(json))
        return json;
    const char *sentence = json_string_value(json_object_get(json, "error"));
    if (status != 200 && sentence)
        rw_fail("%s refuses with HTTP status %ld: %s", http->base, status, sentence);
    else if (status != 200)
        rw_fail("%s answers with HTTP status %ld; is this a Ropeway server?", http->base, status);
    else
        rw_fail("the answer of %s is not a JSON object (%s); is this a Ropeway server?", http->base,
                json ? "it is another value" : error.text);
    json_decref(json);
    return NULL;
}

json_t *rw_http_call(struct rw_http *http, const char *method, const char *path, json_t *body,
                     size_t limit) {
    bool post = strcmp(method, "POST") == 0;
    char *url = rw_format("%s%s", http->base, path);
    char *text = post && body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_t *json = NULL;
    json_decref(body);
    if (url && (text || !post)) {
        struct answer answer = {.limit = limit};
        long status = send_patiently(http, url, text, &answer);
        if (status)
            json = read_answer(http, status, &answer);
        free(answer.data);
    } else {
        rw_fail("out of memory");
    }
    free(url);
    free(text);
    return json;
}
