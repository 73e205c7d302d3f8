/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway get: options, and where the bytes go. */
#include "get.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/message.h"
#include "common/name.h"
#include "common/text.h"

static void print_help(void) {
    printf(
        "Usage: ropeway get [OPTION]... URL\n"
        "Fetch a file from a server, e.g. 'ropeway get http://HOST:PORT/NAME' or\n"
        "'ropeway get nats://HOST:PORT/PREFIX/NAME'.\n"
        "\n"
        "The file appears at its name only when it is complete, in place of one that is there\n"
        "already. Bytes of a NAME that a URL does not allow are written as %%XX.\n"
        "\n"
        "  -o, --output FILE       write to FILE, or to standard output when it is '-'\n"
        "                          (default: the last part of NAME, in the present "
        "directory)\n" CLI_MOVE_OPTIONS_HELP CLI_CLIENT_OPTIONS_HELP
        "  -h, --help              show this text\n"
        "\n"
        "With '-o -' the line of '--json' goes to stderr. Exit code: 0 when the file is complete,\n"
        "1 when it failed, 2 when the command line is wrong, 130 and 143 after SIGINT and\n"
        "SIGTERM.\n");
}

/* Into what exists and is no file, such as a pipe or a terminal. */
static bool get_to_stream(struct cli_client *client, const char *target, bool is_stdout,
                          struct cli_got *got) {
    if (is_stdout) {
        return cli_get_stream(client, STDOUT_FILENO, "standard output", got);
    }
    int fd = open(target, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        cli_fail("can't write to '%s': %s", target, cli_errno_text(errno));
        return false;
    }
    bool done = cli_get_stream(client, fd, target, got);
    if (close(fd) != 0 && done) {
        cli_fail("can't write to '%s': %s", target, cli_errno_text(errno));
        done = false;
    }
    return done;
}

static int open_directory_of(const char *target) {
    const char *base = cli_base_name(target);
    char *directory = base == target ? strdup(".") : strndup(target, (size_t)(base - target));
    int fd = directory != NULL ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0) {
        cli_fail("can't write to '%s': the directory '%s' can't be opened: %s", target,
                 directory != NULL ? directory : "?", cli_errno_text(errno));
    }
    free(directory);
    return fd;
}

/* Where a path that is a symbolic link leads, to be freed: the file there is replaced, and not the
 * link. NULL: the path itself is meant. */
static char *follow(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0 && S_ISLNK(info.st_mode) ? realpath(path, NULL) : NULL;
}

static bool get_to(struct cli_client *client, const char *target, bool is_stdout,
                   struct cli_got *got) {
    struct stat info;
    bool exists = !is_stdout && stat(target, &info) == 0;
    if (*cli_base_name(target) == '\0' || (exists && S_ISDIR(info.st_mode))) {
        cli_fail("can't write to '%s': it is a directory; give a file name with '-o FILE'", target);
        return false;
    }
    if (is_stdout || (exists && !S_ISREG(info.st_mode))) {
        return cli_client_connect(client) && get_to_stream(client, target, is_stdout, got);
    }
    char *real = follow(target);
    const char *path = real != NULL ? real : target;
    int directory = open_directory_of(path);
    bool done =
        directory >= 0 && cli_client_connect(client) && cli_get_file(client, directory, path, got);
    if (directory >= 0) {
        close(directory);
    }
    free(real);
    return done;
}

static int get(const struct cli_client_options *options, const char *url) {
    const char *output = options->output;
    struct cli_client client;
    struct cli_got got = {0};
    int code;
    if (!cli_client_open(&client, options, url, &code)) {
        cli_client_close(&client);
        return cli_client_exit_code(code);
    }
    if (*client.url.name == '\0' || client.url.is_directory) {
        cli_client_close(&client);
        return cli_usage("get", "the URL '%s' names no object; 'ropeway ls' shows the names", url);
    }
    bool is_stdout = output != NULL && strcmp(output, "-") == 0;
    const char *target = output != NULL ? output : cli_base_name(client.url.name);
    cli_progress_begin(&client.progress, client.url.name, 0, options->quiet);
    bool done = get_to(&client, target, is_stdout, &got);
    double seconds = cli_now_seconds() - client.progress.started;
    code = done ? cli_client_report(&client, target, got.bytes, seconds, got.checksum, is_stdout)
                : CLI_EXIT_FAILED;
    cli_client_close(&client);
    return cli_client_exit_code(code);
}

int cli_run_get(int argc, char **argv) {
    static const struct option known[] = {{"output", required_argument, NULL, 'o'},
                                          CLI_CLIENT_LONG_OPTIONS,
                                          CLI_MOVE_LONG_OPTIONS,
                                          {NULL, 0, NULL, 0}};
    struct cli_client_options options = {.command = "get", .timeout_ms = CLI_CLIENT_TIMEOUT_MS};
    int code = cli_client_options(argc, argv, ":o:" CLI_CLIENT_SHORT_OPTIONS CLI_MOVE_SHORT_OPTIONS,
                                  known, print_help, &options);
    if (code != CLI_GO_ON) {
        return code;
    }
    if (argc - optind != 1) {
        return cli_usage("get", argc == optind ? "a URL is missing" : "one URL is taken, not %d",
                         argc - optind);
    }
    return get(&options, argv[optind]);
}
