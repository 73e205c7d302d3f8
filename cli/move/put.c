/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway put: sends a mapped file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "common/checksum.h"
#include "common/cli.h"
#include "common/clock.h"
#include "common/map.h"
#include "common/message.h"
#include "common/name.h"
#include "common/text.h"

struct source {
    const char *path;
    int fd;
    struct stat info;
    struct cli_map map;
};

static void print_help(void) {
    printf("Usage: ropeway put [OPTION]... FILE URL\n"
           "Send a file to a server that runs with '--writable'.\n"
           "\n"
           "A URL that ends in '/' gets FILE's base name added. The command ends with 0 only when\n"
           "the file is complete at its name on the server.\n"
           "\n" CLI_MOVE_OPTIONS_HELP CLI_CLIENT_OPTIONS_HELP
           "  -h, --help              show this text\n"
           "\n"
           "Exit code: 0 when the file is stored, 1 when it failed, 2 when the command line is\n"
           "wrong, 130 and 143 after SIGINT and SIGTERM.\n");
}

static bool open_source(struct source *source, const char *path) {
    char sentence[CLI_SENTENCE_SIZE];
    source->path = path;
    source->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (source->fd < 0 || fstat(source->fd, &source->info) != 0) {
        cli_fail("can't read '%s': %s", path, cli_errno_text(errno));
        return false;
    }
    if (!S_ISREG(source->info.st_mode)) {
        cli_fail("can't send '%s': it is not a file; give one that is on a disk", path);
        return false;
    }
    cli_sentence(sentence,
                 "'%s' was truncated, or its disk failed, while it was sent; send it again", path);
    cli_map_end_on_fault(sentence, NULL);
    if (!cli_map_open(&source->map, source->fd, 0, (uint64_t)source->info.st_size, false)) {
        cli_fail("can't map '%s': %s; copy it to another file system first", path,
                 cli_errno_text(errno));
        return false;
    }
    cli_map_prefault(&source->map, false, source->map.size);
    return true;
}

static void close_source(struct source *source) {
    cli_map_close(&source->map);
    if (source->fd >= 0) {
        close(source->fd);
    }
}

static bool is_unchanged(const struct source *source) {
    if (cli_file_unchanged(source->fd, &source->info)) {
        return true;
    }
    cli_fail("'%s' was changed while it was sent, and the copy may be a mixture; send it again",
             source->path);
    return false;
}

static bool send_source(struct cli_client *client, struct source *source, char *checksum) {
    struct cli_offer offer = {0};
    ropeway_operation_t *operation;
    bool verify = client->options->verify;
    if (verify && !cli_client_checksum(&source->map, checksum)) {
        return false;
    }
    bool done =
        cli_client_ask_write(client, client->url.name, source->map.size, verify ? checksum : NULL,
                             &offer) &&
        cli_client_begin(client, &offer, ROPEWAY_OPERATION_WRITE, source->map.data, &operation) &&
        cli_client_wait(client, operation, 0) && cli_client_confirm(client, &offer, NULL) &&
        is_unchanged(source);
    cli_offer_free(&offer);
    return done;
}

/* Adds the file's base name to a URL that ends in a slash. */
static bool complete_name(struct cli_client *client, const char *path) {
    if (!client->url.is_directory) {
        return true;
    }
    size_t used = strlen(client->url.name), room = sizeof client->url.name - used;
    int length =
        snprintf(client->url.name + used, room, "%s%s", used != 0 ? "/" : "", cli_base_name(path));
    const char *wrong = length >= (int)room
                            ? "is too long"
                            : cli_name_check(client->url.name, strlen(client->url.name));
    if (wrong != NULL) {
        cli_fail("can't send '%s' under its own name: the name %s; give one in the URL", path,
                 wrong);
    }
    return wrong == NULL;
}

static int put(const struct cli_client_options *options, const char *path, const char *url) {
    struct cli_client client;
    struct source source = {.fd = -1, .map = CLI_MAP_NONE};
    char checksum[CLI_CHECKSUM_SIZE] = "";
    int code;
    bool opened = cli_client_open(&client, options, url, &code);
    if (opened) {
        /* The guard of the mapping comes after the libraries' handlers. */
        bool done = complete_name(&client, path) && cli_client_connect(&client) &&
                    open_source(&source, path);
        cli_progress_begin(&client.progress, client.url.name, source.map.size, options->quiet);
        done = done && send_source(&client, &source, checksum);
        double seconds = cli_now_seconds() - client.progress.started;
        code = done ? cli_client_report(&client, path, source.map.size, seconds, checksum, false)
                    : CLI_EXIT_FAILED;
    }
    cli_client_close(&client);
    close_source(&source);
    return cli_client_exit_code(code);
}

int cli_run_put(int argc, char **argv) {
    static const struct option known[] = {
        CLI_CLIENT_LONG_OPTIONS, CLI_MOVE_LONG_OPTIONS, {NULL, 0, NULL, 0}};
    struct cli_client_options options = {.command = "put", .timeout_ms = CLI_CLIENT_TIMEOUT_MS};
    int code = cli_client_options(argc, argv, ":" CLI_CLIENT_SHORT_OPTIONS CLI_MOVE_SHORT_OPTIONS,
                                  known, print_help, &options);
    if (code != CLI_GO_ON) {
        return code;
    }
    if (argc - optind != 2) {
        return cli_usage("put", "a FILE and a URL are needed, and %d arguments are given",
                         argc - optind);
    }
    return put(&options, argv[optind], argv[optind + 1]);
}
