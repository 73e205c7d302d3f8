/* SPDX-License-Identifier: Apache-2.0 */
/* All time in the command is that of CLOCK_MONOTONIC, which no one sets. */
#include "clock.h"

uint64_t cli_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t cli_now_ms(void) {
    return cli_now_ns() / 1000000;
}

double cli_now_seconds(void) {
    return (double)cli_now_ns() / 1e9;
}

void cli_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &clock);
    pthread_condattr_destroy(&clock);
}

struct timespec cli_deadline(uint64_t ms) {
    uint64_t at = cli_now_ns() + ms * 1000000;
    return (struct timespec){.tv_sec = (time_t)(at / 1000000000u),
                             .tv_nsec = (long)(at % 1000000000u)};
}
