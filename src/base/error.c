/* SPDX-License-Identifier: Apache-2.0 */
/* The list of errors as texts, and the thread's latest sentence. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_error[1024];

const char *ropeway_error_name(ropeway_error_t error) {
    switch (error) {
#define NAME(number, name, text)                                                                   \
    case ROPEWAY_##name:                                                                           \
        return "ROPEWAY_" #name;
        ROPEWAY_ERROR_MAP(NAME)
#undef NAME
    }
    return "ROPEWAY_ERR_?";
}

const char *ropeway_error_text(ropeway_error_t error) {
    switch (error) {
#define TEXT(number, name, text)                                                                   \
    case ROPEWAY_##name:                                                                           \
        return text;
        ROPEWAY_ERROR_MAP(TEXT)
#undef TEXT
    }
    return "unknown error";
}

const char *ropeway_last_error(void) {
    return last_error;
}

void rw_explain(const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
}
