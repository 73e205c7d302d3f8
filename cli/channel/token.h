/* SPDX-License-Identifier: Apache-2.0 */
/* The token that a server may ask for. */
#ifndef CLI_TOKEN_H
#define CLI_TOKEN_H

/* Reads a token from a file: its text without the white space at its end. To be freed with
 * cli_token_free(). NULL: a sentence was printed. */
char *cli_token_read(const char *path);

void cli_token_free(char *token);

#endif
