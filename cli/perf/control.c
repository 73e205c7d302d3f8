/* SPDX-License-Identifier: Apache-2.0 */
#include "perf.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/util.h"

#define MAX_LINE ((size_t)64 << 20)
#define SEND_TIMEOUT_MS 30000

/* "HOST:PORT" or "[HOST]:PORT" into host and the port's text. Returns the port, or NULL. */
static const char *split_address(const char *address, char *host, size_t host_size) {
    const char *colon = strrchr(address, ':');
    const char *start = address;
    if (colon == NULL || colon[1] == '\0') {
        return NULL;
    }
    size_t length = (size_t)(colon - address);
    if (length >= 2 && start[0] == '[' && start[length - 1] == ']') {
        start++;
        length -= 2;
    } else if (memchr(start, ':', length) != NULL) {
        return NULL;
    }
    if (length == 0 || length >= host_size) {
        return NULL;
    }
    memcpy(host, start, length);
    host[length] = '\0';
    return colon + 1;
}

static struct addrinfo *resolve(const char *address, int flags, char *error, size_t error_size) {
    struct addrinfo hints = {.ai_flags = flags | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char host[256];
    const char *port = split_address(address, host, sizeof host);
    if (port == NULL) {
        snprintf(error, error_size,
                 "'%s' is not an address: write HOST:PORT, and an IPv6 address in brackets",
                 address);
        return NULL;
    }
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0) {
        snprintf(error, error_size, "'%s' can't be resolved: %s; check the host and the port",
                 address, gai_strerror(rc));
        return NULL;
    }
    return list;
}

static void name_of(int fd, char *bound, size_t size) {
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    char host[INET6_ADDRSTRLEN + 16] = "?";
    char port[8] = "?";
    if (getsockname(fd, (struct sockaddr *)&storage, &length) == 0) {
        getnameinfo((struct sockaddr *)&storage, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    }
    snprintf(bound, size, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
}

int cli_perf_listen(const char *address, char *bound, size_t bound_size, char *error,
                    size_t error_size) {
    struct addrinfo *list = resolve(address, AI_PASSIVE, error, error_size);
    int one = 1;
    if (list == NULL) {
        return -1;
    }
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, 16) != 0) {
        snprintf(
            error, error_size,
            "can't listen on %s: %s; choose an address of this host and a free port, or port 0",
            address, cli_errno_text(errno));
        if (fd >= 0) {
            close(fd);
        }
        fd = -1;
    } else {
        name_of(fd, bound, bound_size);
    }
    freeaddrinfo(list);
    return fd;
}

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

int cli_perf_channel_dial(struct cli_perf_channel *channel, const char *address) {
    int cause = 0;
    int fd = -1;
    cli_perf_channel_init(channel, -1, -1);
    struct addrinfo *list = resolve(address, 0, channel->error, sizeof channel->error);
    if (list == NULL) {
        return -1;
    }
    for (struct addrinfo *each = list; each != NULL && fd < 0; each = each->ai_next) {
        fd = socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, each->ai_addr, each->ai_addrlen) != 0) {
            cause = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) {
        snprintf(channel->error, sizeof channel->error,
                 "can't connect to %s: %s; is 'ropeway perf --server' running there?", address,
                 cli_errno_text(cause));
        return -1;
    }
    cli_perf_channel_init(channel, fd, -1);
    return 0;
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

int cli_perf_send_line(struct cli_perf_channel *channel, char *line) {
    struct timeval limit = {.tv_sec = SEND_TIMEOUT_MS / 1000};
    size_t length = line != NULL ? strlen(line) : 0;
    size_t sent = 0;
    if (line == NULL) {
        snprintf(channel->error, sizeof channel->error, "out of memory for a control message");
        return -1;
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
    return sent == length ? 0 : -1;
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

static int make_room(struct cli_perf_channel *channel) {
    size_t wanted = channel->capacity == 0 ? 65536 : channel->capacity * 2;
    if (channel->length < channel->capacity) {
        return 0;
    }
    char *grown = wanted <= MAX_LINE ? realloc(channel->buffer, wanted) : NULL;
    if (grown == NULL) {
        snprintf(channel->error, sizeof channel->error,
                 "the other side sent a control message of more than %zu bytes", channel->length);
        return -1;
    }
    channel->buffer = grown;
    channel->capacity = wanted;
    return 0;
}

/* Waits for bytes and appends them. Returns 1, 0 when there is nothing more to come, or -1. */
static int fill(struct cli_perf_channel *channel, int timeout_ms) {
    struct pollfd fds[2] = {{.fd = channel->fd, .events = POLLIN},
                            {.fd = channel->stop_fd, .events = POLLIN}};
    int ready;
    do {
        ready = poll(fds, 2, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) {
        snprintf(channel->error, sizeof channel->error,
                 "the other side sent nothing for %d s on the control channel", timeout_ms / 1000);
        return -1;
    }
    if (fds[1].revents != 0) {
        return 0;
    }
    ssize_t n = recv(channel->fd, channel->buffer + channel->length,
                     channel->capacity - channel->length, 0);
    if (n < 0 || (n == 0 && channel->length > 0)) {
        snprintf(channel->error, sizeof channel->error, "the control channel broke: %s",
                 n < 0 ? cli_errno_text(errno) : "it ended in the middle of a message");
        return -1;
    }
    channel->length += (size_t)n;
    return n > 0;
}

json_t *cli_perf_receive(struct cli_perf_channel *channel, int timeout_ms) {
    json_t *message;
    channel->error[0] = '\0';
    while ((message = take_line(channel)) == NULL && channel->error[0] == '\0') {
        if (make_room(channel) != 0 || fill(channel, timeout_ms) <= 0) {
            return NULL;
        }
    }
    return message;
}

json_t *cli_perf_call(struct cli_perf_channel *channel, json_t *request, int timeout_ms) {

    if (cli_perf_send_line(channel, cli_perf_line(request)) != 0) {
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
