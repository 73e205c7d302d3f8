/* SPDX-License-Identifier: Apache-2.0 */
/* Options and statistics: the layouts that programs were built with, defaults, ranges, copies. */
#include "unit.h"

#include "api/options.h"

/* ---- the layouts of 0.1, which stay; later fields follow ---- */

typedef struct connector_options_0_1 {
    size_t struct_size;
    const char *name;
    ropeway_log_fn log;
    void *log_arg;
    int32_t log_level;
    uint32_t stall_ms, deadline_ms, quiet_ms, keepalive_ms, spin_us, window;
    size_t chunk_size, max_inflight, max_metadata;
    uint32_t max_descriptors, max_operations, max_peers;
    const char *transports, *net_devices;
    uint32_t interop;
} connector_options_0_1_t;

typedef struct operation_options_0_1 {
    size_t struct_size;
    uint32_t flags, deadline_ms, stall_ms;
    ropeway_operation_fn callback;
    void *callback_arg, *user_data;
    const size_t *group_sizes;
    size_t group_count;
} operation_options_0_1_t;

typedef struct stats_0_1 {
    size_t struct_size;
    uint64_t operations_created, operations_completed, operations_cancelled, operations_errored;
    uint64_t operations_live, bytes_sent, bytes_received, bytes_inflight, peers, peers_created;
    uint64_t peers_failed, requests_rejected, messages_dropped, wakeups, memory_registered;
} stats_0_1_t;

#define SAME(old, now, field)                                                                      \
    _Static_assert(offsetof(old, field) == offsetof(now, field) &&                                 \
                       sizeof(((old *)NULL)->field) == sizeof(((now *)NULL)->field),               \
                   "programs that were built with 0.1 have " #field " elsewhere");
#define CONNECTOR(field) SAME(connector_options_0_1_t, ropeway_connector_options_t, field)
#define OPERATION(field) SAME(operation_options_0_1_t, ropeway_operation_options_t, field)
#define STATS(field) SAME(stats_0_1_t, ropeway_stats_t, field)

CONNECTOR(struct_size)
CONNECTOR(name)
CONNECTOR(log)
CONNECTOR(log_arg)
CONNECTOR(log_level)
CONNECTOR(stall_ms)
CONNECTOR(deadline_ms)
CONNECTOR(quiet_ms)
CONNECTOR(keepalive_ms)
CONNECTOR(spin_us)
CONNECTOR(window)
CONNECTOR(chunk_size)
CONNECTOR(max_inflight)
CONNECTOR(max_metadata)
CONNECTOR(max_descriptors)
CONNECTOR(max_operations)
CONNECTOR(max_peers)
CONNECTOR(transports)
CONNECTOR(net_devices)
CONNECTOR(interop)

OPERATION(struct_size)
OPERATION(flags)
OPERATION(deadline_ms)
OPERATION(stall_ms)
OPERATION(callback)
OPERATION(callback_arg)
OPERATION(user_data)
OPERATION(group_sizes)
OPERATION(group_count)

STATS(struct_size)
STATS(operations_created)
STATS(operations_completed)
STATS(operations_cancelled)
STATS(operations_errored)
STATS(operations_live)
STATS(bytes_sent)
STATS(bytes_received)
STATS(bytes_inflight)
STATS(peers)
STATS(peers_created)
STATS(peers_failed)
STATS(requests_rejected)
STATS(messages_dropped)
STATS(wakeups)
STATS(memory_registered)

/* ---- what the library makes of them ---- */

static ropeway_connector_options_t defaults(void) {
    ropeway_connector_options_t options;

    ropeway_connector_options_init(&options, sizeof options);
    return options;
}

static ropeway_error_t take(const ropeway_connector_options_t *options) {
    ropeway_connector_t connector = {0};
    ropeway_error_t error = rw_options_take(&connector, options);

    rw_options_free(&connector);
    return error;
}

static void the_defaults_are_those_of_the_list(void **state) {
    ropeway_connector_options_t options = defaults();
    ropeway_operation_options_t chosen;

    (void)state;
    ropeway_operation_options_init(&chosen, sizeof chosen);
    assert_int_equal(options.struct_size, sizeof options);
    assert_int_equal(chosen.struct_size, sizeof chosen);
#define SAME_VALUE(type, name, value, ...) assert_true(options.name == (type)(value));
    ROPEWAY_CONNECTOR_OPTION_MAP(SAME_VALUE, SAME_VALUE, SAME_VALUE)
#undef SAME_VALUE
#define SAME_VALUE(type, name, value, ...) assert_true(chosen.name == (type)(value));
    ROPEWAY_OPERATION_OPTION_MAP(SAME_VALUE, SAME_VALUE)
#undef SAME_VALUE
    assert_accepted(take(NULL));
    assert_accepted(take(&options));
    assert_int_equal(options.max_metadata, RW_METADATA_MAX_DEFAULT);
}

static void every_number_has_its_range(void **state) {
    const size_t chunk_size = defaults().chunk_size;
    uint64_t outside;

    (void)state;
#define NOTHING(...)
/* One below and one above are other numbers where the type's own range goes on there. */
#define NUMBER(type, name, value, least, most, text)                                               \
    {                                                                                              \
        ropeway_connector_options_t options = defaults();                                          \
        options.name = (type)(least);                                                              \
        assert_accepted(take(&options));                                                           \
        outside = (uint64_t)(least)-1;                                                             \
        options.name = (type)outside;                                                              \
        if ((least) > 0) {                                                                         \
            assert_refused(take(&options), ROPEWAY_ERR_INVALID_ARGUMENT, #name);                   \
        }                                                                                          \
        outside = (uint64_t)(most) + 1;                                                            \
        options.name = (type)outside;                                                              \
        if (options.name != 0) {                                                                   \
            assert_refused(take(&options), ROPEWAY_ERR_INVALID_ARGUMENT, #name);                   \
        }                                                                                          \
    }
    ROPEWAY_CONNECTOR_OPTION_MAP(NOTHING, NUMBER, NOTHING)
#undef NUMBER
#undef NOTHING
}

static void texts_are_copied_and_measured(void **state) {
    ropeway_connector_t connector = {0};
    ropeway_connector_options_t options = defaults();
    char text[] = "text", longer[257];

    (void)state;
    memset(longer, 'n', 256);
    longer[256] = '\0';
#define NOTHING(...)
#define TEXT(type, name, ...) options.name = text;
    ROPEWAY_CONNECTOR_OPTION_MAP(TEXT, NOTHING, NOTHING)
#undef TEXT
    (void)rw_options_take(&connector, &options); /* whatever it says of such texts */
    memset(text, 'x', 4);
#define TEXT(type, name, ...) assert_string_equal(connector.options.name, "text");
    ROPEWAY_CONNECTOR_OPTION_MAP(TEXT, NOTHING, NOTHING)
#undef TEXT
    rw_options_free(&connector);
#define TEXT(type, name, value, least, most, meaning)                                              \
    options = defaults();                                                                          \
    options.name = longer;                                                                         \
    if ((most) < 256) {                                                                            \
        assert_refused(take(&options), ROPEWAY_ERR_INVALID_ARGUMENT, #name, "256", #most);         \
    }                                                                                              \
    options.name = "";                                                                             \
    if ((least) > 0) {                                                                             \
        assert_refused(take(&options), ROPEWAY_ERR_INVALID_ARGUMENT, #name, #least);               \
    }
    ROPEWAY_CONNECTOR_OPTION_MAP(TEXT, NOTHING, NOTHING)
#undef TEXT
#undef NOTHING
}

static void what_an_older_program_has_not_got_is_as_by_default(void **state) {
    ropeway_connector_t connector = {0};
    ropeway_connector_options_t options;

    (void)state;
    memset(&options, 0xff, sizeof options);
    ropeway_connector_options_init(&options, offsetof(ropeway_connector_options_t, transports));
    options.window = 7;
    assert_accepted(rw_options_take(&connector, &options));
    assert_int_equal(connector.options.window, 7);
    assert_null(connector.options.transports);
    assert_int_equal(connector.options.interop, defaults().interop);
    rw_options_free(&connector);
    options.struct_size = 0;
    assert_refused(take(&options), ROPEWAY_ERR_INVALID_ARGUMENT, "struct_size", "init");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_those_of_the_list),
        cmocka_unit_test(every_number_has_its_range),
        cmocka_unit_test(texts_are_copied_and_measured),
        cmocka_unit_test(what_an_older_program_has_not_got_is_as_by_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
