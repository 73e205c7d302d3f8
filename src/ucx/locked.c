/* SPDX-License-Identifier: Apache-2.0 */
/* Locked memory. An RDMA device needs the memory that it reads and writes to be locked, UCX's own
 * buffers first of all. Where the limit leaves no room for these UCX asks for them again and again,
 * at its full speed and without a word, and nothing ever moves. */
#include "base/error.h"
#include "base/rdma.h"
#include "ucx/ucx.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* What a context and its first connections lock, with room for an operation; docs/rdma.md tells how
 * much that was. */
#define NEEDED ((size_t)256 << 20)

/* Whether this context can register so many bytes. */
static bool can_lock(ucp_context_h context, size_t size) {
    ropeway_descriptor_t memory = {.size = size, .device = {.kind = ROPEWAY_DEVICE_HOST}};
    void *registration;
    bool can;

    memory.ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory.ptr == MAP_FAILED) {
        return true; /* whoever needs memory will be told that there is none */
    }
    can = rw_ucx_map(context, &memory, &registration) == ROPEWAY_OK;
    if (can) {
        rw_ucx_unmap(context, registration);
    }
    munmap(memory.ptr, size);
    return can;
}

ropeway_error_t rw_ucx_check_locked(ucp_context_h context) {
    struct rlimit limit;

    if (!rw_rdma_is_here(RW_RDMA_FOLDER) || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
        limit.rlim_cur >= NEEDED) {
        return ROPEWAY_OK;
    }
    /* The limit means nothing to a process with the capability IPC_LOCK, nor to transports that
     * lock no memory: then more than it allows can be had. */
    if (can_lock(context, (size_t)limit.rlim_cur + (size_t)sysconf(_SC_PAGESIZE))) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_TRANSPORT,
                   "RDMA needs at least %zu MiB of locked memory, but the limit is %llu KiB: raise "
                   "it (ulimit -l unlimited; LimitMEMLOCK=infinity in a systemd unit; --ulimit "
                   "memlock=-1 or the capability IPC_LOCK for a container), or name transports "
                   "without RDMA, such as tcp,cma,self",
                   NEEDED >> 20, (unsigned long long)limit.rlim_cur >> 10);
}

const char *rw_ucx_reason(ucs_status_t status) {
    struct rlimit limit;

    if ((status == UCS_ERR_IO_ERROR || status == UCS_ERR_NO_MEMORY) &&
        rw_rdma_is_here(RW_RDMA_FOLDER) && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY) {
        return "the memory may not be registered with an RDMA device: is the limit on locked "
               "memory "
               "(ulimit -l) too small?";
    }
    return ucs_status_string(status);
}
