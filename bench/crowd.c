/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a READ of 4 KiB takes from an owner in another process: alone; beside large transfers from
 * the same owner; with many idle peers connected to that owner and many operations of it pending.
 * What a call that only takes the connector's lock takes beside large transfers: as long as
 * somebody else holds it. And what the release of a READ takes when its owner has been stopped.
 *
 * Usage: crowd TRANSPORTS ENCRYPTION IDLE PENDING SECONDS (any: the default transports); prints one
 * JSON object, times in microseconds.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "standalone.h"

#define SMALL ((size_t)4096)
#define LARGE ((size_t)1 << 30)
#define BATCH 500 /* operations offered at a time */
#define SAMPLES_MAX 2000000
#define RELEASES 2000
#define LOOKS_MAX 200000
#define LOOK_PAUSE_US 100
#define PROCESSES 8 /* that the idle peers are in */
#define WAIT_MS 60000

static const char *transports, *encryption;

static double now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* ---- the other processes, which obey lines and answer with lines ---- */

typedef struct {
    FILE *in, *out;
    pid_t pid;
} child_t;

static void start(child_t *child, void (*run)(FILE *in, FILE *out)) {
    int down[2], up[2];

    if (pipe(down) != 0 || pipe(up) != 0 || (child->pid = fork()) < 0) {
        perror("crowd");
        exit(1);
    }
    if (child->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also one that is stopped ends with us */
        close(down[1]);
        close(up[0]);
        run(fdopen(down[0], "r"), fdopen(up[1], "w"));
        _exit(0);
    }
    close(down[0]);
    close(up[1]);
    child->out = fdopen(down[1], "w");
    child->in = fdopen(up[0], "r");
}

static char *read_line(FILE *in) {
    char *line = NULL;
    size_t size = 0;

    if (getline(&line, &size, in) < 0) {
        fail("another process", "it has ended");
    }
    return line;
}

/* "small N", "large": offers, one line of metadata each, in the place of those before; "pend N":
 * offers that nobody takes. */
static void own(FILE *in, FILE *out) {
    static ropeway_operation_t *offered[BATCH + 1];
    ropeway_connector_t *connector = connect_by(transports, encryption);
    char *memory = touched(LARGE), *line = NULL;
    size_t room = 0, i, count;
    const char *metadata;

    while (getline(&line, &room, in) > 0) {
        count = strncmp(line, "large", 5) == 0 ? 1 : strtoul(strchr(line, ' '), NULL, 10);
        if (strncmp(line, "pend", 4) == 0) {
            for (i = 0; i < count; i++) {
                offer(connector, memory, SMALL);
            }
            fputs("done\n", out);
        }
        for (i = 0; i < count && line[0] != 'p'; i++) {
            ropeway_operation_t **place = &offered[line[0] == 'l' ? BATCH : i];

            ropeway_operation_release(*place);
            *place = offer(connector, memory, line[0] == 'l' ? LARGE : SMALL);
            check(ropeway_operation_metadata(*place, &metadata), "metadata");
            fprintf(out, "%s\n", metadata);
        }
        fflush(out);
    }
}

/* Each line is metadata, which a connector of its own reads, and stays connected. */
static void be_idle(FILE *in, FILE *out) {
    char *memory = touched(SMALL), *line = NULL;
    ropeway_operation_t *operation;
    size_t room = 0;

    while (getline(&line, &room, in) > 0) {
        operation = begin_read(connect_by(transports, encryption), line, memory, SMALL);
        check(ropeway_operation_wait(operation, WAIT_MS), "an idle peer's read");
        ropeway_operation_release(operation);
        fputs("done\n", out);
        fflush(out);
    }
}

/* ---- measuring ---- */

static ropeway_connector_t *connector;
static pthread_mutex_t owner_lock = PTHREAD_MUTEX_INITIALIZER;
static child_t owner;

/* The answers to one line, which are count lines. */
static void ask(const char *line, size_t count, char **answers) {
    size_t i;

    pthread_mutex_lock(&owner_lock);
    fprintf(owner.out, "%s\n", line);
    fflush(owner.out);
    for (i = 0; i < count; i++) {
        answers[i] = read_line(owner.in);
    }
    pthread_mutex_unlock(&owner_lock);
}

static int by_size(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;

    return (difference > 0) - (difference < 0);
}

static void print(const char *name, double *samples, size_t count) {
    qsort(samples, count, sizeof *samples, by_size);
    printf("\"%s\": {\"count\": %zu, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}",
           name, count, samples[count / 2], samples[count * 99 / 100], samples[count * 999 / 1000],
           samples[count - 1]);
}

static void measure_small(const char *name, double seconds) {
    static double samples[SAMPLES_MAX];
    static char *lines[BATCH];
    char *memory = touched(SMALL), text[32];
    double until = now() + seconds * 1e6;
    size_t count = 0, i;

    snprintf(text, sizeof text, "small %d", BATCH);
    while (now() < until && count + BATCH <= SAMPLES_MAX) {
        ask(text, BATCH, lines);
        for (i = 0; i < BATCH; i++) {
            double begun = now();
            ropeway_operation_t *operation = begin_read(connector, lines[i], memory, SMALL);

            check(ropeway_operation_wait(operation, WAIT_MS), "wait");
            ropeway_operation_release(operation);
            samples[count++] = now() - begun;
            free(lines[i]);
        }
    }
    print(name, samples, count);
    munmap(memory, SMALL);
}

static atomic_bool stopping;
static size_t large_bytes;

static void *move_much(void *unused) {
    char *memory = touched(LARGE);

    (void)unused;
    while (!atomic_load(&stopping)) {
        ropeway_operation_t *operation;
        char *line;

        ask("large", 1, &line);
        operation = begin_read(connector, line, memory, LARGE);
        check(ropeway_operation_wait(operation, WAIT_MS), "the large transfer");
        ropeway_operation_release(operation);
        large_bytes += LARGE;
        free(line);
    }
    munmap(memory, LARGE);
    return NULL;
}

static double looks[LOOKS_MAX];
static size_t look_count;

/* The statistics are copied under the lock, and take no time to speak of. */
static void *look(void *unused) {
    const struct timespec pause = {.tv_nsec = LOOK_PAUSE_US * 1000};
    ropeway_stats_t stats;

    (void)unused;
    while (!atomic_load(&stopping) && look_count < LOOKS_MAX) {
        double begun;

        nanosleep(&pause, NULL);
        begun = now();
        check(ropeway_connector_stats(connector, &stats, sizeof stats), "the statistics");
        looks[look_count++] = now() - begun;
    }
    return NULL;
}

static void measure_beside(double seconds) {
    double begun = now();
    pthread_t threads[2];

    pthread_create(&threads[0], NULL, move_much, NULL);
    pthread_create(&threads[1], NULL, look, NULL);
    measure_small("beside_large", seconds);
    atomic_store(&stopping, true);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    printf(", \"large_mb_per_s\": %.0f, ", (double)large_bytes / (now() - begun));
    print("lock_beside_large", looks, look_count);
    printf(", ");
}

static void gather_crowd(child_t *children, size_t idle, size_t pending) {
    char text[32], *line;
    size_t i;

    for (i = 0; i < idle; i++) {
        child_t *child = &children[i % PROCESSES];

        ask("small 1", 1, &line);
        fputs(line, child->out);
        fflush(child->out);
        free(line);
        free(read_line(child->in));
    }
    snprintf(text, sizeof text, "pend %zu", pending);
    ask(text, 1, &line);
    free(line);
}

static void measure_release(void) {
    static double samples[RELEASES];
    static char *lines[BATCH];
    char *memory = touched(SMALL), text[32];
    size_t i;

    snprintf(text, sizeof text, "small %d", BATCH);
    ask(text, BATCH, lines);
    kill(owner.pid, SIGSTOP);
    for (i = 0; i < RELEASES; i++) {
        ropeway_operation_t *operation = begin_read(connector, lines[i % BATCH], memory, SMALL);
        double begun = now();

        ropeway_operation_release(operation);
        samples[i] = now() - begun;
    }
    kill(owner.pid, SIGCONT);
    print("release_from_stopped", samples, RELEASES);
}

int main(int argc, char **argv) {
    size_t idle = argc == 6 ? strtoul(argv[3], NULL, 10) : 0;
    size_t pending = argc == 6 ? strtoul(argv[4], NULL, 10) : 0;
    double seconds = argc == 6 ? strtod(argv[5], NULL) : 0;
    static child_t children[PROCESSES];
    struct rlimit files;
    size_t i;

    if (idle < 1 || pending < 1 || seconds <= 0) {
        fprintf(stderr, "usage: crowd TRANSPORTS ENCRYPTION IDLE PENDING SECONDS\n");
        return 2;
    }
    transports = argv[1];
    encryption = argv[2];
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    start(&owner, own);
    for (i = 0; i < PROCESSES; i++) {
        start(&children[i], be_idle);
    }
    connector = connect_by(transports, encryption);
    printf("{\"transports\": \"%s\", \"idle\": %zu, \"pending\": %zu, ", transports, idle, pending);
    measure_small("warm", seconds / 4);
    printf(", ");
    measure_small("alone", seconds);
    printf(", ");
    measure_beside(seconds);
    gather_crowd(children, idle, pending);
    measure_small("in_crowd", seconds);
    printf(", ");
    measure_release();
    printf("}\n");
    return 0;
}
