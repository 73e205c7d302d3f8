/* SPDX-License-Identifier: Apache-2.0 */
/* Greetings and frames of a stream link, packed and checked. */
#include "link/stream_frame.h"

#include "base/bytes.h"

/* Greeting: "RWSTREAM" version:1 kind:1 tls:1 verdict:1 zero:20 fingerprint:32 */
enum { AT_VERSION = 8, AT_KIND = 9, AT_TLS = 10, AT_VERDICT = 11, AT_ZERO = 12 };
enum { AT_FINGERPRINT = 32 };

/* Head: length:4 class:1 header_length:1 zero:2 header:64 */
enum { AT_CLASS = 4, AT_HEADER_LENGTH = 5, AT_PAD = 6, AT_HEADER = 8 };

static const char magic[8] = {'R', 'W', 'S', 'T', 'R', 'E', 'A', 'M'};

static bool all_zero(const uint8_t *bytes, size_t length) {
    uint8_t any = 0;

    for (size_t i = 0; i < length; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

void rw_greeting_encode(const rw_greeting_t *greeting, uint8_t bytes[RW_GREETING_BYTES]) {
    memset(bytes, 0, RW_GREETING_BYTES);
    memcpy(bytes, magic, sizeof magic);
    bytes[AT_VERSION] = greeting->version;
    bytes[AT_KIND] = greeting->kind;
    bytes[AT_TLS] = greeting->tls;
    bytes[AT_VERDICT] = greeting->verdict;
    memcpy(bytes + AT_FINGERPRINT, greeting->fingerprint, RW_FINGERPRINT_BYTES);
}

bool rw_greeting_decode(const uint8_t bytes[RW_GREETING_BYTES], rw_greeting_kind_t kind,
                        rw_greeting_t *greeting) {
    memset(greeting, 0, sizeof *greeting);
    if (memcmp(bytes, magic, sizeof magic) != 0 || bytes[AT_KIND] != kind) {
        return false;
    }
    greeting->version = bytes[AT_VERSION];
    greeting->kind = bytes[AT_KIND];
    if (greeting->version != RW_STREAM_VERSION) {
        return true;
    }
    greeting->tls = bytes[AT_TLS];
    greeting->verdict = bytes[AT_VERDICT];
    memcpy(greeting->fingerprint, bytes + AT_FINGERPRINT, RW_FINGERPRINT_BYTES);
    return greeting->tls <= 1 && all_zero(bytes + AT_ZERO, AT_FINGERPRINT - AT_ZERO) &&
           (kind == RW_GREETING_ANSWER ? greeting->verdict <= RW_GREETING_ENCRYPT
                                       : greeting->verdict == 0);
}

void rw_head_encode(const rw_head_t *head, uint8_t bytes[RW_HEAD_BYTES]) {
    memset(bytes, 0, RW_HEAD_BYTES);
    rw_put32(bytes, head->length);
    bytes[AT_CLASS] = head->class;
    bytes[AT_HEADER_LENGTH] = head->header_length;
    memcpy(bytes + AT_HEADER, head->header, head->header_length);
}

/* Payloads, by class; those from RW_FRAME_LENT on have just this length. */
static const size_t longest[] = {[RW_FRAME_CONTROL] = RW_STREAM_CONTROL_MAX,
                                 [RW_FRAME_BULK] = RW_STREAM_BULK_MAX,
                                 [RW_FRAME_LENT] = RW_LOAN_BYTES,
                                 [RW_FRAME_FETCHED] = RW_FETCHED_BYTES,
                                 [RW_FRAME_PROBE] = RW_PROBE_BYTES,
                                 [RW_FRAME_PROBED] = 0,
                                 [RW_FRAME_RING] = 0,
                                 [RW_FRAME_RING_TAKEN] = 0,
                                 [RW_FRAME_RING_BEGUN] = 0};

const char *rw_head_decode(const uint8_t bytes[RW_HEAD_BYTES], rw_head_t *head) {
    head->length = rw_get32(bytes);
    head->class = bytes[AT_CLASS];
    head->header_length = bytes[AT_HEADER_LENGTH];
    if (head->class == 0 || head->class > RW_FRAME_CLASSES) {
        return "a frame of a class that does not exist";
    }
    if (head->length > longest[head->class]) {
        return "a frame that is longer than any may be";
    }
    if (head->class >= RW_FRAME_LENT && head->length < longest[head->class]) {
        return "a frame that is shorter than those of its class are";
    }
    if ((head->header_length == 0) != (head->class >= RW_FRAME_FETCHED) ||
        head->header_length > RW_HEAD_HEADER || !all_zero(bytes + AT_PAD, AT_HEADER - AT_PAD) ||
        !all_zero(bytes + AT_HEADER + head->header_length,
                  (size_t)RW_HEAD_HEADER - head->header_length)) {
        return "a frame whose head is malformed";
    }
    memcpy(head->header, bytes + AT_HEADER, RW_HEAD_HEADER);
    return NULL;
}

/* ---- payloads of the link's own ---- */

/* Loan: id:8 address:8 length:8 pieces:4; fetched: id:8 failed:1; probe: address:8 nonce:32 */
enum { AT_ADDRESS = 8, AT_LENGTH = 16, AT_PIECES = 24, AT_FAILED = 8, AT_NONCE = 8 };

void rw_loan_encode(const rw_loan_t *loan, uint8_t bytes[RW_LOAN_BYTES]) {
    rw_put64(bytes, loan->id);
    rw_put64(bytes + AT_ADDRESS, loan->address);
    rw_put64(bytes + AT_LENGTH, loan->length);
    rw_put32(bytes + AT_PIECES, loan->pieces);
}

void rw_loan_decode(const uint8_t bytes[RW_LOAN_BYTES], rw_loan_t *loan) {
    loan->id = rw_get64(bytes);
    loan->address = rw_get64(bytes + AT_ADDRESS);
    loan->length = rw_get64(bytes + AT_LENGTH);
    loan->pieces = rw_get32(bytes + AT_PIECES);
}

void rw_fetched_encode(const rw_fetched_t *fetched, uint8_t bytes[RW_FETCHED_BYTES]) {
    rw_put64(bytes, fetched->id);
    bytes[AT_FAILED] = fetched->failed;
}

void rw_fetched_decode(const uint8_t bytes[RW_FETCHED_BYTES], rw_fetched_t *fetched) {
    fetched->id = rw_get64(bytes);
    fetched->failed = bytes[AT_FAILED] != 0;
}

void rw_probe_encode(const rw_probe_t *probe, uint8_t bytes[RW_PROBE_BYTES]) {
    rw_put64(bytes, probe->address);
    memcpy(bytes + AT_NONCE, probe->nonce, RW_NONCE_BYTES);
}

void rw_probe_decode(const uint8_t bytes[RW_PROBE_BYTES], rw_probe_t *probe) {
    probe->address = rw_get64(bytes);
    memcpy(probe->nonce, bytes + AT_NONCE, RW_NONCE_BYTES);
}
