/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ropeway(1): the sub-commands. Each has its own file; main.c holds the table of them.
 *
 * An entry point gets its own name as argv[0] and returns an exit code. It answers --help itself,
 * on stdout, with CLI_EXIT_OK.
 *
 * Failure is told in one way everywhere: a function that may fail returns false, NULL or (where it
 * makes a descriptor) -1. Why it failed has been printed by cli_fail(), unless the function takes a
 * text or a refusal to write it to; where the declaration says so it is in errno. Two kinds of
 * functions return something else: those that take a part of the command line return an exit code,
 * and those that judge a text return what is wrong with it, as the end of a sentence, or NULL.
 */
#ifndef CLI_H
#define CLI_H

enum {
    CLI_GO_ON = -1,      /* no exit code: the command goes on */
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
