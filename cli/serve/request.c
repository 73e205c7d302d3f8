/* SPDX-License-Identifier: Apache-2.0 */
/* Every byte of a request that a stranger chose passes through here. jansson reads the JSON. */
#include "request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "common/text.h"

#define OBJECTS CLI_PATH_OBJECTS "/"
#define TRANSFERS CLI_PATH_TRANSFERS "/"

bool cli_refuse(struct cli_refusal *refusal, int status, const char *format, ...) {
    char text[CLI_SENTENCE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    refusal->status = status;
    refusal->allow = NULL;
    refusal->retry_after = 0;
    cli_sentence(refusal->text, "%s", text);
    /* The sentence may quote what a client sent, and must be UTF-8 to travel as JSON. */
    for (char *at = refusal->text; !cli_utf8_valid(refusal->text, strlen(refusal->text)); at++) {
        if ((*at & 0x80) != 0) {
            *at = '?';
        }
    }
    return false;
}

static bool check_method(const char *method, const char *wanted, const char *path, size_t length,
                         struct cli_refusal *refusal) {
    /* The HTTP library answers HEAD from what it would answer GET. */
    bool get = strcmp(wanted, "GET") == 0;
    if (strcmp(method, wanted) == 0 || (get && strcmp(method, "HEAD") == 0)) {
        return true;
    }
    cli_refuse(refusal, 405, "'%.*s' takes %s, not %.32s", (int)length, path, wanted, method);
    refusal->allow = get ? "GET, HEAD" : wanted;
    return false;
}

/* An optional member that is a whole number from 0 on. */
static bool take_number(json_t *body, const char *key, uint64_t *value,
                        struct cli_refusal *refusal) {
    json_t *member = json_object_get(body, key);
    if (member == NULL) {
        return true;
    }
    if (!json_is_integer(member) || json_integer_value(member) < 0) {
        return cli_refuse(refusal, 400, "\"%s\" must be a whole number of bytes, from 0 to %llu",
                          key, (unsigned long long)CLI_OBJECT_SIZE_MAX);
    }
    *value = (uint64_t)json_integer_value(member);
    return true;
}

static bool take_read(json_t *body, struct cli_request *request, struct cli_refusal *refusal) {
    request->length = CLI_TO_THE_END;
    if (!take_number(body, "offset", &request->offset, refusal) ||
        !take_number(body, "length", &request->length, refusal)) {
        return false;
    }
    json_t *checksum = json_object_get(body, "checksum");
    if (checksum != NULL && !json_is_boolean(checksum)) {
        return cli_refuse(refusal, 400, "\"checksum\" must be true or false");
    }
    request->want_checksum = json_is_true(checksum);
    return true;
}

static bool take_write(json_t *body, struct cli_request *request, struct cli_refusal *refusal) {
    if (json_object_get(body, "size") == NULL) {
        return cli_refuse(refusal, 400, "\"size\" is missing; send {\"size\": BYTES}");
    }
    if (!take_number(body, "size", &request->size, refusal)) {
        return false;
    }
    json_t *checksum = json_object_get(body, "checksum");
    if (checksum == NULL) {
        return true;
    }
    if (!json_is_string(checksum) || !cli_checksum_valid(json_string_value(checksum))) {
        return cli_refuse(refusal, 400,
                          "\"checksum\" must be \"xxh3-128:\" and 32 small hexadecimal digits");
    }
    memcpy(request->checksum, json_string_value(checksum), CLI_CHECKSUM_SIZE);
    return true;
}

/* The body as an object to be freed; an empty one stands for {}. NULL: a refusal. */
static json_t *load_body(const char *body, size_t length, struct cli_refusal *refusal) {
    if (length > CLI_BODY_MAX) {
        cli_refuse(refusal, 413, "the body has %zu bytes; %zu are allowed", length, CLI_BODY_MAX);
        return NULL;
    }
    json_error_t error;
    json_t *object =
        length != 0 ? json_loadb(body, length, JSON_REJECT_DUPLICATES, &error) : json_object();
    if (json_is_object(object)) {
        return object;
    }
    if (object == NULL) {
        cli_refuse(refusal, 400, "the body is not JSON: %s", length != 0 ? error.text : "");
    } else {
        cli_refuse(refusal, 400, "the body must be a JSON object");
    }
    json_decref(object);
    return NULL;
}

static bool take_body(json_t *body, struct cli_request *request, struct cli_refusal *refusal) {
    return request->route == CLI_ROUTE_READ ? take_read(body, request, refusal)
                                            : take_write(body, request, refusal);
}

/* path: what follows "/v1/objects/". */
static bool parse_object(const char *method, const char *path, size_t length, const char *body,
                         size_t body_length, struct cli_request *request,
                         struct cli_refusal *refusal) {
    const char *slash = memrchr(path, '/', length);
    size_t name_length = slash != NULL ? (size_t)(slash - path) : 0;
    const char *action = slash != NULL ? slash + 1 : "";
    size_t action_length = slash != NULL ? length - name_length - 1 : 0;
    if (action_length == 4 && memcmp(action, "read", 4) == 0) {
        request->route = CLI_ROUTE_READ;
    } else if (action_length == 5 && memcmp(action, "write", 5) == 0) {
        request->route = CLI_ROUTE_WRITE;
    } else {
        return cli_refuse(refusal, 404,
                          "nothing is at '" OBJECTS "%.*s'; objects are used at " OBJECTS
                          "NAME/read and " OBJECTS "NAME/write",
                          (int)length, path);
    }
    if (!check_method(method, "POST", path, length, refusal)) {
        return false;
    }
    const char *wrong = cli_name_decode(path, name_length, request->name);
    if (wrong != NULL) {
        return cli_refuse(refusal, 400, "the name of the object %s", wrong);
    }
    json_t *loaded = load_body(body, body_length, refusal);
    bool taken = loaded != NULL && take_body(loaded, request, refusal);
    json_decref(loaded);
    return taken;
}

static bool take_transfer(const char *id, size_t length, struct cli_request *request,
                          struct cli_refusal *refusal) {
    static const char hex[] = "0123456789abcdef";
    if (length != CLI_TRANSFER_ID_SIZE - 1 || strspn(id, hex) < length) {
        return cli_refuse(refusal, 404, "'%.*s' is no transfer", (int)length, id);
    }
    memcpy(request->transfer, id, length);
    request->transfer[length] = '\0';
    return true;
}

/* id: what follows "/v1/transfers/". */
static bool parse_transfer(const char *id, size_t length, const char *query,
                           struct cli_request *request, struct cli_refusal *refusal) {
    request->route = CLI_ROUTE_TRANSFER;
    if (!take_transfer(id, length, request, refusal)) {
        return false;
    }
    uint64_t wait = 0;
    if (*query != '\0' && (strncmp(query, "wait=", 5) != 0 ||
                           !cli_parse_number(query + 5, 0, CLI_WAIT_MAX_S, &wait))) {
        return cli_refuse(refusal, 400, "the query must be 'wait=SECONDS', at most %d",
                          CLI_WAIT_MAX_S);
    }
    request->wait_s = (uint32_t)wait;
    return true;
}

/* One part of the query of a list, "after=NAME" or "limit=NUMBER". */
static bool take_list_part(const char *part, size_t length, struct cli_request *request,
                           struct cli_refusal *refusal) {
    char number[24];
    uint64_t limit;
    if (length >= 6 && strncmp(part, "after=", 6) == 0) {
        const char *wrong = cli_name_unescape(part + 6, length - 6, request->after);
        return wrong == NULL || cli_refuse(refusal, 400, "the name in 'after' %s", wrong);
    }
    if (length > 6 && length - 6 < sizeof number && strncmp(part, "limit=", 6) == 0) {
        snprintf(number, sizeof number, "%.*s", (int)length - 6, part + 6);
        if (cli_parse_number(number, 1, INT64_MAX, &limit)) {
            request->limit = (size_t)limit;
            return true;
        }
    }
    return cli_refuse(refusal, 400,
                      "the query of a list is 'after=NAME', 'limit=NUMBER' or both, "
                      "with '&' between them");
}

static bool parse_list(const char *query, struct cli_request *request,
                       struct cli_refusal *refusal) {
    request->is_page = query[0] != '\0';
    while (query[0] != '\0') {
        size_t length = strcspn(query, "&");
        if (!take_list_part(query, length, request, refusal)) {
            return false;
        }
        query += length + (query[length] == '&');
    }
    return true;
}

static bool path_is(const char *path, size_t length, const char *wanted) {
    return length == strlen(wanted) && memcmp(path, wanted, length) == 0;
}

bool cli_request_parse(const char *method, const char *target, const char *body, size_t length,
                       struct cli_request *request, struct cli_refusal *refusal) {
    static const struct {
        const char *path;
        enum cli_route route;
    } fixed[] = {{CLI_PATH_OBJECTS, CLI_ROUTE_LIST},
                 {"/metrics", CLI_ROUTE_METRICS},
                 {CLI_PATH_OPENAPI, CLI_ROUTE_OPENAPI},
                 {CLI_PATH_HEALTH, CLI_ROUTE_HEALTH}};

    memset(request, 0, sizeof *request);
    size_t target_length = strlen(target), path_length = strcspn(target, "?");
    const char *query = target + path_length + (target[path_length] == '?');
    if (target_length > CLI_TARGET_MAX) {
        return cli_refuse(refusal, 414, "the path has %zu bytes; %zu are allowed", target_length,
                          CLI_TARGET_MAX);
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (path_is(target, path_length, fixed[i].path)) {
            request->route = fixed[i].route;
            return check_method(method, "GET", target, path_length, refusal) &&
                   (request->route != CLI_ROUTE_LIST || parse_list(query, request, refusal));
        }
    }
    size_t objects = strlen(OBJECTS), transfers = strlen(TRANSFERS);
    if (path_length >= objects && memcmp(target, OBJECTS, objects) == 0) {
        return parse_object(method, target + objects, path_length - objects, body, length, request,
                            refusal);
    }
    if (path_length >= transfers && memcmp(target, TRANSFERS, transfers) == 0) {
        return check_method(method, "GET", target, path_length, refusal) &&
               parse_transfer(target + transfers, path_length - transfers, query, request, refusal);
    }
    return cli_refuse(refusal, 404, "nothing is at '%.*s'; objects are listed at " CLI_PATH_OBJECTS,
                      (int)path_length, target);
}

/* ---- Messages --------------------------------------------------------------------- */

/* A text in the body; NULL: it is not there. */
static const char *text_of(json_t *body, const char *key, size_t *length) {
    json_t *member = json_object_get(body, key);
    *length = json_string_length(member);
    return json_string_value(member);
}

static bool take_name(json_t *body, struct cli_request *request, struct cli_refusal *refusal) {
    size_t length;
    const char *name = text_of(body, "name", &length);
    if (name == NULL) {
        return cli_refuse(refusal, 400, "\"name\" must be the name of an object, a text");
    }
    const char *wrong = cli_name_check(name, length);
    if (wrong != NULL) {
        return cli_refuse(refusal, 400, "the name of the object %s", wrong);
    }
    memcpy(request->name, name, length + 1);
    return true;
}

static bool take_after(json_t *body, struct cli_request *request, struct cli_refusal *refusal) {
    size_t length;
    json_t *limit = json_object_get(body, "limit");
    if (limit != NULL && (!json_is_integer(limit) || json_integer_value(limit) < 1)) {
        return cli_refuse(refusal, 400, "\"limit\" must be a whole number, from 1 on");
    }
    request->is_page = true;
    request->limit = (size_t)json_integer_value(limit);
    const char *after = text_of(body, "after", &length);
    if (json_object_get(body, "after") == NULL) {
        return true;
    }
    if (after == NULL || length >= sizeof request->after) {
        return cli_refuse(refusal, 400, "\"after\" must be the name of an object, a text");
    }
    memcpy(request->after, after, length + 1);
    return true;
}

static bool take_wait(json_t *body, struct cli_request *request, struct cli_refusal *refusal) {
    json_t *wait = json_object_get(body, "wait");
    json_int_t seconds = json_integer_value(wait);
    if (wait != NULL && (!json_is_integer(wait) || seconds < 0 || seconds > CLI_WAIT_MAX_S)) {
        return cli_refuse(refusal, 400, "\"wait\" must be a number of seconds, at most %d",
                          CLI_WAIT_MAX_S);
    }
    request->wait_s = (uint32_t)seconds;
    return true;
}

static bool take_message(json_t *body, struct cli_request *request, struct cli_refusal *refusal) {
    size_t length;
    const char *id;
    switch (request->route) {
    case CLI_ROUTE_READ:
    case CLI_ROUTE_WRITE:
        return take_name(body, request, refusal) && take_body(body, request, refusal);
    case CLI_ROUTE_TRANSFER:
        id = text_of(body, "transfer", &length);
        return take_transfer(id != NULL ? id : "", id != NULL ? length : 0, request, refusal) &&
               take_wait(body, request, refusal);
    default:
        return take_after(body, request, refusal);
    }
}

bool cli_request_parse_message(enum cli_route route, const char *body, size_t length,
                               struct cli_request *request, struct cli_refusal *refusal) {
    memset(request, 0, sizeof *request);
    request->route = route;
    json_t *loaded = load_body(body, length, refusal);
    bool taken = loaded != NULL && take_message(loaded, request, refusal);
    json_decref(loaded);
    return taken;
}

bool cli_request_is_open(const char *target) {
    size_t length = strcspn(target, "?");
    return path_is(target, length, CLI_PATH_HEALTH) || path_is(target, length, CLI_PATH_OPENAPI);
}
