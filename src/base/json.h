/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader for JSON whose shape is known beforehand. It visits the text once, from left to right,
 * and keeps nothing, so a hostile text can't make it hold many times its own size, and the few
 * hundred bytes of a usual operation take about a microsecond.
 */
#ifndef RW_JSON_H
#define RW_JSON_H

#include "ropeway.h"

#include <stdbool.h>

#define RW_JSON_NO_INDEX SIZE_MAX

typedef struct rw_json {
    const char *begin;
    const char *at;
    const char *end;
    const char *list; /* the array that is being read, for sentences */
    size_t index;     /* of its present element, or RW_JSON_NO_INDEX */
} rw_json_t;

/* A string as it stands in the text: checked, escapes still in it. */
typedef struct rw_json_text {
    const char *raw;
    size_t raw_length;
    size_t length; /* without the escapes; equals raw_length when there are none */
} rw_json_text_t;

/* Reads one value; name is the member's, or for an element the array's. */
typedef ropeway_error_t (*rw_json_fn)(rw_json_t *json, const char *name, void *arg);

typedef struct rw_json_member {
    const char *name;
    rw_json_fn read;
    bool is_optional;
} rw_json_member_t;

void rw_json_init(rw_json_t *json, const char *text, size_t length);

/* All functions below return ERR_METADATA when the text is something else, with a sentence that
 * names the value, and pass on what a rw_json_fn returns. */

/* Reads an object with these members (at most 32) and no others, each once, in any order. */
ropeway_error_t rw_json_object(rw_json_t *json, const char *name, const rw_json_member_t *members,
                               size_t count, void *arg);

/* Reads an array, each element with read; json->index is its number meanwhile. */
ropeway_error_t rw_json_array(rw_json_t *json, const char *name, rw_json_fn read, void *arg);

/* Reads an integer from minimum to maximum. */
ropeway_error_t rw_json_integer(rw_json_t *json, const char *name, uint64_t minimum,
                                uint64_t maximum, uint64_t *value);

/* Reads a string: valid UTF-8, no NUL. */
ropeway_error_t rw_json_string(rw_json_t *json, const char *name, rw_json_text_t *text);

/* Writes text->length bytes and a NUL. */
void rw_json_copy(const rw_json_text_t *text, char *buffer);

/* Checks that nothing but white space is left. */
ropeway_error_t rw_json_end(rw_json_t *json);

/* Returns ERR_METADATA with "NAME must be EXPECTED, not FOUND", where FOUND quotes the text from at
 * on. */
ropeway_error_t rw_json_expected(const rw_json_t *json, const char *name, const char *expected,
                                 const char *at);

#endif
