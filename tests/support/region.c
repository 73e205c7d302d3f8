/* SPDX-License-Identifier: Apache-2.0 */
/* Memory with patterns and guards. */
#include "region.h"

#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD 0xC5
#define GUARD_BYTES 24
#define LARGE ((size_t)16 << 20)

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

/* The size of the next piece, when left bytes of the descriptor are not in one yet. */
static size_t cut(size_t left, size_t number, size_t pieces, bool uneven) {
    size_t size = uneven ? pieces - number % 5 * pieces / 7 : pieces;
    return pieces == 0 || size > left ? left : size;
}

/* Fills in the sizes of the list's entries, or counts them when there is no list yet. */
static void split(ts_region_t *region, const size_t *sizes, size_t pieces, bool uneven) {
    region->count = 0;
    for (size_t i = 0; i < region->group_count; i++) {
        size_t left = sizes[i], number = 0;
        do {
            size_t size = cut(left, number++, pieces, uneven);
            if (region->descriptors != NULL) {
                region->descriptors[region->count].size = size;
            }
            region->count++;
            left -= size;
        } while (left > 0);
        region->groups[i] = number;
        region->total += region->descriptors != NULL ? sizes[i] : 0;
    }
}

/* Touching 64 MiB for the first time in pages of 4 KiB can take longer than the transfer. */
static void give_huge_pages(uint8_t *arena, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = -(uintptr_t)arena % page;
    madvise(arena + skip, (size - skip) / page * page, MADV_HUGEPAGE);
}

/* The list has its sizes; gives it memory. */
static void find_room(ts_region_t *region, unsigned shift, const char *spec) {
    size_t end = 0;
    for (size_t i = 0; i < region->count; i++) {
        end = place(end, i, shift) + region->descriptors[i].size;
    }
    region->arena_size = (end + GUARD_BYTES + 63) / 64 * 64;
    region->arena = aligned_alloc(64, region->arena_size);
    if (region->arena == NULL) {
        malformed(spec);
    }
    if (region->arena_size >= LARGE) {
        give_huge_pages(region->arena, region->arena_size);
    }
    memset(region->arena, GUARD, region->arena_size);
    end = 0;
    for (size_t i = 0; i < region->count; i++) {
        size_t offset = place(end, i, shift);
        region->descriptors[i].ptr = region->arena + offset;
        region->descriptors[i].device.kind = ROPEWAY_DEVICE_HOST;
        end = offset + region->descriptors[i].size;
    }
}

ts_region_t *ts_region_make(const char *spec, const char *options) {
    ts_region_t *region = calloc(1, sizeof *region);
    size_t pieces = (size_t)ts_option(options, "pieces", 0);
    bool uneven = ts_option(options, "uneven", 0) != 0;
    size_t count = parse_sizes(spec, NULL);
    size_t *sizes = calloc(count + 1, sizeof *sizes);
    if (region == NULL || sizes == NULL) {
        malformed(spec);
    }
    parse_sizes(spec, sizes);
    region->group_count = count;
    region->groups = calloc(count + 1, sizeof *region->groups);
    if (region->groups == NULL) {
        malformed(spec);
    }
    split(region, sizes, pieces, uneven);
    region->descriptors = calloc(region->count + 1, sizeof *region->descriptors);
    if (region->descriptors == NULL) {
        malformed(spec);
    }
    split(region, sizes, pieces, uneven);
    free(sizes);
    if (pieces == 0) {
        free(region->groups);
        region->groups = NULL;
    }
    find_room(region, (unsigned)ts_option(options, "shift", 0), spec);
    ts_region_set(region, TS_CANARY);
    return region;
}

ts_region_t *ts_region_new(const char *spec, unsigned shift) {
    char options[32];
    snprintf(options, sizeof options, "shift=%u", shift);
    return ts_region_make(spec, options);
}

void ts_region_group(const ts_region_t *region, ropeway_operation_options_t *options) {
    if (region->groups != NULL) {
        options->group_sizes = region->groups;
        options->group_count = region->group_count;
    }
}

void ts_region_free(ts_region_t *region) {
    if (region != NULL) {
        free(region->descriptors);
        free(region->groups);
        free(region->arena);
        free(region);
    }
}

static uint64_t word(uint64_t seed, size_t descriptor, size_t index) {
    uint64_t z = seed * 0x9e3779b97f4a7c15u + descriptor * 0xff51afd7ed558ccdu + index;
    z = (z ^ (z >> 31)) * 0xbf58476d1ce4e5b9u;
    return z ^ (z >> 29);
}

/* Where a piece lies in its descriptor. */
typedef struct position {
    size_t descriptor, piece;
    uint64_t offset;
} position_t;

static void pass(const ts_region_t *region, position_t *position, size_t size) {
    position->offset += size;
    if (region->groups == NULL || ++position->piece == region->groups[position->descriptor]) {
        *position = (position_t){.descriptor = position->descriptor + 1};
    }
}

/* Writes or compares length bytes of the word at this offset of its descriptor, which lie in it. */
static bool apply_part(uint8_t *at, size_t length, size_t descriptor, uint64_t offset,
                       uint64_t seed, bool write) {
    uint64_t value = word(seed, descriptor, offset / 8);
    const uint8_t *bytes = (const uint8_t *)&value + offset % 8;
    if (write) {
        memcpy(at, bytes, length);
    }
    return memcmp(at, bytes, length) == 0;
}

/* The same for so many words from the one with this index on. */
static bool apply_words(uint8_t *at, size_t count, size_t descriptor, size_t index, uint64_t seed,
                        bool write) {
    uint64_t differs = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = word(seed, descriptor, index + i), found;
        if (write) {
            memcpy(at + 8 * i, &value, sizeof value);
        } else {
            memcpy(&found, at + 8 * i, sizeof found);
            differs |= found ^ value;
        }
    }
    return differs == 0;
}

/* Writes or compares the pattern of size bytes from this position on: whole words apart from what
 * is left of one at either end, because most of a test's time would go into single ones. */
static bool apply(uint8_t *at, size_t size, const position_t *position, uint64_t seed, bool write) {
    size_t descriptor = position->descriptor, head = (size_t)(-position->offset % 8);
    head = head < size ? head : size;
    size_t words = (size - head) / 8, tail = (size - head) % 8;
    uint64_t offset = position->offset + head;
    return apply_part(at, head, descriptor, position->offset, seed, write) &&
           apply_words(at + head, words, descriptor, offset / 8, seed, write) &&
           apply_part(at + head + 8 * words, tail, descriptor, offset + 8 * words, seed, write);
}

static bool apply_all(const ts_region_t *region, uint64_t seed, bool write) {
    position_t position = {0};
    for (size_t i = 0; i < region->count; i++) {
        const ropeway_descriptor_t *piece = &region->descriptors[i];
        if (!apply(piece->ptr, piece->size, &position, seed, write)) {
            return false;
        }
        pass(region, &position, piece->size);
    }
    return true;
}

void ts_region_pattern(ts_region_t *region, uint64_t seed) {
    apply_all(region, seed, true);
}

bool ts_region_matches(const ts_region_t *region, uint64_t seed) {
    return apply_all(region, seed, false);
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
