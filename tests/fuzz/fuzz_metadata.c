/* SPDX-License-Identifier: Apache-2.0 */
/* RdmaMetadata texts. What is accepted is sane, and JSON to jansson as well. */
#include "fuzz.h"
#include "text/metadata.h"

#include <jansson.h>
#include <string.h>

#define MAX ((size_t)1 << 16)

/* Returns whether a pointer is beyond what jansson's integers hold. */
static bool check_descriptors(const ropeway_metadata_t *metadata) {
    uint64_t total = 0;
    bool beyond = false;

    FUZZ_CHECK(ropeway_metadata_count(metadata) > 0);
    for (size_t i = 0; i < ropeway_metadata_count(metadata); i++) {
        ropeway_descriptor_t descriptor = ropeway_metadata_descriptor(metadata, i);
        char device[32];

        FUZZ_CHECK(descriptor.ptr != NULL && descriptor.size <= SIZE_MAX / 2);
        FUZZ_CHECK(ropeway_device_format(descriptor.device, device, sizeof device) < 32);
        beyond = beyond || (uintptr_t)descriptor.ptr > INT64_MAX;
        total += descriptor.size;
    }
    FUZZ_CHECK(total == ropeway_metadata_total(metadata));
    return beyond;
}

static void check_accepted(const ropeway_metadata_t *metadata, const char *text, size_t length) {
    bool beyond = check_descriptors(metadata);
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);

    FUZZ_CHECK(beyond || root != NULL);
    FUZZ_CHECK(metadata->blob_length <= MAX);
    FUZZ_CHECK(strlen(ropeway_metadata_peer(metadata)) > 0);
    FUZZ_CHECK(root == NULL ||
               strcmp(ropeway_metadata_key(metadata),
                      json_string_value(json_object_get(root, "notification_key"))) == 0);
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    const char *text = (const char *)bytes;
    ropeway_metadata_t *metadata;
    ropeway_error_t error = ropeway_metadata_parse(text, length, MAX, &metadata);

    if (error == ROPEWAY_OK) {
        check_accepted(metadata, text, length);
    } else {
        FUZZ_CHECK(error == ROPEWAY_ERR_METADATA || error == ROPEWAY_ERR_LIMIT);
        FUZZ_CHECK(metadata == NULL && *ropeway_last_error() != '\0');
    }
    ropeway_metadata_release(metadata);
    return 0;
}
