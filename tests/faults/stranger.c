/* SPDX-License-Identifier: Apache-2.0 */
/* Rules 10 and 11 on a stream's port: strangers who send what they like, and impostors. Greetings
 * and frames are written by hand here, as docs/wire.md has them. */
#include "lists.h"

#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { GREETING = 64, HEAD = 72, FINGERPRINT = 32, MOST_STRANGERS = 128, REQUESTS = 60000 };

static void skip_without_stream(void) {
    if (!ts_transport_is_stream()) {
        skip();
    }
}

/* ---- a stranger's means ---- */

typedef struct door {
    struct sockaddr_storage address;
    socklen_t length;
} door_t;

/* Where the only connector of this process listens. family: AF_UNSPEC: at any place of its. */
static door_t find_door_of(int family) {
    for (int fd = 3; fd < 1024; fd++) {
        door_t door = {.length = sizeof door.address};
        socklen_t size = sizeof(int);
        int listens = 0;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
            getsockname(fd, (struct sockaddr *)&door.address, &door.length) == 0 &&
            (family == AF_UNSPEC || door.address.ss_family == family) &&
            (door.address.ss_family != AF_UNIX ||
             strncmp(((struct sockaddr_un *)&door.address)->sun_path + 1, "ropeway-", 8) == 0)) {
            return door;
        }
    }
    fail_msg("the connector does not listen");
    return (door_t){0};
}

static door_t find_door(void) {
    return find_door_of(AF_UNSPEC);
}

/* A connected socket whose reads end in time; -1: it was turned away. */
static int knock(const door_t *door) {
    struct timeval patience = {.tv_sec = TS_BOUND_MS / 1000};
    int fd = socket(door->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (const struct sockaddr *)&door->address, door->length) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void write_greeting(uint8_t bytes[GREETING], uint8_t kind, bool tls) {
    memset(bytes, 0, GREETING);
    memcpy(bytes, "RWSTREAM", 8);
    bytes[8] = 1;
    bytes[9] = kind;
    bytes[10] = tls;
}

/* Greets, and returns whether there was an answer, with the fingerprint that it claims. */
static bool greet(int fd, uint8_t fingerprint[FINGERPRINT]) {
    uint8_t bytes[GREETING];
    write_greeting(bytes, 1, true);
    if (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) != GREETING ||
        recv(fd, bytes, sizeof bytes, MSG_WAITALL) != GREETING) {
        return false;
    }
    assert_memory_equal(bytes, "RWSTREAM", 8);
    memcpy(fingerprint, bytes + GREETING - FINGERPRINT, FINGERPRINT);
    return true;
}

/* A stranger who got as far as anybody can without a key: inside of TLS. */
typedef struct stranger {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
} stranger_t;

static stranger_t enter(const door_t *door) {
    uint8_t fingerprint[FINGERPRINT];
    stranger_t stranger = {.fd = knock(door), .context = SSL_CTX_new(TLS_client_method())};
    assert_true(stranger.fd >= 0 && greet(stranger.fd, fingerprint));
    stranger.ssl = SSL_new(stranger.context);
    assert_true(SSL_set_fd(stranger.ssl, stranger.fd) == 1 && SSL_connect(stranger.ssl) == 1);
    return stranger;
}

static void leave(stranger_t *stranger) {
    SSL_free(stranger->ssl);
    SSL_CTX_free(stranger->context);
    close(stranger->fd);
}

/* Whether the other side hangs up. What it says before that is of no interest. */
static bool is_sent_away(stranger_t *stranger) {
    uint8_t bytes[4096];
    int got;
    errno = 0;
    while ((got = SSL_read(stranger->ssl, bytes, sizeof bytes)) > 0) {
    }
    return errno != EAGAIN;
}

static void await_descriptors(size_t count) {
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    while (ts_usage(0).descriptors > count) {
        assert_true(ts_now() < end);
        poll(NULL, 0, 5);
    }
}

/* ---- strangers ---- */

static void rule10_strangers_who_send_anything_are_sent_away(void **state) {
    (void)state;
    skip_without_stream();
    ropeway_connector_t *connector = ts_connect("");
    door_t door = find_door();
    ts_peer_t *peer = ts_new_peer("");
    ts_assert_works(connector, peer);
    size_t before = ts_usage(0).descriptors;
    uint64_t random = ts_seed();
    for (size_t i = 0; i < ts_scaled(400, 100); i++) {
        uint8_t bytes[4096];
        size_t length = 1 + ts_random(&random) % sizeof bytes;
        int fd = knock(&door);
        assert_true(fd >= 0);
        for (size_t k = 0; k < length; k++) {
            bytes[k] = (uint8_t)ts_random(&random);
        }
        if (i % 3 > 0) { /* a right beginning */
            write_greeting(bytes, 1, i % 3 == 1);
        }
        if (i % 5 == 0) { /* with a byte of damage */
            bytes[ts_random(&random) % GREETING] ^= (uint8_t)(1 + ts_random(&random) % 255);
        }
        (void)!send(fd, bytes, length, MSG_NOSIGNAL);
        close(fd);
        if (i % 20 == 0) {
            ts_assert_works(connector, peer);
        }
    }
    ts_assert_works(connector, peer);
    await_descriptors(before);
}

static void rule10_strangers_who_say_nothing_hold_little_and_not_for_long(void **state) {
    (void)state;
    skip_without_stream();
    enum { COUNT = 2 * MOST_STRANGERS };
    static int sockets[COUNT];
    ropeway_connector_t *connector = ts_connect("");
    door_t door = find_door();
    ts_peer_t *peer = ts_new_peer("");
    ts_assert_works(connector, peer);
    size_t before = ts_usage(0).descriptors;
    for (int i = 0; i < COUNT; i++) {
        uint8_t bytes[GREETING];
        sockets[i] = knock(&door);
        assert_true(sockets[i] >= 0);
        write_greeting(bytes, 1, true);
        (void)!send(sockets[i], bytes, (size_t)(i % GREETING), MSG_NOSIGNAL);
    }
    /* A new peer gets in between them, and those that are here go on. */
    ts_assert_works(connector, ts_new_peer(""));
    ts_assert_works(connector, peer);
    assert_true(ts_usage(0).descriptors <= before + COUNT + MOST_STRANGERS + 32);
    await_descriptors(before + COUNT + 16); /* the new peer has some */
    for (int i = 0; i < COUNT; i++) {
        char byte;
        assert_true(recv(sockets[i], &byte, 1, 0) <= 0);
        close(sockets[i]);
    }
}

/* Frames, each of them wrong in its way. Returns the length. */
static size_t write_frame(uint8_t *bytes, int which, uint64_t *random) {
    uint32_t length = which == 1 ? 0xFFFFFFFFu : which == 2 ? (256u << 10) + 1 : 100;
    memset(bytes, 0, HEAD + 101);
    memcpy(bytes, &length, sizeof length);
    bytes[4] = (uint8_t)(which == 3 ? 99 : which == 4 ? 1 : 2); /* 3: a class that does not exist */
    bytes[5] = (uint8_t)(which == 5 ? 65 : which == 6 ? 0 : 64);
    if (which == 10) { /* bytes to be fetched, of which nobody has shown that it can be done */
        bytes[0] = 24;
        bytes[4] = 3;
    }
    bytes[6] = which == 7;
    for (size_t i = 8; i < HEAD + 101; i++) {
        bytes[i] = (uint8_t)ts_random(random);
    }
    bytes[HEAD + 100] = which == 8 ? 7 : 0; /* 8: a trailer that does not exist */
    if (which == 4 || which == 9) {         /* a message of no operation */
        static const uint8_t start[] = {'R', 'W', 0, 1, 0, 0, 0, 0};
        memcpy(bytes + 8, start, sizeof start);
        bytes[10] = (uint8_t)(1 + ts_random(random) % 7);
    }
    return which == 10 ? HEAD + 24 : which == 4 ? HEAD + 100 : HEAD + 101;
}

static void rule10_a_strangers_frames_do_no_harm(void **state) {
    (void)state;
    skip_without_stream();
    ropeway_connector_t *connector = ts_connect("");
    door_t door = find_door();
    ts_peer_t *peer = ts_new_peer("");
    uint64_t random = ts_seed();
    ts_assert_works(connector, peer);
    ts_pair_t pair = ts_pair_make(connector, peer, 0, ROPEWAY_OPERATION_READ, TS_BIG, "");
    for (int which = 1; which <= 10; which++) {
        uint8_t bytes[HEAD + 101];
        stranger_t stranger = enter(&door);
        bool lasts = which == 4 || which == 9;
        for (int i = 0; i < (lasts ? 200 : 1); i++) {
            int length = (int)write_frame(bytes, which, &random);
            assert_true(SSL_write(stranger.ssl, bytes, length) == length);
        }
        if (!lasts) {
            assert_true(is_sent_away(&stranger));
        }
        leave(&stranger);
        ts_assert_works(connector, peer);
    }
    ts_pair_finish(&pair);
    assert_true(ts_stats(connector).messages_dropped > 0);
}

/* The requests of one who reads no answer are dropped, and others still get theirs. */
static void rule11_a_stranger_who_reads_nothing_keeps_nobody_from_an_answer(void **state) {
    (void)state;
    skip_without_stream();
    ropeway_connector_t *connector = ts_connect("");
    door_t door = find_door();
    ts_peer_t *peer = ts_new_peer("");
    stranger_t stranger = enter(&door);
    uint8_t request[HEAD + 16] = {16, 0, 0, 0, 1, 64};
    memcpy(request + 8, "RW\1\1", 4);
    request[8 + 56] = 1; /* one descriptor, no hello */
    ts_usage_t before = ts_usage(0);
    for (uint64_t i = 0; i < REQUESTS; i++) {
        assert_true(SSL_write(stranger.ssl, request, sizeof request) == sizeof request);
    }
    for (double end = ts_now() + TS_BOUND_MS / 1000.0;
         ts_stats(connector).requests_rejected < REQUESTS; poll(NULL, 0, 1)) {
        assert_true(ts_now() < end);
    }
    assert_true(ts_sanitized() || ts_usage(0).resident < before.resident + ((size_t)16 << 20));
    const char *metadata;
    ropeway_operation_t *offer = ts_create(connector, ROPEWAY_OPERATION_READABLE, "9", 1, "");
    assert_ok(ropeway_operation_metadata(offer, &metadata));
    char *copy = strdup(metadata);
    ts_release(offer);
    ts_peer_begin(peer, "read", 0, "9", 1, "", copy, strlen(copy));
    assert_ended(ts_peer_wait(peer, 0), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_KEY_FINISHED);
    free(copy);
    leave(&stranger);
}

/* ---- who lends ---- */

enum { PROBE = 40, LOAN = 28, LEAST_LOAN = 4096, MOST_PIECES = 1024, MOST_ANSWERS = 65536 };

static void put64(uint8_t *at, uint64_t number) {
    memcpy(at, &number, sizeof number); /* little-endian, as all that this runs on */
}

/* A process of our user (it is this one) that has shown that its memory can be fetched. */
static int become_lender(const door_t *door) {
    static uint8_t nonce[32];
    uint8_t greeting[GREETING], question[HEAD + PROBE] = {PROBE, 0, 0, 0, 5};
    uint8_t answers[HEAD + PROBE + HEAD]; /* to us: the same question, and that we may lend */
    int fd = knock(door);
    assert_true(fd >= 0);
    write_greeting(greeting, 1, false);
    put64(question + HEAD, (uint64_t)(uintptr_t)nonce);
    memcpy(question + HEAD + 8, nonce, sizeof nonce);
    assert_int_equal(send(fd, greeting, sizeof greeting, MSG_NOSIGNAL), sizeof greeting);
    assert_int_equal(recv(fd, greeting, sizeof greeting, MSG_WAITALL), sizeof greeting);
    assert_int_equal(send(fd, question, sizeof question, MSG_NOSIGNAL), sizeof question);
    assert_int_equal(recv(fd, answers, sizeof answers, MSG_WAITALL), sizeof answers);
    assert_true(answers[4] == 6 || answers[HEAD + PROBE + 4] == 6);
    return fd;
}

/* Bytes of an operation that is none. */
static bool lend(int fd, uint64_t length, uint32_t pieces) {
    uint8_t frame[HEAD + LOAN] = {LOAN, 0, 0, 0, 3, 64, 0, 0, 'R', 'W', 3, 2};
    put64(frame + HEAD + 8, (uint64_t)(uintptr_t)frame);
    put64(frame + HEAD + 16, length);
    memcpy(frame + HEAD + 24, &pieces, sizeof pieces);
    return send(fd, frame, sizeof frame, MSG_NOSIGNAL) == sizeof frame;
}

static void rule10_who_lends_too_few_bytes_or_pieces_is_sent_away(void **state) {
    (void)state;
    if (!ts_transport_is("default")) {
        skip(); /* nobody can lend */
    }
    static const struct {
        uint64_t length;
        uint32_t pieces;
    } loans[] = {{0, 1},
                 {1, 1},
                 {LEAST_LOAN - 1, 1},
                 {LEAST_LOAN, 0},
                 {LEAST_LOAN, 5},
                 {(uint64_t)1 << 40, MOST_PIECES + 1},
                 {UINT64_MAX, UINT32_MAX}};
    ropeway_connector_t *connector = ts_connect("");
    door_t door = find_door_of(AF_UNIX);
    ts_peer_t *peer = ts_new_peer("");
    for (size_t i = 0; i < sizeof loans / sizeof *loans; i++) {
        uint8_t answer[HEAD + 9];
        int fd = become_lender(&door);
        /* As little as may be: done with, as nobody waits for it. */
        assert_true(lend(fd, LEAST_LOAN, i % 2 == 0 ? 1 : LEAST_LOAN / 1024));
        assert_int_equal(recv(fd, answer, sizeof answer, MSG_WAITALL), sizeof answer);
        assert_int_equal(answer[4], 4);
        assert_true(lend(fd, loans[i].length, loans[i].pieces));
        errno = 0;
        assert_true(recv(fd, answer, 1, 0) <= 0 && errno != EAGAIN);
        close(fd);
        ts_assert_works(connector, peer);
    }
}

static void rule10_who_lends_and_takes_no_answer_is_sent_away(void **state) {
    (void)state;
    if (!ts_transport_is("default")) {
        skip();
    }
    ropeway_connector_t *connector = ts_connect("");
    door_t door = find_door_of(AF_UNIX);
    ts_peer_t *peer = ts_new_peer("");
    ts_assert_works(connector, peer);
    int fd = become_lender(&door);
    ts_usage_t before = ts_usage(0);
    size_t loans = 0;
    while (loans < (size_t)4 * MOST_ANSWERS && lend(fd, LEAST_LOAN, 1)) {
        loans++;
    }
    assert_true(loans >= MOST_ANSWERS && loans < (size_t)4 * MOST_ANSWERS);
    assert_true(ts_sanitized() || ts_usage(0).resident < before.resident + ((size_t)32 << 20));
    close(fd);
    ts_assert_works(connector, peer);
}

static void rule10_a_connector_that_was_out_of_descriptors_listens_again(void **state) {
    (void)state;
    skip_without_stream();
    static int wasted[4096];
    size_t count = 0;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    const char *metadata;
    ropeway_operation_t *operation =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "70000", 3, "");
    assert_ok(ropeway_operation_metadata(operation, &metadata));
    struct rlimit limit, low = {.rlim_cur = 256, .rlim_max = 0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low.rlim_max = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (count < sizeof wasted / sizeof *wasted && (wasted[count] = dup(0)) >= 0) {
        count++;
    }
    ropeway_error_t error =
        ts_peer_begin(peer, "read", 0, "70000", 3, "", metadata, strlen(metadata));
    ropeway_error_t early = ropeway_operation_wait(operation, 100);
    for (size_t i = 0; i < count; i++) {
        close(wasted[i]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(error, ROPEWAY_OK);
    assert_int_equal(early, ROPEWAY_ERR_TIMEOUT);
    assert_complete(ts_wait(operation));
    assert_complete(ts_peer_wait(peer, 0));
}

/* ---- impostors ---- */

/* Listens where the metadata leads, claims to be who it names, and has another key. */
typedef struct impostor {
    pthread_t thread;
    int fd;
    uint8_t claim[FINGERPRINT];
    SSL_CTX *context;
    atomic_int served;  /* connections */
    atomic_int secrets; /* bytes that were sent inside TLS */
} impostor_t;

static SSL_CTX *make_context(void) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    X509 *certificate = X509_new();
    assert_true(context != NULL && key != NULL && certificate != NULL);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

static void *pretend(void *arg) {
    impostor_t *impostor = arg;
    int fd;
    while ((fd = accept4(impostor->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        uint8_t bytes[GREETING];
        SSL *ssl = SSL_new(impostor->context);
        SSL_set_fd(ssl, fd);
        atomic_fetch_add(&impostor->served, 1);
        if (recv(fd, bytes, sizeof bytes, MSG_WAITALL) == GREETING) {
            write_greeting(bytes, 2, true);
            memcpy(bytes + GREETING - FINGERPRINT, impostor->claim, FINGERPRINT);
            (void)!send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
            SSL_accept(ssl);
            int got = SSL_read(ssl, bytes, sizeof bytes);
            atomic_fetch_add(&impostor->secrets, got > 0 ? got : 0);
        }
        SSL_free(ssl);
        close(fd);
    }
    return NULL;
}

static void begin_impostor(impostor_t *impostor, const door_t *door) {
    int one = 1;
    impostor->context = make_context();
    impostor->fd = socket(door->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(impostor->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_int_equal(bind(impostor->fd, (const struct sockaddr *)&door->address, door->length), 0);
    assert_int_equal(listen(impostor->fd, 8), 0);
    assert_int_equal(pthread_create(&impostor->thread, NULL, pretend, impostor), 0);
}

static void end_impostor(impostor_t *impostor) {
    shutdown(impostor->fd, SHUT_RDWR);
    pthread_join(impostor->thread, NULL);
    close(impostor->fd);
    SSL_CTX_free(impostor->context);
}

static void rule10_who_has_another_key_than_the_metadata_says_gets_no_secret(void **state) {
    (void)state;
    skip_without_stream();
    if (ts_transport_is("default")) {
        skip(); /* the kernel says whose process it is, and the key is not asked for */
    }
    impostor_t impostor = {0};
    ropeway_connector_t *owner = ts_connect("");
    door_t door = find_door();
    int fd = knock(&door);
    assert_true(fd >= 0 && greet(fd, impostor.claim));
    close(fd);
    ropeway_operation_t *offer = ts_create(owner, ROPEWAY_OPERATION_WRITABLE, "4096", 1, "");
    const char *json;
    assert_ok(ropeway_operation_metadata(offer, &json));
    char *metadata = strdup(json);
    ts_disconnect(owner);
    begin_impostor(&impostor, &door);
    ropeway_connector_t *writer = ts_connect("");
    ropeway_operation_t *write =
        ts_begin(writer, ROPEWAY_OPERATION_WRITE, "4096", 1, "", metadata, strlen(metadata));
    ts_outcome_t outcome = ts_wait(write);
    end_impostor(&impostor);
    assert_ended(outcome, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_UNREACHABLE);
    assert_non_null(strstr(outcome.text, "prove"));
    assert_true(atomic_load(&impostor.served) > 0);
    assert_int_equal(atomic_load(&impostor.secrets), 0);
    assert_true(ts_region_matches(ts_region(write), 1));
    free(metadata);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule10_strangers_who_send_anything_are_sent_away),
    TS_TEST(rule10_strangers_who_say_nothing_hold_little_and_not_for_long),
    TS_TEST(rule10_a_strangers_frames_do_no_harm),
    TS_TEST(rule11_a_stranger_who_reads_nothing_keeps_nobody_from_an_answer),
    TS_TEST(rule10_who_lends_too_few_bytes_or_pieces_is_sent_away),
    TS_TEST(rule10_who_lends_and_takes_no_answer_is_sent_away),
    TS_TEST(rule10_a_connector_that_was_out_of_descriptors_listens_again),
    TS_TEST(rule10_who_has_another_key_than_the_metadata_says_gets_no_secret),
};

TS_LIST(ts_list_stranger, tests);
