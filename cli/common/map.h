/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings of files that others may truncate meanwhile, or whose disk may fail. A touch of a page
 * that is gone raises SIGBUS. A server goes on: the handler puts zeroes in place of what is gone
 * and marks the mapping as faulted; whoever relies on the bytes asks cli_map_faulted() afterwards.
 * A client ends with a sentence.
 */
#ifndef CLI_MAP_H
#define CLI_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "prefault.h"
#include "temp.h"

#define CLI_MAPS_MAX 4096 /* at a time */

struct cli_map {
    void *data; /* the first byte asked for; never NULL */
    uint64_t size;
    int slot; /* -1: nothing is mapped, size is 0 */
    struct cli_prefault prefault;
};

#define CLI_MAP_NONE ((struct cli_map){.slot = -1})

/* Lets the program outlive faults. wake_fd: an event that is signalled when a mapping faults. Call
 * it after all libraries that install handlers of their own. False: see errno. */
bool cli_map_outlive_faults(int wake_fd);

/* Lets a fault end the process with a sentence. temp: a file to remove first, or NULL; it must
 * stay. As above. */
bool cli_map_end_on_fault(const char *sentence, const struct cli_temp *temp);

/* Maps size bytes of a file from offset on. False: see errno. */
bool cli_map_open(struct cli_map *map, int fd, uint64_t offset, uint64_t size, bool writable);

/* Makes the first limit bytes present ahead of their use, on a thread. map must stay where it is
 * from now on. */
void cli_map_prefault(struct cli_map *map, bool writable, uint64_t limit);

bool cli_map_faulted(const struct cli_map *map);

void cli_map_close(struct cli_map *map);

/* Whether a file has the size and the time of change that it had before. */
bool cli_file_unchanged(int fd, const struct stat *before);

#endif
