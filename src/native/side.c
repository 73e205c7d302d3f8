/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol's part of an operation: made, given checksums when these are wanted, and relieved of
 * the link that it asked by. */
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

void rw_native_leave_asked(rw_side_t *side) {
    rw_link_t *link = side->asked_by;

    if (link != NULL) {
        side->asked_by = NULL;
        rw_list_remove(&side->of_asked.node);
        rw_link_drop(link);
    }
}
