/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's connection to a NATS server. The NATS library's threads put what happens (an answer, a
 * lost or new connection, a refusal of the NATS server) into a mailbox, and the one thread of the
 * command waits for it beside the signals.
 */
#ifndef CLI_NATS_MAILBOX_H
#define CLI_NATS_MAILBOX_H

#include <pthread.h>

#include "common/text.h"
#include "nats_link.h"

struct cli_mailbox {
    char *base; /* as in struct cli_url; of its own, because connecting may outlive the URL */
    natsOptions *options;
    natsConnection *connection;
    natsSubscription *subscription;
    natsInbox *inbox; /* answers come to "INBOX.NUMBER" */
    int wake_fd;      /* an eventfd: something happened */
    bool abandoned;   /* a thread still connects, and uses all of this */

    pthread_mutex_t lock; /* guards the rest */
    uint64_t number;      /* of the latest request */
    natsMsg *message;     /* the latest answer */
    bool connected;       /* connecting has ended, well or not */
    bool lost, back, closed, refused;
    char text[CLI_SENTENCE_SIZE]; /* why connecting failed, or what the NATS server refused */
};

enum cli_event {
    CLI_EVENT_NONE,
    CLI_EVENT_ANSWER,  /* to the latest request */
    CLI_EVENT_NOBODY,  /* subscribes to the subject of the latest request */
    CLI_EVENT_LOST,    /* the connection, and it was not made again yet */
    CLI_EVENT_BACK,    /* it was made again: what was asked may be lost */
    CLI_EVENT_REFUSED, /* the NATS server does not permit something */
    CLI_EVENT_CLOSED   /* the connection will not be made again */
};

/* Prepares a connection. NULL: a sentence was printed. */
struct cli_mailbox *cli_mailbox_create(const struct cli_url *url,
                                       const struct cli_credentials *credentials,
                                       uint32_t timeout_ms);
void cli_mailbox_destroy(struct cli_mailbox *mailbox);

/* Connects, when that was not done yet. False: a sentence was printed, or a signal came. */
bool cli_mailbox_connect(struct cli_mailbox *mailbox);

/* Begins a new request: answers to earlier ones are dropped from now on. */
void cli_mailbox_begin(struct cli_mailbox *mailbox);

/* Sends the present request, for the first time or again. authorization: the header, or NULL. */
natsStatus cli_mailbox_send(struct cli_mailbox *mailbox, const char *subject, const char *body,
                            const char *authorization);

/* Takes what happened out, the weightiest where it is several things. *message: the answer, to be
 * destroyed, else NULL. text: what is refused. */
enum cli_event cli_mailbox_look(struct cli_mailbox *mailbox, natsMsg **message,
                                char text[CLI_SENTENCE_SIZE]);

/* Sleeps until something happened, or until a time of cli_now_ms(). False: a signal came. */
bool cli_mailbox_wait(struct cli_mailbox *mailbox, uint64_t until_ms);

#endif
