/* SPDX-License-Identifier: Apache-2.0 */
/* JSON strings: accepted when jansson accepts them, with the same meaning. */
#include "base/json.h"
#include "fuzz.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    rw_json_t json;
    rw_json_text_t text;
    json_t *reference = json_loadb((const char *)bytes, length, JSON_DECODE_ANY, NULL);
    bool accepted;

    rw_json_init(&json, (const char *)bytes, length);
    accepted =
        rw_json_string(&json, "value", &text) == ROPEWAY_OK && rw_json_end(&json) == ROPEWAY_OK;
    FUZZ_CHECK(accepted == json_is_string(reference));
    if (accepted) {
        char *copy = malloc(text.length + 1);

        FUZZ_CHECK(copy != NULL);
        rw_json_copy(&text, copy);
        FUZZ_CHECK(strcmp(copy, json_string_value(reference)) == 0);
        free(copy);
    }
    json_decref(reference);
    return 0;
}
