/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a directory, sorted, and shared by all who ask while the directory does not change: so
 * a list in many pages reads each directory once. A directory that is too large is not kept.
 */
#ifndef CLI_SERVE_NAMES_H
#define CLI_SERVE_NAMES_H

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define CLI_KEY_SIZE (NAME_MAX + 2)

/* Keys are the names of entries, each with a slash at its end if it is a directory. */
struct cli_names {
    char **keys; /* in the order of their bytes */
    size_t count;
};

/* NULL: too many, or they can't be read. Must be released. */
const struct cli_names *cli_names_get(int directory);
void cli_names_release(const struct cli_names *names);

/* The key of an entry of a directory. False: it is not offered, whatever it is. */
bool cli_names_key(int directory, const struct dirent *entry, char key[CLI_KEY_SIZE]);

/* Opens a directory a second time, to be read; NULL: it can't be. */
DIR *cli_names_stream(int directory);

#endif
