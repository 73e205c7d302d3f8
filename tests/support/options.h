/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options as text, the same on both sides of a test: "stall_ms=300 window=1". The names are the
 * fields' names; unknown ones are left for the caller.
 */
#ifndef TS_OPTIONS_H
#define TS_OPTIONS_H

#include "ropeway.h"

/* Fills in the defaults, the transport's choice (see transport.h), a log that goes to the file
 * ROPEWAY_TEST_LOG when that is set, and text. name: where to put the connector's name. */
void ts_connector_options(const char *text, char name[256], ropeway_connector_options_t *options);

/* Fills in the defaults and text. */
void ts_operation_options(const char *text, ropeway_operation_options_t *options);

/* The number behind key= in text, or fallback. */
uint64_t ts_option(const char *text, const char *key, uint64_t fallback);

#endif
