/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the command and takes what it prints. */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_ARGUMENTS 32

static void die(const char *step) {
    perror(step);
    abort();
}

static void become(const char *arguments, int out, int err) {
    char copy[1024];
    char *argv[MAX_ARGUMENTS + 1] = {TS_ROPEWAY_PATH};
    char *rest = NULL;
    size_t count = 1;
    char *each;

    snprintf(copy, sizeof copy, "%s", arguments);
    for (each = strtok_r(copy, " ", &rest); each != NULL && count < MAX_ARGUMENTS;
         each = strtok_r(NULL, " ", &rest)) {
        argv[count++] = each;
    }
    if ((out >= 0 && dup2(out, STDOUT_FILENO) < 0) || (err >= 0 && dup2(err, STDERR_FILENO) < 0)) {
        die("dup2");
    }
    execv(argv[0], argv);
    die(argv[0]);
}

static pid_t spawn(const char *arguments, int out, int err) {
    pid_t pid;

    fflush(stdout);
    fflush(stderr);
    pid = fork();
    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        become(arguments, out, err);
    }
    return pid;
}

static int code_of(pid_t pid) {
    int status = 0;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            die("waitpid");
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *contents(int fd) {
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    if (size < 0 || text == NULL || pread(fd, text, (size_t)size, 0) != size) {
        die("reading what the command wrote");
    }
    close(fd);
    return text;
}

struct command command_run(const char *arguments) {
    int out = memfd_create("out", MFD_CLOEXEC);
    int err = memfd_create("err", MFD_CLOEXEC);
    struct command result;

    if (out < 0 || err < 0) {
        die("memfd_create");
    }
    result.code = code_of(spawn(arguments, out, err));
    result.out = contents(out);
    result.err = contents(err);
    return result;
}

void command_free(struct command *command) {
    free(command->out);
    free(command->err);
}

pid_t command_start(const char *arguments, char *line, size_t size) {
    int out[2];
    FILE *in;
    pid_t pid;

    if (pipe2(out, O_CLOEXEC) != 0) {
        die("pipe2");
    }
    pid = spawn(arguments, out[1], -1);
    close(out[1]);
    in = fdopen(out[0], "r");
    if (line != NULL && (in == NULL || fgets(line, (int)size, in) == NULL)) {
        line[0] = '\0';
    }
    if (line != NULL) {
        line[strcspn(line, "\n")] = '\0';
    }
    fclose(in);
    return pid;
}

int command_stop(pid_t pid, int signal) {
    kill(pid, signal);
    return code_of(pid);
}
