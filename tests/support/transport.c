/* SPDX-License-Identifier: Apache-2.0 */
/* The transports that tests run over. */
#include "transport.h"

#include "netns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct transport {
    const char *name;
    const char *tls;
    const char *devices;
    const char *peer_devices; /* NULL: the same */
} transport_t;

static const transport_t transports[] = {
    {"host", "tcp,cma,self", NULL, NULL},       {"queue", "posix,sysv,cma,self", NULL, NULL},
    {"private", "tcp,sm,self", NULL, NULL},     {"tcp", "tcp,self", "lo", NULL},
    {"netns", "tcp,self", TS_VETH ",lo", NULL}, {"rc", "rc,self", "rxe0:1", "rxe1:1"},
    {"ud", "ud,self", "rxe0:1", "rxe1:1"},      {"memory", "memory", NULL, NULL},
};

static bool is_peer(void) {
    return getenv("ROPEWAY_TEST_IN_NAMESPACE") != NULL;
}

static const transport_t *chosen;
static int peer_namespace = -1;

void ts_transport_init(const char *name) {
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
        if (strcmp(transports[i].name, name) == 0) {
            chosen = &transports[i];
        }
    }
    if (chosen == NULL) {
        fprintf(stderr,
                "no such transport: %s; use host, queue, private, tcp, netns, rc, ud or memory\n",
                name);
        exit(2);
    }
    /* A peer process is told "netns" too, and is in the right namespace already. */
    if (ts_transport_is("netns") && !is_peer()) {
        const char *why = ts_netns_enter(&peer_namespace);
        if (why != NULL) {
            printf("skipped: %s\n", why);
            exit(77);
        }
    }
}

const char *ts_transport_name(void) {
    return chosen->name;
}

const char *ts_transport_tls(void) {
    return chosen->tls;
}

const char *ts_transport_devices(void) {
    bool other = chosen->peer_devices != NULL && is_peer();
    return other ? chosen->peer_devices : chosen->devices;
}

bool ts_transport_is(const char *name) {
    return strcmp(chosen->name, name) == 0;
}

int ts_transport_peer_namespace(void) {
    return peer_namespace;
}

bool ts_transport_is_rdma(void) {
    return ts_transport_is("rc") || ts_transport_is("ud");
}

void ts_transport_link(bool up) {
    if (!ts_netns_link(TS_VETH, up) || (up && !ts_netns_carrier())) {
        perror("link of the network namespace");
        abort();
    }
}
