/* SPDX-License-Identifier: Apache-2.0 */
/* The flights of a stream link that wait to be sent, and who is next. */
#include "link/stream_out.h"

#include "base/assert.h"
#include "base/error.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* That wait: more than any number of loans that are under way calls for. */
#define WORDS_MAX 65536
#define QUANTUM ((size_t)64 << 10) /* bytes that a tag gets per turn */

/* The bulk flights of one tag. */
typedef struct rw_lane {
    rw_table_node_t by_tag; /* first: see find() */
    rw_node_t node;         /* in out->lanes or out->spare */
    rw_node_t flights;
    size_t credit; /* bytes that it may still send in this turn */
} rw_lane_t;

/* A frame of the link's own. */
typedef struct rw_word {
    rw_node_t node; /* in out->words */
    rw_frame_class_t class;
    size_t length;
    uint8_t payload[RW_WORD_MAX];
} rw_word_t;

static const uint8_t zeroes[16384];

bool rw_out_init(rw_out_t *out) {
    memset(out, 0, sizeof *out);
    rw_list_init(&out->words);
    rw_list_init(&out->lent);
    rw_list_init(&out->control);
    rw_list_init(&out->lanes);
    rw_list_init(&out->spare);
    rw_random(&out->loans, sizeof out->loans);
    return rw_table_init(&out->by_tag);
}

void rw_out_free(rw_out_t *out) {
    rw_node_t *node;

    rw_assert(out->count == 0 && rw_list_is_empty(&out->lanes) && rw_list_is_empty(&out->lent));
    while ((node = rw_list_take(&out->spare)) != NULL) {
        free(RW_CONTAINER(node, rw_lane_t, node));
    }
    rw_table_free(&out->by_tag);
}

/* ---- lanes ---- */

static void name_lane(const void *tag, uint8_t id[RW_ID_BYTES]) {
    memset(id, 0, RW_ID_BYTES);
    memcpy(id, &tag, sizeof tag);
}

static rw_lane_t *find_lane(const rw_out_t *out, const void *tag) {
    uint8_t id[RW_ID_BYTES];
    rw_table_node_t *node;

    name_lane(tag, id);
    node = rw_table_find(&out->by_tag, id);
    return node != NULL ? RW_CONTAINER(node, rw_lane_t, by_tag) : NULL;
}

/* NULL: out of memory. */
static rw_lane_t *open_lane(rw_out_t *out, const void *tag) {
    rw_lane_t *lane = find_lane(out, tag);
    rw_node_t *spare;

    if (lane != NULL) {
        return lane;
    }
    spare = rw_list_take(&out->spare);
    lane = spare != NULL ? RW_CONTAINER(spare, rw_lane_t, node) : calloc(1, sizeof *lane);
    if (lane != NULL) {
        rw_list_init(&lane->node);
        rw_list_init(&lane->flights);
        lane->credit = QUANTUM;
        name_lane(tag, lane->by_tag.id);
        rw_table_add(&out->by_tag, &lane->by_tag);
        rw_list_append(&out->lanes, &lane->node);
    }
    return lane;
}

/* One is kept for the next tag. */
static void close_lane(rw_out_t *out, rw_lane_t *lane) {
    rw_table_remove(&out->by_tag, &lane->by_tag);
    rw_list_remove(&lane->node);
    if (rw_list_is_empty(&out->spare)) {
        rw_list_append(&out->spare, &lane->node);
    } else {
        free(lane);
    }
}

static rw_flight_t *take_from(rw_out_t *out, rw_lane_t *lane) {
    rw_flight_t *flight = RW_CONTAINER(rw_list_take(&lane->flights), rw_flight_t, node);

    if (rw_list_is_empty(&lane->flights)) {
        close_lane(out, lane);
    }
    return flight;
}

/* ---- frames ---- */

ropeway_error_t rw_out_add(rw_out_t *out, rw_flight_t *flight) {
    size_t most = flight->class == RW_BULK ? RW_STREAM_BULK_MAX : RW_STREAM_CONTROL_MAX;
    rw_lane_t *lane;

    rw_assert((flight->count <= 1 || flight->lends) && rw_list_is_empty(&flight->node));
    if ((flight->length > most && !flight->lends) || flight->header_length > RW_HEAD_HEADER) {
        return rw_fail(ROPEWAY_ERR_LIMIT, "a message of %zu bytes is longer than a stream's frame",
                       flight->length);
    }
    if (flight->class == RW_BULK) {
        lane = open_lane(out, flight->tag);
        if (lane == NULL) {
            return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
        }
        rw_list_append(&lane->flights, &flight->node);
    } else {
        rw_list_append(&out->control, &flight->node);
    }
    out->count++;
    return ROPEWAY_OK;
}

bool rw_out_say(rw_out_t *out, rw_frame_class_t class, const void *payload, size_t length) {
    rw_word_t *word = out->word_count < WORDS_MAX ? calloc(1, sizeof *word) : NULL;

    rw_assert(length <= sizeof word->payload);
    if (word == NULL) {
        return false;
    }
    word->class = class;
    word->length = length;
    if (length > 0) {
        memcpy(word->payload, payload, length);
    }
    rw_list_append(&out->words, &word->node);
    out->word_count++;
    out->count++;
    return true;
}

/* The next flight in turn; NULL: there is none. */
static rw_flight_t *choose(rw_out_t *out) {
    rw_node_t *node = rw_list_take(&out->control);

    if (node != NULL) {
        return RW_CONTAINER(node, rw_flight_t, node);
    }
    while (!rw_list_is_empty(&out->lanes)) {
        rw_lane_t *lane = RW_CONTAINER(out->lanes.next, rw_lane_t, node);
        const rw_flight_t *first = RW_CONTAINER(lane->flights.next, rw_flight_t, node);
        size_t cost = RW_HEAD_BYTES + (first->lends ? RW_LOAN_BYTES : first->length);

        if (cost <= lane->credit) {
            lane->credit -= cost;
            return take_from(out, lane);
        }
        lane->credit += QUANTUM;
        rw_list_remove(&lane->node);
        rw_list_append(&out->lanes, &lane->node);
    }
    return NULL;
}

/* own: bytes of the payload that lie behind the head already. */
static void write_head(rw_out_t *out, rw_frame_class_t class, size_t length, size_t own) {
    out->head.class = (uint8_t) class;
    out->head.length = (uint32_t)length;
    rw_head_encode(&out->head, out->bytes);
    out->lead = RW_HEAD_BYTES + own;
    out->trailer = RW_TRAILER_WHOLE;
    out->at = 0;
    out->begun = true;
}

static bool begin_word(rw_out_t *out) {
    rw_node_t *node = rw_list_take(&out->words);
    rw_word_t *word;

    if (node == NULL) {
        return false;
    }
    word = RW_CONTAINER(node, rw_word_t, node);
    memset(&out->head, 0, sizeof out->head);
    memcpy(out->bytes + RW_HEAD_BYTES, word->payload, word->length);
    out->flight = NULL;
    write_head(out, word->class, word->length, word->length);
    out->word_count--;
    out->count--;
    free(word);
    return true;
}

static bool begin_frame(rw_out_t *out) RW_LOCKED {
    rw_flight_t *flight;

    if (begin_word(out)) {
        return true;
    }
    flight = choose(out);
    if (flight == NULL) {
        return false;
    }
    memset(&out->head, 0, sizeof out->head);
    out->head.header_length = (uint8_t)flight->header_length;
    memcpy(out->head.header, flight->header, flight->header_length);
    out->flight = flight;
    if (flight->lends) {
        const void *at = flight->count > 1 ? flight->pieces : flight->pieces[0].iov_base;
        rw_loan_t loan = {.id = ++out->loans,
                          .address = (uint64_t)(uintptr_t)at,
                          .length = flight->length,
                          .pieces = (uint32_t)flight->count};

        flight->loan = loan.id;
        if (flight->count > 1) {
            flight->list[flight->count] =
                (struct iovec){.iov_base = (void *)(uintptr_t)loan.id, .iov_len = flight->length};
        }
        rw_loan_encode(&loan, out->bytes + RW_HEAD_BYTES);
        write_head(out, RW_FRAME_LENT, RW_LOAN_BYTES, RW_LOAN_BYTES);
    } else {
        write_head(out, flight->class == RW_BULK ? RW_FRAME_BULK : RW_FRAME_CONTROL, flight->length,
                   0);
    }
    return true;
}

/* What is left of the frame, or a good part of it: head, payload or zeroes, trailer. */
static int rest_of_frame(rw_out_t *out, struct iovec pieces[3]) RW_LOCKED {
    size_t at = out->at, end = RW_HEAD_BYTES + out->head.length, part;
    int count = 0;

    if (at < out->lead) {
        part = out->lead - at;
        pieces[count++] = (struct iovec){.iov_base = out->bytes + at, .iov_len = part};
        at += part;
    }
    if (at < end && out->flight != NULL) {
        uint8_t *data = out->flight->pieces[0].iov_base;

        part = end - at;
        pieces[count++] = (struct iovec){.iov_base = data + (at - out->lead), .iov_len = part};
        at += part;
    } else if (at < end) {
        part = end - at < sizeof zeroes ? end - at : sizeof zeroes;
        pieces[count++] = (struct iovec){.iov_base = (void *)zeroes, .iov_len = part};
        at += part;
    }
    if (at == end && rw_head_has_trailer(&out->head)) {
        pieces[count++] = (struct iovec){.iov_base = &out->trailer, .iov_len = 1};
    }
    return count;
}

static void end_frame(rw_out_t *out) RW_LOCKED {
    rw_flight_t *flight = out->flight;

    out->begun = false;
    out->flight = NULL;
    if (flight != NULL) {
        out->count--;
    }
    if (flight != NULL && flight->lends) {
        rw_list_append(&out->lent, &flight->node);
    } else if (flight != NULL) {
        flight->done(flight, ROPEWAY_OK, "");
    }
}

/* Whether what follows this frame goes by the ring. */
static bool ends_socket(const rw_head_t *head) {
    return head->class == RW_FRAME_RING_TAKEN || head->class == RW_FRAME_RING_BEGUN;
}

int rw_out_work(rw_out_t *out, rw_wire_t *wire, size_t *budget) {
    struct iovec pieces[3];

    for (;;) {
        size_t total;
        ssize_t taken;

        if (!out->begun && !begin_frame(out)) {
            return rw_wire_flush(wire);
        }
        if (*budget == 0) {
            return RW_WIRE_AGAIN;
        }
        wire->gives_ring = out->at == 0 && out->head.class == RW_FRAME_RING;
        taken = rw_wire_write(wire, pieces, rest_of_frame(out, pieces));
        if (taken <= 0) {
            return (int)taken;
        }
        out->at += (size_t)taken;
        *budget -= (size_t)taken < *budget ? (size_t)taken : *budget;
        total = RW_HEAD_BYTES + out->head.length + rw_head_has_trailer(&out->head);
        if (out->at == total) {
            wire->writes_ring |= ends_socket(&out->head);
            end_frame(out);
        }
    }
}

/* ---- giving back ---- */

static void give_back(rw_out_t *out, rw_flight_t *flight, ropeway_error_t error,
                      const char *why) RW_LOCKED {
    out->count--;
    flight->done(flight, error, why);
}

/* Nothing may still read the memory of the frame under way. */
static void give_back_begun(rw_out_t *out, ropeway_error_t error, const char *why) RW_LOCKED {
    rw_flight_t *flight = out->flight;

    out->flight = NULL;
    out->begun = out->at > 0; /* the other side waits for the rest */
    out->trailer = RW_TRAILER_VOID;
    give_back(out, flight, error, why);
}

/* Takes it out of what is lent, and ends its table; see stream_pull.h. */
static void take_back(rw_flight_t *flight, ropeway_error_t error, const char *why) RW_LOCKED {
    rw_list_remove(&flight->node);
    if (flight->count > 1) {
        sodium_memzero(&flight->list[flight->count], sizeof flight->list[0]);
    }
    flight->done(flight, error, why);
}

/* NULL: it was taken back, or there was none of that name. */
static rw_flight_t *find_lent(const rw_out_t *out, uint64_t loan) RW_LOCKED {
    for (rw_node_t *node = out->lent.next; node != &out->lent; node = node->next) {
        rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

        if (flight->loan == loan) {
            return flight;
        }
    }
    return NULL;
}

bool rw_out_is_lent(const rw_out_t *out, uint64_t loan) {
    return find_lent(out, loan) != NULL;
}

void rw_out_regain(rw_out_t *out, uint64_t loan, ropeway_error_t error, const char *why) {
    rw_flight_t *flight = find_lent(out, loan);

    if (flight != NULL) {
        take_back(flight, error, why);
    }
}

void rw_out_recall(rw_out_t *out, ropeway_error_t error, const char *why) {
    while (!rw_list_is_empty(&out->lent)) {
        take_back(RW_CONTAINER(out->lent.next, rw_flight_t, node), error, why);
    }
}

/* What the other side still reads of it can't complete an operation: the sender has the last word
 * on what was lent. */
static void recall_of(rw_out_t *out, const void *tag) RW_LOCKED {
    rw_node_t *node = out->lent.next;

    while (node != &out->lent) {
        rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

        node = node->next;
        if (flight->tag == tag) {
            take_back(flight, ROPEWAY_ERR_CANCELLED, "it was given up");
            node = out->lent.next; /* others may have gone with it */
        }
    }
}

void rw_out_abandon(rw_out_t *out, const void *tag) {
    rw_lane_t *lane;

    recall_of(out, tag);
    if (out->flight != NULL && out->flight->tag == tag && out->flight->class == RW_BULK) {
        give_back_begun(out, ROPEWAY_ERR_CANCELLED, "it was given up");
    }
    while ((lane = find_lane(out, tag)) != NULL) {
        give_back(out, take_from(out, lane), ROPEWAY_ERR_CANCELLED, "it was given up");
    }
}

void rw_out_give_up(rw_out_t *out, ropeway_error_t error, const char *why) {
    rw_flight_t *flight;
    rw_node_t *word;

    rw_out_recall(out, error, why);
    if (out->flight != NULL) {
        give_back_begun(out, error, why);
    }
    while ((word = rw_list_take(&out->words)) != NULL) {
        out->word_count--;
        out->count--;
        free(RW_CONTAINER(word, rw_word_t, node));
    }
    while ((flight = choose(out)) != NULL) {
        give_back(out, flight, error, why);
    }
    out->begun = false;
}
