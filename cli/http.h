/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to one server. */
#ifndef RW_HTTP_H
#define RW_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

struct rw_http;

/* base: as in struct rw_url. token: NULL for none; copied. timeout_ms: how long a server may be
 * silent, and for how long one that is busy is asked again. NULL: a sentence was printed. */
struct rw_http *rw_http_open(const char *base, const char *token, uint32_t timeout_ms);
void rw_http_close(struct rw_http *http);

/* Sends a request and returns the answer, a JSON object to be freed. method: "GET", or "POST" with
 * body, which is freed. limit: the longest answer to be taken. NULL: a sentence was printed, or a
 * signal came. */
json_t *rw_http_call(struct rw_http *http, const char *method, const char *path, json_t *body,
                     size_t limit);

#endif
