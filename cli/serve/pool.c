/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded pool of threads with a bounded queue. */
#include "pool.h"

#include <pthread.h>
#include <stdlib.h>

#define THREAD_STACK ((size_t)512 << 10)

struct entry {
    struct entry *next;
    void *job;
};

struct cli_pool {
    void (*run)(void *job);
    uint32_t max_threads, max_waiting;
    pthread_attr_t attributes;

    pthread_mutex_t lock;
    pthread_cond_t work;  /* there is an entry, or the pool ends */
    pthread_cond_t ended; /* a thread has ended */
    struct entry *first, **last;
    uint32_t waiting; /* entries */
    uint32_t idle;    /* threads */
    uint32_t threads;
    bool ending;
};

struct cli_pool *cli_pool_create(uint32_t max_threads, uint32_t max_waiting,
                                 void (*run)(void *job)) {
    struct cli_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    pool->run = run;
    pool->max_threads = max_threads;
    pool->max_waiting = max_waiting;
    pool->last = &pool->first;
    pthread_attr_init(&pool->attributes);
    pthread_attr_setstacksize(&pool->attributes, THREAD_STACK);
    pthread_attr_setdetachstate(&pool->attributes, PTHREAD_CREATE_DETACHED);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->ended, NULL);
    return pool;
}

static void *run_thread(void *arg) {
    struct cli_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct entry *entry = pool->first;
        if (entry == NULL && pool->ending) {
            break;
        }
        if (entry == NULL) {
            pool->idle++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle--;
            continue;
        }
        pool->first = entry->next;
        if (pool->first == NULL) {
            pool->last = &pool->first;
        }
        pool->waiting--;
        pthread_mutex_unlock(&pool->lock);
        pool->run(entry->job);
        free(entry);
        pthread_mutex_lock(&pool->lock);
    }
    pool->threads--;
    pthread_cond_signal(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

bool cli_pool_submit(struct cli_pool *pool, void *job) {
    struct entry *entry = malloc(sizeof *entry);
    pthread_t thread;
    if (entry == NULL) {
        return false;
    }
    *entry = (struct entry){NULL, job};
    pthread_mutex_lock(&pool->lock);
    bool taken = !pool->ending && pool->waiting < pool->max_waiting;
    if (taken && pool->waiting >= pool->idle && pool->threads < pool->max_threads &&
        pthread_create(&thread, &pool->attributes, run_thread, pool) == 0) {
        pool->threads++;
    }
    taken = taken && pool->threads > 0;
    if (taken) {
        *pool->last = entry;
        pool->last = &entry->next;
        pool->waiting++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    if (!taken) {
        free(entry);
    }
    return taken;
}

void cli_pool_stop(struct cli_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    while (pool->threads != 0) {
        pthread_cond_wait(&pool->ended, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

void cli_pool_destroy(struct cli_pool *pool) {
    if (pool == NULL) {
        return;
    }
    cli_pool_stop(pool);
    pthread_attr_destroy(&pool->attributes);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->ended);
    free(pool);
}
