/* SPDX-License-Identifier: Apache-2.0 */
/* Reads RDMA metadata. */
#include "text/metadata.h"

#include "base/error.h"
#include "base/json.h"
#include "text/agent.h"
#include "text/descriptor.h"
#include "text/serdes.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define KEY_LENGTH_MAX 255
#define DEVICE_LENGTH_MAX 15
#define FIRST_CAPACITY 4

/* An element of the list: descriptors that are alike, one after the other. */
typedef struct run {
    ropeway_descriptor_t first;
    uint64_t count;
} run_t;

typedef struct parser {
    ropeway_metadata_t *metadata;
    size_t capacity; /* of metadata->descriptors */
    bool has_runs;
    size_t max;
    rw_agents_t *agents;
} parser_t;

static ropeway_error_t no_memory(size_t bytes) {
    return rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for %zu bytes of metadata", bytes);
}

/* ---- Descriptors ---- */

static ropeway_error_t read_device(rw_json_t *json, const char *name, void *arg) {
    ropeway_descriptor_t *descriptor = &((run_t *)arg)->first;
    char device[DEVICE_LENGTH_MAX + 1] = "";
    const char *at = json->at;
    rw_json_text_t text;
    ropeway_error_t error = rw_json_string(json, name, &text);

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (text.length <= DEVICE_LENGTH_MAX) {
        rw_json_copy(&text, device);
    }
    if (ropeway_device_parse(device, &descriptor->device) != ROPEWAY_OK) {
        return rw_json_expected(json, name, "\"cpu\", \"cuda:N\" or \"xpu:N\"", at);
    }
    return ROPEWAY_OK;
}

static ropeway_error_t read_ptr(rw_json_t *json, const char *name, void *arg) {
    ropeway_descriptor_t *descriptor = &((run_t *)arg)->first;
    uint64_t ptr;
    ropeway_error_t error = rw_json_integer(json, name, 1, UINTPTR_MAX, &ptr);

    if (error == ROPEWAY_OK) {
        descriptor->ptr = (void *)(uintptr_t)ptr;
    }
    return error;
}

static ropeway_error_t read_size(rw_json_t *json, const char *name, void *arg) {
    ropeway_descriptor_t *descriptor = &((run_t *)arg)->first;
    uint64_t size;
    ropeway_error_t error = rw_json_integer(json, name, 0, SSIZE_MAX, &size);

    if (error == ROPEWAY_OK) {
        descriptor->size = (size_t)size;
    }
    return error;
}

static ropeway_error_t read_count(rw_json_t *json, const char *name, void *arg) {
    return rw_json_integer(json, name, 1, SIZE_MAX, &((run_t *)arg)->count);
}

/* Makes room for so many more. */
static ropeway_error_t grow(parser_t *parser, uint64_t count) {
    ropeway_metadata_t *metadata = parser->metadata;
    size_t most = rw_metadata_most(parser->max), bytes;
    size_t capacity = parser->capacity == 0 ? FIRST_CAPACITY : parser->capacity;
    ropeway_descriptor_t *descriptors;

    if (count > most - metadata->count) {
        return rw_fail(ROPEWAY_ERR_LIMIT,
                       "the metadata has %zu descriptors and %llu more, which is above the %zu "
                       "that max_metadata allows for",
                       metadata->count, (unsigned long long)count, most);
    }
    while (capacity < metadata->count + count) {
        capacity *= 2;
    }
    if (capacity == parser->capacity) {
        return ROPEWAY_OK;
    }
    bytes = capacity * sizeof metadata->descriptors[0];
    descriptors = realloc(metadata->descriptors, bytes);
    if (descriptors == NULL) {
        return no_memory(bytes);
    }
    metadata->descriptors = descriptors;
    parser->capacity = capacity;
    return ROPEWAY_OK;
}

static ropeway_error_t append(parser_t *parser, const run_t *run) {
    ropeway_metadata_t *metadata = parser->metadata;
    uintptr_t ptr = (uintptr_t)run->first.ptr;
    uint64_t size;

    if (__builtin_mul_overflow((uint64_t)run->first.size, run->count, &size) ||
        __builtin_add_overflow(metadata->total, size, &metadata->total)) {
        return rw_fail(
            ROPEWAY_ERR_METADATA,
            "the sizes of descriptors[0] to descriptors[%zu] add up to more than 64 bits",
            metadata->count + (size_t)run->count - 1);
    }
    parser->has_runs |= run->count > 1;
    for (uint64_t i = 0; i < run->count; i++) {
        metadata->descriptors[metadata->count] = run->first;
        metadata->descriptors[metadata->count++].ptr = (void *)(ptr + (uintptr_t)i);
    }
    return ROPEWAY_OK;
}

static ropeway_error_t read_run(rw_json_t *json, const char *name, void *arg) {
    static const rw_json_member_t members[] = {{"device", read_device, false},
                                               {"ptr", read_ptr, false},
                                               {"size", read_size, false},
                                               {"count", read_count, true}};
    parser_t *parser = arg;
    run_t run = {.count = 1};
    ropeway_error_t error =
        rw_json_object(json, name, members, sizeof members / sizeof members[0], &run);

    if (error == ROPEWAY_OK && (uintptr_t)run.first.ptr > UINTPTR_MAX - (run.count - 1)) {
        error = rw_fail(ROPEWAY_ERR_METADATA, "%s[%zu] goes past the end of the address space",
                        name, json->index);
    }
    if (error == ROPEWAY_OK) {
        error = grow(parser, run.count);
    }
    return error == ROPEWAY_OK ? append(parser, &run) : error;
}

static ropeway_error_t read_descriptors(rw_json_t *json, const char *name, void *arg) {
    parser_t *parser = arg;
    ropeway_error_t error = rw_json_array(json, name, read_run, parser);

    if (error == ROPEWAY_OK && parser->metadata->count == 0) {
        return rw_fail(ROPEWAY_ERR_METADATA, "%s has 0 elements; it must have at least one", name);
    }
    return error;
}

/* ---- The other members ---- */

static ropeway_error_t read_key(rw_json_t *json, const char *name, void *arg) {
    ropeway_metadata_t *metadata = ((parser_t *)arg)->metadata;
    rw_json_text_t text;
    ropeway_error_t error = rw_json_string(json, name, &text);

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (text.length == 0 || text.length > KEY_LENGTH_MAX) {
        return rw_fail(ROPEWAY_ERR_METADATA, "%s has %zu bytes; 1 to %d are allowed", name,
                       text.length, KEY_LENGTH_MAX);
    }
    metadata->key = malloc(text.length + 1);
    if (metadata->key == NULL) {
        return no_memory(text.length + 1);
    }
    rw_json_copy(&text, metadata->key);
    metadata->key_is_uuid = rw_key_from_text(metadata->key, metadata->key_bytes);
    return ROPEWAY_OK;
}

static ropeway_error_t read_kind(rw_json_t *json, const char *name, void *arg) {
    ropeway_metadata_t *metadata = ((parser_t *)arg)->metadata;
    uint64_t kind;
    ropeway_error_t error = rw_json_integer(json, name, 1, 2, &kind);

    if (error == ROPEWAY_OK) {
        metadata->kind = kind == 1 ? ROPEWAY_OPERATION_READABLE : ROPEWAY_OPERATION_WRITABLE;
    }
    return error;
}

static ropeway_error_t unpack(const rw_json_text_t *text, parser_t *parser) {
    ropeway_metadata_t *metadata = parser->metadata;
    const char *packed = text->raw;
    char *copy = NULL;
    ropeway_error_t error;

    if (text->length != text->raw_length) {
        copy = malloc(text->length + 1);
        if (copy == NULL) {
            return no_memory(text->length + 1);
        }
        rw_json_copy(text, copy);
        packed = copy;
    }
    error = rw_agents_get(parser->agents, packed, text->length, parser->max, &metadata->shared);
    free(copy);
    return error;
}

static ropeway_error_t read_agent(rw_json_t *json, const char *name, void *arg) {
    parser_t *parser = arg;
    ropeway_metadata_t *metadata = parser->metadata;
    rw_json_text_t text;
    const rw_agent_t *agent;
    ropeway_error_t error = rw_json_string(json, name, &text);

    if (error == ROPEWAY_OK) {
        error = unpack(&text, parser);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    agent = &metadata->shared->agent;
    metadata->agent = metadata->shared->name;
    metadata->blob = metadata->shared->bytes;
    metadata->blob_length = metadata->shared->length;
    metadata->native = agent->native;
    metadata->native_length = agent->native_length;
    metadata->ucx = agent->ucx;
    metadata->ucx_length = agent->ucx_length;
    metadata->region_count = agent->region_count;
    return ROPEWAY_OK;
}

static ropeway_error_t parse(const char *text, size_t length, size_t max, rw_agents_t *agents,
                             ropeway_metadata_t *metadata) {
    static const rw_json_member_t members[] = {{"descriptors", read_descriptors, false},
                                               {"nixl_metadata", read_agent, false},
                                               {"notification_key", read_key, false},
                                               {"operation_kind", read_kind, false}};
    parser_t parser = {.metadata = metadata, .max = max, .agents = agents};
    rw_json_t json;
    ropeway_error_t error;

    rw_json_init(&json, text, length);
    error =
        rw_json_object(&json, "the metadata", members, sizeof members / sizeof members[0], &parser);
    if (error == ROPEWAY_OK) {
        error = rw_json_end(&json);
    }
    if (error == ROPEWAY_OK && parser.has_runs && metadata->native == NULL) {
        return rw_fail(ROPEWAY_ERR_METADATA, "descriptors have a count, which means nothing to the "
                                             "peer: it is no Ropeway connector");
    }
    return error;
}

ropeway_error_t ropeway_metadata_parse(const char *json, size_t length, size_t max_length,
                                       ropeway_metadata_t **metadata) {
    return rw_metadata_parse(json, length, max_length, NULL, metadata);
}

ropeway_error_t rw_metadata_parse(const char *json, size_t length, size_t max_length,
                                  rw_agents_t *agents, ropeway_metadata_t **metadata) {
    size_t max = max_length == 0 ? RW_METADATA_MAX_DEFAULT : max_length;
    ropeway_error_t error;

    if (json == NULL || metadata == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "ropeway_metadata_parse needs a text and a place for the result; %s is null",
                       json == NULL ? "the text" : "the place");
    }
    *metadata = NULL;
    max = max < INT_MAX ? max : INT_MAX;
    if (length > max) {
        return rw_fail(ROPEWAY_ERR_LIMIT,
                       "the metadata has %zu bytes and the limit is %zu; raise max_metadata if its "
                       "sender is trusted",
                       length, max);
    }
    *metadata = calloc(1, sizeof **metadata);
    if (*metadata == NULL) {
        return no_memory(sizeof **metadata);
    }
    error = parse(json, length, max, agents, *metadata);
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
    free(metadata->key);
    rw_agent_blob_drop(metadata->shared);
    free(metadata);
}

ropeway_operation_kind_t ropeway_metadata_kind(const ropeway_metadata_t *metadata) {
    return metadata != NULL ? metadata->kind : (ropeway_operation_kind_t)0;
}

size_t ropeway_metadata_count(const ropeway_metadata_t *metadata) {
    return metadata != NULL ? metadata->count : 0;
}

ropeway_descriptor_t ropeway_metadata_descriptor(const ropeway_metadata_t *metadata, size_t index) {
    if (metadata == NULL || index >= metadata->count) {
        return (ropeway_descriptor_t){0};
    }
    return metadata->descriptors[index];
}

uint64_t ropeway_metadata_total(const ropeway_metadata_t *metadata) {
    return metadata != NULL ? metadata->total : 0;
}

bool rw_metadata_any_device(const ropeway_metadata_t *metadata) {
    bool any = false;

    for (size_t i = 0; !any && i < metadata->count; i++) {
        any = metadata->descriptors[i].device.kind != ROPEWAY_DEVICE_HOST;
    }
    return any;
}

ropeway_error_t rw_metadata_choose(const ropeway_metadata_t *metadata, rw_speech_t *speech) {
    *speech = metadata->native != NULL ? RW_SPEECH_NATIVE : RW_SPEECH_STOCK;
    return metadata->native != NULL || metadata->ucx != NULL
               ? ROPEWAY_OK
               : rw_fail(ROPEWAY_ERR_NO_PATH,
                         "the peer \"%s\" can't be spoken to: its metadata has neither a "
                         "\"" RW_BACKEND_NATIVE "\" nor a \"" RW_BACKEND_UCX "\" connection",
                         metadata->agent);
}

const char *ropeway_metadata_peer(const ropeway_metadata_t *metadata) {
    return metadata != NULL ? metadata->agent : "";
}

const char *ropeway_metadata_key(const ropeway_metadata_t *metadata) {
    return metadata != NULL ? metadata->key : "";
}

int ropeway_metadata_is_native(const ropeway_metadata_t *metadata) {
    return metadata != NULL && metadata->native != NULL;
}
