/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of transports that are not there, which must do no harm and need no warning. */
#include "ucx/ucx.h"
#include "unit.h"

static unsigned debug_lines, louder_lines;
static char last_line[512];

static bool take_line(ropeway_log_level_t level, const char *text) {
    if (level == ROPEWAY_LOG_DEBUG) {
        debug_lines++;
    } else if (level < ROPEWAY_LOG_INFO) {
        louder_lines++;
        snprintf(last_line, sizeof last_line, "%s", text);
    }
    return true;
}

static void a_setting_of_a_transport_that_is_not_there_is_left_out(void **state) {
    static const rw_ucx_purpose_t purposes[] = {RW_UCX_MESSAGES, RW_UCX_STOCK};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(purposes); i++) {
        rw_ucx_wish_t wish = {.purpose = purposes[i], .keepalive_ms = 1000};
        ucp_context_h context;

        assert_accepted(rw_ucx_open_context(&wish, &context));
        ucp_cleanup(context);
    }
    if (louder_lines > 0) {
        fail_msg("%s", last_line);
    }
    assert_true(debug_lines > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_setting_of_a_transport_that_is_not_there_is_left_out),
    };

    setenv("UCX_MODULES", "^cma", 1);
    rw_ucx_log_to(take_line);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
