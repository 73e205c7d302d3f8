/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that looks at the listening sockets of this process, and tells the log when one is lost.
 */
#include "health.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/address.h"
#include "common/api.h"
#include "common/clock.h"
#include "common/local.h"
#include "common/message.h"
#include "common/text.h"
#include "log.h"

#define PERIOD_MS 3000
#define ANSWER_S 2 /* how long the HTTP server may take */
#define LISTENERS_MAX 32
#define FULL_LOOKS 3             /* a queue that is not emptied between so many looks is stuck */
#define STALE_MS (PERIOD_MS * 4) /* a look that lasts so long finds something wrong itself */

/* A socket that listened when the server started. */
struct listener {
    struct sockaddr_storage address;
    char name[CLI_ADDRESS_SIZE];
    bool seen;     /* in this look */
    unsigned full; /* looks in which connections waited to be accepted */
};

struct cli_health {
    char http[CLI_ADDRESS_SIZE]; /* "": none */
    struct listener listeners[LISTENERS_MAX];
    size_t count;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ending;
    bool started, ended;
    uint64_t looked_ms;
    char wrong[CLI_SENTENCE_SIZE]; /* "": nothing */
};

/* ---- Listening sockets -------------------------------------------------------------- */

static bool is_listener(int fd, struct sockaddr_storage *address) {
    int listens = 0;
    socklen_t size = sizeof listens, length = sizeof *address;
    *address = (struct sockaddr_storage){0};
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
           getsockname(fd, (struct sockaddr *)address, &length) == 0 &&
           (address->ss_family == AF_INET || address->ss_family == AF_INET6 ||
            address->ss_family == AF_UNIX);
}

/* For a listening socket: how many connections wait to be accepted. */
static unsigned waiting(int fd) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_unacked : 0;
}

static struct listener *find(struct cli_health *health, const struct sockaddr_storage *address) {
    for (size_t i = 0; i < health->count; i++) {
        if (memcmp(&health->listeners[i].address, address, sizeof *address) == 0) {
            return &health->listeners[i];
        }
    }
    return NULL;
}

static void look_at(struct cli_health *health, int fd, bool first) {
    struct sockaddr_storage address;
    if (!is_listener(fd, &address)) {
        return;
    }
    struct listener *listener = find(health, &address);
    if (listener == NULL && first && health->count < LISTENERS_MAX) {
        listener = &health->listeners[health->count++];
        listener->address = address;
        if (address.ss_family == AF_UNIX) {
            snprintf(listener->name, sizeof listener->name, "its Unix socket");
        } else {
            cli_address_name((struct sockaddr *)&address, listener->name, sizeof listener->name);
        }
    }
    if (listener != NULL) {
        listener->seen = true;
        listener->full = waiting(fd) > 0 ? listener->full + 1 : 0;
    }
}

/* Looks at each descriptor of this process. False: text says why not. */
static bool look_at_all(struct cli_health *health, bool first, char text[CLI_SENTENCE_SIZE]) {
    DIR *descriptors = opendir("/proc/self/fd");
    struct dirent *entry;
    uint64_t fd;
    if (descriptors == NULL) {
        cli_sentence(text, "the server can't look at its sockets: it is out of descriptors");
        return false;
    }
    for (size_t i = 0; i < health->count; i++) {
        health->listeners[i].seen = false;
    }
    while ((entry = readdir(descriptors)) != NULL) {
        if (cli_parse_number(entry->d_name, 0, INT32_MAX, &fd)) {
            look_at(health, (int)fd, first);
        }
    }
    closedir(descriptors);
    return true;
}

static bool listeners_are_there(const struct cli_health *health, char text[CLI_SENTENCE_SIZE]) {
    for (size_t i = 0; i < health->count; i++) {
        const struct listener *each = &health->listeners[i];
        if (!each->seen || each->full >= FULL_LOOKS) {
            cli_sentence(text, "the server no longer %s %s; start it again",
                         each->seen ? "takes connections from" : "listens on", each->name);
            return false;
        }
    }
    return true;
}

/* ---- Asking ourselves ------------------------------------------------------------------ */

static bool http_answers(const char *address, char text[CLI_SENTENCE_SIZE]) {
    static const char request[] = "GET " CLI_PATH_HEALTH " HTTP/1.1\r\nHost: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    struct timeval limit = {.tv_sec = ANSWER_S};
    char answer[16] = "";
    const char *path = cli_local_path(address);
    int fd = path != NULL ? cli_local_connect(path)
                          : cli_address_connect(address, "ropeway serve", text);
    if (fd < 0 && path != NULL && errno == EAGAIN) {
        cli_sentence(text, "the HTTP server at %s does not take connections", address);
    } else if (fd < 0 && path != NULL) {
        cli_sentence(text, "nobody listens at '%s' any more: %s", address, cli_errno_text(errno));
    }
    if (fd < 0) {
        return false;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    bool answers = send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request) &&
                   recv(fd, answer, sizeof answer - 1, MSG_WAITALL) > 0 &&
                   strncmp(answer, "HTTP/1.", 7) == 0;
    close(fd);
    if (!answers) {
        cli_sentence(text, "the HTTP server at %s did not answer in %d s", address, ANSWER_S);
    }
    return answers;
}

static void look(struct cli_health *health) {
    char text[CLI_SENTENCE_SIZE] = "";
    bool good = look_at_all(health, false, text) && listeners_are_there(health, text) &&
                (health->http[0] == '\0' || http_answers(health->http, text));
    pthread_mutex_lock(&health->lock);
    bool was_good = health->wrong[0] == '\0';
    memcpy(health->wrong, text, sizeof text);
    health->looked_ms = cli_now_ms();
    pthread_mutex_unlock(&health->lock);
    if (good != was_good) {
        cli_warn("%s", good ? "the server hears again on all that it listens on" : text);
    }
}

static void *run(void *arg) {
    struct cli_health *health = arg;
    pthread_mutex_lock(&health->lock);
    while (!health->ended) {
        struct timespec until = cli_deadline(PERIOD_MS);
        if (pthread_cond_timedwait(&health->ending, &health->lock, &until) == 0) {
            continue;
        }
        pthread_mutex_unlock(&health->lock);
        look(health);
        cli_log_flush();
        pthread_mutex_lock(&health->lock);
    }
    pthread_mutex_unlock(&health->lock);
    return NULL;
}

struct cli_health *cli_health_create(void) {
    struct cli_health *health = calloc(1, sizeof *health);
    if (health == NULL) {
        cli_fail("out of memory");
        return NULL;
    }
    pthread_mutex_init(&health->lock, NULL);
    cli_condition_init(&health->ending);
    return health;
}

bool cli_health_start(struct cli_health *health, const char *http) {
    char text[CLI_SENTENCE_SIZE] = "no thread can be started";
    snprintf(health->http, sizeof health->http, "%s", http != NULL ? http : "");
    bool started =
        look_at_all(health, true, text) && pthread_create(&health->thread, NULL, run, health) == 0;
    if (!started) {
        cli_fail("can't watch over the server: %s", text);
    }
    pthread_mutex_lock(&health->lock);
    health->started = started;
    health->looked_ms = cli_now_ms();
    pthread_mutex_unlock(&health->lock);
    return started;
}

void cli_health_destroy(struct cli_health *health) {
    if (health == NULL) {
        return;
    }
    pthread_mutex_lock(&health->lock);
    health->ended = true;
    pthread_cond_signal(&health->ending);
    pthread_mutex_unlock(&health->lock);
    if (health->started) {
        pthread_join(health->thread, NULL);
    }
    pthread_mutex_destroy(&health->lock);
    pthread_cond_destroy(&health->ending);
    free(health);
}

bool cli_health_is_good(struct cli_health *health, struct cli_refusal *refusal) {
    pthread_mutex_lock(&health->lock);
    bool stale = health->started && cli_now_ms() >= health->looked_ms + STALE_MS;
    bool good = !stale && health->wrong[0] == '\0';
    if (!good) {
        cli_refuse(refusal, 503, "%s",
                   stale ? "the server is too busy to look at its own sockets" : health->wrong);
    }
    pthread_mutex_unlock(&health->lock);
    return good;
}
