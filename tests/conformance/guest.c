/* SPDX-License-Identifier: Apache-2.0 */
/* Rules 7 and 9: a good guest in its host process. */
#include "lists.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAPPED 4096
#define MAPPED_TEXT "4096"

/* Much that UCX would like to talk about, and then silence is checked. */
static void live_through_trouble(void) {
    ropeway_connector_t *connector = ts_connect("quiet_ms=200");
    ts_peer_t *peer = ts_new_peer("quiet_ms=200");
    ts_assert_works(connector, peer);
    ropeway_connector_options_t options;
    ropeway_connector_t *none;
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "pigeon,tcp,self";
    if (ropeway_connector_create(&options, &none) == ROPEWAY_OK) {
        ropeway_connector_destroy(none);
    }
    options.transports = "pigeon";
    ropeway_connector_create(&options, &none);
    options.transports = "tcp,self";
    options.net_devices = "nosuchdevice0";
    if (ropeway_connector_create(&options, &none) == ROPEWAY_OK) {
        ropeway_connector_destroy(none);
    }
    ts_peer_ask(peer, "readable 1 70000 5");
    char *metadata = ts_peer_metadata(peer, 1, NULL);
    ts_pair_t pair = ts_pair_make(connector, peer, 0, ROPEWAY_OPERATION_READ, "67108869", "");
    ts_await_progress(pair.operation, 1);
    ts_peer_kill(peer);
    ts_wait(pair.operation);
    ts_region_t *region = ts_region_new("70000", 0);
    ropeway_operation_t *late = NULL;
    if (ropeway_begin_read(connector, metadata, strlen(metadata), region->descriptors, 1, NULL,
                           &late) == ROPEWAY_OK) {
        ropeway_operation_wait(late, TS_BOUND_MS);
    }
    ropeway_operation_release(late);
    ts_region_free(region);
    free(metadata);
    char *json;
    assert_ok(ropeway_describe(NULL, NULL, &json));
    ropeway_text_free(json);
    ts_disconnect(connector);
}

static void rule9_nothing_is_written_to_stdout_or_stderr(void **state) {
    (void)state;
    ts_peer_need_processes(); /* before the output is captured */
    /* UCX warns of a variable that it does not know, on stdout. */
    setenv("UCX_NO_SUCH_SETTING", "1", 1);
    ts_capture_begin();
    live_through_trouble();
    char *text = ts_capture_end();
    unsetenv("UCX_NO_SUCH_SETTING");
    if (*text != '\0') {
        fail_msg("written to stdout or stderr:\n%s", text);
    }
    free(text);
}

typedef struct lines {
    int count;
    char last[512];
} lines_t;

static void take_line(void *arg, ropeway_log_level_t level, const char *text) {
    lines_t *lines = arg;
    (void)level;
    __atomic_add_fetch(&lines->count, 1, __ATOMIC_RELAXED);
    if (strstr(text, "UCX_NO_SUCH_SETTING") != NULL) {
        snprintf(lines->last, sizeof lines->last, "%s", text);
    }
}

static void rule9_the_log_callback_gets_what_ucx_warns_of(void **state) {
    (void)state;
    if (ts_transport_is_stream() || ts_transport_is("memory")) {
        skip(); /* UCX is not used */
    }
    /* UCX says it once in a process: ask a fresh one. */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setenv("UCX_NO_SUCH_SETTING", "1", 1);
        execl("/proc/self/exe", "conformance", ts_transport_name(), "--log-only", (char *)NULL);
        _exit(9);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int ts_guest_log_only(void) {
    lines_t lines = {0};
    ts_option_texts_t texts;
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;
    ts_connector_options("", &texts, &options);
    options.log = take_line;
    options.log_arg = &lines;
    options.log_level = ROPEWAY_LOG_DEBUG;
    if (ropeway_connector_create(&options, &connector) != ROPEWAY_OK ||
        ropeway_connector_destroy(connector) != ROPEWAY_OK) {
        return 2;
    }
    return lines.count == 0 ? 3 : 0;
}

/* In a forked child: 0 when all is as promised. */
static int look_from_child(ropeway_connector_t *connector, ropeway_operation_t *operation,
                           const char *metadata) {
    uint8_t memory[9];
    ropeway_descriptor_t descriptor = {memory, 9, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_t *none = NULL;
    ropeway_stats_t stats;
    ropeway_memory_t *registered;
    if (ropeway_create_readable(connector, &descriptor, 1, NULL, &none) != ROPEWAY_ERR_FORKED) {
        return 1;
    }
    if (*ropeway_last_error() == '\0') {
        return 2;
    }
    if (ropeway_begin_read(connector, metadata, strlen(metadata), &descriptor, 1, NULL, &none) !=
        ROPEWAY_ERR_FORKED) {
        return 3;
    }
    if (ropeway_connector_stats(connector, &stats, sizeof stats) != ROPEWAY_ERR_FORKED) {
        return 4;
    }
    if (ropeway_memory_register(connector, memory, 9, descriptor.device, &registered) !=
        ROPEWAY_ERR_FORKED) {
        return 5;
    }
    if (ropeway_operation_wait(operation, 50) == ROPEWAY_OK) {
        return 6;
    }
    if (ropeway_operation_cancel(operation) != ROPEWAY_ERR_FORKED) {
        return 9;
    }
    if (ropeway_connector_drain(connector, &none, 1) != 0) {
        return 10;
    }
    ropeway_operation_progress(operation, &(uint64_t){0}, NULL);
    ropeway_operation_release(operation);
    /* UCX would not work for it either. */
    ropeway_connector_t *own;
    if (ropeway_connector_create(NULL, &own) != ROPEWAY_ERR_FORKED ||
        strstr(ropeway_last_error(), "forked while its parent had one") == NULL) {
        return 8;
    }
    return ropeway_connector_destroy(connector) == ROPEWAY_OK ? 0 : 7;
}

static void rule9_a_forked_child_is_refused_and_the_parent_goes_on(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_assert_works(connector, peer);
    ropeway_operation_t *operation = ts_create(connector, ROPEWAY_OPERATION_READABLE, "9", 4, "");
    const char *metadata;
    assert_ok(ropeway_operation_metadata(operation, &metadata));
    for (int i = 0; i < 3; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            alarm(30);
            _exit(look_from_child(connector, operation, metadata));
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        ts_assert_works(connector, peer);
    }
    ts_peer_begin(peer, "read", 0, "9", 4, "", metadata, strlen(metadata));
    assert_complete(ts_wait(operation));
    assert_complete(ts_peer_wait(peer, 0)); /* what it has not waited for is not its own yet */
    assert_int_equal(ts_peer_number(peer, "matches 0 4"), 1);
}

/* Others would take a child that lives on for us. */
static bool has_our_name(int fd, int (*get)(int, __SOCKADDR_ARG, socklen_t *)) {
    struct sockaddr_un name = {.sun_family = AF_UNSPEC};
    socklen_t length = sizeof name;
    return get(fd, (struct sockaddr *)&name, &length) == 0 && name.sun_family == AF_UNIX &&
           strncmp(name.sun_path + 1, "ropeway-", 8) == 0;
}

static int count_stream_sockets(void) {
    int count = 0;
    for (int fd = 3; fd < 1024; fd++) {
        int protocol = 0;
        socklen_t size = sizeof protocol;
        bool tcp = getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
                   protocol == IPPROTO_TCP;
        /* The end of a Unix socket that was connected to has a name. */
        count += tcp || has_our_name(fd, getsockname) || has_our_name(fd, getpeername);
    }
    return count;
}

static void rule9_a_forked_child_has_no_socket_of_ours(void **state) {
    (void)state;
    if (!ts_transport_is_stream()) {
        skip(); /* UCX's sockets stay */
    }
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_assert_works(connector, peer);
    assert_true(count_stream_sockets() >= 3); /* one listens, and each side has connected */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        _exit(count_stream_sockets());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ts_assert_works(connector, peer);
}

/* A connector with a peer that it has begun operations with, and the reverse. */
static void make_busy(void) {
    ropeway_connector_t *connector = ts_connect("");
    ts_assert_works(connector, ts_new_peer(""));
}

/* Others would take a program that outlives us for us: `sleep 60 &` by system(). */
static void rule9_no_descriptor_of_ours_survives_exec(void **state) {
    (void)state;
    if (!ts_transport_is_stream()) {
        skip(); /* UCX opens pipes and sockets that do */
    }
    bool before[1024] = {false};
    for (int fd = 0; fd < 1024; fd++) {
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    }
    make_busy();
    for (int fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (!before[fd] && flags >= 0 && (flags & FD_CLOEXEC) == 0) {
            char path[32], target[128] = "?";
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            (void)!readlink(path, target, sizeof target - 1);
            fail_msg("descriptor %d (%s) would survive exec", fd, target);
        }
    }
}

static uint64_t blocked_signals(const char *task) {
    char path[300], line[128];
    unsigned long long mask = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", task);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        sscanf(line, "SigBlk: %llx", &mask);
    }
    if (file != NULL) {
        fclose(file);
    }
    return mask;
}

static char *volatile mapped;
static volatile sig_atomic_t faults;

static void put_memory_there(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    faults = 1;
    if (mmap(mapped, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED) {
        _exit(98);
    }
}

/* A file shrinks under memory that was offered. What that does, in whichever thread, is the
 * application's to say; where the kernel copies there is no signal, but an error. */
static void rule9_a_fault_goes_to_the_applications_handler(void **state) {
    (void)state;
    struct sigaction action = {.sa_sigaction = put_memory_there, .sa_flags = SA_SIGINFO}, before;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    assert_int_equal(sigaction(SIGBUS, &action, &before), 0);
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITABLE; kind++) {
        int fd = memfd_create("shrinks", MFD_CLOEXEC);
        assert_true(fd >= 0 && ftruncate(fd, MAPPED) == 0);
        mapped = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(mapped, MAP_FAILED);
        ropeway_descriptor_t descriptor = {mapped, MAPPED, {ROPEWAY_DEVICE_HOST, 0}};
        ropeway_operation_t *offer;
        const char *metadata;
        assert_ok(kind == ROPEWAY_OPERATION_READABLE
                      ? ropeway_create_readable(connector, &descriptor, 1, NULL, &offer)
                      : ropeway_create_writable(connector, &descriptor, 1, NULL, &offer));
        assert_ok(ropeway_operation_metadata(offer, &metadata));
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_ok(ts_peer_begin(peer, kind == ROPEWAY_OPERATION_READABLE ? "read" : "write", 0,
                                MAPPED_TEXT, 0, "", metadata, strlen(metadata)));
        ts_outcome_t outcome = ts_wait(offer);
        assert_true(outcome.status == ROPEWAY_STATUS_COMPLETE ||
                    outcome.status == ROPEWAY_STATUS_ERRORED);
        assert_true(faults == 1 || outcome.status == ROPEWAY_STATUS_ERRORED);
        ts_peer_wait(peer, 0);
        ts_peer_ask(peer, "release 0");
        ropeway_operation_release(offer);
        munmap(mapped, MAPPED);
        close(fd);
    }
    assert_int_equal(sigaction(SIGBUS, &before, NULL), 0);
}

/* The application's signals go to its own threads, whatever it blocks there later. */
static void rule9_every_thread_of_ours_blocks_all_signals(void **state) {
    (void)state;
    ts_peer_need_processes(); /* others are threads of the test's */
    const uint64_t can_not = 1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1) |
                             3ull << 31; /* 32 and 33 are the C library's own */
    const uint64_t of_faults =
        1ull << (SIGBUS - 1) | 1ull << (SIGFPE - 1) | 1ull << (SIGILL - 1) | 1ull << (SIGSEGV - 1);
    char own[32];
    snprintf(own, sizeof own, "%d", (int)getpid());
    make_busy();
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    size_t threads = 0;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, own) != 0 && !ts_sanitized()) {
            uint64_t open = ~(blocked_signals(entry->d_name) | can_not);
            if ((open & ~of_faults) != 0) {
                fail_msg("a thread leaves signals open: %llx", (unsigned long long)open);
            }
            threads++;
        }
    }
    closedir(tasks);
    assert_true(threads > 0 || ts_sanitized()); /* sanitizers have threads of their own */
}

static void rule9_no_signal_handler_is_installed_or_replaced(void **state) {
    (void)state;
    ts_peer_need_processes();
    /* In a process of its own, which loads the library by itself. */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        execl(TS_SIGNALS_PATH, TS_SIGNALS_PATH, TS_LIBRARY_PATH, ts_transport_tls(),
              (char *)NULL); /* a null one ends the arguments */
        _exit(99);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void rule7_an_idle_connector_sleeps(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_assert_works(connector, peer);
    /* One connection is checked by UCX once a second. */
    ts_assert_sleeps(connector, 1100, 0.02, 10);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule9_nothing_is_written_to_stdout_or_stderr),
    TS_TEST(rule9_the_log_callback_gets_what_ucx_warns_of),
    TS_TEST(rule9_a_forked_child_is_refused_and_the_parent_goes_on),
    TS_TEST(rule9_a_forked_child_has_no_socket_of_ours),
    TS_TEST(rule9_no_descriptor_of_ours_survives_exec),
    TS_TEST(rule9_every_thread_of_ours_blocks_all_signals),
    TS_TEST(rule9_a_fault_goes_to_the_applications_handler),
    TS_TEST(rule9_no_signal_handler_is_installed_or_replaced),
    TS_TEST(rule7_an_idle_connector_sleeps),
};

TS_LIST(ts_list_guest, tests);
