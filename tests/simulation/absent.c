/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a connector could use and a simulated one does not: UCX, and peers that speak another
 * protocol. The API refers to them, so the linker wants them; none is ever called.
 */
#include "base/assert.h"
#include "nixl/nixl.h"
#include "simulation.h"

const char *ropeway_ucx_version(void) {
    return "none";
}

ropeway_error_t rw_ucx_load(void) {
    sim_fail("nothing here needs UCX");
}

void rw_ucx_log_to(bool (*sink)(ropeway_log_level_t level, const char *text)) {
    (void)sink;
}

void rw_nixl_close(ropeway_connector_t *connector, uint64_t due) {
    (void)connector, (void)due;
}

ropeway_error_t rw_nixl_expose(ropeway_operation_t *operation) {
    (void)operation;
    sim_fail("nothing here is offered to stock peers");
}

ropeway_error_t rw_nixl_prepare(ropeway_operation_t *operation,
                                const ropeway_metadata_t *metadata) {
    (void)operation, (void)metadata;
    sim_fail("nobody here is a stock peer");
}

ropeway_error_t rw_nixl_begin(ropeway_operation_t *operation, const ropeway_metadata_t *metadata) {
    (void)operation, (void)metadata;
    sim_fail("nobody here is a stock peer");
}

void rw_assert_failed(const char *what, const char *file, int line) {
    sim_fail("an assertion failed: %s (%s:%d)", what, file, line);
}
