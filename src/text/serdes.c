/* SPDX-License-Identifier: Apache-2.0 */
/* Writes and reads nixlSerDes records. */
#include "text/serdes.h"

#include "base/error.h"
#include "base/utf8.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A record is: tag, 64-bit length, value, '|'. Nothing ends the tag: the reader must know it. */
static const char magic[] = "nixlSerDes|";
#define MAGIC_LENGTH (sizeof magic - 1)
#define RECORD_OVERHEAD (sizeof(uint64_t) + 1)
#define SECTION_MARK "MemSection"
#define LIST_MARK "nixlSDList"
#define NAME_TAIL 9                         /* "~" and 8 digits */
#define REGION_FIXED (3 * sizeof(uint64_t)) /* address, length, device */

bool rw_agent_name_valid(const char *name, size_t length) {
    size_t step;

    for (size_t at = 0; at < length; at += step) {
        step = rw_utf8_length(name + at, length - at);
        if (step == 0 || (name[at] >= 0 && name[at] < ' ') || name[at] == '\x7f') {
            return false;
        }
    }
    return length > 0 && length <= RW_AGENT_NAME_MAX;
}

void rw_agent_name_text(const char *name, size_t length, char text[RW_AGENT_NAME_MAX + 1]) {
    size_t used = 0, step;

    if (rw_agent_name_valid(name, length)) {
        memcpy(text, name, length);
        text[length] = '\0';
        return;
    }
    for (size_t at = 0; at < length; at += step) {
        step = rw_utf8_length(name + at, length - at);
        if (used + step + NAME_TAIL > RW_AGENT_NAME_MAX) {
            break;
        }
        if (step == 0 || !rw_agent_name_valid(name + at, step)) {
            text[used++] = '?';
            step = step > 0 ? step : 1;
        } else {
            memcpy(text + used, name + at, step);
            used += step;
        }
    }
    snprintf(text + used, NAME_TAIL + 1, "~%08" PRIx64, XXH3_64bits(name, length) & UINT32_MAX);
}

/* ---- Writing ---- */

static uint8_t *put(uint8_t *at, const void *bytes, size_t length) {
    memcpy(at, bytes, length);
    return at + length;
}

static uint8_t *put_record(uint8_t *at, const char *tag, const void *value, size_t length) {
    uint64_t wire_length = htole64(length);

    at = put(at, tag, strlen(tag));
    at = put(at, &wire_length, sizeof wire_length);
    at = put(at, value, length);
    return put(at, "|", 1);
}

static uint8_t *put_number(uint8_t *at, const char *tag, uint64_t number) {
    uint64_t wire = htole64(number);

    return put_record(at, tag, &wire, sizeof wire);
}

/* Regions of one memory type make a section. */
static size_t section_length(const rw_region_t *regions, size_t count, uint32_t memory) {
    size_t length = 0;

    for (size_t i = 0; i < count; i++) {
        if (regions[i].memory == memory) {
            length += RECORD_OVERHEAD + REGION_FIXED + regions[i].key_length;
        }
    }
    return length == 0 ? 0
                       : length + strlen("bknd") + strlen(RW_BACKEND_UCX) + strlen("nixlDList") +
                             strlen(LIST_MARK) + strlen("t") + sizeof(uint32_t) + strlen("n") +
                             sizeof(uint64_t) + 4 * RECORD_OVERHEAD;
}

static uint8_t *put_region(uint8_t *at, const rw_region_t *region) {
    uint64_t words[] = {htole64(REGION_FIXED + region->key_length), htole64(region->address),
                        htole64(region->length), htole64(region->device)};

    at = put(at, words, sizeof words);
    at = put(at, region->key, region->key_length);
    return put(at, "|", 1);
}

static uint8_t *put_section(uint8_t *at, const rw_region_t *regions, size_t count,
                            uint32_t memory) {
    uint32_t wire = htole32(memory);
    uint64_t number = 0;

    for (size_t i = 0; i < count; i++) {
        number += regions[i].memory == memory;
    }
    if (number == 0) {
        return at;
    }
    at = put_record(at, "bknd", RW_BACKEND_UCX, strlen(RW_BACKEND_UCX));
    at = put_record(at, "nixlDList", LIST_MARK, strlen(LIST_MARK));
    at = put_record(at, "t", &wire, sizeof wire);
    at = put_number(at, "n", number);
    for (size_t i = 0; i < count; i++) {
        if (regions[i].memory == memory) {
            at = put_region(at, &regions[i]);
        }
    }
    return at;
}

static size_t encoded_length(const char *agent, const rw_connection_t *connections,
                             size_t connection_count) {
    size_t length = MAGIC_LENGTH + strlen("Agent") + RECORD_OVERHEAD + strlen(agent) +
                    strlen("Conns") + RECORD_OVERHEAD + sizeof(uint64_t) + RECORD_OVERHEAD +
                    strlen(SECTION_MARK) + strlen("nixlSecElms") + RECORD_OVERHEAD +
                    sizeof(uint64_t);

    for (size_t i = 0; i < connection_count; i++) {
        length += strlen("t") + RECORD_OVERHEAD + strlen(connections[i].backend) + strlen("c") +
                  RECORD_OVERHEAD + connections[i].length;
    }
    return length;
}

ropeway_error_t rw_serdes_encode(const char *agent, const rw_connection_t *connections,
                                 size_t connection_count, const rw_region_t *regions,
                                 size_t region_count, size_t max, uint8_t **blob, size_t *length) {
    size_t dram = section_length(regions, region_count, RW_MEMORY_DRAM);
    size_t vram = section_length(regions, region_count, RW_MEMORY_VRAM);
    size_t needed = encoded_length(agent, connections, connection_count) + dram + vram;
    uint8_t *at;

    if (needed > max) {
        return rw_fail(ROPEWAY_ERR_LIMIT,
                       "the agent metadata takes %zu bytes and the limit is %zu; raise "
                       "max_metadata",
                       needed, max);
    }
    *blob = malloc(needed);
    if (*blob == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for %zu bytes of agent metadata", needed);
    }
    at = put(*blob, magic, MAGIC_LENGTH);
    at = put_record(at, "Agent", agent, strlen(agent));
    at = put_number(at, "Conns", connection_count);
    for (size_t i = 0; i < connection_count; i++) {
        at = put_record(at, "t", connections[i].backend, strlen(connections[i].backend));
        at = put_record(at, "c", connections[i].blob, connections[i].length);
    }
    at = put_record(at, "", SECTION_MARK, strlen(SECTION_MARK));
    at = put_number(at, "nixlSecElms", (uint64_t)(dram > 0) + (vram > 0));
    at = put_section(at, regions, region_count, RW_MEMORY_DRAM);
    at = put_section(at, regions, region_count, RW_MEMORY_VRAM);
    *length = (size_t)(at - *blob);
    return ROPEWAY_OK;
}

/* ---- Reading ---- */

typedef struct reader {
    const uint8_t *blob;
    size_t length;
    size_t at;
} reader_t;

typedef struct value {
    const uint8_t *bytes;
    size_t length;
} value_t;

/* what: the record's name in sentences. */
static ropeway_error_t read_record(reader_t *reader, const char *tag, const char *what,
                                   value_t *value) {
    size_t tag_length = strlen(tag);
    size_t left = reader->length - reader->at;
    const uint8_t *at = reader->blob + reader->at;
    uint64_t length;

    if (left < tag_length + RECORD_OVERHEAD) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the agent metadata ends after %zu bytes, before its record %s",
                       reader->length, what);
    }
    if (memcmp(at, tag, tag_length) != 0) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the agent metadata has something else than the record %s at byte %zu", what,
                       reader->at);
    }
    memcpy(&length, at + tag_length, sizeof length);
    length = le64toh(length);
    if (length > left - tag_length - RECORD_OVERHEAD) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the record %s at byte %zu of the agent metadata claims %" PRIu64
                       " bytes and only %zu follow",
                       what, reader->at, length, left - tag_length - RECORD_OVERHEAD);
    }
    value->bytes = at + tag_length + sizeof length;
    value->length = (size_t)length;
    if (value->bytes[length] != '|') {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the record %s at byte %zu of the agent metadata does not end with '|'",
                       what, reader->at);
    }
    reader->at += tag_length + RECORD_OVERHEAD + value->length;
    return ROPEWAY_OK;
}

static ropeway_error_t read_number(reader_t *reader, const char *tag, uint64_t *number) {
    value_t value;
    ropeway_error_t error = read_record(reader, tag, tag, &value);

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (value.length != sizeof *number) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the record %s of the agent metadata has %zu bytes instead of %zu", tag,
                       value.length, sizeof *number);
    }
    memcpy(number, value.bytes, sizeof *number);
    *number = le64toh(*number);
    return ROPEWAY_OK;
}

static ropeway_error_t read_name(reader_t *reader, rw_agent_t *agent) {
    value_t value;
    ropeway_error_t error = read_record(reader, "Agent", "Agent", &value);

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (value.length == 0) {
        return rw_fail(ROPEWAY_ERR_METADATA, "the agent's name is empty");
    }
    agent->name = (const char *)value.bytes;
    agent->name_length = value.length;
    return ROPEWAY_OK;
}

static bool is_text(value_t value, const char *text) {
    return value.length == strlen(text) && memcmp(value.bytes, text, value.length) == 0;
}

/* Keeps the connection of one of our backends. */
static ropeway_error_t keep(const char *backend, value_t blob, const uint8_t **bytes,
                            size_t *length) {
    if (*bytes != NULL) {
        return rw_fail(ROPEWAY_ERR_METADATA, "the agent metadata has two %s connections", backend);
    }
    if (blob.length == 0) {
        return rw_fail(ROPEWAY_ERR_METADATA, "the %s connection of the agent metadata is empty",
                       backend);
    }
    *bytes = blob.bytes;
    *length = blob.length;
    return ROPEWAY_OK;
}

static ropeway_error_t read_connection(reader_t *reader, rw_agent_t *agent) {
    value_t backend;
    value_t blob;
    ropeway_error_t error = read_record(reader, "t", "t (a connection's backend)", &backend);

    if (error == ROPEWAY_OK) {
        error = read_record(reader, "c", "c (a connection's address)", &blob);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    if (is_text(backend, RW_BACKEND_NATIVE)) {
        return keep(RW_BACKEND_NATIVE, blob, &agent->native, &agent->native_length);
    }
    if (is_text(backend, RW_BACKEND_UCX)) {
        return keep(RW_BACKEND_UCX, blob, &agent->ucx, &agent->ucx_length);
    }
    return ROPEWAY_OK;
}

static ropeway_error_t read_connections(reader_t *reader, rw_agent_t *agent) {
    uint64_t count;
    ropeway_error_t error = read_number(reader, "Conns", &count);

    if (error == ROPEWAY_OK && count > RW_CONNECTIONS_MAX) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the agent metadata claims %" PRIu64 " connections; %d are allowed", count,
                       RW_CONNECTIONS_MAX);
    }
    for (uint64_t i = 0; error == ROPEWAY_OK && i < count; i++) {
        error = read_connection(reader, agent);
    }
    return error;
}

static ropeway_error_t read_region(reader_t *reader, rw_region_t *region) {
    value_t value;
    uint64_t words[3];
    ropeway_error_t error = read_record(reader, "", "of a memory section's descriptor", &value);

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (value.length < sizeof words) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "a memory section's descriptor has %zu bytes instead of at least %zu",
                       value.length, sizeof words);
    }
    memcpy(words, value.bytes, sizeof words);
    region->address = le64toh(words[0]);
    region->length = le64toh(words[1]);
    region->device = le64toh(words[2]);
    region->key = value.bytes + sizeof words;
    region->key_length = value.length - sizeof words;
    return ROPEWAY_OK;
}

/* Reads a section's head: of which backend, of which memory type, how many regions. */
static ropeway_error_t read_section_head(reader_t *reader, bool *is_ucx, uint32_t *memory,
                                         uint64_t *count) {
    value_t value;
    ropeway_error_t error = read_record(reader, "bknd", "bknd", &value);

    if (error == ROPEWAY_OK) {
        *is_ucx = is_text(value, RW_BACKEND_UCX);
        error = read_record(reader, "nixlDList", "nixlDList", &value);
    }
    if (error == ROPEWAY_OK) {
        error = read_record(reader, "t", "t (a section's memory type)", &value);
    }
    if (error == ROPEWAY_OK && value.length != sizeof *memory) {
        return rw_fail(ROPEWAY_ERR_METADATA, "a section's memory type has %zu bytes instead of %zu",
                       value.length, sizeof *memory);
    }
    if (error == ROPEWAY_OK) {
        memcpy(memory, value.bytes, sizeof *memory);
        *memory = le32toh(*memory);
        error = read_number(reader, "n", count);
    }
    return error;
}

/* The counts in here need no limit: each thing counted takes bytes of the blob. regions: NULL to
 * count only. */
static ropeway_error_t read_section(reader_t *reader, rw_region_t *regions, size_t *found) {
    uint64_t count = 0;
    uint32_t memory = 0;
    bool is_ucx = false;
    ropeway_error_t error = read_section_head(reader, &is_ucx, &memory, &count);

    for (uint64_t i = 0; error == ROPEWAY_OK && i < count; i++) {
        rw_region_t region = {.memory = memory};

        error = read_region(reader, &region);
        if (is_ucx && error == ROPEWAY_OK) {
            if (regions != NULL) {
                regions[*found] = region;
            }
            (*found)++;
        }
    }
    return error;
}

static ropeway_error_t read_sections(reader_t *reader, rw_region_t *regions, size_t *found) {
    uint64_t count = 0;
    value_t mark;
    ropeway_error_t error = read_record(reader, "", SECTION_MARK, &mark);

    if (error == ROPEWAY_OK && !is_text(mark, SECTION_MARK)) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the agent metadata has a record of %zu bytes where " SECTION_MARK
                       " should be",
                       mark.length);
    }
    if (error == ROPEWAY_OK) {
        error = read_number(reader, "nixlSecElms", &count);
    }
    for (uint64_t i = 0; error == ROPEWAY_OK && i < count; i++) {
        error = read_section(reader, regions, found);
    }
    return error;
}

static ropeway_error_t read_all(const uint8_t *blob, size_t length, rw_agent_t *agent,
                                rw_region_t *regions) {
    reader_t reader = {.blob = blob, .length = length, .at = MAGIC_LENGTH};
    ropeway_error_t error = read_name(&reader, agent);

    if (error == ROPEWAY_OK) {
        error = read_connections(&reader, agent);
    }
    if (error == ROPEWAY_OK) {
        error = read_sections(&reader, regions, &agent->region_count);
    }
    return error;
}

ropeway_error_t rw_serdes_decode(const uint8_t *blob, size_t length, rw_agent_t *agent) {
    *agent = (rw_agent_t){0};
    if (length < MAGIC_LENGTH || memcmp(blob, magic, MAGIC_LENGTH) != 0) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the agent metadata of %zu bytes does not begin with \"%s\"", length, magic);
    }
    return read_all(blob, length, agent, NULL);
}

void rw_serdes_regions(const uint8_t *blob, size_t length, rw_region_t *regions) {
    rw_agent_t again = {0};

    read_all(blob, length, &again, regions);
}

/* ---- Notifications ---- */

size_t rw_serdes_notification(const char *name, const char *message,
                              uint8_t blob[RW_NOTIFICATION_MAX + 64]) {
    uint8_t *at = put(blob, magic, MAGIC_LENGTH);

    at = put_record(at, "name", name, strlen(name));
    at = put_record(at, "msg", message, strlen(message));
    return (size_t)(at - blob);
}

bool rw_serdes_read_notification(const uint8_t *blob, size_t length, char *name, char *message) {
    reader_t reader = {.blob = blob, .length = length, .at = MAGIC_LENGTH};
    value_t who, what;

    if (length < MAGIC_LENGTH || memcmp(blob, magic, MAGIC_LENGTH) != 0 ||
        read_record(&reader, "name", "name", &who) != ROPEWAY_OK ||
        read_record(&reader, "msg", "msg", &what) != ROPEWAY_OK || what.length > 255) {
        return false;
    }
    rw_agent_name_text((const char *)who.bytes, who.length, name);
    rw_printable(what.bytes, what.length, message, 256);
    return true;
}
