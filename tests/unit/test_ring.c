/* SPDX-License-Identifier: Apache-2.0 */
/* Queues in shared memory, held against one in a buffer; and what the other side may do to them. */
#include "base/connector.h"
#include "link/stream.h"
#include "link/stream_local.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- alone ---- */

/* Both ends of one ring, as two processes would have them. */
static void make_pair(rw_ring_t pair[2]) {
    assert_true(rw_ring_make(&pair[0]));
    assert_true(rw_ring_take(&pair[1], dup(pair[0].fd)));
    rw_ring_given(&pair[0]);
}

static void free_pair(rw_ring_t pair[2]) {
    rw_ring_free(&pair[0]);
    rw_ring_free(&pair[1]);
}

static ssize_t put(rw_ring_t *ring, const void *bytes, size_t length, bool *wake) {
    size_t first = length > 0 ? (size_t)unit_below(length + 1) : 0;
    struct iovec pieces[] = {{(void *)bytes, first}, {(char *)bytes + first, length - first}};

    return rw_ring_write(ring, pieces, 2, wake);
}

static ssize_t get(rw_ring_t *ring, void *bytes, size_t length, bool *wake) {
    size_t first = length > 0 ? (size_t)unit_below(length + 1) : 0;
    struct iovec pieces[] = {{bytes, first}, {(char *)bytes + first, length - first}};

    return rw_ring_read(ring, pieces, 2, wake);
}

static void bytes_come_out_as_they_went_in(void **state) {
    (void)state;
    static uint8_t sent[RW_RING_BYTES + 100], got[RW_RING_BYTES + 100];
    static uint8_t model[2][RW_RING_BYTES];
    size_t held[2] = {0, 0};
    rw_ring_t pair[2];
    bool ignored = false;

    make_pair(pair);
    for (int i = 0; i < 20000; i++) {
        unsigned from = (unsigned)unit_below(2);
        size_t length = (size_t)unit_below(unit_below(10) == 0 ? sizeof sent : 500);
        size_t room = RW_RING_BYTES - held[from], fits = length < room ? length : room;

        unit_random_bytes(sent, length < 64 ? length : 64);
        assert_int_equal(put(&pair[from], sent, length, &ignored), fits);
        memcpy(model[from] + held[from], sent, fits);
        held[from] += fits;
        length = (size_t)unit_below(unit_below(10) == 0 ? sizeof got : 500);
        fits = length < held[from] ? length : held[from];
        assert_int_equal(get(&pair[!from], got, length, &ignored), fits);
        assert_memory_equal(got, model[from], fits);
        held[from] -= fits;
        memmove(model[from], model[from] + fits, held[from]);
        assert_int_equal(rw_ring_has_bytes(&pair[!from]), held[from] > 0);
        assert_int_equal(rw_ring_has_room(&pair[from]), held[from] <= RW_RING_BYTES / 2);
    }
    free_pair(pair);
}

static void who_sleeps_is_woken_once(void **state) {
    (void)state;
    static uint8_t bytes[RW_RING_BYTES];
    rw_ring_t pair[2];
    bool wake = false;

    make_pair(pair);
    rw_ring_rise(&pair[0]);
    rw_ring_rise(&pair[1]);
    put(&pair[0], bytes, 10, &wake);
    assert_false(wake); /* nobody sleeps */
    assert_false(rw_ring_rest(&pair[1], false));
    assert_int_equal(get(&pair[1], bytes, 10, &wake), 10);
    assert_true(rw_ring_rest(&pair[1], false));
    assert_true(rw_ring_rest(&pair[0], false));
    put(&pair[0], bytes, 10, &wake);
    assert_true(wake);
    wake = false;
    put(&pair[0], bytes, 10, &wake);
    assert_false(wake);
    assert_int_equal(get(&pair[1], bytes, 20, &wake), 20);
    assert_false(wake); /* the other one waits for bytes, and not for room */
    put(&pair[0], bytes, sizeof bytes, &wake);
    assert_true(rw_ring_rest(&pair[0], true));
    wake = false;
    get(&pair[1], bytes, 100, &wake);
    assert_false(wake); /* that is no room worth it */
    get(&pair[1], bytes, sizeof bytes / 2, &wake);
    assert_true(wake);
    free_pair(pair);
}

#define PLAIN_INSTRUCTIONS 1000 /* that reading takes; in a sanitizer's program it takes more */
/* Moments that are tried. */
#define MOMENTS_MAX 400
#define MOMENTS_MAX_SANITIZED 40
#define NOT_ALLOWED 77 /* to be looked at */

/* The other side in a process of its own, which stops before it reads a byte, and after. */
static pid_t fork_reader(int fd, bool *wake) {
    pid_t child = fork();
    rw_ring_t ring;
    uint8_t byte;

    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(NOT_ALLOWED);
        }
        if (!rw_ring_take(&ring, dup(fd))) {
            _exit(1);
        }
        raise(SIGSTOP);
        rw_ring_read(&ring, &(struct iovec){&byte, 1}, 1, wake);
        raise(SIGSTOP);
        _exit(0);
    }
    return child;
}

/* Until it stops or ends, or for one instruction. Whether it has stopped. */
static bool let_run(pid_t child, bool one) {
    int status;

    assert_int_equal(ptrace(one ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, NULL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
}

/* The maker of the memory goes to sleep anew, not for room any more but for bytes still, when the
 * other side has come so far in its reading. Whether that one, which then writes, wakes it. *whole:
 * the instructions that reading takes, if it was over before. */
static bool is_woken_after(size_t instructions, bool *wake, size_t *whole) {
    rw_ring_t pair[2];
    uint8_t byte = 0;
    bool ignored, over = false;
    int fd, status;
    pid_t child;

    assert_true(rw_ring_make(&pair[0]));
    fd = dup(pair[0].fd);
    assert_true(rw_ring_take(&pair[1], dup(fd)));
    put(&pair[0], &byte, 1, &ignored);
    rw_ring_rest(&pair[0], true);
    *wake = false;
    child = fork_reader(fd, wake);
    close(fd);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED) {
        print_message("ptrace() is not allowed here\n");
        skip();
    }
    assert_true(WIFSTOPPED(status));
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL), 0);
    for (size_t i = 0; i < instructions && !over; i++) {
        over = let_run(child, true);
        *whole = over ? i : *whole;
    }
    rw_ring_rise(&pair[0]);
    rw_ring_rest(&pair[0], false);
    while (!over) {
        over = let_run(child, false);
    }
    let_run(child, false);
    put(&pair[1], &byte, 1, wake);
    free_pair(pair);
    return *wake;
}

static void a_sleep_that_begins_anew_amid_a_wake_is_ended_too(void **state) {
    (void)state;
    bool *wake =
        mmap(NULL, sizeof *wake, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t whole = SIZE_MAX, step;

    is_woken_after(SIZE_MAX, wake, &whole);
    step = whole / (whole > PLAIN_INSTRUCTIONS ? MOMENTS_MAX_SANITIZED : MOMENTS_MAX) + 1;
    for (size_t i = 0; i <= whole; i += 1 + (size_t)unit_below(step)) {
        if (!is_woken_after(i, wake, &whole)) {
            fail_msg("after %zu instructions of %zu nobody is woken", i, whole);
        }
    }
    munmap(wake, sizeof *wake);
}

static void counts_that_can_not_be_are_found(void **state) {
    (void)state;
    static const uint32_t counts[] = {RW_RING_BYTES + 1, 0x7FFFFFFF, 0x80000000, UINT32_MAX};
    uint8_t bytes[100] = {0};
    bool ignored = false;

    for (size_t i = 0; i < UNIT_COUNT(counts); i++) {
        rw_ring_t pair[2];

        make_pair(pair);
        memcpy(pair[1].memory, &counts[i], sizeof counts[i]); /* what the maker has written */
        assert_true(rw_ring_has_bytes(&pair[1]));
        assert_int_equal(get(&pair[1], bytes, sizeof bytes, &ignored), RW_RING_BROKEN);
        memset(pair[1].memory, 0xA5, 4096);
        assert_true(rw_ring_has_room(&pair[0]));
        assert_int_equal(put(&pair[0], bytes, sizeof bytes, &ignored), RW_RING_BROKEN);
        assert_false(rw_ring_rest(&pair[0], true));
        free_pair(pair);
    }
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define MEMORY_BYTES (4096 + 2 * (size_t)RW_RING_BYTES)

static void seal(int fd, size_t size, int seals) {
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
}

static int memory_of(size_t size, int seals) {
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    seal(fd, size, seals);
    return fd;
}

static void what_could_fail_when_it_is_touched_is_not_taken(void **state) {
    (void)state;
    const size_t size = MEMORY_BYTES;
    const int seals = SEALS;
    int huge = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    int fds[] = {-1,
                 open("/dev/zero", O_RDWR | O_CLOEXEC),
                 open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600),
                 memory_of(size, F_SEAL_GROW),
                 memory_of(size, F_SEAL_SHRINK | F_SEAL_GROW),
                 memory_of(size - 4096, seals),
                 memory_of(size + 4096, seals),
                 memory_of(0, seals),
                 memory_of(size, seals | F_SEAL_WRITE),
                 memory_of(size, seals | F_SEAL_FUTURE_WRITE),
                 huge};

    for (size_t i = 0; i < UNIT_COUNT(fds); i++) {
        rw_ring_t ring;

        assert_false(rw_ring_take(&ring, fds[i]));
        assert_null(ring.memory);
        assert_true(fds[i] < 0 || fcntl(fds[i], F_GETFD) < 0); /* it was closed */
        rw_ring_free(&ring);
    }
}

/* As a system makes it whose vm.memfd_noexec is 1. */
static void memory_that_can_not_be_executed_is_taken(void **state) {
    (void)state;
    const unsigned noexec_seal = 8;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | noexec_seal);
    rw_ring_t ring;

    if (fd < 0 && errno == EINVAL) {
        print_message("this kernel has no such memory\n");
        skip();
    }
    seal(fd, MEMORY_BYTES, SEALS);
    assert_true(rw_ring_take(&ring, fd));
    rw_ring_free(&ring);
}

/* ---- with a connector at the other end ---- */

static ropeway_connector_t *connect_to(const char *transports) {
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = transports;
    assert_accepted(ropeway_connector_create(&options, &connector));
    return connector;
}

/* Reads by the other connector complete: more than it takes until there is a ring. */
static void assert_reads(ropeway_connector_t *owner, ropeway_connector_t *reader) {
    static uint8_t from[4096], to[4096];

    for (uint8_t i = 1; i <= 40; i++) {
        ropeway_descriptor_t source = {.ptr = from, .size = sizeof from};
        ropeway_descriptor_t target = {.ptr = to, .size = sizeof to};
        ropeway_operation_t *offer, *read;
        const char *text;

        memset(from, i, sizeof from);
        assert_accepted(ropeway_create_readable(owner, &source, 1, NULL, &offer));
        assert_accepted(ropeway_operation_metadata(offer, &text));
        assert_accepted(ropeway_begin_read(reader, text, strlen(text), &target, 1, NULL, &read));
        assert_accepted(ropeway_operation_wait(read, 20000));
        assert_memory_equal(from, to, sizeof to);
        ropeway_operation_release(read);
        ropeway_operation_release(offer);
    }
}

static void assert_serves(ropeway_connector_t *owner) {
    ropeway_connector_t *reader = connect_to("stream,local,ring");

    assert_reads(owner, reader);
    ropeway_connector_destroy(reader);
}

/* Frames are counted until there is a ring; a count that began anew made a second one. */
static void a_link_that_has_sent_very_many_frames_keeps_its_ring(void **state) {
    (void)state;
    ropeway_connector_t *owner = connect_to("stream,local,ring");
    ropeway_connector_t *reader = connect_to("stream,local,ring");
    rw_stream_link_t *link;
    void *memory;

    assert_reads(owner, reader);
    rw_lock(&reader->lock);
    link = RW_CONTAINER(rw_stream_of(reader)->links.next, rw_stream_link_t, node);
    memory = link->wire.ring.memory;
    assert_non_null(memory);
    link->talked = UINT32_MAX - 10;
    rw_unlock(&reader->lock);
    assert_reads(owner, reader);
    rw_lock(&reader->lock);
    assert_ptr_equal(link->wire.ring.memory, memory);
    assert_int_equal(rw_stream_of(reader)->rings_given, 1);
    rw_unlock(&reader->lock);
    ropeway_connector_destroy(reader);
    ropeway_connector_destroy(owner);
}

/* A stranger's connection that has greeted. Nothing is waited for on it for longer than 20 s. */
static int call(ropeway_connector_t *owner) {
    const struct timeval patience = {.tv_sec = 20};
    rw_greeting_t greeting = {.version = RW_STREAM_VERSION, .kind = RW_GREETING_CALL};
    uint8_t bytes[RW_GREETING_BYTES];
    rw_place_t place;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = offsetof(struct sockaddr_un, sun_path);

    rw_lock(&owner->lock);
    rw_local_place(rw_stream_of(owner)->identity.fingerprint, owner->instance, &place);
    rw_unlock(&owner->lock);
    size += 1 + (socklen_t)strlen(place.local.sun_path + 1);
    assert_int_equal(connect(fd, (struct sockaddr *)&place.local, size), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    rw_greeting_encode(&greeting, bytes);
    assert_int_equal(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_WAITALL), sizeof bytes);
    return fd;
}

/* Sends a frame of this class, with descriptors along. */
static void say(int fd, rw_frame_class_t class, const int *descriptors, size_t count) {
    rw_head_t head = {.class = (uint8_t) class};
    uint8_t bytes[RW_HEAD_BYTES];
    struct iovec piece = {bytes, sizeof bytes};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    struct cmsghdr *header = (struct cmsghdr *)control;

    rw_head_encode(&head, bytes);
    if (count > 0) {
        *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(count * sizeof(int)),
                                   .cmsg_level = SOL_SOCKET,
                                   .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    }
    (void)sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* Reads until a frame of this class comes (true), or the end. */
static bool hears(int fd, rw_frame_class_t class) {
    uint8_t bytes[RW_HEAD_BYTES], payload[RW_WORD_MAX];
    rw_head_t head;
    ssize_t got;

    while ((got = recv(fd, bytes, sizeof bytes, MSG_WAITALL)) == sizeof bytes) {
        assert_null(rw_head_decode(bytes, &head));
        if (head.class == class) {
            return true;
        }
        assert_true(head.length <= sizeof payload);
        assert_true(head.length == 0 || /* else it would wait for the next frame */
                    recv(fd, payload, head.length, MSG_WAITALL) == (ssize_t)head.length);
    }
    assert_false(got < 0 && errno == EAGAIN); /* neither the frame nor the end */
    return false;
}

static void assert_sent_away(int fd) {
    assert_false(hears(fd, RW_FRAME_RING));
    close(fd);
}

static void only_who_has_transports_with_rings_takes_one(void **state) {
    (void)state;
    static const char *const transports[] = {"stream,local", "stream,local,ring"};

    for (size_t i = 0; i < UNIT_COUNT(transports); i++) {
        ropeway_connector_t *owner = connect_to(transports[i]);
        rw_ring_t given;
        int fd = call(owner);

        assert_true(rw_ring_make(&given));
        say(fd, RW_FRAME_RING, &given.fd, 1);
        /* What follows is answered later than the ring would be. */
        say(fd, RW_FRAME_RING_BEGUN, NULL, 0);
        assert_int_equal(hears(fd, RW_FRAME_RING_TAKEN), i == 1);
        rw_ring_free(&given);
        close(fd);
        assert_serves(owner);
        ropeway_connector_destroy(owner);
    }
}

static void who_talks_of_rings_out_of_turn_is_sent_away(void **state) {
    (void)state;
    static const rw_frame_class_t said[][3] = {{RW_FRAME_RING_BEGUN},
                                               {RW_FRAME_RING_TAKEN},
                                               {RW_FRAME_RING, RW_FRAME_RING_BEGUN},
                                               {RW_FRAME_RING, RW_FRAME_RING}};
    ropeway_connector_t *owner = connect_to("stream,local,ring");

    for (size_t i = 0; i < UNIT_COUNT(said); i++) {
        int fd = call(owner);

        for (size_t k = 0; k < 3 && said[i][k] != 0; k++) {
            say(fd, said[i][k], NULL, 0);
        }
        assert_sent_away(fd);
    }
    assert_serves(owner);
    ropeway_connector_destroy(owner);
}

static void descriptors_that_come_along_are_closed(void **state) {
    (void)state;
    ropeway_connector_t *owner = connect_to("stream,local,ring");
    ts_usage_t before = ts_usage(0), after;
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC), many[] = {zero, zero, zero, zero, zero, zero};

    for (int i = 0; i < 20; i++) {
        int fd = call(owner);

        say(fd, RW_FRAME_RING, many, 1 + (size_t)i % 6);   /* of a wrong kind: not taken */
        say(fd, RW_FRAME_RING_BEGUN, many, (size_t)i % 7); /* of no use */
        assert_sent_away(fd);
    }
    close(zero);
    assert_serves(owner);
    before.resident = SIZE_MAX;
    assert_true(ts_usage_back(&before, &after));
    ropeway_connector_destroy(owner);
}

static void a_ring_that_makes_no_sense_ends_its_connection_only(void **state) {
    (void)state;
    ropeway_connector_t *owner = connect_to("stream,local,ring");

    for (int i = 0; i < 4; i++) {
        int fd = call(owner);
        rw_ring_t ring;

        assert_true(rw_ring_make(&ring));
        say(fd, RW_FRAME_RING, &ring.fd, 1);
        assert_true(hears(fd, RW_FRAME_RING_TAKEN));
        say(fd, RW_FRAME_RING_BEGUN, NULL, 0);
        if (i == 0) {
            memset(ring.memory, 0xFF, MEMORY_BYTES);
        } else {
            unit_random_bytes(ring.memory, i == 1 ? 64 : MEMORY_BYTES);
        }
        (void)send(fd, "", 1, MSG_NOSIGNAL); /* wakes it */
        char end;
        ssize_t got;
        while ((got = recv(fd, &end, 1, 0)) > 0) { /* it wakes us, too */
        }
        assert_true(got == 0 || (got < 0 && errno != EAGAIN));
        close(fd);
        rw_ring_free(&ring);
    }
    assert_serves(owner);
    ropeway_connector_destroy(owner);
}

static rw_stream_link_t *first_link(ropeway_connector_t *connector) RW_UNCHECKED {
    rw_stream_t *stream = rw_stream_of(connector);

    assert_false(rw_list_is_empty(&stream->links));
    return RW_CONTAINER(stream->links.next, rw_stream_link_t, node);
}

#define EARLY 12 /* more frames than it takes until there is a ring */

/* The owner does not come to greet while much is begun with it: it may yet turn out to be another's
 * socket, and the connection to go to another host. */
static void no_ring_is_given_before_the_connection_is_open(void **state) RW_UNCHECKED {
    (void)state;
    ropeway_connector_t *owner = connect_to("stream,local,ring");
    ropeway_connector_t *reader = connect_to("stream,local,ring");
    static uint8_t from[EARLY][64], to[EARLY][64];
    ropeway_operation_t *offers[EARLY], *reads[EARLY];
    const char *texts[EARLY];

    for (size_t i = 0; i < EARLY; i++) {
        ropeway_descriptor_t source = {.ptr = from[i], .size = sizeof from[i]};

        assert_accepted(ropeway_create_readable(owner, &source, 1, NULL, &offers[i]));
        assert_accepted(ropeway_operation_metadata(offers[i], &texts[i]));
    }
    rw_lock(&owner->lock);
    for (size_t i = 0; i < EARLY; i++) {
        ropeway_descriptor_t target = {.ptr = to[i], .size = sizeof to[i]};

        assert_accepted(
            ropeway_begin_read(reader, texts[i], strlen(texts[i]), &target, 1, NULL, &reads[i]));
    }
    rw_lock(&reader->lock);
    assert_true(first_link(reader)->state < RW_STREAM_OPEN);
    assert_int_equal(rw_stream_of(reader)->rings_given, 0);
    assert_null(first_link(reader)->wire.ring.memory);
    rw_unlock(&reader->lock);
    rw_unlock(&owner->lock);
    for (size_t i = 0; i < EARLY; i++) {
        assert_accepted(ropeway_operation_wait(reads[i], 20000));
        ropeway_operation_release(reads[i]);
        ropeway_operation_release(offers[i]);
    }
    ropeway_connector_destroy(reader);
    ropeway_connector_destroy(owner);
}

/* Bytes that lie in a ring which nobody has said to have begun keep nobody awake. */
static void a_ring_that_is_not_begun_wakes_nobody(void **state) RW_UNCHECKED {
    (void)state;
    ropeway_connector_t *owner = connect_to("stream,local,ring");
    int fd = call(owner);
    rw_ring_t ring;
    bool ignored;

    assert_true(rw_ring_make(&ring));
    say(fd, RW_FRAME_RING, &ring.fd, 1);
    assert_true(hears(fd, RW_FRAME_RING_TAKEN));
    put(&ring, "early", 5, &ignored);
    rw_lock(&owner->lock);
    assert_false(rw_wire_has_ring_work(&first_link(owner)->wire, false));
    assert_true(rw_wire_rest_ring(&first_link(owner)->wire, false));
    rw_unlock(&owner->lock);
    close(fd);
    rw_ring_free(&ring);
    ropeway_connector_destroy(owner);
}

/* However many it has given, and nobody has taken. */
static void rings_that_are_given_leave_room_for_those_that_are_taken(void **state) RW_UNCHECKED {
    (void)state;
    ropeway_connector_t *owner = connect_to("stream,local,ring");
    rw_stream_t *stream = rw_stream_of(owner);
    rw_ring_t ring;
    int fd;

    rw_lock(&owner->lock);
    stream->rings_given = SIZE_MAX / 2;
    rw_unlock(&owner->lock);
    fd = call(owner);
    assert_true(rw_ring_make(&ring));
    say(fd, RW_FRAME_RING, &ring.fd, 1);
    assert_true(hears(fd, RW_FRAME_RING_TAKEN));
    close(fd);
    rw_ring_free(&ring);
    ropeway_connector_destroy(owner);
}

/* A file that grows past the limit would end the process by a signal. */
static void a_limit_on_files_sizes_is_respected(void **state) {
    (void)state;
    struct rlimit before, small;
    rw_ring_t ring;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = MEMORY_BYTES - 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_false(rw_ring_make(&ring));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(rw_ring_make(&ring));
    rw_ring_free(&ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(who_sleeps_is_woken_once),
        cmocka_unit_test(a_sleep_that_begins_anew_amid_a_wake_is_ended_too),
        cmocka_unit_test(counts_that_can_not_be_are_found),
        cmocka_unit_test(what_could_fail_when_it_is_touched_is_not_taken),
        cmocka_unit_test(memory_that_can_not_be_executed_is_taken),
        cmocka_unit_test(a_limit_on_files_sizes_is_respected),
        cmocka_unit_test(no_ring_is_given_before_the_connection_is_open),
        cmocka_unit_test(a_ring_that_is_not_begun_wakes_nobody),
        cmocka_unit_test(rings_that_are_given_leave_room_for_those_that_are_taken),
        cmocka_unit_test(a_link_that_has_sent_very_many_frames_keeps_its_ring),
        cmocka_unit_test(only_who_has_transports_with_rings_takes_one),
        cmocka_unit_test(who_talks_of_rings_out_of_turn_is_sent_away),
        cmocka_unit_test(descriptors_that_come_along_are_closed),
        cmocka_unit_test(a_ring_that_makes_no_sense_ends_its_connection_only),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
