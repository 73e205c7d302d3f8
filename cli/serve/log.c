/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the log: their form, and which of them are worth printing. */
#include "log.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "common/clock.h"
#include "common/message.h"
#include "common/text.h"

#define RECENT 16      /* lines that are remembered */
#define SAME_MS 10000  /* how long an equal line is only counted */
#define BURST 200      /* refusals at once */
#define PER_SECOND 20  /* and on average */
#define LINE_SIZE 3584 /* what is longer than this and its time may not fit into a pipe */
#define PART_SIZE 300  /* of a name or target */

/* A line that was printed, without its time. */
struct recent {
    char *line;
    uint64_t printed_ms;
    uint64_t count; /* of equal ones since */
};

static struct {
    pthread_mutex_t lock;
    bool as_json;
    struct recent recent[RECENT];
    double allowance; /* of refusals */
    uint64_t allowance_ms;
    uint64_t dropped;
    uint64_t dropped_told_ms;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .allowance = BURST};

/* ---- Form ------------------------------------------------------------------------ */

static void add(json_t *line, const char *key, const char *value) {
    if (value != NULL && value[0] != '\0') {
        json_object_set_new(line, key, json_string(value));
    }
}

/* The line as JSON, from its level on, to be freed. */
static char *json_line(const struct cli_log_entry *entry) {
    json_t *line = json_object();
    add(line, "level", entry->level);
    add(line, "outcome", entry->outcome);
    add(line, entry->status != 0 ? "request" : "kind", entry->kind);
    add(line, "peer", entry->peer);
    add(line, "object", entry->object);
    if (entry->moved) {
        json_object_set_new(line, "bytes", json_integer((json_int_t)entry->bytes));
        json_object_set_new(line, "seconds", json_real(entry->seconds));
        add(line, "path", entry->path);
        add(line, "trace", entry->trace);
    }
    if (entry->status != 0) {
        json_object_set_new(line, "status", json_integer(entry->status));
    }
    add(line, "error", entry->error);
    add(line, "text", entry->text);
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(line);
    return text;
}

/* The line for people, from its level on, to be freed. */
static char *text_line(const struct cli_log_entry *entry) {
    char size[CLI_SIZE_TEXT], moved[512] = "", code[32] = "";
    if (entry->outcome == NULL) {
        return cli_format("%s: %s", entry->level, entry->text);
    }
    if (entry->moved) {
        snprintf(moved, sizeof moved, ", %s in %.3f s%s%s%s%s", cli_size_text(entry->bytes, size),
                 entry->seconds, entry->path[0] != '\0' ? " by " : "", entry->path,
                 entry->trace[0] != '\0' ? ", trace " : "", entry->trace);
    }
    if (entry->status != 0) {
        snprintf(code, sizeof code, " (%d)", entry->status);
    } else if (entry->error != NULL) {
        snprintf(code, sizeof code, " (%s)", entry->error);
    }
    bool named = entry->object != NULL && entry->object[0] != '\0';
    return cli_format("%s: %s: %s%s%s%s %s%s%s%s%s", entry->level, entry->peer, entry->kind,
                      named ? " of '" : "", named ? entry->object : "", named ? "'" : "",
                      entry->outcome, code, moved, entry->text != NULL ? ": " : "",
                      entry->text != NULL ? entry->text : "");
}

/* Writes a line if that does not block: whoever does not read the log must not stop the server. */
static void print(const char *line) {
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    struct timespec now;
    struct tm date;
    char time[32], whole[LINE_SIZE + 64];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &date);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &date);
    int length =
        snprintf(whole, sizeof whole,
                 state.as_json ? "{\"time\":\"%s.%03ldZ\",%.*s\n" : "ropeway: %s.%03ldZ %.*s\n",
                 time, now.tv_nsec / 1000000, (int)LINE_SIZE, line + state.as_json);
    /* A pipe that is ready takes a line of this size as a whole. */
    bool taken = poll(&out, 1, 0) > 0 && (out.revents & POLLOUT) != 0 &&
                 write(STDERR_FILENO, whole, (size_t)length) == length;
    state.dropped += !taken;
}

/* ---- Which lines ------------------------------------------------------------------- */

/* Prints how often a line was left out. */
static void tell_repeats(struct recent *recent) {
    char line[LINE_SIZE];
    if (recent->count == 0) {
        return;
    }
    snprintf(line, sizeof line, state.as_json ? "{\"repeated\":%llu,%s" : "%llu more times: %s",
             (unsigned long long)recent->count, recent->line + state.as_json);
    print(line);
    recent->count = 0;
}

/* Whether a line is to be printed; it is remembered then. */
static bool is_new(const char *line) {
    uint64_t now = cli_now_ms();
    struct recent *oldest = &state.recent[0];
    for (size_t i = 0; i < RECENT; i++) {
        struct recent *each = &state.recent[i];
        if (each->line != NULL && strcmp(each->line, line) == 0) {
            each->count++;
            return false;
        }
        if (each->printed_ms < oldest->printed_ms) {
            oldest = each;
        }
    }
    if (oldest->line != NULL) {
        tell_repeats(oldest);
        free(oldest->line);
    }
    *oldest = (struct recent){.line = strdup(line), .printed_ms = now};
    return true;
}

/* Whether another refusal may be printed. */
static bool is_allowed(void) {
    uint64_t now = cli_now_ms();
    state.allowance += (double)(now - state.allowance_ms) * PER_SECOND / 1000.0;
    state.allowance = state.allowance > BURST ? BURST : state.allowance;
    state.allowance_ms = now;
    if (state.allowance < 1.0) {
        state.dropped++;
        return false;
    }
    state.allowance -= 1.0;
    return true;
}

static void flush_old(uint64_t age_ms) {
    uint64_t now = cli_now_ms();
    char line[128];
    for (size_t i = 0; i < RECENT; i++) {
        struct recent *each = &state.recent[i];
        if (each->line != NULL && now >= each->printed_ms + age_ms) {
            tell_repeats(each);
            free(each->line);
            *each = (struct recent){0};
        }
    }
    if (state.dropped > 0 && now >= state.dropped_told_ms + age_ms) {
        snprintf(line, sizeof line,
                 state.as_json
                     ? "{\"level\":\"warning\",\"text\":\"%llu more lines are not shown\"}"
                     : "warning: %llu more lines are not shown",
                 (unsigned long long)state.dropped);
        state.dropped = 0;
        state.dropped_told_ms = now;
        print(line);
    }
}

/* A part of a line, cut and without what may not be printed, in the buffer. */
static const char *shown(const char *text, size_t size, char buffer[CLI_SENTENCE_SIZE]) {
    if (text == NULL) {
        return NULL;
    }
    snprintf(buffer, size, "%s", text);
    cli_printable(buffer);
    return buffer;
}

void cli_log(const struct cli_log_entry *raw) {
    char kind[CLI_SENTENCE_SIZE], object[CLI_SENTENCE_SIZE], text[CLI_SENTENCE_SIZE];
    struct cli_log_entry copy = *raw, *entry = &copy;
    copy.kind = shown(raw->kind, PART_SIZE, kind);
    copy.object = shown(raw->object, PART_SIZE, object);
    copy.text = shown(raw->text, CLI_SENTENCE_SIZE, text);
    char *line = state.as_json ? json_line(entry) : text_line(entry);
    pthread_mutex_lock(&state.lock);
    flush_old(SAME_MS);
    /* A transfer that moved bytes is told each time. */
    if (line != NULL && (entry->moved || (is_new(line) && (entry->status == 0 || is_allowed())))) {
        print(line);
    }
    pthread_mutex_unlock(&state.lock);
    free(line);
}

void cli_log_flush(void) {
    pthread_mutex_lock(&state.lock);
    flush_old(0);
    pthread_mutex_unlock(&state.lock);
}

static void on_sentence(const char *level, const char *sentence) {
    cli_log(&(struct cli_log_entry){.level = level, .text = sentence});
}

void cli_log_start(bool as_json) {
    state.as_json = as_json;
    state.allowance_ms = cli_now_ms();
    cli_redirect_sentences(on_sentence);
}
