/* SPDX-License-Identifier: Apache-2.0 */
/* Loads UCX, once. */
#include "ucx/load.h"

#include "base/env.h"
#include "base/error.h"
#include "base/rdma.h"
#include "ucx/calls.h"
#include "ucx/find.h"
#include "ucx/peek.h"
#include "ucx/ucx.h"
#include "ucx/verbs.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TO_INSTALL                                                                                 \
    "install one (pip install 'ropeway[ucx]' or 'ropeway[nixl]', or a package of the "             \
    "distribution's such as libucx0), or name one by ROPEWAY_UCX"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool loaded; /* what follows is written before, once */
static const char *version = "";
static char library[PATH_MAX];
static char why[96];

/* What was tried, and why each can't be used. */
typedef struct tried {
    char text[512]; /* what to install shall fit behind it */
    size_t used;
} tried_t;

__attribute__((format(printf, 2, 3))) static void note(tried_t *tried, const char *format, ...) {
    size_t room = sizeof tried->text - tried->used;
    va_list arguments;
    int length;

    if (tried->used > 0 && room > 2) {
        tried->used += (size_t)snprintf(tried->text + tried->used, room, "; ");
        room -= 2;
    }
    va_start(arguments, format);
    length = vsnprintf(tried->text + tried->used, room, format, arguments);
    va_end(arguments);
    tried->used += length < 0 ? 0 : (size_t)length < room ? (size_t)length : room - 1;
}

/* ---- one place ---- */

static const char *path_of(void *handle) {
    struct link_map *map;

    return dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : "";
}

/* The path of the library beside this one whose name begins so. */
static bool beside(const char *path, const char *name, char result[PATH_MAX]) {
    const char *slash = strrchr(path, '/');

    return slash != NULL &&
           snprintf(result, PATH_MAX, "%.*s/%s", (int)(slash - path), path, name) < PATH_MAX;
}

/* Libraries know each other by name. Where the process has those of another UCX under the plain
 * names, one with the same names would run on a mix of both. */
static bool is_alone(const rw_ucx_place_t *place, tried_t *tried) {
    const char *slash = strrchr(place->path, '/');
    char mine[PATH_MAX];
    void *other;
    bool alone;

    if (slash == NULL || strncmp(slash + 1, "libucp.so", 9) != 0) {
        return true;
    }
    other = dlopen("libucs.so.0", RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
    if (other == NULL) {
        return true;
    }
    alone = beside(place->path, "libucs.so.0", mine) && rw_ucx_are_same(mine, path_of(other));
    if (!alone) {
        note(tried, "%s can't be used beside %s, which the process has already", place->path,
             path_of(other));
    }
    dlclose(other);
    return alone;
}

typedef struct handles {
    void *list[4];
    unsigned count;
} handles_t;

static bool take(handles_t *handles, const char *path) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (handle != NULL) {
        handles->list[handles->count++] = handle;
    }
    return handle != NULL;
}

static void let_go(handles_t *handles) {
    while (handles->count > 0) {
        dlclose(handles->list[--handles->count]);
    }
}

/* Opens libucp, the last of the handles, after the ones beside it that it needs: those are not to
 * be searched for elsewhere. (libucm can't be opened by itself: it needs libucs without saying so.)
 */
static bool open_all(const char *libucp, handles_t *handles) {
    static const char *const needed[] = {"libucs.so.0", "libuct.so.0"};
    char path[PATH_MAX];
    struct stat status;

    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if (beside(libucp, needed[i], path) && stat(path, &status) == 0 && !take(handles, path)) {
            return false;
        }
    }
    return take(handles, libucp);
}

/* Whether the release will do. */
static bool is_new(const char *path, rw_ucx_release_t release, tried_t *tried) {
    if (release.major > RW_UCX_MAJOR_NEEDED ||
        (release.major == RW_UCX_MAJOR_NEEDED && release.minor >= RW_UCX_MINOR_NEEDED)) {
        return true;
    }
    note(tried, "%s is UCX %u.%u.%u", path, release.major, release.minor, release.patch);
    return false;
}

/* Whether it is a UCX of a release that will do, with all that is called. */
static bool suits(void *ucp, tried_t *tried) {
    rw_ucx_release_t release;
    __typeof__(&ucp_get_version) get_version =
        (__typeof__(get_version))dlsym(ucp, "ucp_get_version");
    const char *missing;

    if (get_version == NULL) {
        note(tried, "%s is no UCX: it lacks ucp_get_version", path_of(ucp));
        return false;
    }
    get_version(&release.major, &release.minor, &release.patch);
    if (!is_new(path_of(ucp), release, tried)) {
        return false;
    }
    missing = rw_ucx_calls_fill(ucp);
    if (missing != NULL) {
        note(tried, "%s, UCX %u.%u.%u, lacks %s", path_of(ucp), release.major, release.minor,
             release.patch, missing);
        return false;
    }
    return true;
}

/* is_led: see verbs.h. */
static void adopt(const rw_ucx_place_t *place, void *ucp, bool was_there, bool is_led) {
    snprintf(library, sizeof library, "%s", is_led ? place->path : path_of(ucp));
    snprintf(why, sizeof why, "%s%s", place->why,
             is_led ? "; it was given this system's libibverbs" : "");
    version = ucp_get_version_string();
    atomic_store_explicit(&loaded, true, memory_order_release);
    if (!was_there) {
        rw_ucx_leave_out_modules();
    }
    rw_ucx_log_install();
}

static bool try_place(const rw_ucx_place_t *place, tried_t *tried) {
    rw_ucx_release_t release;
    handles_t handles = {0};
    sigset_t before;
    bool was_there, is_led, good = false;
    char led[PATH_MAX];
    void *ucp;

    if (!is_alone(place, tried) ||
        (rw_ucx_peek(place->path, &release) && !is_new(place->path, release, tried))) {
        return false;
    }
    ucp = dlopen(place->path, RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);
    was_there = ucp != NULL;
    if (was_there) {
        dlclose(ucp);
    }
    is_led = !was_there && rw_rdma_is_here(RW_RDMA_FOLDER) && rw_ucx_verbs_lead(place->path, led);
    rw_signals_block(&before); /* for the threads that a library may start */
    if (is_led && !open_all(led, &handles)) {
        let_go(&handles);
        rw_ucx_verbs_undo();
        is_led = false;
    }
    if (is_led || open_all(place->path, &handles)) {
        ucp = handles.list[handles.count - 1];
        if (!was_there) {
            rw_ucx_return_signals(ucp);
        }
        good = suits(ucp, tried);
    } else {
        note(tried, "%s", dlerror());
    }
    rw_signals_restore(&before);
    if (good) {
        adopt(place, ucp, was_there, is_led);
        return true;
    }
    let_go(&handles);
    rw_ucx_verbs_undo();
    return false;
}

/* ---- all of them ---- */

static ropeway_error_t fail(const char *choice, const tried_t *tried) {
    if (choice != NULL) {
        return rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                       "UCX %u.%u or newer is needed, and ROPEWAY_UCX=%s leads to none: %s; it can "
                       "be a library, a prefix, system, nixl or wheel",
                       RW_UCX_MAJOR_NEEDED, RW_UCX_MINOR_NEEDED, choice,
                       tried->used > 0 ? tried->text : "nothing was found there");
    }
    if (tried->used == 0) {
        return rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                       "UCX %u.%u or newer is needed, and this machine has no UCX: " TO_INSTALL,
                       RW_UCX_MAJOR_NEEDED, RW_UCX_MINOR_NEEDED);
    }
    return rw_fail(ROPEWAY_ERR_UNSUPPORTED, "UCX %u.%u or newer is needed, but %s: " TO_INSTALL,
                   RW_UCX_MAJOR_NEEDED, RW_UCX_MINOR_NEEDED, tried->text);
}

static ropeway_error_t load(void) {
    const char *choice = secure_getenv("ROPEWAY_UCX");
    rw_ucx_place_t *places = malloc(RW_UCX_PLACES * sizeof *places);
    tried_t tried = {0};
    size_t count;
    bool found = false;

    if (places == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    if (choice != NULL && choice[0] == '\0') {
        choice = NULL;
    }
    count = rw_ucx_find(choice, places);
    for (size_t i = 0; i < count && !found; i++) {
        found = try_place(&places[i], &tried);
    }
    free(places);
    return found ? ROPEWAY_OK : fail(choice, &tried);
}

bool rw_ucx_is_loaded(void) {
    return atomic_load_explicit(&loaded, memory_order_acquire);
}

ropeway_error_t rw_ucx_load(void) {
    ropeway_error_t error = ROPEWAY_OK;
    bool is_fresh = false;

    if (rw_ucx_is_loaded()) {
        return ROPEWAY_OK;
    }
    pthread_mutex_lock(&lock);
    if (!rw_ucx_is_loaded()) {
        error = load();
        is_fresh = error == ROPEWAY_OK;
    }
    pthread_mutex_unlock(&lock);
    if (is_fresh) {
        rw_ucx_say(ROPEWAY_LOG_INFO, "UCX %s was loaded from %s: %s", version, library, why);
    }
    return error;
}

const char *rw_ucx_library(void) {
    return rw_ucx_is_loaded() ? library : "";
}

const char *rw_ucx_why(void) {
    return rw_ucx_is_loaded() ? why : "";
}

const char *ropeway_ucx_version(void) {
    return rw_ucx_is_loaded() ? version : "";
}
