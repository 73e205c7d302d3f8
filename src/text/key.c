/* SPDX-License-Identifier: Apache-2.0 */
/* Notification keys as text, for metadata.h. */
#include "text/metadata.h"

#include <sodium.h>
#include <string.h>

/* Hexadecimal digits in each group of a UUID. */
static const size_t groups[] = {8, 4, 4, 4, 12};
#define GROUPS (sizeof groups / sizeof groups[0])

void rw_key_to_text(const uint8_t key[RW_KEY_BYTES], char text[RW_KEY_TEXT]) {
    for (size_t i = 0; i < GROUPS; i++) {
        size_t digits = groups[i];

        sodium_bin2hex(text, digits + 1, key, digits / 2);
        key += digits / 2;
        text += digits;
        *text++ = i + 1 < GROUPS ? '-' : '\0';
    }
}

bool rw_key_from_text(const char *text, uint8_t key[RW_KEY_BYTES]) {
    uint8_t bytes[RW_KEY_BYTES];
    uint8_t *at = bytes;

    if (strlen(text) != RW_KEY_TEXT - 1) {
        return false;
    }
    for (size_t i = 0; i < GROUPS; i++) {
        size_t digits = groups[i];

        if (sodium_hex2bin(at, digits / 2, text, digits, NULL, NULL, NULL) != 0) {
            return false;
        }
        at += digits / 2;
        text += digits;
        if (*text++ != (i + 1 < GROUPS ? '-' : '\0')) {
            return false;
        }
    }
    memcpy(key, bytes, sizeof bytes);
    return true;
}
