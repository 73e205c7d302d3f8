/* SPDX-License-Identifier: Apache-2.0 */
/* A descriptor that one thread, or a signal handler, makes readable for another. */
#ifndef CLI_EVENT_H
#define CLI_EVENT_H

/* An eventfd that nobody has signalled yet; -1: see errno. */
int cli_event_create(void);

/* Makes it readable. May be called in a signal handler; keeps errno. */
void cli_event_signal(int fd);

/* Makes it unreadable again. */
void cli_event_clear(int fd);

#endif
