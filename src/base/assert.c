/* SPDX-License-Identifier: Apache-2.0 */
/* How a failed invariant ends the process. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void rw_assert_failed(const char *what, const char *file, int line) {
    fprintf(stderr, "ropeway: %s:%d: \"%s\" does not hold; please report this\n", file, line, what);
    abort();
}
