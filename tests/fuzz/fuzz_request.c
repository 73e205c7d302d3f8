/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request path of `ropeway serve`. Input: "METHOD TARGET", a newline, the body; the method NATS
 * stands for a message, whose subject ends in the target. What is accepted must keep the promises
 * of request.h and name.h, what is refused must come with a sentence that can travel as JSON.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "serve/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds) {
    if (!holds)
        abort();
}

static void check_name(const char *name) {
    char again[CLI_NAME_SIZE];
    char *encoded = cli_name_encode(name);
    require(encoded != NULL);
    require(cli_name_check(name, strlen(name)) == NULL);
    require(name[0] != '/' && strstr(name, "//") == NULL && strcmp(name, "..") != 0);
    require(strncmp(name, "../", 3) != 0 && strstr(name, "/../") == NULL);
    require(cli_name_decode(encoded, strlen(encoded), again) == NULL && strcmp(again, name) == 0);
    free(encoded);
}

static void check_accepted(const struct cli_request *request) {
    switch (request->route) {
    case CLI_ROUTE_WRITE:
        require(request->size <= CLI_OBJECT_SIZE_MAX);
        require(!*request->checksum || cli_checksum_valid(request->checksum));
        check_name(request->name);
        break;
    case CLI_ROUTE_READ:
        require(request->offset <= CLI_OBJECT_SIZE_MAX);
        require(request->length <= CLI_OBJECT_SIZE_MAX || request->length == CLI_TO_THE_END);
        check_name(request->name);
        break;
    case CLI_ROUTE_TRANSFER:
        require(strlen(request->transfer) == CLI_TRANSFER_ID_SIZE - 1);
        require(request->wait_s <= CLI_WAIT_MAX_S);
        break;
    case CLI_ROUTE_LIST:
        require(memchr(request->after, '\0', sizeof request->after) != NULL);
        require(cli_utf8_valid(request->after, strlen(request->after)));
        break;
    case CLI_ROUTE_METRICS:
    case CLI_ROUTE_OPENAPI:
    case CLI_ROUTE_HEALTH:
        break;
    }
}

static bool parse(const char *method, const char *target, const char *body, size_t size,
                  struct cli_request *request, struct cli_refusal *refusal) {
    if (strcmp(method, "NATS") != 0)
        return cli_request_parse(method, target, body, size, request, refusal);
    enum cli_route route = strcmp(target, "read") == 0       ? CLI_ROUTE_READ
                           : strcmp(target, "write") == 0    ? CLI_ROUTE_WRITE
                           : strcmp(target, "transfer") == 0 ? CLI_ROUTE_TRANSFER
                                                             : CLI_ROUTE_LIST;
    return cli_request_parse_message(route, body, size, request, refusal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
    size_t head_size = newline ? (size_t)(newline - data) : size;
    size_t body_size = newline ? size - head_size - 1 : 0;
    char *head = strndup((const char *)data, head_size);
    /* A copy of its own, so that a read past its end is seen. */
    char *body = malloc(body_size ? body_size : 1);
    struct cli_request *request = malloc(sizeof *request);
    struct cli_refusal refusal;
    require(head && body && request);
    memcpy(body, newline ? newline + 1 : data, body_size);
    char *space = strchr(head, ' ');
    if (space)
        *space = '\0';
    if (parse(head, space ? space + 1 : "/", body, body_size, request, &refusal)) {
        check_accepted(request);
    } else {
        require(refusal.status >= 400 && refusal.status <= 599 && *refusal.text);
        require(cli_utf8_valid(refusal.text, strlen(refusal.text)));
    }
    free(request);
    free(body);
    free(head);
    return 0;
}
