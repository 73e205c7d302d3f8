/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between protocols and what carries their frames. A link is a way for frames to one peer;
 * what goes through one arrives in order, or the link goes down. A frame is a header that the link
 * does not read, of at most RW_HEADER_MAX bytes, and a payload. A kind of link is one file that
 * fills in an rw_link_kind_t; a protocol fills in an rw_link_user_t.
 *
 * Every member is called with the connector's lock held, and never blocks. A kind may give the lock
 * up inside of its poller only (link/progress.h). No member is called from within another one's
 * call to the user of links, except where the comment says so.
 */
#ifndef RW_LINK_H
#define RW_LINK_H

#include "link/flight.h"
#include "text/hello.h"

typedef struct rw_link rw_link_t;
struct rw_peer;

/* How a link is given up. In each case what is in flight on it comes back by done(). */
typedef enum rw_close {
    RW_CLOSE_NOW,     /* at the next step: memory is waited for */
    RW_CLOSE_FLUSHED, /* when what was sent has left, at most quiet_ms later */
    RW_CLOSE_LATER,   /* the same, but not before quiet_ms: the peer may do it too */
    RW_CLOSE_GRACEFUL /* as the kind ends a connection that both sides have done with */
} rw_close_t;

/* A frame that arrives. */
typedef struct rw_frame {
    rw_link_t *link; /* it came through this one; NULL: the kind can't tell */
    const uint8_t *header;
    size_t header_length;
    const uint8_t *payload; /* the bytes, until the call returns; NULL: they are not here yet */
    size_t length;
    bool lent;       /* they lie in the sender's memory until the receiver fetches them */
    bool scatters;   /* their place may be of many pieces */
    bool for_device; /* they were sent for device memory, and can be placed there */
    const struct rw_link_kind *kind; /* where link is NULL: it came by this one */
    void *reply; /* where link is NULL, for the kind's refuse(); NULL: no answer is possible */
    rw_flight_t *place; /* with RW_FRAME_PLACED: where they go */
} rw_frame_t;

typedef enum rw_verdict {
    RW_FRAME_TAKEN, /* done with it: read, or of no interest */
    RW_FRAME_PLACED /* its bytes go to frame->place, whose done() follows */
} rw_verdict_t;

/* What a kind calls; the members hold the same promises. */
typedef struct rw_link_user {
    /* A frame is here. */
    rw_verdict_t (*on_frame)(ropeway_connector_t *connector, rw_frame_t *frame);
    /* The link takes flights again after it has said RW_AGAIN, or bytes in flight have ended. */
    void (*on_room)(ropeway_connector_t *connector);
    /* The connection is given up by this side, which can still send: the peer should hear why.
     * for_good: the connector closes. */
    void (*on_leave)(struct rw_peer *peer, bool for_good);
} rw_link_user_t;

struct rw_carrier;

#define RW_ROUTES_MAX 9

/* A place where a peer might be reached. */
typedef struct rw_route {
    char path[128];      /* as rw_link_path() of a link to there would say */
    const char *refused; /* why open() would not try it, a phrase; NULL: it would */
    bool is_encrypted;
    bool pulls; /* large bytes are fetched from memory, if both sides see that this can be done */
} rw_route_t;

/* Whose a peer's process is. */
typedef enum rw_owner { RW_OWNER_UNKNOWN, RW_OWNER_US, RW_OWNER_ANOTHER } rw_owner_t;

/* All of them, in the order in which they would be tried. */
typedef struct rw_routes {
    rw_route_t list[RW_ROUTES_MAX];
    size_t count;
    const char *encryption; /* that the peer asks for, as the option; NULL: the kind knows none */
    rw_owner_t owner;
} rw_routes_t;

/* A kind of link. Those that take a carrier are given the connector's own of this kind. */
typedef struct rw_link_kind {
    const char *name; /* "ucx", "stream", "memory" */
    size_t frame_max; /* bytes of a bulk frame's payload; 0: any number */
    size_t word_max;  /* bytes of another frame's payload; 0: any number */
    bool is_private;  /* frames name their link */
    bool pushes;      /* bytes go in frames: none are lent, unless a link says so (lends) */
    bool host_only;   /* it moves host memory alone */
    bool done_early;  /* a sender may have its loan back before the receiver's done() */

    /* Loads the foreign code that start() needs, which takes long. Any thread may call it. NULL: it
     * needs none. Errors: as a connector's creation. */
    ropeway_error_t (*load)(void);
    /* Makes carrier->state: ready for peers to come, or, if it dials only, to connect. Called once,
     * before everything else. Errors are those of a connector's creation. */
    ropeway_error_t (*start)(struct rw_carrier *carrier);
    /* Whether the hello's address is one of this kind. NULL: of any that no other kind knows. */
    bool (*knows_address)(const rw_hello_t *hello);
    /* What peers need to come here, as *length bytes for a hello; to be freed. */
    ropeway_error_t (*address)(struct rw_carrier *carrier, uint8_t **address, size_t *length);
    /* Starts to connect to where the hello says, and returns at once; that nobody can be reached
     * there is told by rw_peer_fail() later. The link holds a reference to the peer until it has
     * closed. Errors: ERR_NO_PATH, ERR_NO_MEMORY. */
    ropeway_error_t (*open)(struct rw_peer *peer, const rw_hello_t *hello, rw_link_t **link);
    /* Where open() would connect to, of zeroes; it connects to nothing, and needs no start(). NULL:
     * the kind has one place per peer. Errors: those of open() that can be foreseen, and
     * ERR_UNREACHABLE; the routes are written as far as they are known. */
    ropeway_error_t (*routes)(struct rw_carrier *carrier, const rw_hello_t *hello,
                              rw_routes_t *routes);
    /* Sends a frame. ROPEWAY_OK: done() is called, perhaps before send() returns. Else the flight
     * is still the caller's, and the sentence says why. May call rw_peer_fail(). */
    ropeway_error_t (*send)(rw_link_t *link, rw_flight_t *flight);
    /* The same to where a frame came from whose sender is no peer; see rw_frame_t's reply. */
    ropeway_error_t (*refuse)(ropeway_connector_t *connector, void *reply, rw_flight_t *flight);
    /* Whether a frame with this reply came by the link, from a peer that can't have given it up.
     * NULL: frames name their link. */
    bool (*came_from)(const rw_link_t *link, const void *reply);
    /* Gives back what it holds for this tag. Flights that it can't give back at once follow when
     * they end, at the latest after close(RW_CLOSE_NOW). */
    void (*abandon)(rw_link_t *link, void *tag);
    /* Starts to close. The link may not be used afterwards, except to hurry by close() again with
     * RW_CLOSE_NOW. When it has closed, peer->link is NULL and the kind's reference is gone. */
    void (*close)(rw_link_t *link, rw_close_t how);
    /* Fills in link->path, if it is open. */
    void (*path)(rw_link_t *link);
    /* At the end of a connector. unlisten: nobody new is let in; NULL: whoever comes is refused.
     * settle: every link has closed, those that have not when due comes by force. It may poll. */
    void (*unlisten)(struct rw_carrier *carrier);
    void (*settle)(struct rw_carrier *carrier, uint64_t due);
    /* Registers memory ahead of its use, and the reverse. NULL: this kind knows no such thing. */
    ropeway_error_t (*register_memory)(struct rw_carrier *carrier,
                                       const ropeway_descriptor_t *memory, void **registration);
    void (*unregister_memory)(struct rw_carrier *carrier, void *registration);
    /* Frees carrier->state; every link has closed. Also after a start that failed later. */
    void (*end)(struct rw_carrier *carrier);
} rw_link_kind_t;

/* The part of a link that every kind has; a kind's own link begins with it. */
struct rw_link {
    const rw_link_kind_t *kind; /* written once */
    struct rw_peer *peer;       /* with a reference; written once */
    unsigned references
        RW_GUARDED;           /* operations that use it, and 1 of the kind until it is closed */
    bool is_local RW_GUARDED; /* the other side is a process of our user on this host, for sure */
    bool lends RW_GUARDED;    /* the other side can fetch any number of bytes in a flight */
    /* Bytes of the longest operation between host memories that is not lent; 0: RW_EAGER_TOTAL. */
    size_t whole_max RW_GUARDED;
    size_t refusals RW_GUARDED; /* on their way; the protocol counts them */
    bool tired RW_GUARDED;      /* it has had a refusal: what else has come waits for a turn */
    char path[128] RW_GUARDED;  /* see rw_link_path() */
};

/* Begins a kind's own link, whose first member this is, with the kind's reference. */
void rw_link_init(rw_link_t *link, const rw_link_kind_t *kind, struct rw_peer *peer) RW_LOCKED;
/* With the last reference the kind's link is freed, by free(). */
void rw_link_drop(rw_link_t *link) RW_LOCKED;
/* How the bytes go, such as "tcp/eth0 cma/memory"; "" when nothing has come through it yet. */
const char *rw_link_path(rw_link_t *link) RW_LOCKED;

/* A kind of link as a connector uses it. */
typedef struct rw_carrier {
    ropeway_connector_t *connector; /* written once */
    const rw_link_kind_t *kind;     /* NULL: there is none; written once */
    bool dials_only;                /* nobody comes by it; written once */
    bool is_named;                  /* the option transports is for it; written once */
    bool is_preferred RW_GUARDED;   /* towards other hosts, to the first one */
    uint64_t retry_at RW_GUARDED;   /* when it may be started for a peer, after a failure */
    void *state RW_GUARDED;         /* kind's; NULL: it has not been needed yet */
    /* Written by the protocol when they are needed: how we introduce ourselves on its links, and
     * what peers need to come by it. */
    uint8_t *hello RW_GUARDED;
    size_t hello_length RW_GUARDED;
    uint8_t id[RW_ID_BYTES] RW_GUARDED; /* of the hello; zeroes: there is none */
} rw_carrier_t;

/* A connector's links: by the first carrier peers come, and the second is for those who can't be
 * reached by it, or not well enough. It starts when it is needed. */
struct rw_links {
    rw_carrier_t first, second;
    const rw_link_user_t *user; /* written once, by the protocol */
    bool has_cuda RW_GUARDED;   /* one of them moves CUDA memory */
    rw_node_t spare_flights RW_GUARDED;
    size_t spare_count RW_GUARDED;
};

/* Kinds that tests bring along; transports names one. Not to be called while connectors live. */
void rw_links_add_kind(const rw_link_kind_t *kind);
/* The kind that these transports ask for; NULL: none of those that were added. */
const rw_link_kind_t *rw_links_find_kind(const char *transports);

/* Starts the first carrier. Errors: those of its kind's start(). */
ropeway_error_t rw_links_open(ropeway_connector_t *connector, const rw_carrier_t *first,
                              const rw_carrier_t *second, const rw_link_user_t *user);
/* Starts a carrier that has not been needed yet. Errors: those of its kind's start(). */
ropeway_error_t rw_links_need(rw_carrier_t *carrier) RW_LOCKED;
/* By which one to connect to whoever this hello is of. */
rw_carrier_t *rw_links_choose(const ropeway_connector_t *connector, const rw_hello_t *hello);
/* The one of this kind; NULL: the connector has none. */
rw_carrier_t *rw_links_carrier(const ropeway_connector_t *connector, const rw_link_kind_t *kind);
/* The one that moves memory of devices; NULL: there is none. */
rw_carrier_t *rw_links_for_devices(const ropeway_connector_t *connector);
/* Whether our protocol is spoken by links of this kind. */
static inline bool rw_links_are_native(const ropeway_connector_t *connector,
                                       const rw_link_kind_t *kind) {
    return rw_links_carrier(connector, kind) != NULL;
}
/* At the end of a connector, of both; see rw_link_kind_t. */
void rw_links_unlisten(ropeway_connector_t *connector) RW_LOCKED;
void rw_links_settle(ropeway_connector_t *connector, uint64_t due) RW_LOCKED;
/* Also after rw_links_open() has failed. */
void rw_links_free(ropeway_connector_t *connector);

#endif
