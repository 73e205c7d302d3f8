/* SPDX-License-Identifier: Apache-2.0 */
/* Fetching from the other process's memory; stream_pull.h tells when, and why not. */
#include "link/stream_pull.h"

#include "base/assert.h"
#include "base/log.h"
#include "link/stream.h"

#include <errno.h>
#include <linux/capability.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Bytes and pieces that are fetched in one call: what a release may wait for. */
#define CALL_BYTES ((size_t)1 << 20)
#define CALL_PIECES 256

/* Something to fetch. */
typedef struct rw_pull {
    rw_node_t node;         /* in the puller's lists; guarded by its mutex */
    bool begun;             /* by a thread; guarded by the mutex */
    rw_node_t of_link;      /* in link->pulls; guarded by the connector's lock */
    rw_stream_link_t *link; /* with a reference; this and what follows: written once */
    rw_flight_t *place;     /* NULL: to see whether it can be done */
    uint64_t loan;
    pid_t pid;
    int process;                   /* see rw_process_open() */
    struct iovec from;             /* the bytes, or a table of their pieces */
    size_t rows;                   /* of the table; 0: none */
    size_t length;                 /* of the bytes */
    uint8_t nonce[RW_NONCE_BYTES]; /* without a place: what should be there */
    uint8_t found[RW_NONCE_BYTES]; /* and what is */
    struct iovec into;             /* where that is */
    atomic_bool unwanted;
    int error; /* errno; written by the thread */
} rw_pull_t;

/* ---- threads ---- */

/* false: this thread might read more than its user may. */
static bool give_up_ptrace(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &header, data) != 0) {
        return false;
    }
    data[CAP_TO_INDEX(CAP_SYS_PTRACE)].effective &= ~CAP_TO_MASK(CAP_SYS_PTRACE);
    return syscall(SYS_capset, &header, data) == 0;
}

/* A place in pieces of memory, here or there: so many bytes of the first one are behind it. */
typedef struct walk {
    const struct iovec *pieces;
    size_t within;
} walk_t;

/* The next ones, in as many pieces as one call takes; there are so many bytes. */
static unsigned long look_ahead(walk_t walk, size_t bytes, struct iovec call[CALL_PIECES]) {
    unsigned long count = 0;

    for (; bytes > 0 && count < CALL_PIECES; walk.pieces++, walk.within = 0) {
        size_t left = walk.pieces->iov_len - walk.within, part = left < bytes ? left : bytes;

        if (part > 0) {
            call[count].iov_base = (void *)((uintptr_t)walk.pieces->iov_base + walk.within);
            call[count++].iov_len = part;
            bytes -= part;
        }
    }
    return count;
}

static void walk_on(walk_t *walk, size_t bytes) {
    walk->within += bytes;
    while (walk->within > 0 && walk->within >= walk->pieces->iov_len) {
        walk->within -= (walk->pieces++)->iov_len;
    }
}

/* Pieces have the same number of bytes here and there. errno; 0: they are here. */
static int fetch_all(const rw_pull_t *pull, const struct iovec *from, const struct iovec *into) {
    walk_t source = {.pieces = from}, target = {.pieces = into};

    for (size_t at = 0; at < pull->length && !atomic_load(&pull->unwanted);) {
        size_t part = pull->length - at < CALL_BYTES ? pull->length - at : CALL_BYTES;
        struct iovec there[CALL_PIECES], here[CALL_PIECES];
        unsigned long sources = look_ahead(source, part, there);
        ssize_t got =
            process_vm_readv(pull->pid, here, look_ahead(target, part, here), there, sources, 0);

        if (got <= 0) {
            return got < 0 ? errno : EFAULT;
        }
        at += (size_t)got;
        if (at < pull->length) {
            walk_on(&source, (size_t)got);
            walk_on(&target, (size_t)got);
        }
    }
    return 0;
}

/* errno; 0: the table is here, and its pieces have as many bytes as are lent. */
static int read_table(const rw_pull_t *pull, struct iovec table[RW_FLIGHT_PIECES + 1]) {
    struct iovec into = {.iov_base = table, .iov_len = pull->from.iov_len};
    ssize_t got = process_vm_readv(pull->pid, &into, 1, &pull->from, 1, 0);
    const struct iovec *end = &table[pull->rows];
    size_t left = pull->length;

    if (got != (ssize_t)into.iov_len) {
        return got < 0 ? errno : EFAULT;
    }
    if ((uint64_t)(uintptr_t)end->iov_base != pull->loan || end->iov_len != pull->length) {
        return EINVAL;
    }
    for (size_t i = 0; i < pull->rows; i++) {
        if (table[i].iov_len > left) {
            return EINVAL;
        }
        left -= table[i].iov_len;
    }
    return left == 0 ? 0 : EINVAL;
}

/* The table is copied before it is looked at: its owner may change it at any time. */
static int fetch_pieces(const rw_pull_t *pull, const struct iovec *into) {
    struct iovec table[RW_FLIGHT_PIECES + 1];
    int error = read_table(pull, table);

    return error != 0 ? error : fetch_all(pull, table, into);
}

/* errno; 0: it is there. */
static int fetch(const rw_pull_t *pull) {
    const struct iovec *into = pull->place != NULL ? pull->place->pieces : &pull->into;
    int error = pull->rows > 0 ? fetch_pieces(pull, into) : fetch_all(pull, &pull->from, into);

    if (error == 0 && rw_process_has_ended(pull->process)) {
        return ESRCH; /* else its number was its own all the time */
    }
    return error;
}

static void tell(rw_puller_t *puller) {
    uint64_t one = 1;

    if (write(puller->watcher.fd, &one, sizeof one) < 0) {
        rw_assert(errno == EAGAIN); /* it is readable */
    }
}

static void *run(void *argument) {
    rw_puller_t *puller = argument;
    bool fit = give_up_ptrace();

    pthread_mutex_lock(&puller->mutex);
    while (!puller->stopping) {
        rw_node_t *node = rw_list_take(&puller->todo);
        rw_pull_t *pull;
        bool first;

        if (node == NULL) {
            pthread_cond_wait(&puller->more, &puller->mutex);
            continue;
        }
        pull = RW_CONTAINER(node, rw_pull_t, node);
        pull->begun = true;
        pthread_mutex_unlock(&puller->mutex);
        pull->error = fit ? fetch(pull) : EPERM;
        pthread_mutex_lock(&puller->mutex);
        first = rw_list_is_empty(&puller->done);
        rw_list_append(&puller->done, &pull->node);
        atomic_store_explicit(&puller->any, true, memory_order_release);
        if (first) {
            tell(puller);
        }
    }
    pthread_mutex_unlock(&puller->mutex);
    return NULL;
}

/* ---- what comes back ---- */

static void say_fetched(rw_stream_link_t *link, uint64_t loan, bool failed) RW_LOCKED {
    rw_fetched_t fetched = {.id = loan, .failed = failed};
    uint8_t bytes[RW_FETCHED_BYTES];

    rw_fetched_encode(&fetched, bytes);
    link->stream->puller.say(link, RW_FRAME_FETCHED, bytes, sizeof bytes);
}

static void finish_probe(rw_stream_link_t *link, const rw_pull_t *pull) RW_LOCKED {
    ropeway_connector_t *connector = link->stream->connector;

    if (pull->error != 0 || memcmp(pull->found, pull->nonce, RW_NONCE_BYTES) != 0) {
        rw_log(connector, ROPEWAY_LOG_DEBUG,
               "memory of process %ld can't be read (%s); its bytes come through the socket",
               (long)pull->pid, pull->error != 0 ? strerror(pull->error) : "it is another one");
    } else if (link->state == RW_STREAM_OPEN) {
        link->fetches = true;
        snprintf(link->base.path, sizeof link->base.path, "local pull");
        link->stream->puller.say(link, RW_FRAME_PROBED, "", 0);
    }
}

static void finish(rw_pull_t *pull) RW_LOCKED {
    rw_stream_link_t *link = pull->link;
    rw_flight_t *place = pull->place;
    bool unwanted = atomic_load(&pull->unwanted), failed = pull->error != 0 && !unwanted;
    char why[128];

    rw_list_remove(&pull->of_link);
    if (place == NULL) {
        finish_probe(link, pull);
    } else if (failed && link->state == RW_STREAM_OPEN) {
        /* The lender may have taken its memory back and freed it before we hear of that: what the
         * operation ends with is the sender's to say, as with a frame that is void. It may end
         * within the next call. */
        place->loan = pull->loan;
        rw_list_append(&link->in.voided, &place->node);
        say_fetched(link, pull->loan, true);
    } else if (failed) {
        snprintf(why, sizeof why, "its memory can't be read: %s", strerror(pull->error));
        place->done(place, ROPEWAY_ERR_TRANSPORT, why);
    } else {
        link->stream->connector->stats.bytes_fetched += unwanted ? 0 : place->length;
        say_fetched(link, pull->loan, false);
        place->done(place, unwanted ? ROPEWAY_ERR_CANCELLED : ROPEWAY_OK, "it was given up");
    }
    free(pull);
    rw_pull_forget(link);
    rw_link_drop(&link->base);
}

void rw_puller_collect(rw_stream_t *stream) {
    rw_puller_t *puller = &stream->puller;
    rw_node_t done, *node;

    if (!rw_puller_has_any(puller)) {
        return;
    }
    rw_list_init(&done);
    pthread_mutex_lock(&puller->mutex);
    atomic_store(&puller->any, false);
    while ((node = rw_list_take(&puller->done)) != NULL) {
        rw_list_append(&done, node);
    }
    pthread_mutex_unlock(&puller->mutex);
    while ((node = rw_list_take(&done)) != NULL) {
        stream->moved = true;
        finish(RW_CONTAINER(node, rw_pull_t, node));
    }
}

static void on_done(rw_watcher_t *watcher) RW_LOCKED {
    uint64_t count;

    if (read(watcher->fd, &count, sizeof count) > 0) {
        rw_puller_collect(RW_CONTAINER(watcher, rw_stream_t, puller.watcher));
    }
}

/* ---- life ---- */

void rw_puller_init(rw_puller_t *puller,
                    void (*say)(rw_stream_link_t *link, rw_frame_class_t class, const void *payload,
                                size_t length)) RW_UNCHECKED {
    puller->say = say;
    pthread_mutex_init(&puller->mutex, NULL);
    pthread_cond_init(&puller->more, NULL);
    rw_list_init(&puller->todo);
    rw_list_init(&puller->done);
    puller->watcher = (rw_watcher_t){.fd = -1, .on_event = on_done};
}

static void close_watcher(rw_stream_t *stream) RW_LOCKED {
    rw_watcher_t *watcher = &stream->puller.watcher;

    if (watcher->fd >= 0) {
        rw_events_forget(&stream->events, watcher);
        rw_process_close(watcher->fd);
        watcher->fd = -1;
    }
}

/* Starts the threads, unless they are there. false: there is nothing to start them with now. */
static bool start(rw_stream_t *stream) RW_LOCKED {
    rw_puller_t *puller = &stream->puller;

    if (puller->count > 0) {
        return true;
    }
    puller->watcher.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (puller->watcher.fd >= 0 && rw_process_own(puller->watcher.fd) &&
        rw_events_watch(&stream->events, &puller->watcher, EPOLLIN)) {
        while (puller->count < RW_PULLERS &&
               rw_spawn(&puller->threads[puller->count], run, puller,
                        "a thread that fetches bytes") == ROPEWAY_OK) {
            puller->count++;
        }
    }
    if (puller->count == 0) {
        close_watcher(stream);
    }
    return puller->count > 0;
}

void rw_puller_stop(rw_stream_t *stream) {
    rw_puller_t *puller = &stream->puller;

    pthread_mutex_lock(&puller->mutex);
    puller->stopping = true;
    pthread_cond_broadcast(&puller->more);
    pthread_mutex_unlock(&puller->mutex);
    for (size_t i = 0; i < puller->count; i++) {
        pthread_join(puller->threads[i], NULL); /* they never take the connector's lock */
    }
    rw_puller_collect(stream);
    rw_assert(rw_list_is_empty(&puller->todo) && rw_list_is_empty(&puller->done));
    close_watcher(stream);
    pthread_cond_destroy(&puller->more);
    pthread_mutex_destroy(&puller->mutex);
}

/* ---- a link's ---- */

/* NULL: out of memory. */
static rw_pull_t *make(rw_stream_link_t *link, uint64_t address, size_t length) RW_LOCKED {
    rw_pull_t *pull = calloc(1, sizeof *pull);

    if (pull != NULL) {
        pull->link = link;
        pull->pid = link->pid;
        pull->process = link->process;
        pull->from = (struct iovec){.iov_base = (void *)(uintptr_t)address, .iov_len = length};
        pull->length = length;
        pull->into = (struct iovec){.iov_base = pull->found, .iov_len = sizeof pull->found};
        link->base.references++;
        rw_list_init(&pull->node);
        rw_list_init(&pull->of_link);
        rw_list_append(&link->pulls, &pull->of_link);
    }
    return pull;
}

static void enqueue(rw_pull_t *pull) RW_LOCKED {
    rw_puller_t *puller = &pull->link->stream->puller;

    pthread_mutex_lock(&puller->mutex);
    rw_list_append(&puller->todo, &pull->node);
    pthread_cond_signal(&puller->more);
    pthread_mutex_unlock(&puller->mutex);
}

static bool may_pull(const rw_stream_link_t *link) RW_LOCKED {
    return link->process >= 0;
}

/* Notices the end of the other side's process from now on; it has greeted, and so was there. */
static void watch_process(rw_stream_link_t *link) RW_LOCKED {
    if (link->stream->ways.pull && link->pid > 0) {
        link->process = rw_process_open(link->pid);
        if (link->process >= 0 && !rw_process_own(link->process)) {
            rw_process_close(link->process);
            link->process = -1;
        }
    }
}

void rw_pull_ask(rw_stream_link_t *link) {
    rw_probe_t probe = {.address = (uint64_t)(uintptr_t)link->nonce};
    uint8_t bytes[RW_PROBE_BYTES];

    watch_process(link);
    if (may_pull(link)) {
        rw_random(link->nonce, sizeof link->nonce);
        memcpy(probe.nonce, link->nonce, sizeof probe.nonce);
        rw_probe_encode(&probe, bytes);
        link->asked = true;
        link->stream->puller.say(link, RW_FRAME_PROBE, bytes, sizeof bytes);
    }
}

const char *rw_pull_answer(rw_stream_link_t *link, const rw_probe_t *probe) {
    rw_pull_t *pull;

    if (link->answered) {
        return "a question that was asked before";
    }
    link->answered = true;
    if (!may_pull(link) || !start(link->stream)) {
        return NULL;
    }
    pull = make(link, probe->address, RW_NONCE_BYTES);
    if (pull != NULL) {
        memcpy(pull->nonce, probe->nonce, sizeof pull->nonce);
        enqueue(pull);
    }
    return NULL;
}

bool rw_pull_fetch(rw_stream_link_t *link, const rw_loan_t *loan, rw_flight_t *place) {
    rw_pull_t *pull = make(link, loan->address, place->length);

    if (pull == NULL) {
        return false;
    }
    pull->place = place;
    pull->loan = loan->id;
    if (loan->pieces > 1) {
        pull->rows = loan->pieces;
        pull->from.iov_len = (pull->rows + 1) * sizeof(struct iovec);
    }
    enqueue(pull);
    return true;
}

void rw_pull_refuse(rw_stream_link_t *link, const rw_loan_t *loan) {
    say_fetched(link, loan->id, false);
}

/* Takes it out of what the threads shall do. false: one of them is at it. */
static bool withdraw(rw_puller_t *puller, rw_pull_t *pull) {
    bool begun;

    atomic_store(&pull->unwanted, true);
    pthread_mutex_lock(&puller->mutex);
    begun = pull->begun;
    if (!begun) {
        rw_list_remove(&pull->node);
    }
    pthread_mutex_unlock(&puller->mutex);
    return !begun;
}

void rw_pull_abandon(rw_stream_link_t *link, const void *tag) {
    rw_node_t *node = link->pulls.next;

    link->base.references++; /* its pulls let it go */
    while (node != &link->pulls) {
        rw_pull_t *pull = RW_CONTAINER(node, rw_pull_t, of_link);
        bool meant = tag == NULL || (pull->place != NULL && pull->place->tag == tag);

        node = node->next;
        if (meant && !atomic_load(&pull->unwanted) && withdraw(&link->stream->puller, pull)) {
            finish(pull);
            node = link->pulls.next; /* others may have gone with it */
        }
    }
    rw_link_drop(&link->base);
}

void rw_pull_forget(rw_stream_link_t *link) {
    if (link->state == RW_STREAM_CLOSED && rw_list_is_empty(&link->pulls) && link->process >= 0) {
        rw_process_close(link->process);
        link->process = -1;
    }
}
