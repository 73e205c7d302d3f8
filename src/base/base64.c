/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 by a table, outwards and inwards. */
#include "base/base64.h"

#define NONE 64 /* no digit */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* What the characters up to 127 stand for. */
static const uint8_t values[128] = {
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62,
    64, 64, 64, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 64, 64, 64, 64, 0,
    1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
    23, 24, 25, 64, 64, 64, 64, 64, 64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38,
    39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 64, 64, 64, 64, 64,
};

static uint32_t value_of(char character) {
    unsigned char index = (unsigned char)character;

    return index < sizeof values ? values[index] : NONE;
}

void rw_base64_encode(const uint8_t *bytes, size_t size, char *text) {
    for (; size > 0; bytes += 3, text += 4) {
        size_t taken = size < 3 ? size : 3;
        uint32_t group = (uint32_t)bytes[0] << 16;

        group |= taken > 1 ? (uint32_t)bytes[1] << 8 : 0;
        group |= taken > 2 ? bytes[2] : 0;
        text[0] = digits[group >> 18];
        text[1] = digits[group >> 12 & 63];
        text[2] = taken > 1 ? digits[group >> 6 & 63] : '=';
        text[3] = taken > 2 ? digits[group & 63] : '=';
        size -= taken;
    }
}

/* Four characters into at most three bytes. Returns how many these are; 0: they are wrong. */
static size_t decode_group(const char *text, bool is_last, uint8_t *bytes) {
    uint32_t a = value_of(text[0]), b = value_of(text[1]);
    uint32_t c = value_of(text[2]), d = value_of(text[3]);
    size_t count = 3;

    if (is_last && text[3] == '=') {
        d = 0;
        count = 2;
        if (text[2] == '=') {
            c = 0;
            count = 1;
        }
    }
    /* Bits that no byte takes must be zero. */
    if ((a | b | c | d) >= NONE || (count == 2 && (c & 3) != 0) || (count == 1 && (b & 15) != 0)) {
        return 0;
    }
    bytes[0] = (uint8_t)(a << 2 | b >> 4);
    if (count > 1) {
        bytes[1] = (uint8_t)(b << 4 | c >> 2);
    }
    if (count > 2) {
        bytes[2] = (uint8_t)(c << 6 | d);
    }
    return count;
}

bool rw_base64_decode(const char *text, size_t length, uint8_t *bytes, size_t *size) {
    *size = 0;
    if (length % 4 != 0) {
        return false;
    }
    for (size_t at = 0; at < length; at += 4) {
        size_t count = decode_group(text + at, at + 4 == length, bytes + *size);

        if (count == 0) {
            return false;
        }
        *size += count;
    }
    return true;
}
