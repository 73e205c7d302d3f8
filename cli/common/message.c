/* SPDX-License-Identifier: Apache-2.0 */
/* One sentence a line on stderr, with what was printed on stdout before it. */
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "text.h"

static void (*redirection)(const char *level, const char *sentence);

void cli_redirect_sentences(void (*sink)(const char *level, const char *sentence)) {
    redirection = sink;
}

static void complain(const char *level, const char *format, va_list arguments, const char *suffix) {
    char whole[CLI_SENTENCE_SIZE], text[CLI_SENTENCE_SIZE];
    vsnprintf(whole, sizeof whole, format, arguments);
    cli_sentence(text, "%s", whole);
    cli_printable(text);
    if (redirection != NULL) {
        redirection(level, text);
        return;
    }
    fflush(stdout);
    fprintf(stderr, "ropeway: %s%s%s\n", strcmp(level, "warning") == 0 ? "warning: " : "", text,
            suffix);
}

int cli_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    complain("error", format, arguments, "");
    va_end(arguments);
    return CLI_EXIT_FAILED;
}

void cli_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    complain("warning", format, arguments, "");
    va_end(arguments);
}

int cli_usage(const char *command, const char *format, ...) {
    char suffix[64];
    snprintf(suffix, sizeof suffix, "; see 'ropeway %s%s--help'", command != NULL ? command : "",
             command != NULL ? " " : "");
    va_list arguments;
    va_start(arguments, format);
    complain("error", format, arguments, suffix);
    va_end(arguments);
    return CLI_EXIT_USAGE;
}

int cli_usage_option(const char *command, int result, char *const *argv) {
    if (result == ':') {
        return cli_usage(command, "option '%s' needs an argument", argv[optind - 1]);
    }
    return cli_usage(command,
                     "option '%s' is not known, or is given an argument that it does not take",
                     argv[optind - 1]);
}

bool cli_open_standard_fds(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) {
            continue;
        }
        if (open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd) {
            cli_fail("can't open /dev/null: %s; this machine lacks it", cli_errno_text(errno));
            return false;
        }
    }
    return true;
}

int cli_flush_stdout(void) {
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return CLI_EXIT_OK;
    }
    return cli_fail("can't write to standard output: %s", cli_errno_text(errno));
}

void cli_log_line(void *arg, ropeway_log_level_t level, const char *text) {
    (void)arg;
    (void)level;
    cli_warn("%s", text);
}
