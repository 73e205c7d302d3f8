/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway doctor: the list of checks, and how each reports. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include <stdbool.h>

#include <jansson.h>

struct cli_doctor {
    bool json;              /* report at the end, and not as it goes */
    json_t *checks;         /* an array of {name, status, text, remedy} */
    unsigned warnings;      /* checks that ended in warn */
    unsigned failures;      /* checks that ended in fail */
    const json_t *facts;    /* of ropeway_describe(); NULL: UCX can't be used */
    char facts_error[1024]; /* why facts is NULL */
};

/* Reports a check. remedy: what to do about it, a sentence without a full stop. */
void cli_doctor_ok(struct cli_doctor *doctor, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void cli_doctor_warn(struct cli_doctor *doctor, const char *name, const char *remedy,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));
void cli_doctor_fail(struct cli_doctor *doctor, const char *name, const char *remedy,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

struct cli_port;

/* ucx.c: what the loaded UCX can do here. */
void cli_doctor_check_release(struct cli_doctor *doctor);
void cli_doctor_check_settings(struct cli_doctor *doctor);
void cli_doctor_check_infiniband(struct cli_doctor *doctor);
void cli_doctor_check_cuda(struct cli_doctor *doctor);

/* system.c: what the operating system allows. */
void cli_doctor_check_cma(struct cli_doctor *doctor);
void cli_doctor_check_shared_memory(struct cli_doctor *doctor);
void cli_doctor_check_locked_memory(struct cli_doctor *doctor);
void cli_doctor_check_open_files(struct cli_doctor *doctor);
void cli_doctor_check_interfaces(struct cli_doctor *doctor);
void cli_doctor_check_listen(struct cli_doctor *doctor, const char *address);
/* A port of an RDMA device. */
void cli_doctor_check_port(struct cli_doctor *doctor, const struct cli_port *port);

/* transfer.c: moves bytes to a second process and back, over one set of transports and these
 * devices on both sides; NULL: all. server: the address of a perf server. */
void cli_doctor_check_transfer(struct cli_doctor *doctor, const char *server,
                               const char *transports, const char *net_devices);

#endif
