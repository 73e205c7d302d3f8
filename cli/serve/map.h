/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings of files that others may truncate meanwhile. A touch of a page that is gone raises
 * SIGBUS; the handler here puts zeroes in place of what is gone, marks the mapping as faulted and
 * lets the program go on. Whoever relies on the bytes asks rw_map_faulted() afterwards.
 */
#ifndef RW_SERVE_MAP_H
#define RW_SERVE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/prefault.h"

#define RW_MAPS_MAX 4096 /* at a time */

struct rw_map {
    void *data; /* the first byte asked for; never NULL */
    uint64_t size;
    int slot; /* -1: nothing is mapped, size is 0 */
    struct rw_prefault prefault;
};

/* Installs the handler. wake_fd: an eventfd that is written to when a mapping faults. Call it after
 * all libraries that install handlers of their own. Returns 0 or an errno value. */
int rw_map_install(int wake_fd);

/* Maps size bytes of a file from offset on. map must stay where it is. Returns 0 or an errno value.
 */
int rw_map_open(struct rw_map *map, int fd, uint64_t offset, uint64_t size, bool writable);

bool rw_map_faulted(const struct rw_map *map);

void rw_map_close(struct rw_map *map);

#endif
