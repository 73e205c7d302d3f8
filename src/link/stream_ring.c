/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of bytes each way in shared memory. */
#include "link/stream_ring.h"

#include "base/env.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define LINE 64 /* bytes that processors exchange at a time */
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

_Static_assert((RW_RING_BYTES & (RW_RING_BYTES - 1)) == 0, "counts are taken modulo that");

enum { WANTS_BYTES = 1, WANTS_ROOM = 2 };

/* What one side says. The counts are of bytes since the beginning. */
typedef struct side {
    _Alignas(LINE) _Atomic uint32_t written; /* into its own half */
    _Alignas(LINE) _Atomic uint32_t read;    /* from the other side's */
    _Alignas(LINE) _Atomic uint32_t wants;   /* it sleeps, and is to be woken for these */
} side_t;

struct rw_ring_memory {
    side_t sides[2];
    _Alignas(
        4096) uint8_t bytes[2][RW_RING_BYTES]; /* that the one and the other side have written */
};

/* ---- life ---- */

static bool map(rw_ring_t *ring, int fd) {
    void *memory =
        mmap(NULL, sizeof *ring->memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

    if (memory == MAP_FAILED) {
        return false;
    }
    madvise(memory, sizeof *ring->memory, MADV_DONTFORK);
    ring->memory = memory;
    return true;
}

/* Growing a file past that limit ends the process by a signal. */
static bool may_grow(void) {
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
           limit.rlim_cur >= sizeof(struct rw_ring_memory); /* RLIM_INFINITY is the largest */
}

bool rw_ring_make(rw_ring_t *ring) {
    int fd = may_grow() ? memfd_create("ropeway", MFD_CLOEXEC | MFD_ALLOW_SEALING) : -1;

    *ring = rw_ring_none();
    if (fd < 0) {
        return false;
    }
    /* Its pages are there from now on. */
    if (!rw_process_own(fd) || posix_fallocate(fd, 0, sizeof *ring->memory) != 0 ||
        fcntl(fd, F_ADD_SEALS, SEALS) != 0 || !map(ring, fd)) {
        rw_process_close(fd);
        return false;
    }
    ring->fd = fd;
    for (unsigned i = 0; i < 2; i++) { /* whoever has not looked yet is to be woken */
        atomic_init(&ring->memory->sides[i].wants, WANTS_BYTES | WANTS_ROOM);
    }
    return true;
}

/* Whether it is memory of the right size for good, and not of huge pages, of which there may be
 * none when it is touched. Where the system wants it (vm.memfd_noexec) it can't be executed either.
 */
static bool is_fit(int fd) {
    struct stat about;
    struct statfs system;

    return (fcntl(fd, F_GET_SEALS) & ~F_SEAL_EXEC) == SEALS && fstat(fd, &about) == 0 &&
           about.st_size == (off_t)sizeof(struct rw_ring_memory) && fstatfs(fd, &system) == 0 &&
           system.f_type == TMPFS_MAGIC;
}

bool rw_ring_take(rw_ring_t *ring, int fd) {
    bool taken;

    *ring = rw_ring_none();
    taken = is_fit(fd) && map(ring, fd);
    ring->side = 1;
    rw_process_close(fd);
    return taken;
}

void rw_ring_given(rw_ring_t *ring) {
    if (ring->fd >= 0) {
        rw_process_close(ring->fd);
        ring->fd = -1;
    }
}

void rw_ring_free(rw_ring_t *ring) {
    rw_ring_given(ring);
    if (ring->memory != NULL) {
        munmap(ring->memory, sizeof *ring->memory);
        ring->memory = NULL;
    }
}

/* ---- bytes ---- */

static side_t *ours(const rw_ring_t *ring) {
    return &ring->memory->sides[ring->side];
}

static side_t *theirs(const rw_ring_t *ring) {
    return &ring->memory->sides[!ring->side];
}

/* Bytes that are there to be read; more than RW_RING_BYTES: that can't be. */
static uint32_t readable(const rw_ring_t *ring) {
    return atomic_load_explicit(&theirs(ring)->written, memory_order_acquire) - ring->read;
}

/* Bytes of ours that the other side has not read; the same. */
static uint32_t unread(const rw_ring_t *ring) {
    return ring->written - atomic_load_explicit(&theirs(ring)->read, memory_order_acquire);
}

/* Whether the other side sleeps and waits for this; it is told once. Pairs with rw_ring_rest(): one
 * of the two sees what the other one has written. Between the two looks it may have gone to sleep
 * anew, for something else: that wish stays. */
static bool wakes(const rw_ring_t *ring, uint32_t what) {
    atomic_thread_fence(memory_order_seq_cst);
    return (atomic_load_explicit(&theirs(ring)->wants, memory_order_relaxed) & what) != 0 &&
           (atomic_fetch_and(&theirs(ring)->wants, ~what) & what) != 0;
}

/* Into or out of one half, from a count on. */
static void put(uint8_t *half, uint32_t at, const uint8_t *bytes, size_t length) {
    size_t from = at % RW_RING_BYTES, first = RW_RING_BYTES - from;

    first = length < first ? length : first;
    memcpy(half + from, bytes, first);
    memcpy(half, bytes + first, length - first);
}

static void get(const uint8_t *half, uint32_t at, uint8_t *bytes, size_t length) {
    size_t from = at % RW_RING_BYTES, first = RW_RING_BYTES - from;

    first = length < first ? length : first;
    memcpy(bytes, half + from, first);
    memcpy(bytes + first, half, length - first);
}

ssize_t rw_ring_write(rw_ring_t *ring, const struct iovec *pieces, int count, bool *wake) {
    uint32_t used = unread(ring);
    size_t room = RW_RING_BYTES - used, total = 0;

    if (used > RW_RING_BYTES) {
        return RW_RING_BROKEN;
    }
    for (int i = 0; i < count && room > 0; i++) {
        size_t part = pieces[i].iov_len < room ? pieces[i].iov_len : room;

        if (part > 0) {
            put(ring->memory->bytes[ring->side], ring->written, pieces[i].iov_base, part);
        }
        ring->written += (uint32_t)part;
        room -= part;
        total += part;
    }
    if (total > 0) {
        atomic_store_explicit(&ours(ring)->written, ring->written, memory_order_release);
        *wake |= wakes(ring, WANTS_BYTES);
    }
    return (ssize_t)total;
}

ssize_t rw_ring_read(rw_ring_t *ring, const struct iovec *pieces, int count, bool *wake) {
    uint32_t there = readable(ring);
    size_t left = there, total = 0;

    if (there > RW_RING_BYTES) {
        return RW_RING_BROKEN;
    }
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = pieces[i].iov_len < left ? pieces[i].iov_len : left;

        if (part > 0) {
            get(ring->memory->bytes[!ring->side], ring->read, pieces[i].iov_base, part);
        }
        ring->read += (uint32_t)part;
        left -= part;
        total += part;
    }
    if (total > 0) {
        atomic_store_explicit(&ours(ring)->read, ring->read, memory_order_release);
        *wake |= left < RW_RING_BYTES / 2 && wakes(ring, WANTS_ROOM);
    }
    return (ssize_t)total;
}

/* ---- sleep ---- */

bool rw_ring_has_bytes(const rw_ring_t *ring) {
    return readable(ring) > 0;
}

bool rw_ring_has_room(const rw_ring_t *ring) {
    uint32_t used = unread(ring);

    return used <= RW_RING_BYTES / 2 || used > RW_RING_BYTES;
}

bool rw_ring_rest(rw_ring_t *ring, bool blocked) {
    atomic_store_explicit(&ours(ring)->wants, WANTS_BYTES | (blocked ? WANTS_ROOM : 0),
                          memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return !rw_ring_has_bytes(ring) && !(blocked && rw_ring_has_room(ring));
}

void rw_ring_rise(rw_ring_t *ring) {
    atomic_store_explicit(&ours(ring)->wants, 0, memory_order_relaxed);
}
