/* SPDX-License-Identifier: Apache-2.0 */
/* Signals that UCX takes when it is loaded, and the host process gets back. */
#include "ucx/ucx.h"

#include <dlfcn.h>
#include <signal.h>
#include <ucs/debug/debug.h>

/* UCX takes SIGHUP (and, in some builds, SIGSEGV and others) when it is loaded. */
void rw_ucx_return_signals(void *handle) {
    __typeof__(&ucs_debug_disable_signal) give_back =
        (__typeof__(give_back))dlsym(handle, "ucs_debug_disable_signal");
    struct sigaction action;
    Dl_info owner, ucs;

    if (give_back == NULL || rw_ucx_is_users_setting("DEBUG_SIGNO") ||
        rw_ucx_is_users_setting("HANDLE_ERRORS") || rw_ucx_is_users_setting("ERROR_SIGNALS") ||
        dladdr((void *)give_back, &ucs) == 0) {
        return;
    }
    for (int number = 1; number < SIGRTMIN; number++) {
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
            action.sa_handler != SIG_IGN && dladdr((void *)action.sa_handler, &owner) != 0 &&
            owner.dli_fbase == ucs.dli_fbase) {
            give_back(number);
        }
    }
}
