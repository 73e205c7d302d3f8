/* SPDX-License-Identifier: Apache-2.0 */
/* The token that a server may ask for. */
#ifndef CLI_TOKEN_H
#define CLI_TOKEN_H

#include <stdbool.h>

/* The token in a file, or, when path is NULL, in the environment variable ROPEWAY_TOKEN: its text
 * without the white space at its end. *token: to be freed with cli_token_free(); NULL: there is
 * none. Warns of a file that others can read. */
bool cli_token_load(const char *path, char **token);

void cli_token_free(char *token);

#endif
