/* SPDX-License-Identifier: Apache-2.0 */
/* Fields, written and found. */
#include "text/field.h"

#include "base/bytes.h"

uint8_t *rw_field_put_head(uint8_t *at, uint16_t type, size_t length) {
    rw_put16(at, type);
    rw_put32(at + 2, (uint32_t)length);
    return at + RW_FIELD_HEAD;
}

uint8_t *rw_field_put(uint8_t *at, uint16_t type, const void *value, size_t length) {
    at = rw_field_put_head(at, type, length);
    memcpy(at, value, length);
    return at + length;
}

static rw_field_t *find(rw_field_t *fields, size_t count, uint16_t type) {
    for (size_t i = 0; i < count; i++) {
        if (fields[i].type == type) {
            return &fields[i];
        }
    }
    return NULL;
}

ropeway_error_t rw_fields_read(const uint8_t *bytes, size_t length, rw_field_t *fields,
                               size_t count) {
    const uint8_t *end = bytes + length;
    ropeway_error_t error = ROPEWAY_OK;
    int32_t last = -1;

    while (bytes < end) {
        uint16_t type;
        size_t size, left = (size_t)(end - bytes);
        rw_field_t *field;

        if (left < RW_FIELD_HEAD) {
            return ROPEWAY_ERR_PROTOCOL;
        }
        type = rw_get16(bytes);
        size = rw_get32(bytes + 2);
        if (type <= last || size > left - RW_FIELD_HEAD) {
            return ROPEWAY_ERR_PROTOCOL;
        }
        last = type;
        field = find(fields, count, type);
        if (field != NULL) {
            if (size < field->least || size > field->most) {
                return ROPEWAY_ERR_PROTOCOL;
            }
            field->value = bytes + RW_FIELD_HEAD;
            field->length = size;
        } else if ((type & RW_FIELD_NEEDED) != 0) {
            error = ROPEWAY_ERR_VERSION;
        }
        bytes += RW_FIELD_HEAD + size;
    }
    for (size_t i = 0; i < count; i++) {
        if (fields[i].is_required && fields[i].value == NULL) {
            return ROPEWAY_ERR_PROTOCOL;
        }
    }
    return error;
}
