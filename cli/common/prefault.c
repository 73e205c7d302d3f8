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

#define STEP ((size_t)4 << 20) /* bytes */
#define WORTH_IT ((size_t)1 << 20)
#define MEMORY_PART 4 /* at most one of so many parts of the free memory */

static void *walk(void *arg) {
    struct cli_prefault *prefault = arg;
    int advice = prefault->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    for (size_t at = 0; at < prefault->size && !atomic_load(&prefault->stop); at += STEP) {
        size_t left = prefault->size - at;
        if (madvise(prefault->begin + at, left < STEP ? left : STEP, advice) != 0) {
            break;
        }
    }
    return NULL;
}

void cli_prefault_start(struct cli_prefault *prefault, void *data, size_t size, bool writable) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t limit = (size_t)sysconf(_SC_AVPHYS_PAGES) / MEMORY_PART * page;
    size_t skip = (uintptr_t)data % page;
    prefault->begin = (char *)data - skip;
    prefault->size = size + skip < limit ? size + skip : limit;
    prefault->writable = writable;
    prefault->running = false;
    atomic_store(&prefault->stop, false);
    if (size < WORTH_IT) {
        return;
    }
    /* Signals are for the thread that waits for them. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    prefault->running = pthread_create(&prefault->thread, NULL, walk, prefault) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void cli_prefault_stop(struct cli_prefault *prefault) {
    if (!prefault->running) {
        return;
    }
    atomic_store(&prefault->stop, true);
    pthread_join(prefault->thread, NULL);
    prefault->running = false;
}
