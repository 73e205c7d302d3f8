/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options as text, the same on both sides of a test: "stall_ms=300 window=1". The names are the
 * fields' names, texts have no blanks in them; unknown ones are left for the caller.
 */
#ifndef TS_OPTIONS_H
#define TS_OPTIONS_H

#include "ropeway.h"

typedef struct ts_text {
    char text[256];
} ts_text_t;

/* Where the options that are texts lie. */
#define TS_TEXT(type, name, ...) ts_text_t name;
#define TS_OTHER(...)
typedef struct ts_option_texts {
    ROPEWAY_CONNECTOR_OPTION_MAP(TS_TEXT, TS_OTHER, TS_OTHER)
} ts_option_texts_t;
#undef TS_TEXT
#undef TS_OTHER

/* Fills in the defaults, the transport's choice (see transport.h), a log that goes to the file
 * ROPEWAY_TEST_LOG when that is set, and text. *options points into *texts. */
void ts_connector_options(const char *text, ts_option_texts_t *texts,
                          ropeway_connector_options_t *options);

/* Fills in the defaults and text. */
void ts_operation_options(const char *text, ropeway_operation_options_t *options);

/* The number behind key= in text, or fallback. */
uint64_t ts_option(const char *text, const char *key, uint64_t fallback);

#endif
