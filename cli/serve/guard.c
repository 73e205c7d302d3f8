/* SPDX-License-Identifier: Apache-2.0 */
/* A list of connections, and a thread that shuts those down whose time is over. */
#include "guard.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/local.h"
#include "log.h"

#define LOOK_MAX 256 /* connections whose addresses are counted, the oldest ones */

/* Milliseconds that a phase may last; 0: as long as it takes, which others bound. */
static const uint64_t limits[] = {
    [CLI_PHASE_IDLE] = 60000, [CLI_PHASE_HEADERS] = 10000, [CLI_PHASE_BODY] = 10000,
    [CLI_PHASE_WORK] = 0,     [CLI_PHASE_ANSWER] = 300000,
};

struct cli_connection {
    struct cli_connection *next, **link; /* in the order of their coming */
    int fd;
    unsigned char network[8]; /* what counts as one address: an IPv4 one, an IPv6 network, a user */
    char peer[CLI_PEER_SIZE];
    bool known; /* it was permitted to ask before */
    enum cli_phase phase;
    uint64_t since_ms; /* of the phase */
    uint64_t due_ms;   /* UINT64_MAX: never */
    bool shut;         /* it is on its way out */
};

struct cli_guard {
    uint32_t max;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct cli_connection *first, **last;
    uint32_t count; /* of those that are not shut */
    bool ended;
};

static void shut(struct cli_guard *guard, struct cli_connection *connection, int status,
                 const char *text) {
    cli_log(&(struct cli_log_entry){.level = "warning",
                                    .outcome = "refused",
                                    .kind = "connection",
                                    .peer = connection->peer,
                                    .status = status,
                                    .text = text});
    shutdown(connection->fd, SHUT_RDWR);
    connection->shut = true;
    connection->due_ms = UINT64_MAX;
    guard->count--;
}

static bool is_candidate(const struct cli_connection *connection, bool known) {
    return !connection->shut && connection->phase < CLI_PHASE_WORK && connection->known == known;
}

static bool is_of(const struct cli_connection *connection, const unsigned char *network) {
    return memcmp(connection->network, network, sizeof connection->network) == 0;
}

static uint32_t count_of(const struct cli_guard *guard, bool known, const unsigned char *network) {
    uint32_t count = 0;
    for (struct cli_connection *each = guard->first; each != NULL; each = each->next) {
        count += is_candidate(each, known) && is_of(each, network);
    }
    return count;
}

/* The network that has most candidates; NULL: there are none. */
static const unsigned char *busiest(const struct cli_guard *guard, bool known) {
    const unsigned char *network = NULL;
    uint32_t most = 0, looked = 0;
    for (struct cli_connection *each = guard->first;
         each != NULL && looked < LOOK_MAX && most <= guard->count / 2; each = each->next) {
        uint32_t count = is_candidate(each, known) ? count_of(guard, known, each->network) : 0;
        looked += count > 0;
        if (count > most) {
            most = count;
            network = each->network;
        }
    }
    return network;
}

/* Makes room for one more: strangers go before those that were permitted to ask. */
static void put_one_out(struct cli_guard *guard) {
    bool known = false;
    const unsigned char *network = busiest(guard, known);
    if (network == NULL) {
        known = true;
        network = busiest(guard, known);
    }
    struct cli_connection *chosen = NULL;
    for (struct cli_connection *each = guard->first; network != NULL && each != NULL;
         each = each->next) {
        if (is_candidate(each, known) && is_of(each, network) &&
            (chosen == NULL || each->since_ms < chosen->since_ms)) {
            chosen = each;
        }
    }
    if (chosen != NULL) {
        shut(guard, chosen, 503,
             "there are too many connections, and this one kept the server waiting longest");
    }
}

static void *watch(void *arg) {
    struct cli_guard *guard = arg;
    pthread_mutex_lock(&guard->lock);
    while (!guard->ended) {
        uint64_t now = cli_now_ms(), next = UINT64_MAX;
        for (struct cli_connection *each = guard->first; each != NULL; each = each->next) {
            if (each->due_ms <= now) {
                shut(guard, each, 408,
                     each->phase == CLI_PHASE_ANSWER ? "the answer was not read in time"
                                                     : "the request did not come in time");
            }
            next = each->due_ms < next ? each->due_ms : next;
        }
        if (next == UINT64_MAX) {
            pthread_cond_wait(&guard->changed, &guard->lock);
        } else {
            struct timespec until = cli_deadline(next - now);
            pthread_cond_timedwait(&guard->changed, &guard->lock, &until);
        }
    }
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

struct cli_guard *cli_guard_create(uint32_t max) {
    struct cli_guard *guard = calloc(1, sizeof *guard);
    if (guard == NULL) {
        return NULL;
    }
    guard->max = max;
    guard->last = &guard->first;
    pthread_mutex_init(&guard->lock, NULL);
    cli_condition_init(&guard->changed);
    if (pthread_create(&guard->thread, NULL, watch, guard) == 0) {
        return guard;
    }
    free(guard);
    return NULL;
}

void cli_guard_destroy(struct cli_guard *guard) {
    if (guard == NULL) {
        return;
    }
    pthread_mutex_lock(&guard->lock);
    guard->ended = true;
    pthread_cond_signal(&guard->changed);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    pthread_cond_destroy(&guard->changed);
    pthread_mutex_destroy(&guard->lock);
    free(guard);
}

/* An IPv4 address, wrapped in IPv6 or not, or the upper half of an IPv6 one. */
static void take_network(int fd, const struct sockaddr *address, unsigned char network[8]) {
    uid_t user;
    memset(network, 0, 8);
    if (cli_local_peer(fd, &user)) {
        memcpy(network, &user, sizeof user);
    } else if (address != NULL && address->sa_family == AF_INET) {
        memcpy(network + 4, &((const struct sockaddr_in *)address)->sin_addr, 4);
    } else if (address != NULL && address->sa_family == AF_INET6) {
        const struct in6_addr *wide = &((const struct sockaddr_in6 *)address)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(wide)) {
            memcpy(network + 4, wide->s6_addr + 12, 4);
        } else {
            memcpy(network, wide->s6_addr, 8);
        }
    }
}

static void set_phase(struct cli_connection *connection, enum cli_phase phase) {
    connection->phase = phase;
    connection->known = connection->known || phase == CLI_PHASE_BODY;
    connection->since_ms = cli_now_ms();
    connection->due_ms =
        limits[phase] == 0 || connection->shut ? UINT64_MAX : connection->since_ms + limits[phase];
}

struct cli_connection *cli_guard_add(struct cli_guard *guard, int fd,
                                     const struct sockaddr *address, const char *peer) {
    struct cli_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        return NULL;
    }
    connection->fd = fd;
    take_network(fd, address, connection->network);
    snprintf(connection->peer, sizeof connection->peer, "%s", peer);
    set_phase(connection, CLI_PHASE_HEADERS);
    pthread_mutex_lock(&guard->lock);
    if (guard->count >= guard->max) {
        put_one_out(guard);
    }
    connection->link = guard->last;
    *guard->last = connection;
    guard->last = &connection->next;
    if (guard->count++ == 0) {
        pthread_cond_signal(&guard->changed);
    }
    pthread_mutex_unlock(&guard->lock);
    return connection;
}

void cli_guard_remove(struct cli_guard *guard, struct cli_connection *connection) {
    if (connection == NULL) {
        return;
    }
    pthread_mutex_lock(&guard->lock);
    *connection->link = connection->next;
    if (connection->next != NULL) {
        connection->next->link = connection->link;
    } else {
        guard->last = connection->link;
    }
    guard->count -= !connection->shut;
    pthread_mutex_unlock(&guard->lock);
    free(connection);
}

void cli_guard_phase(struct cli_guard *guard, struct cli_connection *connection,
                     enum cli_phase phase) {
    if (connection == NULL) {
        return;
    }
    pthread_mutex_lock(&guard->lock);
    if (connection->phase != phase) {
        set_phase(connection, phase);
        pthread_cond_signal(&guard->changed);
    }
    pthread_mutex_unlock(&guard->lock);
}

bool cli_guard_was_shut(struct cli_guard *guard, const struct cli_connection *connection) {
    if (connection == NULL) {
        return false;
    }
    pthread_mutex_lock(&guard->lock);
    bool shut = connection->shut;
    pthread_mutex_unlock(&guard->lock);
    return shut;
}
