/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ropeway perf: what its files share.
 *
 * Two processes take part: a client, which measures, and a server, which owns the passive
 * operations. They talk over a control channel of their own (control.c) and move the measured
 * bytes through libropeway. The channel is one TCP connection with one JSON object a line, and not
 * the HTTP of ropeway serve: a measurement hands out metadata in batches and asks for the other
 * side's CPU clock right before and after each batch, which is a conversation with state, and
 * HTTP's own threads would burn CPU time in the very process whose CPU time is measured.
 */
#ifndef CLI_PERF_H
#define CLI_PERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>
#include <ropeway.h>

#include "common/text.h"

#define CLI_PERF_MAX_BATCH 1024                 /* operations the server prepares at a time */
#define CLI_PERF_MAX_SIZE ((size_t)1 << 30)     /* bytes of one operation */
#define CLI_PERF_MAX_MEMORY ((size_t)256 << 20) /* bytes of several operations at a time */
#define CLI_PERF_MAX_PENDING 100000             /* pending operations of the idle measurement */

/* ---- control.c: the control channel -------------------------------- */

/* One end. error holds the sentence of the latest failed call. */
struct cli_perf_channel {
    int fd;
    int stop_fd; /* polls readable when the process is asked to end; -1: none */
    char *buffer;
    size_t length;
    size_t capacity;
    char error[CLI_SENTENCE_SIZE];
};

/* Takes over a connected socket. */
void cli_perf_channel_init(struct cli_perf_channel *channel, int fd, int stop_fd);

/* Connects to "HOST:PORT". False: a sentence is in channel->error. */
bool cli_perf_channel_dial(struct cli_perf_channel *channel, const char *address);

void cli_perf_channel_close(struct cli_perf_channel *channel);

/* Sends one line that was dumped before by cli_perf_line(), and frees it. As above. */
bool cli_perf_send_line(struct cli_perf_channel *channel, char *line);

/* The message as a line; frees the message. NULL: out of memory. */
char *cli_perf_line(json_t *message);

/* The next message, to be freed with json_decref(). NULL: a sentence is in channel->error, which is
 * "" when the other side closed the channel between messages, or the process is asked to end. */
json_t *cli_perf_receive(struct cli_perf_channel *channel, int timeout_ms);

/* Sends request (and frees it), and receives the answer. An answer with an "error" is a failure. */
json_t *cli_perf_call(struct cli_perf_channel *channel, json_t *request, int timeout_ms);

/* ---- memory.c: buffers and patterns ------------------------- */

/* Page-aligned memory, divided into slots of one size. */
struct cli_perf_memory {
    uint8_t *base;
    size_t mapped;
    size_t size; /* bytes of a slot */
    size_t slots;
};

/* Makes room for slots of size bytes each, on touched pages. Keeps the present pages when they
 * suffice. False: the memory is not to be had. */
bool cli_perf_memory_resize(struct cli_perf_memory *memory, size_t size, size_t slots);
void cli_perf_memory_free(struct cli_perf_memory *memory);
uint8_t *cli_perf_slot(const struct cli_perf_memory *memory, size_t slot);

/* Fills every slot with bytes that depend on seed, slot and offset; or with zeroes. */
void cli_perf_memory_fill(struct cli_perf_memory *memory, uint64_t seed);
void cli_perf_memory_clear(struct cli_perf_memory *memory);

/* True when every slot holds what cli_perf_memory_fill() writes. */
bool cli_perf_memory_check(const struct cli_perf_memory *memory, uint64_t seed,
                           char error[CLI_SENTENCE_SIZE]);

/* ---- usage.c: what this process costs -------------------------------------- */

/* CPU time of this process, all threads, user and system. */
uint64_t cli_perf_cpu_ns(void);

/* What an idle connector costs. */
struct cli_perf_usage {
    double cpu_percent; /* of one core, all threads of the process */
    uint64_t wakeups;   /* of the connector's progress thread */
};

/* Sleeps for so many seconds and says what the process burnt meanwhile. */
void cli_perf_usage_of_idling(ropeway_connector_t *connector, double seconds,
                              struct cli_perf_usage *usage);

/* A "transports" value from the command line as the connector's option: "any" is NULL, a "+" is a
 * comma. Returns text or a copy in buffer. */
const char *cli_perf_transports(const char *name, char *buffer, size_t size);

/* ---- server.c and child.c ------------------------------------------------------- */

/* Serves clients one after the other until SIGTERM or SIGINT. Returns an exit code. */
int cli_perf_serve(const char *listen_address);

/* A server in a process of its own, on 127.0.0.1. It ends with its parent. */
struct cli_perf_child {
    pid_t pid;
    char address[128];
};

/* Starts this executable as a server. Must be called before the first connector is made. */
bool cli_perf_child_start(struct cli_perf_child *child, char error[CLI_SENTENCE_SIZE]);
void cli_perf_child_stop(struct cli_perf_child *child);

/* ---- client.c ------------------------------------------------------- */

/* A client's meeting with a server over one set of transports. */
struct cli_perf_session {
    struct cli_perf_channel channel;
    ropeway_connector_t *connector;
    struct cli_perf_memory memory;
    uint32_t operation_flags;
    char error[CLI_SENTENCE_SIZE];
};

/* Connects, and makes a connector on both sides. transports as in cli_perf_transports();
 * net_devices: the connectors' option, the same on both; NULL: none; spin_us: ROPEWAY_INHERIT takes
 * the library's default. False: a sentence is in session->error.
 * cli_perf_session_close() must follow in both cases. */
bool cli_perf_session_open(struct cli_perf_session *session, const char *address,
                           const char *transports, const char *net_devices, uint32_t spin_us);
void cli_perf_session_close(struct cli_perf_session *session);

/* A batch of operations, and what it cost. */
struct cli_perf_batch {
    ropeway_operation_kind_t kind; /* READ or WRITE */
    size_t size;
    size_t slots;        /* operations at a time */
    size_t count;        /* operations in all */
    uint64_t pause_ns;   /* sleep before each operation; only with one slot */
    bool verify;         /* clear the receiver before, and compare it afterwards */
    bool whole;          /* time from before the request for the metadata on; count is 1 */
    uint64_t wall_ns;    /* result: first begin to last outcome */
    uint64_t active_ns;  /* result: CPU time of this process */
    uint64_t passive_ns; /* result: CPU time of the server */
    uint64_t *samples;   /* result: begin to outcome of each operation in ns; may be NULL */
    char *path;          /* result: transports that carried it; may be NULL */
    size_t path_size;
};

/* Runs a batch. False: a sentence is in session->error. */
bool cli_perf_batch_run(struct cli_perf_session *session, struct cli_perf_batch *batch);

/* CPU time of two connected, idle processes, with pending passive operations on each. */
struct cli_perf_idle {
    size_t pending;
    double seconds;
    struct cli_perf_usage client; /* result */
    struct cli_perf_usage server; /* result */
};

/* As above. */
bool cli_perf_idle_run(struct cli_perf_session *session, struct cli_perf_idle *idle);

/* ---- case.c and report.c: one line of the table ---------------- */

struct cli_perf_case {
    const char *transport;
    ropeway_operation_kind_t kind;
    size_t size;
    size_t concurrency;
    double seconds; /* bound of each phase */
    /* Results; times in microseconds. */
    size_t samples;
    double p50, p99, min, max;
    double bytes_per_s;             /* one at a time */
    double active_cpu, passive_cpu; /* per operation, one at a time */
    double asleep_p50;              /* each operation after a pause */
    double whole_p50;               /* with creation, metadata and control channel */
    size_t concurrent_samples;
    double concurrent_ops_per_s;
    double concurrent_bytes_per_s;
    double concurrent_active_cpu, concurrent_passive_cpu;
    char path[256];
};

/* Measures. As above. */
bool cli_perf_case_run(struct cli_perf_session *session, struct cli_perf_case *result);

json_t *cli_perf_case_json(const struct cli_perf_case *result);
json_t *cli_perf_idle_json(const char *transport, const struct cli_perf_idle *idle);
void cli_perf_case_heading(void);
void cli_perf_case_print(const struct cli_perf_case *result);
void cli_perf_idle_print(const char *transport, const struct cli_perf_idle *idle);

#endif
