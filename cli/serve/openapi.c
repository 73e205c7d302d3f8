/* SPDX-License-Identifier: Apache-2.0 */
/* The description of the HTTP interface. Meson makes strings of the lines of openapi.json. */
#include "serve.h"

static const char description[] =
#include <openapi.inc>
    ;

const char *cli_serve_openapi(void) {
    return description;
}
