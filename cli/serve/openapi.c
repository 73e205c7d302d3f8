/* SPDX-License-Identifier: Apache-2.0 */
/* The description of the HTTP interface, which the assembler takes in as it stands in its file. */
#include "serve.h"

__asm__(".pushsection .rodata\n"
        "cli_openapi_begin: .incbin \"" CLI_OPENAPI_FILE "\"\n"
        ".byte 0\n"
        ".popsection\n");

extern const char cli_openapi_begin[];

const char *cli_serve_openapi(void) {
    return cli_openapi_begin;
}
