/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport that a run of the tests uses. "default" is what two workers on one host have
 * when they name none: a Unix socket, a queue in shared memory in its place for those that talk
 * much, and bytes fetched from memory to memory; "local" is the socket alone. "stream" is TCP
 * with TLS, "stream-mutual" the same with certificates of an authority on both sides,
 * "stream-plain" without, "stream-ipv6" the same by IPv6, and "stream-netns" with TLS between
 * two network namespaces that are joined by a veth pair and have no names: they vanish with the
 * processes in them. UCX's are "host" (TCP and CMA), "queue" (shared memory for messages too),
 * "tcp" (loopback alone), "netns" (between namespaces), and "rc" or "ud" (RDMA between the
 * devices rxe0 and rxe1, in the machine of tools/lab); with "mixed" the test's own process names
 * UCX's, and its peers name none. In a program with memory_link.c there is "memory" (no
 * transport at all).
 */
#ifndef TS_TRANSPORT_H
#define TS_TRANSPORT_H

#include "ropeway.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether a transport shares its code with another one, over which everything runs, so that over
 * itself only what it may change need run. The environment variable ROPEWAY_TEST_ALL says that
 * there are none. */
bool ts_transport_is_variant(const char *name);

/* Chooses by name, before any thread or connector exists. For those between
 * namespaces the process moves into a
 * namespace of its own; where that is not permitted it says so and exits with 77. */
void ts_transport_init(const char *name);

const char *ts_transport_name(void);
const char *ts_transport_tls(void);
const char *ts_transport_devices(void); /* the calling process's own */
const char *ts_transport_encryption(void);
const char *ts_transport_listen(void);
/* Sets those of mutual TLS, where that is the transport's. */
void ts_transport_certificates(ropeway_connector_options_t *options);
bool ts_transport_is(const char *name);
bool ts_transport_is_rdma(void); /* rc or ud */
/* Whether peers are in another network namespace, and ts_transport_link() works. */
bool ts_transport_is_apart(void);
bool ts_transport_is_stream(void);
/* How many there are between two connectors each of which has begun operations with the other. */
uint64_t ts_transport_connections(void);

/* The namespace that the peers live in, or -1 for the caller's own. */
int ts_transport_peer_namespace(void);

/* Takes this side's link down, and up again. */
void ts_transport_link(bool up);

#endif
