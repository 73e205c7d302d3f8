/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: those of a connector, and those that are nobody's in particular. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static rw_node_t attached = {&attached, &attached}; /* connectors; guarded by mutex */
static bool prepared;                               /* guarded by mutex */

static void deliver(ropeway_connector_t *connector, ropeway_log_level_t level, const char *text) {
    if (connector->options.log != NULL && (int)level <= connector->options.log_level) {
        connector->options.log(connector->options.log_arg, level, text);
    }
}

void rw_log(ropeway_connector_t *connector, ropeway_log_level_t level, const char *format, ...) {
    char text[1024];
    va_list arguments;

    if (connector->options.log == NULL || (int)level > connector->options.log_level) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    deliver(connector, level, text);
}

/* In a forked child: a thread of the parent may have held the mutex, and the parent's connectors
 * are none of the child's. */
static void forget_parent(void) {
    pthread_mutex_init(&mutex, NULL);
    rw_list_init(&attached);
}

void rw_log_attach(ropeway_connector_t *connector) {
    pthread_mutex_lock(&mutex);
    if (!prepared) {
        pthread_atfork(NULL, NULL, forget_parent);
        prepared = true;
    }
    rw_list_append(&attached, &connector->logging);
    pthread_mutex_unlock(&mutex);
}

void rw_log_detach(ropeway_connector_t *connector) {
    pthread_mutex_lock(&mutex);
    rw_list_remove(&connector->logging);
    pthread_mutex_unlock(&mutex);
}

bool rw_log_to_all(ropeway_log_level_t level, const char *text) {
    bool any;

    pthread_mutex_lock(&mutex);
    any = !rw_list_is_empty(&attached);
    for (rw_node_t *node = attached.next; node != &attached; node = node->next) {
        deliver(RW_CONTAINER(node, ropeway_connector_t, logging), level, text);
    }
    pthread_mutex_unlock(&mutex);
    return any;
}
