/* SPDX-License-Identifier: Apache-2.0 */
/* The table of transfers, for the two files that work on it: transfer.c and reaper.c. */
#ifndef CLI_SERVE_TABLE_H
#define CLI_SERVE_TABLE_H

#include <pthread.h>

#include "transfer.h"

struct cli_transfers {
    ropeway_connector_t *connector;
    int wake_fd;
    int change_fd; /* see cli_transfers_change_fd() */
    struct cli_transfer_limits limits;
    pthread_t reaper;

    pthread_mutex_t lock;
    pthread_cond_t changed;             /* a transfer has ended, or everything stops */
    struct cli_transfer *first, **last; /* in the order of their start */
    uint32_t reserved;                  /* places taken: transfers to be started, or not ended */
    size_t kept;                        /* ended transfers in the list */
    bool closed;
    bool stopping; /* waits end */
    bool ended;    /* the reaper ends */
    struct cli_transfer_counts counts;
};

/* The thread that looks at transfers and ends them; arg: the table. */
void *cli_reaper_run(void *arg);

#endif
