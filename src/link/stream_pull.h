/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that are fetched from the other process's memory by process_vm_readv(), between processes
 * of one user that see each other on one host, instead of being sent through a Unix socket.
 *
 * The side that has the bytes lends them: a frame says where they are, and nothing more is done
 * until the other side says that it has fetched them. Only the side whose memory is written touches
 * it, on threads of its own; the lender may take its memory back at any time, and then what was
 * fetched meanwhile does not count, because the sender of an operation has the last word on bytes
 * that were lent (native/native.h).
 *
 * Bytes in several pieces are lent by a table that lies in the lender's memory, too: rows of struct
 * iovec, as the kernel has them. One more row ends it, with the loan's name and length, and is
 * cleared when the memory is taken back: who has found it has read a table that still counted, and
 * not what came to lie there afterwards, such as that of another operation.
 *
 * process_vm_readv() reads what the caller may read, so a peer must not be able to point it at more
 * than it may read itself. Hence: only processes of our user (stream_local.h), by the process that
 * the kernel named when the connection was made, and whose end a descriptor shows; and on threads
 * that have given up CAP_SYS_PTRACE, so that the kernel compares users even where we are root.
 *
 * Whether a side can fetch is tried and not assumed: each lets the other one read a random number
 * where it says that this lies. Until then, and when it fails (other namespaces, a security module,
 * a process that is not dumpable), bytes go through the socket.
 *
 * Memory that is not there yet (swapped out, on a slow file, behind userfaultfd) holds up a thread
 * and not the connector's lock. There are RW_PULLERS of them. The kernel lets nobody interrupt such
 * a call, so an operation whose bytes are being fetched can't end before the memory answers, or its
 * process ends, and neither can the connector.
 */
#ifndef RW_STREAM_PULL_H
#define RW_STREAM_PULL_H

#include "link/flight.h"
#include "link/stream_frame.h"

#define RW_PULLERS 2
/* The least that may be lent at a time: the other side can't make us keep more jobs than that. */
#define RW_LOAN_MIN 4096
_Static_assert(sizeof(struct iovec) == 16, "a row is an address and a length of 8 bytes each");

struct rw_stream;
struct rw_stream_link;

/* A connector's threads, and what they have to do. */
typedef struct rw_puller {
    /* Sends a word by the link; written once. */
    void (*say)(struct rw_stream_link *link, rw_frame_class_t class, const void *payload,
                size_t length);
    pthread_mutex_t mutex;
    pthread_cond_t more;
    rw_node_t todo;       /* guarded by the mutex */
    rw_node_t done;       /* guarded by the mutex */
    bool stopping;        /* guarded by the mutex */
    atomic_bool any;      /* done is not empty */
    rw_watcher_t watcher; /* readable when done is not empty */
    pthread_t threads[RW_PULLERS];
    size_t count RW_GUARDED; /* of threads; 0: not started, or there were none to be had */
} rw_puller_t;

void rw_puller_init(rw_puller_t *puller,
                    void (*say)(struct rw_stream_link *link, rw_frame_class_t class,
                                const void *payload, size_t length));
/* What the threads have done goes back. */
void rw_puller_collect(struct rw_stream *stream) RW_LOCKED;
static inline bool rw_puller_has_any(const rw_puller_t *puller) {
    return atomic_load_explicit(&puller->any, memory_order_acquire);
}
/* Ends the threads, and waits for the call that each is in. No link is left. */
void rw_puller_stop(struct rw_stream *stream) RW_LOCKED;

/* The link is open: asks the other side whether it can fetch from us. */
void rw_pull_ask(struct rw_stream_link *link) RW_LOCKED;
/* The same by the other side. NULL, or what is wrong, as a phrase. */
const char *rw_pull_answer(struct rw_stream_link *link, const rw_probe_t *probe) RW_LOCKED;
/* Fetches what is lent to where the frame was placed. false: out of memory. */
bool rw_pull_fetch(struct rw_stream_link *link, const rw_loan_t *loan,
                   rw_flight_t *place) RW_LOCKED;
/* Nobody wants it: the lender may have it back. */
void rw_pull_refuse(struct rw_stream_link *link, const rw_loan_t *loan) RW_LOCKED;
/* Gives back the places of this tag, NULL: all; one that is being filled follows when the bytes
 * that are under way are there. */
void rw_pull_abandon(struct rw_stream_link *link, const void *tag) RW_LOCKED;
/* Closes what the link needed for it, once nothing of it is under way. */
void rw_pull_forget(struct rw_stream_link *link) RW_LOCKED;

#endif
