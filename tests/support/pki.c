/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for tests, made with OpenSSL. */
#include "pki.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOUR 3600

static char folder[256];
static pid_t owner; /* forked children leave it alone */

static void must(bool done, const char *what) {
    if (!done) {
        fprintf(stderr, "certificates for tests: %s failed\n", what);
        abort();
    }
}

static FILE *create(const char *name, const char *suffix) {
    char path[320];
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    FILE *file = fopen(path, "we");
    must(file != NULL, path);
    return file;
}

static void write_key(const char *name, EVP_PKEY *key, const char *password) {
    FILE *file = create(name, ".key");
    must(PEM_write_PrivateKey(file, key, password != NULL ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL,
                              (void *)password) == 1,
         "writing a key");
    fclose(file);
}

static void write_certificate(const char *name, X509 *certificate) {
    FILE *file = create(name, ".pem");
    must(PEM_write_X509(file, certificate) == 1, "writing a certificate");
    fclose(file);
}

static void extend(X509 *certificate, int kind, const char *value) {
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, kind, value);
    must(extension != NULL && X509_add_ext(certificate, extension, -1) == 1, "an extension");
    X509_EXTENSION_free(extension);
}

/* issuer NULL: an authority, which signs itself. usage NULL: for everything. */
static X509 *sign(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, long ends,
                  const char *usage) {
    static long serial;
    X509 *made = X509_new();
    X509_NAME *subject = X509_get_subject_name(made);
    X509_set_version(made, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(made), -48L * HOUR);
    X509_gmtime_adj(X509_getm_notAfter(made), ends);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(made, issuer != NULL ? X509_get_subject_name(issuer) : subject);
    X509_set_pubkey(made, key);
    extend(made, NID_basic_constraints, issuer != NULL ? "CA:FALSE" : "critical,CA:TRUE");
    if (usage != NULL) {
        extend(made, NID_ext_key_usage, usage);
    }
    must(X509_sign(made, issuer != NULL ? issuer_key : key, EVP_sha256()) > 0, "a signature");
    return made;
}

/* A key and its certificate, in files of this name. */
static void issue(const char *name, X509 *issuer, EVP_PKEY *issuer_key, long ends,
                  const char *usage) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = sign(name, key, issuer, issuer_key, ends, usage);
    write_key(name, key, NULL);
    write_certificate(name, certificate);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void clean_up(void) {
    if (getpid() != owner) {
        return;
    }
    static const char *const names[] = {"ca",   "one",    "two",    "other",
                                        "late", "server", "locked", "other-ca"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        for (int kind = 0; kind < 2; kind++) {
            char path[320];
            snprintf(path, sizeof path, "%s/%s%s", folder, names[i], kind == 0 ? ".pem" : ".key");
            unlink(path);
        }
    }
    rmdir(folder);
}

const char *ts_pki(void) {
    if (folder[0] != '\0') {
        return folder;
    }
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/ropeway-pki-XXXXXX", parent != NULL ? parent : "/tmp");
    must(mkdtemp(folder) != NULL, folder);
    owner = getpid();
    atexit(clean_up);
    EVP_PKEY *keys[2] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-256")};
    X509 *ca = sign("authority", keys[0], NULL, NULL, HOUR, NULL);
    X509 *other = sign("another authority", keys[1], NULL, NULL, HOUR, NULL);
    write_certificate("ca", ca);
    write_certificate("other-ca", other);
    write_key("locked", keys[0], "secret");
    issue("one", ca, keys[0], HOUR, NULL);
    issue("two", ca, keys[0], HOUR, "serverAuth,clientAuth");
    issue("late", ca, keys[0], -HOUR, NULL);
    issue("server", ca, keys[0], HOUR, "serverAuth");
    issue("other", other, keys[1], HOUR, NULL);
    X509_free(ca);
    X509_free(other);
    EVP_PKEY_free(keys[0]);
    EVP_PKEY_free(keys[1]);
    return folder;
}
