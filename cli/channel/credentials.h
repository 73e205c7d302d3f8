/* SPDX-License-Identifier: Apache-2.0 */
/* Files with which a command proves who it is to a NATS or HTTPS server, and knows that server. */
#ifndef CLI_CREDENTIALS_H
#define CLI_CREDENTIALS_H

#include <getopt.h>
#include <stdbool.h>

/* Paths; NULL for none. */
struct cli_credentials {
    const char *nats_creds; /* JWT and seed of a NATS user */
    const char *tls_ca;     /* certificates that the server's must lead to, PEM */
    const char *tls_cert;   /* this side's certificate and its key, PEM */
    const char *tls_key;
};

enum { CLI_OPTION_NATS_CREDS = 256, CLI_OPTION_TLS_CA, CLI_OPTION_TLS_CERT, CLI_OPTION_TLS_KEY };

/* clang-format off */
#define CLI_CREDENTIALS_LONG_OPTIONS                                                                \
    {"nats-creds", required_argument, NULL, CLI_OPTION_NATS_CREDS},                                 \
    {"tls-ca", required_argument, NULL, CLI_OPTION_TLS_CA},                                         \
    {"tls-cert", required_argument, NULL, CLI_OPTION_TLS_CERT},                                     \
    {"tls-key", required_argument, NULL, CLI_OPTION_TLS_KEY}
/* clang-format on */

/* Takes one of these options. False: it is another one. */
bool cli_credentials_option(int option, const char *argument, struct cli_credentials *credentials);

/* Whether they can be used together. False: a sentence on how to use command was printed. */
bool cli_credentials_check(const struct cli_credentials *credentials, const char *command);

#endif
