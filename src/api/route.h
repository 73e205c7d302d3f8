/* SPDX-License-Identifier: Apache-2.0 */
/* What ropeway_connector_route() finds out, and how it becomes JSON. */
#ifndef RW_ROUTE_H
#define RW_ROUTE_H

#include "native/native.h"

#define RW_SENTENCE_MAX 1024
#define RW_WAYS_MAX (RW_ROUTES_MAX + 2) /* of a kind, by the other carrier, as a stock peer */

/* A way that was looked at. */
typedef struct rw_way {
    const char *link; /* its kind */
    const char *mover;
    char path[128];
    char why[RW_SENTENCE_MAX];
    bool refused;
    bool asks; /* no bytes go by it, only the question how UCX reaches the peer */
    bool is_encrypted;
} rw_way_t;

typedef struct rw_report {
    ropeway_connector_t *connector;
    ropeway_metadata_t *metadata;
    ropeway_device_t device; /* of the memory here */
    rw_speech_t speech;
    rw_hello_t hello; /* of a peer that speaks our protocol */
    uint8_t id[RW_ID_BYTES];
    bool has_hello;
    rw_routes_t routes;
    rw_way_t ways[RW_WAYS_MAX];
    size_t count;
    bool needs_ucx;
    bool is_connected;     /* already */
    char connection[128];  /* and by this path */
    ropeway_error_t error; /* why there is no way */
    char sentence[RW_SENTENCE_MAX];
} rw_report_t;

static inline bool rw_report_is_device(const rw_report_t *report) {
    return report->device.kind != ROPEWAY_DEVICE_HOST;
}

/* The report as text, to be freed. NULL: out of memory. */
char *rw_report_write(const rw_report_t *report);

#endif
