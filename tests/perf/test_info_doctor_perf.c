/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway info, doctor and perf, run as a user runs them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "command.h"
#include "perf/perf.h"

/* Runs, expects an exit code, and parses the JSON on stdout. */
static json_t *run_json(const char *arguments, int code) {
    struct command command = command_run(arguments);
    json_error_t error;
    json_t *object = json_loads(command.out, 0, &error);

    if (command.code != code || object == NULL) {
        print_error("ropeway %s: exit code %d, JSON: %s\n%s%s\n", arguments, command.code,
                    object != NULL ? "fine" : error.text, command.out, command.err);
    }
    assert_int_equal(command.code, code);
    assert_non_null(object);
    command_free(&command);
    return object;
}

/* Runs, and expects an exit code and a sentence that holds text on stderr. */
static void run_fails(const char *arguments, int code, const char *text) {
    struct command command = command_run(arguments);

    if (command.code != code || strstr(command.err, text) == NULL) {
        print_error("ropeway %s: exit code %d\n%s%s\n", arguments, command.code, command.out,
                    command.err);
    }
    assert_int_equal(command.code, code);
    assert_non_null(strstr(command.err, text));
    assert_int_equal(strncmp(command.err, "ropeway: ", 9), 0);
    command_free(&command);
}

static void run_prints(const char *arguments, const char *text) {
    struct command command = command_run(arguments);

    assert_int_equal(command.code, 0);
    assert_string_equal(command.err, "");
    if (strstr(command.out, text) == NULL) {
        print_error("ropeway %s does not say '%s':\n%s\n", arguments, text, command.out);
    }
    assert_non_null(strstr(command.out, text));
    command_free(&command);
}

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);

    if (!json_is_number(value)) {
        print_error("'%s' is missing\n", key);
    }
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static const char *text(const json_t *object, const char *key) {
    const char *value = json_string_value(json_object_get(object, key));

    if (value == NULL) {
        print_error("'%s' is missing\n", key);
    }
    assert_non_null(value);
    return value;
}

/* ---- info ---------------------------------------------------------------- */

static void test_info_names_versions_transports_and_choices(void **state) {
    json_t *info = run_json("info --json", 0);
    json_t *ucx = json_object_get(info, "ucx");

    (void)state;
    assert_string_equal(text(info, "ropeway"), ropeway_version());
    assert_int_equal(strncmp(text(ucx, "version"), "1.", 2), 0);
    assert_true(strlen(text(ucx, "why")) > 0);
    assert_non_null(strstr(text(ucx, "library"), "libucp"));
    assert_true(json_array_size(json_object_get(info, "transports")) > 0);
    assert_non_null(strstr(text(info, "same_host"), "from memory to memory"));
    assert_true(strlen(text(info, "network")) > 0);
    assert_true(json_is_boolean(json_object_get(json_object_get(info, "cuda"), "usable")));
    assert_true(json_is_boolean(json_object_get(json_object_get(info, "infiniband"), "usable")));
    json_decref(info);
}

static void test_info_shows_only_the_transports_that_were_asked_for(void **state) {
    json_t *info = run_json("info --json --transports tcp --net-devices lo", 0);
    json_t *transports = json_object_get(info, "transports");
    json_t *transport;
    size_t i;

    (void)state;
    assert_true(json_array_size(transports) > 0);
    json_array_foreach(transports, i, transport) {
        json_t *devices = json_object_get(transport, "devices");

        assert_string_equal(text(transport, "name"), "tcp");
        assert_int_equal(json_array_size(devices), 1);
        assert_string_equal(json_string_value(json_array_get(devices, 0)), "lo");
    }
    assert_non_null(strstr(text(info, "network"), "TCP over lo"));
    assert_string_equal(text(info, "same_host"), "TCP");
    json_decref(info);
}

static void test_info_as_text_says_how_to_get_infiniband(void **state) {
    json_t *info = run_json("info --json", 0);
    bool usable = json_is_true(json_object_get(json_object_get(info, "infiniband"), "usable"));

    (void)state;
    json_decref(info);
    run_prints("info", usable ? "InfiniBand    usable" : "site's UCX");
    run_prints("info", "CUDA ");
}

static void test_info_fails_with_a_sentence_when_no_transport_fits(void **state) {
    (void)state;
    run_fails("info --transports nonsense", 1, "nonsense");
    setenv("ROPEWAY_UCX", "/nonexistent", 1);
    run_fails("info", 1, "ROPEWAY_UCX=/nonexistent leads to none");
    unsetenv("ROPEWAY_UCX");
}

/* ---- doctor -------------------------------------------------------------- */

static json_t *find_check(const json_t *report, const char *name) {
    json_t *check;
    size_t i;

    json_array_foreach(json_object_get(report, "checks"), i, check) {
        if (strcmp(text(check, "name"), name) == 0) {
            return check;
        }
    }
    print_error("no check is named '%s'\n", name);
    fail();
    return NULL;
}

static void test_doctor_checks_everything_and_each_problem_has_a_remedy(void **state) {
    static const char *const names[] = {"memory of other processes",
                                        "UCX release",
                                        "UCX settings",
                                        "shared memory",
                                        "locked memory",
                                        "open files",
                                        "network interfaces",
                                        "listening",
                                        "InfiniBand",
                                        "CUDA",
                                        "transfer over stream",
                                        "transfer over tcp",
                                        "transfer on this host"};
    json_t *report = run_json("doctor --json", 0);
    json_t *check;
    size_t i;

    (void)state;
    assert_true(json_is_true(json_object_get(report, "ok")));
    for (i = 0; i < sizeof names / sizeof names[0]; i++) {
        find_check(report, names[i]);
    }
    json_array_foreach(json_object_get(report, "checks"), i, check) {
        bool ok = strcmp(text(check, "status"), "ok") == 0;

        assert_true(ok || strcmp(text(check, "status"), "warn") == 0);
        assert_int_equal(ok, json_is_null(json_object_get(check, "remedy")));
    }
    json_decref(report);
}

static void test_doctor_moves_bytes_over_each_transport(void **state) {
    json_t *report = run_json("doctor --json", 0);

    (void)state;
    assert_non_null(strstr(text(find_check(report, "transfer over tcp"), "text"), "tcp/"));
    assert_non_null(strstr(text(find_check(report, "transfer over stream"), "text"), "tcp/"));
    assert_non_null(
        strstr(text(find_check(report, "transfer on this host"), "text"), "local pull"));
    json_decref(report);
}

static void test_doctor_fails_when_the_address_can_t_be_bound(void **state) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char arguments[64];
    json_t *report;

    (void)state;
    assert_int_equal(bind(taken, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(taken, 1), 0);
    assert_int_equal(getsockname(taken, (struct sockaddr *)&address, &length), 0);
    snprintf(arguments, sizeof arguments, "doctor --json --listen 127.0.0.1:%d",
             ntohs(address.sin_port));
    report = run_json(arguments, 1);
    assert_true(json_is_false(json_object_get(report, "ok")));
    assert_string_equal(text(find_check(report, "listening"), "status"), "fail");
    assert_true(strlen(text(find_check(report, "listening"), "remedy")) > 0);
    json_decref(report);
    close(taken);
}

static void test_doctor_fails_when_the_chosen_ucx_is_none(void **state) {
    json_t *report;

    (void)state;
    setenv("ROPEWAY_UCX", "/nonexistent", 1);
    report = run_json("doctor --json", 1);
    unsetenv("ROPEWAY_UCX");
    assert_string_equal(text(find_check(report, "UCX release"), "status"), "fail");
    assert_non_null(strstr(text(find_check(report, "UCX release"), "text"), "/nonexistent"));
    json_decref(report);
}

static void test_doctor_warns_of_a_low_limit_of_open_files(void **state) {
    struct rlimit before, low;
    json_t *report;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 512;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    report = run_json("doctor --json", 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_string_equal(text(find_check(report, "open files"), "status"), "warn");
    json_decref(report);
}

/* ---- perf ---------------------------------------------------------------- */

static void test_help_and_usage_errors_have_their_exit_codes(void **state) {
    (void)state;
    run_prints("perf --help", "What is timed");
    run_prints("info --help", "Usage: ropeway info");
    run_prints("doctor --help", "Usage: ropeway doctor");
    run_fails("perf", 2, "choose one of --local, --server");
    run_fails("perf --local --server", 2, "choose one of");
    run_fails("perf --local --listen 127.0.0.1:0", 2, "--listen goes with --server");
    run_fails("perf --local --size 12Q", 2, "'12Q'");
    run_fails("perf --local --size 2G", 2, "'2G'");
    run_fails("perf --local --transports tcp,..", 2, "'..'");
    run_fails("perf --local --kind copy", 2, "'copy'");
    run_fails("perf --local --concurrency 0", 2, "--concurrency");
    run_fails("perf --local --seconds -1", 2, "--seconds");
    run_fails("perf --local --nonsense", 2, "--nonsense");
    run_fails("perf --local one", 2, "choose one of");
    run_fails("info extra", 2, "'extra'");
    run_fails("doctor --nonsense", 2, "--nonsense");
}

static void check_case(const json_t *one) {
    const json_t *alone = json_object_get(one, "one_at_a_time");
    const json_t *together = json_object_get(one, "concurrent");

    assert_true(json_is_true(json_object_get(one, "verified")));
    assert_true(number(alone, "samples") >= 1);
    assert_true(number(alone, "min_us") > 0);
    assert_true(number(alone, "p50_us") >= number(alone, "min_us"));
    assert_true(number(alone, "p99_us") >= number(alone, "p50_us"));
    assert_true(number(alone, "max_us") >= number(alone, "p99_us"));
    assert_true(number(alone, "active_cpu_us") > 0);
    assert_true(number(alone, "passive_cpu_us") > 0);
    assert_true(number(together, "ops_per_s") > 0);
    assert_int_equal(number(together, "concurrency"), 8);
    assert_true(number(one, "asleep_p50_us") > 0);
    assert_true(number(one, "whole_p50_us") > 0);
    if (strcmp(text(one, "transport"), "any") == 0) {
        assert_int_equal(strncmp(text(one, "path"), "local", 5), 0);
    } else {
        assert_non_null(strstr(text(one, "path"), "tcp/"));
    }
}

static void test_perf_measures_and_verifies_every_case(void **state) {
    json_t *report = run_json("perf --local --json --size 1,4097,1M --concurrency 8 --seconds 0.02 "
                              "--idle 0.2 --pending 100",
                              0);
    json_t *cases = json_object_get(report, "cases");
    json_t *idles = json_object_get(report, "idle");
    json_t *one;
    size_t i;

    (void)state;
    assert_int_equal(json_array_size(cases), 2 * 2 * 3);
    json_array_foreach(cases, i, one) {
        check_case(one);
    }
    assert_int_equal(json_array_size(idles), 2 * 2);
    json_array_foreach(idles, i, one) {
        assert_int_equal(number(one, "pending"), i % 2 == 0 ? 0 : 100);
        assert_true(number(json_object_get(one, "client"), "cpu_percent") >= 0);
        assert_true(number(json_object_get(one, "server"), "cpu_percent") >= 0);
    }
    json_decref(report);
}

static void test_perf_moves_nothing_and_integrity_too(void **state) {
    (void)state;
    json_decref(run_json("perf --local --json --size 0,64K --concurrency 1 --seconds 0.02 --idle 0 "
                         "--integrity --transports any",
                         0));
}

static void test_perf_takes_segments_that_only_the_sending_side_was_told(void **state) {
    static const char *const sizes[] = {"32k", "1m"};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        setenv("UCX_TCP_TX_SEG_SIZE", sizes[i], 1);
        json_decref(
            run_json("perf --local --json --size 4M --concurrency 1 --seconds 0.02 --idle 0 "
                     "--transports tcp",
                     0));
    }
    unsetenv("UCX_TCP_TX_SEG_SIZE");
}

static void test_perf_prints_a_table_for_people(void **state) {
    (void)state;
    run_prints("perf --local --size 4K --kind read --transports any --seconds 0.02 --idle 0",
               "p99 us");
}

static void test_perf_notices_one_wrong_byte(void **state) {
    struct cli_perf_memory memory = {0};
    char sentence[CLI_SENTENCE_SIZE] = "";

    (void)state;
    assert_true(cli_perf_memory_resize(&memory, 4099, 3));
    cli_perf_memory_fill(&memory, 7);
    assert_true(cli_perf_memory_check(&memory, 7, sentence));
    assert_false(cli_perf_memory_check(&memory, 8, sentence));
    cli_perf_slot(&memory, 2)[4098] ^= 1;
    assert_false(cli_perf_memory_check(&memory, 7, sentence));
    assert_non_null(strstr(sentence, "slot 2"));
    cli_perf_memory_free(&memory);
}

static void test_perf_leaves_no_server_behind(void **state) {
    struct command command;

    (void)state;
    command = command_run("perf --local --size 4K --kind read --transports any --seconds 0.02 "
                          "--idle 0");
    assert_int_equal(command.code, 0);
    command_free(&command);
    /* An orphan would be ours: this process adopts them. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_perf_server_ends_with_a_client_that_is_killed(void **state) {
    char line[256];
    pid_t client =
        command_start("perf --local --size 4K --seconds 600 --transports tcp", line, sizeof line);

    (void)state;
    assert_int_equal(command_stop(client, SIGKILL), -1);
    assert_true(waitpid(-1, NULL, 0) > 0); /* the server, adopted */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static const char *address_in(const char *line) {
    static const char greeting[] = "ropeway: perf server on ";

    assert_int_equal(strncmp(line, greeting, sizeof greeting - 1), 0);
    return line + sizeof greeting - 1;
}

/* Sends bytes as a client would, and returns what comes back until the server hangs up or answers
 * with a line. */
static void speak(const char *address, const char *bytes, char *answer, size_t size) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t length = 0;

    target.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    assert_int_equal(connect(fd, (struct sockaddr *)&target, sizeof target), 0);
    assert_int_equal(send(fd, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
    while (length + 1 < size) {
        ssize_t n = recv(fd, answer + length, 1, 0);

        if (n <= 0 || answer[length] == '\n') {
            break;
        }
        length++;
    }
    answer[length] = '\0';
    close(fd);
}

static void test_perf_server_survives_what_clients_send_and_ends_on_sigterm(void **state) {
    static const char *const refused[] = {
        "{}\n",
        "{\"do\":\"nonsense\"}\n",
        "{\"do\":\"hello\",\"transports\":\"nonsense\"}\n",
        "{\"do\":\"prepare\",\"kind\":3,\"size\":4096,\"slots\":1,\"count\":1}\n",
        "{\"do\":\"prepare\",\"kind\":3,\"size\":9223372036854775807,\"slots\":9,\"count\":9}\n",
        "{\"do\":\"idle\",\"seconds\":-1}\n",
    };
    char line[256], answer[2048], arguments[512];
    pid_t server = command_start("perf --server --listen 127.0.0.1:0", line, sizeof line);
    const char *address = address_in(line);
    size_t i;

    (void)state;
    speak(address, "no JSON\n", answer, sizeof answer);
    assert_string_equal(answer, "");
    for (i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        speak(address, refused[i], answer, sizeof answer);
        if (strstr(answer, "\"error\"") == NULL) {
            print_error("%s was answered with %s\n", refused[i], answer);
        }
        assert_non_null(strstr(answer, "\"error\""));
    }
    snprintf(arguments, sizeof arguments,
             "perf %s --json --size 4K --seconds 0.02 --idle 0 --transports tcp", address);
    json_decref(run_json(arguments, 0));
    assert_int_equal(command_stop(server, SIGTERM), 0);
}

static void test_perf_client_says_when_no_server_is_there(void **state) {
    char line[256], arguments[512];
    pid_t server = command_start("perf --server", line, sizeof line);

    (void)state;
    snprintf(arguments, sizeof arguments, "perf --connect %s", address_in(line));
    assert_int_equal(command_stop(server, SIGINT), 0);
    run_fails(arguments, 1, "is 'ropeway perf --server' running there?");
    run_fails("perf --server --listen 192.0.2.1:0", 1, "can't listen on 192.0.2.1:0");
    run_fails("perf 127.0.0.1", 1, "is not an address");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info_names_versions_transports_and_choices),
        cmocka_unit_test(test_info_shows_only_the_transports_that_were_asked_for),
        cmocka_unit_test(test_info_as_text_says_how_to_get_infiniband),
        cmocka_unit_test(test_info_fails_with_a_sentence_when_no_transport_fits),
        cmocka_unit_test(test_doctor_checks_everything_and_each_problem_has_a_remedy),
        cmocka_unit_test(test_doctor_moves_bytes_over_each_transport),
        cmocka_unit_test(test_doctor_fails_when_the_address_can_t_be_bound),
        cmocka_unit_test(test_doctor_fails_when_the_chosen_ucx_is_none),
        cmocka_unit_test(test_doctor_warns_of_a_low_limit_of_open_files),
        cmocka_unit_test(test_help_and_usage_errors_have_their_exit_codes),
        cmocka_unit_test(test_perf_measures_and_verifies_every_case),
        cmocka_unit_test(test_perf_moves_nothing_and_integrity_too),
        cmocka_unit_test(test_perf_takes_segments_that_only_the_sending_side_was_told),
        cmocka_unit_test(test_perf_prints_a_table_for_people),
        cmocka_unit_test(test_perf_notices_one_wrong_byte),
        cmocka_unit_test(test_perf_leaves_no_server_behind),
        cmocka_unit_test(test_perf_server_ends_with_a_client_that_is_killed),
        cmocka_unit_test(test_perf_server_survives_what_clients_send_and_ends_on_sigterm),
        cmocka_unit_test(test_perf_client_says_when_no_server_is_there),
    };

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
