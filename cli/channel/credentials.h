/* SPDX-License-Identifier: Apache-2.0 */
/* Files with which a command proves who it is to a NATS or HTTPS server, and knows that server. */
#ifndef RW_CREDENTIALS_H
#define RW_CREDENTIALS_H

#include <getopt.h>
#include <stdbool.h>

/* Paths; NULL for none. */
struct rw_credentials {
    const char *nats_creds; /* JWT and seed of a NATS user */
    const char *tls_ca;     /* certificates that the server's must lead to, PEM */
    const char *tls_cert;   /* this side's certificate and its key, PEM */
    const char *tls_key;
};

enum { RW_OPTION_NATS_CREDS = 256, RW_OPTION_TLS_CA, RW_OPTION_TLS_CERT, RW_OPTION_TLS_KEY };

/* clang-format off */
#define RW_CREDENTIALS_LONG_OPTIONS                                                                \
    {"nats-creds", required_argument, NULL, RW_OPTION_NATS_CREDS},                                 \
    {"tls-ca", required_argument, NULL, RW_OPTION_TLS_CA},                                         \
    {"tls-cert", required_argument, NULL, RW_OPTION_TLS_CERT},                                     \
    {"tls-key", required_argument, NULL, RW_OPTION_TLS_KEY}
/* clang-format on */

/* Takes one of these options. False: it is another one. */
bool rw_credentials_option(int option, const char *argument, struct rw_credentials *credentials);

/* Whether they can be used together. False: a sentence on how to use command was printed. */
bool rw_credentials_check(const struct rw_credentials *credentials, const char *command);

#endif
