/* SPDX-License-Identifier: Apache-2.0 */
/* Two workers, with a pipe as their secondary channel: ./hello offer | ./hello fetch */
#include <ropeway.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(ropeway_error_t error) {
    if (error != ROPEWAY_OK) {
        fprintf(stderr, "%s: %s\n", ropeway_error_name(error), ropeway_last_error());
        exit(1);
    }
}

static void offer(ropeway_connector_t *connector) {
    char text[] = "Hello from the other side.";
    ropeway_descriptor_t memory = {text, strlen(text), {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_t *readable;
    const char *metadata;

    check(ropeway_create_readable(connector, &memory, 1, NULL, &readable));
    check(ropeway_operation_metadata(readable, &metadata));
    puts(metadata);
    fflush(stdout);
    check(ropeway_operation_wait(readable, 10000)); /* until the peer has read it */
    ropeway_operation_release(readable);
}

static void fetch(ropeway_connector_t *connector) {
    char line[65536] = "", text[1024];
    ropeway_descriptor_t memory = {text, 0, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_metadata_t *offered;
    ropeway_operation_t *read;

    if (fgets(line, sizeof line, stdin) == NULL) {
        exit(1); /* the offer failed, and said why */
    }
    check(ropeway_metadata_parse(line, strlen(line), 0, &offered));
    memory.size = ropeway_metadata_total(offered);
    ropeway_metadata_release(offered);
    if (memory.size > sizeof text) {
        memory.size = sizeof text; /* begin will refuse it, and say why */
    }
    check(ropeway_begin_read(connector, line, strlen(line), &memory, 1, NULL, &read));
    check(ropeway_operation_wait(read, 10000));
    ropeway_operation_release(read);
    printf("%.*s\n", (int)memory.size, text);
}

int main(int argc, char **argv) {
    ropeway_connector_t *connector;

    check(ropeway_connector_create(NULL, &connector));
    if (argc > 1 && strcmp(argv[1], "offer") == 0) {
        offer(connector);
    } else {
        fetch(connector);
    }
    check(ropeway_connector_destroy(connector));
    return 0;
}
