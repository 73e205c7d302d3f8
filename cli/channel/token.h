/* SPDX-License-Identifier: Apache-2.0 */
/* The token that a server may ask for. */
#ifndef RW_TOKEN_H
#define RW_TOKEN_H

/* Reads a token from a file: its text without the white space at its end. To be freed with
 * rw_token_free(). NULL: a sentence was printed. */
char *rw_token_read(const char *path);

void rw_token_free(char *token);

#endif
