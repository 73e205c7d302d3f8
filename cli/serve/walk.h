/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files below a directory in the order of their names' bytes, a page at a time. However many
 * there are, no more than a page of names is in memory per level of directories.
 */
#ifndef CLI_SERVE_WALK_H
#define CLI_SERVE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_file {
    char *name; /* relative to the directory, to be freed */
    uint64_t size;
    double mtime; /* seconds since 1970 */
};

struct cli_page {
    struct cli_file *files;
    size_t count;
};

/* Adds the next max files at most whose names follow after ("": all do). False: out of memory. */
bool cli_walk(int directory, const char *after, size_t max, struct cli_page *page);

/* Adds one file, and takes its name over, even where that fails. NULL: as above. */
bool cli_page_add(struct cli_page *page, char *name, uint64_t size, double mtime);

void cli_page_sort(struct cli_page *page);

/* Cuts it to max files. */
void cli_page_cut(struct cli_page *page, size_t max);
void cli_page_free(struct cli_page *page);

#endif
