/* SPDX-License-Identifier: Apache-2.0 */
/* A UCX that can't start as it was told to, or has not got what it takes for granted: an error that
 * names the setting with its value and who chose it, or what is short. UCX reads its environment
 * once and starts one thread for good, so every case is a process of its own. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77 };

typedef struct try {
    const char *variable, *value; /* of the environment; NULL: none */
    const char *transports, *net_devices;
    ropeway_error_t error;
    const char *says[3];    /* in the sentence; NULL: no more */
    bool (*prepare)(void);  /* in the process; false: that is not permitted here; NULL: nothing */
    bool (*and_then)(void); /* makes good what prepare() did, so that the next one is made */
}
try_t;

static ropeway_error_t create(const try_t *try) {
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;
    ropeway_error_t error;

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = try->transports;
    options.net_devices = try->net_devices;
    error = ropeway_connector_create(&options, &connector);
    if (error == ROPEWAY_OK) {
        ropeway_connector_destroy(connector);
    }
    return error;
}

/* In the process: its exit status. */
static int run(const try_t *try) {
    if (try->variable != NULL) {
        setenv(try->variable, try->value, 1);
    }
    if (try->prepare != NULL && !try->prepare()) {
        return SKIPPED;
    }
    alarm(60);
    if (create(try) != try->error) {
        fprintf(stderr, "%s\n", ropeway_last_error());
        return 1;
    }
    for (size_t i = 0; i < UNIT_COUNT(try->says) && try->says[i] != NULL; i++) {
        if (strstr(ropeway_last_error(), try->says[i]) == NULL) {
            fprintf(stderr, "\"%s\" has no \"%s\"\n", ropeway_last_error(), try->says[i]);
            return 2;
        }
    }
    return try->and_then == NULL || (try->and_then() && create(try) == ROPEWAY_OK) ? 0 : 3;
}

static void apart(const try_t *try) {
    int status;
    pid_t child = fork();

    if (child == 0) {
        _exit(run(try));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        skip();
    }
    assert_int_equal(status, 0);
}

/* ---- settings ---- */

static void a_setting_that_is_none_is_named_with_its_value(void **state) {
    static const try_t tries[] = {
        {.variable = "UCX_KEEPALIVE_INTERVAL",
         .value = "bogus",
         .transports = "all",
         .error = ROPEWAY_ERR_TRANSPORT,
         .says = {"KEEPALIVE_INTERVAL", "bogus", "environment"}},
        {.variable = "UCX_TCP_TX_SEG_SIZE",
         .value = "bogus",
         .transports = "tcp,self",
         .error = ROPEWAY_ERR_TRANSPORT,
         .says = {"TX_SEG_SIZE", "bogus"}},
    };

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(tries); i++) {
        apart(&tries[i]);
    }
}

/* There are none of these two here: the first has no driver, the second is no name. */
static void transports_that_are_not_here_are_named_with_who_chose_them(void **state) {
    static const try_t tries[] = {
        {.transports = "pigeon",
         .error = ROPEWAY_ERR_TRANSPORT,
         .says = {"\"pigeon\" of the connector"}},
        {.variable = "UCX_NET_DEVICES",
         .value = "nosuchdevice0",
         .transports = "tcp",
         .error = ROPEWAY_ERR_TRANSPORT,
         .says = {"\"tcp\" of the connector",
                  "\"nosuchdevice0\" of the environment's UCX_NET_DEVICES"}},
    };

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(tries); i++) {
        apart(&tries[i]);
    }
}

static void a_device_that_is_not_here_is_refused_with_those_that_are(void **state) {
    static const try_t tries[] = {
        {.transports = "all",
         .net_devices = "mxl5_0:1",
         .error = ROPEWAY_ERR_TRANSPORT,
         .says = {"'mxl5_0:1' is not available", "'lo'(tcp)", "\"mxl5_0:1\" of the connector"}},
        {.variable = "UCX_NET_DEVICES",
         .value = "mxl5_0:1",
         .transports = "all",
         .error = ROPEWAY_ERR_TRANSPORT,
         .says = {"'mxl5_0:1' is not available", "\"mxl5_0:1\" of the environment's"}},
        /* One is enough. */
        {.transports = "tcp,self", .net_devices = "mxl5_0:1,lo"},
        {.variable = "UCX_NET_DEVICES", .value = "mxl5_0:1,lo", .transports = "all"},
    };

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(tries); i++) {
        apart(&tries[i]);
    }
}

/* ---- shortages ---- */

static int sockets[2];
static char range[32];

/* Two neighbouring ports, which are in use on all interfaces then. */
static bool take_two_ports(void) {
    for (unsigned port = 21001; port < 60000; port += 2) {
        bool free = true;

        for (unsigned i = 0; i < 2; i++) {
            struct sockaddr_in address = {.sin_family = AF_INET,
                                          .sin_port = htons((uint16_t)(port + i))};

            sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            free = bind(sockets[i], (struct sockaddr *)&address, sizeof address) == 0 &&
                   listen(sockets[i], 1) == 0 && free;
        }
        if (free) {
            snprintf(range, sizeof range, "%u-%u", port, port + 1);
            return setenv("UCX_TCP_PORT_RANGE", range, 1) == 0;
        }
        close(sockets[0]);
        close(sockets[1]);
    }
    return false;
}

static bool give_a_port_back(void) {
    return close(sockets[1]) == 0;
}

static void a_range_of_ports_that_is_used_up_is_named_and_not_waited_for(void **state) {
    const try_t try = {.transports = "tcp,self",
                       .net_devices = "lo",
                       .error = ROPEWAY_ERR_SYSTEM,
                       .says = {"UCX_TCP_PORT_RANGE=", range, " on lo"},
                       .prepare = take_two_ports,
                       .and_then = give_a_port_back};

    (void)state;
    apart(&try);
}

static bool allow_threads(rlim_t count) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NPROC, &limit) != 0) {
        return false;
    }
    limit.rlim_cur = count;
    return setrlimit(RLIMIT_NPROC, &limit) == 0;
}

/* Root has no limit. This user has nothing else here. */
static bool allow_no_thread(void) {
    return geteuid() == 0 && setuid(54321) == 0 && allow_threads(1);
}

static bool allow_more_threads(void) {
    return allow_threads(100);
}

static void no_thread_to_be_had_is_an_error(void **state) {
    const try_t try = {.transports = "tcp,self",
                       .error = ROPEWAY_ERR_SYSTEM,
                       .says = {"UCX's thread can't be started", strerror(EAGAIN)},
                       .prepare = allow_no_thread,
                       .and_then = allow_more_threads};

    (void)state;
    apart(&try);
}

static bool unmount_sys(void) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           umount2("/sys", MNT_DETACH) == 0;
}

static bool mount_sys(void) {
    return mount("sysfs", "/sys", "sysfs", 0, NULL) == 0;
}

static void no_sys_is_named_where_ucx_needs_it(void **state) {
    const try_t by_ucx = {.transports = "tcp,self",
                          .error = ROPEWAY_ERR_SYSTEM,
                          .says = {"/sys/class/net", "mount /sys"},
                          .prepare = unmount_sys,
                          .and_then = mount_sys};
    const try_t by_streams = {.prepare = unmount_sys};

    (void)state;
    apart(&by_ucx);
    apart(&by_streams);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_setting_that_is_none_is_named_with_its_value),
        cmocka_unit_test(transports_that_are_not_here_are_named_with_who_chose_them),
        cmocka_unit_test(a_device_that_is_not_here_is_refused_with_those_that_are),
        cmocka_unit_test(a_range_of_ports_that_is_used_up_is_named_and_not_waited_for),
        cmocka_unit_test(no_thread_to_be_had_is_an_error),
        cmocka_unit_test(no_sys_is_named_where_ucx_needs_it),
    };

    unsetenv("UCX_TLS");
    unsetenv("UCX_NET_DEVICES");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
