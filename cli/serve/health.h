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

/* NULL: a sentence was printed. */
struct cli_health *cli_health_create(void);

/* Starts to look; everything that is to listen does so. http: where the HTTP server is asked; NULL:
 * there is none. */
bool cli_health_start(struct cli_health *health, const char *http);

/* Stops and frees it; NULL is allowed. */
void cli_health_destroy(struct cli_health *health);

/* False: refusal says what is wrong. Before the start nothing is. */
bool cli_health_is_good(struct cli_health *health, struct cli_refusal *refusal);

#endif
