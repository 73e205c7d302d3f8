/* SPDX-License-Identifier: Apache-2.0 */
/* The line on a terminal that shows how far a transfer is. */
#ifndef RW_PROGRESS_H
#define RW_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define RW_PROGRESS_MS 200 /* how often it is worth a call */

struct rw_progress {
    bool enabled;
    bool shown;
    const char *label;
    uint64_t total; /* bytes */
    double started; /* seconds */
};

/* label must live as long. It shows nothing when quiet, or when stderr is not a terminal. */
void rw_progress_begin(struct rw_progress *progress, const char *label, uint64_t total, bool quiet);
void rw_progress_show(struct rw_progress *progress, uint64_t done);

/* Takes the line away, so that what follows stands on a clean one. */
void rw_progress_clear(struct rw_progress *progress);

#endif
