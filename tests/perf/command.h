/* SPDX-License-Identifier: Apache-2.0 */
/* Runs ropeway(1) as a process. */
#ifndef TS_COMMAND_H
#define TS_COMMAND_H

#include <sys/types.h>

/* What a command did. Free with command_free(). */
struct command {
    int code; /* exit code; -1: it was killed */
    char *out;
    char *err;
};

/* Runs "ropeway ARGUMENTS", split at blanks, and waits for its end. */
struct command command_run(const char *arguments);
void command_free(struct command *command);

/* Starts "ropeway ARGUMENTS" and reads the first line of its stdout, without the newline, into line
 * when that is not NULL. */
pid_t command_start(const char *arguments, char *line, size_t size);

/* Sends a signal and waits; returns as command.code. */
int command_stop(pid_t pid, int signal);

#endif
