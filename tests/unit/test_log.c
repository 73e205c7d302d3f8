/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of UCX's own log lines. */
#include "ucx/load.h"
#include "unit.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <ucs/debug/log_def.h>

typedef struct lines {
    unsigned count;
    ropeway_log_level_t level;
    char text[256];
} lines_t;

static void take_line(void *arg, ropeway_log_level_t level, const char *text) {
    lines_t *lines = arg;

    if (strstr(text, "of this test") != NULL) {
        lines->count++;
        lines->level = level;
        snprintf(lines->text, sizeof lines->text, "%s", text);
    }
}

static ropeway_connector_t *make_connector(ropeway_log_level_t level, lines_t *lines) {
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "self";
    options.log = take_line;
    options.log_arg = lines;
    options.log_level = level;
    assert_int_equal(ropeway_connector_create(&options, &connector), ROPEWAY_OK);
    return connector;
}

static void say(const char *file, ucs_log_level_t level) {
    void *ucx = dlopen(rw_ucx_library(), RTLD_NOLOAD | RTLD_LAZY);
    __typeof__(&ucs_log_dispatch) dispatch;

    assert_non_null(ucx);
    dispatch = (__typeof__(dispatch))dlsym(ucx, "ucs_log_dispatch");
    assert_non_null(dispatch);
    dispatch(file, 1, "f", level, NULL, "a line %d of this test", 7);
    dlclose(ucx);
}

static void rule9_ucx_lines_go_to_the_log_callback(void **state) {
    lines_t lines = {0};
    ropeway_connector_t *connector = make_connector(ROPEWAY_LOG_WARN, &lines);

    (void)state;
    say("ucp/core/ucp_ep.c", UCS_LOG_LEVEL_ERROR);
    assert_int_equal(lines.count, 1);
    assert_int_equal(lines.level, ROPEWAY_LOG_ERROR);
    assert_string_equal(lines.text, "UCX: a line 7 of this test");
    say("ucp/core/ucp_ep.c", UCS_LOG_LEVEL_WARN);
    assert_int_equal(lines.count, 2);
    assert_int_equal(lines.level, ROPEWAY_LOG_WARN);
    say("ucp/core/ucp_ep.c", UCS_LOG_LEVEL_INFO);
    assert_int_equal(lines.count, 2);
    assert_int_equal(ropeway_connector_destroy(connector), ROPEWAY_OK);
    assert_int_equal(lines.count, 2);
}

static void rule9_a_connection_that_fails_is_told_by_its_operations(void **state) {
    lines_t lines = {0};
    ropeway_connector_t *connector = make_connector(ROPEWAY_LOG_INFO, &lines);

    (void)state;
    say("tcp/tcp_cm.c", UCS_LOG_LEVEL_ERROR);
    assert_int_equal(lines.count, 1);
    assert_int_equal(lines.level, ROPEWAY_LOG_INFO);
    assert_int_equal(ropeway_connector_destroy(connector), ROPEWAY_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule9_ucx_lines_go_to_the_log_callback),
        cmocka_unit_test(rule9_a_connection_that_fails_is_told_by_its_operations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
