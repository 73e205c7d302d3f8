/* SPDX-License-Identifier: Apache-2.0 */
/* UCX's log lines. UCX prints its warnings on stdout; a handler here takes them instead, for
 * whoever wants them. Who asks UCX for its own output (UCX_LOG_LEVEL, UCX_LOG_FILE) gets that as
 * well. */
#include "ucx/ucx.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucs/debug/log_def.h>

static _Atomic(rw_ucx_log_fn) taker;
static _Thread_local char *overheard;
static _Thread_local size_t overheard_size;
static _Thread_local bool hushed;

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

static void overhear(const char *line) {
    size_t used = overheard != NULL ? strlen(overheard) : 0;

    if (used + 1 < overheard_size) {
        snprintf(overheard + used, overheard_size - used, "%s%s", used > 0 ? "; " : "", line);
    }
}

static ucs_log_func_rc_t take_line(const char *file, unsigned line, const char *function,
                                   ucs_log_level_t level,
                                   const ucs_log_component_config_t *component, const char *message,
                                   va_list arguments) {
    char text[1024];
    int head;

    (void)line, (void)function, (void)component;
    if (level == UCS_LOG_LEVEL_FATAL) {
        return UCS_LOG_FUNC_RC_CONTINUE;
    }
    if (hushed) {
        return UCS_LOG_FUNC_RC_STOP;
    }
    head = snprintf(text, sizeof text, "UCX: ");
    vsnprintf(text + head, sizeof text - (size_t)head, message, arguments);
    if (level <= UCS_LOG_LEVEL_WARN) {
        overhear(text + head);
    }
    if (taker == NULL || !taker(level_of(level, file), text)) {
        return UCS_LOG_FUNC_RC_CONTINUE;
    }
    return getenv("UCX_LOG_LEVEL") != NULL || getenv("UCX_LOG_FILE") != NULL
               ? UCS_LOG_FUNC_RC_CONTINUE
               : UCS_LOG_FUNC_RC_STOP;
}

void rw_ucx_log_install(void) {
    ucs_log_push_handler(take_line);
}

void rw_ucx_log_to(rw_ucx_log_fn take) {
    taker = take;
}

void rw_ucx_hush(bool hush) {
    hushed = hush;
}

void rw_ucx_overhear(char *text, size_t size) {
    overheard = text;
    overheard_size = text != NULL ? size : 0;
    if (text != NULL) {
        *text = '\0';
    }
}

void rw_ucx_say(ropeway_log_level_t level, const char *format, ...) {
    rw_ucx_log_fn take = taker;
    char text[1024];
    va_list arguments;

    if (take == NULL) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    take(level, text);
}
