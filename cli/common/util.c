/* SPDX-License-Identifier: Apache-2.0 */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

void cli_printable(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at != '\0'; at++) {
        bool c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f;
        if (*at < 0x20 || *at == 0x7f || c1) {
            *at = '?';
        }
        if (c1) {
            *++at = '?';
        }
    }
}

/* Cuts the first bytes of a character whose end is missing off a text that was cut. */
static void drop_partial_character(char *text) {
    size_t length = strlen(text), tail = 0;
    while (tail < length && tail < 4 && ((unsigned char)text[length - 1 - tail] & 0xc0) == 0x80) {
        tail++;
    }
    if (tail == length) {
        return;
    }
    unsigned char lead = (unsigned char)text[length - 1 - tail];
    size_t wanted = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    if (wanted > tail) {
        text[length - 1 - tail] = '\0';
    }
}

static void vsentence(char text[CLI_SENTENCE_SIZE], const char *format, va_list arguments) {
    if (vsnprintf(text, CLI_SENTENCE_SIZE, format, arguments) >= CLI_SENTENCE_SIZE) {
        drop_partial_character(text);
    }
}

void cli_sentence(char text[CLI_SENTENCE_SIZE], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsentence(text, format, arguments);
    va_end(arguments);
}

static void complain(const char *prefix, const char *format, va_list arguments,
                     const char *suffix) {
    char text[CLI_SENTENCE_SIZE];
    vsentence(text, format, arguments);
    cli_printable(text);
    fflush(stdout);
    fprintf(stderr, "ropeway: %s%s%s\n", prefix, text, suffix);
}

int cli_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    complain("", format, arguments, "");
    va_end(arguments);
    return CLI_EXIT_FAILED;
}

void cli_warn(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    complain("warning: ", format, arguments, "");
    va_end(arguments);
}

int cli_usage(const char *command, const char *format, ...) {
    char suffix[64];
    snprintf(suffix, sizeof suffix, "; see 'ropeway %s%s--help'", command != NULL ? command : "",
             command != NULL ? " " : "");
    va_list arguments;
    va_start(arguments, format);
    complain("", format, arguments, suffix);
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

char *cli_format(const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return length < 0 ? NULL : text;
}

const char *cli_size_text(uint64_t size, char buffer[CLI_SIZE_TEXT]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)size;
    size_t unit = 0;
    /* 1023.95 would print as 1024.0. */
    while (unit + 1 < sizeof units / sizeof *units && value >= (unit != 0 ? 1023.95 : 1024.0)) {
        value /= 1024.0;
        unit++;
    }
    snprintf(buffer, CLI_SIZE_TEXT, unit != 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return buffer;
}

bool cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value) {
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || number < min || number > max) {
        return false;
    }
    *value = number;
    return true;
}

bool cli_parse_seconds(const char *text, uint32_t min_ms, uint32_t max_ms, uint32_t *ms) {
    if (*text == '\0' || strspn(text, "0123456789.") != strlen(text)) {
        return false;
    }
    char *end;
    double seconds = strtod(text, &end);
    if (*end != '\0' || !(seconds * 1000.0 >= min_ms && seconds * 1000.0 <= max_ms)) {
        return false;
    }
    *ms = (uint32_t)(seconds * 1000.0 + 0.5);
    return true;
}

static struct timespec now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time;
}

uint64_t cli_now_ms(void) {
    struct timespec time = now();
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

double cli_now_seconds(void) {
    struct timespec time = now();
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

const char *cli_errno_text(int number) {
    const char *text = strerrordesc_np(number);
    return text != NULL ? text : "unknown error";
}

void cli_log_line(void *arg, ropeway_log_level_t level, const char *text) {
    (void)arg;
    (void)level;
    cli_warn("%s", text);
}
