/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of servers and of objects on them. */
#ifndef CLI_URL_H
#define CLI_URL_H

#include <stdbool.h>

#include "common/name.h"

#define CLI_SUBJECT_MAX 200 /* bytes of a prefix of subjects */

struct cli_url {
    char *base;   /* "SCHEME://HOST:PORT", without a slash at its end; or "unix:PATH" */
    char *socket; /* the path of a Unix socket where HTTP is spoken; NULL: somewhere else */
    char name[CLI_NAME_SIZE]; /* decoded; "" when there is none */
    bool is_directory;        /* the path ends in a slash, or names nothing */

    /* The rest is for NATS. */
    bool is_nats;
    bool is_tls;
    bool is_loopback;
    char *subject;         /* the prefix of subjects; NULL with cli_url_parse_nats() */
    char *user, *password; /* decoded; NULL: none. A user alone is a token. */
};

/* Reads "http://HOST[:PORT]/NAME" or "unix:PATH[:/NAME]", where "/v1/objects/NAME" is taken for the
 * same, or "nats://[USER:PASSWORD@]HOST[:PORT]/PREFIX[/NAME]"; "https" and "tls" mean the same with
 * TLS. False: a sentence was printed. cli_url_free() must follow in both cases. */
bool cli_url_parse(const char *text, struct cli_url *url);

/* Reads the URL of a NATS server, which has no path. As above. */
bool cli_url_parse_nats(const char *text, struct cli_url *url);

void cli_url_free(struct cli_url *url);

/* NULL when subjects may begin with prefix, else what is wrong with it, to follow "it ". */
const char *cli_subject_check(const char *prefix);

#endif
