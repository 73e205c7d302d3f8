/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects behind the public handles, and what the library's files ask of each other.
 *
 * Lock rules (docs/design.md tells why):
 *  - One lock per connector. It guards the connector's UCX worker and every field of its operations
 *    and peers that is not written once at creation or atomic.
 *  - UCX callbacks run inside ucp_worker_progress() and post functions, so they hold that lock.
 *  - The user's callbacks run with no lock held; only the log callback may run under it.
 *  - Nothing that can block is done under the lock, except UCX itself.
 *
 * References: an operation is freed when the user has released it and the engine is through with it
 * (one reference each). A peer is freed when no operation refers to it and its endpoint is closed.
 * A connector is freed when it is destroyed and its last operation is freed.
 */
#ifndef RW_INTERNAL_H
#define RW_INTERNAL_H

#include "text/agent.h"
#include "base/extent.h"
#include "base/list.h"
#include "base/lock.h"
#include "native/message.h"
#include "text/metadata.h"
#include "ropeway.h"
#include "base/table.h"
#include "base/timer.h"

#include <stdarg.h>
#include <ucp/api/ucp.h>

/* Messages up to this size travel eagerly (copied by UCX at once), larger ones by rendezvous. */
#define RW_EAGER_MAX ((size_t)16 << 10)
/* All of an operation of up to this size does, between host memories. */
#define RW_EAGER_TOTAL ((size_t)64 << 10)
/* Small neighbouring pieces are gathered into messages of up to this size. */
#define RW_GATHER_MAX ((size_t)512 << 10)
/* A WRITE of up to this size sends its bytes inside the request. */
#define RW_INLINE_MAX ((size_t)8 << 10)
/* A rendezvous message that spans several pieces may have this size. */
#define RW_SCATTER_MAX ((size_t)1 << 20)
/* Pieces of at least this size get messages of their own, by rendezvous; smaller ones are copied
 * out of messages of RW_GATHER_MAX. */
#define RW_GRAIN_MIN ((size_t)256 << 10)
/* Ids of ended operations and closed peers that are remembered. */
#define RW_GRAVES 4096
/* Rejections under way to strangers at a time; more are dropped. */
#define RW_REJECTS_MAX 1024

typedef enum rw_phase {
    RW_PHASE_IDLE,   /* passive: no peer has begun */
    RW_PHASE_MOVING, /* a peer is known; bytes may move */
    RW_PHASE_ENDING, /* the outcome is decided; waits for bytes in flight */
    RW_PHASE_TERMINAL
} rw_phase_t;

/* When the endpoint of a failed peer is closed; peer.c tells why this matters. */
typedef enum rw_leave {
    RW_LEAVE_NOW,     /* at the next step: what is in flight shall be given back */
    RW_LEAVE_FLUSHED, /* when what was sent has left, at most quiet_ms later */
    RW_LEAVE_LATER    /* the same, but not before quiet_ms, and at most a minute later */
} rw_leave_t;

typedef struct rw_peer rw_peer_t;
typedef struct rw_nixl rw_nixl_t;
typedef struct rw_queue rw_queue_t;
typedef struct rw_key rw_key_t;   /* a remote key, unpacked */
typedef struct rw_keys rw_keys_t; /* those of a peer */

/* Checksums of an operation with integrity. */
typedef struct rw_sums {
    uint64_t *mine;       /* per descriptor, computed as its bytes pass */
    uint64_t *theirs;     /* receiver: as announced by the sender */
    rw_extents_t arrived; /* receiver: bytes that are in memory */
    rw_extents_t known;   /* receiver: indexes in theirs that are filled */
    size_t next;          /* descriptor that is being summed */
    uint64_t position;    /* first byte that is not summed yet */
    size_t sent;          /* sender: checksums sent so far */
    void *state;          /* XXH3_state_t */
} rw_sums_t;

struct ropeway_operation {
    rw_table_node_t node; /* node.id: this side's id; a passive operation's is its key */
    ropeway_connector_t *connector;
    rw_timer_t timer;
    rw_link_t live;    /* in connector->live until terminal */
    rw_link_t of_peer; /* in peer->operations until terminal */
    rw_link_t waiting; /* in connector->starved while it waits for in-flight room */
    rw_link_t calling; /* in connector->callbacks */
    rw_link_t event;   /* in connector->events */
    pthread_cond_t changed;
    unsigned references;

    /* Written at creation only. */
    ropeway_operation_kind_t kind;
    bool is_sender;
    bool any_device; /* not all memory is host memory */
    uint32_t flags;
    size_t count;
    uint64_t total;
    ropeway_descriptor_t *descriptors; /* as the peer sees them */
    uint64_t *starts;                  /* count + 1 offsets of the descriptors laid end to end */
    /* Where their bytes lie. The same arrays as above, unless descriptors are groups of pieces. */
    size_t piece_count;
    ropeway_descriptor_t *pieces;
    uint64_t *piece_starts;
    uint64_t grain;              /* receiver in pieces: how messages should be cut; else 0 */
    ropeway_memory_t **memories; /* per piece, or NULL when none is registered */
    ropeway_operation_fn callback;
    void *callback_arg;
    void *user_data;
    uint64_t created;  /* nanoseconds */
    uint64_t deadline; /* nanoseconds; RW_NEVER: none */
    uint64_t stall;    /* nanoseconds; RW_NEVER: never */
    char *json;        /* made on demand, under the lock */

    /* Guarded by the connector's lock. */
    atomic_int status; /* ropeway_status_t; read without the lock */
    rw_phase_t phase;
    rw_peer_t *peer;
    uint8_t remote[RW_ID_BYTES]; /* the other side's id */
    uint64_t last_moved;         /* time of the latest sign of progress */
    uint64_t quiet_due;          /* when patience with the peer ends; RW_NEVER: not running */
    unsigned inflight;           /* UCX requests that touch our memory */
    bool by_queue;               /* its messages go through the peer's queue in shared memory */
    bool integrity;              /* either side asked for it */
    bool remote_device;          /* the peer's memory is not all host memory */
    uint64_t remote_grain;       /* sender: the receiver's; 0: no wish */
    bool accepted;               /* sender: the receiver lets us send */
    bool pulled;                 /* some bytes travel by rendezvous: the sender has the last word */
    bool all_sent;               /* sender: nothing is left to post */
    bool started;                /* some DATA was posted, or has arrived */
    bool done_sent;              /* receiver: DONE went out, waits for FIN */
    bool asked_again;            /* the peer got another quiet_ms, as we were late to ask */
    bool cancel_asked;           /* the user wants it to end; the outcome is the other side's */
    bool callback_running;
    bool callback_pending;
    size_t cursor;             /* sender: piece to send next */
    uint64_t cursor_offset;    /* sender: offset in it */
    uint64_t posted;           /* sender: bytes handed to UCX; offset of the next chunk */
    atomic_uint_fast64_t done; /* bytes that left or arrived; read without the lock */
    rw_extents_t claimed;      /* receiver: byte ranges announced so far */
    rw_sums_t *sums;           /* with integrity, once bytes move */

    /* With stock NIXL peers (nixl.c, nixl_active.c). */
    ucp_mem_h *maps;        /* passive: per descriptor, its registration for them, or NULL */
    char *stock_peer;       /* passive: who completed it */
    uint64_t *remote_ptrs;  /* active: per descriptor, the remote address */
    rw_key_t **remote_keys; /* active: per descriptor, until terminal */
    char *remote_name;      /* active: the notification key */

    ropeway_status_t end_status; /* valid from ENDING on */
    ropeway_error_t error;       /* published by the status */
    char *text;
};

/* A connection to another connector (or to ourselves). */
struct rw_peer {
    rw_table_node_t node; /* node.id: the id of the other connector's hello */
    ropeway_connector_t *connector;
    rw_link_t link;             /* in connector->peers, ->broken or ->leaving */
    rw_link_t operations;       /* live ones */
    ucp_ep_h endpoint;          /* NULL once closing began */
    unsigned references;        /* operations that point here, and 1 while the endpoint is open */
    int process;                /* its process, when it is on this host; -1: unknown */
    pid_t pid;                  /* the same, by number; 0: not on this host, or this one */
    rw_leave_t leave;           /* how to close the endpoint, once failed */
    bool stock;                 /* a NIXL agent, on the second worker */
    bool heard;                 /* it has sent us something */
    bool failed;                /* new operations need a fresh peer */
    bool reported;              /* UCX itself says that it is broken */
    bool leaving;               /* in connector->leaving */
    bool flushing;              /* what we have sent has not all left yet */
    bool queue_refused;         /* there will be no queue */
    uint8_t token[RW_ID_BYTES]; /* what we call the connection */
    uint8_t their_token[RW_ID_BYTES]; /* what the peer calls it; zeroes until heard */
    uint8_t instance[RW_ID_BYTES];    /* from its hello */
    rw_keys_t *keys;                  /* stock: remote keys that were unpacked */
    rw_queue_t *queue;                /* in shared memory, theirs alone; or NULL */
    rw_link_t asking;                 /* in connector->asking, when it should be asked for one */
    uint32_t completed;               /* operations begun here without a queue, since we asked */
    unsigned put_off;                 /* how often the time until the next ask was doubled */
    rw_timer_t timer;                 /* when leaving ends, or is looked at */
    uint64_t left;                    /* when it began to leave */
    uint64_t last_heard;              /* when, or when the connection was made */
    char path[128];                   /* transports; "" until asked for */
    char queue_path[128];             /* those of the queue */
    char name[256];
    char ucx[32]; /* the UCX release on the other side, as far as known */
};

struct ropeway_memory {
    rw_link_t link; /* in connector->memories */
    ropeway_connector_t *connector;
    char *ptr;
    size_t size;
    ropeway_device_t device;
    ucp_mem_h handle;
    unsigned references; /* the user's, and one per descriptor of a live operation */
    bool released;       /* new operations must not use it */
};

/* One UCX request under way. */
typedef struct rw_flight {
    rw_link_t link; /* in connector->spare_flights, when unused */
    ropeway_connector_t *connector;
    ropeway_operation_t *operation; /* whose memory it touches; NULL: a message */
    bool counts_as_reject;
    uint64_t offset; /* of DATA */
    size_t length;   /* of DATA */
    void *buffer;    /* freed at the end; NULL: none */
    uint8_t header[RW_MESSAGE_BYTES];
} rw_flight_t;

/* A queue in shared memory with one peer; queue.c. */
struct rw_queue {
    rw_link_t link; /* in connector->queues, once it is connected */
    rw_peer_t *peer;
    ucp_worker_h worker;
    ucp_ep_h endpoint;      /* NULL until connected */
    int fd;                 /* readable when the worker has work */
    unsigned refusals;      /* how often in a row UCX could not be armed, and had nothing to do */
    bool usable;            /* the peer is ready too: operations may begin on it */
    bool running;           /* UCX is at work on it */
    ucs_status_ptr_t flush; /* that it is emptied, while the connector closes */
    bool muted;             /* it is not waited for, as it can't be armed */
};

typedef struct rw_grave {
    uint8_t id[RW_ID_BYTES];
    ropeway_error_t error; /* what a latecomer gets */
} rw_grave_t;

struct ropeway_connector {
    /* Written at creation only. */
    ropeway_connector_options_t options;
    char name[256];
    uint8_t instance[RW_ID_BYTES]; /* random */
    uint8_t id[RW_ID_BYTES];       /* of the hello */
    uint8_t scope[RW_ID_BYTES];    /* see rw_watch_scope() */
    uint8_t *hello;
    size_t hello_length;
    unsigned generation; /* of the process; see rw_forked() */
    int ucx_fd;          /* readable when UCX has work */
    int wake_fd;         /* wakes the progress thread */
    int event_fd;        /* readable while events is not empty */
    int epoll_fd;        /* of ucx_fd, wake_fd and what else there is to watch */
    int listen_fd;       /* where peers on this host ask for a queue; -1: nowhere */
    bool has_cuda;
    rw_agents_t agents; /* with a lock of its own */
    pthread_t thread;   /* drives UCX */
    pthread_t caller;   /* runs the user's callbacks, once there is one; see has_caller */
    rw_link_t logging;  /* guarded by log.c */

    rw_lock_t lock;
    ucp_context_h context;
    ucp_worker_h worker RW_GUARDED;
    rw_nixl_t *nixl RW_GUARDED;             /* the second UCX worker, once it is needed */
    ucp_context_h queue_context RW_GUARDED; /* of the queues' workers, once there was one */
    rw_link_t queues RW_GUARDED;
    rw_link_t talks RW_GUARDED;  /* about queues, under way */
    rw_link_t asking RW_GUARDED; /* peers that should be asked for a queue */
    size_t talk_count RW_GUARDED;
    bool knocked RW_GUARDED;        /* somebody wants to talk about a queue */
    bool deaf RW_GUARDED;           /* nobody who wants to can be let in */
    bool sulking RW_GUARDED;        /* a queue can't be armed, and has nothing to do */
    unsigned turns RW_GUARDED;      /* of polling, most of which need not be whole steps */
    unsigned steps RW_GUARDED;      /* whole ones */
    uint64_t last_step RW_GUARDED;  /* when the last of these was, if there are queues */
    unsigned references RW_GUARDED; /* operations not freed, and 1 until destroyed */
    bool closed RW_GUARDED;         /* destroy has begun */
    bool stopping RW_GUARDED;       /* the progress thread shall end */
    bool sleeping RW_GUARDED;       /* the progress thread waits in epoll, UCX is armed */
    bool unparking RW_GUARDED;      /* it shall not stay parked */
    bool parked RW_GUARDED;         /* the progress thread leaves the driving to waiters */
    unsigned drivers RW_GUARDED;    /* waiters that poll UCX */
    uint64_t last_driven RW_GUARDED;
    uint64_t sleep_until RW_GUARDED;
    bool has_caller RW_GUARDED; /* the callbacks' thread is there */
    pthread_cond_t unpark;
    pthread_cond_t called; /* there is a callback to run, or the thread shall end */
    rw_timers_t timers RW_GUARDED;
    rw_table_t operations RW_GUARDED; /* live ones, by id */
    rw_table_t peer_table RW_GUARDED; /* by hello id */
    rw_link_t live RW_GUARDED;
    size_t live_count RW_GUARDED;
    rw_link_t peers RW_GUARDED;     /* least recently used first */
    rw_link_t broken RW_GUARDED;    /* peers whose endpoint is to be closed */
    rw_link_t leaving RW_GUARDED;   /* those whose endpoint will be closed later */
    rw_link_t starved RW_GUARDED;   /* senders that wait for in-flight room */
    rw_link_t callbacks RW_GUARDED; /* terminal operations with a callback to run */
    rw_link_t events RW_GUARDED;    /* terminal operations to drain */
    rw_link_t memories RW_GUARDED;
    rw_link_t spare_flights RW_GUARDED;
    size_t spare_count RW_GUARDED;
    size_t messages_inflight RW_GUARDED; /* flights without an operation */
    size_t rejects_inflight RW_GUARDED;
    size_t closing RW_GUARDED; /* endpoints being closed */
    size_t leaving_count RW_GUARDED;
    rw_grave_t *graves RW_GUARDED;
    size_t next_grave RW_GUARDED;
    ropeway_stats_t stats RW_GUARDED;
};

/* ---- connector.c ---- */

/* ROPEWAY_OK, or the error of a null, forked or closed connector. Takes and leaves the lock taken
 * on success; on failure the lock is not held. */
ropeway_error_t rw_connector_enter(ropeway_connector_t *connector);
/* Gives the lock back, and frees the connector if nothing refers to it any more. */
void rw_connector_leave(ropeway_connector_t *connector) RW_ANNOTATE(release_capability(rw_holder));

/* ---- fork.c ---- */

/* Changes in every forked child. */
unsigned rw_process_generation(void);
/* A connector of this process begins (1) or ends (-1). */
void rw_process_count(int change);
/* false in a child that was forked while the parent had a connector: UCX, whose own thread is in
 * the parent only, does not work there. */
bool rw_process_is_fit(void);

/* ---- log.c ---- */

void rw_log(ropeway_connector_t *connector, ropeway_log_level_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* From now until rw_log_detach(), lines of UCX go to this connector's log too. */
void rw_log_attach(ropeway_connector_t *connector);
void rw_log_detach(ropeway_connector_t *connector);

/* ---- ucx.c ---- */

/* Makes context and worker, with the library's settings where the environment has none. */
ropeway_error_t rw_ucx_open(ropeway_connector_t *connector);
void rw_ucx_close(ropeway_connector_t *connector);
/* Reads UCX's configuration and puts the library's settings in. The settings that an option names
 * (transports, net_devices) may be NULL. */
ropeway_error_t rw_ucx_config(const char *transports, const char *net_devices,
                              uint32_t keepalive_ms, bool for_stock, ucp_config_t **config);
/* Whether these transports (NULL: the environment's) leave room for queues of ours. *large: whether
 * they also let large transfers go from memory to memory (CMA); may be NULL. */
bool rw_ucx_can_queue(const char *transports, bool *large);
/* The configuration of the queues' workers. */
ropeway_error_t rw_ucx_queue_config(const ropeway_connector_t *connector, ucp_config_t **config);
/* Makes a worker; *fd: its descriptor, readable when it has work. */
ropeway_error_t rw_ucx_open_worker(ucp_context_h context, ucp_worker_h *worker, int *fd);
/* *copy: the worker's address, to be freed. */
ropeway_error_t rw_ucx_copy_address(ucp_worker_h worker, uint8_t **copy, size_t *length);
/* Connects a worker to the one of this address, which came from a peer. Errors: ERR_NO_PATH with
 * the reason alone as sentence, ERR_NO_MEMORY. */
ropeway_error_t rw_ucx_connect(ucp_worker_h worker, const uint8_t *address, size_t length,
                               ucp_err_handler_cb_t on_error, void *argument, ucp_ep_h *endpoint);
/* Sets one key. Errors: ERR_TRANSPORT. */
ropeway_error_t rw_ucx_set(ucp_config_t *config, const char *key, const char *value);
/* Whether the library sets this key (without "UCX_"), or an option of the connector does. */
bool rw_ucx_is_our_setting(const char *key);
ucs_memory_type_t rw_ucx_memory_type(ropeway_device_t device);

/* ---- progress.c ---- */

ropeway_error_t rw_progress_start(ropeway_connector_t *connector);
/* Lets UCX and the timers work once, and does what they left to do. Returns whether anything
 * happened. */
bool rw_progress_step(ropeway_connector_t *connector) RW_LOCKED;
/* To be called after posting, before the lock is released: makes sure that somebody goes on. */
void rw_progress_kick(ropeway_connector_t *connector) RW_LOCKED;
/* Makes room for the timer of one more operation, peer that leaves, or talk. false: out of memory.
 */
bool rw_progress_reserve_timer(ropeway_connector_t *connector) RW_LOCKED;
/* Wakes the progress thread for what only it does (arming a new worker, stopping). */
void rw_progress_wake(ropeway_connector_t *connector) RW_LOCKED;
/* Drives or sleeps until the operation is terminal, or due. */
void rw_progress_wait(ropeway_operation_t *operation, uint64_t due) RW_LOCKED;

/* ---- callback.c ---- */

/* Whether this is the thread that runs the connector's callbacks. */
bool rw_callback_is_here(const ropeway_connector_t *connector) RW_LOCKED;
/* Makes sure that there is one. Errors: ERR_SYSTEM. */
ropeway_error_t rw_callback_prepare(ropeway_connector_t *connector) RW_LOCKED;
/* The operation is terminal: lets its callback run. */
void rw_callback_post(ropeway_operation_t *operation) RW_LOCKED;
/* Waits until the callback has run, or runs it here when this is the thread that would. */
void rw_callback_finish(ropeway_operation_t *operation) RW_LOCKED;

/* ---- layout.c ---- */

/* Copies and checks the operation's memory. What it left is freed by rw_layout_free(), also after
 * an error. Errors: those of ropeway_create_readable() that are about descriptors. */
ropeway_error_t rw_layout_make(ropeway_operation_t *operation, const ropeway_descriptor_t *list,
                               size_t count, const ropeway_operation_options_t *options);
void rw_layout_free(ropeway_operation_t *operation);
bool rw_layout_is_grouped(const ropeway_operation_t *operation);
/* The descriptor and the piece that hold this byte; offset < total. */
size_t rw_layout_descriptor(const ropeway_operation_t *operation, uint64_t offset);
size_t rw_layout_piece(const ropeway_operation_t *operation, uint64_t offset);
/* How many bytes from offset on, which lies in or at the end of this piece, lie behind each other,
 * at most length; and where. */
size_t rw_layout_stretch(const ropeway_operation_t *operation, size_t piece, uint64_t offset,
                         uint64_t length, char **at);
/* Copy bytes to and from their places; host memory only. */
void rw_layout_scatter(const ropeway_operation_t *operation, uint64_t offset, const void *data,
                       size_t length);
void rw_layout_gather(const ropeway_operation_t *operation, uint64_t offset, void *data,
                      size_t length);
/* How many bytes from the cursor on, up to limit and RW_GATHER_MAX, lie in pieces of at most
 * largest bytes; 0 when there is just one. */
size_t rw_layout_gatherable(const ropeway_operation_t *operation, uint64_t limit,
                            size_t largest) RW_LOCKED;
/* length more bytes are posted: moves the cursor past them, and past pieces without bytes. */
void rw_layout_advance(ropeway_operation_t *operation, size_t length) RW_LOCKED;

/* ---- operation.c, outcome.c ---- */

/* Whether the connector can use memory of this device. Errors: ERR_DEVICE. */
ropeway_error_t rw_device_check(const ropeway_connector_t *connector, ropeway_device_t device);

ropeway_error_t rw_operation_new(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                                 const ropeway_descriptor_t *descriptors, size_t count,
                                 const ropeway_operation_options_t *options,
                                 ropeway_operation_t **operation);
/* Frees one that was never started. */
void rw_operation_discard(ropeway_operation_t *operation);
/* Enters it in the tables, INITIALIZED (passive) or IN_PROGRESS (active). */
ropeway_error_t rw_operation_start(ropeway_operation_t *operation) RW_LOCKED;
/* Ties it to the peer that will take part in it. */
void rw_operation_bind(ropeway_operation_t *operation, rw_peer_t *peer,
                       const uint8_t remote[RW_ID_BYTES]) RW_LOCKED;
/* Decides the outcome, unless one is decided; it becomes visible once the memory is quiet. tell:
 * send it to the peer as well. format: the sentence (unused for COMPLETE). */
void rw_operation_end(ropeway_operation_t *operation, ropeway_status_t status,
                      ropeway_error_t error, bool tell, const char *format, ...)
    __attribute__((format(printf, 5, 6))) RW_LOCKED;
/* Ends it because the peer sent what it may not. */
void rw_operation_violate(ropeway_operation_t *operation, const char *what) RW_LOCKED;
/* Makes a decided outcome visible if nothing is in flight any more. */
void rw_operation_settle(ropeway_operation_t *operation) RW_LOCKED;
/* Begins a cancel on behalf of the user. */
void rw_operation_abort(ropeway_operation_t *operation) RW_LOCKED;
/* The run function of an operation's timer. */
void rw_operation_on_timer(rw_timer_t *timer, uint64_t now) RW_LOCKED;
/* Something moved: the stall limit starts anew. */
void rw_operation_touch(ropeway_operation_t *operation) RW_LOCKED;
void rw_operation_set_timer(ropeway_operation_t *operation) RW_LOCKED;
/* Drops a reference. With the last one the operation is freed, and with it its reference to the
 * connector. Returns whether it was freed. */
bool rw_operation_drop(ropeway_operation_t *operation) RW_LOCKED;
/* Remembers why an id is not alive any more: the key of an operation, for the latecomer who brings
 * it; the hello of a peer, for who would call it. The latest RW_GRAVES are kept. */
void rw_grave_dig(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                  ropeway_error_t error) RW_LOCKED;
/* ROPEWAY_OK: nothing is known of it. */
ropeway_error_t rw_grave_read(ropeway_connector_t *connector,
                              const uint8_t id[RW_ID_BYTES]) RW_LOCKED;

static inline bool rw_operation_is_active(const ropeway_operation_t *operation) {
    return operation->kind == ROPEWAY_OPERATION_READ || operation->kind == ROPEWAY_OPERATION_WRITE;
}

/* ---- passive.c, active.c ---- */

/* queue: the one that it came through, or NULL. */
void rw_passive_request(ropeway_connector_t *connector, rw_queue_t *queue,
                        const rw_message_t *message, const uint8_t *payload, size_t length,
                        ucp_ep_h reply) RW_LOCKED;
void rw_passive_reject(ropeway_connector_t *connector, const rw_message_t *message, ucp_ep_h reply,
                       ropeway_error_t error, const char *format, ...)
    __attribute__((format(printf, 5, 6))) RW_LOCKED;

/* ---- native.c ---- */

/* UCX active message ids. Bytes for device memory use one of their own, for which UCX keeps eager
 * data until we have unpacked it with ucp_am_recv_data_nbx(). */
enum { RW_AM_HOST = 1, RW_AM_DEVICE = 2 };

/* Installs the message handlers on the queue's worker, or the connector's when queue is NULL. */
ropeway_error_t rw_native_listen(ropeway_connector_t *connector, rw_queue_t *queue) RW_LOCKED;
/* Where the operation's messages go; its peer has not failed. */
ucp_ep_h rw_native_endpoint(const ropeway_operation_t *operation) RW_LOCKED;
/* Sends a message without operation memory. payload is copied. endpoint: any open one. */
ropeway_error_t rw_native_send(ropeway_connector_t *connector, ucp_ep_h endpoint,
                               const rw_message_t *message, const void *payload,
                               size_t length) RW_LOCKED;
/* Sends a refusal on a connection that UCX made for the stranger; dropped when there are too many.
 */
void rw_native_reject(ropeway_connector_t *connector, ucp_ep_h reply, const rw_message_t *message,
                      const void *payload, size_t length) RW_LOCKED;
/* A message of this type from the operation to its counterpart; nothing is sent to a failed peer.
 */
void rw_native_tell(ropeway_operation_t *operation, rw_message_type_t type) RW_LOCKED;
/* FIN with the decided outcome. */
void rw_native_tell_end(ropeway_operation_t *operation) RW_LOCKED;
rw_message_t rw_native_message(const ropeway_operation_t *operation, rw_message_type_t type);
rw_flight_t *rw_flight_take(ropeway_connector_t *connector) RW_LOCKED;
void rw_flight_give(rw_flight_t *flight) RW_LOCKED;
/* The operation's memory is in the hands of UCX, and is not any more. To be called before a request
 * is posted, and when it has ended, be that at once: a post function that finds the connection
 * broken calls the error handler, and so ends operations, before it returns. */
void rw_flight_depart(rw_flight_t *flight) RW_LOCKED;
void rw_flight_land(rw_flight_t *flight) RW_LOCKED;

/* ---- send.c, receive.c, sums.c ---- */

/* Posts chunks as far as window, limits and the receiver allow. */
void rw_send_pump(ropeway_operation_t *operation) RW_LOCKED;
/* Lets senders go on that waited for in-flight room. */
void rw_send_feed(ropeway_connector_t *connector) RW_LOCKED;
/* A DATA message; returns what UCX's callback is to return. */
ucs_status_t rw_receive_data(ropeway_operation_t *operation, const rw_message_t *message,
                             void *data, size_t length, const ucp_am_recv_param_t *param) RW_LOCKED;
/* Bytes that came inside a request. */
void rw_receive_inline(ropeway_operation_t *operation, const uint8_t *data,
                       size_t length) RW_LOCKED;
void rw_receive_sums(ropeway_operation_t *operation, const rw_message_t *message,
                     const uint8_t *payload, size_t length) RW_LOCKED;
/* Completes or answers, once all bytes and checksums are here. */
void rw_receive_check(ropeway_operation_t *operation) RW_LOCKED;

/* false: out of memory. */
bool rw_sums_start(ropeway_operation_t *operation) RW_LOCKED;
void rw_sums_free(ropeway_operation_t *operation);
/* The operation's bytes [0, end) have passed. */
void rw_sums_advance(ropeway_operation_t *operation, uint64_t end) RW_LOCKED;
/* Index of a descriptor whose checksums differ, or count. */
size_t rw_sums_compare(const ropeway_operation_t *operation);

/* ---- peer.c ---- */

/* Finds or makes the connection to whoever this hello describes. */
ropeway_error_t rw_peer_get(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                            const rw_hello_t *hello, rw_peer_t **peer) RW_LOCKED;
/* Gives up on a peer that may be alive: tells it, so that it drops the connection too, and fails
 * it. On one that has failed: RW_LEAVE_NOW hurries. */
void rw_peer_forsake(rw_peer_t *peer, rw_leave_t leave, ropeway_error_t cause,
                     const char *why) RW_LOCKED;
/* The same for a NIXL agent on the second worker. */
ropeway_error_t rw_peer_get_stock(ropeway_connector_t *connector, const rw_agent_blob_t *agent,
                                  rw_peer_t **peer) RW_LOCKED;
/* The connection is of no more use: its operations end in ERRORED with this cause, and its endpoint
 * is closed by force when peer->leave says. */
void rw_peer_fail(rw_peer_t *peer, ropeway_error_t cause, const char *format, ...)
    __attribute__((format(printf, 3, 4))) RW_LOCKED;
/* Closes the endpoints of failed peers, or begins to. */
bool rw_peer_bury(ropeway_connector_t *connector) RW_LOCKED;
/* Says goodbye to every peer and closes the connections; at most about quiet_ms. */
void rw_peer_close_all(ropeway_connector_t *connector) RW_LOCKED;
void rw_peer_drop(rw_peer_t *peer) RW_LOCKED;
/* It is in use: others are closed before it when there is no room. */
void rw_peer_use(rw_peer_t *peer) RW_LOCKED;
rw_peer_t *rw_peer_find(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES]) RW_LOCKED;
/* The transports of its endpoint, or of its queue, as text; "" when unknown. */
const char *rw_peer_path(rw_peer_t *peer, bool by_queue) RW_LOCKED;

/* ---- queue.c ---- */

/* Makes a queue for this peer, not connected yet. *address, of *length bytes: its UCX address, to
 * be freed. */
ropeway_error_t rw_queue_new(rw_peer_t *peer, rw_queue_t **queue, uint8_t **address,
                             size_t *length) RW_LOCKED;
/* Connects it to the peer's, whose address this is: it is the peer's queue now. */
ropeway_error_t rw_queue_connect(rw_queue_t *queue, const uint8_t *address,
                                 size_t length) RW_LOCKED;
/* Lets UCX work on all queues. Returns whether anything happened. */
bool rw_queue_progress(ropeway_connector_t *connector) RW_LOCKED;
/* Makes their descriptors readable at the next event. false: there is work to do first. */
bool rw_queue_arm(ropeway_connector_t *connector) RW_LOCKED;
/* Whether this descriptor is one of a queue. */
bool rw_queue_owns(const ropeway_connector_t *connector, int fd) RW_LOCKED;
/* Takes what the peer has put into it so far. NULL: nothing. */
void rw_queue_drain(rw_queue_t *queue) RW_LOCKED;
/* Waits until all that was sent through queues is in the peers' hands; at most until due. */
void rw_queue_flush(ropeway_connector_t *connector, uint64_t due) RW_LOCKED;
/* Gives back what is in flight. Not from within UCX. */
void rw_queue_free(rw_queue_t *queue) RW_LOCKED;
void rw_queue_close_context(ropeway_connector_t *connector) RW_LOCKED;

/* ---- queue_talk.c ---- */

/* Opens the socket on which peers ask for queues, if there may be any. */
void rw_talk_listen(ropeway_connector_t *connector);
/* An operation that was begun here has completed without a queue: it may be time to ask for one. */
void rw_talk_count(rw_peer_t *peer) RW_LOCKED;
/* Goes on with all talks, and begins those that are due. Not from within UCX. */
void rw_talk_look(ropeway_connector_t *connector) RW_LOCKED;
/* Whether this descriptor is one of a talk, or where they begin. */
bool rw_talk_owns(const ropeway_connector_t *connector, int fd) RW_LOCKED;
void rw_talk_close(ropeway_connector_t *connector) RW_LOCKED;

/* ---- stuck.c ---- */

/* Shuts down the TCP connections of a UCX worker, by its event descriptor, through which nothing
 * could be sent for ms milliseconds though bytes wait. UCX takes them as ended by the peer. Returns
 * their number. */
unsigned rw_stuck_cut(int worker_fd, uint32_t ms) RW_LOCKED;

/* ---- nixl.c: what stock NIXL peers see of us ---- */

struct rw_nixl {
    ucp_context_h context;
    ucp_worker_h worker;
    int fd; /* readable when the worker has work */
    uint8_t *address;
    size_t address_length;
};

/* Makes the second worker, unless it is there. */
ropeway_error_t rw_nixl_open(ropeway_connector_t *connector) RW_LOCKED;
void rw_nixl_close(ropeway_connector_t *connector) RW_LOCKED;
/* Registers a passive operation's memory for stock peers, and makes its metadata. */
ropeway_error_t rw_nixl_expose(ropeway_operation_t *operation) RW_LOCKED;
void rw_nixl_conceal(ropeway_operation_t *operation) RW_LOCKED;

/* ---- nixl_active.c: reads and writes of what stock peers offer ---- */

/* Looks up the peer and its remote keys; the operation can then be started with rw_nixl_start(). */
ropeway_error_t rw_nixl_prepare(ropeway_operation_t *operation, const ropeway_metadata_t *metadata,
                                rw_peer_t **peer) RW_LOCKED;
/* Posts gets or puts as far as the window allows; then the notification. */
void rw_nixl_pump(ropeway_operation_t *operation) RW_LOCKED;
/* Gives the operation's remote keys back. */
void rw_nixl_let_go(ropeway_operation_t *operation) RW_LOCKED;

/* ---- nixl_keys.c ---- */

/* NULL: out of memory. */
rw_keys_t *rw_keys_new(void);
/* Keys in use live on until they are given back. */
void rw_keys_free(rw_keys_t *keys);
/* The region's key, unpacked, for one descriptor. */
ropeway_error_t rw_key_take(rw_peer_t *peer, const rw_region_t *region, rw_key_t **key) RW_LOCKED;
void rw_key_give(rw_key_t *key) RW_LOCKED;
ucp_rkey_h rw_key_handle(const rw_key_t *key);

/* ---- watch.c ---- */

/* Identifies the host and the PID namespace that this process lives in; zeroes: unknown. */
void rw_watch_scope(uint8_t scope[RW_ID_BYTES]);
/* Begins to watch the peer's process, if it is within reach. Errors: ERR_UNREACHABLE (it has
 * ended). */
ropeway_error_t rw_watch_start(rw_peer_t *peer, const rw_hello_t *hello) RW_LOCKED;
void rw_watch_stop(rw_peer_t *peer) RW_LOCKED;
/* The process behind this descriptor has ended. */
void rw_watch_event(ropeway_connector_t *connector, int process) RW_LOCKED;

/* ---- memory.c ---- */

/* The registration that covers a range, or NULL. */
ropeway_memory_t *rw_memory_find(ropeway_connector_t *connector, const void *ptr,
                                 size_t size) RW_LOCKED;
void rw_memory_drop(ropeway_memory_t *memory) RW_LOCKED;
/* The connector goes: frees the registration, whoever holds it. */
void rw_memory_forget(ropeway_memory_t *memory) RW_LOCKED;

#endif
