/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ropeway(1): the sub-commands. Each has its own file; main.c holds the table of them.
 *
 * An entry point gets its own name as argv[0] and returns an exit code. It answers --help itself,
 * on stdout, with RW_EXIT_OK.
 */
#ifndef RW_CLI_H
#define RW_CLI_H

enum {
    RW_EXIT_OK = 0,     /* done */
    RW_EXIT_FAILED = 1, /* what was asked for failed; a sentence on stderr says why */
    RW_EXIT_USAGE = 2   /* the command line is wrong */
};

int rw_cmd_serve(int argc, char **argv);
int rw_cmd_get(int argc, char **argv);
int rw_cmd_put(int argc, char **argv);
int rw_cmd_ls(int argc, char **argv);
int rw_cmd_info(int argc, char **argv);
int rw_cmd_doctor(int argc, char **argv);
int rw_cmd_perf(int argc, char **argv);

#endif
