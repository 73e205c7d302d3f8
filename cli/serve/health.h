/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a server still hears. Every few seconds each socket that it listens on is looked at, the
 * library's among them, and the HTTP server is asked over a connection like anybody else's.
 */
#ifndef CLI_SERVE_HEALTH_H
#define CLI_SERVE_HEALTH_H

#include <stdbool.h>

#include "request.h"

struct cli_health;

/* Starts to look; everything that is to listen does so. http: where the HTTP server is asked; NULL:
 * there is none. NULL: a sentence was printed. */
struct cli_health *cli_health_start(const char *http);
void cli_health_stop(struct cli_health *health);

/* False: refusal says what is wrong. */
bool cli_health_is_good(struct cli_health *health, struct cli_refusal *refusal);

#endif
