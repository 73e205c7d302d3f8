/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reaper: looks at transfers when that is due, cancels those whose time is over, and brings
 * those to their end whose operation has ended.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/clock.h"
#include "common/event.h"
#include "common/map.h"
#include "common/text.h"
#include "table.h"

#define KEEP_OUTCOME_MS 120000
#define KEEP_OUTCOMES 4096
#define DRAIN_BATCH 32
#define LOOK_MS 20       /* between looks at what is to be prepared */
#define SLOW_LOOK_MS 200 /* the same when it is not begun soon */
#define SOON_MS 1000
#define WORTH_PREPARING ((uint64_t)1 << 20) /* bytes */
#define AHEAD ((uint64_t)64 << 20)          /* bytes of an upload that room is made for ahead */

struct job {
    struct cli_transfers *transfers;
    struct cli_transfer *transfer;
};

static void conclude(struct cli_transfers *transfers, struct cli_transfer *transfer,
                     bool complete) {
    cli_transfer_close(transfer);
    pthread_mutex_lock(&transfers->lock);
    transfer->state = complete ? CLI_TRANSFER_COMPLETE : CLI_TRANSFER_FAILED;
    transfer->ended_ms = cli_now_ms();
    transfers->counts.live[transfer->upload]--;
    if (complete) {
        transfers->counts.complete[transfer->upload]++;
    } else {
        transfers->counts.failed[transfer->upload]++;
    }
    transfers->reserved -= !transfer->passes_place;
    transfers->kept++;
    pthread_cond_broadcast(&transfers->changed);
    cli_event_signal(transfers->change_fd);
    struct cli_log_entry entry = {
        .level = complete ? "info" : "warning",
        .outcome = complete ? "complete" : "failed",
        .kind = transfer->upload ? "write" : "read",
        .peer = transfer->peer,
        .object = transfer->name,
        .moved = true,
        .bytes = transfer->done,
        .seconds = (double)(transfer->ended_ms - transfer->started_ms) / 1000.0,
        .path = transfer->path,
        .trace = transfer->trace,
        .error = complete ? NULL : transfer->error_name,
        .text = complete ? NULL : transfer->error,
    };
    cli_log(&entry);
    pthread_mutex_unlock(&transfers->lock);
}

static void *run_job(void *arg) {
    struct job *job = arg;
    conclude(job->transfers, job->transfer, cli_transfer_finish(job->transfer));
    free(job);
    return NULL;
}

static bool finish_on_thread(struct cli_transfers *transfers, struct cli_transfer *transfer) {
    struct job *job = malloc(sizeof *job);
    pthread_t thread;
    if (job == NULL) {
        return false;
    }
    *job = (struct job){transfers, transfer};
    if (pthread_create(&thread, NULL, run_job, job) != 0) {
        free(job);
        return false;
    }
    pthread_detach(thread);
    return true;
}

/* Whether there is no room for what is missing of an upload. Not every way to move bytes raises a
 * signal at a page that can't be had. */
static bool disk_is_full(const struct cli_transfer *transfer) {
    struct statvfs room;
    struct stat info;
    return fstatvfs(transfer->temp.fd, &room) == 0 && fstat(transfer->temp.fd, &info) == 0 &&
           (uint64_t)info.st_blocks * 512 + (uint64_t)room.f_bavail * room.f_frsize <
               transfer->size;
}

/* Why it failed, if it did. */
static void explain(const struct cli_transfers *transfers, struct cli_transfer *transfer,
                    const ropeway_operation_t *operation, bool complete) {
    if (cli_map_faulted(&transfer->map) ||
        (!complete && transfer->upload && disk_is_full(transfer))) {
        cli_sentence(transfer->error,
                     transfer->upload ? CLI_NOT_STORED
                                      : "'%s' was truncated on the server during the transfer",
                     transfer->name);
        return;
    }
    switch (complete ? CLI_CUT_NONE : transfer->cut) {
    case CLI_CUT_NOT_BEGUN:
        cli_sentence(transfer->error, "'%s' was not begun in time (%.3g s)", transfer->name,
                     (double)transfer->begin_limit_ms / 1000.0);
        break;
    case CLI_CUT_DISPLACED:
        cli_sentence(transfer->error, "'%s' was not begun, and its place was needed",
                     transfer->name);
        break;
    case CLI_CUT_SLOW:
        cli_sentence(transfer->error,
                     "the transfer of '%s' moved less than %llu bytes a second, which "
                     "'--min-rate' asks for",
                     transfer->name, (unsigned long long)transfers->limits.rate);
        break;
    case CLI_CUT_LONG:
        cli_sentence(transfer->error, "the transfer of '%s' was not done by its '--deadline'",
                     transfer->name);
        break;
    case CLI_CUT_NONE:
        if (!complete) {
            cli_sentence(transfer->error, "the transfer of '%s' failed: %s", transfer->name,
                         ropeway_operation_error_text(operation));
        }
    }
}

/* The reaper: an operation has ended. */
static void reap(struct cli_transfers *transfers, ropeway_operation_t *operation) {
    struct cli_transfer *transfer = ropeway_operation_user_data(operation);
    bool complete = ropeway_operation_status(operation) == ROPEWAY_STATUS_COMPLETE;
    pthread_mutex_lock(&transfers->lock);
    transfer->operation = NULL;
    transfer->state = CLI_TRANSFER_FINISHING;
    ropeway_operation_progress(operation, &transfer->done, NULL);
    ropeway_operation_path(operation, transfer->path, sizeof transfer->path);
    snprintf(transfer->trace, sizeof transfer->trace, "%s", ropeway_operation_trace(operation));
    if (!complete) {
        transfer->error_name = ropeway_error_name(ropeway_operation_error(operation));
    }
    explain(transfers, transfer, operation, complete);
    /* Its client has learned it from its own operation. */
    transfer->reported = !complete;
    pthread_mutex_unlock(&transfers->lock);
    ropeway_operation_release(operation);
    if (!complete) {
        conclude(transfers, transfer, false);
    } else if (!cli_transfer_finish_is_slow(transfer) || !finish_on_thread(transfers, transfer)) {
        conclude(transfers, transfer, cli_transfer_finish(transfer));
    }
}

/* Forgets outcomes that are old, or too many. */
static void forget(struct cli_transfers *transfers, uint64_t now) {
    struct cli_transfer **link = &transfers->first;
    while (*link != NULL) {
        struct cli_transfer *transfer = *link;
        bool over =
            transfer->state == CLI_TRANSFER_COMPLETE || transfer->state == CLI_TRANSFER_FAILED;
        if (over &&
            (now >= transfer->ended_ms + KEEP_OUTCOME_MS || transfers->kept > KEEP_OUTCOMES)) {
            *link = transfer->next;
            transfers->kept--;
            cli_transfer_destroy(transfer);
        } else {
            link = &transfer->next;
        }
    }
    transfers->last = link;
}

/* Makes pages, and room on the disk, for what comes next of a transfer that goes on. Returns when
 * to look again. */
static uint64_t prepare_next(struct cli_transfer *transfer, uint64_t now, uint64_t done) {
    if (!transfer->upload) {
        cli_map_prefault(&transfer->map, false, transfer->size);
        return UINT64_MAX;
    }
    /* Four times what came between two looks, for one that is fast. */
    uint64_t moved = done - transfer->done;
    transfer->done = done;
    transfer->window = 4 * moved > AHEAD ? 4 * moved : AHEAD;
    cli_map_prefault(&transfer->map, true, done + transfer->window);
    return done + transfer->window < transfer->size ? now + LOOK_MS : UINT64_MAX;
}

/* Looks at a transfer that is not begun. Returns when to do so again. */
static uint64_t look_at_waiting(const struct cli_transfers *transfers,
                                struct cli_transfer *transfer, uint64_t now) {
    transfer->pace.since_ms = now;
    if (now >= transfer->begin_by_ms) {
        transfer->cut = CLI_CUT_NOT_BEGUN;
        return UINT64_MAX;
    }
    /* What is large is to be prepared once it has begun, which happens soon or never. */
    uint64_t again = now + (now < transfer->started_ms + SOON_MS ? LOOK_MS : SLOW_LOOK_MS);
    bool hurry = transfer->size >= WORTH_PREPARING && transfers->limits.begin_shows;
    return hurry && again < transfer->begin_by_ms ? again : transfer->begin_by_ms;
}

/* Looks at a transfer whose bytes move. As above. */
static uint64_t look_at_moving(const struct cli_transfers *transfers, struct cli_transfer *transfer,
                               uint64_t now) {
    const struct cli_transfer_limits *limits = &transfers->limits;
    uint64_t done = 0, pace_due, ahead_due;
    ropeway_operation_progress(transfer->operation, &done, NULL);
    ahead_due = prepare_next(transfer, now, done);
    if (!cli_pace_is_kept(&transfer->pace, now, done, limits->stall_ms, limits->rate, &pace_due)) {
        transfer->cut = CLI_CUT_SLOW;
        return UINT64_MAX;
    }
    return ahead_due < pace_due ? ahead_due : pace_due;
}

/* Looks at a transfer that has an operation, and cancels it where that is due. As above. */
static uint64_t look_at(const struct cli_transfers *transfers, struct cli_transfer *transfer,
                        uint64_t now) {
    uint64_t due = UINT64_MAX;
    uint64_t over = transfers->limits.total_ms > 0
                        ? transfer->started_ms + transfers->limits.total_ms
                        : UINT64_MAX;
    if (transfer->cut == CLI_CUT_NONE && now >= over) {
        transfer->cut = CLI_CUT_LONG;
    } else if (transfer->cut == CLI_CUT_NONE) {
        bool waits = ropeway_operation_status(transfer->operation) == ROPEWAY_STATUS_INITIALIZED;
        due = (waits ? look_at_waiting : look_at_moving)(transfers, transfer, now);
        due = over < due ? over : due;
    }
    if (transfer->cut != CLI_CUT_NONE || transfers->stopping || cli_map_faulted(&transfer->map)) {
        ropeway_operation_cancel(transfer->operation);
    }
    return due;
}

/* Looks at all transfers. Returns when to do so again; UINT64_MAX: never. */
static uint64_t inspect(struct cli_transfers *transfers) {
    uint64_t now, next = UINT64_MAX;
    pthread_mutex_lock(&transfers->lock);
    now = cli_now_ms(); /* not before: none of them may have started later than that */
    forget(transfers, now);
    for (struct cli_transfer *transfer = transfers->first; transfer != NULL;
         transfer = transfer->next) {
        uint64_t due = UINT64_MAX;
        if (transfer->state >= CLI_TRANSFER_COMPLETE) {
            due = transfer->ended_ms + KEEP_OUTCOME_MS;
        } else if (transfer->operation != NULL) {
            due = look_at(transfers, transfer, now);
        }
        next = due < next ? due : next;
    }
    pthread_mutex_unlock(&transfers->lock);
    return next;
}

static bool has_ended(struct cli_transfers *transfers) {
    pthread_mutex_lock(&transfers->lock);
    bool ended = transfers->ended;
    pthread_mutex_unlock(&transfers->lock);
    return ended;
}

void *cli_reaper_run(void *arg) {
    struct cli_transfers *transfers = arg;
    struct pollfd fds[] = {
        {.fd = ropeway_connector_fd(transfers->connector), .events = POLLIN},
        {.fd = transfers->wake_fd, .events = POLLIN},
    };
    while (!has_ended(transfers)) {
        uint64_t next = inspect(transfers), now = cli_now_ms();
        int timeout = -1;
        if (next != UINT64_MAX) {
            timeout = next > now ? (int)(next - now < 60000 ? next - now : 60000) : 0;
        }
        poll(fds, 2, timeout);
        cli_event_clear(transfers->wake_fd);
        ropeway_operation_t *operations[DRAIN_BATCH];
        size_t drained;
        do {
            drained = ropeway_connector_drain(transfers->connector, operations, DRAIN_BATCH);
            for (size_t i = 0; i < drained; i++) {
                reap(transfers, operations[i]);
            }
        } while (drained == DRAIN_BATCH);
    }
    return NULL;
}
