/* SPDX-License-Identifier: Apache-2.0 */
/* The kind of link that goes by UCX's active messages. */
#ifndef RW_LINK_UCX_H
#define RW_LINK_UCX_H

#include "link/link.h"

extern const rw_link_kind_t rw_ucx_kind;

#endif
