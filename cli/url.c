/* SPDX-License-Identifier: Apache-2.0 */
#include "url.h"

#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "util.h"

#define OBJECTS "/v1/objects/"

static bool has_part(CURLU *parsed, CURLUPart part) {
    char *value = NULL;
    bool has = curl_url_get(parsed, part, &value, 0) == CURLUE_OK;
    curl_free(value);
    return has;
}

/* What is wrong with a URL that libcurl could read; NULL: nothing. */
static const char *take_path(const char *path, struct rw_url *url) {
    size_t prefix = strlen(OBJECTS);
    path += strncmp(path, OBJECTS, prefix) == 0 && path[prefix] ? prefix : 1;
    size_t length = strlen(path);
    url->is_directory = length == 0 || path[length - 1] == '/';
    if (length && url->is_directory)
        length--;
    return length ? rw_name_decode(path, length, url->name) : NULL;
}

static bool take_base(CURLU *parsed, struct rw_url *url) {
    char *scheme = NULL, *host = NULL, *port = NULL;
    if (curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
        url->base = rw_format("%s://%s:%s", scheme, host, port);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    return url->base != NULL;
}

bool rw_url_parse(const char *text, struct rw_url *url) {
    memset(url, 0, sizeof *url);
    CURLU *parsed = curl_url();
    char *path = NULL;
    const char *wrong = NULL;
    bool http = strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
    CURLUcode code = parsed ? curl_url_set(parsed, CURLUPART_URL, text,
                                           CURLU_PATH_AS_IS | CURLU_URLENCODE | CURLU_ALLOW_SPACE)
                            : CURLUE_OUT_OF_MEMORY;
    if (!http)
        wrong = "does not begin with 'http://'";
    else if (code != CURLUE_OK || !take_base(parsed, url) ||
             curl_url_get(parsed, CURLUPART_PATH, &path, 0) != CURLUE_OK)
        wrong = code != CURLUE_OK ? curl_url_strerror(code) : "can't be read";
    else if (has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD))
        wrong = "holds a user or a password";
    else if (has_part(parsed, CURLUPART_QUERY) || has_part(parsed, CURLUPART_FRAGMENT))
        wrong = "holds '?' or '#'; write them as %3F and %23";
    const char *bad_name = wrong || !path ? NULL : take_path(path, url);
    if (wrong)
        rw_fail("the URL '%s' is not usable: it %s; write http://HOST:PORT/NAME", text, wrong);
    else if (bad_name)
        rw_fail("the URL '%s' is not usable: the name of the object %s", text, bad_name);
    curl_free(path);
    curl_url_cleanup(parsed);
    return !wrong && !bad_name;
}

void rw_url_free(struct rw_url *url) {
    free(url->base);
    url->base = NULL;
}
