/* SPDX-License-Identifier: Apache-2.0 */
/* The control channel: one JSON object a line, read by jansson. */
#include "perf.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/text.h"

#define MAX_LINE ((size_t)64 << 20)
#define SEND_TIMEOUT_MS 30000

void cli_perf_channel_init(struct cli_perf_channel *channel, int fd, int stop_fd) {
    int one = 1;
    memset(channel, 0, sizeof *channel);
    channel->fd = fd;
    channel->stop_fd = stop_fd;
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    }
}

bool cli_perf_channel_dial(struct cli_perf_channel *channel, const char *address) {
    char text[CLI_SENTENCE_SIZE] = "";
    int fd = cli_address_connect(address, "ropeway perf --server", text);
    cli_perf_channel_init(channel, fd, -1);
    memcpy(channel->error, text, sizeof text);
    return fd >= 0;
}

void cli_perf_channel_close(struct cli_perf_channel *channel) {
    if (channel->fd >= 0) {
        close(channel->fd);
    }
    free(channel->buffer);
    channel->fd = -1;
    channel->buffer = NULL;
    channel->length = channel->capacity = 0;
}

char *cli_perf_line(json_t *message) {
    char *line = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    return line;
}

bool cli_perf_send_line(struct cli_perf_channel *channel, char *line) {
    struct timeval limit = {.tv_sec = SEND_TIMEOUT_MS / 1000};
    size_t length = line != NULL ? strlen(line) : 0;
    size_t sent = 0;
    if (line == NULL) {
        snprintf(channel->error, sizeof channel->error, "out of memory for a control message");
        return false;
    }
    (void)setsockopt(channel->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    line[length++] = '\n'; /* the NUL is not sent */
    while (sent < length) {
        ssize_t n = send(channel->fd, line + sent, length - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            snprintf(channel->error, sizeof channel->error,
                     "the control channel broke while sending: %s", cli_errno_text(errno));
            break;
        }
        sent += (size_t)n;
    }
    free(line);
    return sent == length;
}

/* Cuts the first line off the buffer and parses it. NULL with error "": no whole line is there. */
static json_t *take_line(struct cli_perf_channel *channel) {
    char *end = channel->length > 0 ? memchr(channel->buffer, '\n', channel->length) : NULL;
    json_error_t cause;
    if (end == NULL) {
        return NULL;
    }
    size_t used = (size_t)(end - channel->buffer) + 1;
    json_t *message = json_loadb(channel->buffer, used, JSON_REJECT_DUPLICATES, &cause);
    if (message == NULL || !json_is_object(message)) {
        snprintf(channel->error, sizeof channel->error,
                 "the other side sent a control message that is no JSON object: %s",
                 message == NULL ? cause.text : "it is another JSON value");
        json_decref(message);
        return NULL;
    }
    channel->length -= used;
    memmove(channel->buffer, end + 1, channel->length);
    return message;
}

static bool make_room(struct cli_perf_channel *channel) {
    size_t wanted = channel->capacity == 0 ? 65536 : channel->capacity * 2;
    if (channel->length < channel->capacity) {
        return true;
    }
    char *grown = wanted <= MAX_LINE ? realloc(channel->buffer, wanted) : NULL;
    if (grown == NULL) {
        snprintf(channel->error, sizeof channel->error,
                 "the other side sent a control message of more than %zu bytes", channel->length);
        return false;
    }
    channel->buffer = grown;
    channel->capacity = wanted;
    return true;
}

/* Waits for bytes and appends them. False: nothing more comes, with a sentence unless that is as it
 * should be. */
static bool fill(struct cli_perf_channel *channel, int timeout_ms) {
    struct pollfd fds[2] = {{.fd = channel->fd, .events = POLLIN},
                            {.fd = channel->stop_fd, .events = POLLIN}};
    int ready;
    do {
        ready = poll(fds, 2, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) {
        snprintf(channel->error, sizeof channel->error,
                 "the other side sent nothing for %d s on the control channel", timeout_ms / 1000);
        return false;
    }
    if (fds[1].revents != 0) {
        return false;
    }
    ssize_t n = recv(channel->fd, channel->buffer + channel->length,
                     channel->capacity - channel->length, 0);
    if (n < 0 || (n == 0 && channel->length > 0)) {
        snprintf(channel->error, sizeof channel->error, "the control channel broke: %s",
                 n < 0 ? cli_errno_text(errno) : "it ended in the middle of a message");
        return false;
    }
    channel->length += (size_t)n;
    return n > 0;
}

json_t *cli_perf_receive(struct cli_perf_channel *channel, int timeout_ms) {
    json_t *message;
    channel->error[0] = '\0';
    while ((message = take_line(channel)) == NULL && channel->error[0] == '\0') {
        if (!make_room(channel) || !fill(channel, timeout_ms)) {
            return NULL;
        }
    }
    return message;
}

json_t *cli_perf_call(struct cli_perf_channel *channel, json_t *request, int timeout_ms) {

    if (!cli_perf_send_line(channel, cli_perf_line(request))) {
        return NULL;
    }
    json_t *answer = cli_perf_receive(channel, timeout_ms);
    if (answer == NULL) {
        if (channel->error[0] == '\0') {
            snprintf(channel->error, sizeof channel->error,
                     "the perf server closed the control channel; see its messages");
        }
        return NULL;
    }
    const char *error = json_string_value(json_object_get(answer, "error"));
    if (error != NULL) {
        snprintf(channel->error, sizeof channel->error, "the perf server says: %s", error);
        json_decref(answer);
        return NULL;
    }
    return answer;
}
