/* SPDX-License-Identifier: Apache-2.0 */
/* Socket addresses as text and as bytes of a hello. */
#include "link/stream_address.h"

#include "base/bytes.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>

/* Address: "RWSA" version:1 encryption:1 zero:2, and then fields: tag:1 length:1 value. Fields
 * whose tag is not known are left alone. */
enum { AT_VERSION = 4, AT_ENCRYPTION = 5, AT_ZERO = 6, ADDRESS_FIXED = 8 };
enum { TAG_FINGERPRINT = 1, TAG_IPV4 = 2, TAG_IPV6 = 3, TAG_LOCAL = 4 };
enum { IPV4_BYTES = 6, IPV6_BYTES = 18 }; /* the address, then the port; both as networks have it */

/* ---- socket addresses ---- */

socklen_t rw_place_length(const rw_place_t *place) {
    const struct sockaddr_un *local = &place->local;

    if (rw_place_is_local(place)) { /* a name in the abstract namespace begins with a NUL */
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                           strnlen(local->sun_path + 1, sizeof local->sun_path - 1));
    }
    return place->any.sa_family == AF_INET6 ? sizeof place->v6 : sizeof place->v4;
}

uint16_t rw_place_port(const rw_place_t *place) {
    if (rw_place_is_local(place)) {
        return 0;
    }
    return ntohs(place->any.sa_family == AF_INET6 ? place->v6.sin6_port : place->v4.sin_port);
}

void rw_place_set_port(rw_place_t *place, uint16_t port) {
    if (place->any.sa_family == AF_INET6) {
        place->v6.sin6_port = htons(port);
    } else if (!rw_place_is_local(place)) {
        place->v4.sin_port = htons(port);
    }
}

void rw_place_unmap(rw_place_t *place) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = place->v6.sin6_port};

    if (place->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&place->v6.sin6_addr)) {
        memcpy(&v4.sin_addr, place->v6.sin6_addr.s6_addr + 12, sizeof v4.sin_addr);
        memset(place, 0, sizeof *place);
        place->v4 = v4;
    }
}

bool rw_place_is_loopback(const rw_place_t *place) {
    rw_place_t bare = *place;

    if (rw_place_is_local(place)) {
        return true;
    }
    rw_place_unmap(&bare);
    return bare.any.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&bare.v6.sin6_addr)
                                          : ntohl(bare.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

bool rw_place_is_given(const rw_place_t *place) {
    return place->any.sa_family == AF_INET6 ? !IN6_IS_ADDR_UNSPECIFIED(&place->v6.sin6_addr)
                                            : place->v4.sin_addr.s_addr != htonl(INADDR_ANY);
}

bool rw_place_is_host(const rw_place_t *place) {
    const struct in6_addr *v6 = &place->v6.sin6_addr;
    in_addr_t v4 = ntohl(place->v4.sin_addr.s_addr);

    if (rw_place_port(place) == 0) {
        return false;
    }
    return place->any.sa_family == AF_INET6
               ? !IN6_IS_ADDR_UNSPECIFIED(v6) && !IN6_IS_ADDR_MULTICAST(v6) &&
                     !IN6_IS_ADDR_V4MAPPED(v6)
               : v4 >> 24 != 0 && !IN_MULTICAST(v4) && !IN_BADCLASS(v4);
}

void rw_place_write(const rw_place_t *place, char text[RW_PLACE_TEXT]) {
    char address[INET6_ADDRSTRLEN] = "?";
    rw_place_t bare = *place;

    rw_place_unmap(&bare);
    if (rw_place_is_local(&bare)) {
        snprintf(text, RW_PLACE_TEXT, "a Unix socket");
    } else if (bare.any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &bare.v6.sin6_addr, address, sizeof address);
        snprintf(text, RW_PLACE_TEXT, "[%s]:%u", address, rw_place_port(&bare));
    } else {
        inet_ntop(AF_INET, &bare.v4.sin_addr, address, sizeof address);
        snprintf(text, RW_PLACE_TEXT, "%s:%u", address, rw_place_port(&bare));
    }
}

bool rw_place_read(const char *text, size_t length, rw_place_t *place) {
    char bare[INET6_ADDRSTRLEN];

    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length >= sizeof bare) {
        return false;
    }
    memcpy(bare, text, length);
    bare[length] = '\0';
    memset(place, 0, sizeof *place);
    if (inet_pton(AF_INET, bare, &place->v4.sin_addr) == 1) {
        place->any.sa_family = AF_INET;
        return true;
    }
    place->any.sa_family = AF_INET6;
    return inet_pton(AF_INET6, bare, &place->v6.sin6_addr) == 1;
}

/* ---- in a hello ---- */

static uint8_t *put_field(uint8_t *at, uint8_t tag, const void *value, size_t length) {
    at[0] = tag;
    at[1] = (uint8_t)length;
    memcpy(at + 2, value, length);
    return at + 2 + length;
}

static uint8_t *put_place(uint8_t *at, const rw_place_t *place) {
    uint8_t value[IPV6_BYTES];

    if (place->any.sa_family == AF_INET6) {
        memcpy(value, &place->v6.sin6_addr, 16);
        memcpy(value + 16, &place->v6.sin6_port, 2);
        return put_field(at, TAG_IPV6, value, IPV6_BYTES);
    }
    memcpy(value, &place->v4.sin_addr, 4);
    memcpy(value + 4, &place->v4.sin_port, 2);
    return put_field(at, TAG_IPV4, value, IPV4_BYTES);
}

size_t rw_stream_address_encode(const rw_stream_address_t *address, uint8_t bytes[RW_ADDRESS_MAX]) {
    uint8_t *at = bytes + ADDRESS_FIXED;

    memset(bytes, 0, ADDRESS_FIXED);
    memcpy(bytes, "RWSA", 4);
    bytes[AT_VERSION] = RW_STREAM_VERSION;
    bytes[AT_ENCRYPTION] = (uint8_t)address->encryption;
    at = put_field(at, TAG_FINGERPRINT, address->fingerprint, RW_FINGERPRINT_BYTES);
    for (size_t i = 0; i < address->count; i++) {
        at = put_place(at, &address->places[i]);
    }
    if (address->local) {
        at = put_field(at, TAG_LOCAL, "", 0);
    }
    return (size_t)(at - bytes);
}

/* false: it is malformed. */
static bool take_place(const uint8_t *value, size_t length, rw_stream_address_t *address) {
    rw_place_t *place = &address->places[address->count];

    if (address->count == RW_PLACES_MAX) {
        return false;
    }
    memset(place, 0, sizeof *place);
    if (length == IPV6_BYTES) {
        place->v6.sin6_family = AF_INET6;
        memcpy(&place->v6.sin6_addr, value, 16);
        memcpy(&place->v6.sin6_port, value + 16, 2);
    } else {
        place->v4.sin_family = AF_INET;
        memcpy(&place->v4.sin_addr, value, 4);
        memcpy(&place->v4.sin_port, value + 4, 2);
    }
    address->count++;
    return rw_place_is_host(place);
}

/* false: it is malformed. */
static bool take_field(uint8_t tag, const uint8_t *value, size_t length,
                       rw_stream_address_t *address, bool *has_fingerprint) {
    switch (tag) {
    case TAG_FINGERPRINT:
        if (length != RW_FINGERPRINT_BYTES || *has_fingerprint) {
            return false;
        }
        memcpy(address->fingerprint, value, length);
        *has_fingerprint = true;
        return true;
    case TAG_IPV4:
        return length == IPV4_BYTES && take_place(value, length, address);
    case TAG_IPV6:
        return length == IPV6_BYTES && take_place(value, length, address);
    case TAG_LOCAL:
        address->local = true;
        return length == 0;
    default:
        return true;
    }
}

bool rw_stream_address_is_meant(const uint8_t *bytes, size_t length) {
    return length >= ADDRESS_FIXED && memcmp(bytes, "RWSA", 4) == 0;
}

const char *rw_stream_address_decode(const uint8_t *bytes, size_t length,
                                     rw_stream_address_t *address) {
    bool has_fingerprint = false;
    size_t at = ADDRESS_FIXED;

    memset(address, 0, sizeof *address);
    if (!rw_stream_address_is_meant(bytes, length) || length > RW_ADDRESS_MAX) {
        return "it uses another kind of transport";
    }
    if (bytes[AT_VERSION] != RW_STREAM_VERSION) {
        return "its stream has a version that is not spoken here";
    }
    if (bytes[AT_ENCRYPTION] > RW_ENCRYPT_REQUIRED) {
        return "it asks for a way of encryption that is not known here";
    }
    address->encryption = (rw_encryption_t)bytes[AT_ENCRYPTION];
    while (at + 2 <= length) {
        size_t size = bytes[at + 1];

        if (size > length - at - 2 ||
            !take_field(bytes[at], bytes + at + 2, size, address, &has_fingerprint)) {
            return "its addresses are malformed";
        }
        at += 2 + size;
    }
    return at == length && has_fingerprint && (address->count > 0 || address->local)
               ? NULL
               : "its addresses are malformed";
}
