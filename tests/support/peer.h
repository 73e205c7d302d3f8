/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer: another process (peer_main.c) with a connector of its own, which does what lines over a
 * socket tell it. Where links are in memory it is a thread; tests that kill or stop it are skipped.
 Functions here fail the running test when the peer's answer is not to be had.
 */
#ifndef TS_PEER_H
#define TS_PEER_H

#include "ropeway.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct ts_peer {
    pid_t pid; /* 0 once it has ended, and of a thread */
    pthread_t thread;
    bool is_thread;
    FILE *in, *out;
    int output; /* memory file behind its stdout and stderr */
    char *line;
    size_t line_size;
} ts_peer_t;

/* How an operation stands. matches: -1 unless asked for. */
typedef struct ts_outcome {
    ropeway_status_t status;
    ropeway_error_t error;
    uint64_t done, total;
    int matches;
    int guarded;
    char text[600];
} ts_outcome_t;

/* Skips the running test where peers are threads; for those that kill or stop one. */
void ts_peer_need_processes(void);

/* Starts the process, without a connector. */
ts_peer_t *ts_peer_spawn(void);
/* Starts it and makes its connector; options: see options.h. */
ts_peer_t *ts_peer_start(const char *options);

/* Ends it if it runs, and frees it. Returns false, after a message, when it wrote to stdout or
 * stderr. */
bool ts_peer_free(ts_peer_t *peer);

/* Sends one line, and takes one line of answer. send and reply in turn let several peers work at
 * the same time. The answer, less its "ok", is valid until the next one. */
void ts_peer_send(ts_peer_t *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *ts_peer_reply(ts_peer_t *peer);
const char *ts_peer_ask(ts_peer_t *peer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
long long ts_peer_number(ts_peer_t *peer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The metadata of its operation id, malloc'ed and NUL-terminated. */
char *ts_peer_metadata(ts_peer_t *peer, int id, size_t *length);

/* Its operation id becomes a begun one; verb: "read" or "write". Returns what begin returned. */
ropeway_error_t ts_peer_begin(ts_peer_t *peer, const char *verb, int id, const char *spec,
                              uint64_t seed, const char *options, const char *metadata,
                              size_t length);

ts_outcome_t ts_peer_outcome(const char *reply);
/* Waits for its operation id: up to TS_BOUND_MS, or timeout_ms. */
ts_outcome_t ts_peer_wait(ts_peer_t *peer, int id);
ts_outcome_t ts_peer_wait_for(ts_peer_t *peer, int id, int timeout_ms);

/* Sends a signal; returns when it was killed and reaped, is stopped, or goes on. */
void ts_peer_kill(ts_peer_t *peer);
void ts_peer_stop(ts_peer_t *peer);
void ts_peer_continue(ts_peer_t *peer);
/* Reaps a peer that was told to end, and returns its exit status; fails the test when it does not
 * end. */
int ts_peer_reap(ts_peer_t *peer);

#endif
