/* SPDX-License-Identifier: Apache-2.0 */
/* How far, how fast and how long, on one line that is written over. */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/text.h"

#define LABEL_MAX 128

void cli_progress_begin(struct cli_progress *progress, const char *label, uint64_t total,
                        bool quiet) {
    *progress = (struct cli_progress){.enabled = !quiet && isatty(STDERR_FILENO),
                                      .label = label,
                                      .total = total,
                                      .started = cli_now_seconds()};
}

static void format_left(double seconds, char *text, size_t size) {
    unsigned long whole = seconds < 359999.0 ? (unsigned long)(seconds + 0.5) : 359999;
    if (whole >= 3600) {
        snprintf(text, size, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
    } else {
        snprintf(text, size, "%lu:%02lu", whole / 60, whole % 60);
    }
}

void cli_progress_show(struct cli_progress *progress, uint64_t done) {
    if (!progress->enabled) {
        return;
    }
    char done_text[CLI_SIZE_TEXT], total_text[CLI_SIZE_TEXT], rate_text[CLI_SIZE_TEXT];
    char label[LABEL_MAX], left[24] = "-:--", line[LABEL_MAX + 160];
    struct winsize window = {0};
    double seconds = cli_now_seconds() - progress->started;
    double rate = seconds > 0.0 ? (double)done / seconds : 0.0;
    if (rate > 0.0) {
        format_left((double)(progress->total - done) / rate, left, sizeof left);
    }
    snprintf(label, sizeof label, "%.40s", progress->label);
    cli_printable(label);
    snprintf(line, sizeof line, "%s  %3.0f %%  %s of %s  %s/s  %s left", label,
             progress->total != 0 ? 100.0 * (double)done / (double)progress->total : 100.0,
             cli_size_text(done, done_text), cli_size_text(progress->total, total_text),
             cli_size_text((uint64_t)rate, rate_text), left);
    /* A line that wraps can't be written over. */
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 &&
        window.ws_col <= strlen(line)) {
        line[window.ws_col - 1] = '\0';
    }
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    progress->shown = true;
}

void cli_progress_clear(struct cli_progress *progress) {
    if (progress->shown) {
        fputs("\r\033[K", stderr);
    }
    progress->shown = false;
}
