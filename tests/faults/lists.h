/* SPDX-License-Identifier: Apache-2.0 */
/* The fault tests: its parts, in the order in which they run. */
#ifndef TS_FAULTS_LISTS_H
#define TS_FAULTS_LISTS_H

#include "support.h"

/* Chunks so small, one at a time, and a transfer so big, that its middle can be caught. */
#define TS_SLOW "chunk_size=65536 window=1 quiet_ms=500"
#define TS_BIG "67108869"

extern const ts_list_t ts_list_death;    /* processes that end or freeze */
extern const ts_list_t ts_list_race;     /* cancels at random moments */
extern const ts_list_t ts_list_frozen;   /* cancels while the other side is stopped */
extern const ts_list_t ts_list_flood;    /* processes that end or freeze amid many messages */
extern const ts_list_t ts_list_link;     /* a network that fails */
extern const ts_list_t ts_list_stranger; /* rules 10 and 11: who has no key */

#endif
