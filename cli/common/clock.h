/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock, and waiting by it. */
#ifndef CLI_CLOCK_H
#define CLI_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

uint64_t cli_now_ns(void);
uint64_t cli_now_ms(void);
double cli_now_seconds(void);

/* Makes a condition whose pthread_cond_timedwait() takes times of cli_deadline(). */
void cli_condition_init(pthread_cond_t *condition);

/* The time that comes so many milliseconds from now. */
struct timespec cli_deadline(uint64_t ms);

#endif
