/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway(1): finds the sub-command and hands over. */
#include <locale.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include <ropeway.h>

#include "common/cli.h"
#include "common/message.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"serve", cli_run_serve, "offer files for reading, and take uploads"},
    {"get", cli_run_get, "fetch a file from a server"},
    {"put", cli_run_put, "send a file to a server"},
    {"ls", cli_run_ls, "list what a server offers"},
    {"info", cli_run_info, "show versions, transports and devices"},
    {"doctor", cli_run_doctor, "check this machine's set-up, and say what to change"},
    {"perf", cli_run_perf, "measure latency, bandwidth and CPU time"},
};

static void print_help(FILE *out) {
    fputs("Usage: ropeway COMMAND [OPTION]... [ARGUMENT]...\n"
          "Move files and memory between workers.\n"
          "\n"
          "Commands:\n",
          out);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    }
    fputs("\n"
          "Options:\n"
          "  -h, --help     show this text; 'ropeway COMMAND --help' tells about a command\n"
          "  -V, --version  show the version of Ropeway\n"
          "\n"
          "Exit code: 0 when it is done, 1 when it failed, 2 when the command line is wrong.\n",
          out);
}

static const struct command *find(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int run_help(int argc, char **argv) {
    if (argc < 3) {
        print_help(stdout);
        return cli_flush_stdout();
    }
    const struct command *command = find(argv[2]);
    if (command == NULL) {
        return cli_usage(NULL, "'%s' is not a command", argv[2]);
    }
    char help[] = "--help";
    char *arguments[] = {argv[2], help, NULL};
    return command->run(2, arguments);
}

/* Before anything uses OpenSSL: the NATS library (3.4) frees a list of OpenSSL's when it closes,
 * and OpenSSL would free it again when the process exits. */
static void keep_openssl(void) {
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

int main(int argc, char **argv) {
    setlocale(LC_CTYPE, "C.UTF-8");
    keep_openssl();
    if (!cli_open_standard_fds()) {
        return CLI_EXIT_FAILED;
    }
    if (argc < 2) {
        return cli_usage(NULL, "a command is missing");
    }
    const char *first = argv[1];
    if (strcmp(first, "help") == 0) {
        return run_help(argc, argv);
    }
    if (strcmp(first, "-h") == 0 || strcmp(first, "--help") == 0) {
        print_help(stdout);
        return cli_flush_stdout();
    }
    if (strcmp(first, "-V") == 0 || strcmp(first, "--version") == 0) {
        printf("ropeway %s\n", ropeway_version());
        return cli_flush_stdout();
    }
    const struct command *command = find(first);
    if (command == NULL) {
        return cli_usage(NULL, "'%s' is not a %s", first,
                         first[0] == '-' ? "known option" : "command");
    }
    return command->run(argc - 1, argv + 1);
}
