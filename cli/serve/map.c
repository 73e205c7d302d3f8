/* SPDX-License-Identifier: Apache-2.0 */
#include "map.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

/* The signal handler reads the slots without a lock: begin is written last when a mapping appears
 * and first when it goes; 0 means free, TAKEN that it is being set up. */
#define TAKEN 1

static struct slot {
    _Atomic uintptr_t begin;
    _Atomic uintptr_t end;
    _Atomic int protection;
    atomic_bool faulted;
} slots[CLI_MAPS_MAX];

static atomic_int used_slots; /* slots from here on were never used */
static uintptr_t page_size;
static int wake;

static struct slot *find_slot(uintptr_t address) {
    int used = atomic_load(&used_slots);
    for (int i = 0; i < used; i++) {
        uintptr_t begin = atomic_load(&slots[i].begin);
        if (begin > TAKEN && address >= begin && address < atomic_load(&slots[i].end)) {
            return &slots[i];
        }
    }
    return NULL;
}

static void on_bus_error(int number, siginfo_t *info, void *context) {
    (void)context;
    int saved = errno;
    uintptr_t page = (uintptr_t)info->si_addr & ~(page_size - 1);
    struct slot *slot = info->si_code > 0 ? find_slot((uintptr_t)info->si_addr) : NULL;
    void *zeroes = MAP_FAILED;
    if (slot != NULL) {
        zeroes = mmap((void *)page, atomic_load(&slot->end) - page, atomic_load(&slot->protection),
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    }
    if (zeroes == MAP_FAILED) {
        signal(number, SIG_DFL);
        raise(number);
    } else {
        uint64_t one = 1;
        atomic_store(&slot->faulted, true);
        /* A full counter wakes as well. */
        ssize_t written = write(wake, &one, sizeof one);
        (void)written;
    }
    errno = saved;
}

int cli_map_install(int wake_fd) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    wake = wake_fd;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) == 0 ? 0 : errno;
}

static int take_slot(void) {
    for (int i = 0; i < CLI_MAPS_MAX; i++) {
        uintptr_t empty = 0;
        if (!atomic_compare_exchange_strong(&slots[i].begin, &empty, TAKEN)) {
            continue;
        }
        int used = atomic_load(&used_slots);
        while (used <= i && !atomic_compare_exchange_weak(&used_slots, &used, i + 1)) {
        }
        return i;
    }
    return -1;
}

int cli_map_open(struct cli_map *map, int fd, uint64_t offset, uint64_t size, bool writable) {
    static char nothing;
    *map = (struct cli_map){.data = &nothing, .slot = -1};
    if (size == 0) {
        return 0;
    }
    uint64_t skip = offset % page_size;
    if (size > SIZE_MAX - 2 * page_size) {
        return EFBIG;
    }
    int index = take_slot();
    if (index < 0) {
        return EMFILE;
    }
    struct slot *slot = &slots[index];
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    size_t length = (size_t)(skip + size);
    char *base = mmap(NULL, length, protection, MAP_SHARED, fd, (off_t)(offset - skip));
    if (base == MAP_FAILED) {
        int error = errno;
        atomic_store(&slot->begin, 0);
        return error;
    }
    madvise(base, length, MADV_SEQUENTIAL);
    atomic_store(&slot->faulted, false);
    atomic_store(&slot->protection, protection);
    atomic_store(&slot->end, (uintptr_t)base + (length + page_size - 1) / page_size * page_size);
    atomic_store(&slot->begin, (uintptr_t)base);
    map->data = base + skip;
    map->size = size;
    map->slot = index;
    cli_prefault_start(&map->prefault, map->data, (size_t)size, writable);
    return 0;
}

bool cli_map_faulted(const struct cli_map *map) {
    return map->slot >= 0 && atomic_load(&slots[map->slot].faulted);
}

void cli_map_close(struct cli_map *map) {
    if (map->slot < 0) {
        return;
    }
    cli_prefault_stop(&map->prefault);
    struct slot *slot = &slots[map->slot];
    uintptr_t begin = atomic_load(&slot->begin), end = atomic_load(&slot->end);
    munmap((void *)begin, end - begin);
    atomic_store(&slot->begin, 0);
    map->slot = -1;
}
