/* SPDX-License-Identifier: Apache-2.0 */
/* A socket's bytes, in clear or encrypted; stream_wire.h tells how. */
#include "link/stream_wire.h"

#include "base/assert.h"
#include "base/env.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECORD 16384               /* bytes of plaintext in one */
#define RECORD_ROOM (RECORD + 256) /* what a record takes, with all that belongs to it */
#define OUT_BYTES (2 * (size_t)RECORD_ROOM)
#define KEY_BYTES ((uint64_t)64 << 30) /* a key is changed after so many */
/* Notices of TLS's own that the other side may send: so many, and one for so many bytes. OpenSSL
 * works them off without end where it is to read bytes, and strangers can send them. */
#define NOTICES 16
#define NOTICE_BYTES ((uint64_t)1 << 30)

static int broken(rw_wire_t *wire, int error) {
    snprintf(wire->why, sizeof wire->why, "%s", strerror(error));
    return RW_WIRE_BROKEN;
}

/* ---- what OpenSSL takes for its socket ---- */

static BIO_METHOD *method;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int bio_write(BIO *bio, const char *data, size_t length, size_t *written) {
    rw_wire_t *wire = BIO_get_data(bio);
    size_t room = OUT_BYTES - wire->out_to;

    BIO_clear_retry_flags(bio);
    *written = length < room ? length : room;
    if (*written == 0) {
        BIO_set_retry_write(bio);
        return 0;
    }
    memcpy(wire->out + wire->out_to, data, *written);
    wire->out_to += *written;
    return 1;
}

static int bio_read(BIO *bio, char *data, size_t length, size_t *got) {
    rw_wire_t *wire = BIO_get_data(bio);
    ssize_t count = -1;

    BIO_clear_retry_flags(bio);
    if (wire->noisy) {
        return 0; /* not to be tried again */
    }
    if (!wire->drained) {
        count = recv(wire->fd, data, length, 0);
    }
    if (wire->drained || (count < 0 && (errno == EAGAIN || errno == EINTR))) {
        wire->drained = true;
        BIO_set_retry_read(bio);
        return 0;
    }
    wire->drained = count > 0 && count < (ssize_t)length;
    wire->ended = count == 0;
    wire->error = count < 0 ? errno : 0;
    *got = count > 0 ? (size_t)count : 0;
    return count > 0;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
    const rw_wire_t *wire = BIO_get_data(bio);

    (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH || (command == BIO_CTRL_EOF && wire->ended);
}

static int bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

static void make_method(void) {
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ropeway");
    if (method != NULL) {
        BIO_meth_set_write_ex(method, bio_write);
        BIO_meth_set_read_ex(method, bio_read);
        BIO_meth_set_ctrl(method, bio_control);
        BIO_meth_set_create(method, bio_create);
    }
}

/* ---- TLS ---- */

static void on_message(int written, int version, int type, const void *bytes, size_t length,
                       SSL *ssl, void *argument) {
    rw_wire_t *wire = argument;

    (void)version, (void)bytes, (void)length, (void)ssl;
    if (!written && type == SSL3_RT_HANDSHAKE && wire->shaken) {
        wire->noisy |= ++wire->notices > NOTICES + wire->decrypted / NOTICE_BYTES;
    }
}

void rw_wire_open(rw_wire_t *wire, int fd) {
    *wire = rw_wire_none();
    wire->fd = fd;
}

bool rw_wire_start_tls(rw_wire_t *wire, rw_identity_t *identity, const uint8_t *fingerprint) {
    BIO *bio;

    pthread_once(&once, make_method);
    wire->shaken = false;
    wire->out = malloc(OUT_BYTES);
    wire->ssl = fingerprint != NULL ? rw_identity_connect(identity, fingerprint)
                                    : rw_identity_accept(identity);
    bio = method != NULL && wire->ssl != NULL ? BIO_new(method) : NULL;
    if (wire->out == NULL || bio == NULL) {
        BIO_free(bio);
        return false;
    }
    BIO_set_data(bio, wire);
    SSL_set_bio(wire->ssl, bio, bio);
    SSL_set_msg_callback(wire->ssl, on_message);
    SSL_set_msg_callback_arg(wire->ssl, wire);
    return true;
}

/* Whether the other side has sent an alert of its about ours. */
static bool is_about_certificate(void) {
    switch (ERR_GET_REASON(ERR_peek_last_error())) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
        return true;
    default:
        return false;
    }
}

/* What the result of a call means that did not succeed. */
static int explain(rw_wire_t *wire, int result) {
    if (wire->noisy) {
        ERR_clear_error();
        snprintf(wire->why, sizeof wire->why, "it renews its keys without need");
        return RW_WIRE_BROKEN;
    }
    switch (SSL_get_error(wire->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return RW_WIRE_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return RW_WIRE_ENDED;
    default:
        if (wire->ended || wire->error != 0) {
            ERR_clear_error();
            return wire->ended ? RW_WIRE_ENDED : broken(wire, wire->error);
        }
        if (is_about_certificate()) {
            snprintf(wire->why, sizeof wire->why,
                     "it lets nobody in without a certificate that "
                     "its option tls_ca knows: ");
            rw_identity_error(wire->why + strlen(wire->why), sizeof wire->why - strlen(wire->why));
            return RW_WIRE_BROKEN;
        }
        rw_identity_error(wire->why, sizeof wire->why);
        return RW_WIRE_BROKEN;
    }
}

int rw_wire_shake(rw_wire_t *wire) {
    int result, sent = rw_wire_flush(wire);

    if (wire->shaken || sent < 0) {
        return sent;
    }
    ERR_clear_error();
    result = SSL_do_handshake(wire->ssl);
    wire->shaken = result == 1;
    result = result == 1 ? 1 : explain(wire, result);
    sent = rw_wire_flush(wire); /* an alert, too */
    return result != 1 ? result : sent;
}

void rw_wire_turn(rw_wire_t *wire) {
    wire->drained = false;
}

static ssize_t read_tls(rw_wire_t *wire, const struct iovec *pieces, int count) {
    ssize_t total = 0;

    for (int i = 0; i < count; i++) {
        size_t got = 0;
        int result;

        for (size_t at = 0; at < pieces[i].iov_len; at += got) {
            ERR_clear_error();
            result = SSL_read_ex(wire->ssl, (char *)pieces[i].iov_base + at, pieces[i].iov_len - at,
                                 &got);
            if (result != 1 || wire->noisy) {
                return total > 0 ? total : explain(wire, result);
            }
            total += (ssize_t)got;
            wire->decrypted += got;
        }
    }
    return total;
}

/* Takes along a descriptor that comes with the bytes; the kernel drops all but the first one. */
static ssize_t receive(rw_wire_t *wire, const struct iovec *pieces, int count) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = (struct iovec *)pieces,
                             .msg_iovlen = (size_t)count,
                             .msg_control = control.bytes,
                             .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t got = recvmsg(wire->fd, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *header = got >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
    int descriptor;

    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        return got;
    }
    memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    if (wire->received >= 0 || !rw_process_own(descriptor)) {
        rw_process_close(descriptor);
    } else {
        wire->received = descriptor;
    }
    return got;
}

/* The other side sleeps: a byte through the socket wakes it. When the socket takes none there are
 * plenty of them in it. While we still write to it what we write next does. */
static void wake_other(const rw_wire_t *wire) {
    if (wire->writes_ring) {
        (void)!send(wire->fd, "", 1, MSG_NOSIGNAL);
    }
}

static int broken_ring(rw_wire_t *wire) {
    snprintf(wire->why, sizeof wire->why, "its memory for a queue makes no sense");
    return RW_WIRE_BROKEN;
}

/* What woke us is read. false: the other side has ended, and wire->error says if by a failure. */
static bool hear_wakes(rw_wire_t *wire) {
    char wakes[256];
    ssize_t got;

    wire->signalled = false;
    got = recv(wire->fd, wakes, sizeof wakes, 0);
    if (got < 0 && errno != EAGAIN && errno != EINTR) {
        wire->error = errno;
    }
    return got > 0 || (got < 0 && wire->error == 0);
}

/* When the socket has ended, what is in the ring counts still. */
static ssize_t read_ring(rw_wire_t *wire, const struct iovec *pieces, int count) {
    bool wake = false;
    ssize_t got;

    if (wire->signalled && !wire->ended) {
        wire->ended = !hear_wakes(wire);
    }
    got = rw_ring_read(&wire->ring, pieces, count, &wake);
    if (wake) {
        wake_other(wire);
    }
    if (got == RW_RING_BROKEN) {
        return broken_ring(wire);
    }
    if (got == 0 && wire->ended) {
        return wire->error != 0 ? broken(wire, wire->error) : RW_WIRE_ENDED;
    }
    return got > 0 ? got : RW_WIRE_AGAIN;
}

bool rw_wire_has_ring_work(const rw_wire_t *wire, bool blocked) {
    return wire->ring.memory != NULL &&
           ((wire->reads_ring && rw_ring_has_bytes(&wire->ring)) ||
            (blocked && wire->writes_ring && rw_ring_has_room(&wire->ring)));
}

bool rw_wire_rest_ring(rw_wire_t *wire, bool blocked) {
    (void)rw_ring_rest(&wire->ring, blocked && wire->writes_ring);
    return !rw_wire_has_ring_work(wire, blocked);
}

ssize_t rw_wire_read(rw_wire_t *wire, const struct iovec *pieces, int count) {
    size_t wanted = 0;
    ssize_t got;

    if (wire->ssl != NULL) {
        return read_tls(wire, pieces, count);
    }
    if (wire->reads_ring) {
        return read_ring(wire, pieces, count);
    }
    if (wire->drained) {
        return RW_WIRE_AGAIN;
    }
    for (int i = 0; i < count; i++) {
        wanted += pieces[i].iov_len;
    }
    got = wire->awaits_ring ? receive(wire, pieces, count) : readv(wire->fd, pieces, count);
    if (got == 0) {
        return RW_WIRE_ENDED;
    }
    wire->drained = got < (ssize_t)wanted;
    if (got > 0) {
        return got;
    }
    return errno == EAGAIN || errno == EINTR ? RW_WIRE_AGAIN : broken(wire, errno);
}

/* ---- out ---- */

static ssize_t send_some(rw_wire_t *wire, const struct iovec *pieces, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    ssize_t sent;

    if (wire->gives_ring) {
        memset(&control, 0, sizeof control);
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &wire->ring.fd, sizeof(int));
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
    }
    sent = sendmsg(wire->fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && wire->gives_ring && errno != EAGAIN && errno != EINTR) {
        message.msg_control = NULL; /* who gets no memory does not take it */
        message.msg_controllen = 0;
        sent = sendmsg(wire->fd, &message, MSG_NOSIGNAL);
    }
    if (sent > 0 && wire->gives_ring) {
        wire->gives_ring = false;
        rw_ring_given(&wire->ring);
    }
    if (sent >= 0) {
        return sent;
    }
    return errno == EAGAIN || errno == EINTR ? RW_WIRE_AGAIN : broken(wire, errno);
}

int rw_wire_flush(rw_wire_t *wire) {
    while (wire->out_from < wire->out_to) {
        struct iovec rest = {.iov_base = wire->out + wire->out_from,
                             .iov_len = wire->out_to - wire->out_from};
        ssize_t sent = send_some(wire, &rest, 1);

        if (sent <= 0) {
            return (int)sent;
        }
        wire->out_from += (size_t)sent;
    }
    wire->out_from = wire->out_to = 0;
    return 1;
}

/* Bytes that lie in pieces. */
typedef struct rw_pieces {
    const struct iovec *pieces;
    int count;
    size_t within;
} rw_pieces_t;

/* The next record's plaintext: where it lies, or, when it lies in several pieces, gathered in
 * record. Returns its length. */
static size_t take_record(rw_pieces_t *rest, uint8_t record[RECORD], const uint8_t **data) {
    size_t length = 0;

    while (rest->count > 0 && length < RECORD) {
        const uint8_t *from = (const uint8_t *)rest->pieces->iov_base + rest->within;
        size_t left = rest->pieces->iov_len - rest->within;
        size_t part = left < RECORD - length ? left : RECORD - length;

        if (part == RECORD) {
            *data = from;
        } else {
            memcpy(record + length, from, part);
            *data = record;
        }
        length += part;
        rest->within += part;
        if (part == left) {
            rest->pieces++;
            rest->count--;
            rest->within = 0;
        }
    }
    return length;
}

/* Changes our key in time. */
static void renew_key(rw_wire_t *wire, size_t more) {
    wire->encrypted += more;
    if (wire->encrypted >= KEY_BYTES &&
        SSL_key_update(wire->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1) {
        wire->encrypted = 0;
    }
}

static ssize_t write_tls(rw_wire_t *wire, const struct iovec *pieces, int count) {
    rw_pieces_t rest = {.pieces = pieces, .count = count};
    uint8_t record[RECORD];
    ssize_t total = 0;

    while (rest.count > 0) {
        const uint8_t *data = record;
        size_t length, written;
        int result;

        if (OUT_BYTES - wire->out_to < RECORD_ROOM) {
            result = rw_wire_flush(wire);
            if (result != 1) {
                return total > 0 ? total : result;
            }
        }
        length = take_record(&rest, record, &data);
        if (length == 0) {
            break;
        }
        ERR_clear_error();
        result = SSL_write_ex(wire->ssl, data, length, &written);
        if (result != 1 || written != length) { /* there was room for all of it */
            rw_identity_error(wire->why, sizeof wire->why);
            return RW_WIRE_BROKEN;
        }
        renew_key(wire, length);
        total += (ssize_t)length;
    }
    if (rw_wire_flush(wire) == RW_WIRE_BROKEN) {
        return RW_WIRE_BROKEN;
    }
    return total;
}

static ssize_t write_ring(rw_wire_t *wire, const struct iovec *pieces, int count) {
    bool wake = false;
    ssize_t put = rw_ring_write(&wire->ring, pieces, count, &wake);

    if (wake) {
        wake_other(wire);
    }
    return put == RW_RING_BROKEN ? broken_ring(wire) : put > 0 ? put : RW_WIRE_AGAIN;
}

ssize_t rw_wire_write(rw_wire_t *wire, const struct iovec *pieces, int count) {
    return wire->writes_ring   ? write_ring(wire, pieces, count)
           : wire->ssl != NULL ? write_tls(wire, pieces, count)
                               : send_some(wire, pieces, count);
}

void rw_wire_finish(rw_wire_t *wire) {
    shutdown(wire->fd, SHUT_WR);
}

void rw_wire_close(rw_wire_t *wire) {
    if (wire->fd >= 0) {
        rw_process_close(wire->fd);
    }
    if (wire->received >= 0) {
        rw_process_close(wire->received);
    }
    rw_ring_free(&wire->ring);
    SSL_free(wire->ssl);
    free(wire->out);
    *wire = rw_wire_none();
}
