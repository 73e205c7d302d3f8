/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passes metadata over NATS, with request and reply:
 *
 *     ./passing offer URL SUBJECT FILE    offers the bytes of FILE to the first who asks
 *     ./passing fetch URL SUBJECT         asks, reads them, and writes them to standard output
 */
#include <nats/nats.h>
#include <ropeway.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_MS 30000
#define MAX_BYTES ((size_t)1 << 30)

static void check(ropeway_error_t error) {
    if (error != ROPEWAY_OK) {
        fprintf(stderr, "%s: %s\n", ropeway_error_name(error), ropeway_last_error());
        exit(1);
    }
}

static void check_nats(natsStatus status) {
    if (status != NATS_OK) {
        fprintf(stderr, "NATS: %s\n", natsStatus_GetText(status));
        exit(1);
    }
}

static ropeway_descriptor_t load(const char *path) {
    ropeway_descriptor_t memory = {malloc(MAX_BYTES), 0, {ROPEWAY_DEVICE_HOST, 0}};
    FILE *file = fopen(path, "rb");
    if (memory.ptr == NULL || file == NULL) {
        perror(path);
        exit(1);
    }
    memory.size = fread(memory.ptr, 1, MAX_BYTES, file);
    fclose(file);
    return memory;
}

static void offer(ropeway_connector_t *connector, natsConnection *nats, const char *subject,
                  const char *path) {
    ropeway_descriptor_t memory = load(path);
    ropeway_operation_options_t options;
    ropeway_operation_t *readable;
    natsSubscription *subscription;
    natsMsg *request;
    const char *metadata;

    check_nats(natsConnection_SubscribeSync(&subscription, nats, subject));
    check_nats(natsConnection_Flush(nats));
    puts("offering");
    fflush(stdout);
    check_nats(natsSubscription_NextMsg(&request, subscription, LIMIT_MS));
    ropeway_operation_options_init(&options, sizeof options);
    options.deadline_ms = LIMIT_MS; /* whoever asked may be gone */
    check(ropeway_create_readable(connector, &memory, 1, &options, &readable));
    check(ropeway_operation_metadata(readable, &metadata));
    check_nats(natsConnection_PublishString(nats, natsMsg_GetReply(request), metadata));
    check(ropeway_operation_wait(readable, -1)); /* until the memory is ours again */
    ropeway_operation_release(readable);
    natsMsg_Destroy(request);
    natsSubscription_Destroy(subscription);
    free(memory.ptr);
}

static void fetch(ropeway_connector_t *connector, natsConnection *nats, const char *subject) {
    ropeway_descriptor_t memory = {NULL, 0, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_metadata_t *offered;
    ropeway_operation_t *read;
    natsMsg *reply;

    check_nats(natsConnection_RequestString(&reply, nats, subject, "", LIMIT_MS));
    const char *metadata = natsMsg_GetData(reply);
    size_t length = (size_t)natsMsg_GetDataLength(reply);
    check(ropeway_metadata_parse(metadata, length, 0, &offered));
    memory.size = ropeway_metadata_total(offered);
    ropeway_metadata_release(offered);
    memory.ptr = memory.size <= MAX_BYTES ? malloc(memory.size + 1) : NULL;
    if (memory.ptr == NULL) {
        fprintf(stderr, "%zu bytes are too many\n", memory.size);
        exit(1);
    }
    check(ropeway_begin_read(connector, metadata, length, &memory, 1, NULL, &read));
    check(ropeway_operation_wait(read, LIMIT_MS));
    ropeway_operation_release(read);
    natsMsg_Destroy(reply);
    if (fwrite(memory.ptr, 1, memory.size, stdout) != memory.size || fflush(stdout) != 0) {
        perror("standard output");
        exit(1);
    }
    free(memory.ptr);
}

int main(int argc, char **argv) {
    ropeway_connector_t *connector;
    natsConnection *nats;
    int offers = argc == 5 && strcmp(argv[1], "offer") == 0;

    if (!offers && !(argc == 4 && strcmp(argv[1], "fetch") == 0)) {
        fputs("usage: passing offer URL SUBJECT FILE | passing fetch URL SUBJECT\n", stderr);
        return 2;
    }
    check_nats(natsConnection_ConnectTo(&nats, argv[2]));
    check(ropeway_connector_create(NULL, &connector));
    if (offers) {
        offer(connector, nats, argv[3], argv[4]);
    } else {
        fetch(connector, nats, argv[3]);
    }
    check(ropeway_connector_destroy(connector));
    natsConnection_Destroy(nats);
    nats_Close();
    return 0;
}
