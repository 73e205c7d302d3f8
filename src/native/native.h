/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ropeway's own protocol, between two connectors; docs/wire.md tells the conversation. A message is
 * a frame (link/link.h) whose header is an rw_message_t. It is obeyed only if it carries both ids
 * of its operation: the receiver's, which only the two sides know, and the sender's.
 *
 * The descriptors of an operation laid end to end are a stream. The sender cuts it (decide.h), at
 * most `window` messages in flight; every DATA message says where in the stream its bytes belong.
 *
 * Who may decide on CANCELLED by itself:
 *  - The receiver, until it has said DONE.
 *  - The sender, until DONE arrives; but when all bytes went eagerly the receiver may have
 *    completed already, so once the last byte has left, a cancelling sender waits for its word.
 *  - With lent messages ("pulled") the receiver fetched the bytes from the sender's memory at a
 *    time of its own. So it is complete only when the sender confirms, by FIN, that it still held
 *    the memory.
 */
#ifndef RW_NATIVE_H
#define RW_NATIVE_H

#include "native/message.h"
#include "operation/decide.h"
#include "operation/operation.h"
#include "operation/sums.h"
#include "text/metadata.h"

#include <string.h>

#define RW_WINDOW_MAX 64 /* the most that the option window can be */
/* Refusals under way at a time: to strangers, and to one link; more are dropped. */
#define RW_REJECTS_MAX 1024
#define RW_LINK_REJECTS_MAX 32

/* Where a sender stands. */
typedef enum rw_sender {
    RW_SENDER_WAITING, /* the receiver has not accepted yet */
    RW_SENDER_INLINE,  /* the same; the bytes went with the request, and may be taken from there */
    RW_SENDER_READY,   /* accepted; nothing is posted yet */
    RW_SENDER_SENDING, /* some is */
    RW_SENDER_SENT     /* nothing is left to post; waits for DONE */
} rw_sender_t;

/* Where a receiver stands. */
typedef enum rw_receiver {
    RW_RECEIVER_WAITING,   /* no byte has come */
    RW_RECEIVER_RECEIVING, /* some have, be it a message of none */
    RW_RECEIVER_CONFIRMING /* DONE went out; pulled: waits for the sender's FIN, damaged or not */
} rw_receiver_t;

/* The protocol's part of an operation: operation->side. Guarded by the connector's lock. */
typedef struct rw_side {
    uint8_t remote[RW_ID_BYTES]; /* the other side's id */
    uint64_t digest;             /* of the descriptors' sizes, if has_digest */
    bool has_digest;
    bool integrity;          /* either side asked for it */
    bool asking;             /* active: RW_WAY is waited for; passive: it was given */
    unsigned vain;           /* passive: how often it was asked for a way that there is not */
    bool pulled;             /* some bytes are lent: the sender has the last word */
    bool posting;            /* a message is being handed to the link */
    rw_sums_t *sums;         /* with integrity, once bytes move */
    rw_link_t *asked_by;     /* see begin.c; with a reference; NULL: none */
    rw_peer_user_t of_asked; /* of that link's peer */
    union {
        struct {
            rw_sender_t state;
            bool remote_device;    /* the receiver's memory is not all host memory */
            uint64_t remote_grain; /* how it wants messages cut; 0: no wish */
            rw_cursor_t cursor;    /* what to send next */
        } out;                     /* of a sender */
        struct {
            rw_receiver_t state;
            bool damaged;         /* CONFIRMING: the checksums are not the sender's */
            uint64_t grain;       /* how we want messages cut; written once */
            rw_extents_t claimed; /* byte ranges announced so far */
        } in;                     /* of a receiver */
    };
} rw_side_t;

/* A connector's part. */
struct rw_native {
    size_t rejects RW_GUARDED; /* refusals in flight */
};

extern const rw_protocol_t rw_native_protocol;
extern const rw_link_user_t rw_native_link_user;

static inline rw_side_t *rw_side(const ropeway_operation_t *operation) {
    return operation->side;
}

/* The links are open. Errors: ERR_NO_MEMORY, ERR_TRANSPORT. */
ropeway_error_t rw_native_open(ropeway_connector_t *connector);
void rw_native_free(ropeway_connector_t *connector);

/* ---- native.c ---- */

/* The operation speaks this protocol. Errors: ERR_NO_MEMORY. */
ropeway_error_t rw_native_adopt(ropeway_operation_t *operation);
/* Starts the carrier and makes its hello, if that has not been needed yet. Errors: those of
 * rw_links_need(), ERR_NO_MEMORY, ERR_TRANSPORT. */
ropeway_error_t rw_native_need(rw_carrier_t *carrier) RW_LOCKED;
/* Whether the user lets bytes go between hosts in clear: the option encryption says so, or interop,
 * whose bytes do in any case. */
static inline bool rw_native_allows_clear(const ropeway_connector_t *connector) {
    const ropeway_connector_options_t *options = &connector->options;

    return options->interop != 0 ||
           (options->encryption != NULL && strcmp(options->encryption, "off") == 0);
}
/* Where peers shall come for this offer: a connection of its metadata. Errors: those of
 * rw_native_need(). */
ropeway_error_t rw_native_connection(const ropeway_operation_t *operation,
                                     rw_connection_t *connection) RW_LOCKED;
/* Makes a passive operation's metadata, in operation->json. Errors: ERR_LIMIT, those of
 * rw_native_need(). */
ropeway_error_t rw_native_encode_metadata(ropeway_operation_t *operation) RW_LOCKED;

/* ---- side.c ---- */

/* NULL: out of memory. */
rw_side_t *rw_side_new(const ropeway_operation_t *operation);
/* Makes sure that the checksums are there, if they are wanted. false: the operation has ended. */
bool rw_native_need_sums(ropeway_operation_t *operation) RW_LOCKED;
/* An active operation that has left the link that it asked by for another one has been answered
 * there, or its end is known: it is no user of the former one any more. */
void rw_native_leave_asked(rw_side_t *side) RW_LOCKED;

/* ---- choose.c ---- */

/* What the choice of a carrier depends on. */
typedef struct rw_trip {
    const ropeway_connector_t *connector;
    const rw_hello_t *hello; /* of the peer */
    bool device_here;        /* the memory of this side is not all host memory */
    bool device_there;       /* that of the peer is not */
} rw_trip_t;

typedef struct rw_choice {
    rw_carrier_t *carrier; /* by which the peer is reached, as its hello says */
    bool wants_other;      /* it is to be asked there how it is reached by the one for devices */
} rw_choice_t;

/* The choice is written in either case. Errors: ERR_NO_PATH (bytes would go in clear). */
ropeway_error_t rw_native_choose(const rw_trip_t *trip, rw_choice_t *choice) RW_LOCKED;
/* Whether nothing else will do than the carrier for devices. */
bool rw_native_needs_other(const ropeway_connector_t *connector, bool device_here);
/* It is needed, and there is no way by it to the peer of this name: ERR_NO_PATH. */
ropeway_error_t rw_native_refuse_way(const char *name, bool device_here);

/* ---- begin.c ---- */

/* The hello of metadata that have one. Errors: ERR_VERSION, ERR_METADATA. */
ropeway_error_t rw_native_read_hello(const ropeway_metadata_t *metadata, rw_hello_t *hello);
/* Checks what can be without the lock: versions and the like. Errors: ERR_VERSION, ERR_METADATA. */
ropeway_error_t rw_native_prepare(ropeway_operation_t *operation,
                                  const ropeway_metadata_t *metadata, rw_hello_t *hello);
/* Enters the operation and sends its request. Errors: those of rw_peer_get() and
 * rw_operation_start(); what goes wrong later is its outcome. */
ropeway_error_t rw_native_begin(ropeway_operation_t *operation, const ropeway_metadata_t *metadata,
                                const rw_hello_t *hello) RW_LOCKED;
/* A WAY: the request goes out again, to where that says. */
void rw_native_on_way(ropeway_operation_t *operation, const uint8_t *hello,
                      size_t length) RW_LOCKED;

/* ---- request.c ---- */

void rw_native_on_request(ropeway_connector_t *connector, const rw_frame_t *frame,
                          const rw_message_t *message) RW_LOCKED;
/* Answers a request that can't be served, and logs why. */
void rw_native_reject(ropeway_connector_t *connector, const rw_frame_t *frame,
                      const rw_message_t *message, ropeway_error_t error, const char *format, ...)
    __attribute__((format(printf, 5, 6))) RW_LOCKED;

/* ---- words.c ---- */

rw_message_t rw_native_message(const ropeway_operation_t *operation, rw_message_type_t type);
/* Sends a message without operation memory. payload is copied. Errors: ERR_NO_MEMORY,
 * ERR_TRANSPORT. */
ropeway_error_t rw_native_send(rw_link_t *link, const rw_message_t *message, const void *payload,
                               size_t length) RW_LOCKED;
/* The same to whom the frame came from; dropped when there are too many of these, unless it is owed
 * to its link. */
void rw_native_answer(ropeway_connector_t *connector, const rw_frame_t *frame,
                      const rw_message_t *message, const void *payload, size_t length,
                      bool is_owed) RW_LOCKED;
/* A message of this type from the operation to its counterpart; nothing is sent to a failed peer.
 */
void rw_native_tell(ropeway_operation_t *operation, rw_message_type_t type) RW_LOCKED;
/* FIN with the decided outcome. */
void rw_native_tell_end(ropeway_operation_t *operation) RW_LOCKED;
/* The same to who was asked and has not answered since, by the link that he was asked by. */
void rw_native_tell_asked(ropeway_operation_t *operation) RW_LOCKED;
/* What the other sides of a peer's operations are told when its connection has ended and there is
 * another one, as they may not know that it has: *count messages, to be freed. NULL: nothing, or
 * out of memory. */
rw_message_t *rw_native_collect_ends(rw_peer_t *former, size_t *count) RW_LOCKED;
/* Tells them. Errors: ERR_UNREACHABLE: the peer is gone, too. */
ropeway_error_t rw_native_tell_ends(rw_peer_t *peer, rw_message_t *ends, size_t count) RW_LOCKED;
/* BYE. */
void rw_native_leave(rw_peer_t *peer, bool for_good) RW_LOCKED;

/* ---- arrive.c ---- */

rw_verdict_t rw_native_on_frame(ropeway_connector_t *connector, rw_frame_t *frame) RW_LOCKED;

/* ---- send.c ---- */

/* Posts messages as far as window, limits and the receiver allow. */
void rw_send_pump(ropeway_operation_t *operation) RW_LOCKED;

/* ---- receive.c ---- */

/* A DATA message. */
rw_verdict_t rw_receive_data(ropeway_operation_t *operation, rw_frame_t *frame,
                             const rw_message_t *message) RW_LOCKED;
/* Bytes that came inside a request. */
void rw_receive_inline(ropeway_operation_t *operation, const uint8_t *data,
                       size_t length) RW_LOCKED;
/* The checksums are not the sender's, who held the memory all the while, or is not to be asked. */
void rw_receive_damaged(ropeway_operation_t *operation, bool tell) RW_LOCKED;
void rw_receive_sums(ropeway_operation_t *operation, const rw_message_t *message,
                     const uint8_t *payload, size_t length) RW_LOCKED;

#endif
