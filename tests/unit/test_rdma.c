/* SPDX-License-Identifier: Apache-2.0 */
/* RDMA devices, in a folder that looks like sysfs. */
#include "unit.h"

#include "base/rdma.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];

static int make_folder(void **state) {
    (void)state;
    unsetenv("UCX_NET_DEVICES"); /* of who runs the tests */
    snprintf(folder, sizeof folder, "%s/ropeway-rdma-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return unit_remove_folder(folder);
}

static void write_file(const char *where, const char *name, const char *line) {
    char path[768];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s/%s", folder, where, name);
    file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "%s\n", line);
    assert_int_equal(fclose(file), 0);
}

/* The folders that lead to a path. */
static void make_folders(const char *where) {
    char path[768];

    for (const char *end = where; end != NULL;) {
        end = strchr(end + 1, '/');
        snprintf(path, sizeof path, "%s/%.*s", folder,
                 (int)(end != NULL ? (size_t)(end - where) : strlen(where)), where);
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    }
}

/* As "DEVICE/ports/PORT". */
static void add_port(const char *port, const char *state, const char *interface) {
    char where[256];

    snprintf(where, sizeof where, "%s/gid_attrs/ndevs", port);
    make_folders(where);
    write_file(port, "state", state);
    if (interface != NULL) {
        write_file(where, "0", interface);
    }
}

static void a_port_that_is_up_and_allowed_is_found(void **state) {
    (void)state;
    assert_false(rw_rdma_is_here(folder));
    assert_false(rw_rdma_is_up(folder, NULL));
    assert_false(rw_rdma_is_here("/no/such/folder"));
    assert_false(rw_rdma_is_up("/no/such/folder", NULL));
    add_port("mlx5_0/ports/1", "1: DOWN", NULL);
    assert_true(rw_rdma_is_here(folder));
    assert_false(rw_rdma_is_up(folder, NULL));
    add_port("mlx5_0/ports/2", "4: ACTIVE", "eth7");
    assert_true(rw_rdma_is_up(folder, NULL));
    assert_true(rw_rdma_is_up(folder, "all"));
    assert_true(rw_rdma_is_up(folder, "eth0,mlx5_0:2"));
    assert_true(rw_rdma_is_up(folder, "mlx5_0"));
    assert_true(rw_rdma_is_up(folder, "^eth0"));
    assert_false(rw_rdma_is_up(folder, "mlx5_0:1"));
    assert_false(rw_rdma_is_up(folder, "mlx5_0:22,mlx5_00:2,mlx5"));
    assert_false(rw_rdma_is_up(folder, "eth0,lo"));
    assert_false(rw_rdma_is_up(folder, "^mlx5_0:2"));
    assert_false(rw_rdma_is_up(folder, ""));
}

static void a_range_of_devices_is_understood_as_ucx_does(void **state) {
    static const struct {
        const char *net_devices;
        bool is_up;
    } cases[] = {{"mlx5_[0-3]:2", true},    {"mlx5_[0-3]", true},    {"mlx5_0:[1-2]", true},
                 {"lo,mlx5_[0-0]:2", true}, {"mlx5_[1-3]:2", false}, {"mlx5_[0-3]:1", false},
                 {"mlx5_[0-3]:22", false},  {"mlx5_[0-3", false},    {"mlx5_[-3]", false},
                 {"mlx5_[0]", false},       {"mlx5_[", false},       {"mlx[0-9]", false},
                 {"^mlx5_[0-3]", false},    {"^mlx5_[1-3]", true}};

    (void)state;
    add_port("mlx5_0/ports/2", "4: ACTIVE", "eth7");
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        if (rw_rdma_is_up(folder, cases[i].net_devices) != cases[i].is_up) {
            fail_msg("%s", cases[i].net_devices);
        }
    }
}

/* UCX obeys its own variable where the option says nothing, and only there. */
static void the_environment_names_devices_where_the_option_does_not(void **state) {
    (void)state;
    add_port("mlx5_0/ports/2", "4: ACTIVE", "eth7");
    setenv("UCX_NET_DEVICES", "eth0", 1);
    assert_false(rw_rdma_is_up(folder, NULL));
    assert_true(rw_rdma_is_up(folder, "all"));
    setenv("UCX_NET_DEVICES", "eth0,mlx5_0:2", 1);
    assert_true(rw_rdma_is_up(folder, NULL));
    assert_false(rw_rdma_is_up(folder, "eth0"));
    unsetenv("UCX_NET_DEVICES");
    assert_true(rw_rdma_is_up(folder, NULL));
}

static void a_device_stands_for_its_interface(void **state) {
    static const struct {
        const char *net_devices, *interfaces;
    } cases[] = {
        {NULL, "all"},          {"all", "all"},       {"^mlx5_0", "all"},
        {"eth0,lo", "eth0,lo"}, {"mlx5_0:2", "eth7"}, {"lo,mlx5_0:2,eth0", "lo,eth7,eth0"},
        {"rxe0", "eth1"},       {"rxe0:1", "eth1"},   {"mlx5_0:1", "all"}, /* it has none */
        {"mlx5_0:1,lo", "lo"},  {"rxe00", "rxe00"},   {"", ""}};
    char text[64];

    (void)state;
    add_port("rxe0/ports/1", "4: ACTIVE", "eth1");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int length = rw_rdma_write_interfaces(folder, cases[i].net_devices, text, sizeof text);

        assert_string_equal(text, cases[i].interfaces);
        assert_int_equal(length, strlen(text));
    }
    assert_true(rw_rdma_write_interfaces(folder, "eth0,eth1,eth2", text, 8) >= 8);
    assert_int_equal(strlen(text), 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_that_is_up_and_allowed_is_found),
        cmocka_unit_test(a_range_of_devices_is_understood_as_ucx_does),
        cmocka_unit_test(the_environment_names_devices_where_the_option_does_not),
        cmocka_unit_test(a_device_stands_for_its_interface),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
