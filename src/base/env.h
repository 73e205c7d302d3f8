/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's environment: what it gets from the machine, and a simulation gives it instead. This
 * seam has no table: a simulation keeps env.c, lock.c and events.c, and replaces the functions of
 * the system that they call when it is linked (and malloc() and its kin). Nothing else in base,
 * link, mover, operation and native asks the system for time, randomness, threads, waiting or the
 * state of processes.
 *
 *   now, random, spawn, processes   here
 *   lock, condition                 lock.h
 *   waiting for descriptors         events.h
 */
#ifndef RW_ENV_H
#define RW_ENV_H

#include "ropeway.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

#define RW_NEVER UINT64_MAX
#define RW_NANOSECONDS_PER_MS 1000000u

/* Nanoseconds on the monotonic clock; never RW_NEVER. */
uint64_t rw_now(void);

/* Fills with bytes that nobody can guess. The system's generator was found to work when the first
 * connector was made. */
void rw_random(void *bytes, size_t size);

/* Blocks every signal in this thread, for what may start threads: they inherit it, and signals are
 * the application's. Those of faults stay open: one that happens while its signal is blocked ends
 * the process, whatever handler there is, and an application has one for the file that shrinks
 * under memory that it gave us, or to report a crash. */
void rw_signals_block(sigset_t *before);
void rw_signals_restore(const sigset_t *before);

/* Starts a thread whose signals are blocked as above. what: for the
 * sentence, such as "the progress thread". Errors: ERR_SYSTEM. */
ropeway_error_t rw_spawn(pthread_t *thread, void *(*run)(void *), void *argument, const char *what);

/* A descriptor that polls readable once the process has ended; -1, with errno, when there is none.
 */
int rw_process_open(pid_t process);
/* Whether a descriptor of the above says that its process has ended; also when it can't be asked.
 */
bool rw_process_has_ended(int process);

/* ---- forks (fork.c) ---- */

/* Changes in every forked child. */
unsigned rw_process_generation(void);
/* A connector of this process begins (1) or ends (-1). */
void rw_process_count(int change);
/* false in a child that was forked while the parent had a connector: UCX, whose own thread is in
 * the parent only, does not work there. */
bool rw_process_is_fit(void);

/* This descriptor shall be closed in forked children, which others would take for us. false: out of
 * memory. */
bool rw_process_own(int descriptor);
/* Closes it here. */
void rw_process_close(int descriptor);

#endif
