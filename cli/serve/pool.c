/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded pool of threads, and bounded queues that are served in turn. */
#include "pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#define QUEUES 64
#define THREAD_STACK ((size_t)512 << 10)

struct entry {
    struct entry *next;
    size_t bytes;
    void *job;
};

/* What waits of those whose names have one hash. */
struct queue {
    struct entry *first, **last;
    uint32_t count;
};

struct cli_pool {
    void (*run)(void *job);
    struct cli_pool_limits limits;
    pthread_attr_t attributes;

    pthread_mutex_t lock;
    pthread_cond_t work;  /* there is an entry, or the pool ends */
    pthread_cond_t ended; /* a thread has ended */
    struct queue queues[QUEUES];
    size_t turn;      /* the queue that is next */
    uint32_t waiting; /* entries */
    size_t bytes;     /* of them */
    uint32_t idle;    /* threads */
    uint32_t threads;
    bool ending;
};

struct cli_pool *cli_pool_create(const struct cli_pool_limits *limits, void (*run)(void *job)) {
    struct cli_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    pool->run = run;
    pool->limits = *limits;
    for (size_t i = 0; i < QUEUES; i++) {
        pool->queues[i].last = &pool->queues[i].first;
    }
    pthread_attr_init(&pool->attributes);
    pthread_attr_setstacksize(&pool->attributes, THREAD_STACK);
    pthread_attr_setdetachstate(&pool->attributes, PTHREAD_CREATE_DETACHED);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->ended, NULL);
    return pool;
}

static size_t queue_of(const char *who) {
    return (size_t)(XXH3_64bits(who, strlen(who)) % QUEUES);
}

static void put(struct cli_pool *pool, struct queue *queue, struct entry *entry) {
    *queue->last = entry;
    queue->last = &entry->next;
    queue->count++;
    pool->waiting++;
    pool->bytes += entry->bytes;
}

/* The oldest entry of the queue whose turn it is; NULL: none waits. */
static struct entry *take(struct cli_pool *pool) {
    for (size_t i = 0; pool->waiting > 0 && i < QUEUES; i++) {
        struct queue *queue = &pool->queues[pool->turn];
        struct entry *entry = queue->first;
        pool->turn = (pool->turn + 1) % QUEUES;
        if (entry != NULL) {
            queue->first = entry->next;
            if (queue->first == NULL) {
                queue->last = &queue->first;
            }
            queue->count--;
            pool->waiting--;
            pool->bytes -= entry->bytes;
            return entry;
        }
    }
    return NULL;
}

static void *run_thread(void *arg) {
    struct cli_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct entry *entry = take(pool);
        if (entry == NULL && pool->ending) {
            break;
        }
        if (entry == NULL) {
            pool->idle++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->idle--;
            continue;
        }
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

bool cli_pool_submit(struct cli_pool *pool, const char *who, size_t bytes, void *job) {
    struct entry *entry = malloc(sizeof *entry);
    struct queue *queue = &pool->queues[queue_of(who)];
    pthread_t thread;
    if (entry == NULL) {
        return false;
    }
    *entry = (struct entry){NULL, bytes, job};
    pthread_mutex_lock(&pool->lock);
    bool taken = !pool->ending && queue->count < pool->limits.waiting &&
                 bytes <= pool->limits.bytes - pool->bytes;
    if (taken && pool->waiting >= pool->idle && pool->threads < pool->limits.threads &&
        pthread_create(&thread, &pool->attributes, run_thread, pool) == 0) {
        pool->threads++;
    }
    taken = taken && pool->threads > 0;
    if (taken) {
        put(pool, queue, entry);
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
