/* SPDX-License-Identifier: Apache-2.0 */
/* The ports of this host's RDMA devices, as the kernel lists them. */
#ifndef CLI_DOCTOR_PORTS_H
#define CLI_DOCTOR_PORTS_H

#include <stdbool.h>

#define CLI_PORT_TEXT 64

struct cli_port {
    char name[2 * CLI_PORT_TEXT];  /* "mlx5_0:1", as net_devices takes it */
    char state[CLI_PORT_TEXT];     /* "ACTIVE", "DOWN" and so on */
    bool active;                   /* it can carry bytes */
    bool ethernet;                 /* RoCE, and not InfiniBand */
    char rate[CLI_PORT_TEXT];      /* "100 Gb/sec (4X EDR)" */
    char interface[CLI_PORT_TEXT]; /* of the network; "": none */
    long mtu;                      /* of the interface, in bytes; 0: unknown */
    int gid_index;                 /* of an address that peers can use; -1: there is none */
    char gid[CLI_PORT_TEXT];       /* that address */
    char gid_type[CLI_PORT_TEXT];  /* "RoCE v2", "IB/RoCE v1" */
    char file[CLI_PORT_TEXT];      /* of the device, in /dev; "": it has none */
    int file_error;                /* why it can't be opened, as errno; 0: it can */
};

/* Calls back for each port, in no particular order. */
void cli_ports_each(void (*take)(const struct cli_port *port, void *argument), void *argument);

#endif
