/* SPDX-License-Identifier: Apache-2.0 */
/* The interface between a server and its clients, over HTTP or NATS: what both sides must know. */
#ifndef RW_API_H
#define RW_API_H

#include <stddef.h>
#include <stdint.h>

#define RW_BODY_MAX ((size_t)64 << 10) /* bytes */
#define RW_TARGET_MAX ((size_t)16 << 10)
#define RW_TRANSFER_ID_SIZE 33 /* 32 hexadecimal digits */
#define RW_SERVER_ID_SIZE 17   /* 16 hexadecimal digits */
#define RW_WAIT_MAX_S 20
#define RW_TO_THE_END UINT64_MAX
#define RW_OBJECT_SIZE_MAX ((uint64_t)INT64_MAX)

enum rw_route {
    RW_ROUTE_LIST,     /* GET  /v1/objects                     PREFIX.list */
    RW_ROUTE_READ,     /* POST /v1/objects/NAME/read           PREFIX.read */
    RW_ROUTE_WRITE,    /* POST /v1/objects/NAME/write          PREFIX.write */
    RW_ROUTE_TRANSFER, /* GET  /v1/transfers/ID[?wait=SECONDS] PREFIX.transfer.SERVER */
    RW_ROUTE_METRICS,  /* GET  /metrics */
    RW_ROUTE_HEALTH    /* GET  /healthz */
};

#endif
