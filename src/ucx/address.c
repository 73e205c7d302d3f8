/* SPDX-License-Identifier: Apache-2.0 */
/* Walks through what UCX has packed, before UCX reads it. */
#include "ucx/address.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>
#include <ucs/memory/memory_type.h>

/* Formats of an address, in the low half of its first byte. */
enum { FORMAT_1 = 0, FORMAT_2 = 1 };
/* Flags of an address: format 1 has them in the high half of that byte, format 2 in the next. */
enum { HAS_NAME = 1, HAS_WORKER_ID = 2, HAS_CLIENT_ID = 4 };
/* Flags beside the index of a memory domain, the length of a device's address and that of an
 * interface's. */
enum {
    EMPTY_DEVICE = 0x80,
    LAST = 0x80,
    HAS_PATHS = 0x40,
    HAS_SYSTEM_DEVICE = 0x20,
    HAS_EP = 0x40
};

#define NO_DEVICES 0xff
#define DOMAINS_MAX 64 /* UCX keeps sets of them in 64 bits */
#define LEGACY_BITS 0x60
#define LEGACY_MINOR 18 /* the last release that packed them, in format 1 */
#define RELEASES 16     /* the minor number is packed modulo this */

typedef struct walk {
    const uint8_t *at, *end;
    const char *wrong; /* NULL: all is well so far */
    int format;
    int minor; /* packed; -1: not told */
    unsigned domain_max;
    unsigned interfaces;
} walk_t;

static void skip(walk_t *walk, size_t length) {
    if ((size_t)(walk->end - walk->at) < length) {
        walk->wrong = "it ends too early";
        walk->at = walk->end;
    } else {
        walk->at += length;
    }
}

static uint8_t take_byte(walk_t *walk) {
    const uint8_t *at = walk->at;

    skip(walk, 1);
    return walk->wrong == NULL ? *at : 0;
}

/* A number in the low bits of a byte; in format 2 the largest says that it is in the next one. */
static uint8_t take_number(walk_t *walk, uint8_t byte, uint8_t mask) {
    return walk->format == FORMAT_2 && (byte & mask) == mask ? take_byte(walk) : byte & mask;
}

static void walk_header(walk_t *walk) {
    uint8_t first = take_byte(walk);
    uint8_t flags = first >> 4;

    walk->format = first & 0xf;
    walk->minor = -1;
    if (walk->format > FORMAT_2) {
        walk->wrong = "it has a format that is not known here";
        return;
    }
    if (walk->format == FORMAT_2) {
        walk->minor = flags;
        flags = take_byte(walk);
    }
    if (walk->format == FORMAT_1 || (flags & HAS_WORKER_ID) != 0) {
        skip(walk, sizeof(uint64_t));
    }
    if ((flags & HAS_CLIENT_ID) != 0) {
        skip(walk, sizeof(uint64_t));
    }
    if ((flags & HAS_NAME) != 0) {
        skip(walk, take_byte(walk));
    }
}

/* Returns whether it is the last one of its device. */
static bool walk_interface(walk_t *walk) {
    size_t attributes = walk->format == FORMAT_1 ? 16 : 8;
    uint8_t length;

    skip(walk, sizeof(uint16_t) + attributes); /* checksum of the name */
    length = take_byte(walk);
    if ((length & HAS_EP) != 0) {
        walk->wrong = "it is not a worker's";
    }
    skip(walk, take_number(walk, length, 0x3f));
    walk->interfaces++;
    return walk->wrong != NULL || (length & LAST) != 0;
}

/* Returns whether it is the last one. */
static bool walk_device(walk_t *walk) {
    uint8_t first = take_byte(walk);
    uint8_t domain = take_number(walk, first, 0x7f);
    uint8_t flags = take_byte(walk);
    uint8_t length = take_number(walk, flags, 0x1f);
    bool last = (flags & LAST) != 0;

    skip(walk, (size_t)((flags & HAS_PATHS) != 0) + ((flags & HAS_SYSTEM_DEVICE) != 0) + length);
    if ((first & EMPTY_DEVICE) != 0) {
        if (last && walk->format == FORMAT_1) {
            walk->minor = domain % RELEASES;
        }
        return last || walk->wrong != NULL;
    }
    walk->domain_max = domain > walk->domain_max ? domain : walk->domain_max;
    while (!walk_interface(walk)) {
    }
    return last || walk->wrong != NULL;
}

/* The minor number that is meant: the one closest to ours. */
static unsigned whole_minor(int packed, unsigned ours) {
    int delta = (int)(ours % RELEASES) - packed;
    int base = (int)(ours / RELEASES) + (delta >= RELEASES / 2) - (delta <= -RELEASES / 2);

    return (unsigned)packed + (unsigned)(base > 0 ? base : 0) * RELEASES;
}

static void check_domains(walk_t *walk, char *release) {
    unsigned major, minor, patch, domain = walk->domain_max;

    ucp_get_version(&major, &minor, &patch);
    if (walk->minor >= 0) {
        minor = whole_minor(walk->minor, minor);
        snprintf(release, RW_UCX_RELEASE, "%u.%u", major, minor);
    }
    if (walk->format == FORMAT_1 && (walk->minor < 0 || minor <= LEGACY_MINOR)) {
        domain &= (unsigned)~LEGACY_BITS;
    }
    if (walk->wrong == NULL && domain >= DOMAINS_MAX) {
        walk->wrong = "it has a memory domain of too high a number";
    }
}

/* Whether the environment makes UCX pack addresses in another way. */
static bool packs_otherwise(void) {
    return getenv("UCX_UNIFIED_MODE") != NULL;
}

bool rw_ucx_address_check(const uint8_t *address, size_t length, char release[RW_UCX_RELEASE],
                          const char **wrong) {
    walk_t walk = {.at = address, .end = address + length};

    snprintf(release, RW_UCX_RELEASE, "of unknown release");
    if (packs_otherwise()) {
        return true;
    }
    walk_header(&walk);
    if (walk.wrong == NULL && walk.at < walk.end && *walk.at == NO_DEVICES) {
        walk.wrong = "it names no transport";
    }
    while (walk.wrong == NULL && !walk_device(&walk)) {
    }
    if (walk.wrong == NULL && walk.interfaces == 0) {
        walk.wrong = "it names no transport";
    }
    check_domains(&walk, release);
    *wrong = walk.wrong;
    return walk.wrong == NULL;
}

bool rw_ucx_key_check(const uint8_t *key, size_t length, const char **wrong) {
    walk_t walk = {.at = key, .end = key + length};
    uint64_t domains = 0;

    skip(&walk, sizeof domains);
    if (walk.wrong == NULL) {
        memcpy(&domains, key, sizeof domains);
    }
    if (take_byte(&walk) >= UCS_MEMORY_TYPE_LAST) {
        walk.wrong = "it is for a type of memory that is not known here";
    }
    for (; domains != 0; domains &= domains - 1) {
        skip(&walk, take_byte(&walk));
    }
    *wrong = walk.wrong;
    return walk.wrong == NULL;
}
