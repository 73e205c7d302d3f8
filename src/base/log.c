/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines: ours, and UCX's. UCX prints its warnings on stdout; while a connector lives its
 * handler here takes them instead and hands them to the connectors' log callbacks. Whoever asks UCX
 * for its own output (UCX_LOG_LEVEL, UCX_LOG_FILE) gets that as well.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucs/debug/log_def.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static rw_link_t attached = {&attached, &attached}; /* connectors; guarded by mutex */
static bool installed;                              /* guarded by mutex */

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

/* A connection that can't be made or breaks is an error to UCX's connection manager; here the
 * operations that needed it tell, and there may be none. */
static bool is_about_one_connection(const char *file) {
    return strstr(file, "tcp_cm.c") != NULL;
}

static ropeway_log_level_t level_of(ucs_log_level_t level, const char *file) {
    if (level <= UCS_LOG_LEVEL_WARN && is_about_one_connection(file)) {
        return ROPEWAY_LOG_INFO;
    }
    if (level <= UCS_LOG_LEVEL_ERROR) {
        return ROPEWAY_LOG_ERROR;
    }
    if (level == UCS_LOG_LEVEL_WARN) {
        return ROPEWAY_LOG_WARN;
    }
    return level <= UCS_LOG_LEVEL_INFO ? ROPEWAY_LOG_INFO : ROPEWAY_LOG_DEBUG;
}

static ucs_log_func_rc_t take_line(const char *file, unsigned line, const char *function,
                                   ucs_log_level_t level,
                                   const ucs_log_component_config_t *component, const char *message,
                                   va_list arguments) {
    char text[1024];
    int head;

    (void)line, (void)function, (void)component;
    pthread_mutex_lock(&mutex);
    if (rw_list_is_empty(&attached) || level == UCS_LOG_LEVEL_FATAL) {
        pthread_mutex_unlock(&mutex);
        return UCS_LOG_FUNC_RC_CONTINUE;
    }
    head = snprintf(text, sizeof text, "UCX: ");
    vsnprintf(text + head, sizeof text - (size_t)head, message, arguments);
    for (rw_link_t *link = attached.next; link != &attached; link = link->next) {
        deliver(RW_CONTAINER(link, ropeway_connector_t, logging), level_of(level, file), text);
    }
    pthread_mutex_unlock(&mutex);
    return getenv("UCX_LOG_LEVEL") != NULL || getenv("UCX_LOG_FILE") != NULL
               ? UCS_LOG_FUNC_RC_CONTINUE
               : UCS_LOG_FUNC_RC_STOP;
}

/* In a forked child: a thread of the parent may have held the mutex, and the parent's connectors
 * are none of the child's. */
static void forget_parent(void) {
    pthread_mutex_init(&mutex, NULL);
    rw_list_init(&attached);
}

void rw_log_attach(ropeway_connector_t *connector) {
    pthread_mutex_lock(&mutex);
    if (!installed) {
        ucs_log_push_handler(take_line);
        pthread_atfork(NULL, NULL, forget_parent);
        installed = true;
    }
    rw_list_append(&attached, &connector->logging);
    pthread_mutex_unlock(&mutex);
}

void rw_log_detach(ropeway_connector_t *connector) {
    pthread_mutex_lock(&mutex);
    rw_list_remove(&connector->logging);
    pthread_mutex_unlock(&mutex);
}
