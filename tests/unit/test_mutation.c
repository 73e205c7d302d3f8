/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged metadata is refused with a sentence, or read to something sane; it never does harm. Run
 * under a sanitizer, this finds reads past the end as well. */
#include "text/packing.h"
#include "text/serdes.h"
#include "unit.h"

#define ROUNDS 40000

static void assert_sane(const ropeway_metadata_t *metadata) {
    uint64_t total = 0;

    assert_in_range(ropeway_metadata_kind(metadata), ROPEWAY_OPERATION_READABLE,
                    ROPEWAY_OPERATION_WRITABLE);
    assert_true(ropeway_metadata_count(metadata) > 0);
    for (size_t i = 0; i < ropeway_metadata_count(metadata); i++) {
        ropeway_descriptor_t descriptor = ropeway_metadata_descriptor(metadata, i);

        assert_non_null(descriptor.ptr);
        assert_true(descriptor.size <= SIZE_MAX / 2);
        total += descriptor.size;
    }
    assert_true(total == ropeway_metadata_total(metadata));
    assert_in_range(strlen(ropeway_metadata_key(metadata)), 1, 255);
    assert_true(rw_agent_name_valid(ropeway_metadata_peer(metadata), strlen(metadata->agent)));
    assert_int_equal(metadata->native != NULL, metadata->native_length > 0);
    assert_int_equal(metadata->ucx != NULL, metadata->ucx_length > 0);
}

/* Returns whether the text was accepted. */
static bool parse(const char *text, size_t length) {
    ropeway_metadata_t *metadata;
    ropeway_error_t error = ropeway_metadata_parse(text, length, 0, &metadata);

    if (error == ROPEWAY_OK) {
        assert_sane(metadata);
        ropeway_metadata_release(metadata);
        return true;
    }
    assert_null(metadata);
    assert_true(error == ROPEWAY_ERR_METADATA || error == ROPEWAY_ERR_LIMIT);
    assert_string_not_equal(ropeway_last_error(), "");
    return false;
}

static char *packed_metadata(const uint8_t *blob, size_t length) {
    char *packed;
    size_t packed_length;
    char *text;

    assert_accepted(rw_pack(blob, length, &packed, &packed_length));
    text = unit_metadata(packed);
    free(packed);
    return text;
}

static void damaged_texts_do_no_harm(void **state) {
    size_t blob_length;
    uint8_t *blob = unit_blob(&blob_length);
    char *texts[] = {packed_metadata(blob, blob_length),
                     packed_metadata(unit_stock_agent, unit_stock_agent_length)};
    size_t refused = 0;
    size_t rounds = ts_scaled(ROUNDS, 1000);

    (void)state;
    assert_true(parse(texts[0], strlen(texts[0])) && parse(texts[1], strlen(texts[1])));
    for (size_t i = 0; i < rounds; i++) {
        const char *text = texts[i % UNIT_COUNT(texts)];
        size_t length;
        uint8_t *mutated = unit_mutate(text, strlen(text), &length);

        refused += parse((char *)mutated, length) ? 0 : 1;
        free(mutated);
    }
    assert_true(refused > rounds / 2);
    free(texts[0]);
    free(texts[1]);
    free(blob);
}

static void damaged_agent_metadata_inside_a_good_text_do_no_harm(void **state) {
    size_t refused = 0;
    size_t rounds = ts_scaled(ROUNDS / 4, 1000);

    (void)state;
    for (size_t i = 0; i < rounds; i++) {
        size_t length;
        uint8_t *mutated = unit_mutate(unit_stock_agent, unit_stock_agent_length, &length);
        char *text = packed_metadata(mutated, length);

        refused += parse(text, strlen(text)) ? 0 : 1;
        free(text);
        free(mutated);
    }
    assert_true(refused > rounds / 10);
}

static void damaged_blobs_do_no_harm(void **state) {
    size_t rounds = ts_scaled((size_t)ROUNDS * 5, 1000);

    (void)state;
    for (size_t i = 0; i < rounds; i++) {
        size_t length;
        uint8_t *mutated = unit_mutate(unit_stock_agent, unit_stock_agent_length, &length);
        rw_agent_t agent;
        ropeway_error_t error = rw_serdes_decode(mutated, length, &agent);

        if (error == ROPEWAY_OK) {
            assert_true((const uint8_t *)agent.name >= mutated &&
                        (const uint8_t *)agent.name + agent.name_length <= mutated + length);
            assert_true(agent.ucx == NULL ||
                        (agent.ucx >= mutated && agent.ucx + agent.ucx_length <= mutated + length));
        } else {
            assert_int_equal(error, ROPEWAY_ERR_METADATA);
            assert_string_not_equal(ropeway_last_error(), "");
        }
        free(mutated);
    }
}

static void a_text_that_is_cut_off_anywhere_is_refused(void **state) {
    char *text = packed_metadata(unit_stock_agent, unit_stock_agent_length);
    size_t length = strlen(text);

    (void)state;
    assert_true(parse(text, length));
    for (size_t cut = 0; cut < length; cut++) {
        char *exact = malloc(cut > 0 ? cut : 1);

        assert_non_null(exact);
        memcpy(exact, text, cut);
        assert_false(parse(exact, cut));
        free(exact);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_texts_do_no_harm),
        cmocka_unit_test(damaged_agent_metadata_inside_a_good_text_do_no_harm),
        cmocka_unit_test(damaged_blobs_do_no_harm),
        cmocka_unit_test(a_text_that_is_cut_off_anywhere_is_refused),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
