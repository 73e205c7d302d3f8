/* SPDX-License-Identifier: Apache-2.0 */
/* What a process costs, and what "transports" on the command line stand for. */
#include "perf.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

uint64_t cli_perf_cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const char *cli_perf_transports(const char *name, char *buffer, size_t size) {

    if (strcmp(name, "any") == 0) {
        return NULL;
    }
    snprintf(buffer, size, "%s", name);
    for (char *each = buffer; *each != '\0'; each++) {
        *each = *each == '+' ? ',' : *each;
    }
    return buffer;
}

void cli_perf_usage_of_idling(ropeway_connector_t *connector, double seconds,
                              struct cli_perf_usage *usage) {
    struct timespec left = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    ropeway_stats_t stats = {0};
    uint64_t cpu, start;
    ropeway_connector_stats(connector, &stats, sizeof stats);
    usage->wakeups = stats.wakeups;
    start = cli_now_ns();
    cpu = cli_perf_cpu_ns();
    while (nanosleep(&left, &left) != 0) {
    }
    cpu = cli_perf_cpu_ns() - cpu;
    start = cli_now_ns() - start;
    ropeway_connector_stats(connector, &stats, sizeof stats);
    usage->wakeups = stats.wakeups - usage->wakeups;
    usage->cpu_percent = 100.0 * (double)cpu / (double)start;
}
