/* SPDX-License-Identifier: Apache-2.0 */
/* A connector's key and certificate, and how TLS is set up with them. */
#include "link/stream_identity.h"

#include "base/env.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY 86400
#define LIFETIME_DAYS 36500
#define READ_BUFFER ((size_t)32 << 10)

/* The application's settings are not ours. It is never freed: every thread that has used it has
 * state there, and would look for that when it ends. */
static OSSL_LIB_CTX *library;
static int pin_index = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The pin is part of an SSL, and is freed with it. */
static void free_pin(void *parent, void *pin, CRYPTO_EX_DATA *data, int index, long argl,
                     void *argp) {
    (void)parent, (void)data, (void)index, (void)argl, (void)argp;
    free(pin);
}

/* OpenSSL shall not take itself apart when the process exits: our threads may still be at work. */
static void prepare(void) {
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    library = OSSL_LIB_CTX_new();
    pin_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_pin);
}

void rw_identity_error(char *text, size_t size) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(code);

    if (reason != NULL) {
        snprintf(text, size, "%s", reason);
    } else if (code != 0) {
        snprintf(text, size, "OpenSSL's error 0x%lx", code);
    } else {
        snprintf(text, size, "OpenSSL gives no reason");
    }
    ERR_clear_error();
}

/* ---- the key and its certificate ---- */

static bool hash_key(EVP_PKEY *key, uint8_t fingerprint[RW_FINGERPRINT_BYTES]) {
    unsigned char *bytes = NULL;
    int length = i2d_PUBKEY(key, &bytes);

    _Static_assert(crypto_hash_sha256_BYTES == RW_FINGERPRINT_BYTES, "it is a SHA-256");
    if (length <= 0) {
        return false;
    }
    crypto_hash_sha256(fingerprint, bytes, (unsigned long long)length);
    OPENSSL_free(bytes);
    return true;
}

static bool fill(X509 *certificate, EVP_PKEY *key) {
    X509_NAME *name = X509_get_subject_name(certificate);
    uint64_t serial;

    rw_random(&serial, sizeof serial);
    return X509_set_version(certificate, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(certificate), LIFETIME_DAYS, 0, NULL) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"ropeway",
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

/* ---- TLS ---- */

/* The key that the other side proves to have must be the pinned one. */
static int check_pin(X509_STORE_CTX *store, void *argument) {
    const rw_identity_t *identity = argument;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const uint8_t *pin = SSL_get_ex_data(ssl, pin_index);
    X509 *certificate = X509_STORE_CTX_get0_cert(store);
    EVP_PKEY *key = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
    uint8_t fingerprint[RW_FINGERPRINT_BYTES];

    if (pin != NULL && key != NULL && hash_key(key, fingerprint) &&
        sodium_memcmp(fingerprint, pin, RW_FINGERPRINT_BYTES) == 0) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return identity->checks ? X509_verify_cert(store) : 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

const char *rw_identity_refusal(const SSL *ssl) {
    long result = SSL_get_verify_result(ssl);

    return result == X509_V_OK || result == X509_V_ERR_CERT_REJECTED
               ? NULL
               : X509_verify_cert_error_string(result);
}

static SSL_CTX *make_context(const SSL_METHOD *method) {
    SSL_CTX *context = SSL_CTX_new_ex(library, NULL, method);

    if (context == NULL) {
        return NULL;
    }
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_BUFFER);
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                          "TLS_CHACHA20_POLY1305_SHA256") == 1 &&
        SSL_CTX_set1_groups_list(context, "X25519:P-256") == 1 &&
        SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1) {
        return context;
    }
    SSL_CTX_free(context);
    return NULL;
}

/* ---- a key of our own, or the user's ---- */

static bool make_own(rw_identity_t *identity) {
    identity->key = EVP_PKEY_Q_keygen(library, NULL, "EC", "P-256");
    identity->certificate = X509_new_ex(library, NULL);
    return identity->key != NULL && identity->certificate != NULL &&
           fill(identity->certificate, identity->key) &&
           hash_key(identity->key, identity->fingerprint);
}

/* false: OpenSSL has no memory. */
static bool need_accepts(rw_identity_t *identity) {
    SSL_CTX *context = identity->accepts;

    if (context != NULL) {
        return true;
    }
    context = make_context(TLS_server_method());
    if (context != NULL && identity->certificate != NULL &&
        (SSL_CTX_use_certificate(context, identity->certificate) != 1 ||
         SSL_CTX_use_PrivateKey(context, identity->key) != 1)) {
        SSL_CTX_free(context);
        context = NULL;
    }
    identity->accepts = context;
    return context != NULL;
}

static bool need_connects(rw_identity_t *identity) {
    if (identity->connects == NULL) {
        identity->connects = make_context(TLS_client_method());
        if (identity->connects != NULL) {
            SSL_CTX_set_verify(identity->connects, SSL_VERIFY_PEER, NULL);
            SSL_CTX_set_cert_verify_callback(identity->connects, check_pin, identity);
        }
    }
    return identity->connects != NULL;
}

/* Nobody is asked. */
static int no_password(char *buffer, int size, int writes, void *unused) {
    (void)buffer, (void)size, (void)writes, (void)unused;
    return -1;
}

static ropeway_error_t refuse_file(const char *option, const char *path, const char *what) {
    char why[96];

    rw_identity_error(why, sizeof why);
    return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the connector option %s is \"%s\", %s: %s",
                   option, path, what, why);
}

/* OpenSSL does not say why a file can't be opened. */
static ropeway_error_t check_file(const char *option, const char *path) {
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

    if (fd < 0 && path != NULL) {
        bool is_short = errno == EMFILE || errno == ENFILE || errno == ENOMEM;

        return rw_fail(is_short ? ROPEWAY_ERR_SYSTEM : ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the connector option %s is \"%s\", which can't be opened: %m%s", option,
                       path, errno == EMFILE ? "; raise the limit on open files (ulimit -n)" : "");
    }
    if (fd >= 0) {
        close(fd);
    }
    return ROPEWAY_OK;
}

static ropeway_error_t check_files(const ropeway_connector_options_t *options) {
    ropeway_error_t error = check_file("tls_cert", options->tls_cert);

    if (error == ROPEWAY_OK) {
        error = check_file("tls_key", options->tls_key);
    }
    return error == ROPEWAY_OK ? check_file("tls_ca", options->tls_ca) : error;
}

static ropeway_error_t load_into(SSL_CTX *context, const ropeway_connector_options_t *options) {
    SSL_CTX_set_default_passwd_cb(context, no_password);
    if (SSL_CTX_use_certificate_chain_file(context, options->tls_cert) != 1) {
        return refuse_file("tls_cert", options->tls_cert, "which can't be used as a certificate");
    }
    if (SSL_CTX_use_PrivateKey_file(context, options->tls_key, SSL_FILETYPE_PEM) != 1) {
        return refuse_file("tls_key", options->tls_key,
                           "which can't be used as the key of tls_cert (without a password)");
    }
    if (options->tls_ca != NULL && SSL_CTX_load_verify_file(context, options->tls_ca) != 1) {
        return refuse_file("tls_ca", options->tls_ca, "which can't be used as certificates");
    }
    return ROPEWAY_OK;
}

/* Whether it would let itself in: what is wrong with our certificate is said here, and not by every
 * peer. */
static ropeway_error_t check_own(SSL_CTX *context, const ropeway_connector_options_t *options,
                                 int purpose) {
    X509_STORE_CTX *check = X509_STORE_CTX_new_ex(library, NULL);
    STACK_OF(X509) *chain = NULL;
    ropeway_error_t error = ROPEWAY_OK;

    SSL_CTX_get0_chain_certs(context, &chain);
    if (check == NULL ||
        X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context),
                            SSL_CTX_get0_certificate(context), chain) != 1 ||
        X509_STORE_CTX_set_purpose(check, purpose) != 1) {
        error = rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    } else if (X509_verify_cert(check) != 1) {
        error = rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                        "the connector option tls_cert is \"%s\", which peers with this tls_ca "
                        "(\"%s\") would not accept of a %s: %s",
                        options->tls_cert, options->tls_ca,
                        purpose == X509_PURPOSE_SSL_SERVER ? "server" : "client",
                        X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)));
    }
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return error;
}

static ropeway_error_t load(rw_identity_t *identity, const ropeway_connector_options_t *options) {
    ropeway_error_t error = load_into(identity->accepts, options);
    const X509 *certificate;

    if (error == ROPEWAY_OK) {
        error = load_into(identity->connects, options);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    certificate = SSL_CTX_get0_certificate(identity->accepts);
    if (!hash_key(X509_get0_pubkey(certificate), identity->fingerprint)) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    if (options->tls_ca == NULL) {
        return ROPEWAY_OK;
    }
    identity->checks = true;
    SSL_CTX_set_verify(identity->accepts, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    error = check_own(identity->accepts, options, X509_PURPOSE_SSL_SERVER);
    return error == ROPEWAY_OK ? check_own(identity->accepts, options, X509_PURPOSE_SSL_CLIENT)
                               : error;
}

static ropeway_error_t check_options(const ropeway_connector_options_t *options) {
    if ((options->tls_cert == NULL) != (options->tls_key == NULL)) {
        return rw_fail(
            ROPEWAY_ERR_INVALID_ARGUMENT,
            "of the connector options tls_cert and tls_key one is set; they go together");
    }
    if (options->tls_ca != NULL && options->tls_cert == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the connector option tls_ca is set without tls_cert and tls_key, by which "
                       "peers know us");
    }
    if (options->tls_ca != NULL && options->encryption != NULL &&
        strcmp(options->encryption, "off") == 0) {
        return rw_fail(
            ROPEWAY_ERR_INVALID_ARGUMENT,
            "the connector options tls_ca and encryption (\"off\") are both set; without "
            "encryption nobody shows a certificate");
    }
    return ROPEWAY_OK;
}

static ropeway_error_t make_all(rw_identity_t *identity,
                                const ropeway_connector_options_t *options) {
    char why[96];

    if (options->tls_cert == NULL) {
        if (make_own(identity)) {
            return ROPEWAY_OK;
        }
    } else if (need_accepts(identity) && need_connects(identity)) {
        return load(identity, options);
    }
    rw_identity_error(why, sizeof why);
    return rw_fail(ROPEWAY_ERR_SYSTEM, "the connector's key can't be made by OpenSSL: %s", why);
}

ropeway_error_t rw_identity_make(rw_identity_t *identity,
                                 const ropeway_connector_options_t *options) {
    ropeway_error_t error = check_options(options);

    if (error == ROPEWAY_OK) {
        error = check_files(options);
    }
    memset(identity, 0, sizeof *identity);
    if (error != ROPEWAY_OK) {
        return error;
    }
    pthread_once(&once, prepare);
    ERR_clear_error();
    if (library == NULL || pin_index < 0) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "OpenSSL has no memory");
    }
    error = make_all(identity, options);
    if (error != ROPEWAY_OK) {
        rw_identity_free(identity);
    }
    return error;
}

void rw_identity_free(rw_identity_t *identity) {
    SSL_CTX_free(identity->accepts);
    SSL_CTX_free(identity->connects);
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
    memset(identity, 0, sizeof *identity);
}

SSL *rw_identity_connect(rw_identity_t *identity, const uint8_t fingerprint[RW_FINGERPRINT_BYTES]) {
    uint8_t *pin = malloc(RW_FINGERPRINT_BYTES);
    SSL *ssl = pin != NULL && need_connects(identity) ? SSL_new(identity->connects) : NULL;

    if (ssl == NULL || SSL_set_ex_data(ssl, pin_index, pin) != 1) {
        free(pin);
        SSL_free(ssl);
        return NULL;
    }
    memcpy(pin, fingerprint, RW_FINGERPRINT_BYTES);
    SSL_set_connect_state(ssl);
    return ssl;
}

SSL *rw_identity_accept(rw_identity_t *identity) {
    SSL *ssl = need_accepts(identity) ? SSL_new(identity->accepts) : NULL;

    if (ssl != NULL) {
        SSL_set_accept_state(ssl);
    }
    return ssl;
}
