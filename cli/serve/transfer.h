/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transfers of a server: one readable or writable operation each.
 *
 * Life of a transfer: the thread of a request reserves a place among the max_clients and starts it
 * (LIVE). The reaper thread learns from the connector's event queue that its operation has ended,
 * and releases it. What is left to do (look whether the file changed, take the checksum, give an
 * upload its name) is the FINISHING state; it runs on a thread of its own when it may take long.
 * Then the transfer is COMPLETE or FAILED, holds nothing but its outcome, and is kept for a while
 * for the client to ask.
 *
 * A client that does not begin in time loses its operation, and so does one that moves less than
 * the least rate, or is not done by its deadline. So no transfer stays for ever. Room on the disk
 * and pages are made for the bytes of an upload as they come.
 */
#ifndef CLI_SERVE_TRANSFER_H
#define CLI_SERVE_TRANSFER_H

#include <sys/stat.h>

#include <jansson.h>
#include <ropeway.h>

#include "common/api.h"
#include "common/checksum.h"
#include "common/map.h"
#include "common/temp.h"
#include "common/text.h"
#include "log.h"
#include "pace.h"
#include "request.h"

#define CLI_PATH_SIZE 128
#define CLI_TRACE_SIZE 128 /* what is longer is cut */

enum cli_transfer_state {
    CLI_TRANSFER_LIVE,
    CLI_TRANSFER_FINISHING,
    CLI_TRANSFER_COMPLETE,
    CLI_TRANSFER_FAILED
};

/* Why a transfer is ended from here. */
enum cli_cut {
    CLI_CUT_NONE,
    CLI_CUT_NOT_BEGUN,
    CLI_CUT_DISPLACED, /* not begun, and its place was needed */
    CLI_CUT_SLOW,
    CLI_CUT_LONG /* its deadline has passed */
};

/* Of an upload whose memory could not be written to. */
#define CLI_NOT_STORED "the server can't store '%s': its disk is full, or failed"

struct cli_transfer {
    struct cli_transfer *next;
    char id[CLI_TRANSFER_ID_SIZE];
    bool upload;
    char *name;
    char peer[CLI_PEER_SIZE];
    uint64_t size;
    struct cli_map map;

    int file;             /* read: the object; upload: the directory that rest starts from */
    struct stat before;   /* read: the object when the transfer began */
    struct cli_temp temp; /* upload */
    char *rest;           /* upload: the path from that directory to the final name */
    bool want_checksum;   /* read: tell the checksum; upload: compare it */
    char checksum[CLI_CHECKSUM_SIZE];

    /* The rest belongs to the table and is guarded by its lock. */
    enum cli_transfer_state state;
    ropeway_operation_t *operation; /* only while LIVE */
    uint64_t begin_by_ms;
    uint32_t begin_limit_ms;
    enum cli_cut cut;  /* why it is being cancelled */
    bool passes_place; /* its place goes to a request that waits for it */
    struct cli_pace pace;
    uint64_t window; /* how far ahead of its bytes an upload's room was made, last */
    uint64_t done;   /* bytes */
    uint64_t ended_ms;
    bool reported; /* a client was told the outcome */
    uint64_t started_ms;
    char path[CLI_PATH_SIZE];   /* what carried the bytes; "": not known */
    char trace[CLI_TRACE_SIZE]; /* the client's, see ropeway_operation_trace() */
    const char *error_name;     /* of the library's error; NULL: none */
    char error[CLI_SENTENCE_SIZE];
};

/* NULL: out of memory. The caller fills in what describes it. */
struct cli_transfer *cli_transfer_create(const char *name, const char *peer, bool upload);

/* For one that was never started. */
void cli_transfer_destroy(struct cli_transfer *transfer);

/* finish.c: what is left to do after the bytes have moved. False: transfer->error says why it
 * failed. */
bool cli_transfer_finish(struct cli_transfer *transfer);

/* Whether that may take long. */
bool cli_transfer_finish_is_slow(const struct cli_transfer *transfer);

/* Gives back everything but the outcome. */
void cli_transfer_close(struct cli_transfer *transfer);

struct cli_transfers;

struct cli_transfer_counts {
    uint64_t live[2]; /* [0] reads, [1] uploads: started and not ended */
    uint64_t complete[2];
    uint64_t failed[2];
    uint64_t refused; /* for want of a place */
};

struct cli_transfer_limits {
    uint32_t max_clients;
    uint32_t begin_ms; /* to begin */
    uint32_t stall_ms; /* the window in which the least rate is looked at */
    uint64_t rate;     /* the least, in bytes per second */
    uint64_t total_ms; /* from the offer to the last byte; 0: any time */
    bool begin_shows;  /* else a transfer that is not seen to begin may be under way */
};

/* Starts the reaper. wake_fd: an event, to be kept open, that makes it look at once. NULL: a
 * sentence was printed. */
struct cli_transfers *cli_transfers_create(ropeway_connector_t *connector, int wake_fd,
                                           const struct cli_transfer_limits *limits);

/* Takes a place; where none is free that of a client who does not begin, from the peer that has
 * more such than this one, and most. False: there is none or the server is about to end; refusal
 * says so. */
bool cli_transfers_reserve(struct cli_transfers *transfers, const char *peer,
                           struct cli_refusal *refusal);
void cli_transfers_unreserve(struct cli_transfers *transfers);

/* Starts a transfer in a place that was reserved, and takes both over, even when it fails. id: what
 * it is called from now on. *metadata: a JSON object, to be freed. False: a refusal. */
bool cli_transfers_start(struct cli_transfers *transfers, struct cli_transfer *transfer,
                         char id[CLI_TRANSFER_ID_SIZE], json_t **metadata,
                         struct cli_refusal *refusal);

/* Ends a transfer at once that nobody can begin, because its answer could not be sent. */
void cli_transfers_drop(struct cli_transfers *transfers, const char *id);

/* Waits up to wait_s for the end of a transfer, and tells how it stands. NULL: a refusal. */
json_t *cli_transfers_outcome(struct cli_transfers *transfers, const char *id, uint32_t wait_s,
                              struct cli_refusal *refusal);

void cli_transfers_count(struct cli_transfers *transfers, struct cli_transfer_counts *counts);

/* An event that is signalled each time a transfer has ended or was reported. */
int cli_transfers_change_fd(const struct cli_transfers *transfers);

/* Refuses new transfers from now on; those that wait for their client do so no longer than a
 * second.
 */
void cli_transfers_close(struct cli_transfers *transfers);

/* Transfers that are not ended, and those whose outcome no client has been told. */
void cli_transfers_pending(struct cli_transfers *transfers, uint64_t *live, uint64_t *unreported);

/* Cancels what is live and wakes all who wait. Returns false when a transfer did not end within
 * limit_ms; then nothing may be freed. */
bool cli_transfers_stop(struct cli_transfers *transfers, uint32_t limit_ms);

/* After cli_transfers_stop(), when no other thread uses the table any more. */
void cli_transfers_destroy(struct cli_transfers *transfers);

#endif
