/* SPDX-License-Identifier: Apache-2.0 */
/* What the standalone measurements share. */
#include "standalone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define OPERATIONS_MAX 1000000

void fail(const char *step, const char *why) {
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, step, why);
    exit(1);
}

void check(ropeway_error_t rc, const char *step) {
    if (rc != ROPEWAY_OK) {
        fail(step, ropeway_last_error());
    }
}

void *touched(size_t size) {
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (memory == MAP_FAILED) {
        fail("mmap", strerror(errno));
    }
    return memory;
}

ropeway_connector_t *connect_by(const char *transports, const char *encryption) {
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = strcmp(transports, "any") == 0 ? NULL : transports;
    options.encryption = encryption;
    options.net_devices = "lo";
    options.max_operations = OPERATIONS_MAX;
    check(ropeway_connector_create(&options, &connector), "connector");
    return connector;
}

ropeway_operation_t *offer(ropeway_connector_t *connector, void *memory, size_t size) {
    ropeway_descriptor_t descriptor = {memory, size, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_t *operation;

    check(ropeway_create_readable(connector, &descriptor, 1, NULL, &operation), "readable");
    return operation;
}

ropeway_operation_t *begin_read(ropeway_connector_t *connector, const char *metadata, void *memory,
                                size_t size) {
    ropeway_descriptor_t descriptor = {memory, size, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_t *operation;

    check(
        ropeway_begin_read(connector, metadata, strlen(metadata), &descriptor, 1, NULL, &operation),
        "begin");
    return operation;
}
