/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that carry requests out, started as they are needed and bounded in number. Those who ask
 * take turns: what waits of one of them holds up none of the others.
 */
#ifndef CLI_SERVE_POOL_H
#define CLI_SERVE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_pool;

struct cli_pool_limits {
    uint32_t threads;
    uint32_t waiting; /* jobs of one who asks that no thread has taken up yet */
    size_t bytes;     /* of all that wait */
};

/* run is called with each job, on a thread of the pool. NULL: out of memory. */
struct cli_pool *cli_pool_create(const struct cli_pool_limits *limits, void (*run)(void *job));

/* Hands a job over. who: whoever asks; bytes: what it keeps in memory. False: too much waits, there
 * is no memory, or the pool was stopped; the caller keeps it. */
bool cli_pool_submit(struct cli_pool *pool, const char *who, size_t bytes, void *job);

/* Carries out what waits and ends the threads. May be called again. */
void cli_pool_stop(struct cli_pool *pool);

/* Stops and frees the pool. Nothing may be submitted any more. */
void cli_pool_destroy(struct cli_pool *pool);

#endif
