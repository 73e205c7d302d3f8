/* SPDX-License-Identifier: Apache-2.0 */
/* What is the same on every channel: asking a busy server again, and reading the answer. */
#include "channel.h"

#include <poll.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/interrupt.h"
#include "common/message.h"

#define RETRY_MAX_MS 5000

struct cli_channel *cli_channel_open(const struct cli_url *url,
                                     const struct cli_channel_options *options) {
    return (url->is_nats ? &cli_channel_nats : &cli_channel_http)->open(url, options);
}

void cli_channel_close(struct cli_channel *channel) {
    if (channel != NULL) {
        channel->kind->close(channel);
    }
}

/* Sends it again while the server is busy and says when to come back. */
static bool send_while_busy(struct cli_channel *channel, const struct cli_query *ask,
                            struct cli_reply *reply) {
    uint64_t give_up = cli_now_ms() + channel->timeout_ms;
    for (;;) {
        reply->length = 0;
        reply->sentence[0] = '\0';
        if (!channel->kind->send(channel, ask, reply)) {
            return false;
        }
        long seconds = reply->status == 503 ? reply->retry_after_s : 0;
        uint64_t now = cli_now_ms();
        if (seconds <= 0 || now >= give_up) {
            return true;
        }
        uint64_t pause = seconds > RETRY_MAX_MS / 1000 ? RETRY_MAX_MS : (uint64_t)seconds * 1000;
        if (pause > give_up - now) {
            pause = give_up - now;
        }
        struct pollfd interrupt = {.fd = cli_interrupt_fd(), .events = POLLIN};
        poll(&interrupt, 1, (int)pause);
        if (cli_interrupted()) {
            return false;
        }
    }
}

static json_t *read_answer(struct cli_channel *channel, const struct cli_reply *reply) {
    json_error_t error;
    json_t *json = json_loadb(reply->data != NULL ? reply->data : "", reply->length,
                              JSON_REJECT_DUPLICATES, &error);
    if (reply->status == 200 && json_is_object(json)) {
        return json;
    }
    const char *sentence = json_string_value(json_object_get(json, "error"));
    if (sentence == NULL && *reply->sentence != '\0') {
        sentence = reply->sentence;
    }
    if (reply->status != 200 && sentence != NULL) {
        cli_fail("%s refuses with status %d: %s", channel->base, reply->status, sentence);
    } else if (reply->status != 200) {
        cli_fail("%s answers with status %d; is this a Ropeway server?", channel->base,
                 reply->status);
    } else {
        cli_fail("the answer of %s is not a JSON object (%s); is this a Ropeway server?",
                 channel->base, json != NULL ? "it is another value" : error.text);
    }
    json_decref(json);
    return NULL;
}

json_t *cli_channel_call(struct cli_channel *channel, const struct cli_query *ask) {
    struct cli_reply reply = {0};
    json_t *json = send_while_busy(channel, ask, &reply) ? read_answer(channel, &reply) : NULL;
    free(reply.data);
    return json;
}
