/* SPDX-License-Identifier: Apache-2.0 */
/* The transports that tests run over. */
#include "transport.h"

#include "netns.h"
#include "pki.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PKI "ROPEWAY_TEST_PKI" /* where the certificates are */

typedef struct transport {
    const char *name;
    const char *tls;
    const char *devices;
    const char *peer_devices; /* NULL: the same */
    const char *encryption, *listen;
    bool is_mutual;          /* both sides show certificates */
    const char *variant_of;  /* whose code it shares; NULL: nobody's */
    bool peers_have_default; /* they name no transports */
    bool is_apart;           /* peers live in another network namespace */
} transport_t;

static const transport_t transports[] = {
    {.name = "default"},
    {.name = "mixed", .tls = "tcp,cma,self", .variant_of = "host", .peers_have_default = true},
    {.name = "host", .tls = "tcp,cma,self"},
    {.name = "queue", .tls = "posix,sysv,cma,self", .variant_of = "host"},
    {.name = "tcp", .tls = "tcp,self", .devices = "lo"},
    {.name = "netns",
     .tls = "tcp,self",
     .devices = TS_VETH ",lo",
     .variant_of = "tcp",
     .is_apart = true},
    {.name = "stream", .tls = "stream", .devices = "lo", .encryption = "required"},
    {.name = "stream-plain",
     .tls = "stream",
     .devices = "lo",
     .encryption = "off",
     .variant_of = "stream"},
    {.name = "stream-mutual", .tls = "stream", .is_mutual = true, .variant_of = "stream"},
    {.name = "stream-ipv6", .tls = "stream", .listen = "[::1]:0", .variant_of = "stream"},
    {.name = "stream-netns",
     .tls = "stream",
     .devices = TS_VETH ",lo",
     .variant_of = "stream",
     .is_apart = true},
    {.name = "local", .tls = "local", .variant_of = "default"},
    {.name = "rc", .tls = "rc,self", .devices = "rxe0:1", .peer_devices = "rxe1:1"},
    {.name = "ud", .tls = "ud,self", .devices = "rxe0:1", .peer_devices = "rxe1:1"},
    {.name = "memory", .tls = "memory"},
};

static bool is_peer(void) {
    return getenv("ROPEWAY_TEST_IN_NAMESPACE") != NULL;
}

static const transport_t *chosen;
static int peer_namespace = -1;

static const transport_t *find(const char *name) {
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
        if (strcmp(transports[i].name, name) == 0) {
            return &transports[i];
        }
    }
    return NULL;
}

bool ts_transport_is_variant(const char *name) {
    const transport_t *transport = find(name);
    return transport != NULL && transport->variant_of != NULL && getenv("ROPEWAY_TEST_ALL") == NULL;
}

void ts_transport_init(const char *name) {
    chosen = find(name);
    if (chosen == NULL) {
        fprintf(stderr, "no such transport: %s; use", name);
        for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
            fprintf(stderr, " %s", transports[i].name);
        }
        fprintf(stderr, "\n");
        exit(2);
    }
    /* A peer process is told the same, and is in the right namespace already. */
    if (chosen->is_apart && !is_peer()) {
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
    return chosen->peers_have_default && is_peer() ? NULL : chosen->tls;
}

const char *ts_transport_devices(void) {
    bool other = chosen->peer_devices != NULL && is_peer();
    return other ? chosen->peer_devices : chosen->devices;
}

const char *ts_transport_encryption(void) {
    return chosen->encryption;
}

const char *ts_transport_listen(void) {
    return chosen->listen;
}

void ts_transport_certificates(ropeway_connector_options_t *options) {
    static char paths[3][320];
    const char *folder = getenv(PKI);

    if (!chosen->is_mutual) {
        return;
    }
    if (folder == NULL) {
        folder = ts_pki();
        setenv(PKI, folder, 1); /* for the peers */
    }
    snprintf(paths[0], sizeof *paths, "%s/%s.pem", folder, is_peer() ? "two" : "one");
    snprintf(paths[1], sizeof *paths, "%s/%s.key", folder, is_peer() ? "two" : "one");
    snprintf(paths[2], sizeof *paths, "%s/ca.pem", folder);
    options->tls_cert = paths[0];
    options->tls_key = paths[1];
    options->tls_ca = paths[2];
}

bool ts_transport_is_apart(void) {
    return chosen->is_apart;
}

bool ts_transport_is_stream(void) {
    return chosen->tls == NULL || strcmp(chosen->tls, "stream") == 0 ||
           strncmp(chosen->tls, "local", 5) == 0;
}

uint64_t ts_transport_connections(void) {
    return ts_transport_is_stream() || chosen->peers_have_default ? 2 : 1;
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
