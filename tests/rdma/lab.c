/* SPDX-License-Identifier: Apache-2.0 */
#include "lab.h"

#include "support.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

char *ts_lab(const char *commands) {
    char script[512];
    char *argv[] = {"bash", "-c", script, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    int status = -1, output = memfd_create("lab-output", MFD_CLOEXEC);
    snprintf(script, sizeof script, ". %s; %s", TS_NET, commands);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    int error = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(error, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    char *text = ts_read_all(output);
    close(output);
    if (status != 0) {
        fail_msg("'%s' ended with wait status 0x%x: %s", commands, (unsigned)status, text);
    }
    return text;
}
