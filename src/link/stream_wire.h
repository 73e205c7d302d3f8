/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes out of and into one socket: of TCP, in clear or through TLS 1.3, or a Unix socket, beside
 * which each way may go by a ring (stream_ring.h) from some byte on. Nothing here blocks, unless a
 * process of the same user sends a descriptor whose file system is slow to close it.
 *
 * OpenSSL never sees the socket: what it encrypts goes to a buffer of two records, which is sent
 * whenever the socket takes it. So memory that was handed over has been read when rw_wire_write()
 * returns, and nothing is ever to be written again. The cost is a copy that encryption makes
 * anyway.
 */
#ifndef RW_STREAM_WIRE_H
#define RW_STREAM_WIRE_H

#include "link/stream_identity.h"
#include "link/stream_ring.h"

#include <sys/uio.h>

#define RW_WIRE_AGAIN 0     /* nothing can be done now */
#define RW_WIRE_ENDED (-1)  /* the other side has ended the stream */
#define RW_WIRE_BROKEN (-2) /* wire->why says why */

typedef struct rw_wire {
    int fd;       /* -1: not open */
    SSL *ssl;     /* NULL: in clear */
    bool drained; /* the socket had no more; until rw_wire_turn() */
    bool shaken;  /* the handshake is over */
    bool ended;   /* the other side has ended the stream */
    int error;    /* errno of the socket's failure; 0: none */
    uint8_t *out; /* with TLS: records that the socket has not taken */
    size_t out_from, out_to;
    uint64_t encrypted; /* bytes under the present key */
    uint64_t decrypted; /* bytes that have come by TLS */
    uint64_t notices;   /* of TLS's own that have come since the handshake, as new keys */
    bool noisy;         /* more of them than anybody needs */
    rw_ring_t ring;
    bool writes_ring, reads_ring; /* instead of the socket */
    bool gives_ring;              /* with the next byte: the ring's descriptor */
    bool awaits_ring;             /* a descriptor of one may come */
    bool signalled;               /* there is something to read at the socket: wakes, or the end */
    int received;                 /* the descriptor that has come; -1: none */
    char why[128];
} rw_wire_t;

/* One that is not open. */
static inline rw_wire_t rw_wire_none(void) {
    return (rw_wire_t){.fd = -1, .shaken = true, .ring = rw_ring_none(), .received = -1};
}
/* Takes the socket, which is connected. */
void rw_wire_open(rw_wire_t *wire, int fd);
/* What follows goes through TLS. client: it pins this fingerprint; NULL for the side that was
 * connected to. false: out of memory. */
bool rw_wire_start_tls(rw_wire_t *wire, rw_identity_t *identity, const uint8_t *fingerprint);
/* Goes on with the handshake. 1: it is over; else RW_WIRE_*. */
int rw_wire_shake(rw_wire_t *wire);

/* A new turn begins: the socket may have more. */
void rw_wire_turn(rw_wire_t *wire);
/* Fills memory, in order. The number of bytes, or RW_WIRE_*. */
ssize_t rw_wire_read(rw_wire_t *wire, const struct iovec *pieces, int count);
/* Takes bytes; the memory is not needed afterwards. The number of bytes, or RW_WIRE_*. */
ssize_t rw_wire_write(rw_wire_t *wire, const struct iovec *pieces, int count);
/* Whether its ring has anything for us. blocked: rw_wire_write() found no room. */
bool rw_wire_has_ring_work(const rw_wire_t *wire, bool blocked);
/* Asks the other side to wake us for that. false: there is some already. */
bool rw_wire_rest_ring(rw_wire_t *wire, bool blocked);
/* Sends what was taken. 1: all has gone to the kernel; else RW_WIRE_*. */
int rw_wire_flush(rw_wire_t *wire);
/* No more will be written: the other side may read to the end. After rw_wire_flush(). */
void rw_wire_finish(rw_wire_t *wire);
/* Closes the socket, and frees. */
void rw_wire_close(rw_wire_t *wire);

#endif
