/* SPDX-License-Identifier: Apache-2.0 */
/* The options that name files of keys and certificates. */
#include "credentials.h"

#include <stddef.h>

#include "common/message.h"

bool cli_credentials_option(int option, const char *argument, struct cli_credentials *credentials) {
    switch (option) {
    case CLI_OPTION_NATS_CREDS:
        credentials->nats_creds = argument;
        return true;
    case CLI_OPTION_TLS_CA:
        credentials->tls_ca = argument;
        return true;
    case CLI_OPTION_TLS_CERT:
        credentials->tls_cert = argument;
        return true;
    case CLI_OPTION_TLS_KEY:
        credentials->tls_key = argument;
        return true;
    default:
        return false;
    }
}

bool cli_credentials_check(const struct cli_credentials *credentials, const char *command) {
    if ((credentials->tls_cert == NULL) == (credentials->tls_key == NULL)) {
        return true;
    }
    cli_usage(command, "--tls-cert and --tls-key go together, and one of them is missing");
    return false;
}
