/* SPDX-License-Identifier: Apache-2.0 */
/* A check that moves bytes to a second process and back. */
#include "doctor.h"

#include <stdio.h>
#include <string.h>

#include "facts.h"
#include "perf/perf.h"

#define SIZE ((size_t)16 << 20)
#define COUNT 4
#define COUNT_BY_DEVICE 1 /* there may be many devices, and slow ones in software */

/* Moves and compares; returns bytes a second, or a negative number with a sentence in the
 * session. */
static double move(struct cli_perf_session *session, ropeway_operation_kind_t kind, size_t count,
                   char *path, size_t path_size) {
    struct cli_perf_batch batch = {.kind = kind,
                                   .size = SIZE,
                                   .slots = 1,
                                   .count = count,
                                   .verify = true,
                                   .path = path,
                                   .path_size = path_size};
    if (!cli_perf_batch_run(session, &batch)) {
        return -1;
    }
    return (double)(SIZE * count) / (double)batch.wall_ns * 1e9;
}

static void move_both_ways(struct cli_doctor *doctor, struct cli_perf_session *session,
                           const char *name, size_t count, bool on_this_host) {
    char path[256] = "";
    double read = move(session, ROPEWAY_OPERATION_READ, count, path, sizeof path);
    double write = read > 0 ? move(session, ROPEWAY_OPERATION_WRITE, count, NULL, 0) : -1;
    if (write < 0) {
        cli_doctor_fail(
            doctor, name,
            "see the checks above, and 'ropeway info' for the transports that are there", "%s",
            session->error);
    } else if (on_this_host && strstr(path, "pull") == NULL) {
        cli_doctor_warn(doctor, name, "see the check of the memory of other processes",
                        "read at %.0f MB/s, write at %.0f MB/s, but with a copy on each side (%s)",
                        read / 1e6, write / 1e6, path);
    } else {
        cli_doctor_ok(doctor, name, "read at %.0f MB/s, write at %.0f MB/s, every byte right (%s)",
                      read / 1e6, write / 1e6, path);
    }
}

void cli_doctor_check_transfer(struct cli_doctor *doctor, const char *server,
                               const char *transports, const char *net_devices) {
    struct cli_perf_session session;
    char name[256];
    bool any = strcmp(transports, "any") == 0;
    snprintf(name, sizeof name, "transfer%s%s%s%s", any ? " on this host" : " over ",
             any ? "" : transports, net_devices != NULL ? " by " : "",
             net_devices != NULL ? net_devices : "");
    if (!cli_perf_session_open(&session, server, transports, net_devices, ROPEWAY_INHERIT)) {
        cli_doctor_fail(doctor, name, "'ropeway info' shows the transports that are there", "%s",
                        session.error);
    } else {
        move_both_ways(doctor, &session, name, net_devices != NULL ? COUNT_BY_DEVICE : COUNT, any);
    }
    cli_perf_session_close(&session);
}
