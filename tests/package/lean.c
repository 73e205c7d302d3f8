/* SPDX-License-Identifier: Apache-2.0 */
/* Moves host memory between two connectors of this process by Ropeway's own links, both ways, and
 * looks at what was mapped meanwhile: nothing of UCX may be. */
#include <ropeway.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 4 << 20 };

static char from[SIZE], to[SIZE];

static void check(ropeway_error_t error) {
    if (error != ROPEWAY_OK) {
        fprintf(stderr, "lean: %s: %s\n", ropeway_error_name(error), ropeway_last_error());
        exit(1);
    }
}

static void check_maps(const char *when) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];

    if (maps == NULL) {
        perror("lean: /proc/self/maps");
        exit(1);
    }
    while (fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, "/libuc") != NULL) {
            fprintf(stderr, "lean: %s: %s", when, line);
            exit(1);
        }
    }
    fclose(maps);
}

static void move(ropeway_connector_t *owner, ropeway_connector_t *other, bool write) {
    const ropeway_device_t host = {ROPEWAY_DEVICE_HOST, 0};
    const ropeway_descriptor_t source = {from, SIZE, host}, target = {to, SIZE, host};
    ropeway_operation_t *offer, *operation;
    const char *metadata;

    memset(to, 0, SIZE);
    check(write ? ropeway_create_writable(owner, &target, 1, NULL, &offer)
                : ropeway_create_readable(owner, &source, 1, NULL, &offer));
    check(ropeway_operation_metadata(offer, &metadata));
    check(
        write
            ? ropeway_begin_write(other, metadata, strlen(metadata), &source, 1, NULL, &operation)
            : ropeway_begin_read(other, metadata, strlen(metadata), &target, 1, NULL, &operation));
    check(ropeway_operation_wait(operation, 20000));
    check(ropeway_operation_wait(offer, 20000));
    ropeway_operation_release(operation);
    ropeway_operation_release(offer);
    if (memcmp(from, to, SIZE) != 0) {
        fprintf(stderr, "lean: wrong bytes\n");
        exit(1);
    }
}

int main(void) {
    ropeway_connector_options_t options;
    ropeway_connector_t *owner, *other;

    memset(from, 'l', SIZE);
    check_maps("at the start");
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "stream,local,pull";
    check(ropeway_connector_create(&options, &owner));
    check(ropeway_connector_create(&options, &other));
    move(owner, other, false);
    move(owner, other, true);
    check_maps("after the transfers");
    check(ropeway_connector_destroy(other));
    check(ropeway_connector_destroy(owner));
    check_maps("at the end");
    return ropeway_ucx_version()[0] == '\0' ? 0 : 1;
}
