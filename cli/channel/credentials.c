/* SPDX-License-Identifier: Apache-2.0 */
#include "credentials.h"

#include <stddef.h>

#include "common/util.h"

bool rw_credentials_option(int option, const char *argument, struct rw_credentials *credentials) {
    switch (option) {
    case RW_OPTION_NATS_CREDS:
        credentials->nats_creds = argument;
        return true;
    case RW_OPTION_TLS_CA:
        credentials->tls_ca = argument;
        return true;
    case RW_OPTION_TLS_CERT:
        credentials->tls_cert = argument;
        return true;
    case RW_OPTION_TLS_KEY:
        credentials->tls_key = argument;
        return true;
    default:
        return false;
    }
}

bool rw_credentials_check(const struct rw_credentials *credentials, const char *command) {
    if (!credentials->tls_cert == !credentials->tls_key)
        return true;
    rw_usage(command, "--tls-cert and --tls-key go together, and one of them is missing");
    return false;
}
