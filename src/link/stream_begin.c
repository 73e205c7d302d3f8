/* SPDX-License-Identifier: Apache-2.0 */
/* How a stream connection begins: made or accepted, dialled, greeted, and TLS if it is wanted. */
#include "link/stream.h"

#include "base/error.h"
#include "link/stream_local.h"
#include "link/stream_route.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Until a stranger is let in. Where packets get lost, TCP takes seconds for a handshake of TLS;
 * they are there for those who come, unless many do. */
#define STRANGER_PATIENCE ((uint64_t)8000 * RW_NANOSECONDS_PER_MS)
#define STRANGER_PATIENCE_MANY ((uint64_t)2000 * RW_NANOSECONDS_PER_MS)
#define MANY_STRANGERS 32
#define CONNECT_PATIENCE ((uint64_t)10000 * RW_NANOSECONDS_PER_MS) /* until we are let in */
/* Until a place greets, where there is another one to try first: something may listen there that
 * waits for more than we say. By a Unix socket it can only be the peer, who is busy. */
#define SILENCE_MAX ((uint64_t)2000 * RW_NANOSECONDS_PER_MS)

/* ---- greetings and TLS ---- */

static void leave_place(rw_stream_link_t *link) RW_LOCKED {
    rw_events_forget(&link->stream->events, &link->watcher);
    rw_wire_close(&link->wire);
    link->state = RW_STREAM_DIALING;
    link->blocked = false;
    link->pid = 0;
    rw_stream_set_timer(link, link->patient_until);
}

/* The place that was reached is of no use: tries the next. */
static void reject_place(rw_stream_link_t *link, const char *why) RW_LOCKED {
    char text[128];

    snprintf(text, sizeof text, "%s", why);
    leave_place(link);
    rw_dial_reject(&link->dial, text);
}

/* Before it is open: the connection attempt has failed, or the stranger is sent away. */
static void fail_beginning(rw_stream_link_t *link, const char *why) RW_LOCKED {
    if (link->accepted) {
        rw_stream_lose(link, ROPEWAY_ERR_UNREACHABLE, why);
    } else {
        reject_place(link, why);
    }
}

static bool wants_tls(rw_encryption_t wanted, int fd, const rw_place_t *place) {
    rw_place_t own, unknown = {.any.sa_family = AF_UNSPEC};
    socklen_t size = sizeof own;

    return rw_stream_encrypts(wanted, place,
                              getsockname(fd, &own.any, &size) == 0 ? &own : &unknown);
}

static bool send_greeting(rw_stream_link_t *link, const rw_greeting_t *greeting) RW_LOCKED {
    uint8_t bytes[RW_GREETING_BYTES];
    struct iovec piece = {.iov_base = bytes, .iov_len = sizeof bytes};

    rw_greeting_encode(greeting, bytes);
    return rw_wire_write(&link->wire, &piece, 1) == sizeof bytes; /* the socket is new */
}

static void open_now(rw_stream_link_t *link) RW_LOCKED {
    ropeway_connector_t *connector = link->stream->connector;

    rw_stream_set_timer(link, RW_NEVER);
    if (link->accepted && rw_peer_accept(connector, &rw_stream_kind, &link->base) != ROPEWAY_OK) {
        rw_stream_lose(link, ROPEWAY_ERR_LIMIT, ropeway_last_error());
        return;
    }
    link->state = RW_STREAM_OPEN;
    rw_stream_write_path(&link->place,
                         link->wire.ssl != NULL ? SSL_get_version(link->wire.ssl) : NULL,
                         link->base.path, sizeof link->base.path);
    if (rw_place_is_local(&link->place)) {
        link->base.is_local = true;
        link->base.whole_max = RW_STREAM_WHOLE_BY_SOCKET;
        rw_pull_ask(link);
    }
    rw_stream_call(link);
}

static void refuse_certificate(rw_stream_link_t *link) RW_LOCKED {
    const char *refusal = rw_identity_refusal(link->wire.ssl);
    char why[128];

    if (refusal != NULL) {
        snprintf(why, sizeof why, "its certificate is none of tls_ca's: %s", refusal);
    } else {
        snprintf(why, sizeof why, "%s",
                 link->accepted ? link->wire.why
                                : "it does not prove to be the peer that the metadata names");
    }
    fail_beginning(link, why);
}

static void shake(rw_stream_link_t *link) RW_LOCKED {
    int status = rw_wire_shake(&link->wire);

    link->blocked = link->wire.out_from < link->wire.out_to;
    if (status == 1) {
        open_now(link);
    } else if (status == RW_WIRE_ENDED) {
        fail_beginning(link, "the other side closed the connection before TLS began");
    } else if (status != RW_WIRE_AGAIN) {
        refuse_certificate(link);
    }
}

static void on_connected(rw_dial_t *dial, int fd) RW_LOCKED {
    rw_stream_link_t *link = RW_CONTAINER(dial, rw_stream_link_t, dial);
    rw_greeting_t call = {.version = RW_STREAM_VERSION, .kind = RW_GREETING_CALL};

    rw_socket_tune(fd, link->stream->connector->options.keepalive_ms);
    link->place = dial->places[dial->current];
    link->state = RW_STREAM_GREETING;
    link->greeted = 0;
    link->watched = 0;
    rw_wire_open(&link->wire, fd);
    link->watcher.fd = fd;
    if (rw_place_is_local(&link->place) && !rw_local_is_ours(fd, &link->pid)) {
        reject_place(link, RW_LOCAL_FOREIGN);
        return;
    }
    call.tls = wants_tls(link->wanted, fd, &link->place);
    if (!send_greeting(link, &call) ||
        (call.tls && !rw_wire_start_tls(&link->wire, &link->stream->identity, link->fingerprint))) {
        reject_place(link, "no greeting could be sent");
        return;
    }
    if (!rw_place_is_local(&link->place) && rw_dial_has_more(dial) &&
        rw_now() + SILENCE_MAX < link->patient_until) {
        rw_stream_set_timer(link, rw_now() + SILENCE_MAX);
    }
    rw_stream_watch(link);
    link->stream->moved = true;
}

static void on_unreachable(rw_dial_t *dial) RW_LOCKED {
    rw_stream_link_t *link = RW_CONTAINER(dial, rw_stream_link_t, dial);

    link->unreachable = true; /* its peer may be in the making */
    rw_stream_call(link);
}

/* The answer to ours. NULL: it is right. */
static const char *judge_answer(const rw_stream_link_t *link,
                                const rw_greeting_t *answer) RW_LOCKED {
    if (answer->version != RW_STREAM_VERSION || answer->verdict == RW_GREETING_VERSION) {
        return "it speaks another version of the stream";
    }
    if (answer->verdict != RW_GREETING_WELCOME || answer->tls != (link->wire.ssl != NULL)) {
        return "it takes no connection without encryption";
    }
    if (sodium_memcmp(answer->fingerprint, link->fingerprint, RW_FINGERPRINT_BYTES) != 0) {
        return "another connector than the metadata names listens there";
    }
    return NULL;
}

static void take_answer(rw_stream_link_t *link) RW_LOCKED {
    rw_greeting_t answer;
    const char *wrong = rw_greeting_decode(link->greeting, RW_GREETING_ANSWER, &answer)
                            ? judge_answer(link, &answer)
                            : "what listens there is no Ropeway connector";

    rw_stream_set_timer(link, link->patient_until);
    if (wrong != NULL) {
        reject_place(link, wrong);
    } else if (link->wire.ssl != NULL) {
        link->state = RW_STREAM_SHAKING;
        shake(link);
    } else {
        open_now(link);
    }
}

static void take_call(rw_stream_link_t *link) RW_LOCKED {
    const rw_stream_t *stream = link->stream;
    rw_greeting_t call, answer = {.version = RW_STREAM_VERSION, .kind = RW_GREETING_ANSWER};
    bool fits;

    if (!rw_greeting_decode(link->greeting, RW_GREETING_CALL, &call)) {
        fail_beginning(link, "it does not greet");
        return;
    }
    fits = call.version == RW_STREAM_VERSION;
    answer.tls = call.tls;
    answer.verdict = !fits ? RW_GREETING_VERSION
                     : !call.tls && wants_tls(stream->encryption, link->wire.fd, &link->place)
                         ? RW_GREETING_ENCRYPT
                         : RW_GREETING_WELCOME;
    memcpy(answer.fingerprint, stream->identity.fingerprint, RW_FINGERPRINT_BYTES);
    if (!send_greeting(link, &answer) || answer.verdict != RW_GREETING_WELCOME) {
        fail_beginning(link, fits ? "it wants no encryption" : "its version is not spoken here");
    } else if (!call.tls) {
        open_now(link);
    } else if (!rw_wire_start_tls(&link->wire, &link->stream->identity, NULL)) {
        fail_beginning(link, "out of memory");
    } else {
        link->state = RW_STREAM_SHAKING;
        shake(link);
    }
}

/* Reads a greeting, and not a byte of what is behind it. */
static void greet(rw_stream_link_t *link) RW_LOCKED {
    ssize_t got = recv(link->wire.fd, link->greeting + link->greeted,
                       sizeof link->greeting - link->greeted, 0);

    if (got > 0) {
        link->stream->moved = true;
        link->greeted += (size_t)got;
    } else if (got == 0) {
        fail_beginning(link, "the other side closed the connection without a greeting");
        return;
    } else if (errno != EAGAIN && errno != EINTR) {
        fail_beginning(link, strerror(errno));
        return;
    }
    if (link->greeted == sizeof link->greeting) {
        if (link->accepted) {
            take_call(link);
        } else {
            take_answer(link);
        }
    }
}

/* ---- turns ---- */

void rw_stream_begin(rw_stream_link_t *link) {
    if (link->unreachable && link->state == RW_STREAM_DIALING) {
        rw_peer_fail(link->base.peer, RW_CLOSE_NOW, ROPEWAY_ERR_UNREACHABLE,
                     "no connection to it can be made: %s", link->dial.why);
    } else if (link->state == RW_STREAM_GREETING) {
        greet(link);
    } else if (link->state == RW_STREAM_SHAKING) {
        link->stream->moved = true;
        shake(link);
    }
}

void rw_stream_give_up(rw_stream_link_t *link) {
    char place[RW_PLACE_TEXT];

    if (link->accepted) {
        rw_stream_lose(link, ROPEWAY_ERR_UNREACHABLE, "it took too long to greet");
        return;
    }
    if (link->state == RW_STREAM_GREETING && rw_now() < link->patient_until) {
        leave_place(link);
        rw_dial_postpone(&link->dial, "what listens there does not greet");
        return;
    }
    rw_place_write(rw_dial_place(&link->dial), place);
    rw_peer_fail(link->base.peer, RW_CLOSE_NOW, ROPEWAY_ERR_UNREACHABLE,
                 "%s did not answer within %u s%s%s", place,
                 (unsigned)(CONNECT_PATIENCE / RW_NANOSECONDS_PER_MS / 1000),
                 link->dial.why[0] != '\0' ? "; " : "", link->dial.why);
}

/* ---- making ---- */

/* NULL: out of memory. */
static rw_stream_link_t *make(rw_stream_t *stream, bool accepted) RW_LOCKED {
    rw_stream_link_t *link = calloc(1, sizeof *link);
    bool has_out, has_in, has_timer;

    if (link == NULL) {
        return NULL;
    }
    link->stream = stream;
    link->accepted = accepted;
    link->watcher = (rw_watcher_t){.fd = -1, .on_event = rw_stream_on_ready};
    link->wire = rw_wire_none();
    link->process = -1;
    link->timer.run = rw_stream_on_late;
    link->budget = RW_STREAM_SLICE;
    rw_list_init(&link->node);
    rw_list_init(&link->ready);
    rw_list_init(&link->ended);
    rw_list_init(&link->pending);
    rw_list_init(&link->pulls);
    rw_list_init(&link->ringing);
    has_out = rw_out_init(&link->out);
    has_in = rw_in_init(&link->in, &link->base);
    link->in.on_word = rw_stream_on_word;
    has_timer = rw_timer_promise(&stream->connector->timers);
    if (has_out && has_in && has_timer) {
        rw_list_append(&stream->links, &link->node);
        return link;
    }
    rw_out_free(&link->out);
    rw_in_free(&link->in);
    if (has_timer) {
        rw_timer_return(&stream->connector->timers, &link->timer);
    }
    free(link);
    return NULL;
}

void rw_stream_accept(rw_stream_t *stream, int fd, const rw_place_t *from) {
    rw_stream_link_t *link = make(stream, true);

    if (link == NULL) {
        rw_process_close(fd);
        return;
    }
    rw_socket_tune(fd, stream->connector->options.keepalive_ms);
    rw_wire_open(&link->wire, fd);
    link->watcher.fd = fd;
    link->place = *from;
    link->state = RW_STREAM_GREETING;
    link->wire.awaits_ring = rw_place_is_local(from);
    if (rw_place_is_local(from) && !rw_local_is_ours(fd, &link->pid)) {
        rw_stream_end(link); /* it comes by TCP, where it has to prove more */
    }
    rw_list_append(&stream->pending, &link->pending);
    stream->pending_count++;
    rw_stream_set_timer(link,
                        rw_now() + (stream->pending_count > MANY_STRANGERS ? STRANGER_PATIENCE_MANY
                                                                           : STRANGER_PATIENCE));
    rw_stream_watch(link);
    if (link->watcher.slot == 0) {
        rw_stream_end(link);
    }
    rw_stream_call(link);
}

/* Those of the targets that a connection shall be tried to. Returns how many there are. */
static size_t take_places(const rw_stream_target_t *targets, size_t count,
                          rw_place_t places[RW_DIAL_MAX]) {
    size_t taken = 0;

    for (size_t i = 0; i < count; i++) {
        if (targets[i].refused == NULL) {
            places[taken++] = targets[i].place;
        }
    }
    return taken;
}

ropeway_error_t rw_stream_open(rw_peer_t *peer, const rw_hello_t *hello, rw_link_t **result) {
    ropeway_connector_t *connector = peer->connector;
    const rw_carrier_t *carrier = rw_links_carrier(connector, &rw_stream_kind);
    rw_stream_t *stream = rw_stream_of(connector);
    rw_stream_address_t address;
    const char *wrong = rw_stream_address_decode(hello->address, hello->address_length, &address);
    rw_stream_target_t targets[RW_DIAL_MAX];
    rw_place_t places[RW_DIAL_MAX];
    rw_stream_link_t *link;
    ropeway_error_t error;
    size_t count;

    if (wrong != NULL) {
        return rw_stream_refuse(carrier, hello, wrong);
    }
    count = rw_stream_choose(&stream->ways, stream->encryption, &address, hello->instance,
                             rw_watch_is_near(connector, hello), targets);
    error = rw_stream_check(carrier, hello, targets, count);
    if (error != ROPEWAY_OK) {
        return error;
    }
    count = take_places(targets, count, places);
    link = make(stream, false);
    if (link != NULL &&
        !rw_dial_init(&link->dial, &connector->timers, &stream->events, places, count)) {
        rw_stream_end(link);
        link = NULL;
    }
    if (link == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    link->dial.on_connected = on_connected;
    link->dial.on_failed = on_unreachable;
    link->wanted =
        address.encryption > stream->encryption ? address.encryption : stream->encryption;
    memcpy(link->fingerprint, address.fingerprint, RW_FINGERPRINT_BYTES);
    rw_link_init(&link->base, &rw_stream_kind, peer);
    link->patient_until = rw_now() + CONNECT_PATIENCE;
    rw_stream_set_timer(link, link->patient_until);
    rw_dial_next(&link->dial);
    *result = &link->base;
    return ROPEWAY_OK;
}
