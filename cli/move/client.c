/* SPDX-License-Identifier: Apache-2.0 */
/* What get, put and ls do in the same way, from their options to what they report. */
#include "client.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel/token.h"
#include "common/cli.h"
#include "common/interrupt.h"
#include "common/message.h"
#include "common/text.h"

#define DAY_MS 86400000

static int take_option(int option, char *const *argv, struct cli_client_options *options) {
    if (cli_credentials_option(option, optarg, &options->credentials)) {
        return CLI_GO_ON;
    }
    switch (option) {
    case 'm':
        if (cli_parse_seconds(optarg, 1, DAY_MS, &options->timeout_ms)) {
            return CLI_GO_ON;
        }
        return cli_usage(options->command, "--timeout '%s' is not a number of seconds", optarg);
    case 't':
        options->token_file = optarg;
        break;
    case 'T':
        options->transports = optarg;
        break;
    case 'o':
        options->output = optarg;
        break;
    case 'j':
        options->json = true;
        break;
    case 'q':
        options->quiet = true;
        break;
    case 'v':
        options->verify = true;
        break;
    default:
        return cli_usage_option(options->command, option, argv);
    }
    return CLI_GO_ON;
}

int cli_client_options(int argc, char **argv, const char *short_options,
                       const struct option *long_options, void (*print_help)(void),
                       struct cli_client_options *options) {
    int option, code = CLI_GO_ON;
    while (code == CLI_GO_ON &&
           (option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (option == 'h') {
            print_help();
            return cli_flush_stdout();
        }
        code = take_option(option, argv, options);
    }
    return code;
}

bool cli_client_open(struct cli_client *client, const struct cli_client_options *options,
                     const char *url, int *code) {
    *client = (struct cli_client){.options = options};
    *code = CLI_EXIT_USAGE;
    if (!cli_credentials_check(&options->credentials, options->command) ||
        !cli_url_parse(url, &client->url)) {
        return false;
    }
    *code = CLI_EXIT_FAILED;
    char *token;
    if (!cli_token_load(options->token_file, &token)) {
        return false;
    }
    struct cli_channel_options settings = {token, options->credentials, options->timeout_ms};
    if (cli_interrupt_install()) {
        client->channel = cli_channel_open(&client->url, &settings);
    }
    cli_token_free(token);
    return client->channel != NULL;
}

bool cli_client_connect(struct cli_client *client) {
    ropeway_connector_options_t options;
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = client->options->transports;
    options.stall_ms = client->options->timeout_ms;
    cli_interrupt_block();
    ropeway_error_t error = ropeway_connector_create(&options, &client->connector);
    cli_interrupt_unblock();
    if (error != ROPEWAY_OK) {
        cli_fail("%s", ropeway_last_error());
    }
    return error == ROPEWAY_OK;
}

void cli_client_close(struct cli_client *client) {
    cli_progress_clear(&client->progress);
    if (client->connector != NULL) {
        ropeway_connector_destroy(client->connector);
    }
    cli_channel_close(client->channel);
    cli_url_free(&client->url);
}

int cli_client_exit_code(int code) {
    int number = cli_interrupt_signal();
    if (number == 0 || code == CLI_EXIT_OK) {
        return code;
    }
    cli_fail("interrupted by %s; nothing was stored", number == SIGINT ? "SIGINT" : "SIGTERM");
    return 128 + number;
}

/* ---- Moving -------------------------------------------------------------------- */

/* What a caller that traces has put into the environment, as the W3C says; NULL: none. */
static const char *trace_parent(void) {
    static const char form[] = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
    const char *found = getenv("TRACEPARENT");
    if (found == NULL || strlen(found) != sizeof form - 1) {
        return NULL;
    }
    for (size_t i = 0; form[i] != '\0'; i++) {
        if (form[i] == '-' ? found[i] != '-' : strchr("0123456789abcdef", found[i]) == NULL) {
            return NULL;
        }
    }
    return found;
}

bool cli_client_begin(struct cli_client *client, const struct cli_offer *offer,
                      ropeway_operation_kind_t kind, void *data, ropeway_operation_t **operation) {
    ropeway_descriptor_t descriptor = {data, (size_t)offer->length, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_options_t options;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = ROPEWAY_OPERATION_NOTIFY;
    options.trace = trace_parent();
    size_t length = strlen(offer->metadata);
    ropeway_error_t error =
        (kind == ROPEWAY_OPERATION_READ ? ropeway_begin_read : ropeway_begin_write)(
            client->connector, offer->metadata, length, &descriptor, 1, &options, operation);
    if (error != ROPEWAY_OK) {
        cli_fail("can't begin with %s: %s", client->url.base, ropeway_last_error());
    }
    return error == ROPEWAY_OK;
}

static bool is_terminal(const ropeway_operation_t *operation) {
    return ropeway_operation_status(operation) >= ROPEWAY_STATUS_COMPLETE;
}

bool cli_client_wait(struct cli_client *client, ropeway_operation_t *operation, uint64_t base) {
    struct pollfd fds[] = {{.fd = ropeway_connector_fd(client->connector), .events = POLLIN},
                           {.fd = cli_interrupt_fd(), .events = POLLIN}};
    uint64_t done;
    while (!is_terminal(operation) && !cli_interrupted()) {
        poll(fds, 2, client->progress.enabled ? CLI_PROGRESS_MS : -1);
        ropeway_operation_t *ended[4];
        ropeway_connector_drain(client->connector, ended, sizeof ended / sizeof *ended);
        ropeway_operation_progress(operation, &done, NULL);
        if (!is_terminal(operation)) {
            cli_progress_show(&client->progress, base + done);
        }
    }
    bool complete = ropeway_operation_status(operation) == ROPEWAY_STATUS_COMPLETE;
    if (!complete) {
        cli_progress_clear(&client->progress);
    }
    if (complete) {
        ropeway_operation_path(operation, client->path, sizeof client->path);
    } else if (!cli_interrupted()) {
        cli_fail("the transfer failed: %s", ropeway_operation_error_text(operation));
    }
    ropeway_operation_release(operation);
    return complete;
}

static bool may_go_on(void *arg) {
    (void)arg;
    return !cli_interrupted();
}

bool cli_client_checksum(const struct cli_map *map, char checksum[CLI_CHECKSUM_SIZE]) {
    if (cli_checksum_memory(map->data, (size_t)map->size, may_go_on, NULL, checksum)) {
        return true;
    }
    if (!cli_interrupted()) {
        cli_fail("out of memory");
    }
    return false;
}

/* ---- The end --------------------------------------------------------------------- */

static bool print_json(struct cli_client *client, const char *file, uint64_t bytes, double seconds,
                       const char *checksum, FILE *out) {
    json_t *line = json_pack("{s:s, s:s%, s:I, s:f, s:f, s:s}", "name", client->url.name, "file",
                             file, cli_utf8_valid(file, strlen(file)) ? strlen(file) : 0, "bytes",
                             (json_int_t)bytes, "seconds", seconds, "rate",
                             seconds > 0.0 ? (double)bytes / seconds : 0.0, "path", client->path);
    if (line != NULL && checksum != NULL && *checksum != '\0') {
        json_object_set_new(line, "checksum", json_string(checksum));
    }
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    bool printed = text != NULL && fprintf(out, "%s\n", text) > 0 && fflush(out) == 0;
    free(text);
    return printed;
}

int cli_client_report(struct cli_client *client, const char *file, uint64_t bytes, double seconds,
                      const char *checksum, bool to_stderr) {
    char size[CLI_SIZE_TEXT], rate[CLI_SIZE_TEXT];
    FILE *out = to_stderr ? stderr : stdout;
    cli_progress_clear(&client->progress);
    if (client->progress.enabled && !client->options->json) {
        fprintf(stderr, "%s in %.2f s, %s/s, by %s%s\n", cli_size_text(bytes, size), seconds,
                cli_size_text(seconds > 0.0 ? (uint64_t)((double)bytes / seconds) : 0, rate),
                client->path, checksum != NULL && *checksum != '\0' ? ", verified" : "");
    }
    if (client->options->json && !print_json(client, file, bytes, seconds, checksum, out)) {
        return cli_fail("can't write the line of '--json'");
    }
    return CLI_EXIT_OK;
}
