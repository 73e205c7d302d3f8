/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests ask the system: time, use of resources, how far to scale. Nothing here needs
 * Ropeway.
 */
#ifndef TS_PROCESS_H
#define TS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A wait that must end ends long before this; one that reaches it has failed. */
#define TS_BOUND_MS 30000

double ts_now(void);         /* seconds on the monotonic clock */
double ts_cpu_seconds(void); /* user and system time of this process */

/* count times ROPEWAY_TEST_SCALE (a number, 1 unless set; a tenth under sanitizers), at least
 * minimum. */
size_t ts_scaled(size_t count, size_t minimum);

/* True in a build with sanitizers, where figures about memory and CPU mean nothing. */
bool ts_sanitized(void);

/* The run's random seed: ROPEWAY_TEST_SEED, else a fresh one; printed. */
uint64_t ts_seed(void);
/* The next number of a sequence that starts at *state. */
uint64_t ts_random(uint64_t *state);

/* What a process holds: pid 0 is the caller. */
typedef struct ts_usage {
    size_t descriptors;
    size_t threads;
    size_t resident; /* bytes */
} ts_usage_t;

ts_usage_t ts_usage(pid_t pid);

/* Polls until usage has come down to that of before (threads vanish a moment after they were
 * joined); false when it has not within a third of TS_BOUND_MS. */
bool ts_usage_back(const ts_usage_t *before, ts_usage_t *after);

/* Starts to catch what the process writes to stdout and stderr; ts_capture_end() puts both back
 * and returns the text, malloc'ed. */
void ts_capture_begin(void);
char *ts_capture_end(void);

/* Everything that was written to a descriptor of a memory file, as malloc'ed text. */
char *ts_read_all(int fd);

#endif
