/* SPDX-License-Identifier: Apache-2.0 */
/* What clients ask a server for, and how much they believe of its answers. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "common/api.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/interrupt.h"
#include "common/message.h"

#define ANSWER_MAX ((size_t)256 << 10) /* far more than the metadata of one descriptor takes */
#define CONFIRM_WAIT_MAX_S 10
#define CONFIRM_PAUSE_MS 20

void cli_offer_free(struct cli_offer *offer) {
    free(offer->metadata);
    offer->metadata = NULL;
}

static bool bad_answer(struct cli_client *client, const char *what) {
    cli_fail("the answer of %s is not usable: %s; is this a Ropeway server of this version?",
             client->url.base, what);
    return false;
}

static bool take_size(json_t *answer, const char *key, uint64_t *value) {
    json_t *member = json_object_get(answer, key);
    if (!json_is_integer(member) || json_integer_value(member) < 0) {
        return false;
    }
    *value = (uint64_t)json_integer_value(member);
    return true;
}

static bool take_text(json_t *answer, const char *key, char *text, size_t size) {
    const char *value = json_string_value(json_object_get(answer, key));
    if (value == NULL || strlen(value) >= size) {
        return false;
    }
    strcpy(text, value);
    return true;
}

/* The metadata must be for exactly what was asked. */
static bool take_metadata(struct cli_client *client, json_t *answer, ropeway_operation_kind_t kind,
                          struct cli_offer *offer) {
    json_t *object = json_object_get(answer, "metadata");
    offer->metadata = json_is_object(object) ? json_dumps(object, JSON_COMPACT) : NULL;
    if (offer->metadata == NULL) {
        return bad_answer(client, "it holds no metadata");
    }
    ropeway_metadata_t *metadata;
    if (ropeway_metadata_parse(offer->metadata, strlen(offer->metadata), 0, &metadata) !=
        ROPEWAY_OK) {
        return bad_answer(client, ropeway_last_error());
    }
    bool right = ropeway_metadata_kind(metadata) == kind && ropeway_metadata_count(metadata) == 1 &&
                 ropeway_metadata_total(metadata) == offer->length;
    ropeway_metadata_release(metadata);
    return right || bad_answer(client, "its metadata is for other bytes than its size says");
}

static bool take_offer(struct cli_client *client, json_t *answer, ropeway_operation_kind_t kind,
                       struct cli_offer *offer) {
    static const char hex[] = "0123456789abcdef";
    if (!take_size(answer, "size", &offer->size)) {
        return bad_answer(client, "it holds no size");
    }
    offer->length = offer->size;
    /* A plain server, such as a stock NIXL program, offers whole objects and tells no outcome. */
    if (json_object_get(answer, "transfer") == NULL) {
        return take_metadata(client, answer, kind, offer);
    }
    if (!take_text(answer, "transfer", offer->transfer, sizeof offer->transfer) ||
        strspn(offer->transfer, hex) != CLI_TRANSFER_ID_SIZE - 1) {
        return bad_answer(client, "it holds no transfer");
    }
    if (json_object_get(answer, "server") != NULL &&
        (!take_text(answer, "server", offer->server, sizeof offer->server) ||
         strspn(offer->server, hex) != CLI_SERVER_ID_SIZE - 1)) {
        return bad_answer(client, "it holds no server");
    }
    bool read = kind == ROPEWAY_OPERATION_READABLE;
    if (read && (!take_size(answer, "offset", &offer->offset) ||
                 !take_size(answer, "length", &offer->length) ||
                 !take_text(answer, "tag", offer->tag, sizeof offer->tag))) {
        return bad_answer(client, "it holds no offset, length or tag");
    }
    return take_metadata(client, answer, kind, offer);
}

/* Takes the body over. */
static json_t *ask(struct cli_client *client, enum cli_route route, const char *name,
                   json_t *body) {
    struct cli_query asked = {.route = route, .name = name, .body = body, .limit = ANSWER_MAX};
    json_t *answer = NULL;
    if (body != NULL) {
        answer = cli_channel_call(client->channel, &asked);
    } else {
        cli_fail("out of memory");
    }
    json_decref(body);
    return answer;
}

bool cli_client_ask_read(struct cli_client *client, const char *name, uint64_t offset,
                         uint64_t length, struct cli_offer *offer) {
    *offer = (struct cli_offer){0};
    json_t *body =
        json_pack("{s:I, s:b}", "offset", (json_int_t)offset, "checksum", client->options->verify);
    if (body != NULL && length != CLI_TO_THE_END) {
        json_object_set_new(body, "length", json_integer((json_int_t)length));
    }
    json_t *answer = ask(client, CLI_ROUTE_READ, name, body);
    if (answer == NULL) {
        return false;
    }
    bool taken = take_offer(client, answer, ROPEWAY_OPERATION_READABLE, offer);
    json_decref(answer);
    if (!taken) {
        return false;
    }
    uint64_t rest = offer->size > offset ? offer->size - offset : 0;
    if (offer->offset == offset && offer->length == (length < rest ? length : rest)) {
        return true;
    }
    if (*offer->transfer == '\0' && offer->offset == 0) {
        cli_fail(
            "%s can't give parts of '%s', which is too big for a stream; name a file with '-o'",
            client->url.base, name);
        return false;
    }
    return bad_answer(client, "it offers another part than was asked for");
}

bool cli_client_ask_write(struct cli_client *client, const char *name, uint64_t size,
                          const char *checksum, struct cli_offer *offer) {
    *offer = (struct cli_offer){0};
    json_t *body = json_pack("{s:I}", "size", (json_int_t)size);
    if (body != NULL && checksum != NULL) {
        json_object_set_new(body, "checksum", json_string(checksum));
    }
    json_t *answer = ask(client, CLI_ROUTE_WRITE, name, body);
    if (answer == NULL) {
        return false;
    }
    bool taken = take_offer(client, answer, ROPEWAY_OPERATION_WRITABLE, offer);
    json_decref(answer);
    return taken && (offer->size == size || bad_answer(client, "it offers another size"));
}

/* What an outcome says. False: not over yet, or (over is true) failed. */
static bool take_outcome(struct cli_client *client, json_t *outcome, char *checksum, bool *over,
                         bool *at_work) {
    const char *state = json_string_value(json_object_get(outcome, "state"));
    const char *error = json_string_value(json_object_get(outcome, "error"));
    const char *found = json_string_value(json_object_get(outcome, "checksum"));
    *over = true;
    *at_work = false;
    if (state == NULL) {
        return bad_answer(client, "it holds no state");
    }
    if (strcmp(state, "complete") == 0) {
        if (checksum != NULL && found != NULL && cli_checksum_valid(found)) {
            strcpy(checksum, found);
        }
        return true;
    }
    if (strcmp(state, "failed") == 0) {
        cli_fail("%s says: %s", client->url.base, error != NULL ? error : "the transfer failed");
        return false;
    }
    *over = false;
    *at_work = strcmp(state, "finishing") == 0;
    return false;
}

/* How long a server may be at work after the bytes have moved: a slow disk's time for them. */
static uint64_t work_limit_ms(uint64_t bytes) {
    return bytes / ((16 << 20) / 1000);
}

bool cli_client_confirm(struct cli_client *client, const struct cli_offer *offer, char *checksum) {
    uint32_t timeout_ms = client->options->timeout_ms;
    uint32_t wait = timeout_ms / 2000 < CONFIRM_WAIT_MAX_S ? timeout_ms / 2000 : CONFIRM_WAIT_MAX_S;
    if (checksum != NULL) {
        checksum[0] = '\0';
    }
    if (*offer->transfer == '\0') {
        return true;
    }
    struct cli_query asked = {.route = CLI_ROUTE_TRANSFER,
                              .transfer = offer->transfer,
                              .server = offer->server,
                              .wait_s = wait != 0 ? wait : 1,
                              .limit = ANSWER_MAX};
    uint64_t give_up = cli_now_ms() + timeout_ms;
    bool complete = false, over = false;
    while (!over) {
        json_t *outcome = cli_channel_call(client->channel, &asked);
        bool at_work;
        if (outcome == NULL) {
            break;
        }
        complete = take_outcome(client, outcome, checksum, &over, &at_work);
        json_decref(outcome);
        if (over) {
            break;
        }
        if (cli_now_ms() >= give_up + (at_work ? work_limit_ms(offer->length) : 0)) {
            cli_fail("%s does not end the transfer, which is complete here; try again",
                     client->url.base);
            break;
        }
        /* A server that answers at once instead of waiting must not make this a busy loop. */
        struct pollfd interrupt = {.fd = cli_interrupt_fd(), .events = POLLIN};
        poll(&interrupt, 1, CONFIRM_PAUSE_MS);
    }
    return complete;
}
