/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings of files that others may truncate meanwhile. A touch of a page that is gone raises
 * SIGBUS; the handler here puts zeroes in place of what is gone, marks the mapping as faulted and
 * lets the program go on. Whoever relies on the bytes asks cli_map_faulted() afterwards.
 */
#ifndef CLI_SERVE_MAP_H
#define CLI_SERVE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/prefault.h"

#define CLI_MAPS_MAX 4096 /* at a time */

struct cli_map {
    void *data; /* the first byte asked for; never NULL */
    uint64_t size;
    int slot; /* -1: nothing is mapped, size is 0 */
    struct cli_prefault prefault;
};

/* Installs the handler. wake_fd: an eventfd that is written to when a mapping faults. Call it after
 * all libraries that install handlers of their own. Returns 0 or an errno value. */
int cli_map_install(int wake_fd);

/* Maps size bytes of a file from offset on. map must stay where it is. Returns 0 or an errno value.
 */
int cli_map_open(struct cli_map *map, int fd, uint64_t offset, uint64_t size, bool writable);

bool cli_map_faulted(const struct cli_map *map);

void cli_map_close(struct cli_map *map);

#endif
