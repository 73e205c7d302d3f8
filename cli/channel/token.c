/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens as files hold them. */
#include "token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/message.h"
#include "common/text.h"

#define TOKEN_MAX 4096

char *cli_token_read(const char *path) {
    FILE *file = fopen(path, "re");
    char *token = file != NULL ? calloc(1, TOKEN_MAX + 2) : NULL;
    if (token == NULL) {
        cli_fail("can't read the token file '%s': %s", path, cli_errno_text(errno));
        if (file != NULL) {
            fclose(file);
        }
        return NULL;
    }
    size_t length = fread(token, 1, TOKEN_MAX + 1, file);
    int failed = ferror(file);
    fclose(file);
    const char *wrong = failed != 0              ? "can't be read"
                        : length > TOKEN_MAX     ? "is longer than 4096 bytes"
                        : strlen(token) < length ? "holds a zero byte"
                                                 : NULL;
    token[strcspn(token, "\r\n")] = '\0';
    for (length = strlen(token); length != 0 && strchr(" \t", token[length - 1]) != NULL;) {
        token[--length] = '\0';
    }
    for (const char *at = token; *at != '\0' && wrong == NULL; at++) {
        if (*at <= ' ' || *at > '~') {
            wrong = "holds a character that is not a visible ASCII one";
        }
    }
    if (wrong == NULL && length == 0) {
        wrong = "is empty";
    }
    if (wrong == NULL) {
        return token;
    }
    cli_fail("the token file '%s' %s; put one line with the token there", path, wrong);
    cli_token_free(token);
    return NULL;
}

void cli_token_free(char *token) {
    if (token != NULL) {
        explicit_bzero(token, strlen(token));
    }
    free(token);
}
