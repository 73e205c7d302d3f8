/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance list: its parts, in the order in which they run. */
#ifndef TS_CONFORMANCE_LISTS_H
#define TS_CONFORMANCE_LISTS_H

#include "support.h"

extern const ts_list_t ts_list_transfer;  /* bytes, sizes, addresses, numbers */
extern const ts_list_t ts_list_mapped;    /* memory that RDMA devices don't take */
extern const ts_list_t ts_list_pieces;    /* descriptors in groups */
extern const ts_list_t ts_list_prefix;    /* less than was offered */
extern const ts_list_t ts_list_outcome;   /* rules 1 and 2 */
extern const ts_list_t ts_list_events;    /* rule 2: callback, event queue, waiters */
extern const ts_list_t ts_list_checks;    /* arguments and mismatches; rule 8 */
extern const ts_list_t ts_list_key;       /* rule 6, and what metadata says */
extern const ts_list_t ts_list_cancel;    /* rules 3 and 5 */
extern const ts_list_t ts_list_time;      /* rule 4: deadline and stall limit */
extern const ts_list_t ts_list_integrity; /* checksums */
extern const ts_list_t ts_list_threads;   /* any thread, any function */
extern const ts_list_t ts_list_stream;    /* what the transport "stream" has of its own */
extern const ts_list_t ts_list_local;     /* what "local" and "pull" have of their own */
extern const ts_list_t ts_list_carriers;  /* streams, and UCX when it is needed */
extern const ts_list_t ts_list_shortage;  /* rule 9: what the host is short of */
extern const ts_list_t ts_list_route;     /* which way is told beforehand */
extern const ts_list_t ts_list_guest;     /* rules 7 and 9 */

/* What main does in a process that the log test starts: 0 when the log callback was called. */
int ts_guest_log_only(void);

#endif
