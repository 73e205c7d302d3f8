/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of ids. */
#include "base/recent.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

bool rw_recent_init(rw_recent_t *recent, size_t capacity) {
    recent->ids = calloc(capacity, sizeof *recent->ids);
    recent->capacity = capacity;
    return recent->ids != NULL;
}

void rw_recent_free(rw_recent_t *recent) {
    free(recent->ids);
    recent->ids = NULL;
}

void rw_recent_add(rw_recent_t *recent, const uint8_t id[RW_ID_BYTES], ropeway_error_t error) {
    rw_recent_id_t *place = &recent->ids[recent->next];

    rw_assert(error != ROPEWAY_OK);
    memcpy(place->id, id, sizeof place->id);
    place->error = error;
    recent->next = (recent->next + 1) % recent->capacity;
}

ropeway_error_t rw_recent_find(const rw_recent_t *recent, const uint8_t id[RW_ID_BYTES]) {
    for (size_t i = 0; i < recent->capacity; i++) {
        const rw_recent_id_t *known = &recent->ids[i];

        if (known->error != ROPEWAY_OK && memcmp(known->id, id, sizeof known->id) == 0) {
            return known->error;
        }
    }
    return ROPEWAY_OK;
}
