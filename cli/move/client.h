/* SPDX-License-Identifier: Apache-2.0 */
/* What get, put and ls share: options, the server's answers, and the move of bytes. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>
#include <ropeway.h>

#include "channel/channel.h"
#include "common/api.h"
#include "common/checksum.h"
#include "common/map.h"
#include "progress.h"

#define CLI_TAG_SIZE 128
#define CLI_PATH_SIZE 256

struct cli_client_options {
    const char *command;
    const char *token_file;
    const char *transports;
    const char *output; /* get: where to write; NULL: not said */
    struct cli_credentials credentials;
    uint32_t timeout_ms;
    bool quiet;
    bool json;
    bool verify;
};

/* The options that get, put and ls all have; for their own they add to these. */
#define CLI_CLIENT_TIMEOUT_MS 30000 /* the default of --timeout */
#define CLI_CLIENT_SHORT_OPTIONS "t:h"
/* clang-format off */
#define CLI_CLIENT_LONG_OPTIONS                                                                     \
    {"token-file", required_argument, NULL, 't'},                                                  \
    {"timeout", required_argument, NULL, 'm'},                                                     \
    {"json", no_argument, NULL, 'j'},                                                              \
    CLI_CREDENTIALS_LONG_OPTIONS,                                                                   \
    {"help", no_argument, NULL, 'h'}
/* clang-format on */
/* And those of get and put. */
#define CLI_MOVE_SHORT_OPTIONS "qv"
/* clang-format off */
#define CLI_MOVE_LONG_OPTIONS                                                                       \
    {"transports", required_argument, NULL, 'T'},                                                  \
    {"quiet", no_argument, NULL, 'q'},                                                             \
    {"verify", no_argument, NULL, 'v'}
/* clang-format on */
#define CLI_CLIENT_OPTIONS_HELP                                                                    \
    "  -t, --token-file FILE   send the token in FILE, for a server that asks for it (or in\n"     \
    "                          the environment variable ROPEWAY_TOKEN)\n"                          \
    "      --timeout SECONDS   give up when the server is silent, busy, or no byte moves for\n"    \
    "                          this long (default 30)\n"                                           \
    "      --nats-creds FILE   prove to a NATS server who you are, with a credentials file\n"      \
    "      --tls-ca FILE       trust the certificates in FILE (PEM), and use TLS over NATS\n"      \
    "      --tls-cert FILE, --tls-key FILE\n"                                                      \
    "                          show the server this certificate\n"
#define CLI_MOVE_OPTIONS_HELP                                                                      \
    "  -v, --verify            compare a checksum (XXH3-128) of both ends' bytes\n"                \
    "      --transports LIST   what moves the bytes instead: as 'local,pull', or UCX's\n"          \
    "                          transports as in UCX_TLS, e.g. 'rc,self'\n"                         \
    "      --json              at the end print a line of JSON: name, file, bytes, seconds,\n"     \
    "                          rate (bytes per second), path (the transports that carried\n"       \
    "                          the bytes), checksum (with --verify)\n"                             \
    "  -q, --quiet             show no progress line\n"

/* Takes the options of a command line and leaves optind behind them. Returns an exit code, or
 * CLI_GO_ON. */
int cli_client_options(int argc, char **argv, const char *short_options,
                       const struct option *long_options, void (*print_help)(void),
                       struct cli_client_options *options);

struct cli_client {
    const struct cli_client_options *options;
    struct cli_url url;
    struct cli_channel *channel;
    ropeway_connector_t *connector;
    struct cli_progress progress;
    char path[CLI_PATH_SIZE]; /* the transports that carried the latest bytes */
};

/* Reads the URL, the token, and installs the signal handlers. False: code is the exit code.
 * cli_client_close() must follow in both cases. */
bool cli_client_open(struct cli_client *client, const struct cli_client_options *options,
                     const char *url, int *code);

/* Makes the connector. False: a sentence was printed. */
bool cli_client_connect(struct cli_client *client);

void cli_client_close(struct cli_client *client);

/* The exit code of the command: that of the signal when one came. */
int cli_client_exit_code(int code);

/* An operation that a server offers. */
struct cli_offer {
    uint64_t size;   /* of the whole object */
    uint64_t offset; /* of the part that is offered */
    uint64_t length;
    char tag[CLI_TAG_SIZE];              /* read: equal while the object does not change */
    char transfer[CLI_TRANSFER_ID_SIZE]; /* "": the server tells no outcome */
    char server[CLI_SERVER_ID_SIZE];     /* which one has the transfer; "": it does not say */
    char *metadata;
};

/* Ask for an object from offset on, at most length bytes; or for a place to put one of size bytes
 * with this checksum (NULL: none). False: a sentence was printed, or a signal came. */
bool cli_client_ask_read(struct cli_client *client, const char *name, uint64_t offset,
                         uint64_t length, struct cli_offer *offer);
bool cli_client_ask_write(struct cli_client *client, const char *name, uint64_t size,
                          const char *checksum, struct cli_offer *offer);
void cli_offer_free(struct cli_offer *offer);

/* Begins to move offer->length bytes between the offer and data. */
bool cli_client_begin(struct cli_client *client, const struct cli_offer *offer,
                      ropeway_operation_kind_t kind, void *data, ropeway_operation_t **operation);

/* Waits for the end, shows progress (from base on), and releases the operation. */
bool cli_client_wait(struct cli_client *client, ropeway_operation_t *operation, uint64_t base);

/* Asks the server how it went on its side; waits while it is at work. checksum: what it found, ""
 * when it was not asked for; may be NULL. */
bool cli_client_confirm(struct cli_client *client, const struct cli_offer *offer, char *checksum);

/* The checksum of a mapped file. False: a sentence was printed, or a signal came. */
bool cli_client_checksum(const struct cli_map *map, char checksum[CLI_CHECKSUM_SIZE]);

/* The line of --json, and what a terminal gets to see at the end. to_stderr: stdout carries data.
 * Returns an exit code. */
int cli_client_report(struct cli_client *client, const char *file, uint64_t bytes, double seconds,
                      const char *checksum, bool to_stderr);

#endif
