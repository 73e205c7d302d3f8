/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, a character at a time. */
#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

size_t rw_utf8_length(const char *bytes, size_t length) {
    const unsigned char *at = (const unsigned char *)bytes;
    size_t needed = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

    if (needed == 1) {
        return 1;
    }
    if (at[0] < 0xc2 || at[0] > 0xf4 || length < needed) {
        return 0;
    }
    for (size_t i = 1; i < needed; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Overlong forms, surrogates, and what lies past the last character. */
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f)) {
        return 0;
    }
    return needed;
}

size_t rw_utf8_size(uint32_t character) {
    return character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
}

char *rw_utf8_put(char *at, uint32_t character) {
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t size = rw_utf8_size(character);

    for (size_t i = size; i-- > 1; character >>= 6) {
        at[i] = (char)(0x80 | (character & 0x3f));
    }
    at[0] = (char)(lead[size] | character);
    return at + size;
}

/* C0, DEL, C1, and what turns the direction of writing. */
static bool is_control(const char *bytes, size_t length) {
    const unsigned char *at = (const unsigned char *)bytes;

    if (length == 1) {
        return at[0] < 0x20 || at[0] == 0x7f;
    }
    if (length == 2) {
        return (at[0] == 0xc2 && at[1] < 0xa0) || (at[0] == 0xd8 && at[1] == 0x9c);
    }
    if (length != 3 || at[0] != 0xe2) {
        return false;
    }
    return (at[1] == 0x80 &&
            (at[2] == 0x8e || at[2] == 0x8f || (at[2] >= 0xaa && at[2] <= 0xae))) ||
           (at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9);
}

void rw_printable(const void *bytes, size_t length, char *text, size_t size) {
    const char *from = bytes;
    size_t used = 0, step;

    for (size_t at = 0; at < length; at += step) {
        step = rw_utf8_length(from + at, length - at);
        if (step == 0 || is_control(from + at, step)) {
            step = step > 0 ? step : 1;
            if (used + 1 >= size) {
                break;
            }
            text[used++] = '?';
        } else {
            if (used + step >= size) {
                break;
            }
            memcpy(text + used, from + at, step);
            used += step;
        }
    }
    text[used] = '\0';
}
