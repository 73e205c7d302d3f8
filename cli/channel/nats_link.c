/* SPDX-License-Identifier: Apache-2.0 */
/* How a connection to a NATS server is set up, and what is said when there is none. */
#include "nats_link.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/text.h"

#define RECONNECT_WAIT_MS 250
#define RECONNECT_JITTER_MS 250
#define PING_INTERVAL_MS 20000 /* a server that is gone without a word is found after three */
#define CLOSE_LIMIT_MS 5000
#define MEMORY_MORE ((rlim_t)1 << 30) /* bytes; far more than all messages that are any use */

/* The NATS library's own words on the latest error of this thread. */
static const char *last_words(natsStatus status) {
    const char *words = nats_GetLastError(NULL);
    if (words == NULL || *words == '\0') {
        return natsStatus_GetText(status);
    }
    /* They begin with "(FILE:LINE): ", which is for its developers. */
    const char *end = *words == '(' ? strstr(words, "): ") : NULL;
    return end != NULL ? end + 3 : words;
}

static natsStatus set_login(natsOptions *options, const struct cli_url *url,
                            const struct cli_credentials *credentials) {
    if (credentials->nats_creds != NULL) {
        return natsOptions_SetUserCredentialsFromFiles(options, credentials->nats_creds, NULL);
    }
    if (url->user != NULL && url->password != NULL) {
        return natsOptions_SetUserInfo(options, url->user, url->password);
    }
    return url->user != NULL ? natsOptions_SetToken(options, url->user) : NATS_OK;
}

static natsStatus set_tls(natsOptions *options, const struct cli_url *url,
                          const struct cli_credentials *credentials, const char **file) {
    natsStatus status = NATS_OK;
    if (url->is_tls || credentials->tls_ca != NULL || credentials->tls_cert != NULL) {
        status = natsOptions_SetSecure(options, true);
    }
    if (status == NATS_OK && credentials->tls_ca != NULL) {
        *file = credentials->tls_ca;
        status = natsOptions_LoadCATrustedCertificates(options, *file);
    }
    if (status == NATS_OK && credentials->tls_cert != NULL) {
        *file = credentials->tls_cert;
        status = natsOptions_LoadCertificatesChain(options, *file, credentials->tls_key);
    }
    return status;
}

static natsStatus set_habits(natsOptions *options, const struct cli_url *url, const char *name,
                             uint32_t timeout_ms) {
    natsStatus status = natsOptions_SetURL(options, url->base);
    if (status == NATS_OK) {
        status = natsOptions_SetName(options, name);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetTimeout(options, timeout_ms);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetMaxReconnect(options, -1);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetReconnectWait(options, RECONNECT_WAIT_MS);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetReconnectJitter(options, RECONNECT_JITTER_MS, RECONNECT_JITTER_MS);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetPingInterval(options, PING_INTERVAL_MS);
    }
    /* A request or an answer is alone: to wait for more to send with it gains nothing. */
    return status == NATS_OK ? natsOptions_SetSendAsap(options, true) : status;
}

static natsStatus set_events(natsOptions *options, const struct cli_nats_events *events) {
    natsStatus status = natsOptions_SetDisconnectedCB(options, events->disconnected, events->arg);
    if (status == NATS_OK) {
        status = natsOptions_SetReconnectedCB(options, events->reconnected, events->arg);
    }
    if (status == NATS_OK) {
        status = natsOptions_SetClosedCB(options, events->closed, events->arg);
    }
    return status == NATS_OK ? natsOptions_SetErrorHandler(options, events->error, events->arg)
                             : status;
}

natsOptions *cli_nats_options(const struct cli_url *url, const struct cli_credentials *credentials,
                              const char *name, uint32_t timeout_ms,
                              const struct cli_nats_events *events, char text[CLI_SENTENCE_SIZE]) {
    natsOptions *options = NULL;
    const char *file = NULL;
    if (credentials->nats_creds != NULL && access(credentials->nats_creds, R_OK) != 0) {
        cli_sentence(text, "can't read the credentials file '%s': %s", credentials->nats_creds,
                     cli_errno_text(errno));
        return NULL;
    }
    natsStatus status = natsOptions_Create(&options);
    if (status == NATS_OK) {
        status = set_habits(options, url, name, timeout_ms);
    }
    if (status == NATS_OK) {
        status = set_events(options, events);
    }
    if (status == NATS_OK) {
        status = set_login(options, url, credentials);
    }
    if (status == NATS_OK) {
        status = set_tls(options, url, credentials, &file);
    }
    if (status == NATS_OK) {
        return options;
    }
    if (file != NULL) {
        cli_sentence(text, "can't use '%s' for TLS: %s; give certificates and key as PEM files",
                     file, last_words(status));
    } else {
        cli_sentence(text, "can't prepare a connection to %s: %s", url->base, last_words(status));
    }
    natsOptions_Destroy(options);
    return NULL;
}

static void explain(natsStatus status, const char *base, char text[CLI_SENTENCE_SIZE]) {
    const char *words = last_words(status);
    if (status == NATS_CONNECTION_AUTH_FAILED) {
        cli_sentence(
            text,
            "%s refuses the login: %s; give it in the URL, as in nats://USER:PASSWORD@HOST "
            "or nats://TOKEN@HOST, or with '--nats-creds FILE'",
            base, words);
    } else if (status == NATS_SECURE_CONNECTION_WANTED) {
        cli_sentence(text, "%s does not offer TLS; write nats:// and leave the TLS options out",
                     base);
    } else if (status == NATS_SSL_ERROR) {
        cli_sentence(text, "no TLS with %s: %s; '--tls-ca FILE' says whom to trust", base, words);
    } else if (status == NATS_NO_SERVER || status == NATS_TIMEOUT) {
        cli_sentence(text,
                     "can't reach %s: no NATS server answers there; check host and port, and "
                     "that 'nats-server' runs",
                     base);
    } else {
        cli_sentence(text, "can't use %s: %s; is this a NATS server?", base, words);
    }
}

/* Bytes of private memory that the process has; 0: nobody says. */
static rlim_t private_memory(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%*u %*u %*u %*u %*u %lu", &pages) != 1) {
            pages = 0;
        }
        fclose(file);
    }
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* The NATS library takes memory for a message at the size that the server announces, and miscounts
 * sizes near 2 GiB. With a limit it gets none for such sizes, and gives the connection up. */
static void limit_memory(void) {
    struct rlimit limit;
    rlim_t most = private_memory();
    if (most > 0 && getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur > most + MEMORY_MORE) {
        limit.rlim_cur = most + MEMORY_MORE;
        setrlimit(RLIMIT_DATA, &limit);
    }
}

natsConnection *cli_nats_connect(natsOptions *options, const char *base,
                                 char text[CLI_SENTENCE_SIZE]) {
    natsConnection *connection = NULL;
    limit_memory();
    natsStatus status = natsConnection_Connect(&connection, options);
    if (status == NATS_OK && natsConnection_HasHeaderSupport(connection) == NATS_OK) {
        return connection;
    }
    if (status == NATS_OK) {
        cli_sentence(text, "%s knows no message headers; NATS server 2.2 or later is needed", base);
    } else {
        explain(status, base, text);
    }
    natsConnection_Destroy(connection);
    return NULL;
}

/* What follows the texts in the one piece of memory that a message is. */
static const char *after_texts(const natsMsg *message) {
    const char *last = natsMsg_GetReply(message);
    last = last != NULL ? last : natsMsg_GetSubject(message);
    return last + strlen(last) + 1;
}

static bool layout_known;

/* Whether the data follows the texts where there are no headers. */
static void learn_layout(void) {
    natsMsg *message = NULL;
    layout_known = natsMsg_Create(&message, "subject", "reply", "data", 4) == NATS_OK &&
                   natsMsg_GetData(message) == after_texts(message);
    natsMsg_Destroy(message);
}

size_t cli_nats_headers_size(const natsMsg *message) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, learn_layout);
    ptrdiff_t size = layout_known ? natsMsg_GetData(message) - after_texts(message) : 0;
    return size > 0 ? (size_t)size : 0;
}

bool cli_nats_close(natsConnection *connection, natsOptions *options) {
    natsConnection_Destroy(connection);
    natsOptions_Destroy(options);
    natsStatus status = nats_CloseAndWait(CLOSE_LIMIT_MS);
    return status == NATS_OK || status == NATS_NOT_INITIALIZED;
}
