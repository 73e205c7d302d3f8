/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that can't be registered with an RDMA device, though processors can use it. UCX registers
 * memory for every kind of access, whatever it is to be used for; and it does not say in time that
 * it can't: it announces the bytes all the same, and fails when the other side has begun to wait
 * for them. Hence the question is asked before. Two kinds are known:
 *
 *  - What may be read and not written, as a file that is mapped for reading: the kernel lets nobody
 *    have memory written that its owner may not write.
 *  - Since Linux 6.5 a file that is mapped to be written and shared, unless it is one in memory
 *    (tmpfs, hugetlbfs): a device would write behind the back of the file system, which has to know
 *    what to put on the disk.
 */
#include "base/rdma.h"
#include "ucx/ucx.h"

#include <errno.h>
#include <fcntl.h>
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

/* /proc/self/pagemap has 64 bits a page; this one says that it is a file's, or shared. */
#define PAGE_OF_FILE ((uint64_t)1 << 61)

int rw_ucx_open_pagemap(void) {
    return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

bool rw_ucx_is_of_file(int pagemap, const void *memory) {
    uint64_t page = (uintptr_t)memory / (uint64_t)sysconf(_SC_PAGESIZE), bits = 0;

    return pagemap >= 0 &&
           pread(pagemap, &bits, sizeof bits, (off_t)(page * sizeof bits)) == sizeof bits &&
           (bits & PAGE_OF_FILE) != 0;
}

bool rw_ucx_may_register(void) {
    return rw_rdma_is_here(RW_RDMA_FOLDER);
}
