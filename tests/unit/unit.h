/* SPDX-License-Identifier: Apache-2.0 */
/* What the unit tests share: cmocka, an assertion about error sentences, seeded random numbers, and
 * metadata to work on. */
#ifndef UNIT_H
#define UNIT_H

#include "process.h"
#include "text/metadata.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNIT_COUNT(array) (sizeof(array) / sizeof(array)[0])

/* The call must return want and leave a sentence that contains each of the texts that follow. */
#define assert_refused(call, want, ...)                                                            \
    unit_refused((call), (want), #call, __FILE__, __LINE__, (const char *[]){__VA_ARGS__, NULL})
void unit_refused(ropeway_error_t got, ropeway_error_t want, const char *call, const char *file,
                  int line, const char *const *pieces);

#define assert_accepted(call) unit_accepted((call), #call, __FILE__, __LINE__)
void unit_accepted(ropeway_error_t got, const char *call, const char *file, int line);

/* Group setup: seeds what follows, and prints the seed (see ts_seed()). */
int unit_seed(void **state);
uint64_t unit_random(void);
uint64_t unit_below(uint64_t limit);
void unit_random_bytes(void *bytes, size_t length);

/* Removes a folder with all that is in it. 0: it is gone. */
int unit_remove_folder(const char *folder);

/* malloc'ed text of an operation with these packed agent metadata; the rest is valid. */
char *unit_metadata(const char *packed);

/* A valid agent blob with one native connection, malloc'ed. */
uint8_t *unit_blob(size_t *length);

/* Changes bytes in one to four places: malloc'ed to the exact length, so that a sanitizer sees
 * every read past the end. */
uint8_t *unit_mutate(const void *bytes, size_t length, size_t *mutated_length);

/* The agent metadata of a stock NIXL peer: one readable operation with two host descriptors. */
extern const uint8_t unit_stock_agent[];
extern const size_t unit_stock_agent_length;

#endif
