/* SPDX-License-Identifier: Apache-2.0 */
/* Makes pages present with madvise(), on a thread. */
#include "prefault.h"

#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define STEP ((size_t)1 << 20) /* bytes */
#define WORTH_IT STEP
#define MEMORY_PART 4 /* at most one of so many parts of the free memory */

/* Waits until a step may be taken. Returns its size; 0: it is over. */
static size_t next_step(struct cli_prefault *prefault, size_t at) {
    pthread_mutex_lock(&prefault->lock);
    while (!prefault->stop && at >= prefault->limit && at < prefault->size) {
        pthread_cond_wait(&prefault->changed, &prefault->lock);
    }
    size_t end = prefault->limit < prefault->size ? prefault->limit : prefault->size;
    size_t left = prefault->stop || at >= end ? 0 : end - at;
    pthread_mutex_unlock(&prefault->lock);
    return left < STEP ? left : STEP;
}

static void *walk(void *arg) {
    struct cli_prefault *prefault = arg;
    int advice = prefault->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    size_t step;
    for (size_t at = 0; (step = next_step(prefault, at)) > 0; at += step) {
        if (madvise(prefault->begin + at, step, advice) != 0) {
            break;
        }
    }
    return NULL;
}

/* So many bytes from the beginning, in whole pages as madvise() counts. */
static size_t limit_of(const struct cli_prefault *prefault, size_t limit) {
    return limit > prefault->size - STEP ? prefault->size : (limit + STEP - 1) / STEP * STEP;
}

void cli_prefault_start(struct cli_prefault *prefault, void *data, size_t size, bool writable,
                        size_t limit) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t most = (size_t)sysconf(_SC_AVPHYS_PAGES) / MEMORY_PART * page;
    size_t skip = (uintptr_t)data % page;
    *prefault = (struct cli_prefault){.begin = (char *)data - skip,
                                      .size = size + skip < most ? size + skip : most,
                                      .writable = writable};
    if (size < WORTH_IT || prefault->size < STEP) {
        return;
    }
    prefault->limit = limit_of(prefault, limit);
    pthread_mutex_init(&prefault->lock, NULL);
    pthread_cond_init(&prefault->changed, NULL);
    /* Signals are for the thread that waits for them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    prefault->running = pthread_create(&prefault->thread, NULL, walk, prefault) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void cli_prefault_allow(struct cli_prefault *prefault, size_t limit) {
    if (!prefault->running) {
        return;
    }
    pthread_mutex_lock(&prefault->lock);
    size_t more = limit_of(prefault, limit);
    if (more > prefault->limit) {
        prefault->limit = more;
        pthread_cond_signal(&prefault->changed);
    }
    pthread_mutex_unlock(&prefault->lock);
}

void cli_prefault_stop(struct cli_prefault *prefault) {
    if (!prefault->running) {
        return;
    }
    pthread_mutex_lock(&prefault->lock);
    prefault->stop = true;
    pthread_cond_signal(&prefault->changed);
    pthread_mutex_unlock(&prefault->lock);
    pthread_join(prefault->thread, NULL);
    pthread_mutex_destroy(&prefault->lock);
    pthread_cond_destroy(&prefault->changed);
    prefault->running = false;
}
