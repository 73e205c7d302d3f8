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

#endif
