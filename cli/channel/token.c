/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens as files hold them. */
#include "token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/message.h"
#include "common/text.h"

#define TOKEN_MAX 4096

/* What is wrong with a token, whose white space at the end is cut off. */
static const char *trim(char *token) {
    token[strcspn(token, "\r\n")] = '\0';
    size_t length = strlen(token);
    while (length > 0 && strchr(" \t", token[length - 1]) != NULL) {
        token[--length] = '\0';
    }
    for (const char *at = token; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') {
            return "holds a character that is not a visible ASCII one";
        }
    }
    return length == 0 ? "is empty" : length > TOKEN_MAX ? "is longer than 4096 bytes" : NULL;
}

static void warn_of_readers(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0 && (info.st_mode & S_IROTH) != 0) {
        cli_warn("others can read the token file '%s'; take that from them with 'chmod o-r'", path);
    }
}

/* NULL: a sentence was printed. */
static char *read_file(const char *path) {
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
    const char *wrong = failed != 0               ? "can't be read"
                        : length > TOKEN_MAX      ? "is longer than 4096 bytes"
                        : strlen(token) != length ? "holds a zero byte"
                                                  : trim(token);
    if (wrong == NULL) {
        warn_of_readers(path);
        return token;
    }
    cli_fail("the token file '%s' %s; put one line with the token there", path, wrong);
    cli_token_free(token);
    return NULL;
}

bool cli_token_load(const char *path, char **token) {
    const char *variable = getenv("ROPEWAY_TOKEN");
    *token = NULL;
    if (path != NULL) {
        *token = read_file(path);
        return *token != NULL;
    }
    if (variable == NULL) {
        return true;
    }
    *token = strdup(variable);
    const char *wrong = *token != NULL ? trim(*token) : "is too much for the memory";
    if (wrong == NULL) {
        return true;
    }
    cli_fail("the token in ROPEWAY_TOKEN %s; set it to the token alone, or unset it", wrong);
    cli_token_free(*token);
    *token = NULL;
    return false;
}

void cli_token_free(char *token) {
    if (token != NULL) {
        explicit_bzero(token, strlen(token));
    }
    free(token);
}
