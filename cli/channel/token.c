/* SPDX-License-Identifier: Apache-2.0 */
#include "token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"

#define TOKEN_MAX 4096

char *rw_token_read(const char *path) {
    FILE *file = fopen(path, "re");
    char *token = file ? calloc(1, TOKEN_MAX + 2) : NULL;
    if (!token) {
        rw_fail("can't read the token file '%s': %s", path, rw_errno_text(errno));
        if (file)
            fclose(file);
        return NULL;
    }
    size_t length = fread(token, 1, TOKEN_MAX + 1, file);
    int failed = ferror(file);
    fclose(file);
    const char *wrong = failed                   ? "can't be read"
                        : length > TOKEN_MAX     ? "is longer than 4096 bytes"
                        : strlen(token) < length ? "holds a zero byte"
                                                 : NULL;
    token[strcspn(token, "\r\n")] = '\0';
    for (length = strlen(token); length && strchr(" \t", token[length - 1]);)
        token[--length] = '\0';
    for (const char *at = token; *at && !wrong; at++) {
        if (*at <= ' ' || *at > '~')
            wrong = "holds a character that is not a visible ASCII one";
    }
    if (!wrong && !length)
        wrong = "is empty";
    if (!wrong)
        return token;
    rw_fail("the token file '%s' %s; put one line with the token there", path, wrong);
    rw_token_free(token);
    return NULL;
}

void rw_token_free(char *token) {
    if (token)
        explicit_bzero(token, strlen(token));
    free(token);
}
