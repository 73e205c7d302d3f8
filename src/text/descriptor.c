/* SPDX-License-Identifier: Apache-2.0 */
/* Devices as texts, and the checks of descriptors. */
#include "text/descriptor.h"

#include "base/error.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_LIMIT ((size_t)(SIZE_MAX / 2)) /* SSIZE_MAX */

/* Every text before its optional ":N". */
static const struct {
    const char *name;
    ropeway_device_kind_t kind;
} device_names[] = {
    {"cpu", ROPEWAY_DEVICE_HOST}, {"host", ROPEWAY_DEVICE_HOST}, {"cuda", ROPEWAY_DEVICE_CUDA},
    {"gpu", ROPEWAY_DEVICE_CUDA}, {"xpu", ROPEWAY_DEVICE_XPU},
};

static bool parse_id(const char *text, int32_t *id) {
    size_t digits = strspn(text, "0123456789");
    int32_t value = 0;

    if (digits == 0 || digits > 5 || text[digits] != '\0') {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        value = value * 10 + (text[i] - '0');
    }
    *id = value;
    return value <= RW_DEVICE_ID_MAX;
}

static bool parse_device(const char *text, ropeway_device_t *device) {
    size_t length = strcspn(text, ":");

    for (size_t i = 0; i < sizeof device_names / sizeof device_names[0]; i++) {
        if (strlen(device_names[i].name) != length ||
            memcmp(device_names[i].name, text, length) != 0) {
            continue;
        }
        device->kind = device_names[i].kind;
        device->id = 0;
        if (text[length] == '\0') {
            return true;
        }
        return device->kind != ROPEWAY_DEVICE_HOST && parse_id(text + length + 1, &device->id);
    }
    return false;
}

ropeway_error_t ropeway_device_parse(const char *text, ropeway_device_t *device) {
    ropeway_device_t parsed;

    if (text == NULL || device == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "ropeway_device_parse needs a text and a place for the device; %s is null",
                       text == NULL ? "the text" : "the place");
    }
    if (!parse_device(text, &parsed)) {
        return rw_fail(ROPEWAY_ERR_DEVICE,
                       "device \"%.32s\" is unknown; use \"cpu\", \"cuda:N\" or \"xpu:N\" with N "
                       "from 0 to %d",
                       text, RW_DEVICE_ID_MAX);
    }
    *device = parsed;
    return ROPEWAY_OK;
}

size_t ropeway_device_format(ropeway_device_t device, char *buffer, size_t size) {
    int length;

    if (buffer == NULL) {
        size = 0;
    }
    switch (device.kind) {
    case ROPEWAY_DEVICE_HOST:
        length = snprintf(buffer, size, "cpu");
        break;
    case ROPEWAY_DEVICE_CUDA:
        length = snprintf(buffer, size, "cuda:%" PRId32, device.id);
        break;
    case ROPEWAY_DEVICE_XPU:
        length = snprintf(buffer, size, "xpu:%" PRId32, device.id);
        break;
    default:
        length = snprintf(buffer, size, "unknown:%" PRId32, device.kind);
        break;
    }
    return (size_t)length;
}

static ropeway_error_t check_device(ropeway_device_t device, size_t index) {
    switch (device.kind) {
    case ROPEWAY_DEVICE_UNSPECIFIED:
    case ROPEWAY_DEVICE_HOST:
        if (device.id == 0) {
            return ROPEWAY_OK;
        }
        return rw_fail(ROPEWAY_ERR_DEVICE,
                       "descriptor %zu: the host has no device %" PRId32 "; set its id to 0", index,
                       device.id);
    case ROPEWAY_DEVICE_CUDA:
    case ROPEWAY_DEVICE_XPU:
        if (device.id >= 0 && device.id <= RW_DEVICE_ID_MAX) {
            return ROPEWAY_OK;
        }
        return rw_fail(ROPEWAY_ERR_DEVICE,
                       "descriptor %zu: device number %" PRId32 " is out of range; use 0 to %d",
                       index, device.id, RW_DEVICE_ID_MAX);
    default:
        return rw_fail(ROPEWAY_ERR_DEVICE,
                       "descriptor %zu: device kind %" PRId32
                       " is unknown; use ROPEWAY_DEVICE_HOST or ROPEWAY_DEVICE_CUDA",
                       index, device.kind);
    }
}

static ropeway_error_t check_one(const ropeway_descriptor_t *descriptor, size_t index) {
    uintptr_t begin = (uintptr_t)descriptor->ptr;

    if (descriptor->ptr == NULL) {
        return rw_fail(ROPEWAY_ERR_NULL_POINTER,
                       "descriptor %zu (%zu bytes) has a null pointer; point it at memory, even "
                       "when its size is 0",
                       index, descriptor->size);
    }
    if (descriptor->size > SIZE_LIMIT || begin + descriptor->size < begin) {
        return rw_fail(ROPEWAY_ERR_TOO_LARGE,
                       "descriptor %zu: %zu bytes at %p do not fit the address space", index,
                       descriptor->size, descriptor->ptr);
    }
    return check_device(descriptor->device, index);
}

ropeway_error_t rw_descriptors_check(const ropeway_descriptor_t *list, size_t count,
                                     size_t max_count, uint64_t *total) {
    uint64_t sum = 0;

    if (count == 0) {
        return rw_fail(ROPEWAY_ERR_EMPTY_LIST,
                       "the list has 0 descriptors; an operation needs at least one");
    }
    if (list == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the list of %zu descriptors is null", count);
    }
    if (count > max_count) {
        return rw_fail(ROPEWAY_ERR_LIMIT,
                       "the list has %zu descriptors and the connector allows %zu; split the "
                       "operation or raise max_descriptors",
                       count, max_count);
    }
    for (size_t i = 0; i < count; i++) {
        ropeway_error_t error = check_one(&list[i], i);

        if (error != ROPEWAY_OK) {
            return error;
        }
        if (__builtin_add_overflow(sum, (uint64_t)list[i].size, &sum)) {
            return rw_fail(ROPEWAY_ERR_TOO_LARGE,
                           "the sizes of descriptors 0 to %zu add up to more than 64 bits", i);
        }
    }
    if (total != NULL) {
        *total = sum;
    }
    return ROPEWAY_OK;
}

/* ---- memory that is written once ---- */

static bool lies_behind(const ropeway_descriptor_t *one, const ropeway_descriptor_t *other) {
    ropeway_device_t a = rw_device_meant(one->device), b = rw_device_meant(other->device);

    if (a.kind != b.kind || a.id != b.id) {
        return a.kind != b.kind ? a.kind < b.kind : a.id < b.id;
    }
    return (uintptr_t)one->ptr + one->size <= (uintptr_t)other->ptr;
}

static int compare(const void *one, const void *other) {
    const ropeway_descriptor_t *a = *(const ropeway_descriptor_t *const *)one;
    const ropeway_descriptor_t *b = *(const ropeway_descriptor_t *const *)other;
    ropeway_device_t at = rw_device_meant(a->device), bt = rw_device_meant(b->device);

    if (at.kind != bt.kind || at.id != bt.id) {
        return at.kind != bt.kind ? (at.kind > bt.kind) - (at.kind < bt.kind)
                                  : (at.id > bt.id) - (at.id < bt.id);
    }
    return (a->ptr > b->ptr) - (a->ptr < b->ptr);
}

/* In the order of the list most are. */
static bool are_in_order(const ropeway_descriptor_t *list, size_t count) {
    const ropeway_descriptor_t *last = NULL;

    for (size_t i = 0; i < count; i++) {
        if (list[i].size > 0) {
            if (last != NULL && !lies_behind(last, &list[i])) {
                return false;
            }
            last = &list[i];
        }
    }
    return true;
}

ropeway_error_t rw_descriptors_check_apart(const ropeway_descriptor_t *list, size_t count) {
    const ropeway_descriptor_t **sorted;
    size_t used = 0, first, second;

    if (are_in_order(list, count)) {
        return ROPEWAY_OK;
    }
    sorted = malloc(count * sizeof(*sorted));
    if (sorted == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory for %zu descriptors", count);
    }
    for (size_t i = 0; i < count; i++) {
        if (list[i].size > 0) {
            sorted[used++] = &list[i];
        }
    }
    qsort(sorted, used, sizeof(*sorted), compare);
    for (size_t i = 1; i < used; i++) {
        if (!lies_behind(sorted[i - 1], sorted[i])) {
            first = (size_t)(sorted[i - 1] - list);
            second = (size_t)(sorted[i] - list);
            free(sorted);
            return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                           "descriptors %zu and %zu overlap, and both would be written",
                           first < second ? first : second, first < second ? second : first);
        }
    }
    free(sorted);
    return ROPEWAY_OK;
}
