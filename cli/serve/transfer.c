/* SPDX-License-Identifier: Apache-2.0 */
/* The table of transfers and the thread that ends them; serve/transfer.h tells a transfer's life.
 */
#include "transfer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "common/api.h"
#include "common/clock.h"
#include "common/event.h"
#include "common/message.h"
#include "common/text.h"
#include "table.h"

#define BEGIN_SOON_MS 2000   /* who has not begun then may lose the place to others */
#define DISPLACE_MS 1000     /* how long a request waits for such a place */
#define CLOSED_BEGIN_MS 1000 /* what a client that is about to begin gets when the server ends */

/* ---- The table -------------------------------------------------------------- */

struct cli_transfers *cli_transfers_create(ropeway_connector_t *connector, int wake_fd,
                                           const struct cli_transfer_limits *limits) {
    struct cli_transfers *transfers = calloc(1, sizeof *transfers);
    if (transfers == NULL) {
        cli_fail("out of memory");
        return NULL;
    }
    *transfers = (struct cli_transfers){.connector = connector,
                                        .wake_fd = wake_fd,
                                        .change_fd = cli_event_create(),
                                        .limits = *limits,
                                        .last = &transfers->first};
    pthread_mutex_init(&transfers->lock, NULL);
    cli_condition_init(&transfers->changed);
    int error = transfers->change_fd < 0
                    ? errno
                    : pthread_create(&transfers->reaper, NULL, cli_reaper_run, transfers);
    if (error == 0) {
        return transfers;
    }
    cli_fail("can't start the server's thread: %s", cli_errno_text(error));
    if (transfers->change_fd >= 0) {
        close(transfers->change_fd);
    }
    free(transfers);
    return NULL;
}

static bool is_waiting(const struct cli_transfer *transfer) {
    return transfer->operation != NULL && transfer->cut == CLI_CUT_NONE &&
           ropeway_operation_status(transfer->operation) == ROPEWAY_STATUS_INITIALIZED;
}

/* Transfers of a peer that should have begun long ago, from one of them on. */
static uint32_t count_late(const struct cli_transfer *from, const char *peer, uint64_t before_ms) {
    uint32_t count = 0;
    for (const struct cli_transfer *each = from; each != NULL; each = each->next) {
        count += each->started_ms <= before_ms && is_waiting(each) && strcmp(each->peer, peer) == 0;
    }
    return count;
}

/* The oldest of the peer that has most such. NULL: it has no more than the one who asks, and nobody
 * takes a place from himself to keep it. */
static struct cli_transfer *find_displaceable(struct cli_transfers *transfers, const char *peer) {
    uint64_t before_ms = cli_now_ms() - BEGIN_SOON_MS;
    struct cli_transfer *chosen = NULL;
    uint32_t most = count_late(transfers->first, peer, before_ms);
    for (struct cli_transfer *each = transfers->first; each != NULL; each = each->next) {
        if (each->started_ms <= before_ms && is_waiting(each)) {
            uint32_t count = count_late(each, each->peer, before_ms);
            if (count > most) { /* the list is in the order of age */
                most = count;
                chosen = each;
            }
        }
    }
    return chosen;
}

/* Takes the place of a transfer that is not begun. The lock is held. */
static bool displace(struct cli_transfers *transfers, const char *peer) {
    struct cli_transfer *victim =
        transfers->limits.begin_shows ? find_displaceable(transfers, peer) : NULL;
    struct timespec until = cli_deadline(DISPLACE_MS);
    if (victim == NULL) {
        return false;
    }
    victim->cut = CLI_CUT_DISPLACED;
    victim->passes_place = true;
    cli_event_signal(transfers->wake_fd);
    while (victim->state < CLI_TRANSFER_COMPLETE) {
        if (pthread_cond_timedwait(&transfers->changed, &transfers->lock, &until) != 0) {
            victim->passes_place = victim->state >= CLI_TRANSFER_COMPLETE;
            return victim->passes_place;
        }
    }
    return true;
}

bool cli_transfers_reserve(struct cli_transfers *transfers, const char *peer,
                           struct cli_refusal *refusal) {
    pthread_mutex_lock(&transfers->lock);
    bool closed = transfers->closed, full = transfers->reserved >= transfers->limits.max_clients;
    if (!closed && full && displace(transfers, peer)) {
        pthread_mutex_unlock(&transfers->lock);
        return true;
    }
    if (full) {
        transfers->counts.refused++;
    } else if (!closed) {
        transfers->reserved++;
    }
    pthread_mutex_unlock(&transfers->lock);
    if (closed) {
        return cli_refuse(refusal, 503, "the server is about to end; ask another one");
    }
    if (full) {
        cli_refuse(refusal, 503, "the server already has %u transfers, its limit; try again later",
                   transfers->limits.max_clients);
        refusal->retry_after = 1;
        return false;
    }
    return true;
}

void cli_transfers_unreserve(struct cli_transfers *transfers) {
    pthread_mutex_lock(&transfers->lock);
    transfers->reserved--;
    cli_event_signal(transfers->change_fd);
    pthread_mutex_unlock(&transfers->lock);
}

static ropeway_error_t create_operation(struct cli_transfers *transfers,
                                        struct cli_transfer *transfer) {
    ropeway_descriptor_t descriptor = {
        transfer->map.data, (size_t)transfer->map.size, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_options_t options;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = ROPEWAY_OPERATION_NOTIFY;
    options.user_data = transfer;
    return (transfer->upload ? ropeway_create_writable : ropeway_create_readable)(
        transfers->connector, &descriptor, 1, &options, &transfer->operation);
}

bool cli_transfers_start(struct cli_transfers *transfers, struct cli_transfer *transfer,
                         char id[CLI_TRANSFER_ID_SIZE], json_t **metadata,
                         struct cli_refusal *refusal) {
    unsigned char random[(CLI_TRANSFER_ID_SIZE - 1) / 2];
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(transfer->id, sizeof transfer->id, random, sizeof random);
    memcpy(id, transfer->id, CLI_TRANSFER_ID_SIZE);
    const char *text = NULL;
    *metadata = NULL;
    /* The reaper must not meet the operation before the transfer is in the list. */
    pthread_mutex_lock(&transfers->lock);
    ropeway_error_t error = create_operation(transfers, transfer);
    if (error == ROPEWAY_OK) {
        transfer->begin_limit_ms = transfers->limits.begin_ms;
        transfer->started_ms = cli_now_ms();
        transfer->pace.since_ms = transfer->started_ms; /* it may begin before the first look */
        transfer->begin_by_ms = transfer->started_ms + transfer->begin_limit_ms;
        *transfers->last = transfer;
        transfers->last = &transfer->next;
        transfers->counts.live[transfer->upload]++;
        error = ropeway_operation_metadata(transfer->operation, &text);
        *metadata = error != ROPEWAY_OK ? NULL : json_loads(text, 0, NULL);
        transfer->cut = *metadata == NULL ? CLI_CUT_NOT_BEGUN : CLI_CUT_NONE;
        cli_event_signal(transfers->wake_fd);
    }
    if (*metadata == NULL) {
        cli_refuse(refusal, 500, "the server can't offer '%s': %s", transfer->name,
                   error != ROPEWAY_OK ? ropeway_last_error() : "out of memory");
    }
    bool listed = transfer->operation != NULL;
    pthread_mutex_unlock(&transfers->lock);
    if (!listed) {
        cli_transfer_destroy(transfer);
        cli_transfers_unreserve(transfers);
    }
    return *metadata != NULL;
}

/* ---- Outcomes ----------------------------------------------------------------- */

static struct cli_transfer *find(struct cli_transfers *transfers, const char *id) {
    struct cli_transfer *transfer = transfers->first;
    while (transfer != NULL && strcmp(transfer->id, id) != 0) {
        transfer = transfer->next;
    }
    return transfer;
}

void cli_transfers_drop(struct cli_transfers *transfers, const char *id) {
    pthread_mutex_lock(&transfers->lock);
    struct cli_transfer *transfer = find(transfers, id);
    if (transfer != NULL) {
        transfer->begin_by_ms = 0;
    }
    cli_event_signal(transfers->wake_fd);
    pthread_mutex_unlock(&transfers->lock);
}

static json_t *describe(const struct cli_transfer *transfer) {
    uint64_t done = transfer->done;
    const char *state = transfer->state == CLI_TRANSFER_FINISHING  ? "finishing"
                        : transfer->state == CLI_TRANSFER_COMPLETE ? "complete"
                        : transfer->state == CLI_TRANSFER_FAILED   ? "failed"
                                                                   : "running";
    if (transfer->operation != NULL) {
        ropeway_operation_progress(transfer->operation, &done, NULL);
        if (ropeway_operation_status(transfer->operation) == ROPEWAY_STATUS_INITIALIZED) {
            state = "waiting";
        }
    }
    json_t *answer =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "transfer", transfer->id, "kind",
                  transfer->upload ? "write" : "read", "name", transfer->name, "state", state,
                  "bytes", (json_int_t)done, "size", (json_int_t)transfer->size);
    if (answer != NULL && transfer->state == CLI_TRANSFER_COMPLETE && transfer->want_checksum) {
        json_object_set_new(answer, "checksum", json_string(transfer->checksum));
    }
    if (answer != NULL && transfer->state == CLI_TRANSFER_FAILED) {
        json_object_set_new(answer, "error", json_string(transfer->error));
    }
    return answer;
}

json_t *cli_transfers_outcome(struct cli_transfers *transfers, const char *id, uint32_t wait_s,
                              struct cli_refusal *refusal) {
    struct timespec until = cli_deadline((uint64_t)wait_s * 1000);
    json_t *answer = NULL;
    pthread_mutex_lock(&transfers->lock);
    struct cli_transfer *transfer = find(transfers, id);
    while (transfer != NULL && transfer->state < CLI_TRANSFER_COMPLETE && !transfers->stopping &&
           pthread_cond_timedwait(&transfers->changed, &transfers->lock, &until) == 0) {
        transfer = find(transfers, id);
    }
    if (transfer != NULL) {
        answer = describe(transfer);
        transfer->reported = transfer->reported || transfer->state >= CLI_TRANSFER_COMPLETE;
        cli_event_signal(transfers->change_fd);
    }
    pthread_mutex_unlock(&transfers->lock);
    if (transfer == NULL) {
        cli_refuse(refusal, 404, "no transfer is called '%s', or it ended long ago", id);
    } else if (answer == NULL) {
        cli_refuse(refusal, 500, "the server is out of memory");
    }
    return answer;
}

void cli_transfers_count(struct cli_transfers *transfers, struct cli_transfer_counts *counts) {
    pthread_mutex_lock(&transfers->lock);
    *counts = transfers->counts;
    pthread_mutex_unlock(&transfers->lock);
}

/* ---- The end --------------------------------------------------------------------- */

int cli_transfers_change_fd(const struct cli_transfers *transfers) {
    return transfers->change_fd;
}

void cli_transfers_close(struct cli_transfers *transfers) {
    pthread_mutex_lock(&transfers->lock);
    transfers->closed = true;
    for (struct cli_transfer *transfer = transfers->first; transfer != NULL;
         transfer = transfer->next) {
        uint64_t at_once = cli_now_ms() + CLOSED_BEGIN_MS;
        if (transfer->begin_by_ms > at_once) {
            transfer->begin_limit_ms -= (uint32_t)(transfer->begin_by_ms - at_once);
            transfer->begin_by_ms = at_once;
        }
    }
    cli_event_signal(transfers->wake_fd);
    pthread_mutex_unlock(&transfers->lock);
}

void cli_transfers_pending(struct cli_transfers *transfers, uint64_t *live, uint64_t *unreported) {
    pthread_mutex_lock(&transfers->lock);
    *live = transfers->reserved;
    *unreported = 0;
    for (struct cli_transfer *transfer = transfers->first; transfer != NULL;
         transfer = transfer->next) {
        *unreported += transfer->state >= CLI_TRANSFER_COMPLETE && !transfer->reported;
    }
    pthread_mutex_unlock(&transfers->lock);
}

bool cli_transfers_stop(struct cli_transfers *transfers, uint32_t limit_ms) {
    struct timespec until = cli_deadline(limit_ms);
    pthread_mutex_lock(&transfers->lock);
    transfers->closed = transfers->stopping = true;
    pthread_cond_broadcast(&transfers->changed);
    cli_event_signal(transfers->wake_fd);
    while (transfers->reserved != 0 &&
           pthread_cond_timedwait(&transfers->changed, &transfers->lock, &until) == 0) {
    }
    bool idle = transfers->reserved == 0;
    transfers->ended = idle;
    cli_event_signal(transfers->wake_fd);
    pthread_mutex_unlock(&transfers->lock);
    if (idle) {
        pthread_join(transfers->reaper, NULL);
    }
    return idle;
}

void cli_transfers_destroy(struct cli_transfers *transfers) {
    while (transfers->first != NULL) {
        struct cli_transfer *transfer = transfers->first;
        transfers->first = transfer->next;
        cli_transfer_destroy(transfer);
    }
    close(transfers->change_fd);
    pthread_cond_destroy(&transfers->changed);
    pthread_mutex_destroy(&transfers->lock);
    free(transfers);
}
