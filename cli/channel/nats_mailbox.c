/* SPDX-License-Identifier: Apache-2.0 */
/* Hands what the NATS library's threads learn to the one thread of the command. */
#include "nats_mailbox.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/event.h"
#include "common/interrupt.h"
#include "common/message.h"
#include "common/text.h"

#define INBOX_TEXT 256

/* ---- What the NATS library's threads put in --------------------------------------------- */

static bool is_from_nobody(natsMsg *message) {
    return cli_nats_headers_size(message) <= CLI_NATS_HEADERS_MAX &&
           natsMsg_IsNoResponders(message);
}

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *arg) {
    (void)connection;
    (void)subscription;
    struct cli_mailbox *mailbox = arg;
    const char *dot = strrchr(natsMsg_GetSubject(message), '.');
    uint64_t number = 0;
    pthread_mutex_lock(&mailbox->lock);
    /* Answers to requests that were given up come late, and to one that was sent again twice. */
    bool current = dot != NULL && cli_parse_number(dot + 1, 1, UINT64_MAX, &number) &&
                   number == mailbox->number;
    natsMsg *worse = message;
    if (current && (mailbox->message == NULL || is_from_nobody(mailbox->message))) {
        worse = mailbox->message;
        mailbox->message = message;
    }
    pthread_mutex_unlock(&mailbox->lock);
    natsMsg_Destroy(worse);
    cli_event_signal(mailbox->wake_fd);
}

static void note(struct cli_mailbox *mailbox, bool *what) {
    pthread_mutex_lock(&mailbox->lock);
    *what = true;
    pthread_mutex_unlock(&mailbox->lock);
    cli_event_signal(mailbox->wake_fd);
}

static void on_disconnected(natsConnection *connection, void *arg) {
    (void)connection;
    struct cli_mailbox *mailbox = arg;
    note(mailbox, &mailbox->lost);
}

static void on_reconnected(natsConnection *connection, void *arg) {
    (void)connection;
    struct cli_mailbox *mailbox = arg;
    pthread_mutex_lock(&mailbox->lock);
    mailbox->lost = false;
    pthread_mutex_unlock(&mailbox->lock);
    note(mailbox, &mailbox->back);
}

static void on_closed(natsConnection *connection, void *arg) {
    (void)connection;
    struct cli_mailbox *mailbox = arg;
    note(mailbox, &mailbox->closed);
}

static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus error,
                     void *arg) {
    (void)subscription;
    struct cli_mailbox *mailbox = arg;
    const char *words = NULL;
    if (error != NATS_NOT_PERMITTED) {
        return;
    }
    natsConnection_GetLastError(connection, &words);
    pthread_mutex_lock(&mailbox->lock);
    cli_sentence(mailbox->text, "%s",
                 words != NULL && *words != '\0' ? words : "Permissions Violation");
    pthread_mutex_unlock(&mailbox->lock);
    note(mailbox, &mailbox->refused);
}

/* ---- What the command takes out ------------------------------------------------------- */

bool cli_mailbox_wait(struct cli_mailbox *mailbox, uint64_t until_ms) {
    struct pollfd fds[] = {{.fd = mailbox->wake_fd, .events = POLLIN},
                           {.fd = cli_interrupt_fd(), .events = POLLIN}};
    uint64_t now = cli_now_ms();
    if (!cli_interrupted() && poll(fds, 2, until_ms > now ? (int)(until_ms - now) : 0) > 0 &&
        fds[0].revents != 0) {
        cli_event_clear(mailbox->wake_fd);
    }
    return !cli_interrupted();
}

enum cli_event cli_mailbox_look(struct cli_mailbox *mailbox, natsMsg **message,
                                char text[CLI_SENTENCE_SIZE]) {
    pthread_mutex_lock(&mailbox->lock);
    *message = mailbox->message;
    mailbox->message = NULL;
    if (*message != NULL) {
        pthread_mutex_unlock(&mailbox->lock);
        return is_from_nobody(*message) ? CLI_EVENT_NOBODY : CLI_EVENT_ANSWER;
    }
    enum cli_event event = mailbox->refused  ? CLI_EVENT_REFUSED
                           : mailbox->closed ? CLI_EVENT_CLOSED
                           : mailbox->lost   ? CLI_EVENT_LOST
                           : mailbox->back   ? CLI_EVENT_BACK
                                             : CLI_EVENT_NONE;
    mailbox->back = mailbox->refused = false;
    memcpy(text, mailbox->text, sizeof mailbox->text);
    pthread_mutex_unlock(&mailbox->lock);
    return event;
}

/* ---- Connecting --------------------------------------------------------------------- */

/* On a thread of its own, so that a signal is heard while it lasts. */
static void *run_connect(void *arg) {
    struct cli_mailbox *mailbox = arg;
    char text[CLI_SENTENCE_SIZE] = "";
    natsConnection *connection = cli_nats_connect(mailbox->options, mailbox->base, text);
    pthread_mutex_lock(&mailbox->lock);
    mailbox->connection = connection;
    memcpy(mailbox->text, text, sizeof text);
    pthread_mutex_unlock(&mailbox->lock);
    nats_ReleaseThreadMemory();
    note(mailbox, &mailbox->connected);
    return NULL;
}

static bool has(struct cli_mailbox *mailbox, const bool *what) {
    pthread_mutex_lock(&mailbox->lock);
    bool holds = *what;
    pthread_mutex_unlock(&mailbox->lock);
    return holds;
}

/* False: a sentence was printed, or a signal came. */
static bool connect_interruptibly(struct cli_mailbox *mailbox) {
    pthread_t thread;
    /* Threads of the NATS library must not take the signals. */
    cli_interrupt_block();
    int error = pthread_create(&thread, NULL, run_connect, mailbox);
    cli_interrupt_unblock();
    if (error != 0) {
        cli_fail("can't start a thread: %s", cli_errno_text(error));
        return false;
    }
    while (!has(mailbox, &mailbox->connected)) {
        if (!cli_mailbox_wait(mailbox, cli_now_ms() + 1000)) {
            mailbox->abandoned = true;
            pthread_detach(thread);
            return false;
        }
    }
    pthread_join(thread, NULL);
    if (mailbox->connection == NULL) {
        cli_fail("%s", mailbox->text);
    }
    return mailbox->connection != NULL;
}

static bool subscribe(struct cli_mailbox *mailbox) {
    char subject[INBOX_TEXT];
    natsStatus status = natsInbox_Create(&mailbox->inbox);
    if (status == NATS_OK) {
        snprintf(subject, sizeof subject, "%s.*", mailbox->inbox);
        status = natsConnection_Subscribe(&mailbox->subscription, mailbox->connection, subject,
                                          on_message, mailbox);
    }
    if (status != NATS_OK) {
        cli_fail("can't receive answers from %s: %s", mailbox->base, natsStatus_GetText(status));
    }
    return status == NATS_OK;
}

bool cli_mailbox_connect(struct cli_mailbox *mailbox) {
    return mailbox->subscription != NULL || (connect_interruptibly(mailbox) && subscribe(mailbox));
}

void cli_mailbox_begin(struct cli_mailbox *mailbox) {
    pthread_mutex_lock(&mailbox->lock);
    natsMsg *late = mailbox->message;
    mailbox->message = NULL;
    mailbox->number++;
    pthread_mutex_unlock(&mailbox->lock);
    natsMsg_Destroy(late);
}

natsStatus cli_mailbox_send(struct cli_mailbox *mailbox, const char *subject, const char *body,
                            const char *authorization) {
    char inbox[INBOX_TEXT];
    natsMsg *message = NULL;
    /* No other thread writes the number. */
    snprintf(inbox, sizeof inbox, "%s.%llu", mailbox->inbox, (unsigned long long)mailbox->number);
    natsStatus status = natsMsg_Create(&message, subject, inbox, body, (int)strlen(body));
    if (status == NATS_OK && authorization != NULL) {
        status = natsMsgHeader_Set(message, CLI_NATS_AUTHORIZATION, authorization);
    }
    if (status == NATS_OK) {
        status = natsConnection_PublishMsg(mailbox->connection, message);
    }
    natsMsg_Destroy(message);
    return status;
}

/* ---- Creation and end ------------------------------------------------------------------ */

struct cli_mailbox *cli_mailbox_create(const struct cli_url *url,
                                       const struct cli_credentials *credentials,
                                       uint32_t timeout_ms) {
    struct cli_mailbox *mailbox = calloc(1, sizeof *mailbox);
    char text[CLI_SENTENCE_SIZE] = "out of memory or descriptors";
    if (mailbox == NULL) {
        cli_fail("%s", text);
        return NULL;
    }
    struct cli_nats_events events = {on_disconnected, on_reconnected, on_closed, on_error, mailbox};
    pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->base = strdup(url->base);
    mailbox->wake_fd = cli_event_create();
    if (mailbox->base != NULL && mailbox->wake_fd >= 0) {
        mailbox->options = cli_nats_options(url, credentials, "ropeway", timeout_ms, &events, text);
    }
    if (mailbox->options != NULL) {
        return mailbox;
    }
    cli_fail("%s", text);
    cli_mailbox_destroy(mailbox);
    return NULL;
}

void cli_mailbox_destroy(struct cli_mailbox *mailbox) {
    static struct cli_mailbox *kept; /* so that it does not look lost */
    if (mailbox == NULL) {
        return;
    }
    if (mailbox->abandoned) { /* the command is about to end */
        kept = mailbox;
        (void)kept;
        return;
    }
    natsSubscription_Destroy(mailbox->subscription);
    if (!cli_nats_close(mailbox->connection, mailbox->options)) {
        return; /* a thread may still use the rest */
    }
    natsMsg_Destroy(mailbox->message);
    natsInbox_Destroy(mailbox->inbox);
    free(mailbox->base);
    if (mailbox->wake_fd >= 0) {
        close(mailbox->wake_fd);
    }
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}
