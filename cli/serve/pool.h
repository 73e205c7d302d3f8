/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that carry requests out, started as they are needed and bounded in number. */
#ifndef CLI_SERVE_POOL_H
#define CLI_SERVE_POOL_H

#include <stdbool.h>
#include <stdint.h>

struct cli_pool;

/* run is called with each job, on a thread of the pool. NULL: out of memory. */
struct cli_pool *cli_pool_create(uint32_t max_threads, uint32_t max_waiting,
                                 void (*run)(void *job));

/* Hands a job over. False: as many as may wait do so, there is no memory, or the pool was stopped;
 * the caller keeps it. */
bool cli_pool_submit(struct cli_pool *pool, void *job);

/* Carries out what waits and ends the threads. May be called again. */
void cli_pool_stop(struct cli_pool *pool);

/* Stops and frees the pool. Nothing may be submitted any more. */
void cli_pool_destroy(struct cli_pool *pool);

#endif
