/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays many schedules, in child processes, so that a crash or a hang is a failure like any other.
 * A schedule that fails is played again with less and less in it, as long as it fails, and the
 * smallest one's timeline is printed.
 */
#include "simulation.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#define JOBS_MAX 64
#define PATIENCE 10u /* seconds for one schedule */
#define SHRINKS 80   /* tries to make a failing one smaller */

int __real_clock_gettime(clockid_t clock, struct timespec *now);

typedef struct options {
    uint64_t first, seeds;
    double seconds; /* 0: no limit */
    unsigned jobs, budget;
    uint32_t enabled;
    bool verbose, one, hashes, quiet, twice, coverage;
    const char *list;
} options_t;

/* What children and parent share. */
typedef struct board {
    atomic_uint_fast64_t next; /* seed that nobody plays yet */
    atomic_uint_fast64_t played, steps;
    atomic_bool stop;
    _Atomic uint64_t playing[JOBS_MAX];
} board_t;

static board_t *board;

static double now(void) {
    struct timespec time;

    __real_clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void usage(FILE *to) {
    fprintf(to,
            "usage: simulation [OPTION]...\n"
            "Plays schedules of the library in a simulated world; exits with 1 if one fails.\n\n"
            "  --seeds N       play N schedules (default 2000)\n"
            "  --time S        play for S seconds instead\n"
            "  --first SEED    begin with this seed (default 1)\n"
            "  --seed SEED     play this one, and print its timeline and the hash of its trace\n"
            "  --list FILE     play the seeds in this file first: one in a line, then a comment\n"
            "  --jobs N        processes at work (default: one per CPU)\n"
            "  --without LIST  leave these troubles out, separated by commas\n"
            "  --actions N     let each simulated process act at most N times\n"
            "  --hashes        print the hash of every schedule\n"
            "  --twice         play every schedule twice; it fails if their traces differ\n"
            "  --coverage      print what was reached\n"
            "  --quiet         print no timeline of a schedule that fails\n"
            "  --help          this text\n\nTroubles:");
    for (unsigned i = 0; i < SIM_TROUBLES; i++) {
        fprintf(to, " %s", sim_trouble_names[i]);
    }
    fprintf(to, "\n");
}

static uint32_t without(const char *list, uint32_t enabled) {
    char copy[512], *rest = copy, *word;

    snprintf(copy, sizeof copy, "%s", list);
    while ((word = strsep(&rest, ",")) != NULL) {
        unsigned i = 0;

        while (i < SIM_TROUBLES && strcmp(sim_trouble_names[i], word) != 0) {
            i++;
        }
        if (i == SIM_TROUBLES) {
            fprintf(stderr, "simulation: there is no trouble \"%s\"\n", word);
            exit(2);
        }
        enabled &= ~(1u << i);
    }
    return enabled;
}

static options_t read_options(int argc, char **argv) {
    static const struct option known[] = {
        {"seeds", required_argument, NULL, 'n'},   {"time", required_argument, NULL, 't'},
        {"first", required_argument, NULL, 'f'},   {"seed", required_argument, NULL, 's'},
        {"list", required_argument, NULL, 'l'},    {"jobs", required_argument, NULL, 'j'},
        {"without", required_argument, NULL, 'w'}, {"actions", required_argument, NULL, 'a'},
        {"hashes", no_argument, NULL, 'h'},        {"quiet", no_argument, NULL, 'q'},
        {"twice", no_argument, NULL, '2'},         {"coverage", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, '?'},          {NULL, 0, NULL, 0}};
    options_t options = {.first = 1, .seeds = 2000, .budget = UINT32_MAX, .enabled = UINT32_MAX};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int option;

    options.jobs = cpus > 0 && cpus < JOBS_MAX ? (unsigned)cpus : 1;
    while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
        uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;

        switch (option) {
        case 'n':
            options.seeds = number;
            break;
        case 't':
            options.seconds = strtod(optarg, NULL);
            options.seeds = UINT64_MAX / 2;
            break;
        case 'f':
            options.first = number;
            break;
        case 's':
            options.first = number;
            options.one = true;
            break;
        case 'l':
            options.list = optarg;
            break;
        case 'j':
            options.jobs = number > 0 && number < JOBS_MAX ? (unsigned)number : 1;
            break;
        case 'w':
            options.enabled = without(optarg, options.enabled);
            break;
        case 'a':
            options.budget = (unsigned)number;
            break;
        case 'h':
            options.hashes = true;
            break;
        case 'q':
            options.quiet = true;
            break;
        case '2':
            options.twice = true;
            break;
        case 'c':
            options.coverage = true;
            break;
        default:
            usage(optopt == 0 ? stdout : stderr);
            exit(optopt == 0 ? 0 : 2);
        }
    }
    return options;
}

/* ---- children ---- */

static void on_crash(int signal) {
    char text[128];
    int length = snprintf(text, sizeof text, "seed %llu: %s\n", (unsigned long long)sim.seed,
                          signal == SIGALRM ? "it takes too long" : strsignal(signal));

    (void)!write(STDOUT_FILENO, text, (size_t)length);
    _exit(4);
}

static void watch_for_crashes(void) {
    static char stack[65536];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};

    sigaltstack(&other, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaction(signals[i], &action, NULL);
    }
}

static void play_one(const options_t *options, uint64_t seed) {
    uint64_t hash;

    alarm(PATIENCE);
    sim_play(seed, options->enabled, options->budget, options->verbose);
    if (options->twice) {
        hash = sim.hash;
        sim_play(seed, options->enabled, options->budget, false);
        if (hash != sim.hash) {
            sim_fail("it was played twice, and the traces differ");
        }
    }
    if (options->hashes || options->verbose) {
        printf("seed %llu: hash %016llx, %llu turns, %.3f ms\n", (unsigned long long)seed,
               (unsigned long long)sim.hash, (unsigned long long)sim.steps, (double)sim.now / 1e6);
    }
}

_Noreturn static void work(const options_t *options, unsigned job, double until) {
    watch_for_crashes();
    while (!atomic_load(&board->stop) && (options->seconds == 0 || now() < until)) {
        uint64_t seed = atomic_fetch_add(&board->next, 1);

        if (seed - options->first >= options->seeds) {
            break;
        }
        atomic_store(&board->playing[job], seed);
        play_one(options, seed);
        atomic_fetch_add(&board->played, 1);
        atomic_fetch_add(&board->steps, sim.steps);
    }
    fflush(stdout);
    exit(0);
}

static pid_t start(void) {
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child < 0) {
        perror("simulation: fork");
        exit(2);
    }
    return child;
}

/* Plays one in a child. Returns whether it fails. */
static bool fails(const options_t *options, uint64_t seed, bool silent) {
    pid_t child = start();
    int status;

    if (child == 0) {
        if (silent) {
            (void)!freopen("/dev/null", "w", stdout);
            (void)!freopen("/dev/null", "w", stderr);
        }
        watch_for_crashes();
        play_one(options, seed);
        fflush(stdout);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status != 0;
}

/* ---- a failure ---- */

/* Leaves out what it fails without. */
static void shrink(options_t *options, uint64_t seed) {
    unsigned tries = 0;

    for (unsigned i = 0; i < SIM_TROUBLES && tries < SHRINKS; i++, tries++) {
        options_t less = *options;

        less.enabled &= ~(1u << i);
        if (less.enabled != options->enabled && fails(&less, seed, true)) {
            options->enabled = less.enabled;
        }
    }
    options->budget = options->budget < 64 ? options->budget : 64;
    for (unsigned part = options->budget / 2; part > 0 && tries < SHRINKS; tries++) {
        options_t less = *options;

        less.budget -= part < less.budget ? part : 0;
        if (less.budget < options->budget && fails(&less, seed, true)) {
            options->budget = less.budget;
        } else {
            part /= 2;
        }
    }
}

static void tell(const options_t *options, uint64_t seed) {
    options_t small = *options;

    if (options->quiet) {
        return;
    }
    small.verbose = true;
    small.enabled &= (1u << SIM_TROUBLES) - 1;
    shrink(&small, seed);
    printf("\nThe smallest schedule that fails likewise:\n");
    if (!fails(&small, seed, false)) {
        printf("It passed this time: the simulation is not deterministic.\n");
    }
    printf("Play it again: simulation --seed %llu", (unsigned long long)seed);
    for (unsigned i = 0, any = 0; i < SIM_TROUBLES; i++) {
        if ((small.enabled >> i & 1) == 0) {
            printf("%s%s", any++ == 0 ? " --without " : ",", sim_trouble_names[i]);
        }
    }
    if (small.budget != UINT32_MAX) {
        printf(" --actions %u", small.budget);
    }
    printf("\n");
}

/* ---- many ---- */

static bool play_list(const options_t *options) {
    FILE *file = fopen(options->list, "r");
    char line[512];
    unsigned count = 0;

    if (file == NULL) {
        perror(options->list);
        return false;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        char *end;
        uint64_t seed = strtoull(line, &end, 10);

        if (end == line) {
            continue;
        }
        count++;
        if (fails(options, seed, false)) {
            tell(options, seed);
            fclose(file);
            return false;
        }
    }
    fclose(file);
    printf("%u seeds of the list pass\n", count);
    return true;
}

/* Waits for the children. Returns a seed that failed, or 0. */
static uint64_t wait_for_all(const pid_t *children, unsigned count) {
    uint64_t failed = 0;

    for (unsigned left = count; left > 0; left--) {
        int status;
        pid_t child = wait(&status);

        for (unsigned i = 0; i < count; i++) {
            if (children[i] == child && status != 0) {
                uint64_t seed = atomic_load(&board->playing[i]);

                if (WIFSIGNALED(status)) {
                    printf("seed %llu: %s\n", (unsigned long long)seed,
                           strsignal(WTERMSIG(status)));
                }
                atomic_store(&board->stop, true);
                failed = failed == 0 || seed < failed ? seed : failed;
            }
        }
    }
    return failed;
}

static bool play_many(const options_t *options) {
    pid_t children[JOBS_MAX];
    double began = now(), took;
    uint64_t failed;

    atomic_store(&board->next, options->first);
    for (unsigned i = 0; i < options->jobs; i++) {
        children[i] = start();
        if (children[i] == 0) {
            work(options, i, began + options->seconds);
        }
    }
    failed = wait_for_all(children, options->jobs);
    took = now() - began;
    printf("%llu schedules, %llu turns in %.1f s: %.0f schedules/s\n",
           (unsigned long long)atomic_load(&board->played),
           (unsigned long long)atomic_load(&board->steps), took,
           (double)atomic_load(&board->played) / took);
    if (failed != 0) {
        tell(options, failed);
    }
    return failed == 0;
}

int main(int argc, char **argv) {
    options_t options = read_options(argc, argv);
    bool passes = true;

    if (sodium_init() < 0) {
        return 2;
    }
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sim_sights =
        mmap(NULL, sizeof *sim_sights, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED || sim_sights == MAP_FAILED) {
        return 2;
    }
    if (options.one) {
        options.verbose = true;
        return fails(&options, options.first, false) ? 1 : 0;
    }
    if (options.list != NULL) {
        passes = play_list(&options);
    }
    passes = passes && play_many(&options);
    if (options.coverage) {
        sim_sights_print();
    }
    return passes ? 0 : 1;
}
