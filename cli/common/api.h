/* SPDX-License-Identifier: Apache-2.0 */
/* The interface between a server and its clients, over HTTP or NATS: what both sides must know. */
#ifndef CLI_API_H
#define CLI_API_H

#include <stddef.h>
#include <stdint.h>

#define CLI_BODY_MAX ((size_t)64 << 10) /* bytes */
#define CLI_TARGET_MAX ((size_t)16 << 10)
#define CLI_TRANSFER_ID_SIZE 33 /* 32 hexadecimal digits */
#define CLI_SERVER_ID_SIZE 17   /* 16 hexadecimal digits */
#define CLI_WAIT_MAX_S 20
#define CLI_TO_THE_END UINT64_MAX
#define CLI_OBJECT_SIZE_MAX ((uint64_t)INT64_MAX)

#define CLI_PATH_OBJECTS "/v1/objects"
#define CLI_PATH_TRANSFERS "/v1/transfers"
#define CLI_PATH_OPENAPI "/v1/openapi.json"
#define CLI_PATH_HEALTH "/healthz"

enum cli_route {
    CLI_ROUTE_LIST,     /* GET  /v1/objects                     PREFIX.list */
    CLI_ROUTE_READ,     /* POST /v1/objects/NAME/read           PREFIX.read */
    CLI_ROUTE_WRITE,    /* POST /v1/objects/NAME/write          PREFIX.write */
    CLI_ROUTE_TRANSFER, /* GET  /v1/transfers/ID[?wait=SECONDS] PREFIX.transfer.SERVER */
    CLI_ROUTE_METRICS,  /* GET  /metrics */
    CLI_ROUTE_OPENAPI,  /* GET /v1/openapi.json */
    CLI_ROUTE_HEALTH    /* GET  /healthz */
};

#endif
