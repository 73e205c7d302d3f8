/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's connection to a NATS server. The NATS library's threads put what happens (an answer, a
 * lost or new connection, a refusal of the NATS server) into a mailbox, and the one thread of the
 * command waits for it beside the signals.
 */
#ifndef RW_NATS_MAILBOX_H
#define RW_NATS_MAILBOX_H

#include <pthread.h>

#include "nats_link.h"

struct rw_mailbox {
    char *base; /* as in struct rw_url; of its own, because connecting may outlive the URL */
    natsOptions *options;
    natsConnection *connection;
    natsSubscription *subscription;
    natsInbox *inbox; /* answers come to "INBOX.NUMBER" */
    int wake_fd;      /* an eventfd: there is news */
    bool abandoned;   /* a thread still connects, and uses all of this */

    pthread_mutex_t lock; /* guards the rest */
    uint64_t number;      /* of the latest request */
    natsMsg *message;     /* the latest answer */
    bool connected;       /* connecting has ended, well or not */
    bool lost, back, closed, refused;
    char text[RW_SENTENCE_SIZE]; /* why connecting failed, or what the NATS server refused */
};

enum rw_news {
    RW_NEWS_NONE,
    RW_NEWS_ANSWER,  /* to the latest request */
    RW_NEWS_NOBODY,  /* subscribes to the subject of the latest request */
    RW_NEWS_LOST,    /* the connection, and it was not made again yet */
    RW_NEWS_BACK,    /* it was made again: what was asked may be lost */
    RW_NEWS_REFUSED, /* the NATS server does not permit something */
    RW_NEWS_CLOSED   /* the connection will not be made again */
};

/* Prepares a connection. NULL: a sentence was printed. */
struct rw_mailbox *rw_mailbox_create(const struct rw_url *url,
                                     const struct rw_credentials *credentials, uint32_t timeout_ms);
void rw_mailbox_destroy(struct rw_mailbox *mailbox);

/* Connects, when that was not done yet. False: a sentence was printed, or a signal came. */
bool rw_mailbox_connect(struct rw_mailbox *mailbox);

/* Begins a new request: answers to earlier ones are dropped from now on. */
void rw_mailbox_begin(struct rw_mailbox *mailbox);

/* Sends the present request, for the first time or again. authorization: the header, or NULL. */
natsStatus rw_mailbox_send(struct rw_mailbox *mailbox, const char *subject, const char *body,
                           const char *authorization);

/* Takes the news out, the weightiest if there are several. *message: the answer, to be destroyed,
 * else NULL. text: what is refused. */
enum rw_news rw_mailbox_look(struct rw_mailbox *mailbox, natsMsg **message,
                             char text[RW_SENTENCE_SIZE]);

/* Sleeps until there is news, or until a time of rw_now_ms(). False: a signal came. */
bool rw_mailbox_wait(struct rw_mailbox *mailbox, uint64_t until_ms);

#endif
