/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a request over HTTP comes from, as a browser tells it. No page of another site may drive a
 * server through the browser of somebody who can reach it: neither with a request of its own
 * (Origin, Sec-Fetch-Site) nor under a name that it made lead here (Host).
 */
#ifndef CLI_SERVE_ORIGIN_H
#define CLI_SERVE_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "request.h"

#define CLI_HOSTS_MAX 64

/* The names that requests may call the server by, besides addresses in numbers. */
struct cli_hosts {
    char machine[256];                    /* this machine's own name */
    const char *names[CLI_HOSTS_MAX + 1]; /* of --allow-host, and of --listen */
    size_t count;
    size_t allowed; /* so many of the names are of --allow-host: pages from there may ask, too */
};

/* The headers of a request; NULL: it has none. */
struct cli_origin {
    const char *host, *origin, *site;
};

/* False: refusal says what is wrong. */
bool cli_origin_check(const struct cli_hosts *hosts, const struct cli_origin *origin,
                      struct cli_refusal *refusal);

#endif
