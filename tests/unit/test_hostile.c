/* SPDX-License-Identifier: Apache-2.0 */
/* What strangers, and those who have a key, can make a connector do by its stream port, and what a
 * fork can: every case once did harm, and is the smallest that did. */
#include "link/progress.h"
#include "link/stream.h"
#include "link/stream_local.h"
#include "native/native.h"
#include "process.h"
#include "unit.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRAME_MAX 1024

static const uint8_t stranger[RW_ID_BYTES] = {1, 2, 3};

static ropeway_connector_t *open_owner(const char *encryption) {
    ropeway_connector_options_t options;
    ropeway_connector_t *owner;

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "stream";
    options.listen = "127.0.0.1:0";
    options.encryption = encryption;
    assert_accepted(ropeway_connector_create(&options, &owner));
    return owner;
}

/* A connection to the owner, which has greeted. Nothing is waited for on it for longer than 20 s.
 */
static int call(ropeway_connector_t *owner, bool tls) {
    const struct timeval patience = {.tv_sec = 20};
    rw_place_t place;
    rw_greeting_t greeting = {.version = RW_STREAM_VERSION, .kind = RW_GREETING_CALL, .tls = tls};
    uint8_t bytes[RW_GREETING_BYTES];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* What is not read soon waits at the owner. */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int)), 0);
    rw_lock(&owner->lock);
    place = rw_stream_of(owner)->address.places[0];
    rw_unlock(&owner->lock);
    assert_int_equal(connect(fd, &place.any, rw_place_length(&place)), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    rw_greeting_encode(&greeting, bytes);
    assert_int_equal(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
    assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_WAITALL), sizeof bytes);
    return fd;
}

static void say(int fd, const void *bytes, size_t length) {
    size_t sent = 0;

    while (sent < length) {
        ssize_t got = send(fd, (const char *)bytes + sent, length - sent, MSG_NOSIGNAL);

        assert_true(got > 0);
        sent += (size_t)got;
    }
}

static bool is_at_end(int fd) {
    uint8_t bytes[4096];
    ssize_t got;

    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0) {
    }
    return got == 0 || errno == ECONNRESET;
}

/* A frame with a message, and its payload, if that has length bytes. Returns how long it is. */
static size_t pack(uint8_t *frame, rw_frame_class_t class, const rw_message_t *message,
                   const void *payload, size_t length) {
    rw_head_t head = {
        .length = (uint32_t)length, .class = (uint8_t) class, .header_length = RW_MESSAGE_BYTES};

    assert_true(RW_HEAD_BYTES + length <= FRAME_MAX);
    rw_message_encode(message, head.header);
    rw_head_encode(&head, frame);
    if (payload != NULL) {
        memcpy(frame + RW_HEAD_BYTES, payload, length);
    }
    return RW_HEAD_BYTES + (payload != NULL ? length : 0);
}

/* So many frames in a row; to be freed. */
static uint8_t *repeat(const uint8_t *frame, size_t length, size_t count) {
    uint8_t *all = malloc(count * length);

    assert_non_null(all);
    for (size_t i = 0; i < count; i++) {
        memcpy(all + i * length, frame, length);
    }
    return all;
}

/* A request for an operation; NULL: for one that nobody has. */
static size_t pack_request(uint8_t *frame, ropeway_connector_t *owner,
                           const ropeway_operation_t *operation, uint8_t flags, uint64_t digest) {
    rw_request_t request = {.token = stranger};
    rw_message_t message = {.type = RW_REQUEST, .version = RW_PROTOCOL_VERSION, .flags = flags};
    uint8_t payload[FRAME_MAX];
    size_t length;

    rw_lock(&owner->lock);
    request.hello = owner->links->first.hello; /* stays as it is */
    request.hello_length = owner->links->first.hello_length;
    rw_unlock(&owner->lock);
    length = rw_request_length(&request);
    assert_true(length <= sizeof payload);
    rw_request_encode(&request, payload);
    memcpy(message.from, stranger, RW_ID_BYTES);
    message.request.fields_length = (uint32_t)length;
    memset(message.to, 9, RW_ID_BYTES);
    message.request.total = message.request.count = 1;
    if (operation != NULL) {
        memcpy(message.to, operation->node.id, RW_ID_BYTES);
        message.request.total = operation->layout.total;
        message.request.count = (uint32_t)operation->layout.count;
        message.request.digest = digest;
    }
    return pack(frame, RW_FRAME_CONTROL, &message, payload, length);
}

static uint64_t digest_of(const ropeway_operation_t *operation) {
    return rw_message_digest(operation->layout.descriptors, operation->layout.count);
}

static ropeway_operation_t *offer(ropeway_connector_t *owner, bool readable) {
    static uint8_t memory[4096];
    const ropeway_descriptor_t descriptor = {.ptr = memory, .size = sizeof memory};
    ropeway_operation_t *operation;

    assert_accepted((readable ? ropeway_create_readable
                              : ropeway_create_writable)(owner, &descriptor, 1, NULL, &operation));
    return operation;
}

static void close_owner(ropeway_connector_t *owner, ropeway_operation_t *operation) {
    ropeway_operation_release(operation);
    ropeway_connector_destroy(owner);
}

/* ---- a fork ---- */

#define FORKS 40

static void *make_one(void *unused) {
    ropeway_connector_t *connector = NULL;

    (void)unused;
    if (ropeway_connector_create(NULL, &connector) == ROPEWAY_OK) {
        ropeway_connector_destroy(connector);
    }
    return NULL;
}

/* In a process of its own, which has made none yet: 0, if the child of a fork at that moment is let
 * make one, or refused. */
static int fork_while_one_is_made(unsigned microseconds) {
    ropeway_connector_t *connector = NULL;
    pthread_t thread;
    pid_t child;
    int status;

    alarm(30);
    pthread_create(&thread, NULL, make_one, NULL);
    usleep(microseconds);
    child = fork();
    if (child == 0) {
        alarm(20); /* a lock that nobody gives back */
        ropeway_error_t error = ropeway_connector_create(NULL, &connector);

        _exit(error == ROPEWAY_OK || error == ROPEWAY_ERR_FORKED ? 0 : 1);
    }
    waitpid(child, &status, 0);
    return status == 0 ? 0 : 1;
}

/* Has to come before all that make connectors in this process. */
static void a_fork_while_the_first_connector_is_made_hangs_nobody(void **state) {
    (void)state;
    if (ts_sanitized()) { /* their allocators' locks are not handed to a child */
        skip();
    }
    for (unsigned i = 0; i < FORKS; i++) {
        pid_t fresh = fork();
        int status;

        if (fresh == 0) {
            _exit(fork_while_one_is_made(i * 37 % 1500));
        }
        assert_int_equal(waitpid(fresh, &status, 0), fresh);
        assert_int_equal(status, 0);
    }
}

/* ---- with an offer's key ---- */

#define QUESTIONS 20000

static void answers_that_nobody_reads_are_not_kept_without_end(void **state) {
    (void)state;
    ropeway_connector_t *owner = open_owner(NULL);
    ropeway_operation_t *operation = offer(owner, true);
    uint8_t frame[FRAME_MAX];
    size_t length =
        pack_request(frame, owner, operation, RW_FLAG_READ | RW_FLAG_ASK, digest_of(operation));
    uint8_t *all = repeat(frame, length, QUESTIONS);
    int fd = call(owner, false);
    size_t most = 0;
    bool over = false;

    say(fd, all, QUESTIONS * length);
    say(fd, frame, pack_request(frame, owner, NULL, RW_FLAG_READ, 0));
    while (!over) { /* until the last one has been read, or the stranger was sent away */
        const rw_node_t *links;

        rw_lock(&owner->lock);
        links = &rw_stream_of(owner)->links;
        over = rw_list_is_empty(links) || owner->stats.requests_rejected > 0;
        if (!rw_list_is_empty(links)) {
            size_t count = RW_CONTAINER(links->next, rw_stream_link_t, node)->out.count;

            most = count > most ? count : most;
        }
        rw_unlock(&owner->lock);
        sched_yield();
    }
    assert_true(most <= RW_LINK_REJECTS_MAX);
    free(all);
    close(fd);
    close_owner(owner, operation);
}

#define OFFERS (2 * RW_LINK_REJECTS_MAX)

/* Makes the owner's socket full of refusals that are not read. */
static void block(ropeway_connector_t *owner, int fd) {
    uint8_t frame[FRAME_MAX];
    size_t length = pack_request(frame, owner, NULL, RW_FLAG_READ, 0);
    bool blocked = false;

    rw_lock(&owner->lock);
    while (!blocked) { /* no thread but this one polls */
        rw_stream_link_t *link =
            RW_CONTAINER(rw_stream_of(owner)->links.next, rw_stream_link_t, node);

        setsockopt(link->wire.fd, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
        say(fd, frame, length);
        for (int i = 0; i < RW_LOOK_EVERY; i++) {
            rw_progress_step(owner);
            rw_events_look(&rw_stream_of(owner)->events);
        }
        blocked = link->blocked && link->base.refusals == RW_LINK_REJECTS_MAX;
    }
    rw_unlock(&owner->lock);
}

/* Of no bytes, recv() would wait for the next frame. */
static void read_payload(int fd, const rw_head_t *head, uint8_t payload[FRAME_MAX]) {
    assert_true(head->length <= FRAME_MAX);
    assert_true(head->length == 0 ||
                recv(fd, payload, head->length, MSG_WAITALL) == (ssize_t)head->length);
}

/* Reads the next frame, which is a message. Returns its type. */
static rw_message_type_t hear(int fd) {
    uint8_t bytes[RW_HEAD_BYTES], payload[FRAME_MAX];
    rw_message_t message;
    rw_head_t head;

    assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_WAITALL), sizeof bytes);
    assert_null(rw_head_decode(bytes, &head));
    read_payload(fd, &head, payload);
    assert_accepted(rw_message_decode(head.header, head.header_length, head.length, &message));
    return message.type;
}

/* A reader of many offers asks about each of them and waits for the answers: however many wait to
 * go out, none may be missing. */
static void who_asks_about_many_offers_is_answered_for_each(void **state) {
    (void)state;
    ropeway_connector_t *owner = open_owner(NULL);
    ropeway_operation_t *offers[OFFERS];
    uint8_t frame[FRAME_MAX];
    int fd = call(owner, false);

    block(owner, fd);
    for (size_t i = 0; i < OFFERS; i++) {
        offers[i] = offer(owner, true);
        say(fd, frame,
            pack_request(frame, owner, offers[i], RW_FLAG_READ | RW_FLAG_ASK,
                         digest_of(offers[i])));
    }
    for (size_t answers = 0; answers < OFFERS;) {
        answers += hear(fd) == RW_WAY;
    }
    close(fd);
    for (size_t i = 0; i < OFFERS; i++) {
        ropeway_operation_release(offers[i]);
    }
    ropeway_connector_destroy(owner);
}

static void who_uses_no_key_up_stays_a_stranger(void **state) {
    (void)state;
    ropeway_connector_t *owner = open_owner(NULL);
    ropeway_operation_t *operation = offer(owner, true);
    int fds[3];

    for (size_t i = 0; i < UNIT_COUNT(fds); i++) {
        uint8_t frame[FRAME_MAX];

        fds[i] = call(owner, false);
        say(fds[i], frame,
            pack_request(frame, owner, operation, RW_FLAG_READ | RW_FLAG_ASK,
                         digest_of(operation)));
        assert_true(recv(fds[i], frame, RW_HEAD_BYTES, MSG_WAITALL) == RW_HEAD_BYTES);
    }
    rw_lock(&owner->lock);
    assert_int_equal(rw_stream_of(owner)->pending_count, UNIT_COUNT(fds));
    rw_unlock(&owner->lock);
    for (size_t i = 0; i < UNIT_COUNT(fds); i++) {
        close(fds[i]);
    }
    close_owner(owner, operation);
}

#define REQUESTS 1000

/* Each costs something, such as to add up what the offer has. */
static void of_requests_that_are_refused_a_turn_has_one(void **state) {
    (void)state;
    ropeway_connector_t *owner = open_owner(NULL);
    ropeway_operation_t *operation = offer(owner, true);
    uint8_t frame[FRAME_MAX];
    size_t length = pack_request(frame, owner, operation, RW_FLAG_READ, digest_of(operation) + 1);
    uint8_t *all = repeat(frame, length, REQUESTS);
    int fd = call(owner, false);
    uint64_t seen = 0;

    rw_lock(&owner->lock); /* no thread but this one polls */
    say(fd, all, REQUESTS * length);
    while (seen < REQUESTS) {
        uint64_t before = seen;

        rw_progress_step(owner);
        rw_events_look(&rw_stream_of(owner)->events); /* a second turn, as of an event */
        seen = owner->stats.requests_rejected;
        assert_true(seen - before <= 3);
    }
    rw_unlock(&owner->lock);
    free(all);
    close(fd);
    close_owner(owner, operation);
}

/* Each would keep a place until the operation ends. */
static void an_operation_has_one_frame_that_is_given_up(void **state) {
    (void)state;
    ropeway_connector_t *owner = open_owner(NULL);
    ropeway_operation_t *operation = offer(owner, false);
    rw_message_t data = {.type = RW_DATA, .version = RW_PROTOCOL_VERSION};
    static const uint8_t rest[] = {0, RW_TRAILER_VOID};
    uint8_t frame[FRAME_MAX];
    int fd = call(owner, false);

    memcpy(data.to, operation->node.id, RW_ID_BYTES);
    memcpy(data.from, stranger, RW_ID_BYTES);
    say(fd, frame, pack_request(frame, owner, operation, 0, digest_of(operation)));
    for (size_t i = 0; i < 2; i++) {
        size_t lent = 0;

        data.data.offset = i;
        say(fd, frame, pack(frame, RW_FRAME_BULK, &data, NULL, 1));
        while (lent <= i) { /* the frame has begun */
            rw_lock(&owner->lock);
            lent = operation->inflight;
            rw_unlock(&owner->lock);
        }
        say(fd, rest, sizeof rest);
    }
    assert_true(is_at_end(fd));
    assert_int_equal(ropeway_operation_wait(operation, 20000), ROPEWAY_ERR_PEER_LOST);
    close(fd);
    close_owner(owner, operation);
}

#define ROOM 8192 /* bytes of a piece */

/* The same by the owner's Unix socket, as a process of its user, whose memory it can read. */
static int call_near(ropeway_connector_t *owner) {
    const struct timeval patience = {.tv_sec = 20};
    rw_greeting_t greeting = {.version = RW_STREAM_VERSION, .kind = RW_GREETING_CALL};
    static uint8_t nonce[RW_NONCE_BYTES];
    rw_probe_t probe = {.address = (uint64_t)(uintptr_t)nonce};
    rw_head_t head = {.length = RW_PROBE_BYTES, .class = RW_FRAME_PROBE};
    uint8_t bytes[RW_HEAD_BYTES + RW_PROBE_BYTES];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rw_place_t place;

    rw_lock(&owner->lock);
    rw_local_place(rw_stream_of(owner)->identity.fingerprint, owner->instance, &place);
    rw_unlock(&owner->lock);
    assert_int_equal(connect(fd, &place.any, rw_place_length(&place)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    rw_greeting_encode(&greeting, bytes);
    say(fd, bytes, RW_GREETING_BYTES);
    assert_int_equal(recv(fd, bytes, RW_GREETING_BYTES, MSG_WAITALL), RW_GREETING_BYTES);
    rw_head_encode(&head, bytes);
    rw_probe_encode(&probe, bytes + RW_HEAD_BYTES);
    say(fd, bytes, sizeof bytes);
    return fd;
}

/* Reads frames until one of this class has come; its payload. */
static void hear_class(int fd, rw_frame_class_t class, uint8_t payload[FRAME_MAX]) {
    uint8_t bytes[RW_HEAD_BYTES];
    rw_head_t head = {0};

    while (head.class != class) {
        assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_WAITALL), sizeof bytes);
        assert_null(rw_head_decode(bytes, &head));
        read_payload(fd, &head, payload);
    }
}

#define LOAN 7

/* Writes the operation's bytes by a loan in pieces, and with a table that says where they are.
 * Whether they could be fetched. */
static bool lend_pieces(ropeway_connector_t *owner, ropeway_operation_t *operation,
                        const struct iovec *table, uint32_t pieces) {
    rw_message_t data = {.type = RW_DATA, .version = RW_PROTOCOL_VERSION};
    rw_loan_t loan = {.id = LOAN,
                      .address = (uint64_t)(uintptr_t)table,
                      .length = operation->layout.total,
                      .pieces = pieces};
    uint8_t frame[FRAME_MAX], payload[FRAME_MAX];
    int fd = call_near(owner);
    rw_fetched_t fetched;

    memcpy(data.to, operation->node.id, RW_ID_BYTES);
    memcpy(data.from, stranger, RW_ID_BYTES);
    hear_class(fd, RW_FRAME_PROBED, payload);
    say(fd, frame, pack_request(frame, owner, operation, 0, digest_of(operation)));
    hear_class(fd, RW_FRAME_CONTROL, payload);
    rw_loan_encode(&loan, payload);
    say(fd, frame, pack(frame, RW_FRAME_LENT, &data, payload, RW_LOAN_BYTES));
    hear_class(fd, RW_FRAME_FETCHED, payload);
    rw_fetched_decode(payload, &fetched);
    assert_int_equal(fetched.id, LOAN);
    close(fd);
    return fetched.failed == 0;
}

/* A table lies in the lender's memory, and is the lender's word. */
static void a_loan_has_as_many_bytes_in_pieces_as_it_says(void **state) {
    (void)state;
    static uint8_t source[4 * ROOM], room[4][ROOM + 8], untouched[ROOM + 8];
    const struct iovec end = {(void *)LOAN, sizeof source};
    const struct iovec honest[] = {{source, ROOM + 100},
                                   {source + ROOM + 100, 0},
                                   {source + ROOM + 100, 10},
                                   {source + ROOM + 110, 3 * ROOM - 110},
                                   end};
    const struct iovec lies[][5] = {
        {{source, ROOM}, {source, ROOM}, {source, ROOM}, {source, ROOM - 1}, end},
        {{source, ROOM}, {source, ROOM}, {source, ROOM}, {source, ROOM + 1}, end},
        {{source, 4 * ROOM}, {source, 1}, {source, 0}, {source, 0}, end},
        {{source, SIZE_MAX}, {source, 0}, {source, 0}, {source, 0}, end},
        {{source, SIZE_MAX - ROOM}, {source, 4 * ROOM}, {source, ROOM + 1}, {source, 0}, end},
        {{(void *)16, ROOM}, {source, ROOM}, {source, ROOM}, {source, ROOM}, end},
        {{NULL, 4 * ROOM}, {source, 0}, {source, 0}, {source, 0}, end},
        /* of another loan, or of one that was taken back */
        {{source, ROOM},
         {source, ROOM},
         {source, ROOM},
         {source, ROOM},
         {(void *)(LOAN + 1), sizeof source}},
        {{source, ROOM}, {source, ROOM}, {source, ROOM}, {source, ROOM}, {NULL, 0}}};
    ropeway_connector_options_t options;
    ropeway_descriptor_t descriptors[4];
    ropeway_connector_t *owner;

    memset(source, 'x', sizeof source);
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "local,pull";
    assert_accepted(ropeway_connector_create(&options, &owner));
    for (size_t i = 0; i < 4; i++) {
        descriptors[i] = (ropeway_descriptor_t){.ptr = room[i], .size = ROOM};
    }
    for (size_t i = 0; i <= UNIT_COUNT(lies) + 1; i++) {
        ropeway_operation_t *operation;

        assert_accepted(ropeway_create_writable(owner, descriptors, 4, NULL, &operation));
        if (i < UNIT_COUNT(lies)) {
            assert_false(lend_pieces(owner, operation, lies[i], 4));
        } else if (i == UNIT_COUNT(lies)) {
            assert_false(lend_pieces(owner, operation, (void *)16, 4));
        } else {
            assert_true(lend_pieces(owner, operation, honest, 4));
        }
        ropeway_operation_wait(operation, 20000);
        ropeway_operation_release(operation);
        for (size_t j = 0; j < 4 && i <= UNIT_COUNT(lies); j++) {
            assert_memory_equal(room[j], untouched, sizeof untouched);
        }
    }
    for (size_t j = 0; j < 4; j++) {
        assert_memory_equal(room[j], source, ROOM);
        assert_memory_equal(room[j] + ROOM, untouched, 8);
    }
    ropeway_connector_destroy(owner);
}

/* ---- without one ---- */

static SSL *shake(int fd) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);

    SSL_CTX_free(context);
    SSL_set_fd(ssl, fd);
    assert_int_equal(SSL_connect(ssl), 1);
    return ssl;
}

/* Sends so many new keys, and then a request that is refused. Whether the refusal comes. */
static bool is_served_after(ropeway_connector_t *owner, int keys) {
    uint8_t frame[FRAME_MAX];
    size_t length = pack_request(frame, owner, NULL, RW_FLAG_READ, 0);
    int fd = call(owner, true);
    SSL *ssl = shake(fd);
    bool served;

    for (int i = 0; i < keys && SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1; i++) {
        SSL_do_handshake(ssl);
    }
    SSL_write(ssl, frame, (int)length);
    served = SSL_read(ssl, frame, RW_HEAD_BYTES) == RW_HEAD_BYTES;
    SSL_free(ssl);
    close(fd);
    return served;
}

static void keys_are_renewed_for_a_reason_only(void **state) {
    (void)state;
    ropeway_connector_t *owner = open_owner("required");

    signal(SIGPIPE, SIG_IGN);
    assert_true(is_served_after(owner, 4));
    assert_false(is_served_after(owner, 100));
    assert_true(is_served_after(owner, 4));
    ropeway_connector_destroy(owner);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_while_the_first_connector_is_made_hangs_nobody),
        cmocka_unit_test(answers_that_nobody_reads_are_not_kept_without_end),
        cmocka_unit_test(who_asks_about_many_offers_is_answered_for_each),
        cmocka_unit_test(who_uses_no_key_up_stays_a_stranger),
        cmocka_unit_test(of_requests_that_are_refused_a_turn_has_one),
        cmocka_unit_test(an_operation_has_one_frame_that_is_given_up),
        cmocka_unit_test(a_loan_has_as_many_bytes_in_pieces_as_it_says),
        cmocka_unit_test(keys_are_renewed_for_a_reason_only),
    };

    return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
