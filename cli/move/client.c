/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/interrupt.h"
#include "common/temp.h"
#include "channel/token.h"

#define DAY_MS 86400000

int rw_client_option(int option, char *const *argv, struct rw_client_options *options) {
    if (rw_credentials_option(option, optarg, &options->credentials))
        return -1;
    switch (option) {
    case 't':
        options->token_file = optarg;
        return -1;
    case 'm':
        if (rw_parse_seconds(optarg, 1, DAY_MS, &options->timeout_ms))
            return -1;
        return rw_usage(options->command, "--timeout '%s' is not a number of seconds", optarg);
    case 'T':
        options->transports = optarg;
        return -1;
    case 'j':
        options->json = true;
        return -1;
    case 'q':
        options->quiet = true;
        return -1;
    case 'v':
        options->verify = true;
        return -1;
    default:
        return rw_usage_option(options->command, option, argv);
    }
}

bool rw_client_open(struct rw_client *client, const struct rw_client_options *options,
                    const char *url, int *code) {
    *client = (struct rw_client){.options = options};
    *code = RW_EXIT_USAGE;
    if (!rw_credentials_check(&options->credentials, options->command) ||
        !rw_url_parse(url, &client->url))
        return false;
    *code = RW_EXIT_FAILED;
    char *token = options->token_file ? rw_token_read(options->token_file) : NULL;
    if (options->token_file && !token)
        return false;
    struct rw_channel_options settings = {token, options->credentials, options->timeout_ms};
    if (rw_interrupt_install())
        client->channel = rw_channel_open(&client->url, &settings);
    rw_token_free(token);
    return client->channel != NULL;
}

bool rw_client_connect(struct rw_client *client) {
    ropeway_connector_options_t options;
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = client->options->transports;
    options.stall_ms = client->options->timeout_ms;
    rw_interrupt_block();
    ropeway_error_t error = ropeway_connector_create(&options, &client->connector);
    rw_interrupt_unblock();
    if (error)
        rw_fail("%s", ropeway_last_error());
    return !error;
}

void rw_client_close(struct rw_client *client) {
    rw_progress_clear(&client->progress);
    if (client->connector)
        ropeway_connector_destroy(client->connector);
    rw_channel_close(client->channel);
    rw_url_free(&client->url);
}

int rw_client_exit_code(int code) {
    int number = rw_interrupted();
    if (!number || code == RW_EXIT_OK)
        return code;
    rw_fail("interrupted by %s; nothing was stored", number == SIGINT ? "SIGINT" : "SIGTERM");
    return 128 + number;
}

/* ---- Moving -------------------------------------------------------------------- */

bool rw_client_begin(struct rw_client *client, const struct rw_offer *offer,
                     ropeway_operation_kind_t kind, void *data, ropeway_operation_t **operation) {
    ropeway_descriptor_t descriptor = {data, (size_t)offer->length, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_options_t options;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = ROPEWAY_OPERATION_NOTIFY;
    size_t length = strlen(offer->metadata);
    ropeway_error_t error =
        (kind == ROPEWAY_OPERATION_READ ? ropeway_begin_read : ropeway_begin_write)(
            client->connector, offer->metadata, length, &descriptor, 1, &options, operation);
    if (error)
        rw_fail("can't begin with %s: %s", client->url.base, ropeway_last_error());
    return !error;
}

static bool is_terminal(const ropeway_operation_t *operation) {
    return ropeway_operation_status(operation) >= ROPEWAY_STATUS_COMPLETE;
}

bool rw_client_wait(struct rw_client *client, ropeway_operation_t *operation, uint64_t base) {
    struct pollfd fds[] = {{.fd = ropeway_connector_fd(client->connector), .events = POLLIN},
                           {.fd = rw_interrupt_fd(), .events = POLLIN}};
    uint64_t done;
    while (!is_terminal(operation) && !rw_interrupted()) {
        poll(fds, 2, client->progress.enabled ? RW_PROGRESS_MS : -1);
        ropeway_operation_t *ended[4];
        ropeway_connector_drain(client->connector, ended, sizeof ended / sizeof *ended);
        ropeway_operation_progress(operation, &done, NULL);
        if (!is_terminal(operation))
            rw_progress_show(&client->progress, base + done);
    }
    bool complete = ropeway_operation_status(operation) == ROPEWAY_STATUS_COMPLETE;
    if (!complete)
        rw_progress_clear(&client->progress);
    if (complete)
        ropeway_operation_path(operation, client->path, sizeof client->path);
    else if (!rw_interrupted())
        rw_fail("the transfer failed: %s", ropeway_operation_error_text(operation));
    ropeway_operation_release(operation);
    return complete;
}

/* ---- The end --------------------------------------------------------------------- */

static bool print_json(struct rw_client *client, const char *file, uint64_t bytes, double seconds,
                       const char *checksum, FILE *out) {
    json_t *line = json_pack("{s:s, s:s%, s:I, s:f, s:f, s:s}", "name", client->url.name, "file",
                             file, rw_utf8_valid(file, strlen(file)) ? strlen(file) : 0, "bytes",
                             (json_int_t)bytes, "seconds", seconds, "rate",
                             seconds > 0.0 ? (double)bytes / seconds : 0.0, "path", client->path);
    if (line && checksum && *checksum)
        json_object_set_new(line, "checksum", json_string(checksum));
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    bool printed = text && fprintf(out, "%s\n", text) > 0 && fflush(out) == 0;
    free(text);
    return printed;
}

int rw_client_report(struct rw_client *client, const char *file, uint64_t bytes, double seconds,
                     const char *checksum, bool to_stderr) {
    char size[RW_SIZE_TEXT], rate[RW_SIZE_TEXT];
    FILE *out = to_stderr ? stderr : stdout;
    rw_progress_clear(&client->progress);
    if (client->progress.enabled && !client->options->json)
        fprintf(stderr, "%s in %.2f s, %s/s, by %s%s\n", rw_size_text(bytes, size), seconds,
                rw_size_text(seconds > 0.0 ? (uint64_t)((double)bytes / seconds) : 0, rate),
                client->path, checksum && *checksum ? ", verified" : "");
    if (client->options->json && !print_json(client, file, bytes, seconds, checksum, out))
        return rw_fail("can't write the line of '--json'");
    return RW_EXIT_OK;
}

static char guard_sentence[RW_SENTENCE_SIZE];
static const struct rw_temp *guard_temp;

static void on_bus_error(int number) {
    if (guard_temp && guard_temp->fd >= 0 && guard_temp->name[0])
        unlinkat(guard_temp->directory, guard_temp->name, 0);
    if (write(STDERR_FILENO, guard_sentence, strlen(guard_sentence)) < 0)
        _exit(128 + number);
    _exit(RW_EXIT_FAILED);
}

void rw_client_guard_mapping(const char *sentence, const struct rw_temp *temp) {
    char text[RW_SENTENCE_SIZE - 16];
    snprintf(text, sizeof text, "%s", sentence);
    rw_printable(text);
    snprintf(guard_sentence, sizeof guard_sentence, "ropeway: %s\n", text);
    guard_temp = temp;
    signal(SIGBUS, on_bus_error);
}
