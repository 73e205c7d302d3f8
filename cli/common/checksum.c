/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-128 by libxxhash, and its text. */
#include "checksum.h"

#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#define PREFIX "xxh3-128:"
#define STEP ((size_t)16 << 20)

struct cli_checksum *cli_checksum_create(void) {
    XXH3_state_t *state = XXH3_createState();
    if (state != NULL) {
        XXH3_128bits_reset(state);
    }
    return (struct cli_checksum *)state;
}

void cli_checksum_add(struct cli_checksum *checksum, const void *data, size_t size) {
    XXH3_128bits_update((XXH3_state_t *)checksum, data, size);
}

void cli_checksum_text(const struct cli_checksum *checksum, char text[CLI_CHECKSUM_SIZE]) {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, XXH3_128bits_digest((const XXH3_state_t *)checksum));
    memcpy(text, PREFIX, sizeof PREFIX);
    for (size_t i = 0; i < sizeof bytes.digest; i++) {
        sprintf(text + sizeof PREFIX - 1 + 2 * i, "%02x", bytes.digest[i]);
    }
}

void cli_checksum_destroy(struct cli_checksum *checksum) {
    XXH3_freeState((XXH3_state_t *)checksum);
}

bool cli_checksum_memory(const void *data, size_t size, bool (*go_on)(void *arg), void *arg,
                         char text[CLI_CHECKSUM_SIZE]) {
    struct cli_checksum *checksum = cli_checksum_create();
    if (checksum == NULL) {
        return false;
    }
    bool done = true;
    for (size_t at = 0; done && at < size; at += STEP) {
        cli_checksum_add(checksum, (const char *)data + at, size - at < STEP ? size - at : STEP);
        done = go_on == NULL || go_on(arg);
    }
    cli_checksum_text(checksum, text);
    cli_checksum_destroy(checksum);
    return done;
}

bool cli_checksum_valid(const char *text) {
    size_t prefix = sizeof PREFIX - 1;
    return strlen(text) == CLI_CHECKSUM_SIZE - 1 && strncmp(text, PREFIX, prefix) == 0 &&
           strspn(text + prefix, "0123456789abcdef") == CLI_CHECKSUM_SIZE - 1 - prefix;
}
