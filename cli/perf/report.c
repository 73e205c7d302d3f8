/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed: tables for people, and JSON. */
#include "perf.h"

#include <stdio.h>

#include "common/text.h"

static const char *kind_name(ropeway_operation_kind_t kind) {
    return kind == ROPEWAY_OPERATION_READ ? "read" : "write";
}

json_t *cli_perf_case_json(const struct cli_perf_case *result) {
    return json_pack(
        "{s:s,s:s,s:I,s:s,s:b,s:{s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f},s:{s:I,s:I,s:f,s:f,s:f,s:f},"
        "s:f,s:f}",
        "transport", result->transport, "kind", kind_name(result->kind), "size",
        (json_int_t)result->size, "path", result->path, "verified", 1, "one_at_a_time", "samples",
        (json_int_t)result->samples, "p50_us", result->p50, "p99_us", result->p99, "min_us",
        result->min, "max_us", result->max, "bytes_per_s", result->bytes_per_s, "active_cpu_us",
        result->active_cpu, "passive_cpu_us", result->passive_cpu, "concurrent", "concurrency",
        (json_int_t)result->concurrency, "samples", (json_int_t)result->concurrent_samples,
        "ops_per_s", result->concurrent_ops_per_s, "bytes_per_s", result->concurrent_bytes_per_s,
        "active_cpu_us", result->concurrent_active_cpu, "passive_cpu_us",
        result->concurrent_passive_cpu, "asleep_p50_us", result->asleep_p50, "whole_p50_us",
        result->whole_p50);
}

json_t *cli_perf_idle_json(const char *transport, const struct cli_perf_idle *idle) {
    return json_pack("{s:s,s:I,s:f,s:{s:f,s:I},s:{s:f,s:I}}", "transport", transport, "pending",
                     (json_int_t)idle->pending, "seconds", idle->seconds, "client", "cpu_percent",
                     idle->client.cpu_percent, "wakeups", (json_int_t)idle->client.wakeups,
                     "server", "cpu_percent", idle->server.cpu_percent, "wakeups",
                     (json_int_t)idle->server.wakeups);
}

void cli_perf_case_heading(void) {
    printf("%-6s %-5s %9s | %9s %9s %9s %9s %9s %9s %9s | %3s %9s %9s %9s %9s\n", "", "", "",
           "p50 us", "p99 us", "asleep us", "whole us", "MB/s", "cpu us", "peer cpu", "N", "op/s",
           "MB/s", "cpu us", "peer cpu");
    fflush(stdout);
}

void cli_perf_case_print(const struct cli_perf_case *result) {
    char size[CLI_SIZE_TEXT];
    printf("%-6s %-5s %9s | %9.1f %9.1f %9.1f %9.1f %9.0f %9.1f %9.1f | %3zu %9.0f %9.0f %9.1f "
           "%9.1f\n",
           result->transport, kind_name(result->kind), cli_size_text(result->size, size),
           result->p50, result->p99, result->asleep_p50, result->whole_p50,
           result->bytes_per_s / 1e6, result->active_cpu, result->passive_cpu, result->concurrency,
           result->concurrent_ops_per_s, result->concurrent_bytes_per_s / 1e6,
           result->concurrent_active_cpu, result->concurrent_passive_cpu);
    fflush(stdout);
}

void cli_perf_idle_print(const char *transport, const struct cli_perf_idle *idle) {
    printf("%-6s idle %.0f s, %zu pending operations on each side: client %.3f %% CPU and %llu "
           "wake-ups, server %.3f %% and %llu\n",
           transport, idle->seconds, idle->pending, idle->client.cpu_percent,
           (unsigned long long)idle->client.wakeups, idle->server.cpu_percent,
           (unsigned long long)idle->server.wakeups);
    fflush(stdout);
}
