/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links that are connections: of TCP, with TLS 1.3 where it is wanted, or of a Unix socket between
 * processes of one user on one host. Details are in docs/wire.md, the promises in SECURITY.md. The
 * files, each of which knows those before it only:
 *
 *   stream_frame      greetings and frames as bytes
 *   stream_address    socket addresses, in a hello and as text
 *   stream_local      Unix sockets, for peers on this host
 *   stream_identity   the connector's key, and TLS as we use it
 *   stream_ring       a queue in memory that two processes share
 *   stream_wire       a socket's bytes, in clear or encrypted, or a ring's
 *   stream_out        what waits to be sent, and who is next
 *   stream_in         what comes, and where it goes
 *   stream_dial       attempts to connect
 *   stream_pull       fetching bytes from a process on this host
 *   stream_route      which addresses of a peer are tried
 *   stream_begin      how a connection begins
 *   stream_link       its turns, and its end
 *   stream_places     where to listen, and where peers shall connect to
 *   stream_listen     sockets that listen, and strangers
 *   stream_kind       the kind of link, and its poller
 *
 * Whoever connects knows whom it reaches, by the key in the metadata, and begins operations; the
 * one who was connected to makes a peer of its own for the connection and answers. So two
 * connectors that begin operations with each other have two connections, and there is never a tie
 * to break.
 *
 * Sockets are read, decrypted and written under the connector's lock, in slices of at most
 * RW_STREAM_SLICE bytes per connection and turn. To do that outside of the lock, on threads that
 * own whole connections, comes next.
 */
#ifndef RW_STREAM_H
#define RW_STREAM_H

#include "link/peer.h"
#include "link/progress.h"
#include "link/stream_dial.h"
#include "link/stream_in.h"
#include "link/stream_out.h"
#include "link/stream_places.h"
#include "link/stream_pull.h"

#define RW_STREAM_SLICE ((size_t)256 << 10)
/* Operations of up to so many bytes are not lent. Fetching wakes a thread, and pins pages: a ring
 * carries 1 MiB in a third of the time, and the socket 128 KiB in the same. */
#define RW_STREAM_WHOLE_BY_RING ((size_t)1 << 20)
#define RW_STREAM_WHOLE_BY_SOCKET ((size_t)128 << 10)

struct rw_stream;

/* A socket that listens. */
typedef struct rw_listener {
    rw_watcher_t watcher; /* fd -1: none */
    struct rw_stream *stream;
} rw_listener_t;

/* A connector's part: of one whose peers come by it, or of one that only connects by it. */
typedef struct rw_stream {
    ropeway_connector_t *connector;                        /* written once */
    bool dials_only, is_named;                             /* as its carrier is; written once */
    rw_identity_t identity;                                /* written once */
    rw_ways_t ways;                                        /* written once */
    rw_encryption_t encryption;                            /* written once */
    rw_stream_address_t address;                           /* of our hello; written once */
    rw_listener_t listeners[RW_PLACES_MAX + 1] RW_GUARDED; /* those of TCP first */
    size_t listener_count RW_GUARDED;
    bool turns_away RW_GUARDED;  /* there are no descriptors to let anybody in */
    rw_timer_t retry RW_GUARDED; /* when to look whether there are some again */
    rw_poller_t poller RW_GUARDED;
    rw_events_t events RW_GUARDED;   /* of our sockets, apart: turns look at them without waiting */
    rw_watcher_t watcher RW_GUARDED; /* of the descriptor of that, for those who sleep */
    rw_node_t links RW_GUARDED;      /* all, until they are closed */
    rw_node_t ready RW_GUARDED;      /* links that have more to do than their last turn took */
    rw_node_t ended RW_GUARDED;      /* links to be closed at the next step */
    rw_node_t rings RW_GUARDED;      /* links with a ring, which no descriptor tells of */
    size_t rings_given RW_GUARDED;   /* that we have made, whether they are taken or not */
    size_t rings_taken RW_GUARDED;   /* that others have made */
    bool resting RW_GUARDED;         /* the others are to wake us when they have written */
    unsigned polls RW_GUARDED;
    rw_node_t pending RW_GUARDED; /* links of strangers, oldest first */
    size_t pending_count RW_GUARDED;
    bool moved RW_GUARDED; /* something has, in this step */
    rw_puller_t puller;
} rw_stream_t;

typedef enum rw_stream_state {
    RW_STREAM_DIALING,  /* no address has answered yet */
    RW_STREAM_GREETING, /* a greeting is waited for */
    RW_STREAM_SHAKING,  /* TLS begins */
    RW_STREAM_OPEN,
    RW_STREAM_LEAVING, /* what was sent leaves, and the other side is heard to its end */
    RW_STREAM_ENDED,   /* in stream->ended */
    RW_STREAM_CLOSED
} rw_stream_state_t;

typedef struct rw_stream_link {
    rw_link_t base;      /* its peer is NULL until a stranger has been let in */
    rw_stream_t *stream; /* written once */
    bool accepted;       /* the other side connected; written once */
    rw_stream_state_t state RW_GUARDED;
    rw_watcher_t watcher RW_GUARDED;
    uint32_t watched RW_GUARDED;  /* what it waits for */
    rw_timer_t timer RW_GUARDED;  /* when patience ends: with a beginning, or with leaving */
    rw_node_t node RW_GUARDED;    /* in stream->links */
    rw_node_t ready RW_GUARDED;   /* in stream->ready */
    rw_node_t ended RW_GUARDED;   /* in stream->ended */
    rw_node_t pending RW_GUARDED; /* in stream->pending */
    rw_wire_t wire RW_GUARDED;
    rw_out_t out RW_GUARDED;
    rw_in_t in RW_GUARDED;
    rw_dial_t dial RW_GUARDED; /* not accepted */
    uint64_t patient_until;    /* not accepted: when it must be open; written once */
    rw_encryption_t wanted;    /* not accepted: the stricter side's wish; written once */
    uint8_t fingerprint[RW_FINGERPRINT_BYTES]; /* not accepted: the other side's; written once */
    rw_place_t place RW_GUARDED;               /* of the other side, once connected */
    pid_t pid RW_GUARDED;                      /* by a Unix socket: its process; 0: not seen */
    int process RW_GUARDED;                    /* shows when that has ended; -1: not open */
    rw_node_t pulls RW_GUARDED;                /* what is fetched from it */
    uint8_t nonce[RW_NONCE_BYTES] RW_GUARDED;  /* for it to look at */
    bool asked RW_GUARDED;                     /* it was asked to */
    bool answered RW_GUARDED;                  /* it has asked us to look */
    rw_node_t ringing RW_GUARDED;              /* in stream->rings */
    unsigned talked RW_GUARDED;                /* frames that we have sent; see stream_link.c */
    bool has_ring RW_GUARDED;                  /* it counts in the stream, by who has connected */
    bool fetches RW_GUARDED;                   /* we can fetch from it */
    uint8_t greeting[RW_GREETING_BYTES] RW_GUARDED; /* what has come of it */
    size_t greeted RW_GUARDED;                      /* bytes of it */
    size_t budget RW_GUARDED;                       /* bytes that may still be sent in this turn */
    bool unreachable RW_GUARDED;                    /* no address is left to try */
    bool writing RW_GUARDED;                        /* a turn hands frames to the wire */
    bool blocked RW_GUARDED;                        /* the socket takes no more for now */
    bool failed RW_GUARDED;    /* nothing can be sent any more: link->wire.why */
    bool finished RW_GUARDED;  /* leaving: all has been sent */
    bool heard_out RW_GUARDED; /* leaving: the other side has ended */
} rw_stream_link_t;

extern const rw_link_kind_t rw_stream_kind;

static inline rw_stream_link_t *rw_stream_link(rw_link_t *link) {
    return (rw_stream_link_t *)link;
}

/* A connector's part; NULL: it has none. */
static inline rw_stream_t *rw_stream_of(const ropeway_connector_t *connector) RW_LOCKED {
    const rw_carrier_t *carrier = rw_links_carrier(connector, &rw_stream_kind);

    return carrier != NULL ? carrier->state : NULL;
}

/* ---- stream_link.c ---- */

/* As rw_link_kind_t's members of these names. */
ropeway_error_t rw_stream_send(rw_link_t *link, rw_flight_t *flight) RW_LOCKED;
void rw_stream_abandon(rw_link_t *link, void *tag) RW_LOCKED;
void rw_stream_close(rw_link_t *link, rw_close_t how) RW_LOCKED;

/* As rw_in_t's on_word. */
const char *rw_stream_on_word(rw_link_t *link, const rw_head_t *head,
                              const uint8_t *payload) RW_LOCKED;
/* Sends a stranger away. */
void rw_stream_dismiss(rw_stream_link_t *link) RW_LOCKED;
/* A turn of one that is ready. */
void rw_stream_turn(rw_stream_link_t *link) RW_LOCKED;
/* Closes one that has ended. */
void rw_stream_finish(rw_stream_link_t *link) RW_LOCKED;
/* Sends a frame of the link's own, unless it is closing. */
void rw_stream_say(rw_stream_link_t *link, rw_frame_class_t class, const void *payload,
                   size_t length) RW_LOCKED;
/* It has a turn in the next step. */
void rw_stream_call(rw_stream_link_t *link) RW_LOCKED;
/* Waits for what the link needs of its socket. */
void rw_stream_watch(rw_stream_link_t *link) RW_LOCKED;
void rw_stream_set_timer(rw_stream_link_t *link, uint64_t due) RW_LOCKED;
/* The connection is of no more use: its peer fails, or a stranger goes. why: a phrase. */
void rw_stream_lose(rw_stream_link_t *link, ropeway_error_t cause, const char *why) RW_LOCKED;
/* It closes at the next step. */
void rw_stream_end(rw_stream_link_t *link) RW_LOCKED;
/* Of its watcher and its timer. */
void rw_stream_on_ready(rw_watcher_t *watcher) RW_LOCKED;
void rw_stream_on_late(rw_timer_t *timer, uint64_t now) RW_LOCKED;

/* ---- stream_begin.c ---- */

/* As rw_link_kind_t's open(). */
ropeway_error_t rw_stream_open(rw_peer_t *peer, const rw_hello_t *hello,
                               rw_link_t **link) RW_LOCKED;
/* A stranger has connected: takes the socket, and closes it if there is no memory. */
void rw_stream_accept(rw_stream_t *stream, int fd, const rw_place_t *from) RW_LOCKED;
/* A turn of one that is not open yet. */
void rw_stream_begin(rw_stream_link_t *link) RW_LOCKED;
/* It has taken too long to open. */
void rw_stream_give_up(rw_stream_link_t *link) RW_LOCKED;

/* ---- stream_listen.c ---- */

/* Opens the sockets that the options ask for, and writes stream->address. Errors:
 * ERR_INVALID_ARGUMENT, ERR_SYSTEM. */
ropeway_error_t rw_stream_listen(rw_stream_t *stream) RW_LOCKED;
/* Closes them, and sends strangers away. */
void rw_stream_unlisten(rw_stream_t *stream) RW_LOCKED;

#endif
