/* SPDX-License-Identifier: Apache-2.0 */
#include "region.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 0xC5
#define GUARD_BYTES 24

static void malformed(const char *spec) {
    fprintf(stderr, "malformed sizes or no memory: %s\n", spec);
    abort();
}

/* Calls nothing back: counts when sizes is NULL, else stores. */
static size_t parse_sizes(const char *spec, size_t *sizes) {
    size_t count = 0;
    const char *at = spec;
    for (;;) {
        char *end;
        size_t repeat = 1, size = strtoull(at, &end, 10);
        if (end == at) {
            malformed(spec);
        }
        if (*end == '*') {
            repeat = size;
            at = end + 1;
            size = strtoull(at, &end, 10);
        }
        for (size_t i = 0; i < repeat; i++, count++) {
            if (sizes != NULL) {
                sizes[count] = size;
            }
        }
        if (*end == '\0') {
            return count;
        }
        if (*end != ',') {
            malformed(spec);
        }
        at = end + 1;
    }
}

/* The offset of descriptor index, when the one before ended at offset at. */
static size_t place(size_t at, size_t index, unsigned shift) {
    size_t aligned = (at + GUARD_BYTES + 63) / 64 * 64;
    return aligned + index * shift % 64;
}

ts_region_t *ts_region_new(const char *spec, unsigned shift) {
    ts_region_t *region = calloc(1, sizeof *region);
    size_t count = parse_sizes(spec, NULL);
    size_t *sizes = calloc(count + 1, sizeof *sizes);
    if (region == NULL || sizes == NULL) {
        malformed(spec);
    }
    parse_sizes(spec, sizes);
    region->count = count;
    region->descriptors = calloc(count + 1, sizeof *region->descriptors);
    size_t end = 0;
    for (size_t i = 0; i < count; i++) {
        end = place(end, i, shift) + sizes[i];
        region->total += sizes[i];
    }
    region->arena_size = (end + GUARD_BYTES + 63) / 64 * 64;
    region->arena = aligned_alloc(64, region->arena_size);
    if (region->descriptors == NULL || region->arena == NULL) {
        malformed(spec);
    }
    memset(region->arena, GUARD, region->arena_size);
    end = 0;
    for (size_t i = 0; i < count; i++) {
        size_t offset = place(end, i, shift);
        region->descriptors[i].ptr = region->arena + offset;
        region->descriptors[i].size = sizes[i];
        region->descriptors[i].device.kind = ROPEWAY_DEVICE_HOST;
        end = offset + sizes[i];
    }
    free(sizes);
    ts_region_set(region, TS_CANARY);
    return region;
}

void ts_region_free(ts_region_t *region) {
    if (region != NULL) {
        free(region->descriptors);
        free(region->arena);
        free(region);
    }
}

static uint64_t word(uint64_t seed, size_t descriptor, size_t index) {
    uint64_t z = seed * 0x9e3779b97f4a7c15u + descriptor * 0xff51afd7ed558ccdu + index;
    z = (z ^ (z >> 31)) * 0xbf58476d1ce4e5b9u;
    return z ^ (z >> 29);
}

void ts_region_pattern(ts_region_t *region, uint64_t seed) {
    for (size_t d = 0; d < region->count; d++) {
        uint8_t *to = region->descriptors[d].ptr;
        size_t size = region->descriptors[d].size;
        for (size_t i = 0; i < size; i += 8) {
            uint64_t value = word(seed, d, i / 8);
            memcpy(to + i, &value, size - i < 8 ? size - i : 8);
        }
    }
}

bool ts_region_matches(const ts_region_t *region, uint64_t seed) {
    for (size_t d = 0; d < region->count; d++) {
        const uint8_t *from = region->descriptors[d].ptr;
        size_t size = region->descriptors[d].size;
        for (size_t i = 0; i < size; i += 8) {
            uint64_t value = word(seed, d, i / 8);
            if (memcmp(from + i, &value, size - i < 8 ? size - i : 8) != 0) {
                return false;
            }
        }
    }
    return true;
}

void ts_region_set(ts_region_t *region, uint8_t byte) {
    for (size_t d = 0; d < region->count; d++) {
        memset(region->descriptors[d].ptr, byte, region->descriptors[d].size);
    }
}

static bool all(const uint8_t *from, const uint8_t *to, uint8_t byte) {
    return from >= to || (*from == byte && memcmp(from, from + 1, (size_t)(to - from) - 1) == 0);
}

bool ts_region_is(const ts_region_t *region, uint8_t byte) {
    for (size_t d = 0; d < region->count; d++) {
        const uint8_t *from = region->descriptors[d].ptr;
        if (!all(from, from + region->descriptors[d].size, byte)) {
            return false;
        }
    }
    return true;
}

bool ts_region_guarded(const ts_region_t *region) {
    const uint8_t *from = region->arena;
    for (size_t d = 0; d < region->count; d++) {
        const uint8_t *next = region->descriptors[d].ptr;
        if (!all(from, next, GUARD)) {
            return false;
        }
        from = next + region->descriptors[d].size;
    }
    return all(from, region->arena + region->arena_size, GUARD);
}
