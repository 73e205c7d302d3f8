/* SPDX-License-Identifier: Apache-2.0 */
/* Text that people read and write. jansson judges UTF-8, as it does in all that travels. */
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include <jansson.h>

/* Characters that change the order of others: marks, embeddings, overrides and isolates. */
static bool is_bidirectional(wchar_t character) {
    return character == 0x61c || character == 0x200e || character == 0x200f ||
           (character >= 0x202a && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

void cli_printable(char *text) {
    mbstate_t state = {0};
    char *out = text;
    for (size_t left = strlen(text); left > 0;) {
        wchar_t character;
        size_t length = mbrtowc(&character, text, left, &state);
        bool valid = length <= left;
        if (!valid) {
            length = 1;
            state = (mbstate_t){0};
        }
        if (!valid || iswcntrl((wint_t)character) != 0 || is_bidirectional(character)) {
            *out++ = '?';
        } else {
            memmove(out, text, length);
            out += length;
        }
        text += length;
        left -= length;
    }
    *out = '\0';
}

bool cli_utf8_valid(const char *text, size_t length) {
    json_t *string = memchr(text, '\0', length) == NULL ? json_stringn(text, length) : NULL;
    bool valid = string != NULL;
    json_decref(string);
    return valid;
}

void cli_sentence(char text[CLI_SENTENCE_SIZE], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, CLI_SENTENCE_SIZE, format, arguments);
    va_end(arguments);
    /* The last character of a text that was cut may lack up to three bytes. */
    size_t end = CLI_SENTENCE_SIZE - 1;
    while (length >= CLI_SENTENCE_SIZE && end > CLI_SENTENCE_SIZE - 4 &&
           !cli_utf8_valid(text, end)) {
        text[--end] = '\0';
    }
}

char *cli_format(const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return length < 0 ? NULL : text;
}

const char *cli_size_text(uint64_t size, char buffer[CLI_SIZE_TEXT]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)size;
    size_t unit = 0;
    /* 1023.95 would print as 1024.0. */
    while (unit + 1 < sizeof units / sizeof *units && value >= (unit != 0 ? 1023.95 : 1024.0)) {
        value /= 1024.0;
        unit++;
    }
    snprintf(buffer, CLI_SIZE_TEXT, unit != 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return buffer;
}

bool cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value) {
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || number < min || number > max) {
        return false;
    }
    *value = number;
    return true;
}

bool cli_parse_seconds(const char *text, uint32_t min_ms, uint32_t max_ms, uint32_t *ms) {
    if (*text == '\0' || strspn(text, "0123456789.") != strlen(text)) {
        return false;
    }
    char *end;
    double seconds = strtod(text, &end);
    if (*end != '\0' || !(seconds * 1000.0 >= min_ms && seconds * 1000.0 <= max_ms)) {
        return false;
    }
    *ms = (uint32_t)(seconds * 1000.0 + 0.5);
    return true;
}

const char *cli_errno_text(int number) {
    const char *text = strerrordesc_np(number);
    return text != NULL ? text : "unknown error";
}
