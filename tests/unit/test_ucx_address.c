/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and remote keys as UCX packs them, and damaged ones, which UCX must not get to see. */
#include "text/serdes.h"
#include "ucx/address.h"
#include "ucx/load.h"
#include "unit.h"

#include <ucp/api/ucp.h>

/* A worker's address, malloc'ed to its exact length. */
static uint8_t *make_address(const char *format, size_t *length) {
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                           .features = UCP_FEATURE_AM | UCP_FEATURE_RMA};
    ucp_worker_params_t worker_params = {.field_mask = 0};
    ucp_config_t *config;
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_address_t *address;
    uint8_t *copy;

    assert_int_equal(ucp_config_read(NULL, NULL, &config), UCS_OK);
    assert_int_equal(ucp_config_modify(config, "ADDRESS_VERSION", format), UCS_OK);
    assert_int_equal(ucp_init(&params, config, &context), UCS_OK);
    ucp_config_release(config);
    assert_int_equal(ucp_worker_create(context, &worker_params, &worker), UCS_OK);
    assert_int_equal(ucp_worker_get_address(worker, &address, length), UCS_OK);
    copy = malloc(*length);
    assert_non_null(copy);
    memcpy(copy, address, *length);
    ucp_worker_release_address(worker, address);
    ucp_worker_destroy(worker);
    ucp_cleanup(context);
    return copy;
}

/* Checks a copy that ends where the bytes end, so that a sanitizer sees every read past them. */
static bool check_address(const uint8_t *bytes, size_t length, char release[RW_UCX_RELEASE],
                          const char **wrong) {
    uint8_t *exact = malloc(length > 0 ? length : 1);
    bool good;

    assert_non_null(exact);
    memcpy(exact, bytes, length);
    good = rw_ucx_address_check(exact, length, release, wrong);
    free(exact);
    assert_true(good || *wrong != NULL);
    return good;
}

static void check_both_formats(uint8_t *address, size_t length) {
    char release[RW_UCX_RELEASE], ours[RW_UCX_RELEASE];
    const char *wrong;
    unsigned major, minor, patch;

    ucp_get_version(&major, &minor, &patch);
    snprintf(ours, sizeof ours, "%u.%u", major, minor);
    assert_true(check_address(address, length, release, &wrong));
    assert_string_equal(release, ours);
    for (size_t cut = 0; cut < length; cut++) {
        assert_false(check_address(address, cut, release, &wrong));
    }
    address[0] = (uint8_t)((address[0] & 0xf0) | 0x0f);
    assert_false(check_address(address, length, release, &wrong));
    assert_non_null(strstr(wrong, "format"));
}

static void addresses_of_both_formats_pass_and_any_that_is_cut_does_not(void **state) {
    static const char *const formats[] = {"v1", "v2"};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(formats); i++) {
        size_t length;
        uint8_t *address = make_address(formats[i], &length);

        check_both_formats(address, length);
        free(address);
    }
}

static void the_address_of_a_stock_agent_tells_its_release(void **state) {
    char release[RW_UCX_RELEASE];
    const char *wrong;
    rw_agent_t agent;

    (void)state;
    assert_accepted(rw_serdes_decode(unit_stock_agent, unit_stock_agent_length, &agent));
    assert_true(check_address(agent.ucx, agent.ucx_length, release, &wrong));
    assert_string_equal(release, "1.23");
}

static void damaged_addresses_are_read_within_their_bounds(void **state) {
    char release[RW_UCX_RELEASE];
    const char *wrong;
    size_t length;
    uint8_t *address = make_address("v1", &length);

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t mutated_length;
        uint8_t *mutated = unit_mutate(address, length, &mutated_length);

        if (!rw_ucx_address_check(mutated, mutated_length, release, &wrong)) {
            assert_non_null(wrong);
        }
        free(mutated);
    }
    free(address);
}

static void an_address_without_transports_is_refused(void **state) {
    static const uint8_t none[] = {0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0, 0, 0};
    static const uint8_t empty[] = {0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0x86, 0x80};
    char release[RW_UCX_RELEASE];
    const char *wrong;

    (void)state;
    assert_false(check_address(none, sizeof none, release, &wrong));
    assert_non_null(strstr(wrong, "no transport"));
    assert_false(check_address(empty, sizeof empty, release, &wrong));
    assert_non_null(strstr(wrong, "no transport"));
}

static bool check_key(const uint8_t *key, size_t length, const char **wrong) {
    uint8_t *exact = malloc(length > 0 ? length : 1);
    bool good;

    assert_non_null(exact);
    memcpy(exact, key, length);
    good = rw_ucx_key_check(exact, length, wrong);
    free(exact);
    return good;
}

static void remote_keys_are_walked_to_their_end(void **state) {
    static const uint8_t domains[] = {0x05, 0,   0,   0, 0,   0,   0,   0,   0,
                                      2,    'a', 'b', 3, 'c', 'd', 'e', 0xff};
    uint8_t other[sizeof domains];
    const char *wrong;
    rw_agent_t agent;
    rw_region_t regions[2];

    (void)state;
    assert_true(check_key(domains, sizeof domains, &wrong));
    assert_true(check_key(domains, sizeof domains - 1, &wrong)); /* of UCX before 1.20 */
    for (size_t cut = 0; cut < sizeof domains - 1; cut++) {
        assert_false(check_key(domains, cut, &wrong));
        assert_non_null(strstr(wrong, "ends too early"));
    }
    memcpy(other, domains, sizeof other);
    other[8] = 200;
    assert_false(check_key(other, sizeof other, &wrong));
    assert_non_null(strstr(wrong, "type of memory"));

    assert_accepted(rw_serdes_decode(unit_stock_agent, unit_stock_agent_length, &agent));
    assert_int_equal(agent.region_count, UNIT_COUNT(regions));
    rw_serdes_regions(unit_stock_agent, unit_stock_agent_length, regions);
    assert_true(check_key(regions[0].key, regions[0].key_length, &wrong));
}

static int load_ucx(void **state) {
    assert_accepted(rw_ucx_load());
    return unit_seed(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_both_formats_pass_and_any_that_is_cut_does_not),
        cmocka_unit_test(the_address_of_a_stock_agent_tells_its_release),
        cmocka_unit_test(damaged_addresses_are_read_within_their_bounds),
        cmocka_unit_test(an_address_without_transports_is_refused),
        cmocka_unit_test(remote_keys_are_walked_to_their_end),
    };

    return cmocka_run_group_tests(tests, load_ucx, NULL);
}
