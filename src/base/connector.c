/* SPDX-License-Identifier: Apache-2.0 */
/* Entering and leaving a connector. */
#include "base/connector.h"

#include "base/error.h"

ropeway_error_t rw_connector_check_process(const ropeway_connector_t *connector) {
    return connector->generation == rw_process_generation()
               ? ROPEWAY_OK
               : rw_fail(ROPEWAY_ERR_FORKED,
                         "the connector \"%s\" belongs to the parent process; fork before the "
                         "first connector is made, or exec a new program",
                         connector->name);
}

ropeway_error_t rw_connector_enter(ropeway_connector_t *connector) RW_UNCHECKED {
    ropeway_error_t error;

    if (connector == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the connector is null");
    }
    error = rw_connector_check_process(connector);
    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_lock(&connector->lock);
    if (connector->closed) {
        rw_unlock(&connector->lock);
        return rw_fail(ROPEWAY_ERR_CLOSED, "the connector \"%s\" is closed", connector->name);
    }
    return ROPEWAY_OK;
}

void rw_connector_leave(ropeway_connector_t *connector) RW_UNCHECKED {
    bool last = connector->references == 0;

    rw_unlock(&connector->lock);
    if (last) {
        connector->free(connector);
    }
}
