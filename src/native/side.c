/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol's part of an operation: made, and given checksums when these are wanted. */
#include "native/native.h"

#include <stdlib.h>

rw_side_t *rw_side_new(const ropeway_operation_t *operation) RW_UNCHECKED {
    rw_side_t *side = calloc(1, sizeof *side);

    if (side == NULL) {
        return NULL;
    }
    side->integrity = (operation->flags & ROPEWAY_OPERATION_INTEGRITY) != 0;
    if (!operation->is_sender) {
        side->in.grain = rw_decide_grain(&operation->layout);
    }
    return side;
}

bool rw_native_need_sums(ropeway_operation_t *operation) {
    rw_side_t *side = rw_side(operation);

    if (side->integrity && side->sums == NULL) {
        side->sums = rw_sums_new(&operation->layout);
        if (side->sums == NULL) {
            rw_operation_run_out(operation, "checksums");
            return false;
        }
    }
    return true;
}
