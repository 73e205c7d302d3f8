/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer of the tests does: what the lines on a socket say. It answers each with one line, "ok
 * ..." or "failed ...". Operations have numbers; their memory is a region (see region.h) that holds
 * a seed's pattern on the sending side and TS_CANARY on the receiving one.
 */
#include "peer_serve.h"

#include "options.h"
#include "process.h"
#include "region.h"
#include "transport.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <stdio.h>

#define SLOTS 4096

typedef struct slot {
    ropeway_operation_t *operation;
    ts_region_t *region;
    uint64_t seed;
} slot_t;

typedef struct command {
    const char *word;
    void (*run)(slot_t *slot, char *arguments);
} command_t;

/* A peer is a process, or a thread. */
static _Thread_local slot_t slots[SLOTS];
static _Thread_local ropeway_connector_t *connector;
static _Thread_local FILE *in, *out;

static void answer_error(ropeway_error_t error) {
    if (error == ROPEWAY_OK) {
        fprintf(out, "ok\n");
    } else {
        fprintf(out, "failed %s: %s\n", ropeway_error_name(error), ropeway_last_error());
    }
}

/* With "user=ID" the process becomes that user's first. */
static void run_open(slot_t *slot, char *arguments) {
    (void)slot;
    ts_option_texts_t texts;
    uid_t user = (uid_t)ts_option(arguments, "user", geteuid());
    if (user != geteuid() &&
        (setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0)) {
        fprintf(out, "failed to become user %u\n", (unsigned)user);
        return;
    }
    ropeway_connector_options_t options;
    ts_connector_options(arguments, &texts, &options);
    answer_error(ropeway_connector_create(&options, &connector));
}

static void run_destroy(slot_t *slot, char *arguments) {
    (void)slot, (void)arguments;
    answer_error(ropeway_connector_destroy(connector));
    connector = NULL;
}

static bool receives(const slot_t *slot) {
    ropeway_operation_kind_t kind = ropeway_operation_kind(slot->operation);
    return kind == ROPEWAY_OPERATION_READ || kind == ROPEWAY_OPERATION_WRITABLE;
}

/* "SPEC SEED OPTIONS"; returns what is left behind SEED. */
static char *make_region(slot_t *slot, char *arguments, bool pattern) {
    char *spec = strtok_r(arguments, " ", &arguments);
    slot->seed = strtoull(strtok_r(NULL, " ", &arguments), NULL, 10);
    slot->region = ts_region_make(spec, arguments);
    if (pattern) {
        ts_region_pattern(slot->region, slot->seed);
    }
    return arguments;
}

static void create(slot_t *slot, char *arguments, bool readable) {
    ropeway_operation_options_t options;
    arguments = make_region(slot, arguments, readable);
    ts_operation_options(arguments, &options);
    ts_region_group(slot->region, &options);
    answer_error((readable ? ropeway_create_readable : ropeway_create_writable)(
        connector, slot->region->descriptors, slot->region->count, &options, &slot->operation));
}

static void run_readable(slot_t *slot, char *arguments) {
    create(slot, arguments, true);
}

static void run_writable(slot_t *slot, char *arguments) {
    create(slot, arguments, false);
}

static void run_metadata(slot_t *slot, char *arguments) {
    (void)arguments;
    const char *json;
    ropeway_error_t error = ropeway_operation_metadata(slot->operation, &json);
    if (error != ROPEWAY_OK) {
        answer_error(error);
    } else {
        fprintf(out, "ok %zu\n%s", strlen(json), json);
    }
}

static void begin(slot_t *slot, char *arguments, bool read) {
    arguments = make_region(slot, arguments, !read);
    size_t length = strtoull(arguments, &arguments, 10);
    char *metadata = malloc(length + 1);
    if (metadata == NULL || fread(metadata, 1, length, in) != length) {
        _exit(3);
    }
    ropeway_operation_options_t options;
    ts_operation_options(arguments, &options);
    ts_region_group(slot->region, &options);
    ropeway_error_t error = (read ? ropeway_begin_read : ropeway_begin_write)(
        connector, metadata, length, slot->region->descriptors, slot->region->count, &options,
        &slot->operation);
    fprintf(out, "ok %d\n", (int)error);
    free(metadata);
}

static void run_read(slot_t *slot, char *arguments) {
    begin(slot, arguments, true);
}

static void run_write(slot_t *slot, char *arguments) {
    begin(slot, arguments, false);
}

static void answer_outcome(slot_t *slot, int matches) {
    uint64_t done, total;
    ropeway_operation_progress(slot->operation, &done, &total);
    fprintf(out, "ok %d %d %llu %llu %d %d %s\n", (int)ropeway_operation_status(slot->operation),
            (int)ropeway_operation_error(slot->operation), (unsigned long long)done,
            (unsigned long long)total, matches, ts_region_guarded(slot->region),
            ropeway_operation_error_text(slot->operation));
}

static void run_wait(slot_t *slot, char *arguments) {
    ropeway_operation_wait(slot->operation, atoi(arguments));
    answer_outcome(slot, -1);
}

static void run_matches(slot_t *slot, char *arguments) {
    fprintf(out, "ok %d\n", ts_region_matches(slot->region, strtoull(arguments, NULL, 10)));
}

static void run_is(slot_t *slot, char *arguments) {
    fprintf(out, "ok %d\n",
            ts_region_is(slot->region, (uint8_t)atoi(arguments)) &&
                ts_region_guarded(slot->region));
}

static void run_set(slot_t *slot, char *arguments) {
    ts_region_set(slot->region, (uint8_t)atoi(arguments));
    fprintf(out, "ok\n");
}

/* Returns when bytes have moved, or the operation has ended. */
static void await_progress(slot_t *slot, uint64_t bytes) {
    uint64_t done = 0;
    while (ropeway_operation_status(slot->operation) < ROPEWAY_STATUS_COMPLETE) {
        ropeway_operation_progress(slot->operation, &done, NULL);
        if (done >= bytes) {
            return;
        }
        sched_yield();
    }
}

static void run_until(slot_t *slot, char *arguments) {
    await_progress(slot, strtoull(arguments, NULL, 10));
    answer_outcome(slot, -1);
}

/* Cancels when that many bytes have moved, and a little later. */
static ropeway_error_t cancel_at(slot_t *slot, uint64_t bytes, long spin) {
    await_progress(slot, bytes);
    for (volatile long spins = spin; spins > 0; spins--) {
    }
    return ropeway_operation_cancel(slot->operation);
}

/* "BYTES SPINS" */
static void run_cancel(slot_t *slot, char *arguments) {
    uint64_t bytes = strtoull(arguments, &arguments, 10);
    fprintf(out, "ok %d\n", (int)cancel_at(slot, bytes, strtol(arguments, NULL, 10)));
}

/* "MS SEED BYTE [BYTES SPINS]": cancels as run_cancel does when it is told to, waits, and then at
 * once fills the memory with BYTE; a receiver looks first whether SEED's pattern has come. */
static void run_settle(slot_t *slot, char *arguments) {
    unsigned long long seed, bytes;
    long spins;
    int ms, byte, matches = -1;
    int given = sscanf(arguments, "%d %llu %d %llu %ld", &ms, &seed, &byte, &bytes, &spins);
    if (given != 3 && given != 5) {
        _exit(3);
    }
    if (given == 5) {
        cancel_at(slot, bytes, spins);
    }
    if (ropeway_operation_wait(slot->operation, ms) != ROPEWAY_ERR_TIMEOUT) {
        if (receives(slot)) {
            matches = ts_region_matches(slot->region, seed);
        }
        ts_region_set(slot->region, (uint8_t)byte);
    }
    answer_outcome(slot, matches);
}

static void run_release(slot_t *slot, char *arguments) {
    (void)arguments;
    ropeway_operation_release(slot->operation);
    ts_region_free(slot->region);
    memset(slot, 0, sizeof *slot);
    fprintf(out, "ok\n");
}

static void run_peer(slot_t *slot, char *arguments) {
    (void)arguments;
    fprintf(out, "ok %s\n", ropeway_operation_peer(slot->operation));
}

static void run_stats(slot_t *slot, char *arguments) {
    (void)slot, (void)arguments;
    ropeway_stats_t s;
    ropeway_connector_stats(connector, &s, sizeof s);
    fprintf(out, "ok %llu %llu %llu %llu\n", (unsigned long long)s.operations_live,
            (unsigned long long)s.bytes_inflight, (unsigned long long)s.peers,
            (unsigned long long)s.requests_rejected);
}

/* Ends without a word to anybody. */
static void run_exit(slot_t *slot, char *arguments) {
    (void)slot;
    _exit(atoi(arguments));
}

/* Other processes can't read this one's memory any more. */
static void run_close_memory(slot_t *slot, char *arguments) {
    (void)slot, (void)arguments;
    fprintf(out, prctl(PR_SET_DUMPABLE, 0) == 0 ? "ok\n" : "failed: %m\n");
}

/* Starts a program that outlives this process, until the test drops the peer. */
static void run_leave_child(slot_t *slot, char *arguments) {
    static char name[] = "cat";
    char *const command[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    (void)slot, (void)arguments;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(in), 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    int problem = posix_spawnp(&child, name, &actions, NULL, command, environ);
    posix_spawn_file_actions_destroy(&actions);
    fprintf(out, problem == 0 ? "ok\n" : "failed: %s\n", strerror(problem));
}

static const command_t commands[] = {
    {"open", run_open},
    {"destroy", run_destroy},
    {"readable", run_readable},
    {"writable", run_writable},
    {"metadata", run_metadata},
    {"read", run_read},
    {"write", run_write},
    {"wait", run_wait},
    {"settle", run_settle},
    {"matches", run_matches},
    {"is", run_is},
    {"set", run_set},
    {"until", run_until},
    {"cancel", run_cancel},
    {"release", run_release},
    {"peer", run_peer},
    {"stats", run_stats},
    {"exit", run_exit},
    {"close-memory", run_close_memory},
    {"leave-child", run_leave_child},
};

/* Some commands are about the connector; the others name an operation first. */
static bool names_operation(const command_t *command) {
    return command->run != run_open && command->run != run_destroy && command->run != run_stats &&
           command->run != run_exit && command->run != run_close_memory &&
           command->run != run_leave_child;
}

static bool run_line(char *line) {
    char *arguments = line;
    const char *word = strsep(&arguments, " ");
    if (strcmp(word, "quit") == 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].word, word) == 0) {
            char none[] = "";
            arguments = arguments != NULL ? arguments : none;
            slot_t *slot = NULL;
            if (names_operation(&commands[i])) {
                slot = &slots[strtoul(arguments, &arguments, 10) % SLOTS];
                arguments += *arguments == ' ';
            }
            commands[i].run(slot, arguments);
            fflush(out);
            return true;
        }
    }
    fprintf(out, "failed no such command: %s\n", word);
    fflush(out);
    return true;
}

void ts_peer_serve(int socket) {
    char *line = NULL;
    size_t size = 0;
    ssize_t length;

    in = fdopen(socket, "r");
    out = fdopen(fcntl(socket, F_DUPFD_CLOEXEC, 3), "w");
    while ((length = getline(&line, &size, in)) > 0) {
        line[length - 1] = '\0';
        if (!run_line(line)) {
            break;
        }
    }
    free(line);
    ropeway_connector_destroy(connector);
    for (size_t i = 0; i < SLOTS; i++) {
        ropeway_operation_release(slots[i].operation);
        ts_region_free(slots[i].region);
    }
    fclose(in);
    fclose(out);
}
