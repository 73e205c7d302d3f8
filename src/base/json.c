/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of JSON: objects, arrays, integers and strings as they come. */
#include "base/json.h"

#include "base/error.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

#define QUOTE_MAX 32
#define KEY_MAX 64 /* no member's name is longer */
#define NAME_MAX_LENGTH 64

void rw_json_init(rw_json_t *json, const char *text, size_t length) {
    *json = (rw_json_t){.begin = text, .at = text, .end = text + length, .index = RW_JSON_NO_INDEX};
}

/* ---- Sentences ---- */

/* The text from at on, cut and without what could upset a terminal or a log. */
static void quote(const rw_json_t *json, const char *at, char *buffer) {
    size_t left = (size_t)(json->end - at);
    size_t length = left < QUOTE_MAX ? left : QUOTE_MAX;

    for (size_t i = 0; i < length; i++) {
        buffer[i] = at[i] >= ' ' && at[i] <= '~' ? at[i] : '?';
    }
    strcpy(buffer + length, left > length ? "..." : "");
}

/* "descriptors[3].size" */
static void full_name(const rw_json_t *json, const char *name, char *buffer, size_t size) {
    if (json->index == RW_JSON_NO_INDEX) {
        snprintf(buffer, size, "%s", name);
    } else if (name == json->list) {
        snprintf(buffer, size, "%s[%zu]", name, json->index);
    } else {
        snprintf(buffer, size, "%s[%zu].%s", json->list, json->index, name);
    }
}

ropeway_error_t rw_json_expected(const rw_json_t *json, const char *name, const char *expected,
                                 const char *at) {
    char found[QUOTE_MAX + 4];
    char where[NAME_MAX_LENGTH];

    full_name(json, name, where, sizeof where);
    if (at == json->end) {
        return rw_fail(ROPEWAY_ERR_METADATA, "%s must be %s, and the text ends before it", where,
                       expected);
    }
    quote(json, at, found);
    return rw_fail(ROPEWAY_ERR_METADATA, "%s must be %s, and is: %s", where, expected, found);
}

static ropeway_error_t syntax(const rw_json_t *json, const char *expected) {
    char found[QUOTE_MAX + 4];

    if (json->at == json->end) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "the metadata is not the JSON object it should be: it ends after %td bytes, "
                       "where there should be %s",
                       json->end - json->begin, expected);
    }
    quote(json, json->at, found);
    return rw_fail(ROPEWAY_ERR_METADATA,
                   "the metadata is not the JSON object it should be: at byte %td of %td there "
                   "should be %s, and there is: %s",
                   json->at - json->begin, json->end - json->begin, expected, found);
}

/* ---- Structure ---- */

/* The next character that is not white space; 0 at the end. */
static char peek(rw_json_t *json) {
    while (json->at < json->end) {
        char c = *json->at;

        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            return c;
        }
        json->at++;
    }
    return '\0';
}

static bool take_char(rw_json_t *json, char c) {
    if (peek(json) != c) {
        return false;
    }
    json->at++;
    return true;
}

static ropeway_error_t unknown_key(const rw_json_t *json, const char *name, const char *at) {
    char found[QUOTE_MAX + 4];
    char where[NAME_MAX_LENGTH];

    quote(json, at, found);
    full_name(json, name, where, sizeof where);
    return rw_fail(ROPEWAY_ERR_METADATA, "%s has an unknown key at byte %td: %s", where,
                   at - json->begin, found);
}

/* The number of the member that comes next; its ':' has been read. */
static ropeway_error_t read_key(rw_json_t *json, const char *name, const rw_json_member_t *members,
                                size_t count, uint32_t *seen, size_t *index) {
    char key[KEY_MAX];
    char where[NAME_MAX_LENGTH];
    const char *at;
    rw_json_text_t text;
    ropeway_error_t error;

    peek(json);
    at = json->at;
    error = rw_json_string(json, "a key", &text);
    if (error != ROPEWAY_OK) {
        return error;
    }
    key[0] = '\0';
    if (text.length < sizeof key) {
        rw_json_copy(&text, key);
    }
    for (*index = 0; *index < count && strcmp(members[*index].name, key) != 0; ++*index) {
    }
    if (*index == count) {
        return unknown_key(json, name, at);
    }
    if ((*seen & 1u << *index) != 0) {
        full_name(json, name, where, sizeof where);
        return rw_fail(ROPEWAY_ERR_METADATA, "%s has a second member %s at byte %td", where, key,
                       at - json->begin);
    }
    *seen |= 1u << *index;
    return take_char(json, ':') ? ROPEWAY_OK : syntax(json, "':'");
}

ropeway_error_t rw_json_object(rw_json_t *json, const char *name, const rw_json_member_t *members,
                               size_t count, void *arg) {
    uint32_t seen = 0;
    char where[NAME_MAX_LENGTH];

    if (!take_char(json, '{')) {
        return rw_json_expected(json, name, "a JSON object", json->at);
    }
    if (peek(json) != '}') {
        do {
            size_t index;
            ropeway_error_t error = read_key(json, name, members, count, &seen, &index);

            if (error == ROPEWAY_OK) {
                error = members[index].read(json, members[index].name, arg);
            }
            if (error != ROPEWAY_OK) {
                return error;
            }
        } while (take_char(json, ','));
    }
    if (!take_char(json, '}')) {
        return syntax(json, "',' or '}'");
    }
    for (size_t i = 0; i < count; i++) {
        if ((seen & 1u << i) == 0 && !members[i].is_optional) {
            full_name(json, name, where, sizeof where);
            return rw_fail(ROPEWAY_ERR_METADATA, "%s has no member %s", where, members[i].name);
        }
    }
    return ROPEWAY_OK;
}

ropeway_error_t rw_json_array(rw_json_t *json, const char *name, rw_json_fn read, void *arg) {
    ropeway_error_t error;

    if (!take_char(json, '[')) {
        return rw_json_expected(json, name, "a list", json->at);
    }
    if (take_char(json, ']')) {
        return ROPEWAY_OK;
    }
    json->list = name;
    json->index = 0;
    do {
        error = read(json, name, arg);
        if (error != ROPEWAY_OK) {
            return error;
        }
        json->index++;
    } while (take_char(json, ','));
    json->index = RW_JSON_NO_INDEX;
    return take_char(json, ']') ? ROPEWAY_OK : syntax(json, "',' or ']'");
}

ropeway_error_t rw_json_end(rw_json_t *json) {
    peek(json);
    return json->at == json->end ? ROPEWAY_OK : syntax(json, "nothing");
}

/* ---- Integers ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Whether the value that ends here is a whole token: "1" but not "1.5" or "1e3". */
static bool at_token_end(const rw_json_t *json) {
    return json->at == json->end || memchr(",]} \t\r\n", *json->at, 7) != NULL;
}

ropeway_error_t rw_json_integer(rw_json_t *json, const char *name, uint64_t minimum,
                                uint64_t maximum, uint64_t *value) {
    const char *first;
    char expected[80];
    bool fits = true;

    peek(json);
    first = json->at;
    *value = 0;
    while (json->at < json->end && is_digit(*json->at)) {
        fits = fits && !__builtin_mul_overflow(*value, 10, value) &&
               !__builtin_add_overflow(*value, (uint64_t)(*json->at - '0'), value);
        json->at++;
    }
    if (json->at > first && (*first != '0' || json->at == first + 1) && at_token_end(json) &&
        fits && *value >= minimum && *value <= maximum) {
        return ROPEWAY_OK;
    }
    snprintf(expected, sizeof expected, "an integer from %llu to %llu", (unsigned long long)minimum,
             (unsigned long long)maximum);
    return rw_json_expected(json, name, expected, first);
}

/* ---- Strings ---- */

/* Four hexadecimal digits; -1 when they are none. */
static int hex4(const char *at, const char *end) {
    int value = 0;

    if (end - at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = is_digit(c)              ? c - '0'
                    : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                    : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                             : -1;

        if (digit < 0) {
            return -1;
        }
        value = value << 4 | digit;
    }
    return value;
}

/* Reads what follows a backslash. Returns how many bytes it takes; 0 when it is no escape of a
 * character but NUL. */
static size_t read_escape(const char *at, const char *end, uint32_t *character) {
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter;
    int high;
    int low;

    if (at == end) {
        return 0;
    }
    if (*at != 'u') {
        letter = memchr(letters, *at, sizeof letters - 1);
        if (letter == NULL) {
            return 0;
        }
        *character = (unsigned char)meanings[letter - letters];
        return 1;
    }
    high = hex4(at + 1, end);
    if (high <= 0 || (high >= 0xdc00 && high <= 0xdfff)) {
        return 0;
    }
    *character = (uint32_t)high;
    if (high < 0xd800 || high > 0xdbff) {
        return 5;
    }
    if (end - at < 11 || at[5] != '\\' || at[6] != 'u') {
        return 0;
    }
    low = hex4(at + 7, end);
    if (low < 0xdc00 || low > 0xdfff) {
        return 0;
    }
    *character = 0x10000 + (((uint32_t)high - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    return 11;
}

static bool is_plain(char c) {
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/* Moves over one character of a string; false when it is malformed. */
static bool skip_character(rw_json_t *json, rw_json_text_t *text) {
    uint32_t character;
    size_t length;

    if (*json->at == '\\') {
        length = read_escape(json->at + 1, json->end, &character);
        if (length == 0) {
            return false;
        }
        json->at += 1 + length;
        text->length += rw_utf8_size(character);
        return true;
    }
    length = (unsigned char)*json->at < ' '
                 ? 0
                 : rw_utf8_length(json->at, (size_t)(json->end - json->at));
    json->at += length;
    text->length += length;
    return length > 0;
}

ropeway_error_t rw_json_string(rw_json_t *json, const char *name, rw_json_text_t *text) {
    if (!take_char(json, '"')) {
        return rw_json_expected(json, name, "a text", json->at);
    }
    *text = (rw_json_text_t){.raw = json->at};
    for (;;) {
        while (json->at < json->end && is_plain(*json->at)) {
            json->at++;
            text->length++;
        }
        if (json->at == json->end || *json->at == '"') {
            break;
        }
        if (!skip_character(json, text)) {
            return syntax(json, "a character of a text");
        }
    }
    text->raw_length = (size_t)(json->at - text->raw);
    return take_char(json, '"') ? ROPEWAY_OK : syntax(json, "'\"'");
}

void rw_json_copy(const rw_json_text_t *text, char *buffer) {
    const char *at = text->raw;
    const char *end = text->raw + text->raw_length;

    while (at < end) {
        uint32_t character = 0;

        if (*at != '\\') {
            *buffer++ = *at++;
            continue;
        }
        at += 1 + read_escape(at + 1, end, &character);
        buffer = rw_utf8_put(buffer, character);
    }
    *buffer = '\0';
}
