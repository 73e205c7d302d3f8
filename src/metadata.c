/* SPDX-License-Identifier: Apache-2.0 */
#include "metadata.h"

#include "descriptor.h"
#include "error.h"
#include "packing.h"
#include "serdes.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define QUOTE_MAX 48
#define KEY_LENGTH_MAX 255

/* What a peer wrote, fit for a sentence: cut, and without control characters. */
typedef struct quote {
    char text[QUOTE_MAX + 4];
} quote_t;

static quote_t quote(const char *text) {
    quote_t result;
    size_t length = strlen(text);
    size_t shown = length < QUOTE_MAX ? length : QUOTE_MAX;

    for (size_t i = 0; i < shown; i++) {
        result.text[i] = isprint((unsigned char)text[i]) ? text[i] : '?';
    }
    strcpy(result.text + shown, shown < length ? "..." : "");
    return result;
}

/* ---- Parsing ---- */

static ropeway_error_t parse_size(const json_t *object, size_t index, const char *key,
                                  json_int_t minimum, json_int_t *value) {
    const json_t *member = json_object_get(object, key);

    if (!json_is_integer(member)) {
        return rw_fail(ROPEWAY_ERR_METADATA, "descriptors[%zu].%s %s; it must be an integer", index,
                       key, member == NULL ? "is missing" : "is not an integer");
    }
    *value = json_integer_value(member);
    if (*value < minimum) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "descriptors[%zu].%s is %" JSON_INTEGER_FORMAT "; it must be at least "
                       "%" JSON_INTEGER_FORMAT,
                       index, key, *value, minimum);
    }
    return ROPEWAY_OK;
}

static ropeway_error_t check_keys(const json_t *object, const char *where,
                                  const char *const *allowed) {
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value) {
        const char *const *known = allowed;

        while (*known != NULL && strcmp(*known, key) != 0) {
            known++;
        }
        if (*known == NULL) {
            return rw_fail(ROPEWAY_ERR_METADATA, "%s has an unknown key \"%s\"", where,
                           quote(key).text);
        }
    }
    return ROPEWAY_OK;
}

static ropeway_error_t parse_descriptor(const json_t *object, size_t index,
                                        ropeway_descriptor_t *descriptor) {
    static const char *const keys[] = {"device", "ptr", "size", NULL};
    const char *device = json_string_value(json_object_get(object, "device"));
    char where[48];
    json_int_t ptr;
    json_int_t size;
    ropeway_error_t error;

    snprintf(where, sizeof where, "descriptors[%zu]", index);
    if (!json_is_object(object)) {
        return rw_fail(ROPEWAY_ERR_METADATA, "%s is not an object", where);
    }
    error = check_keys(object, where, keys);
    if (error == ROPEWAY_OK) {
        error = parse_size(object, index, "ptr", 1, &ptr);
    }
    if (error == ROPEWAY_OK) {
        error = parse_size(object, index, "size", 0, &size);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    if (device == NULL || ropeway_device_parse(device, &descriptor->device) != ROPEWAY_OK) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "%s.device is %s%s%s; it must be \"cpu\", \"cuda:N\" or \"xpu:N\"", where,
                       device != NULL ? "\"" : "", device != NULL ? quote(device).text : "no text",
                       device != NULL ? "\"" : "");
    }
    descriptor->ptr = (void *)(uintptr_t)ptr;
    descriptor->size = (size_t)size;
    return ROPEWAY_OK;
}

static ropeway_error_t parse_descriptors(const json_t *root, ropeway_metadata_t *metadata) {
    const json_t *list = json_object_get(root, "descriptors");

    if (!json_is_array(list) || json_array_size(list) == 0) {
        return rw_fail(ROPEWAY_ERR_METADATA, "descriptors %s; it must be a list of at least one",
                       list == NULL           ? "is missing"
                       : !json_is_array(list) ? "is not a list"
                                              : "has 0 entries");
    }
    metadata->count = json_array_size(list);
    metadata->descriptors = calloc(metadata->count, sizeof metadata->descriptors[0]);
    if (metadata->descriptors == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for %zu descriptors", metadata->count);
    }
    for (size_t i = 0; i < metadata->count; i++) {
        ropeway_descriptor_t *descriptor = &metadata->descriptors[i];
        ropeway_error_t error = parse_descriptor(json_array_get(list, i), i, descriptor);

        if (error != ROPEWAY_OK) {
            return error;
        }
        if (__builtin_add_overflow(metadata->total, (uint64_t)descriptor->size, &metadata->total)) {
            return rw_fail(ROPEWAY_ERR_METADATA,
                           "the sizes of descriptors[0] to descriptors[%zu] add up to more than "
                           "64 bits",
                           i);
        }
    }
    return ROPEWAY_OK;
}

static ropeway_error_t parse_key(const json_t *root, ropeway_metadata_t *metadata) {
    const json_t *key = json_object_get(root, "notification_key");
    size_t length = json_string_length(key);

    if (!json_is_string(key)) {
        return rw_fail(ROPEWAY_ERR_METADATA, "notification_key %s; it must be a text",
                       key == NULL ? "is missing" : "is not a text");
    }
    if (length == 0 || length > KEY_LENGTH_MAX) {
        return rw_fail(ROPEWAY_ERR_METADATA, "notification_key has %zu bytes; 1 to %d are allowed",
                       length, KEY_LENGTH_MAX);
    }
    metadata->key = strdup(json_string_value(key));
    if (metadata->key == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for a notification key of %zu bytes",
                       length);
    }
    metadata->key_is_uuid = rw_key_from_text(metadata->key, metadata->key_bytes);
    return ROPEWAY_OK;
}

static ropeway_error_t parse_kind(const json_t *root, ropeway_metadata_t *metadata) {
    const json_t *kind = json_object_get(root, "operation_kind");

    if (!json_is_integer(kind)) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "operation_kind %s; it must be 1 (may be read) or 2 (may be written)",
                       kind == NULL ? "is missing" : "is not an integer");
    }
    switch (json_integer_value(kind)) {
    case 1:
        metadata->kind = ROPEWAY_OPERATION_READABLE;
        return ROPEWAY_OK;
    case 2:
        metadata->kind = ROPEWAY_OPERATION_WRITABLE;
        return ROPEWAY_OK;
    default:
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "operation_kind is %" JSON_INTEGER_FORMAT
                       "; it must be 1 (may be read) or 2 (may be written)",
                       json_integer_value(kind));
    }
}

static ropeway_error_t parse_agent(const json_t *root, size_t max, ropeway_metadata_t *metadata) {
    const json_t *packed = json_object_get(root, "nixl_metadata");
    rw_agent_t agent;
    ropeway_error_t error;

    if (!json_is_string(packed)) {
        return rw_fail(ROPEWAY_ERR_METADATA, "nixl_metadata %s; it must be a text",
                       packed == NULL ? "is missing" : "is not a text");
    }
    error = rw_unpack(json_string_value(packed), json_string_length(packed), max, &metadata->blob,
                      &metadata->blob_length);
    if (error != ROPEWAY_OK) {
        metadata->blob = NULL;
        return error;
    }
    error = rw_serdes_decode(metadata->blob, metadata->blob_length, &agent);
    if (error != ROPEWAY_OK) {
        return error;
    }
    metadata->agent = strndup(agent.name, agent.name_length);
    if (metadata->agent == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for an agent's name of %zu bytes",
                       agent.name_length);
    }
    metadata->native = agent.native;
    metadata->native_length = agent.native_length;
    metadata->ucx = agent.ucx;
    metadata->ucx_length = agent.ucx_length;
    return ROPEWAY_OK;
}

static ropeway_error_t parse_root(const json_t *root, size_t max, ropeway_metadata_t *metadata) {
    static const char *const keys[] = {"descriptors", "nixl_metadata", "notification_key",
                                       "operation_kind", NULL};
    ropeway_error_t error;

    if (!json_is_object(root)) {
        return rw_fail(ROPEWAY_ERR_METADATA, "the metadata is JSON, but not an object");
    }
    error = check_keys(root, "the metadata", keys);
    if (error == ROPEWAY_OK) {
        error = parse_kind(root, metadata);
    }
    if (error == ROPEWAY_OK) {
        error = parse_key(root, metadata);
    }
    if (error == ROPEWAY_OK) {
        error = parse_agent(root, max, metadata);
    }
    if (error == ROPEWAY_OK) {
        error = parse_descriptors(root, metadata);
    }
    return error;
}

ropeway_error_t ropeway_metadata_parse(const char *json, size_t length, size_t max_length,
                                       ropeway_metadata_t **metadata) {
    size_t max = max_length == 0 ? RW_METADATA_MAX_DEFAULT : max_length;
    json_error_t where;
    json_t *root;
    ropeway_error_t error;

    if (json == NULL || metadata == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "ropeway_metadata_parse needs a text and a place for the result; %s is null",
                       json == NULL ? "the text" : "the place");
    }
    max = max < INT_MAX ? max : INT_MAX;
    if (length > max) {
        return rw_fail(ROPEWAY_ERR_LIMIT,
                       "the metadata has %zu bytes and the limit is %zu; raise max_metadata if its "
                       "sender is trusted",
                       length, max);
    }
    root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        return rw_fail(ROPEWAY_ERR_METADATA, "the metadata of %zu bytes is not JSON at byte %d: %s",
                       length, where.position, quote(where.text).text);
    }
    *metadata = calloc(1, sizeof **metadata);
    error = *metadata == NULL
                ? rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for %zu bytes", sizeof **metadata)
                : parse_root(root, max, *metadata);
    json_decref(root);
    if (error != ROPEWAY_OK) {
        ropeway_metadata_release(*metadata);
        *metadata = NULL;
    }
    return error;
}

void ropeway_metadata_release(ropeway_metadata_t *metadata) {
    if (metadata == NULL) {
        return;
    }
    free(metadata->descriptors);
    free(metadata->agent);
    free(metadata->key);
    free(metadata->blob);
    free(metadata);
}

ropeway_operation_kind_t ropeway_metadata_kind(const ropeway_metadata_t *metadata) {
    return metadata->kind;
}

size_t ropeway_metadata_count(const ropeway_metadata_t *metadata) {
    return metadata->count;
}

ropeway_descriptor_t ropeway_metadata_descriptor(const ropeway_metadata_t *metadata, size_t index) {
    if (index >= metadata->count) {
        return (ropeway_descriptor_t){0};
    }
    return metadata->descriptors[index];
}

uint64_t ropeway_metadata_total(const ropeway_metadata_t *metadata) {
    return metadata->total;
}

const char *ropeway_metadata_peer(const ropeway_metadata_t *metadata) {
    return metadata->agent;
}

const char *ropeway_metadata_key(const ropeway_metadata_t *metadata) {
    return metadata->key;
}

int ropeway_metadata_is_native(const ropeway_metadata_t *metadata) {
    return metadata->native != NULL;
}
