/* SPDX-License-Identifier: Apache-2.0 */
/* The writing half of metadata.h. The text is put together by hand: an operation may have 131,072
 * descriptors, and a tree of JSON values for them would cost more than the transfer. */
#include "base/error.h"
#include "text/metadata.h"
#include "text/packing.h"
#include "text/serdes.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 1024
#define DESCRIPTOR_MAX 128 /* longest text of one descriptor, and more */

typedef struct text {
    char *bytes;
    size_t length;
    size_t capacity;
} text_t;

/* Makes room for length more bytes. */
static bool reserve(text_t *text, size_t length) {
    size_t needed = text->length + length;
    size_t capacity = text->capacity == 0 ? FIRST_CAPACITY : text->capacity;
    char *moved;

    if (needed <= text->capacity) {
        return true;
    }
    while (capacity < needed) {
        capacity *= 2;
    }
    moved = realloc(text->bytes, capacity);
    if (moved == NULL) {
        return false;
    }
    text->bytes = moved;
    text->capacity = capacity;
    return true;
}

/* These write into room that was reserved before. */
static void put(text_t *text, const char *bytes, size_t length) {
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static void put_text(text_t *text, const char *string) {
    put(text, string, strlen(string));
}

static void put_number(text_t *text, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    put(text, digits + at, sizeof digits - at);
}

static void put_device(text_t *text, ropeway_device_t device) {
    char name[32];

    if (device.kind == ROPEWAY_DEVICE_HOST) {
        put_text(text, "cpu");
        return;
    }
    ropeway_device_format(device, name, sizeof name);
    put_text(text, name);
}

/* Native peers need no address, and none of ours should leave the process: unless stock peers are
 * to reach the memory, ptr is the descriptor's number. It counts from 1 because they refuse 0. They
 * also refuse a count, which says that so many descriptors are alike. */
static void put_run(text_t *text, const ropeway_descriptor_t *descriptor, size_t index,
                    size_t count, bool exposed) {
    put_text(text, index == 0 ? "{\"device\":\"" : ",{\"device\":\"");
    put_device(text, descriptor->device);
    put_text(text, "\",\"ptr\":");
    put_number(text, exposed ? (uint64_t)(uintptr_t)descriptor->ptr : index + 1);
    put_text(text, ",\"size\":");
    put_number(text, descriptor->size);
    if (count > 1) {
        put_text(text, ",\"count\":");
        put_number(text, count);
    }
    put_text(text, "}");
}

/* How many descriptors from here on have the same device and size. */
static size_t run_length(const ropeway_descriptor_t *descriptors, size_t count) {
    size_t length = 1;

    while (length < count && descriptors[length].size == descriptors[0].size &&
           descriptors[length].device.kind == descriptors[0].device.kind &&
           descriptors[length].device.id == descriptors[0].device.id) {
        length++;
    }
    return length;
}

static ropeway_error_t too_long(size_t count, size_t max) {
    return rw_fail(
        ROPEWAY_ERR_LIMIT,
        "the metadata of %zu descriptors is longer than the limit of %zu bytes, or would be "
        "if they were written out; use fewer descriptors or raise max_metadata",
        count, max);
}

static ropeway_error_t no_memory(size_t count) {
    return rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for the metadata of %zu descriptors", count);
}

static ropeway_error_t put_descriptors(text_t *text, const ropeway_descriptor_t *descriptors,
                                       size_t count, bool exposed, bool has_runs, size_t max) {
    for (size_t i = 0, length; i < count; i += length) {
        length = has_runs ? run_length(descriptors + i, count - i) : 1;
        if (!reserve(text, DESCRIPTOR_MAX)) {
            return no_memory(count);
        }
        put_run(text, &descriptors[i], i, length, exposed);
        if (text->length > max) {
            return too_long(count, max);
        }
    }
    return ROPEWAY_OK;
}

static ropeway_error_t put_all(text_t *text, ropeway_operation_kind_t kind,
                               const ropeway_descriptor_t *descriptors, size_t count, bool exposed,
                               bool has_runs, const char *packed, size_t packed_length,
                               const char *key, size_t max) {
    size_t rest = packed_length + strlen(key) + DESCRIPTOR_MAX;
    ropeway_error_t error;

    if (count > rw_metadata_most(max)) {
        return too_long(count, max);
    }
    if (!reserve(text, DESCRIPTOR_MAX)) {
        return no_memory(count);
    }
    put_text(text, "{\"descriptors\":[");
    error = put_descriptors(text, descriptors, count, exposed, has_runs, max);
    if (error != ROPEWAY_OK) {
        return error;
    }
    if (!reserve(text, rest)) {
        return no_memory(count);
    }
    put_text(text, "],\"nixl_metadata\":\"");
    put(text, packed, packed_length);
    put_text(text, "\",\"notification_key\":\"");
    put_text(text, key);
    put_text(text, "\",\"operation_kind\":");
    put_number(text, kind == ROPEWAY_OPERATION_READABLE ? 1 : 2);
    put_text(text, "}");
    put(text, "", 1);
    return text->length - 1 > max ? too_long(count, max) : ROPEWAY_OK;
}

/* Whether it is for Ropeway connectors. */
static bool is_native(const rw_connection_t *connections, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(connections[i].backend, RW_BACKEND_NATIVE) == 0) {
            return true;
        }
    }
    return false;
}

ropeway_error_t rw_metadata_encode(ropeway_operation_kind_t kind,
                                   const ropeway_descriptor_t *descriptors, size_t count,
                                   const char *agent, const rw_connection_t *connections,
                                   size_t connection_count, const rw_region_t *regions,
                                   size_t region_count, const char *key, size_t max, char **json,
                                   size_t *length) {
    text_t text = {0};
    uint8_t *blob;
    size_t blob_length;
    char *packed;
    size_t packed_length;
    ropeway_error_t error;

    max = max < INT_MAX ? max : INT_MAX;
    error = rw_serdes_encode(agent, connections, connection_count, regions, region_count, max,
                             &blob, &blob_length);
    if (error != ROPEWAY_OK) {
        return error;
    }
    error = rw_pack(blob, blob_length, &packed, &packed_length);
    free(blob);
    if (error != ROPEWAY_OK) {
        return error;
    }
    error = put_all(&text, kind, descriptors, count, region_count > 0,
                    region_count == 0 && is_native(connections, connection_count), packed,
                    packed_length, key, max);
    free(packed);
    if (error != ROPEWAY_OK) {
        free(text.bytes);
        return error;
    }
    *json = text.bytes;
    *length = text.length - 1;
    return ROPEWAY_OK;
}
