/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that come in by a stream link: read, checked, shown and placed. */
#include "link/stream_in.h"

#include "base/assert.h"
#include "link/peer.h"

#include <stdlib.h>
#include <string.h>

#define STAGING ((size_t)16 << 10) /* bytes */
#define LARGE ((size_t)64 << 10)   /* frames of this size are likely to be followed by another */
#define PEEK ((size_t)128) /* bytes read along behind those: the next head, and little more */

_Static_assert(RW_HEAD_BYTES + RW_STREAM_CONTROL_MAX <= STAGING, "a control frame fits");

bool rw_in_init(rw_in_t *in, rw_link_t *link) {
    memset(in, 0, sizeof *in);
    in->link = link;
    rw_list_init(&in->voided);
    in->staging = malloc(STAGING);
    return in->staging != NULL;
}

void rw_in_free(rw_in_t *in) {
    free(in->staging);
    in->staging = NULL;
}

static size_t buffered(const rw_in_t *in) {
    return in->to - in->from;
}

/* ---- frames ---- */

static rw_frame_t describe(const rw_in_t *in, const rw_head_t *head, const uint8_t *payload) {
    return (rw_frame_t){.link = in->link,
                        .header = head->header,
                        .header_length = head->header_length,
                        .payload = payload,
                        .length = head->length};
}

static bool show(rw_in_t *in, rw_frame_t *frame) RW_LOCKED {
    ropeway_connector_t *connector = in->link->peer->connector;

    return connector->links->user->on_frame(connector, frame) == RW_FRAME_PLACED;
}

/* A frame whose bytes are all in the buffer, for host memory: none of it is placed. */
static void show_whole(rw_in_t *in, const rw_head_t *head, size_t length) RW_LOCKED {
    const uint8_t *bytes = in->staging + in->from;
    rw_frame_t frame = describe(in, head, bytes + RW_HEAD_BYTES);

    in->from += length;
    if (head->class >= RW_FRAME_LENT) {
        in->wrong = in->on_word(in->link, head, bytes + RW_HEAD_BYTES);
    } else if (rw_head_has_trailer(head) && bytes[length - 1] != RW_TRAILER_WHOLE) {
        in->wrong = bytes[length - 1] == RW_TRAILER_VOID ? NULL : "a trailer that does not exist";
    } else {
        rw_assert(!show(in, &frame));
    }
}

/* A bulk frame of which a part is here at most. */
static void show_begun(rw_in_t *in, const rw_head_t *head) RW_LOCKED {
    rw_frame_t frame = describe(in, head, NULL);

    in->from += RW_HEAD_BYTES;
    in->head = *head;
    in->left = head->length;
    in->state = RW_IN_PAYLOAD;
    if (show(in, &frame)) {
        rw_assert(frame.place->count == 1 && frame.place->length == head->length);
        in->place = frame.place;
    }
}

/* false: more bytes are needed first. */
static bool take_head(rw_in_t *in) RW_LOCKED {
    rw_head_t head;
    size_t length;

    if (buffered(in) < RW_HEAD_BYTES) {
        return false;
    }
    in->wrong = rw_head_decode(in->staging + in->from, &head);
    if (in->wrong != NULL) {
        return true;
    }
    length = RW_HEAD_BYTES + head.length + rw_head_has_trailer(&head);
    if (buffered(in) >= length) {
        show_whole(in, &head, length);
    } else if (head.class == RW_FRAME_BULK) {
        show_begun(in, &head);
    } else {
        return false;
    }
    return true;
}

/* Where the next byte of the payload goes. */
static uint8_t *next_place(const rw_in_t *in) {
    return (uint8_t *)in->place->pieces[0].iov_base + (in->head.length - in->left);
}

static void got_payload(rw_in_t *in, size_t length) {
    in->left -= length;
    if (in->left == 0) {
        in->state = RW_IN_TRAILER;
    }
}

static bool take_payload(rw_in_t *in) {
    size_t length = buffered(in) < in->left ? buffered(in) : in->left;

    if (length == 0) {
        return false;
    }
    if (in->place != NULL) {
        memcpy(next_place(in), in->staging + in->from, length);
    }
    in->from += length;
    got_payload(in, length);
    return true;
}

/* Whether a frame of this operation was given up: with it the sender has given up the operation. */
static bool has_voided(const rw_in_t *in, const void *tag) RW_LOCKED {
    for (const rw_node_t *node = in->voided.next; node != &in->voided; node = node->next) {
        const rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

        if (flight->tag == tag && flight->loan == 0) {
            return true;
        }
    }
    return false;
}

static bool take_trailer(rw_in_t *in) RW_LOCKED {
    rw_flight_t *flight = in->place;
    uint8_t trailer;

    if (buffered(in) == 0) {
        return false;
    }
    trailer = in->staging[in->from++];
    in->state = RW_IN_HEAD;
    if (trailer != RW_TRAILER_WHOLE && trailer != RW_TRAILER_VOID) {
        in->wrong = "a trailer that does not exist";
        return true;
    }
    in->place = NULL;
    if (flight != NULL && trailer == RW_TRAILER_WHOLE) {
        flight->done(flight, ROPEWAY_OK, "");
    } else if (flight != NULL && has_voided(in, flight->tag)) {
        in->wrong = "a second frame of one operation that was given up";
        flight->done(flight, ROPEWAY_ERR_PROTOCOL, in->wrong);
    } else if (flight != NULL) {
        rw_list_append(&in->voided, &flight->node);
    }
    return true;
}

/* Looks at what is in the buffer, until more is needed. */
static void take_all(rw_in_t *in) RW_LOCKED {
    bool more = true;

    while (more && in->wrong == NULL && !in->stopped && !in->link->tired) {
        more = in->state == RW_IN_HEAD      ? take_head(in)
               : in->state == RW_IN_PAYLOAD ? take_payload(in)
                                            : take_trailer(in);
    }
}

/* ---- bytes ---- */

/* Where to read to. */
static int choose_places(rw_in_t *in, struct iovec pieces[2]) {
    bool placed = in->state == RW_IN_PAYLOAD && in->place != NULL;
    size_t room;

    memmove(in->staging, in->staging + in->from, buffered(in));
    in->to -= in->from;
    in->from = 0;
    room = placed && in->head.length >= LARGE ? PEEK : STAGING - in->to;
    pieces[0] = (struct iovec){.iov_base = placed ? next_place(in) : NULL, .iov_len = in->left};
    pieces[placed] = (struct iovec){.iov_base = in->staging + in->to, .iov_len = room};
    return 1 + placed;
}

int rw_in_work(rw_in_t *in, rw_wire_t *wire, size_t *budget) {
    if (in->link->tired) { /* what the last turn has left */
        in->link->tired = false;
        in->any = true;
        take_all(in);
        if (in->wrong != NULL) {
            return RW_WIRE_BROKEN;
        }
    }
    while (*budget > 0 && !in->stopped && !in->link->tired) {
        struct iovec pieces[2];
        int count = choose_places(in, pieces);
        ssize_t got = rw_wire_read(wire, pieces, count);
        size_t direct;

        if (got <= 0) {
            return (int)got;
        }
        in->any = true;
        *budget -= (size_t)got < *budget ? (size_t)got : *budget;
        direct = count == 1 ? 0 : (size_t)got < pieces[0].iov_len ? (size_t)got : pieces[0].iov_len;
        in->to += (size_t)got - direct;
        if (direct > 0) {
            got_payload(in, direct);
        }
        take_all(in);
        if (in->wrong != NULL) {
            return RW_WIRE_BROKEN;
        }
    }
    return 1;
}

/* ---- giving back ---- */

static void give_back_voided(rw_in_t *in, const void *tag, ropeway_error_t error,
                             const char *why) RW_LOCKED {
    rw_node_t *node = in->voided.next;

    while (node != &in->voided) {
        rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

        node = node->next;
        if (tag == NULL || flight->tag == tag) {
            rw_list_remove(&flight->node);
            flight->done(flight, error, why);
            node = in->voided.next; /* others may have gone with it */
        }
    }
}

static void give_back_place(rw_in_t *in, ropeway_error_t error, const char *why) RW_LOCKED {
    rw_flight_t *flight = in->place;

    in->place = NULL;
    flight->done(flight, error, why);
}

void rw_in_abandon(rw_in_t *in, const void *tag) {
    if (in->place != NULL && in->place->tag == tag) {
        give_back_place(in, ROPEWAY_ERR_CANCELLED, "it was given up");
    }
    give_back_voided(in, tag, ROPEWAY_ERR_CANCELLED, "it was given up");
}

void rw_in_stop(rw_in_t *in, ropeway_error_t error, const char *why) {
    in->stopped = true;
    if (in->place != NULL) {
        give_back_place(in, error, why);
    }
    give_back_voided(in, NULL, error, why);
}
