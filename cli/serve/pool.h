/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that carry requests out, started as they are needed and bounded in number. */
#ifndef RW_SERVE_POOL_H
#define RW_SERVE_POOL_H

#include <stdbool.h>
#include <stdint.h>

struct rw_pool;

/* run is called with each job, on a thread of the pool. NULL: out of memory. */
struct rw_pool *rw_pool_create(uint32_t max_threads, uint32_t max_waiting, void (*run)(void *job));

/* Hands a job over. False: as many as may wait do so, there is no memory, or the pool was stopped;
 * the caller keeps it. */
bool rw_pool_submit(struct rw_pool *pool, void *job);

/* Carries out what waits and ends the threads. May be called again. */
void rw_pool_stop(struct rw_pool *pool);

/* Stops and frees the pool. Nothing may be submitted any more. */
void rw_pool_destroy(struct rw_pool *pool);

#endif
