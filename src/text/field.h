/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fields: the parts of a hello or of a request, so that later releases can add some. Each is a type
 * (2 bytes), the length of the value (4 bytes) and the value; types ascend. Whoever does not know a
 * type skips the field, unless RW_FIELD_NEEDED is set in it: then all of it is not understood.
 */
#ifndef RW_FIELD_H
#define RW_FIELD_H

#include "ropeway.h"

#include <stdbool.h>
#include <stdint.h>

#define RW_FIELD_HEAD 6 /* bytes before a value */
#define RW_FIELD_NEEDED 0x8000u

/* One that the reader knows, and what was found. */
typedef struct rw_field {
    uint16_t type;
    bool is_required;
    size_t least, most;   /* bytes of the value */
    const uint8_t *value; /* in the input; NULL: there is none */
    size_t length;
} rw_field_t;

/* Writes one, behind all of a lower type; returns where the next one goes. */
uint8_t *rw_field_put(uint8_t *at, uint16_t type, const void *value, size_t length);
/* Writes the head of one whose value the caller puts where this returns. */
uint8_t *rw_field_put_head(uint8_t *at, uint16_t type, size_t length);

/* Finds the fields in the input. ROPEWAY_OK; ERR_PROTOCOL: they are malformed, one that is required
 * is missing, or one's length is out of its bounds; ERR_VERSION: one is needed and not known. */
ropeway_error_t rw_fields_read(const uint8_t *bytes, size_t length, rw_field_t *fields,
                               size_t count);

#endif
