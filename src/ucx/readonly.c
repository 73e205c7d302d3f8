/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that may be read and not written, such as a file that is mapped for reading. UCX registers
 * memory with an RDMA device for every kind of access, whatever it is to be used for, and the
 * kernel lets nobody have memory written that its owner may not write. So such memory can't be
 * registered; and UCX does not say so in time: it announces the bytes all the same, and fails when
 * the other side has begun to wait for them. Hence the question is asked before.
 */
#include "base/rdma.h"
#include "ucx/ucx.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Advice of Linux 5.14, which not every libc names: the pages shall be there, as if they had been
 * read or written. It is what a registration does first. */
enum { POPULATE_READ = 22, POPULATE_WRITE = 23 };

static int populate(uintptr_t start, uintptr_t end, int advice) {
    uintptr_t first = start & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);

    return madvise((void *)first, end - first, advice) == 0 ? 0 : errno;
}

/* An older kernel gives the same answer to both questions. */
bool rw_ucx_is_read_only(const void *memory, size_t size) {
    uintptr_t start = (uintptr_t)memory, end = start + size;

    return size > 0 &&
           (populate(start, start + 1, POPULATE_WRITE) == EINVAL ||
            populate(end - 1, end, POPULATE_WRITE) == EINVAL) &&
           populate(start, end, POPULATE_READ) == 0;
}

bool rw_ucx_may_register(void) {
    return rw_rdma_is_here(RW_RDMA_FOLDER);
}
