/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the bytes of a transfer come fast enough. No clock, no state but what is given. */
#ifndef CLI_SERVE_PACE_H
#define CLI_SERVE_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Where a transfer was when it was judged last. */
struct cli_pace {
    uint64_t since_ms;
    uint64_t bytes;
};

/* Judges a transfer once its window is over. done: bytes until now; rate: the least, in bytes per
 * second. *due_ms: when to judge again. */
bool cli_pace_is_kept(struct cli_pace *pace, uint64_t now_ms, uint64_t done, uint32_t window_ms,
                      uint64_t rate, uint64_t *due_ms);

#endif
