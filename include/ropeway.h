/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ropeway: move memory between workers.
 *
 * One worker offers memory as a readable or writable operation and gets a short
 * metadata text. It passes that text to another worker over any secondary channel
 * (HTTP, NATS, a file). The other worker begins a read or a write with it, and
 * both sides learn the outcome.
 *
 * Threads: any thread may call any function at any time, unless its comment says
 * otherwise. Text: UTF-8, NUL-terminated. Times: milliseconds on the monotonic
 * clock, unless the name says otherwise. Sizes: bytes.
 *
 * Errors: a function that can fail returns a ropeway_error_t; ROPEWAY_OK is 0.
 * ropeway_last_error() then returns this thread's sentence about it. Every function
 * that takes a connector can also return ROPEWAY_ERR_FORKED (called in a child of
 * the process that made it) and ROPEWAY_ERR_CLOSED (after
 * ropeway_connector_destroy() has begun); these two are not repeated below.
 */
#ifndef ROPEWAY_H
#define ROPEWAY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ROPEWAY_API __attribute__((visibility("default")))
#else
#define ROPEWAY_API
#endif

/* ---- Errors ------------------------------------------------------------- */

/* Every error: number, name, text. C, the command and the bindings read this list. */
#define ROPEWAY_ERROR_MAP(X)                                                                       \
    X(0, OK, "no error")                                                                           \
    X(1, ERR_INVALID_ARGUMENT, "an argument is out of its range")                                  \
    X(2, ERR_NO_MEMORY, "out of memory")                                                           \
    X(3, ERR_NULL_POINTER, "a descriptor's pointer is null")                                       \
    X(4, ERR_EMPTY_LIST, "an operation needs at least one descriptor")                             \
    X(5, ERR_TOO_LARGE, "a size does not fit the address space")                                   \
    X(6, ERR_LIMIT, "a limit of the connector was reached")                                        \
    X(7, ERR_DEVICE, "the device is unknown or not usable here")                                   \
    X(8, ERR_KIND_MISMATCH, "the remote operation is of the other kind")                           \
    X(9, ERR_COUNT_MISMATCH, "the two sides have different numbers of descriptors")                \
    X(10, ERR_SIZE_MISMATCH, "a descriptor's size differs between the two sides")                  \
    X(11, ERR_METADATA, "the RDMA metadata is malformed")                                          \
    X(12, ERR_NO_PATH, "the two sides share no protocol or transport")                             \
    X(13, ERR_KEY_UNKNOWN, "the remote side has no operation with this key")                       \
    X(14, ERR_KEY_USED, "the operation with this key was already begun by a peer")                 \
    X(15, ERR_KEY_FINISHED, "the operation with this key has already ended")                       \
    X(16, ERR_UNREACHABLE, "the peer can't be reached")                                            \
    X(17, ERR_PEER_LOST, "the connection to the peer broke")                                       \
    X(18, ERR_PEER_CLOSED, "the peer closed its connector")                                        \
    X(19, ERR_STALLED, "no byte moved within the stall limit")                                     \
    X(20, ERR_DEADLINE, "the operation's deadline passed")                                         \
    X(21, ERR_INTEGRITY, "a descriptor's checksum differs between the two sides")                  \
    X(22, ERR_PROTOCOL, "the peer sent a message that the protocol does not allow")                \
    X(23, ERR_VERSION, "the two sides speak different protocol versions")                          \
    X(24, ERR_CANCELLED, "the operation was cancelled")                                            \
    X(25, ERR_TIMEOUT, "the wait timed out; the operation goes on")                                \
    X(26, ERR_FINISHED, "the operation has already ended; nothing was changed")                    \
    X(27, ERR_CLOSED, "the connector is closed")                                                   \
    X(28, ERR_FORKED, "the connector, or UCX as it was loaded, belongs to the parent process")     \
    X(29, ERR_BUSY, "the object is in use")                                                        \
    X(30, ERR_TRANSPORT, "UCX reported an error")                                                  \
    X(31, ERR_SYSTEM, "the operating system reported an error")                                    \
    X(32, ERR_UNSUPPORTED, "this build or this machine can't do that")

typedef enum ropeway_error {
#define ROPEWAY_X(number, name, text) ROPEWAY_##name = (number),
    ROPEWAY_ERROR_MAP(ROPEWAY_X)
#undef ROPEWAY_X
} ropeway_error_t;

/* The error's constant as text, e.g. "ROPEWAY_ERR_STALLED"; for a number that is not an error,
 * "ROPEWAY_ERR_?". Static storage. */
ROPEWAY_API const char *ropeway_error_name(ropeway_error_t error);

/* The error's general text in the list above. Static storage. */
ROPEWAY_API const char *ropeway_error_text(ropeway_error_t error);

/* The sentence about the calling thread's latest failed call: what was wrong, with the values, and
 * what to do. Valid until the thread's next call of a ropeway function; "" before its first
 * failure. */
ROPEWAY_API const char *ropeway_last_error(void);

/* ---- Versions ----------------------------------------------------------- */

#define ROPEWAY_VERSION_MAJOR 0
#define ROPEWAY_VERSION_MINOR 1
#define ROPEWAY_VERSION_PATCH 0
#define ROPEWAY_VERSION_STRING "0.1.0"

/* The version of the loaded library, "MAJOR.MINOR.PATCH". Static storage. */
ROPEWAY_API const char *ropeway_version(void);

/* The version of the UCX that this process has loaded for Ropeway, e.g. "1.22.0"; "" while it has
 * none. Loads nothing: a connector loads UCX when it first needs it, and ropeway_describe() to
 * answer. Static storage. */
ROPEWAY_API const char *ropeway_ucx_version(void);

/* ---- Devices and descriptors -------------------------------------------- */

typedef enum ropeway_device_kind {
    ROPEWAY_DEVICE_UNSPECIFIED = 0, /* in a descriptor: the host */
    ROPEWAY_DEVICE_HOST = 1,        /* "cpu" */
    ROPEWAY_DEVICE_CUDA = 2,        /* "cuda:N" */
    ROPEWAY_DEVICE_XPU = 3          /* "xpu:N"; known by name, not usable yet */
} ropeway_device_kind_t;

typedef struct ropeway_device {
    int32_t kind; /* ropeway_device_kind_t */
    int32_t id;   /* device number; 0 for the host */
} ropeway_device_t;

/* One region of memory. Functions copy the lists of descriptors that they take; the memory itself
 * stays the caller's, and must stay valid until the operation is terminal and released (see
 * ropeway_operation_release()). A size of 0 is legal; a null pointer never is. */
typedef struct ropeway_descriptor {
    void *ptr;
    size_t size; /* bytes */
    ropeway_device_t device;
} ropeway_descriptor_t;

/* Reads "cpu", "host", "cuda", "cuda:N", "gpu", "gpu:N", "xpu" or "xpu:N" (N from 0 to 65535).
 * Errors: ERR_INVALID_ARGUMENT (null argument), ERR_DEVICE (anything else). */
ROPEWAY_API ropeway_error_t ropeway_device_parse(const char *text, ropeway_device_t *device);

/* Writes "cpu", "cuda:N" or "xpu:N" into buffer, truncated to size. Returns the full length.
 * 32 bytes always suffice. */
ROPEWAY_API size_t ropeway_device_format(ropeway_device_t device, char *buffer, size_t size);

/* ---- Connector ---------------------------------------------------------- */

/* A worker's presence: its name, the port that peers come to, its progress thread and its limits. A
 * process may have several. */
typedef struct ropeway_connector ropeway_connector_t;

typedef enum ropeway_log_level {
    ROPEWAY_LOG_ERROR = 0,
    ROPEWAY_LOG_WARN = 1,
    ROPEWAY_LOG_INFO = 2,
    ROPEWAY_LOG_DEBUG = 3
} ropeway_log_level_t;

/* Receives one line without a newline; text is valid only during the call. It may run on any
 * thread, with internal locks held: it must not call ropeway functions. */
typedef void (*ropeway_log_fn)(void *arg, ropeway_log_level_t level, const char *text);

/* Every option of a connector: type, name, default, least, most, meaning. Of a text, least and most
 * are bytes; what is neither text nor number has none. The library, the bindings and the documents
 * read this list. New options go to its end, for programs that were built before. */
#define ROPEWAY_CONNECTOR_OPTION_MAP(TEXT, NUMBER, OTHER)                                          \
    TEXT(const char *, name, NULL, 1, 255, "the connector's name; NULL: HOST-PID-RANDOM")          \
    OTHER(ropeway_log_fn, log, NULL, "receives the lines of the log; NULL: nobody does")           \
    OTHER(void *, log_arg, NULL, "handed to log")                                                  \
    NUMBER(int32_t, log_level, ROPEWAY_LOG_WARN, ROPEWAY_LOG_ERROR, ROPEWAY_LOG_DEBUG,             \
           "a ropeway_log_level_t; lines up to this level come")                                   \
    NUMBER(uint32_t, stall_ms, 30000, 0, UINT32_MAX,                                               \
           "an operation in progress on which no byte moves for this long ends in ERRORED, "       \
           "ERR_STALLED; 0: never")                                                                \
    NUMBER(uint32_t, deadline_ms, 0, 0, UINT32_MAX,                                                \
           "default deadline of every operation, from its creation; 0: none")                      \
    NUMBER(uint32_t, quiet_ms, 1000, 1, UINT32_MAX,                                                \
           "how long a cancel, a release or a destroy waits for the peer before the connection "   \
           "to it is closed by force")                                                             \
    NUMBER(uint32_t, keepalive_ms, 1000, 1, UINT32_MAX,                                            \
           "how often a connection on which nothing moves is checked for a dead peer")             \
    NUMBER(uint32_t, spin_us, 50, 0, UINT32_MAX,                                                   \
           "how long to poll after activity before sleeping; 0: never")                            \
    NUMBER(uint32_t, window, 4, 1, 64, "chunks in flight per operation")                           \
    NUMBER(size_t, chunk_size, 4 << 20, 64 << 10, 1 << 30, "bytes per chunk")                      \
    NUMBER(size_t, max_inflight, 256 << 20, chunk_size, SIZE_MAX, "bytes in flight per connector") \
    NUMBER(size_t, max_metadata, 16 << 20, 1 << 10, SIZE_MAX / 2,                                  \
           "longest metadata text made or accepted")                                               \
    NUMBER(uint32_t, max_descriptors, 131072, 1, UINT32_MAX,                                       \
           "descriptors of an operation, or pieces that they lie in")                              \
    NUMBER(uint32_t, max_operations, 1000000, 1, UINT32_MAX, "operations alive at a time")         \
    NUMBER(uint32_t, max_peers, 4096, 1, UINT32_MAX,                                               \
           "connections at a time; idle ones are closed first")                                    \
    TEXT(const char *, transports, NULL, 0, SIZE_MAX,                                              \
         "of stream, local, pull and ring, or as UCX_TLS, e.g. rc,self or all; NULL: these four, " \
         "and UCX for memory of devices and RDMA networks; see ropeway(7)")                        \
    TEXT(const char *, net_devices, NULL, 0, SIZE_MAX,                                             \
         "network interfaces and RDMA devices, as UCX_NET_DEVICES, e.g. eth0,mlx5_0:1; NULL: all") \
    NUMBER(uint32_t, interop, 0, 0, 2,                                                             \
           "1: stock NIXL peers may use what this connector offers: its metadata carries "         \
           "addresses and UCX remote keys, and any UCX peer that reaches the worker over TCP or "  \
           "shared memory can then read and write this process (see SECURITY.md); 2: the same "    \
           "if there is a UCX, else a warning in the log; 0: Ropeway peers only. Operations "      \
           "begun here on a stock peer's metadata work either way")                                \
    /* Of streams: TCP with TLS 1.3, and Unix sockets. */                                          \
    TEXT(const char *, encryption, NULL, 0, SIZE_MAX,                                              \
         "auto: except between loopback addresses; off; required. Of two sides the stricter one "  \
         "counts. NULL: auto")                                                                     \
    TEXT(const char *, listen, NULL, 0, SIZE_MAX,                                                  \
         "ADDRESS:PORT, PORT or PORT-PORT (the first that is free); NULL: any free port, on all "  \
         "interfaces or those of net_devices")                                                     \
    TEXT(const char *, advertise, NULL, 0, SIZE_MAX,                                               \
         "up to 8 numeric addresses, each with :PORT if it differs, separated by commas: where "   \
         "peers shall connect to; NULL: where we listen")                                          \
    TEXT(const char *, tls_cert, NULL, 0, SIZE_MAX,                                                \
         "file of PEM, read at creation: our certificate, and those up to the authority's behind " \
         "it; NULL: one that the connector makes and signs itself")                                \
    TEXT(const char *, tls_key, NULL, 0, SIZE_MAX,                                                 \
         "file of PEM: the key of tls_cert, without a password")                                   \
    TEXT(const char *, tls_ca, NULL, 0, SIZE_MAX,                                                  \
         "file of PEM, authorities: only peers with a certificate of theirs are let in or "        \
         "connected to; needs tls_cert, and means encryption required. NULL: whoever has an "      \
         "operation's key is let in")                                                              \
    NUMBER(size_t, min_rate, 0, 0, SIZE_MAX,                                                       \
           "bytes per second that an operation in progress must move, over each stall_ms (30 s "   \
           "where that is 0), until all of its bytes have moved; else it ends in ERRORED, "        \
           "ERR_STALLED; 0: any rate will do")

/* Fill with ropeway_connector_options_init(), then change what you need. */
typedef struct ropeway_connector_options {
    size_t struct_size; /* set by init; tells the library which fields exist */
#define ROPEWAY_X(type, name, ...) type name;
    ROPEWAY_CONNECTOR_OPTION_MAP(ROPEWAY_X, ROPEWAY_X, ROPEWAY_X)
#undef ROPEWAY_X
} ropeway_connector_options_t;

/* Sets every field to its default. size: sizeof *options. */
ROPEWAY_API void ropeway_connector_options_init(ropeway_connector_options_t *options, size_t size);

/* Creates a connector and starts its progress thread. options: NULL for the defaults; copied.
 * Environment variables UCX_* override the library's own UCX settings, but for those that
 * ropeway(7) names.
 * Errors: ERR_INVALID_ARGUMENT, ERR_NO_MEMORY, ERR_TRANSPORT (UCX can't start: the sentence says
 * which setting or transport), ERR_UNSUPPORTED (it needs UCX, and none of 1.22 or later can be
 * loaded: the sentence says what was found, and what to install), ERR_SYSTEM (among others: a
 * thread or a port can't be had), ERR_FORKED (the parent had a connector when this process was
 * forked: UCX and OpenSSL do not work here). */
ROPEWAY_API ropeway_error_t ropeway_connector_create(const ropeway_connector_options_t *options,
                                                     ropeway_connector_t **connector);

/* Cancels live operations, tells the peers, waits until memory is quiet (at most about quiet_ms),
 * stops the progress thread and frees the connector. Operations not yet released stay valid: they
 * are terminal, and their owner must still release them. NULL: nothing. No other thread may use the
 * connector's handle once this call has begun (waiters inside ropeway_operation_wait() are woken).
 * Must not be called from an operation's callback (it then returns ERR_BUSY and does nothing). In a
 * forked child it does nothing and returns ROPEWAY_OK. */
ROPEWAY_API ropeway_error_t ropeway_connector_destroy(ropeway_connector_t *connector);

/* The connector's name; valid until it is destroyed. */
ROPEWAY_API const char *ropeway_connector_name(const ropeway_connector_t *connector);

/* A file descriptor that polls readable while finished operations made with
 * ROPEWAY_OPERATION_NOTIFY wait to be drained. Owned by the connector: do not read, write or close
 * it. Never -1. */
ROPEWAY_API int ropeway_connector_fd(const ropeway_connector_t *connector);

typedef struct ropeway_operation ropeway_operation_t;

/* Takes up to max finished operations (made with ROPEWAY_OPERATION_NOTIFY) off the event queue, in
 * the order in which they finished, and returns how many. Each appears once. An operation that was
 * released before it was drained does not appear. If fewer than max are returned, the queue was
 * empty and the descriptor is no longer readable. */
ROPEWAY_API size_t ropeway_connector_drain(ropeway_connector_t *connector,
                                           ropeway_operation_t **operations, size_t max);

/* Every statistic of a connector: name, unit, meaning. Counters run since the connector was made.
 * The library, the command, the bindings and the documents read this list. New ones go to its end.
 */
#define ROPEWAY_STATS_MAP(COUNTER, GAUGE)                                                          \
    COUNTER(operations_created, "operations", "operations created, of all four kinds")             \
    COUNTER(operations_completed, "operations", "operations that ended in COMPLETE")               \
    COUNTER(operations_cancelled, "operations", "operations that ended in CANCELLED")              \
    COUNTER(operations_errored, "operations", "operations that ended in ERRORED")                  \
    GAUGE(operations_live, "operations", "operations that have not ended")                         \
    COUNTER(bytes_sent, "bytes", "payload sent")                                                   \
    COUNTER(bytes_received, "bytes", "payload received")                                           \
    GAUGE(bytes_inflight, "bytes", "payload in flight")                                            \
    GAUGE(peers, "connections", "connections to peers that are open")                              \
    COUNTER(peers_created, "connections", "connections to peers ever opened")                      \
    COUNTER(peers_failed, "connections",                                                           \
            "connections to peers that broke or were closed by force")                             \
    COUNTER(requests_rejected, "requests", "requests of peers that failed a check")                \
    COUNTER(messages_dropped, "messages", "late or malformed messages of peers")                   \
    COUNTER(wakeups, "times", "times that the progress thread woke from sleep")                    \
    GAUGE(memory_registered, "bytes", "memory registered ahead of operations")                     \
    COUNTER(bytes_fetched, "bytes", "payload fetched from the memory of peers on this host")

typedef struct ropeway_stats {
    size_t struct_size; /* set by ropeway_connector_stats() */
#define ROPEWAY_X(name, unit, text) uint64_t name;
    ROPEWAY_STATS_MAP(ROPEWAY_X, ROPEWAY_X)
#undef ROPEWAY_X
} ropeway_stats_t;

/* Fills the first size bytes (sizeof *stats) of stats.
 * Errors: ERR_INVALID_ARGUMENT. */
ROPEWAY_API ropeway_error_t ropeway_connector_stats(ropeway_connector_t *connector,
                                                    ropeway_stats_t *stats, size_t size);

/* What this process can use, as a JSON object: versions of library and UCX, where UCX was loaded
 * from and why from there, its configuration, memory types, and transports with their devices.
 * transports and net_devices are UCX's, as in UCX_TLS and UCX_NET_DEVICES; NULL: what the
 * environment says. Where no UCX can be loaded its version is "", and the reason is in the place of
 * the why; that is an error if it was asked for, by these arguments or ROPEWAY_UCX.
 * Free *json with ropeway_text_free().
 * Errors: ERR_INVALID_ARGUMENT, ERR_NO_MEMORY, ERR_TRANSPORT, ERR_UNSUPPORTED. */
ROPEWAY_API ropeway_error_t ropeway_describe(const char *transports, const char *net_devices,
                                             char **json);

/* How an operation of this connector would reach the peer of this RDMA metadata (length bytes of
 * JSON), as a JSON object: who the peer is, each way that was looked at in the order in which they
 * would be tried, whether it would be used, and why; ropeway_connector_route(3) has its members.
 * device: where the memory here lies; all zeroes: the host. It is decided as by
 * ropeway_begin_read(), but nothing is begun, the key is not used, and no connection is made,
 * except that the peer's Unix socket is asked whose it is; whether an address answers shows only
 * once an operation has begun. Loads UCX if the operation would. That there is no way is not an
 * error: "usable" is false then, and "error" says what the operation would end with. Free *json
 * with ropeway_text_free(). Errors: ERR_INVALID_ARGUMENT, ERR_METADATA, ERR_LIMIT (longer than
 * max_metadata), ERR_NO_MEMORY. */
ROPEWAY_API ropeway_error_t ropeway_connector_route(ropeway_connector_t *connector,
                                                    const char *metadata, size_t length,
                                                    ropeway_device_t device, char **json);

/* Frees a text returned by a function that says so. NULL: nothing. */
ROPEWAY_API void ropeway_text_free(char *text);

/* ---- Registered memory -------------------------------------------------- */

/* Memory that was registered ahead of the operations that use it. Operations find it by address:
 * descriptors inside it need no registration of their own. It pays off for buffers that are used
 * again and again over RDMA transports, and has no effect on correctness. */
typedef struct ropeway_memory ropeway_memory_t;

/* Registers size bytes at ptr. The memory must stay valid until the registration is released.
 * Regions may overlap. Errors: ERR_INVALID_ARGUMENT (size 0), ERR_NULL_POINTER, ERR_TOO_LARGE,
 * ERR_DEVICE, ERR_NO_MEMORY, ERR_TRANSPORT, and of device memory, for which UCX starts,
 * ERR_UNSUPPORTED (none can be loaded) and ERR_SYSTEM. */
ROPEWAY_API ropeway_error_t ropeway_memory_register(ropeway_connector_t *connector, void *ptr,
                                                    size_t size, ropeway_device_t device,
                                                    ropeway_memory_t **memory);

/* Ends a registration; live operations that use it keep it alive until they are terminal. Call it
 * before the connector is destroyed, or not at all: the connector frees remaining registrations. */
ROPEWAY_API void ropeway_memory_release(ropeway_memory_t *memory);

/* ---- Operations --------------------------------------------------------- */

typedef enum ropeway_operation_kind {
    ROPEWAY_OPERATION_READABLE = 1, /* passive: a peer may read the memory, once */
    ROPEWAY_OPERATION_WRITABLE = 2, /* passive: a peer may write the memory, once */
    ROPEWAY_OPERATION_READ = 3,     /* active: fetches a readable operation's bytes */
    ROPEWAY_OPERATION_WRITE = 4     /* active: fills a writable operation's memory */
} ropeway_operation_kind_t;

/* An operation is created INITIALIZED (passive) or IN_PROGRESS (active), and ends in exactly one of
 * COMPLETE, CANCELLED and ERRORED, which never changes. Once it is terminal, Ropeway never writes
 * its memory again, and nothing that is read from it later counts. */
typedef enum ropeway_status {
    ROPEWAY_STATUS_UNINITIALIZED = 0,
    ROPEWAY_STATUS_INITIALIZED = 1, /* "INIT": waits for a peer */
    ROPEWAY_STATUS_IN_PROGRESS = 2, /* "PROC" */
    ROPEWAY_STATUS_COMPLETE = 3,    /* "DONE" */
    ROPEWAY_STATUS_CANCELLED = 4,   /* "STOP" */
    ROPEWAY_STATUS_ERRORED = 5      /* "ERR" */
} ropeway_status_t;

/* "INIT", "PROC", "DONE", "STOP" or "ERR"; "UNINIT" for anything else. Static storage. */
ROPEWAY_API const char *ropeway_status_name(ropeway_status_t status);

/* Called once, when the operation is terminal, on a thread of the connector with no lock held. It
 * may call every function except ropeway_connector_destroy(), and may release the operation. It may
 * come before the function that made the operation returns, which has set *operation by then. It
 * should return soon: no other callback runs meanwhile. */
typedef void (*ropeway_operation_fn)(ropeway_operation_t *operation, void *arg);

enum {
    ROPEWAY_OPERATION_NOTIFY = 1u << 0,   /* put it on the connector's event queue when it ends */
    ROPEWAY_OPERATION_PREFIX = 1u << 2,   /* active: the local descriptors may be fewer than the
                                             remote ones, and each of them smaller: the transfer is
                                             of that prefix, and the rest of the offer is not
                                             touched. The owner learns from
                                             ropeway_operation_progress() how much was used; its
                                             offer is used up. Not past the offer: ERR_COUNT_MISMATCH
                                             or ERR_SIZE_MISMATCH */
    ROPEWAY_OPERATION_INTEGRITY = 1u << 1 /* before COMPLETE the receiver compares an XXH3-64
                                             checksum of each descriptor's bytes, as they arrived in
                                             its memory, with the sender's; on if either side asks;
                                             host memory only */
};

#define ROPEWAY_INHERIT UINT32_MAX /* take the connector's value */

/* Every option of an operation, as in the list of the connector's.
 *
 * Groups: where the memory of a descriptor lies in pieces, as that of a strided view does, the list
 * of descriptors holds the pieces, and group_sizes[i] of them, one after the other, are descriptor
 * i of the operation, whose size is the sum of theirs. Each group has at least 1; together they
 * have as many as the list. Host memory only. An offer in groups has no path for stock NIXL peers.
 * They are copied. */
#define ROPEWAY_OPERATION_OPTION_MAP(NUMBER, OTHER)                                                \
    NUMBER(uint32_t, flags, 0, 0,                                                                  \
           ROPEWAY_OPERATION_NOTIFY | ROPEWAY_OPERATION_INTEGRITY | ROPEWAY_OPERATION_PREFIX,      \
           "ROPEWAY_OPERATION_*")                                                                  \
    NUMBER(uint32_t, deadline_ms, ROPEWAY_INHERIT, 0, UINT32_MAX,                                  \
           "ends in ERRORED, ERR_DEADLINE when it is not terminal this long after its creation; "  \
           "0: never")                                                                             \
    NUMBER(uint32_t, stall_ms, ROPEWAY_INHERIT, 0, UINT32_MAX, "see the connector's option")       \
    OTHER(ropeway_operation_fn, callback, NULL, "called once, when the operation is terminal")     \
    OTHER(void *, callback_arg, NULL, "handed to callback")                                        \
    OTHER(void *, user_data, NULL, "for ropeway_operation_user_data()")                            \
    OTHER(const size_t *, group_sizes, NULL, "see above; NULL: each descriptor is one by itself")  \
    OTHER(size_t, group_count, 0, "how many group_sizes there are")                                \
    OTHER(const char *, trace, NULL,                                                               \
          "active: goes to the owner with the request, see ropeway_operation_trace(); 1 to 512 "   \
          "printable ASCII characters, copied. NULL: none. Stock peers do not get it")

/* Fill with ropeway_operation_options_init(), then change what you need. */
typedef struct ropeway_operation_options {
    size_t struct_size; /* set by init */
#define ROPEWAY_X(type, name, ...) type name;
    ROPEWAY_OPERATION_OPTION_MAP(ROPEWAY_X, ROPEWAY_X)
#undef ROPEWAY_X
} ropeway_operation_options_t;

/* Sets every field to its default. size: sizeof *options. */
ROPEWAY_API void ropeway_operation_options_init(ropeway_operation_options_t *options, size_t size);

/* Offer memory to one peer, for one read (readable) or one write (writable). The descriptors are
 * copied; their memory must stay valid until the operation is released. Those that are written
 * (writable, read) may not overlap. options: NULL for the defaults.
 * Errors: ERR_INVALID_ARGUMENT (also: they overlap; a bad trace), ERR_EMPTY_LIST, ERR_NULL_POINTER,
 * ERR_TOO_LARGE, ERR_DEVICE, ERR_LIMIT (descriptors, pieces or operations; with interop also
 * max_metadata), ERR_UNSUPPORTED (integrity on, or groups of, device memory; or memory is a
 * device's or interop is 1, and no UCX can be loaded), ERR_TRANSPORT (UCX can't start, or memory
 * can't be offered to stock peers), ERR_SYSTEM (no thread for callbacks, or UCX can't have what it
 * needs of the system), ERR_NO_MEMORY. */
ROPEWAY_API ropeway_error_t ropeway_create_readable(ropeway_connector_t *connector,
                                                    const ropeway_descriptor_t *descriptors,
                                                    size_t count,
                                                    const ropeway_operation_options_t *options,
                                                    ropeway_operation_t **operation);
ROPEWAY_API ropeway_error_t ropeway_create_writable(ropeway_connector_t *connector,
                                                    const ropeway_descriptor_t *descriptors,
                                                    size_t count,
                                                    const ropeway_operation_options_t *options,
                                                    ropeway_operation_t **operation);

/* The RDMA metadata of a passive operation: a JSON object that lets its holder use the operation
 * once. It is a capability: send it only to those who may read or write the memory. *json is owned
 * by the operation and valid until its release.
 * Errors: ERR_INVALID_ARGUMENT (an active operation), ERR_LIMIT (longer than max_metadata),
 * ERR_NO_MEMORY. */
ROPEWAY_API ropeway_error_t ropeway_operation_metadata(ropeway_operation_t *operation,
                                                       const char **json);

/* Begin to move bytes at once: from the remote readable operation into the local descriptors, or
 * from the local descriptors into the remote writable operation. Unless ROPEWAY_OPERATION_PREFIX is
 * set, descriptors must match the remote ones in number and, one by one, in size. metadata: length
 * bytes of JSON. The transfer proceeds by itself; failures after this call become the operation's
 * outcome.
 * Errors: those of ropeway_create_readable(), and ERR_METADATA, ERR_LIMIT, ERR_KIND_MISMATCH,
 * ERR_COUNT_MISMATCH, ERR_SIZE_MISMATCH, ERR_NO_PATH, ERR_VERSION, ERR_UNREACHABLE, ERR_TRANSPORT.
 * Further outcomes: ERR_KEY_UNKNOWN, ERR_KEY_USED, ERR_KEY_FINISHED, ERR_PEER_LOST,
 * ERR_PEER_CLOSED, ERR_STALLED, ERR_DEADLINE, ERR_INTEGRITY, ERR_PROTOCOL, ERR_CANCELLED. */
ROPEWAY_API ropeway_error_t ropeway_begin_read(ropeway_connector_t *connector, const char *metadata,
                                               size_t length,
                                               const ropeway_descriptor_t *descriptors,
                                               size_t count,
                                               const ropeway_operation_options_t *options,
                                               ropeway_operation_t **operation);
ROPEWAY_API ropeway_error_t ropeway_begin_write(ropeway_connector_t *connector,
                                                const char *metadata, size_t length,
                                                const ropeway_descriptor_t *descriptors,
                                                size_t count,
                                                const ropeway_operation_options_t *options,
                                                ropeway_operation_t **operation);

/* The functions below may be called until the operation is released. */

/* The current status; never blocks, drives nothing. */
ROPEWAY_API ropeway_status_t ropeway_operation_status(const ropeway_operation_t *operation);

/* Waits until the operation is terminal, or timeout_ms have passed (negative: no limit; 0: only
 * check). Returns ROPEWAY_OK for COMPLETE, ERR_CANCELLED for CANCELLED, the operation's error for
 * ERRORED, ERR_TIMEOUT if it goes on. Many threads may wait for one operation. */
ROPEWAY_API ropeway_error_t ropeway_operation_wait(ropeway_operation_t *operation, int timeout_ms);

/* Asks a live operation to stop; does not wait. ROPEWAY_OK: the request was made, and the outcome
 * will be CANCELLED, or COMPLETE if the data won the race, on both sides; or ERRORED if a failure
 * came first. ERR_FINISHED: it was already terminal and stays as it is. See ropeway_cancel(7). */
ROPEWAY_API ropeway_error_t ropeway_operation_cancel(ropeway_operation_t *operation);

/* Why the operation ended: ROPEWAY_OK while it is live and if COMPLETE, ERR_CANCELLED if CANCELLED,
 * otherwise the cause. */
ROPEWAY_API ropeway_error_t ropeway_operation_error(const ropeway_operation_t *operation);

/* A sentence that names the peer, the step and the cause; "" while live and if COMPLETE. Valid
 * until the operation is released. */
ROPEWAY_API const char *ropeway_operation_error_text(const ropeway_operation_t *operation);

/* Bytes that have arrived (or, on the sending side, left) so far, and in all. A passive operation
 * of which a peer uses a prefix has that prefix's bytes in all. Either may be NULL. */
ROPEWAY_API void ropeway_operation_progress(const ropeway_operation_t *operation, uint64_t *done,
                                            uint64_t *total);

ROPEWAY_API ropeway_operation_kind_t ropeway_operation_kind(const ropeway_operation_t *operation);

/* The options' user_data. */
ROPEWAY_API void *ropeway_operation_user_data(const ropeway_operation_t *operation);

/* The peer's connector name: known from the start for an active operation, "" for a passive one
 * until a peer begins. Valid until the operation is released. */
ROPEWAY_API const char *ropeway_operation_peer(const ropeway_operation_t *operation);

/* The trace context that ties what both sides log to one request of their users, such as a W3C
 * traceparent: the option trace of the active side, on both sides; "" if there is none, or, for a
 * passive operation, until a peer begins. It is printable ASCII; what a peer sent is no more to be
 * believed than its name. Valid until the operation is released. */
ROPEWAY_API const char *ropeway_operation_trace(const ropeway_operation_t *operation);

/* Writes the transports to the peer, e.g. "tcp/lo cma/memory" or "tcp/eth0", truncated to size, and
 * returns the full length; "" while no peer is known. */
ROPEWAY_API size_t ropeway_operation_path(const ropeway_operation_t *operation, char *buffer,
                                          size_t size);

/* Releases the operation. A live one is cancelled first, and this call waits until its memory is
 * quiet, at most about twice quiet_ms. After it returns, the memory belongs to the caller alone and
 * the handle is invalid. The operation's callback has returned by then, unless it is the caller. No
 * other thread may be using the handle. NULL: nothing. In a forked child it frees the child's copy
 * only. */
ROPEWAY_API void ropeway_operation_release(ropeway_operation_t *operation);

/* ---- Metadata ----------------------------------------------------------- */

/* Parsed RDMA metadata: what an application may want to know before it begins an operation. */
typedef struct ropeway_metadata ropeway_metadata_t;

/* Reads and checks length bytes of JSON, at most max_length (0: 16 MiB). Free *metadata with
 * ropeway_metadata_release().
 * Errors: ERR_INVALID_ARGUMENT, ERR_LIMIT, ERR_METADATA, ERR_NO_MEMORY. */
ROPEWAY_API ropeway_error_t ropeway_metadata_parse(const char *json, size_t length,
                                                   size_t max_length,
                                                   ropeway_metadata_t **metadata);
/* READABLE if it may be read, WRITABLE if it may be written. */
ROPEWAY_API ropeway_operation_kind_t ropeway_metadata_kind(const ropeway_metadata_t *metadata);
ROPEWAY_API size_t ropeway_metadata_count(const ropeway_metadata_t *metadata);
/* The descriptor at this index; all zeroes past the end. ptr is what the peer wrote and means
 * nothing here. */
ROPEWAY_API ropeway_descriptor_t ropeway_metadata_descriptor(const ropeway_metadata_t *metadata,
                                                             size_t index);
/* Sum of the descriptors' sizes. */
ROPEWAY_API uint64_t ropeway_metadata_total(const ropeway_metadata_t *metadata);
/* The peer's connector (agent) name, and the notification key; valid until release. */
ROPEWAY_API const char *ropeway_metadata_peer(const ropeway_metadata_t *metadata);
ROPEWAY_API const char *ropeway_metadata_key(const ropeway_metadata_t *metadata);
/* 1 if the peer speaks Ropeway's own protocol, otherwise 0. */
ROPEWAY_API int ropeway_metadata_is_native(const ropeway_metadata_t *metadata);
ROPEWAY_API void ropeway_metadata_release(ropeway_metadata_t *metadata);

#ifdef __cplusplus
}
#endif

#endif /* ROPEWAY_H */
