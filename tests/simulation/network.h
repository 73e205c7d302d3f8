/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated network. A connection has two ends, each at a port, which is a connector's. What is
 * sent leaves in pieces, which are copied from the sender's memory at times of their own, and
 * arrives in pieces, later, in order; or the connection breaks, in any byte.
 */
#ifndef SIM_NETWORK_H
#define SIM_NETWORK_H

#include "link/link.h"
#include "link/peer.h"
#include "link/progress.h"
#include "simulation.h"

#define SIM_FRAME_MAX ((size_t)256 << 10) /* bytes of a bulk frame of a private link */
#define SIM_WORD_MAX ((size_t)8 << 10)    /* and of another one */

typedef struct sim_conn sim_conn_t;
typedef struct sim_end sim_end_t;

/* Memory that the other side may fetch from. It may be asked for after it was taken back. */
typedef struct sim_loan {
    unsigned references;
    const sim_process_t *owner;
    bool given_back;
    bool is_buffer; /* of the library's; the user's stays mapped, whatever becomes of it */
    uint64_t id;
    size_t count; /* pieces */
    struct iovec pieces[];
} sim_loan_t;

/* A frame on its way. */
typedef struct sim_parcel {
    unsigned references; /* segments, and who sends or receives it */
    uint8_t header[RW_HEADER_MAX];
    size_t header_length, length;
    bool bulk, introduces, to_device;
    sim_loan_t *loan; /* lent: with a reference */
    uint64_t fetched; /* a word of the network's: this loan was fetched; 0: none */
    bool refused;     /* the same: it could not be */
    uint8_t bytes[];
} sim_parcel_t;

typedef enum sim_segment_kind {
    SIM_BYTES,
    SIM_WHOLE,
    SIM_VOID,
    SIM_CLOSE,
    SIM_RESET
} sim_segment_kind_t;

typedef struct sim_segment {
    rw_node_t node; /* in end->wire */
    sim_segment_kind_t kind;
    sim_parcel_t *parcel;
    size_t to; /* bytes that have come with it, in all */
    uint64_t due;
} sim_segment_t;

/* Bytes that are being fetched. */
typedef struct sim_pull {
    rw_node_t node; /* in port->pulls */
    sim_port_t *port;
    sim_end_t *end; /* NULL: it is closed */
    rw_flight_t *place;
    sim_loan_t *loan;     /* NULL: its bytes have come with the frame */
    sim_parcel_t *parcel; /* that has them: with a reference */
    size_t at;
    bool begun, unwanted, finished, failed;
} sim_pull_t;

typedef enum sim_link_state {
    SIM_LINK_OPEN,
    SIM_LINK_LEAVING,
    SIM_LINK_ENDED,
    SIM_LINK_CLOSED
} sim_link_state_t;

typedef struct sim_link {
    rw_link_t base;
    sim_end_t *end; /* NULL: closed */
    sim_link_state_t state;
    uint64_t leave_from, leave_until;
} sim_link_t;

struct sim_end {
    rw_node_t node; /* in port->ends */
    sim_conn_t *conn;
    unsigned side;
    sim_port_t *port; /* NULL: it has none, or has it no more */
    sim_link_t *link; /* NULL: nobody has made one */
    bool open;        /* it can send */
    /* out */
    rw_node_t control, bulk; /* flights that wait */
    rw_flight_t *current;    /* is being sent */
    sim_parcel_t *parcel;    /* the same */
    size_t at;
    rw_node_t lent; /* flights that the other side may fetch */
    uint64_t loans, next_out;
    bool finished; /* it has said that nothing follows */
    /* in */
    rw_node_t wire; /* segments */
    size_t waiting; /* of them */
    uint64_t last_due;
    sim_parcel_t *incoming; /* shown, of which more is to come */
    size_t arrived;         /* bytes of it in place */
    rw_flight_t *place;
    rw_node_t voided; /* places whose bytes do not come */
    bool stopped;     /* what comes is not looked at */
    bool heard_out;   /* nothing more comes */
};

struct sim_conn {
    rw_node_t node; /* in the network's list */
    unsigned number;
    const rw_link_kind_t *kind; /* of its links */
    sim_end_t ends[2];
    uint64_t dial_due; /* when the other side hears of it; RW_NEVER: it has, or never does */
    uint64_t fail_due; /* when the one who connects learns that it failed */
    uint64_t open_due; /* when he learns that it is there */
    uint8_t instances[2][RW_ID_BYTES]; /* of the connectors at its ends */
    bool pending;                      /* the other side has not looked yet */
    unsigned capacity;                 /* segments that may be on their way */
    uint64_t latency;
    uint64_t pace; /* time between two pieces that are sent, at most */
    bool pulls;    /* its bytes may be fetched */
    unsigned host; /* that it comes from */
    bool is_local; /* both of its sides know that they are on one host */
};

struct sim_port {
    sim_process_t *process;
    ropeway_connector_t *connector;
    const rw_link_kind_t *kind; /* of its links */
    rw_poller_t poller;
    rw_watcher_t watcher;
    bool armed;
    sim_end_t *serving; /* a frame came by it that is being shown */
    bool reap;          /* something is to be closed */
    bool deaf;          /* nobody is let in */
    rw_node_t ends, pulls;
};

/* ---- parcel.c ---- */

void sim_loan_drop(sim_loan_t *loan);
/* Of a flight that is lent. */
sim_loan_t *sim_loan_of(const rw_flight_t *flight);
sim_parcel_t *sim_parcel_new(size_t length);
void sim_parcel_drop(sim_parcel_t *parcel);
void sim_pull_drop(sim_pull_t *pull);
/* Puts a segment on its way to this end. bytes: those of the parcel that have come with it. */
void sim_post(sim_end_t *to, sim_segment_kind_t kind, sim_parcel_t *parcel, size_t bytes);
sim_segment_t *sim_segment_first(const sim_end_t *end);
void sim_segment_drop(sim_end_t *to, sim_segment_t *segment);
/* Now and then something that an honest peer would not send goes before the frame that it does. */
void sim_lie(sim_end_t *to, const sim_parcel_t *parcel);

/* ---- network.c, link.c ---- */

/* Nothing follows on the way to this end; lose: and some of the last segments are lost. */
void sim_cut_off(sim_end_t *to, bool lose);
/* The other side was waited for, and does not look any more. */
void sim_give_up_dial(sim_end_t *end);
/* The port for links of this kind of the connector that has this instance; NULL: there is none. */
sim_port_t *sim_port_find(const rw_link_kind_t *kind, const uint8_t instance[RW_ID_BYTES]);
sim_conn_t *sim_connect(sim_port_t *from, const uint8_t target[RW_ID_BYTES]);
/* Whether a connection that is made now shall fail. */
bool sim_dial_fails(void);
/* The end becomes one of the port's. */
void sim_end_attach(sim_end_t *end, sim_port_t *port);

/* ---- carriers.c ---- */

/* Whether the second carrier may start now; that it does not is a trouble. */
bool sim_second_may_start(const rw_carrier_t *carrier);
/* The flight's memory can be moved by links of this kind. */
void sim_check_memory(const rw_link_kind_t *kind, const rw_flight_t *flight);
/* The flight may go by this link. */
void sim_check_sent(const sim_link_t *link, const rw_flight_t *flight);

/* ---- flow.c ---- */

/* It is nobody's any more. Gives back what it has, and tells the other side. orderly: nothing is
 * lost on the way. */
void sim_end_detach(sim_end_t *end, bool orderly, ropeway_error_t error, const char *why);
void sim_end_send(sim_end_t *end, rw_flight_t *flight);
/* Does some of what is due, once. */
bool sim_end_work(sim_end_t *end);
bool sim_end_is_idle(const sim_end_t *end);
void sim_end_finish(sim_end_t *end);
void sim_end_abandon(sim_end_t *end, const void *tag);
void sim_end_stop(sim_end_t *end, ropeway_error_t error, const char *why);
void sim_end_recall(sim_end_t *end, ropeway_error_t error, const char *why);
uint64_t sim_end_due(const sim_end_t *end);
bool sim_port_collect(sim_port_t *port);

static inline sim_end_t *sim_other(const sim_end_t *end);
static inline sim_end_t *sim_other(const sim_end_t *end) {
    return &end->conn->ends[1 - end->side];
}

#endif
