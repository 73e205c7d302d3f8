/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of servers and of objects on them. */
#ifndef RW_URL_H
#define RW_URL_H

#include <stdbool.h>

#include "name.h"

struct rw_url {
    char *base;              /* "http://HOST:PORT", without a slash at its end */
    char name[RW_NAME_SIZE]; /* decoded; "" when the path is "/" */
    bool is_directory;       /* the path ends in a slash */
};

/* Reads "http://HOST[:PORT]/NAME"; "/v1/objects/NAME" is taken for the same. False: a sentence was
 * printed. rw_url_free() must follow in both cases. */
bool rw_url_parse(const char *text, struct rw_url *url);

void rw_url_free(struct rw_url *url);

#endif
