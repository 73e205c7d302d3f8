/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ropeway(1): the sub-commands. Each has its own file; main.c holds the table of them.
 *
 * An entry point gets its own name as argv[0] and returns an exit code. It answers --help itself,
 * on stdout, with CLI_EXIT_OK.
 */
#ifndef CLI_H
#define CLI_H

enum {
    CLI_EXIT_OK = 0,     /* done */
    CLI_EXIT_FAILED = 1, /* what was asked for failed; a sentence on stderr says why */
    CLI_EXIT_USAGE = 2   /* the command line is wrong */
};

int cli_run_serve(int argc, char **argv);
int cli_run_get(int argc, char **argv);
int cli_run_put(int argc, char **argv);
int cli_run_ls(int argc, char **argv);
int cli_run_info(int argc, char **argv);
int cli_run_doctor(int argc, char **argv);
int cli_run_perf(int argc, char **argv);

#endif
