/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a server, on stderr: a line for each transfer that has ended, for each request that is
 * refused, and for what else happens. Lines that say the same again within ten seconds are counted
 * and told once, and refusals that come faster than anyone reads are counted: a flood fills no
 * disk.
 */
#ifndef CLI_SERVE_LOG_H
#define CLI_SERVE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define CLI_PEER_SIZE 64

/* What happened. NULL and 0 where there is nothing to say, save for the level. */
struct cli_log_entry {
    const char *level;   /* "info", "warning", "error" */
    const char *outcome; /* "complete", "failed", "refused" */
    const char *kind;    /* "read" or "write"; of a refusal what was asked for */
    const char *peer;    /* the client's address; over NATS, where it takes answers */
    const char *object;
    bool moved; /* bytes, seconds and path are known */
    uint64_t bytes;
    double seconds;
    const char *path;  /* what carried the bytes */
    const char *trace; /* the client's trace context; "": none */
    int status;        /* of a refusal, as HTTP numbers them */
    const char *error; /* name of the library's error */
    const char *text;  /* a sentence */
};

/* Sends all that the command prints as a sentence to the log from now on. */
void cli_log_start(bool as_json);

void cli_log(const struct cli_log_entry *entry);

/* Tells the counts of lines that were not printed. Call it now and then, and at the end. */
void cli_log_flush(void);

#endif
