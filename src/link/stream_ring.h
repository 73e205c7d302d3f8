/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue of bytes each way in memory that two processes of one user share. Between those that talk
 * much it takes the place of their Unix socket, whose system calls take most of the time of a small
 * operation. The socket stays: it tells of the end, and a byte through it wakes a side that sleeps.
 *
 * One side makes the memory and gives it to the other one by the socket. Its pages are there, and
 * its size is sealed, so that touching it does not fail, unless the other side gives pages back to
 * a system that has no memory. The other process may write whatever it likes into it at any time:
 * each count of its is read once and held against what it can be, bytes are copied out before
 * anybody looks at them, and nothing of ours is read back.
 */
#ifndef RW_STREAM_RING_H
#define RW_STREAM_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define RW_RING_BYTES ((uint32_t)512 << 10) /* each way */
#define RW_RING_BROKEN (-1)                 /* the other side's counts can't be */

struct rw_ring_memory;

typedef struct rw_ring {
    struct rw_ring_memory *memory; /* NULL: none */
    int fd;                        /* of the memory, for the other side; -1: given, or none */
    unsigned side;                 /* 0: we have made it */
    uint32_t written, read;        /* bytes, by us, since the beginning */
} rw_ring_t;

/* A ring that there is not. */
static inline rw_ring_t rw_ring_none(void) {
    return (rw_ring_t){.fd = -1};
}
/* false: the system gives no such memory. */
bool rw_ring_make(rw_ring_t *ring);
/* The memory that the other side has made; fd is closed in any case. false: it is none. */
bool rw_ring_take(rw_ring_t *ring, int fd);
/* The memory is no longer to be given. */
void rw_ring_given(rw_ring_t *ring);
void rw_ring_free(rw_ring_t *ring);

/* Put bytes in, or take them out. The number, 0 when there is no room or nothing there, or
 * RW_RING_BROKEN. *wake: becomes true if the other side sleeps and waits for that. */
ssize_t rw_ring_write(rw_ring_t *ring, const struct iovec *pieces, int count, bool *wake);
ssize_t rw_ring_read(rw_ring_t *ring, const struct iovec *pieces, int count, bool *wake);

/* Whether there is something to read, or the counts are broken. */
bool rw_ring_has_bytes(const rw_ring_t *ring);
/* Whether there is room worth writing to, or the counts are broken. */
bool rw_ring_has_room(const rw_ring_t *ring);
/* We are going to sleep: wakes are asked for, for bytes, and if we are blocked for room. false:
 * there is something to do first. */
bool rw_ring_rest(rw_ring_t *ring, bool blocked);
/* We do not sleep any more. */
void rw_ring_rise(rw_ring_t *ring);

#endif
