/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line of ropeway serve asks for. */
#ifndef CLI_SERVE_OPTIONS_H
#define CLI_SERVE_OPTIONS_H

#include "serve.h"

struct cli_serve_options {
    struct cli_httpd_options http;
    struct cli_natsd_options nats;
    const char *writable;
    const char *token_file;
    const char *transports;
    const char *data_port;      /* one or a range; NULL: any */
    const char *data_advertise; /* where clients connect to for the bytes; NULL: where it listens */
    uint64_t max_clients;
    uint32_t grace_ms;
    struct cli_transfer_limits limits;
    uint32_t deadline_ms;
    bool interop;
    bool log_as_json;
};

/* Takes the options of a command line, with defaults for those that are not given, and leaves
 * optind behind them. Returns an exit code, or CLI_GO_ON. */
int cli_serve_options(int argc, char **argv, struct cli_serve_options *options);

#endif
