/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines, to the connectors' log callbacks. */
#ifndef RW_LOG_H
#define RW_LOG_H

#include "base/connector.h"

void rw_log(ropeway_connector_t *connector, ropeway_log_level_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* From now until rw_log_detach(), lines that are nobody's in particular go to this connector's log
 * too. */
void rw_log_attach(ropeway_connector_t *connector);
void rw_log_detach(ropeway_connector_t *connector);
/* Such a line, to all that are attached. Returns whether there were any. */
bool rw_log_to_all(ropeway_log_level_t level, const char *text);

#endif
