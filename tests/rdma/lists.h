/* SPDX-License-Identifier: Apache-2.0 */
/* The tests that only make sense where there are RDMA devices: rxe0 and rxe1 of tools/lab. */
#ifndef TS_RDMA_LISTS_H
#define TS_RDMA_LISTS_H

#include "support.h"

extern const ts_list_t ts_list_device; /* devices that fail */
extern const ts_list_t ts_list_memory; /* registrations */

#endif
