/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of names, and their form in URLs. libcurl's decoder is not used: it lets a malformed
 * escape pass, and the fuzzers link this file without it. */
#include "name.h"

#include <stdlib.h>
#include <string.h>

#include "text.h"

static const char *check_component(const char *text, size_t length) {
    if (length == 0) {
        return "has an empty component";
    }
    if ((length == 1 && text[0] == '.') || (length == 2 && text[0] == '.' && text[1] == '.')) {
        return "has '.' or '..' as a component";
    }
    if (length > CLI_NAME_COMPONENT_MAX) {
        return "has a component of more than 255 bytes";
    }
    return NULL;
}

const char *cli_name_check(const char *name, size_t length) {
    if (length == 0) {
        return "is empty";
    }
    if (length >= CLI_NAME_SIZE) {
        return "is longer than 4095 bytes";
    }
    if (memchr(name, '\0', length) != NULL) {
        return "holds a zero byte";
    }
    if (!cli_utf8_valid(name, length)) {
        return "is not valid UTF-8";
    }
    size_t start = 0, depth = 0;
    for (size_t at = 0; at <= length; at++) {
        if (at < length && name[at] != '/') {
            continue;
        }
        const char *wrong = check_component(name + start, at - start);
        if (wrong != NULL) {
            return wrong;
        }
        if (++depth > CLI_NAME_DEPTH_MAX) {
            return "has more than 128 components";
        }
        start = at + 1;
    }
    return NULL;
}

static int hex_value(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

static const char *unescape(const char *encoded, size_t length, char name[CLI_NAME_SIZE],
                            size_t *decoded) {
    size_t out = 0;
    for (size_t at = 0; at < length; at++) {
        char byte = encoded[at];
        if (byte == '%') {
            int high = at + 2 < length ? hex_value(encoded[at + 1]) : -1;
            int low = high >= 0 ? hex_value(encoded[at + 2]) : -1;
            if (low < 0) {
                return "has a '%' that two hexadecimal digits do not follow";
            }
            byte = (char)(high << 4 | low);
            at += 2;
        }
        if (out + 1 >= CLI_NAME_SIZE) {
            return "is longer than 4095 bytes";
        }
        name[out++] = byte;
    }
    name[out] = '\0';
    *decoded = out;
    return NULL;
}

const char *cli_name_unescape(const char *encoded, size_t length, char name[CLI_NAME_SIZE]) {
    size_t decoded;
    const char *wrong = unescape(encoded, length, name, &decoded);
    return wrong != NULL ? wrong : !cli_utf8_valid(name, decoded) ? "is not valid UTF-8" : NULL;
}

const char *cli_name_decode(const char *encoded, size_t length, char name[CLI_NAME_SIZE]) {
    size_t decoded;
    const char *wrong = unescape(encoded, length, name, &decoded);
    return wrong != NULL ? wrong : cli_name_check(name, decoded);
}

char *cli_name_encode(const char *name) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    static const char digits[] = "0123456789ABCDEF";
    char *encoded = malloc(strlen(name) * 3 + 1);
    if (encoded == NULL) {
        return NULL;
    }
    char *out = encoded;
    for (; *name != '\0'; name++) {
        unsigned char byte = (unsigned char)*name;
        if (strchr(plain, byte) != NULL) {
            *out++ = (char)byte;
        } else {
            *out++ = '%';
            *out++ = digits[byte >> 4];
            *out++ = digits[byte & 15];
        }
    }
    *out = '\0';
    return encoded;
}

const char *cli_base_name(const char *name) {
    const char *slash = strrchr(name, '/');
    return slash != NULL ? slash + 1 : name;
}
