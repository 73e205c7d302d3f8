/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that walks ahead of a transfer through a mapped file and makes its pages present. One
 * page fault per 4 KiB in the midst of the transfer costs several times as much as the bytes'
 * copy; the kernel takes whole stretches at a time when it is asked to. How far it may walk is told
 * as the transfer goes on, so that neither memory nor disk is taken for bytes that never come.
 */
#ifndef CLI_PREFAULT_H
#define CLI_PREFAULT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct cli_prefault {
    pthread_t thread;
    bool running;
    char *begin;
    size_t size;
    bool writable;
    pthread_mutex_t lock; /* guards the rest; only while it runs */
    pthread_cond_t changed;
    size_t limit;
    bool stop;
};

/* Starts for the first limit bytes of a mapping of size bytes. It does without where it is not
 * worth a thread, for what is beyond a part of the free memory, and on kernels that can't do it:
 * nothing depends on it. */
void cli_prefault_start(struct cli_prefault *prefault, void *data, size_t size, bool writable,
                        size_t limit);

/* Lets it go on, up to limit bytes from the beginning. */
void cli_prefault_allow(struct cli_prefault *prefault, size_t limit);

/* Must be called before the mapping goes; may be called on a struct that is all zeroes. */
void cli_prefault_stop(struct cli_prefault *prefault);

#endif
