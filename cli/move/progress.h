/* SPDX-License-Identifier: Apache-2.0 */
/* The line on a terminal that shows how far a transfer is. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define CLI_PROGRESS_MS 200 /* how often it is worth a call */

struct cli_progress {
    bool enabled;
    bool shown;
    const char *label;
    uint64_t total; /* bytes */
    double started; /* seconds */
};

/* label must live as long. It shows nothing when quiet, or when stderr is not a terminal. */
void cli_progress_begin(struct cli_progress *progress, const char *label, uint64_t total,
                        bool quiet);
void cli_progress_show(struct cli_progress *progress, uint64_t done);

/* Takes the line away, so that what follows stands on a clean one. */
void cli_progress_clear(struct cli_progress *progress);

#endif
