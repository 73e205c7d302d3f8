/* SPDX-License-Identifier: Apache-2.0 */
/* In each window a transfer must move what its least rate asks for, and a byte at least. */
#include "pace.h"

#include <assert.h>

bool cli_pace_is_kept(struct cli_pace *pace, uint64_t now_ms, uint64_t done, uint32_t window_ms,
                      uint64_t rate, uint64_t *due_ms) {
    assert(pace->since_ms > 0 && pace->since_ms <= now_ms);
    uint64_t elapsed = now_ms - pace->since_ms;
    if (elapsed >= window_ms) {
        uint64_t least = rate * elapsed / 1000;
        if (done - pace->bytes < (least > 0 ? least : 1)) {
            return false;
        }
        *pace = (struct cli_pace){now_ms, done};
    }
    *due_ms = pace->since_ms + window_ms;
    return true;
}
