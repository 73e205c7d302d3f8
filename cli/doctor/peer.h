/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway doctor --peer. */
#ifndef CLI_DOCTOR_PEER_H
#define CLI_DOCTOR_PEER_H

#include <stdbool.h>

#include <ropeway.h>

struct cli_peer_options {
    const char *path;        /* of the metadata; "-": stdin */
    const char *transports;  /* as the connector's; NULL: its default */
    const char *net_devices; /* the same */
    ropeway_device_t device; /* of the memory here */
    bool json;
};

/* Prints how the peer would be reached. Returns an exit code: CLI_EXIT_FAILED also if there is no
 * way. */
int cli_doctor_peer(const struct cli_peer_options *options);

#endif
