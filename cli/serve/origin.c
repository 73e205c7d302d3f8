/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for Host, Origin and Sec-Fetch-Site. */
#include "origin.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define HOST_SIZE 256

/* The host of "HOST", "HOST:PORT" or "[HOST]:PORT". False: it is neither. */
static bool take_host(const char *text, char host[HOST_SIZE]) {
    bool brackets = text[0] == '[';
    size_t length = strcspn(text + brackets, brackets ? "]" : ":/");
    const char *rest = text + brackets + length + brackets;
    if (length == 0 || length >= HOST_SIZE || (brackets && rest[-1] != ']') ||
        (rest[0] != '\0' &&
         (rest[0] != ':' || strspn(rest + 1, "0123456789") != strlen(rest + 1)))) {
        return false;
    }
    memcpy(host, text + brackets, length);
    host[length] = '\0';
    if (length > 1 && host[length - 1] == '.') {
        host[length - 1] = '\0';
    }
    return true;
}

/* A page can have its own name lead here, but it can't be reached under somebody else's number. */
static bool is_number(const char *host) {
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

static bool is_among(const char *host, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(host, names[i]) == 0 || strcmp(names[i], "*") == 0) {
            return true;
        }
    }
    return false;
}

static bool host_is_right(const struct cli_hosts *hosts, const char *text) {
    char host[HOST_SIZE];
    return text == NULL ||
           (take_host(text, host) &&
            (is_number(host) || strcasecmp(host, "localhost") == 0 ||
             strcasecmp(host, hosts->machine) == 0 || is_among(host, hosts->names, hosts->count)));
}

/* Whether a page of this origin may ask. */
static bool origin_is_right(const struct cli_hosts *hosts, const char *origin) {
    char host[HOST_SIZE];
    const char *rest = strstr(origin, "://");
    return rest != NULL && take_host(rest + 3, host) &&
           is_among(host, hosts->names, hosts->allowed);
}

bool cli_origin_check(const struct cli_hosts *hosts, const struct cli_origin *origin,
                      struct cli_refusal *refusal) {
    if (!host_is_right(hosts, origin->host)) {
        return cli_refuse(
            refusal, 421,
            "this server is not called '%.200s'; start it with '--allow-host NAME' if "
            "it is, or use its address in numbers",
            origin->host);
    }
    if (origin->origin != NULL) {
        return origin_is_right(hosts, origin->origin) ||
               cli_refuse(
                   refusal, 403,
                   "pages of '%.200s' may not use this server; '--allow-host NAME' permits it",
                   origin->origin);
    }
    if (origin->site != NULL && strcmp(origin->site, "none") != 0 &&
        strcmp(origin->site, "same-origin") != 0) {
        return cli_refuse(refusal, 403, "pages of other sites may not use this server");
    }
    return true;
}
