/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that walks ahead of a transfer through a mapped file and makes its pages present. One
 * page fault per 4 KiB in the midst of the transfer costs several times as much as the bytes'
 * copy; the kernel takes whole stretches at a time when it is asked to.
 */
#ifndef CLI_PREFAULT_H
#define CLI_PREFAULT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct cli_prefault {
    pthread_t thread;
    bool running;
    atomic_bool stop;
    char *begin;
    size_t size;
    bool writable;
};

/* Starts for size bytes of a mapping. It does without where it is not worth a thread, for what is
 * beyond a part of the free memory, and on kernels that can't do it: nothing depends on it. */
void cli_prefault_start(struct cli_prefault *prefault, void *data, size_t size, bool writable);

/* Must be called before the mapping goes; may be called on a struct that is all zeroes. */
void cli_prefault_stop(struct cli_prefault *prefault);

#endif
