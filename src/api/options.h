/* SPDX-License-Identifier: Apache-2.0 */
/* A connector's options: defaults, ranges, copies. */
#ifndef RW_OPTIONS_H
#define RW_OPTIONS_H

#include "base/connector.h"

/* Copies the given options, and the defaults of those that are not given, into the connector's.
 * options: NULL for the defaults. Errors: ERR_INVALID_ARGUMENT, ERR_NO_MEMORY. */
ropeway_error_t rw_options_take(ropeway_connector_t *connector,
                                const ropeway_connector_options_t *options);
/* Frees what was copied. */
void rw_options_free(ropeway_connector_t *connector);

#endif
