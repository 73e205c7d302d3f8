/* SPDX-License-Identifier: Apache-2.0 */
/* A stream connection in use: its turns, and how it is left and closed. */
#include "link/stream.h"

#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define RING_AFTER 8 /* frames */
/* Rings of a connector that it has given, and as many that it has taken: each is looked at in every
 * poll. */
#define RINGS_MAX 16

/* ---- small things ---- */

void rw_stream_set_timer(rw_stream_link_t *link, uint64_t due) {
    rw_timer_set(&link->stream->connector->timers, &link->timer, due);
}

void rw_stream_call(rw_stream_link_t *link) {
    if (rw_list_is_empty(&link->ready) && link->state < RW_STREAM_ENDED) {
        rw_list_append(&link->stream->ready, &link->ready);
    }
}

void rw_stream_watch(rw_stream_link_t *link) {
    bool waits = link->blocked && !link->wire.writes_ring;
    uint32_t what = (link->heard_out ? 0 : EPOLLIN) | (waits ? EPOLLOUT : 0);

    if (link->state < RW_STREAM_ENDED && link->wire.fd >= 0 && what != link->watched &&
        rw_events_watch(&link->stream->events, &link->watcher, what)) {
        link->watched = what;
    }
}

static size_t *rings_of_side(rw_stream_link_t *link) RW_LOCKED {
    return link->accepted ? &link->stream->rings_taken : &link->stream->rings_given;
}

static void leave_ring(rw_stream_link_t *link) RW_LOCKED {
    *rings_of_side(link) -= link->has_ring;
    link->has_ring = false;
}

void rw_stream_end(rw_stream_link_t *link) {
    if (link->state < RW_STREAM_ENDED) {
        link->state = RW_STREAM_ENDED;
        rw_dial_stop(&link->dial);
        rw_events_forget(&link->stream->events, &link->watcher);
        rw_list_remove(&link->ready);
        rw_list_remove(&link->ringing);
        leave_ring(link);
        rw_list_append(&link->stream->ended, &link->ended);
    }
}

static void let_in(rw_stream_link_t *link) RW_LOCKED {
    if (!rw_list_is_empty(&link->pending)) {
        rw_list_remove(&link->pending);
        link->stream->pending_count--;
    }
}

void rw_stream_lose(rw_stream_link_t *link, ropeway_error_t cause, const char *why) {
    char place[RW_PLACE_TEXT];

    rw_place_write(&link->place, place);
    if (link->base.peer != NULL && !link->base.peer->failed) {
        rw_peer_fail(link->base.peer, RW_CLOSE_NOW, cause, "%s: %s", place, why);
    } else {
        if (link->base.peer == NULL) {
            rw_log(link->stream->connector, ROPEWAY_LOG_DEBUG, "%s was not let in: %s", place, why);
        }
        rw_stream_end(link);
    }
}

static void lose_wire(rw_stream_link_t *link, int status) RW_LOCKED {
    const rw_peer_t *peer = link->base.peer;
    bool heard = peer != NULL && peer->heard;

    rw_stream_lose(link, heard ? ROPEWAY_ERR_PEER_LOST : ROPEWAY_ERR_UNREACHABLE,
                   status == RW_WIRE_ENDED
                       ? "the other side closed the connection; has its process or its host gone?"
                       : link->wire.why);
}

/* ---- turns ---- */

static void write_some(rw_stream_link_t *link) RW_LOCKED {
    size_t budget = link->budget;
    int status;

    link->writing = true;
    status = rw_out_work(&link->out, &link->wire, &link->budget);
    link->writing = false;
    link->stream->moved |= link->budget < budget;
    link->failed = status < 0;
    link->blocked = status == RW_WIRE_AGAIN && link->budget > 0;
    if (link->failed || (status == RW_WIRE_AGAIN && link->budget == 0)) {
        rw_stream_call(link); /* what has come is looked at before a failure counts */
    }
}

static void use(rw_stream_link_t *link) RW_LOCKED {
    size_t budget = RW_STREAM_SLICE;
    int status = rw_in_work(&link->in, &link->wire, &budget);

    link->stream->moved |= link->in.any;
    link->in.any = false;
    if (link->base.peer->heard) {
        let_in(link);
    }
    if (link->state != RW_STREAM_OPEN) {
        return;
    }
    if (link->in.wrong != NULL) {
        rw_stream_lose(link, ROPEWAY_ERR_PROTOCOL, link->in.wrong);
    } else if (status < 0 || (link->failed && status == RW_WIRE_AGAIN)) {
        lose_wire(link, status);
    } else if (status == 1) {
        rw_stream_call(link);
    }
    if (link->state == RW_STREAM_OPEN && !link->failed) {
        write_some(link);
    }
}

static void leave(rw_stream_link_t *link) RW_LOCKED {
    uint8_t unread[16384];
    struct iovec piece = {.iov_base = unread, .iov_len = sizeof unread};
    size_t read = 0;
    ssize_t got = 1;

    if (!link->finished) {
        write_some(link);
        link->finished = link->failed || (!link->blocked && rw_out_is_empty(&link->out) &&
                                          link->wire.out_from == link->wire.out_to);
        if (link->finished) {
            rw_wire_finish(&link->wire);
        }
    }
    while (!link->heard_out && got > 0 && read < RW_STREAM_SLICE) {
        got = rw_wire_read(&link->wire, &piece, 1);
        read += got > 0 ? (size_t)got : 0;
        link->heard_out = got < 0;
    }
    link->stream->moved |= read > 0;
    if (link->heard_out && (link->finished || got == RW_WIRE_BROKEN)) {
        rw_stream_end(link);
    } else if (got > 0) {
        rw_stream_call(link);
    }
}

void rw_stream_turn(rw_stream_link_t *link) {
    link->budget = RW_STREAM_SLICE;
    if (link->wire.fd >= 0) {
        rw_wire_turn(&link->wire);
    }
    if (link->state < RW_STREAM_OPEN) {
        rw_stream_begin(link);
    }
    if (link->state == RW_STREAM_OPEN) {
        use(link);
    }
    if (link->state == RW_STREAM_LEAVING) {
        leave(link);
    }
    rw_stream_watch(link);
}

void rw_stream_on_ready(rw_watcher_t *watcher) {
    rw_stream_link_t *link = RW_CONTAINER(watcher, rw_stream_link_t, watcher);

    link->wire.signalled = true;
    rw_stream_turn(link);
}

/* ---- rings ---- */

/* Whoever has connected gives a ring once it has sent so many frames. Not before the connection is
 * open: the place may be of no use, and the next one another host's. */
static void give_ring(rw_stream_link_t *link) RW_LOCKED {
    if (link->state != RW_STREAM_OPEN || !link->stream->ways.ring || link->accepted ||
        !rw_place_is_local(&link->place) || link->talked >= RING_AFTER ||
        ++link->talked < RING_AFTER || link->stream->rings_given >= RINGS_MAX ||
        !rw_ring_make(&link->wire.ring)) {
        return;
    }
    link->has_ring = true;
    link->stream->rings_given++;
    if (!rw_out_say(&link->out, RW_FRAME_RING, NULL, 0)) {
        leave_ring(link); /* without one it works, too */
        rw_ring_free(&link->wire.ring);
    }
}

/* Nobody answers where it is not taken: the socket goes on. */
static const char *take_ring(rw_stream_link_t *link) RW_LOCKED {
    rw_stream_t *stream = link->stream;
    int received = link->wire.received;

    if (!link->wire.awaits_ring) {
        return "a ring that nobody waits for";
    }
    link->wire.awaits_ring = false;
    link->wire.received = -1;
    if (received >= 0 && (!stream->ways.ring || stream->rings_taken >= RINGS_MAX)) {
        rw_process_close(received);
    } else if (received >= 0 && rw_ring_take(&link->wire.ring, received)) {
        if (rw_out_say(&link->out, RW_FRAME_RING_TAKEN, NULL, 0)) {
            link->has_ring = true;
            link->base.whole_max = RW_STREAM_WHOLE_BY_RING;
            stream->rings_taken++;
            rw_list_append(&stream->rings, &link->ringing);
        } else {
            rw_ring_free(&link->wire.ring);
        }
    }
    return NULL;
}

/* What follows comes by the ring. What has come behind this frame was to wake us. */
static const char *read_ring(rw_stream_link_t *link, bool is_answer) RW_LOCKED {
    if (link->wire.ring.memory == NULL || link->wire.reads_ring || link->accepted == is_answer) {
        return "a ring that was not given";
    }
    link->wire.reads_ring = true;
    link->base.whole_max = RW_STREAM_WHOLE_BY_RING;
    link->in.from = link->in.to;
    if (is_answer && rw_out_say(&link->out, RW_FRAME_RING_BEGUN, NULL, 0)) {
        rw_list_append(&link->stream->rings, &link->ringing);
    }
    return is_answer && rw_list_is_empty(&link->ringing) ? "out of memory" : NULL;
}

ropeway_error_t rw_stream_send(rw_link_t *base, rw_flight_t *flight) {
    rw_stream_link_t *link = rw_stream_link(base);
    ropeway_error_t error;

    if (link->state >= RW_STREAM_LEAVING) {
        return rw_fail(ROPEWAY_ERR_PEER_LOST, "the connection is closed");
    }
    error = rw_out_add(&link->out, flight);
    give_ring(link);
    if (error == ROPEWAY_OK && link->state == RW_STREAM_OPEN && !link->writing && !link->failed &&
        !link->blocked) {
        write_some(link);
        rw_stream_watch(link);
    }
    return error;
}

void rw_stream_say(rw_stream_link_t *link, rw_frame_class_t class, const void *payload,
                   size_t length) {
    if (link->state != RW_STREAM_OPEN) {
        return;
    }
    if (!rw_out_say(&link->out, class, payload, length)) {
        rw_stream_lose(link, ROPEWAY_ERR_NO_MEMORY,
                       "out of memory, or it takes none of our answers");
    } else if (!link->writing && !link->failed && !link->blocked) {
        write_some(link);
        rw_stream_watch(link);
    }
}

/* ---- loans ---- */

static const char *take_loan(rw_stream_link_t *link, const rw_head_t *head,
                             const rw_loan_t *loan) RW_LOCKED {
    ropeway_connector_t *connector = link->stream->connector;
    rw_frame_t frame = {.link = &link->base,
                        .header = head->header,
                        .header_length = head->header_length,
                        .length = (size_t)loan->length,
                        .lent = true,
                        .scatters = true};

    if (!link->fetches || loan->length < RW_LOAN_MIN) {
        return link->fetches ? "a loan of too few bytes" : "a loan that can't be fetched";
    }
    if (loan->pieces == 0 || loan->pieces > RW_FLIGHT_PIECES ||
        loan->length / loan->pieces < RW_PIECE_MIN) {
        return "a loan in no pieces, or in too many";
    }
    if (connector->links->user->on_frame(connector, &frame) == RW_FRAME_TAKEN) {
        rw_pull_refuse(link, loan);
    } else if (!rw_pull_fetch(link, loan, frame.place)) {
        frame.place->done(frame.place, ROPEWAY_ERR_NO_MEMORY, "out of memory");
        rw_pull_refuse(link, loan);
    }
    return NULL;
}

static void take_fetched(rw_stream_link_t *link, const rw_fetched_t *fetched) RW_LOCKED {
    /* What was taken back may be gone, and tells nothing of the rest. */
    if (fetched->failed && rw_out_is_lent(&link->out, fetched->id)) {
        link->base.lends = false;
    }
    rw_out_regain(&link->out, fetched->id, fetched->failed ? ROPEWAY_ERR_TRANSPORT : ROPEWAY_OK,
                  fetched->failed ? "this memory can't be read by the other side" : "");
}

const char *rw_stream_on_word(rw_link_t *base, const rw_head_t *head, const uint8_t *payload) {
    rw_stream_link_t *link = rw_stream_link(base);
    rw_loan_t loan;
    rw_fetched_t fetched;
    rw_probe_t probe;

    if (!rw_place_is_local(&link->place)) {
        return "a frame of a class that is for one host only";
    }
    switch (head->class) {
    case RW_FRAME_LENT:
        rw_loan_decode(payload, &loan);
        return take_loan(link, head, &loan);
    case RW_FRAME_FETCHED:
        rw_fetched_decode(payload, &fetched);
        take_fetched(link, &fetched);
        return NULL;
    case RW_FRAME_PROBE:
        rw_probe_decode(payload, &probe);
        return rw_pull_answer(link, &probe);
    case RW_FRAME_RING:
        return take_ring(link);
    case RW_FRAME_RING_TAKEN:
    case RW_FRAME_RING_BEGUN:
        return read_ring(link, head->class == RW_FRAME_RING_TAKEN);
    default:
        if (!link->asked) {
            return "an answer to what was not asked";
        }
        link->asked = false; /* once */
        link->base.lends = true;
        snprintf(link->base.path, sizeof link->base.path, "local pull");
        return NULL;
    }
}

void rw_stream_abandon(rw_link_t *base, void *tag) {
    rw_stream_link_t *link = rw_stream_link(base);

    if (link->state < RW_STREAM_CLOSED) {
        rw_out_abandon(&link->out, tag);
        rw_in_abandon(&link->in, tag);
        rw_pull_abandon(link, tag);
        if (link->out.begun) { /* zeroes are to be sent */
            rw_stream_call(link);
        }
    }
}

/* ---- the end ---- */

void rw_stream_close(rw_link_t *base, rw_close_t how) {
    rw_stream_link_t *link = rw_stream_link(base);
    uint64_t quiet = (uint64_t)link->stream->connector->options.quiet_ms * RW_NANOSECONDS_PER_MS;

    if (link->state == RW_STREAM_OPEN && how != RW_CLOSE_NOW) {
        link->state = RW_STREAM_LEAVING;
        rw_in_stop(&link->in, ROPEWAY_ERR_PEER_LOST, "the connection was closed");
        rw_pull_abandon(link, NULL);
        rw_out_recall(&link->out, ROPEWAY_ERR_PEER_LOST, "the connection was closed");
        rw_stream_set_timer(link, rw_now() + quiet);
        rw_stream_call(link);
    } else if (link->state != RW_STREAM_LEAVING || how == RW_CLOSE_NOW) {
        rw_stream_end(link);
    }
}

void rw_stream_dismiss(rw_stream_link_t *link) {
    rw_stream_lose(link, ROPEWAY_ERR_PEER_LOST, "it asked for nothing, and its place was needed");
}

void rw_stream_on_late(rw_timer_t *timer, uint64_t now) {
    rw_stream_link_t *link = RW_CONTAINER(timer, rw_stream_link_t, timer);

    (void)now;
    if (link->state < RW_STREAM_OPEN) {
        rw_stream_give_up(link);
    } else {
        rw_stream_end(link);
    }
}

void rw_stream_finish(rw_stream_link_t *link) {
    ropeway_connector_t *connector = link->stream->connector;
    rw_peer_t *peer = link->base.peer;

    rw_assert(link->state == RW_STREAM_ENDED);
    link->state = RW_STREAM_CLOSED;
    let_in(link);
    rw_list_remove(&link->node);
    rw_timer_return(&connector->timers, &link->timer);
    if (link->dial.count > 0) {
        rw_timer_return(&connector->timers, &link->dial.timer);
    }
    rw_out_give_up(&link->out, ROPEWAY_ERR_PEER_LOST, "the connection was closed");
    rw_in_stop(&link->in, ROPEWAY_ERR_PEER_LOST, "the connection was closed");
    if (peer != NULL) { /* a stranger was lent nothing */
        rw_pull_abandon(link, NULL);
    }
    rw_pull_forget(link);
    rw_wire_close(&link->wire);
    rw_out_free(&link->out);
    rw_in_free(&link->in);
    if (peer == NULL) {
        free(link);
        return;
    }
    peer->link = NULL;
    rw_link_drop(&link->base);
}
