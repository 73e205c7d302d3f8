/* SPDX-License-Identifier: Apache-2.0 */
/* What the standalone measurements share. Whatever fails ends the process with a sentence on
 * stderr. */
#ifndef STANDALONE_H
#define STANDALONE_H

#include <stddef.h>

#include <ropeway.h>

void fail(const char *step, const char *why);
void check(ropeway_error_t rc, const char *step);
/* Memory whose pages are there. */
void *touched(size_t size);
/* transports: "any": the default. */
ropeway_connector_t *connect_by(const char *transports, const char *encryption);
/* Of one readable descriptor. */
ropeway_operation_t *offer(ropeway_connector_t *connector, void *memory, size_t size);
ropeway_operation_t *begin_read(ropeway_connector_t *connector, const char *metadata, void *memory,
                                size_t size);

#endif
