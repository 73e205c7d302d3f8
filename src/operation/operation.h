/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations, whoever carries them out: memory, limits, phases, outcome. A protocol moves the bytes
 * and says when they are there; it fills in an rw_protocol_t.
 *
 *   IDLE ------> MOVING ------> ENDING ------> TERMINAL
 *   (passive)    (peer known)   (decided)      (quiet)
 *
 * The outcome is decided once, by rw_operation_end(); the first decision stands. It is published by
 * rw_operation_settle() when no link and no mover has our memory any more. What is not given back
 * within quiet_ms is taken back by closing the connection by force.
 *
 * Who may decide on CANCELLED by itself is the protocol's to say (docs/design.md has the table). A
 * side that asked for a cancel but must wait for the other's word waits for quiet_ms at most.
 *
 * References: an operation is freed when the user has released it and the engine is through with it
 * (one reference each; a callback that is to run has one, too).
 */
#ifndef RW_OPERATION_H
#define RW_OPERATION_H

#include "link/peer.h"
#include "mover/memory.h"
#include "operation/layout.h"

#include <stdarg.h>

typedef enum rw_phase {
    RW_PHASE_IDLE,   /* passive: no peer has begun */
    RW_PHASE_MOVING, /* a peer is known; bytes may move */
    RW_PHASE_ENDING, /* the outcome is decided; waits for bytes in flight */
    RW_PHASE_TERMINAL
} rw_phase_t;

/* How bytes and words go between the two sides. Every member is called with the lock held. */
typedef struct rw_protocol {
    /* Posts what can be posted, if the operation is MOVING; it may end in the call. */
    void (*pump)(ropeway_operation_t *operation);
    /* Tells the peer the outcome that was decided here. The operation is ENDING. */
    void (*tell)(ropeway_operation_t *operation);
    /* Whether this side may still decide on CANCELLED without the peer's word. It is MOVING. */
    bool (*may_decide)(const ropeway_operation_t *operation);
    /* Frees what only a live operation needs; it becomes TERMINAL. */
    void (*release)(ropeway_operation_t *operation);
    /* Frees the rest, when the operation is freed, also one that never began. No lock is needed. */
    void (*free)(void *side);
} rw_protocol_t;

struct ropeway_operation {
    rw_table_node_t
        node; /* node.id: this side's id; a passive operation's is its key; written once */
    ropeway_connector_t *connector; /* written once */

    /* Written at creation only. */
    ropeway_operation_kind_t kind;
    bool is_sender;
    uint32_t flags;
    rw_layout_t layout;
    ropeway_operation_fn callback;
    void *callback_arg;
    void *user_data;
    uint64_t created;              /* nanoseconds */
    uint64_t deadline;             /* nanoseconds; RW_NEVER: none */
    uint64_t stall;                /* nanoseconds; RW_NEVER: never */
    const rw_protocol_t *protocol; /* until a stock peer takes an offer, the native one */
    void *side;                    /* the protocol's part; its fields are guarded by the lock */

    /* Read without the lock. */
    atomic_int status;          /* ropeway_status_t */
    atomic_uint_fast64_t done;  /* bytes that left or arrived */
    atomic_uint_fast64_t total; /* the layout's; less than was offered once a prefix is asked for */
    ropeway_error_t error;      /* published by the status */
    char *text;                 /* published by the status */

    unsigned references RW_GUARDED;
    rw_phase_t phase RW_GUARDED;
    ropeway_status_t end_status RW_GUARDED; /* valid from ENDING on */
    pthread_cond_t changed;
    rw_node_t live RW_GUARDED;           /* in operations->live until terminal */
    rw_node_t starved RW_GUARDED;        /* in peer->starved while it waits for room */
    rw_peer_t *peer RW_GUARDED;          /* with a reference */
    rw_peer_t *former RW_GUARDED;        /* before a rebind: its name was handed out; or NULL */
    rw_link_t *link RW_GUARDED;          /* that its frames use, with a reference */
    rw_peer_user_t of_peer RW_GUARDED;   /* in peer->users until terminal */
    rw_memory_use_t memories RW_GUARDED; /* registrations of its pieces */
    size_t inflight RW_GUARDED;          /* flights that have our memory */
    char *json RW_GUARDED;               /* made on demand; lives as long as the operation */
    char *stock_peer RW_GUARDED;         /* passive: the NIXL agent that completed it */
    char *trace RW_GUARDED;              /* the active side's; NULL: none; written once */
    ropeway_error_t later RW_GUARDED;    /* passive: what latecomers are told */
    void *exposure RW_GUARDED;           /* passive: how stock peers reach the memory; nixl/ */
    void (*conceal)(ropeway_operation_t *operation) RW_GUARDED; /* frees the exposure */

    /* Limits. */
    rw_timer_t timer RW_GUARDED;
    uint64_t last_moved RW_GUARDED; /* time of the latest sign of progress */
    uint64_t paced_at RW_GUARDED;   /* when its rate was judged last */
    uint64_t paced_bytes RW_GUARDED;
    uint64_t quiet_due RW_GUARDED; /* when patience with the peer ends; RW_NEVER: not running */
    bool asked_again RW_GUARDED;   /* the peer got another quiet_ms, as we were late to ask */
    bool cancel_asked RW_GUARDED;  /* the user wants it to end; the outcome may be the peer's */

    /* Telling the user. */
    rw_node_t calling RW_GUARDED; /* in operations->callbacks */
    rw_node_t event RW_GUARDED;   /* in operations->events */
    enum { RW_CALL_NONE, RW_CALL_PENDING, RW_CALL_RUNNING } call RW_GUARDED;
};

#define RW_TRACE_MAX 512 /* bytes of a trace context */

/* A connector's operations. */
struct rw_operations {
    rw_table_t table RW_GUARDED; /* live ones, by id */
    rw_node_t live RW_GUARDED;
    uint64_t inflight RW_GUARDED; /* bytes that take room of max_inflight */
    bool has_new_room RW_GUARDED; /* since those that wait were looked at */
    rw_node_t starved RW_GUARDED; /* peers whose operations wait for room; see room.c */
    size_t starved_count RW_GUARDED;
    rw_node_t callbacks RW_GUARDED; /* terminal operations with a callback to run */
    rw_node_t events RW_GUARDED;    /* terminal operations to drain */
    rw_recent_t ended RW_GUARDED;   /* keys of passive operations */
    int event_fd;                   /* readable while events is not empty; written once */
    bool has_caller RW_GUARDED;     /* the callbacks' thread is there */
    bool stopping RW_GUARDED;       /* it shall end */
    pthread_t caller;               /* valid once has_caller is */
    pthread_cond_t called;          /* there is a callback to run, or the thread shall end */
};

ropeway_error_t rw_operations_open(ropeway_connector_t *connector);
void rw_operations_free(ropeway_connector_t *connector);
/* Ends every live operation, and waits until their memory is quiet. */
void rw_operations_end(ropeway_connector_t *connector) RW_LOCKED;

/* The operation that this user of a peer is; NULL: it is none. */
ropeway_operation_t *rw_operation_of_user(rw_peer_user_t *user) RW_LOCKED;
static inline bool rw_operation_is_active(const ropeway_operation_t *operation) {
    return operation->kind == ROPEWAY_OPERATION_READ || operation->kind == ROPEWAY_OPERATION_WRITE;
}

/* ---- operation.c: the object ---- */

/* Makes one that is not started, with what the options say. Errors: those of
 * ropeway_create_readable(). */
ropeway_error_t rw_operation_new(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                                 const ropeway_descriptor_t *descriptors, size_t count,
                                 const ropeway_operation_options_t *options,
                                 ropeway_operation_t **operation);
/* Frees one that was never started. */
void rw_operation_discard(ropeway_operation_t *operation);
/* Enters it in the tables, INITIALIZED (passive) or IN_PROGRESS (active). Its protocol and side are
 * set. Errors: ERR_LIMIT, ERR_NO_MEMORY, ERR_SYSTEM. */
ropeway_error_t rw_operation_start(ropeway_operation_t *operation) RW_LOCKED;
/* Ties it to the peer that will take part in it, over this link. */
void rw_operation_bind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link) RW_LOCKED;
/* The two go on over this link, which may be another peer's. */
void rw_operation_rebind(ropeway_operation_t *operation, rw_peer_t *peer,
                         rw_link_t *link) RW_LOCKED;
/* The peer asks for a prefix of an offer (rw_layout_has_prefix()): the rest is not touched. */
void rw_operation_cut(ropeway_operation_t *operation, const uint64_t *sizes,
                      size_t count) RW_LOCKED;
/* The live operation of this id, or NULL. */
ropeway_operation_t *rw_operation_find(ropeway_connector_t *connector,
                                       const uint8_t id[RW_ID_BYTES]) RW_LOCKED;
/* Drops a reference. With the last one the operation is freed, and with it its reference to the
 * connector. */
void rw_operation_drop(ropeway_operation_t *operation) RW_LOCKED;
/* Whether this connector takes memory of this device at all. Errors: ERR_DEVICE. */
ropeway_error_t rw_device_foresee(const ropeway_connector_t *connector, ropeway_device_t device);
/* Whether memory of this device can be used; starts the carrier that moves it. Errors: ERR_DEVICE,
 * those of rw_links_need(). */
ropeway_error_t rw_device_check(ropeway_connector_t *connector, ropeway_device_t device) RW_LOCKED;
/* Bytes have left or arrived: they count, and the stall limit starts anew. */
void rw_operation_count(ropeway_operation_t *operation, uint64_t bytes) RW_LOCKED;
/* The peer's name, once there is one. */
const char *rw_operation_peer_name(const ropeway_operation_t *operation) RW_LOCKED;
/* "its peer was "NAME"", or that there was none. */
typedef char rw_tell_t[288];
const char *rw_operation_tell_peer(const ropeway_operation_t *operation, rw_tell_t text) RW_LOCKED;

/* ---- room.c: memory under way ---- */

/* The flight is of these bytes, in the pieces in which they lie. false: out of memory. */
bool rw_operation_list_pieces(const ropeway_operation_t *operation, uint64_t offset, size_t length,
                              rw_flight_t *flight) RW_LOCKED;
/* A flight has our memory, and has it no more. To be called before it is given away, and when it is
 * back, be that at once: a link that finds itself broken ends operations before it returns. */
void rw_operation_lend(ropeway_operation_t *operation, rw_flight_t *flight) RW_LOCKED;
void rw_operation_regain(ropeway_operation_t *operation, rw_flight_t *flight) RW_LOCKED;
/* Whether another flight that takes room may go now; if not the operation waits for it. */
bool rw_operation_has_room(ropeway_operation_t *operation) RW_LOCKED;
/* It waits for room; its place in the line stays if it has one. */
void rw_operation_starve(ropeway_operation_t *operation) RW_LOCKED;
/* It waits no more. */
void rw_operation_sate(ropeway_operation_t *operation) RW_LOCKED;
/* Lets those go on that wait, as far as there is room. */
void rw_operations_feed(ropeway_connector_t *connector) RW_LOCKED;

/* ---- outcome.c ---- */

/* Decides on CANCELLED or ERRORED, unless an outcome is decided; it becomes visible once the memory
 * is quiet. tell: send it to the peer as well. format: the sentence. */
void rw_operation_end(ropeway_operation_t *operation, ropeway_status_t status,
                      ropeway_error_t error, bool tell, const char *format, ...)
    __attribute__((format(printf, 5, 6))) RW_LOCKED;
/* Decides on COMPLETE, likewise: every byte is where it belongs. */
void rw_operation_complete(ropeway_operation_t *operation, bool tell) RW_LOCKED;
/* Decides on ERRORED, likewise: the peer sent what it may not. */
void rw_operation_violate(ropeway_operation_t *operation, const char *what) RW_LOCKED;
/* The same: memory for this ran out. */
void rw_operation_run_out(ropeway_operation_t *operation, const char *what) RW_LOCKED;
/* Makes a decided outcome visible if nothing is in flight any more. */
void rw_operation_settle(ropeway_operation_t *operation) RW_LOCKED;
/* Begins a cancel on behalf of the user. */
void rw_operation_abort(ropeway_operation_t *operation) RW_LOCKED;
/* Waits until it is terminal, or due. */
void rw_operation_await(ropeway_operation_t *operation, uint64_t due) RW_LOCKED;

/* ---- limits.c ---- */

/* The run function of an operation's timer. */
void rw_operation_on_timer(rw_timer_t *timer, uint64_t now) RW_LOCKED;
void rw_operation_set_timer(ropeway_operation_t *operation) RW_LOCKED;
/* From now on the peer has quiet_ms to let it end. */
void rw_operation_start_quiet(ropeway_operation_t *operation) RW_LOCKED;

/* ---- callback.c ---- */

/* Whether this is the thread that runs the connector's callbacks. */
bool rw_callback_is_here(const ropeway_connector_t *connector) RW_LOCKED;
/* Makes sure that there is one. Errors: ERR_SYSTEM. */
ropeway_error_t rw_callback_prepare(ropeway_connector_t *connector) RW_LOCKED;
/* The operation is terminal: lets its callback run. */
void rw_callback_post(ropeway_operation_t *operation) RW_LOCKED;
/* Waits until the callback has run, or runs it here when this is the thread that would. */
void rw_callback_finish(ropeway_operation_t *operation) RW_LOCKED;
/* The thread ends once it has run what is there; rw_callback_join() waits for it. */
void rw_callback_stop(ropeway_connector_t *connector) RW_LOCKED;
void rw_callback_join(ropeway_connector_t *connector);

#endif
