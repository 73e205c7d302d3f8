/* SPDX-License-Identifier: Apache-2.0 */
/* One case: from batches to percentiles and rates. */
#include "perf.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_SAMPLES 20000
#define BATCH_NS 200000000.0 /* time that a batch should take */
#define SIDE_SAMPLES 100     /* of the asleep and of the whole phase */
#define ASLEEP_PAUSE_NS 2000000

/* Samples of one phase, and the sums over its batches. */
struct phase {
    uint64_t *samples;
    size_t count;
    double wall_ns, active_ns, passive_ns;
};

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* In microseconds; the samples are sorted. The nearest rank: never a value that was not measured.
 */
static double percentile(const struct phase *phase, unsigned percent) {
    size_t rank = (phase->count * percent + 99) / 100;
    return (double)phase->samples[rank > 0 ? rank - 1 : 0] / 1e3;
}

static size_t next_count(const struct phase *phase, size_t slots, size_t left) {
    double per_operation = phase->count > 0 ? phase->wall_ns / (double)phase->count : BATCH_NS;
    double wanted = BATCH_NS / per_operation;
    size_t count = wanted > CLI_PERF_MAX_BATCH ? CLI_PERF_MAX_BATCH : (size_t)wanted;
    count = count < 2 * slots ? 2 * slots : count;
    count = count > CLI_PERF_MAX_BATCH ? CLI_PERF_MAX_BATCH : count;
    return count > left ? (left < slots ? slots : left) : count;
}

/* Runs batches like model until max samples are there or seconds of timed wall time have passed. */
static bool run_phase(struct cli_perf_session *session, struct cli_perf_batch model, double seconds,
                      size_t max, struct phase *phase) {
    phase->samples = malloc((max + CLI_PERF_MAX_BATCH) * sizeof *phase->samples);
    if (phase->samples == NULL) {
        snprintf(session->error, sizeof session->error, "out of memory for %zu samples", max);
        return false;
    }
    while (phase->count < max && (phase->count == 0 || phase->wall_ns < seconds * 1e9)) {
        struct cli_perf_batch batch = model;
        batch.samples = phase->samples + phase->count;
        batch.count = model.whole ? 1 : next_count(phase, model.slots, max - phase->count);
        if (!cli_perf_batch_run(session, &batch)) {
            return false;
        }
        if (model.whole) {
            batch.samples[0] = batch.wall_ns;
        }
        phase->count += batch.count;
        phase->wall_ns += (double)batch.wall_ns;
        phase->active_ns += (double)batch.active_ns;
        phase->passive_ns += (double)batch.passive_ns;
    }
    qsort(phase->samples, phase->count, sizeof *phase->samples, compare);
    return true;
}

static bool run_alone(struct cli_perf_session *session, struct cli_perf_case *result,
                      struct cli_perf_batch model) {
    struct phase phase = {0};
    bool done = run_phase(session, model, result->seconds, MAX_SAMPLES, &phase);
    if (done) {
        double busy = 0;
        for (size_t i = 0; i < phase.count; i++) {
            busy += (double)phase.samples[i];
        }
        result->samples = phase.count;
        result->p50 = percentile(&phase, 50);
        result->p99 = percentile(&phase, 99);
        result->min = (double)phase.samples[0] / 1e3;
        result->max = (double)phase.samples[phase.count - 1] / 1e3;
        result->bytes_per_s = (double)model.size * (double)phase.count / busy * 1e9;
        result->active_cpu = phase.active_ns / (double)phase.count / 1e3;
        result->passive_cpu = phase.passive_ns / (double)phase.count / 1e3;
    }
    free(phase.samples);
    return done;
}

static bool run_together(struct cli_perf_session *session, struct cli_perf_case *result,
                         struct cli_perf_batch model) {
    struct phase phase = {0};
    model.slots = result->concurrency;
    bool done = run_phase(session, model, result->seconds, MAX_SAMPLES, &phase);
    if (done) {
        result->concurrent_samples = phase.count;
        result->concurrent_ops_per_s = (double)phase.count / phase.wall_ns * 1e9;
        result->concurrent_bytes_per_s = result->concurrent_ops_per_s * (double)model.size;
        result->concurrent_active_cpu = phase.active_ns / (double)phase.count / 1e3;
        result->concurrent_passive_cpu = phase.passive_ns / (double)phase.count / 1e3;
    }
    free(phase.samples);
    return done;
}

static bool run_median(struct cli_perf_session *session, double seconds,
                       struct cli_perf_batch model, double *median) {
    struct phase phase = {0};
    bool done = run_phase(session, model, seconds, SIDE_SAMPLES, &phase);
    if (done) {
        *median = percentile(&phase, 50);
    }
    free(phase.samples);
    return done;
}

bool cli_perf_case_run(struct cli_perf_session *session, struct cli_perf_case *result) {
    struct cli_perf_batch plain = {.kind = result->kind, .size = result->size, .slots = 1};
    struct cli_perf_batch asleep = plain;
    struct cli_perf_batch whole = plain;
    struct cli_perf_batch checked = plain;
    size_t room = result->size > 0 ? CLI_PERF_MAX_MEMORY / result->size : result->concurrency;
    if (result->concurrency > room) {
        result->concurrency = room > 0 ? room : 1;
    }
    asleep.pause_ns = ASLEEP_PAUSE_NS;
    whole.whole = true;
    checked.slots = result->concurrency;
    checked.count = 2 * result->concurrency;
    checked.verify = true;
    checked.path = result->path;
    checked.path_size = sizeof result->path;
    return cli_perf_batch_run(session, &checked) && run_alone(session, result, plain) &&
           run_together(session, result, plain) &&
           run_median(session, result->seconds, asleep, &result->asleep_p50) &&
           run_median(session, result->seconds, whole, &result->whole_p50) &&
           cli_perf_batch_run(session, &checked);
}
