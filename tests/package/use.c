/* SPDX-License-Identifier: Apache-2.0 */
/* A program against the installed library: one connector reads what another one of the same process
 * offers, and the bytes are compared. Prints what ropeway_describe() says. */
#include <ropeway.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 1 << 20 };

static char from[SIZE], to[SIZE];

static void check(ropeway_error_t error) {
    if (error != ROPEWAY_OK) {
        fprintf(stderr, "use: %s: %s\n", ropeway_error_name(error), ropeway_last_error());
        exit(1);
    }
}

static void transfer(ropeway_connector_t *owner, ropeway_connector_t *reader) {
    const ropeway_device_t host = {ROPEWAY_DEVICE_HOST, 0};
    const ropeway_descriptor_t offered = {from, SIZE, host}, wanted = {to, SIZE, host};
    ropeway_operation_t *readable, *read;
    const char *metadata;

    check(ropeway_create_readable(owner, &offered, 1, NULL, &readable));
    check(ropeway_operation_metadata(readable, &metadata));
    check(ropeway_begin_read(reader, metadata, strlen(metadata), &wanted, 1, NULL, &read));
    check(ropeway_operation_wait(read, 20000));
    check(ropeway_operation_wait(readable, 20000));
    ropeway_operation_release(read);
    ropeway_operation_release(readable);
}

static int versions_agree(void) {
    char numbers[32];
    snprintf(numbers, sizeof numbers, "%d.%d.%d", ROPEWAY_VERSION_MAJOR, ROPEWAY_VERSION_MINOR,
             ROPEWAY_VERSION_PATCH);
    return strcmp(numbers, ROPEWAY_VERSION_STRING) == 0 && strcmp(numbers, ropeway_version()) == 0;
}

int main(void) {
    ropeway_connector_t *owner, *reader;
    char *description;

    memset(from, 'r', SIZE);
    check(ropeway_connector_create(NULL, &owner));
    check(ropeway_connector_create(NULL, &reader));
    transfer(owner, reader);
    check(ropeway_connector_destroy(reader));
    check(ropeway_connector_destroy(owner));
    check(ropeway_describe(NULL, NULL, &description));
    puts(description);
    ropeway_text_free(description);
    return memcmp(from, to, SIZE) == 0 && versions_agree() ? 0 : 1;
}
