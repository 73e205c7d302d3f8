/* SPDX-License-Identifier: Apache-2.0 */
/* Checks on lists of descriptors, made before anything else looks at them. */
#ifndef RW_DESCRIPTOR_H
#define RW_DESCRIPTOR_H

#include "ropeway.h"

#define RW_DEVICE_ID_MAX 65535

/* Checks what the application handed in: count of 1 to max_count, no null pointer, no range that
 * leaves the address space, known devices. Whether a device is usable here is not its question.
 * *total (may be NULL) becomes the sum of the sizes.
 * Errors: ERR_EMPTY_LIST (count 0), ERR_INVALID_ARGUMENT (null list), ERR_LIMIT, ERR_NULL_POINTER,
 * ERR_TOO_LARGE, ERR_DEVICE. */
ropeway_error_t rw_descriptors_check(const ropeway_descriptor_t *list, size_t count,
                                     size_t max_count, uint64_t *total);

/* Whether two of them, or parts of two, are the same memory: what is received would be written
 * twice. Errors: ERR_INVALID_ARGUMENT (they are), ERR_NO_MEMORY. */
ropeway_error_t rw_descriptors_check_apart(const ropeway_descriptor_t *list, size_t count);

/* A device that is all zeroes means the host. */
static inline ropeway_device_t rw_device_meant(ropeway_device_t device) {
    if (device.kind == ROPEWAY_DEVICE_UNSPECIFIED) {
        device.kind = ROPEWAY_DEVICE_HOST;
    }
    return device;
}

#endif
