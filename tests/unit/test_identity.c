/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and certificates of the user's: what is refused, and who lets whom in. */
#include "base/connector.h"
#include "link/stream.h"
#include "pki.h"
#include "unit.h"

typedef struct files {
    const char *cert, *key, *ca; /* in the folder; NULL: not set */
} files_t;

static const char *path_of(const char *name, char path[320]) {
    snprintf(path, 320, "%s/%s", ts_pki(), name);
    return name != NULL ? path : NULL;
}

static ropeway_error_t try(const files_t *files, const char *encryption,
                           ropeway_connector_t **connector) {
    ropeway_connector_options_t options;
    char paths[3][320];

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "stream";
    options.net_devices = "lo";
    options.encryption = encryption;
    options.tls_cert = path_of(files->cert, paths[0]);
    options.tls_key = path_of(files->key, paths[1]);
    options.tls_ca = path_of(files->ca, paths[2]);
    return ropeway_connector_create(&options, connector);
}

static const files_t one = {"one.pem", "one.key", "ca.pem"};
static const files_t two = {"two.pem", "two.key", "ca.pem"};
static const files_t other = {"other.pem", "other.key", "other-ca.pem"};
static const files_t shown = {"one.pem", "one.key", NULL}; /* checks nobody */
static const files_t none = {NULL, NULL, NULL};

static void files_that_are_of_no_use_are_named(void **state) {
    (void)state;
    static const struct {
        files_t files;
        const char *encryption, *said;
    } cases[] = {
        {{"one.pem", NULL, NULL}, NULL, "they go together"},
        {{NULL, "one.key", NULL}, NULL, "they go together"},
        {{NULL, NULL, "ca.pem"}, NULL, "tls_ca is set without tls_cert"},
        {{"one.pem", "one.key", "ca.pem"}, "off", "without encryption nobody shows"},
        {{"missing.pem", "one.key", NULL},
         NULL,
         "missing.pem\", which can't be opened: No such file"},
        {{"one.key", "one.key", NULL}, NULL, "the connector option tls_cert is"},
        {{"one.pem", "missing.key", NULL}, NULL, "tls_key is"},
        {{"one.pem", "two.key", NULL}, NULL, "the key of tls_cert"},
        {{"one.pem", "locked.key", NULL}, NULL, "without a password"},
        {{"one.pem", "one.key", "missing.pem"}, NULL, "tls_ca is"},
        {{"one.pem", "one.key", "one.key"}, NULL, "the connector option tls_ca is"},
        {{"other.pem", "other.key", "ca.pem"}, NULL, "would not accept of a server"},
        {{"late.pem", "late.key", "ca.pem"}, NULL, "expired"},
        {{"server.pem", "server.key", "ca.pem"}, NULL, "would not accept of a client"},
    };

    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        ropeway_connector_t *connector;

        assert_refused(try(&cases[i].files, cases[i].encryption, &connector),
                       ROPEWAY_ERR_INVALID_ARGUMENT, cases[i].said);
    }
}

static void two_connectors_with_one_key_have_a_place_each(void **state) {
    (void)state;
    ropeway_connector_options_t options;
    ropeway_connector_t *pair[2];
    char paths[2][320];

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "local";
    options.tls_cert = path_of("one.pem", paths[0]);
    options.tls_key = path_of("one.key", paths[1]);
    for (size_t i = 0; i < 2; i++) {
        assert_accepted(ropeway_connector_create(&options, &pair[i]));
    }
    rw_lock(&pair[0]->lock);
    assert_true(rw_stream_of(pair[0])->address.local);
    rw_unlock(&pair[0]->lock);
    rw_lock(&pair[1]->lock);
    assert_true(rw_stream_of(pair[1])->address.local);
    rw_unlock(&pair[1]->lock);
    ropeway_connector_destroy(pair[0]);
    ropeway_connector_destroy(pair[1]);
}

/* The reader's outcome; said is in its sentence, and on success in its path. */
static void read_by(const files_t *owner_files, const files_t *reader_files, ropeway_error_t want,
                    const char *said) {
    ropeway_connector_t *owner, *reader;
    ropeway_operation_t *offer, *read;
    uint8_t from[100], to[100] = {0};
    ropeway_descriptor_t source = {.ptr = from, .size = sizeof from};
    ropeway_descriptor_t target = {.ptr = to, .size = sizeof to};
    const char *text;
    ropeway_error_t got;

    memset(from, 0x5A, sizeof from);
    assert_accepted(try(owner_files, NULL, &owner));
    assert_accepted(try(reader_files, NULL, &reader));
    assert_accepted(ropeway_create_readable(owner, &source, 1, NULL, &offer));
    assert_accepted(ropeway_operation_metadata(offer, &text));
    assert_accepted(ropeway_begin_read(reader, text, strlen(text), &target, 1, NULL, &read));
    got = ropeway_operation_wait(read, TS_BOUND_MS);
    if (got != want) {
        fail_msg("%s: %s", ropeway_error_name(got), ropeway_operation_error_text(read));
    }
    if (want == ROPEWAY_OK) {
        char path[128];

        ropeway_operation_path(read, path, sizeof path);

        assert_memory_equal(from, to, sizeof to);
        assert_non_null(strstr(path, said));
    } else {
        assert_non_null(strstr(ropeway_operation_error_text(read), said));
        assert_int_equal(ropeway_operation_status(offer), ROPEWAY_STATUS_INITIALIZED);
    }
    ropeway_operation_release(read);
    ropeway_operation_release(offer);
    ropeway_connector_destroy(reader);
    ropeway_connector_destroy(owner);
}

static void who_shows_a_certificate_of_the_authority_is_let_in(void **state) {
    (void)state;
    read_by(&one, &two, ROPEWAY_OK, "TLSv1.3"); /* on loopback, too */
    read_by(&one, &one, ROPEWAY_OK, "TLSv1.3");
    read_by(&one, &shown, ROPEWAY_OK, "TLSv1.3");
    read_by(&shown, &two, ROPEWAY_OK, "TLSv1.3");
    read_by(&shown, &none, ROPEWAY_OK, "tcp/");
}

static void who_shows_none_or_another_is_not(void **state) {
    (void)state;
    read_by(&one, &none, ROPEWAY_ERR_UNREACHABLE, "that its option tls_ca knows");
    read_by(&one, &other, ROPEWAY_ERR_UNREACHABLE, "none of tls_ca's");
    read_by(&other, &shown, ROPEWAY_ERR_UNREACHABLE, "that its option tls_ca knows");
    read_by(&none, &one, ROPEWAY_ERR_UNREACHABLE, "none of tls_ca's");
    read_by(&shown, &other, ROPEWAY_ERR_UNREACHABLE, "none of tls_ca's");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_of_no_use_are_named),
        cmocka_unit_test(two_connectors_with_one_key_have_a_place_each),
        cmocka_unit_test(who_shows_a_certificate_of_the_authority_is_let_in),
        cmocka_unit_test(who_shows_none_or_another_is_not),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
