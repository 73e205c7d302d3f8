/* SPDX-License-Identifier: Apache-2.0 */
/* The tests that only make sense where there are RDMA devices: those of tools/lab. */
#ifndef TS_RDMA_LISTS_H
#define TS_RDMA_LISTS_H

#include "support.h"

extern const ts_list_t ts_list_copies;   /* that there are none, and what UCX remembers */
extern const ts_list_t ts_list_device;   /* devices that fail */
extern const ts_list_t ts_list_memory;   /* registrations */
extern const ts_list_t ts_list_networks; /* rxe2 and rxe3 are there too */

#endif
