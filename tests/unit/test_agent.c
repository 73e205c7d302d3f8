/* SPDX-License-Identifier: Apache-2.0 */
/* What a connector keeps of the agents whose metadata it saw. */
#include "text/agent.h"
#include "text/packing.h"
#include "unit.h"

#define MAX ((size_t)1 << 20)

static rw_agents_t agents;

/* The text of an agent's metadata; each number is another agent. */
static char *make_text(unsigned number, size_t *length) {
    rw_connection_t connection = {"UCX", (const uint8_t *)&number, sizeof number};
    char name[32];
    uint8_t *blob;
    size_t blob_length;
    char *text;

    snprintf(name, sizeof name, "agent-%u", number);
    assert_accepted(rw_serdes_encode(name, &connection, 1, NULL, 0, MAX, &blob, &blob_length));
    assert_accepted(rw_pack(blob, blob_length, &text, length));
    free(blob);
    return text;
}

static rw_agent_blob_t *get(unsigned number) {
    rw_agent_blob_t *blob;
    char name[32];
    size_t length;
    char *text = make_text(number, &length);

    assert_accepted(rw_agents_get(&agents, text, length, MAX, &blob));
    free(text);
    snprintf(name, sizeof name, "agent-%u", number);
    assert_string_equal(blob->name, name);
    return blob;
}

static void the_same_text_is_unpacked_once(void **state) {
    rw_agent_blob_t *first, *second, *other;

    (void)state;
    rw_agents_init(&agents);
    first = get(1);
    second = get(1);
    other = get(2);
    assert_ptr_equal(first, second);
    assert_ptr_not_equal(first, other);
    assert_memory_not_equal(first->stock_id, other->stock_id, RW_ID_BYTES);
    rw_agents_free(&agents);
    /* Those that are in use live on. */
    assert_string_equal(second->name, "agent-1");
    rw_agent_blob_drop(first);
    rw_agent_blob_drop(second);
    rw_agent_blob_drop(other);
}

static void no_more_than_a_number_of_them_are_kept(void **state) {
    rw_agent_blob_t *first, *again;

    (void)state;
    rw_agents_init(&agents);
    first = get(0);
    for (unsigned number = 1; number <= RW_AGENTS_KEPT; number++) {
        rw_agent_blob_drop(get(number));
    }
    assert_int_equal(atomic_load(&first->references), 1);
    again = get(0);
    assert_ptr_not_equal(first, again);
    rw_agent_blob_drop(first);
    rw_agent_blob_drop(again);
    rw_agents_free(&agents);
}

static void what_is_wrong_or_long_is_not_kept(void **state) {
    size_t length = RW_AGENTS_LONGEST * 2;
    uint8_t *address = calloc(1, length);
    rw_connection_t connection = {"UCX", address, length};
    rw_agent_blob_t *blob;
    uint8_t *bytes;
    char *text;

    (void)state;
    rw_agents_init(&agents);
    assert_refused(rw_agents_get(&agents, "b64:!", 5, MAX, &blob), ROPEWAY_ERR_METADATA, "base64");
    assert_null(blob);
    assert_non_null(address);
    assert_accepted(rw_serdes_encode("long", &connection, 1, NULL, 0, MAX, &bytes, &length));
    assert_accepted(rw_pack(bytes, length, &text, &length));
    assert_accepted(rw_agents_get(&agents, text, length, MAX, &blob));
    assert_int_equal(atomic_load(&blob->references), 1);
    rw_agent_blob_drop(blob);
    free(text);
    free(bytes);
    free(address);
    for (size_t i = 0; i < RW_AGENTS_KEPT; i++) {
        assert_null(agents.kept[i]);
    }
    rw_agents_free(&agents);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_text_is_unpacked_once),
        cmocka_unit_test(no_more_than_a_number_of_them_are_kept),
        cmocka_unit_test(what_is_wrong_or_long_is_not_kept),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
