/* SPDX-License-Identifier: Apache-2.0 */
/* Mapped files, and the one handler of SIGBUS. */
#include "map.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli.h"
#include "event.h"
#include "temp.h"
#include "text.h"

/* The signal handler reads the slots without a lock: begin is written last when a mapping appears
 * and first when it goes; 0 means free, TAKEN that it is being set up. */
#define TAKEN 1

static struct slot {
    _Atomic uintptr_t begin;
    _Atomic uintptr_t end;
    _Atomic int protection;
    atomic_bool faulted;
} slots[CLI_MAPS_MAX];

static atomic_int used_slots;      /* slots from here on were never used */
static atomic_uintptr_t page_size; /* always the same, but for the time before the first mapping */
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

static char end_sentence[CLI_SENTENCE_SIZE]; /* "" to outlive faults */
static const struct cli_temp *end_temp;

static void end_process(int number) {
    if (end_temp != NULL && end_temp->fd >= 0 && end_temp->name[0] != '\0') {
        unlinkat(end_temp->directory, end_temp->name, 0);
    }
    if (write(STDERR_FILENO, end_sentence, strlen(end_sentence)) < 0) {
        _exit(128 + number);
    }
    _exit(CLI_EXIT_FAILED);
}

/* Puts zeroes in place of what is left of a mapping from an address on. */
static bool put_zeroes(uintptr_t address) {
    uintptr_t page = address & ~(atomic_load(&page_size) - 1);
    struct slot *slot = find_slot(address);
    if (slot == NULL ||
        mmap((void *)page, atomic_load(&slot->end) - page, atomic_load(&slot->protection),
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
        return false;
    }
    atomic_store(&slot->faulted, true);
    cli_event_signal(wake);
    return true;
}

static void on_bus_error(int number, siginfo_t *info, void *context) {
    (void)context;
    int saved = errno;
    if (end_sentence[0] != '\0') {
        end_process(number);
    }
    if (info->si_code <= 0 || !put_zeroes((uintptr_t)info->si_addr)) {
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = saved;
}

static bool install(void) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) == 0;
}

bool cli_map_outlive_faults(int wake_fd) {
    wake = wake_fd;
    return install();
}

bool cli_map_end_on_fault(const char *sentence, const struct cli_temp *temp) {
    char text[CLI_SENTENCE_SIZE - 16];
    snprintf(text, sizeof text, "%s", sentence);
    cli_printable(text);
    snprintf(end_sentence, sizeof end_sentence, "ropeway: %s\n", text);
    end_temp = temp;
    return install();
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

bool cli_map_open(struct cli_map *map, int fd, uint64_t offset, uint64_t size, bool writable) {
    static char nothing;
    uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
    atomic_store(&page_size, unit);
    *map = (struct cli_map){.data = &nothing, .slot = -1};
    if (size == 0) {
        return true;
    }
    uint64_t skip = offset % unit;
    if (size > SIZE_MAX - 2 * unit) {
        errno = EFBIG;
        return false;
    }
    int index = take_slot();
    if (index < 0) {
        errno = EMFILE;
        return false;
    }
    struct slot *slot = &slots[index];
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    size_t length = (size_t)(skip + size);
    char *base = mmap(NULL, length, protection, MAP_SHARED, fd, (off_t)(offset - skip));
    if (base == MAP_FAILED) {
        atomic_store(&slot->begin, 0);
        return false;
    }
    madvise(base, length, MADV_SEQUENTIAL);
    atomic_store(&slot->faulted, false);
    atomic_store(&slot->protection, protection);
    atomic_store(&slot->end, (uintptr_t)base + (length + unit - 1) / unit * unit);
    atomic_store(&slot->begin, (uintptr_t)base);
    map->data = base + skip;
    map->size = size;
    map->slot = index;
    return true;
}

void cli_map_prefault(struct cli_map *map, bool writable, uint64_t limit) {
    size_t bytes = (size_t)(limit < map->size ? limit : map->size);
    if (map->slot >= 0 && map->prefault.begin == NULL) {
        cli_prefault_start(&map->prefault, map->data, (size_t)map->size, writable, bytes);
    } else {
        cli_prefault_allow(&map->prefault, bytes);
    }
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

bool cli_file_unchanged(int fd, const struct stat *before) {
    struct stat now;
    return fstat(fd, &now) == 0 && now.st_size == before->st_size &&
           now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
}
