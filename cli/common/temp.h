/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that appears at its name only when it is complete. Until then it has no name at all
 * (O_TMPFILE), so that nothing is left of it when the process is killed; on file systems that can't
 * do that it is called ".NAME.ropeway-XXXXXXXX". A file that has the name already hands down its
 * mode and, where that is permitted, its owner.
 */
#ifndef CLI_TEMP_H
#define CLI_TEMP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "text.h"

struct cli_temp {
    int fd; /* open for reading and writing; -1: none */
    int directory;
    char name[NAME_MAX + 1]; /* "" while it has no name */
};

#define CLI_TEMP_NONE ((struct cli_temp){.fd = -1, .directory = -1})

/* Makes a file in directory, whose descriptor must stay open. final: the name that it shall have.
 * False: see errno. */
bool cli_temp_open(int directory, const char *final, struct cli_temp *temp);

/* Sets the file's size, where there is room for it and a margin. The room is not reserved: bytes
 * that never come must not fill a disk. False: see errno, and text says why; for ENOSPC how much
 * room there is. */
bool cli_temp_resize(const struct cli_temp *temp, uint64_t size, char text[CLI_SENTENCE_SIZE]);

/* Gives the file its name, in place of another file that has it. directory must be on the file
 * system of the first one. The file is closed in any case. False: see errno. */
bool cli_temp_publish(struct cli_temp *temp, int directory, const char *name);

/* Closes and removes the file, if there is one. Keeps errno. */
void cli_temp_discard(struct cli_temp *temp);

/* True for a name that a temporary file may have. */
bool cli_temp_is_name(const char *name);

#endif
