/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads the library by itself, makes a connector, uses it and ends it, and looks at every signal's
 * handler before and after: none may change, and one that the host installed must stay. Exits with
 * 0, or the number of the signal whose handler changed.
 */
#include "ropeway.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNALS 65
#define RESTORER 0x04000000 /* SA_RESTORER: the C library's own, in what it installed */

static void hosts_handler(int signal) {
    (void)signal;
}

static void look(struct sigaction actions[SIGNALS]) {
    memset(actions, 0, sizeof(struct sigaction) * SIGNALS);
    for (int i = 1; i < SIGNALS; i++) {
        sigaction(i, NULL, &actions[i]);
    }
}

static int changed(const struct sigaction before[SIGNALS], const char *step) {
    struct sigaction now[SIGNALS];
    look(now);
    for (int i = 1; i < SIGNALS; i++) {
        if (now[i].sa_handler != before[i].sa_handler ||
            ((now[i].sa_flags ^ before[i].sa_flags) & ~RESTORER) != 0) {
            fprintf(stderr, "the handler of signal %d (%s) changed by %s\n", i, strsignal(i), step);
            return i;
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    struct sigaction before[SIGNALS];
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s LIBRARY [TRANSPORTS]\n", argv[0]);
        return 99;
    }
    signal(SIGSEGV, hosts_handler);
    signal(SIGUSR2, hosts_handler);
    signal(SIGPIPE, hosts_handler);
    look(before);
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 98;
    }
    int signal_number = changed(before, "loading the library");
    if (signal_number != 0) {
        return signal_number;
    }
    __typeof__(&ropeway_connector_options_init) init =
        (__typeof__(init))dlsym(library, "ropeway_connector_options_init");
    __typeof__(&ropeway_connector_create) create =
        (__typeof__(create))dlsym(library, "ropeway_connector_create");
    __typeof__(&ropeway_connector_destroy) destroy =
        (__typeof__(destroy))dlsym(library, "ropeway_connector_destroy");
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;
    init(&options, sizeof options);
    options.transports = argv[2];
    if (create(&options, &connector) != ROPEWAY_OK) {
        return 97;
    }
    signal_number = changed(before, "a connector");
    if (signal_number == 0 && destroy(connector) != ROPEWAY_OK) {
        return 96;
    }
    return signal_number != 0 ? signal_number : changed(before, "the connector's end");
}
