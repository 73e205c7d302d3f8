/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl takes the URLs apart; what the parts mean here is told apart by the scheme. */
#include "url.h"

#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "common/api.h"
#include "common/local.h"
#include "common/message.h"
#include "common/text.h"

#define OBJECTS CLI_PATH_OBJECTS "/"
#define NATS_PORT "4222"

static bool has_part(CURLU *parsed, CURLUPart part) {
    char *value = NULL;
    bool has = curl_url_get(parsed, part, &value, 0) == CURLUE_OK;
    curl_free(value);
    return has;
}

/* A decoded part in memory of its own; NULL: there is none. */
static char *copy_part(CURLU *parsed, CURLUPart part) {
    char *value = NULL, *copy = NULL;
    if (curl_url_get(parsed, part, &value, CURLU_URLDECODE) == CURLUE_OK) {
        copy = strdup(value);
    }
    curl_free(value);
    return copy;
}

static bool begins_with(const char *text, const char *scheme) {
    return strncasecmp(text, scheme, strlen(scheme)) == 0;
}

const char *cli_subject_check(const char *prefix) {
    size_t length = strlen(prefix);
    if (length == 0) {
        return "is empty";
    }
    if (length > CLI_SUBJECT_MAX) {
        return "is longer than 200 bytes";
    }
    if (prefix[0] == '$' || prefix[0] == '_') {
        return "begins with '$' or '_', which NATS keeps for itself";
    }
    for (const char *at = prefix; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~' || strchr("*>/%", *at) != NULL) {
            return "holds a character that is not a visible ASCII one, or '*', '>', '/' or '%'";
        }
        if (*at == '.' && (at == prefix || at[1] == '.' || at[1] == '\0')) {
            return "has an empty part between its dots";
        }
    }
    return NULL;
}

/* What is wrong with a name in a URL that libcurl could read; NULL: nothing. */
static const char *take_name(const char *path, struct cli_url *url) {
    size_t length = strlen(path);
    url->is_directory = length == 0 || path[length - 1] == '/';
    if (length != 0 && url->is_directory) {
        length--;
    }
    return length != 0 ? cli_name_decode(path, length, url->name) : NULL;
}

/* path: of an HTTP URL, from its first slash on. */
static const char *take_path(const char *path, struct cli_url *url) {
    size_t prefix = strlen(OBJECTS);
    path += strncmp(path, OBJECTS, prefix) == 0 && path[prefix] != '\0' ? prefix : 1;
    return take_name(path, url);
}

/* The same of a NATS URL: its first component is the prefix. Sets *bad_subject or *bad_name. */
static void take_nats_path(const char *path, struct cli_url *url, const char **bad_subject,
                           const char **bad_name) {
    path += *path == '/';
    size_t length = strcspn(path, "/");
    url->subject = strndup(path, length);
    *bad_subject =
        url->subject != NULL ? cli_subject_check(url->subject) : "is too much for the memory";
    if (*bad_subject == NULL) {
        *bad_name = take_name(path + length + (path[length] == '/'), url);
    }
}

static bool take_base(CURLU *parsed, struct cli_url *url) {
    char *scheme = NULL, *host = NULL, *port = NULL;
    curl_url_get(parsed, CURLUPART_PORT, &port, url->is_nats ? 0 : CURLU_DEFAULT_PORT);
    if (curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK && *host != '\0' &&
        (port != NULL || url->is_nats)) {
        url->base = cli_format("%s://%s:%s", scheme, host, port != NULL ? port : NATS_PORT);
    }
    url->is_loopback =
        host != NULL && (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
                         strncmp(host, "127.", 4) == 0);
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    return url->base != NULL;
}

/* What is wrong with scheme, host, user and the like; NULL: nothing. */
static const char *take_server(CURLU *parsed, CURLUcode code, const char *text,
                               struct cli_url *url) {
    if (code != CURLUE_OK || strstr(text, ":///") != NULL || !take_base(parsed, url)) {
        return "can't be read as one";
    }
    if (has_part(parsed, CURLUPART_QUERY) || has_part(parsed, CURLUPART_FRAGMENT)) {
        return "holds '?' or '#'; write them as %3F and %23";
    }
    if (url->is_nats) {
        url->user = copy_part(parsed, CURLUPART_USER);
        url->password = copy_part(parsed, CURLUPART_PASSWORD);
    } else if (has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD)) {
        return "holds a user or a password";
    }
    return NULL;
}

/* A URL without its user and password, to be freed: it is for eyes and logs. */
static char *shown(const char *text) {
    const char *host = strstr(text, "://");
    host = host != NULL ? host + 3 : text;
    size_t authority = strcspn(host, "/");
    const char *at = memrchr(host, '@', authority);
    return at != NULL ? cli_format("%.*s***%s", (int)(host - text), text, at) : strdup(text);
}

static CURLU *parse(const char *text, struct cli_url *url, CURLUcode *code) {
    *url = (struct cli_url){0};
    url->is_tls = begins_with(text, "tls://");
    url->is_nats = url->is_tls || begins_with(text, "nats://");
    unsigned flags = CURLU_PATH_AS_IS | CURLU_URLENCODE | CURLU_ALLOW_SPACE;
    CURLU *parsed = curl_url();
    *code = parsed != NULL ? curl_url_set(parsed, CURLUPART_URL, text,
                                          flags | (url->is_nats ? CURLU_NON_SUPPORT_SCHEME : 0))
                           : CURLUE_OUT_OF_MEMORY;
    return parsed;
}

static bool complain(const char *text, const char *part, const char *wrong, const char *way_out) {
    char *visible = shown(text);
    cli_fail("the URL '%s' is not usable: %s %s%s", visible != NULL ? visible : "?", part, wrong,
             way_out);
    free(visible);
    return false;
}

/* "unix:PATH" or "unix:PATH:/NAME". */
static bool parse_local(const char *text, struct cli_url *url) {
    const char *path = cli_local_path(text);
    const char *end = path[0] != '\0' ? strstr(path + 1, CLI_LOCAL_END) : NULL;
    size_t length = end != NULL ? (size_t)(end - path) : strlen(path);
    *url = (struct cli_url){0};
    url->socket = strndup(path, length);
    url->base = url->socket != NULL ? cli_format(CLI_LOCAL "%s", url->socket) : NULL;
    if (url->base == NULL || length == 0 || (end != NULL && strpbrk(end, "?#") != NULL)) {
        return complain(text, "it",
                        length == 0 ? "has no path" : "holds '?' or '#'; write them as %3F and %23",
                        "; write unix:PATH:/NAME");
    }
    const char *bad_name = take_path(end != NULL ? end + 1 : "/", url);
    return bad_name == NULL || complain(text, "the name of the object", bad_name, "");
}

bool cli_url_parse(const char *text, struct cli_url *url) {
    if (cli_local_path(text) != NULL) {
        return parse_local(text, url);
    }
    CURLUcode code;
    CURLU *parsed = parse(text, url, &code);
    bool known = url->is_nats || begins_with(text, "http://") || begins_with(text, "https://");
    const char *bad_name = NULL, *bad_subject = NULL, *wrong;
    char *path = NULL;
    wrong =
        known ? take_server(parsed, code, text, url) : "does not begin with 'http://' or 'nats://'";
    if (wrong == NULL && curl_url_get(parsed, CURLUPART_PATH, &path, 0) != CURLUE_OK) {
        wrong = "can't be read";
    }
    if (wrong == NULL && url->is_nats) {
        take_nats_path(path, url, &bad_subject, &bad_name);
    } else if (wrong == NULL) {
        bad_name = take_path(path, url);
    }
    curl_free(path);
    curl_url_cleanup(parsed);
    if (wrong != NULL) {
        return complain(text, "it", wrong,
                        url->is_nats ? "; write nats://HOST:PORT/PREFIX/NAME"
                                     : "; write http://HOST:PORT/NAME");
    }
    if (bad_subject != NULL) {
        return complain(text, "the prefix of its subjects", bad_subject,
                        "; write nats://HOST:PORT/PREFIX/NAME");
    }
    return bad_name == NULL || complain(text, "the name of the object", bad_name, "");
}

bool cli_url_parse_nats(const char *text, struct cli_url *url) {
    CURLUcode code;
    CURLU *parsed = parse(text, url, &code);
    const char *wrong = url->is_nats ? take_server(parsed, code, text, url)
                                     : "does not begin with 'nats://' or 'tls://'";
    char *path = NULL;
    if (wrong == NULL && curl_url_get(parsed, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
        path[0] != '\0' && strcmp(path, "/") != 0) {
        wrong = "has a path; the prefix of the subjects is given with '--subject'";
    }
    curl_free(path);
    curl_url_cleanup(parsed);
    return wrong == NULL || complain(text, "it", wrong, "; write nats://HOST:PORT");
}

void cli_url_free(struct cli_url *url) {
    if (url->password != NULL) {
        explicit_bzero(url->password, strlen(url->password));
    }
    free(url->base);
    free(url->socket);
    free(url->subject);
    free(url->user);
    free(url->password);
    *url = (struct cli_url){0};
}
