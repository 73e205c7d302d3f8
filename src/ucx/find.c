/* SPDX-License-Identifier: Apache-2.0 */
/* Where a UCX may lie: find.h. */
#include "ucx/find.h"

#include "base/rdma.h"

#include "ucx/peek.h"
#include "ucx/system.h"

#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "libucp.so.0"
#define MODULE "%.*s/ucx/libuct_%s.so*"

static const char *const asked = "ROPEWAY_UCX asks for it";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char **packages; /* guarded by lock */
static size_t package_count;

typedef struct list {
    rw_ucx_place_t *places;
    size_t count;
    bool chosen; /* by the user */
} list_t;

/* ---- what a place has ---- */

static bool matches(const char *pattern) {
    glob_t found;
    bool any = glob(pattern, GLOB_NOSORT, NULL, &found) == 0;

    if (any) {
        globfree(&found);
    }
    return any;
}

static bool has_module(const char *library, const char *module) {
    char pattern[PATH_MAX + 64];
    const char *slash = strrchr(library, '/');

    snprintf(pattern, sizeof pattern, MODULE, (int)(slash - library), library, module);
    return matches(pattern);
}

static unsigned count_lacking(const char *library) {
    return (unsigned)(rw_rdma_is_here(RW_RDMA_FOLDER) && !has_module(library, "ib")) +
           (unsigned)(access("/dev/nvidiactl", F_OK) == 0 && !has_module(library, "cuda"));
}

/* library: where its modules are searched; NULL: nobody knows. */
static void add(list_t *list, const char *path, const char *library, const char *why) {
    rw_ucx_place_t *place = &list->places[list->count];

    if (list->count == RW_UCX_PLACES || strlen(path) >= sizeof place->path) {
        return;
    }
    strcpy(place->path, path);
    place->why = list->chosen ? asked : why;
    place->lacks = library != NULL && !list->chosen ? count_lacking(library) : 0;
    list->count++;
}

/* ---- in the process ---- */

/* One with the plain names: a second one beside it would get its libraries from the first. */
static bool add_mapped(list_t *list) {
    void *handle = dlopen(NAME, RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);

    if (handle == NULL) {
        return false;
    }
    dlclose(handle);
    add(list, NAME, NULL, "the process has it already");
    return true;
}

/* ---- where the dynamic linker searches ---- */

static bool is_listed(const list_t *list, const char *path) {
    for (size_t i = 0; i < list->count; i++) {
        if (rw_ucx_are_same(list->places[i].path, path)) {
            return true;
        }
    }
    return false;
}

static bool add_systems(const char *path, void *argument) {
    list_t *list = argument;

    if (rw_ucx_is_library(path) && !is_listed(list, path)) {
        add(list, path, path, "the dynamic linker finds it");
    }
    return list->count < RW_UCX_PLACES;
}

static void add_system(list_t *list) {
    rw_ucx_search_system(NAME, add_systems, list);
}

/* ---- in Python's packages ---- */

/* The wheels of nixl have hashes in the names of libraries. One that the process has comes first:
 * it is NIXL's own. */
static void add_in_folder(list_t *list, const char *folder, bool nixl) {
    char pattern[PATH_MAX];
    glob_t found;

    snprintf(pattern, sizeof pattern, nixl ? "%s/nixl*.libs/libucp*.so.0*" : "%s/libucx/lib/" NAME,
             folder);
    if (glob(pattern, 0, NULL, &found) != 0) {
        return;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            const char *path = found.gl_pathv[i];
            void *handle = dlopen(path, RTLD_NOLOAD | RTLD_LAZY | RTLD_LOCAL);

            if (handle != NULL) {
                dlclose(handle);
            }
            if ((handle != NULL) == (pass == 0)) {
                add(list, path, path,
                    nixl ? "it is in the nixl wheel" : "it is in the libucx wheel");
            }
        }
    }
    globfree(&found);
}

static void add_in_folders(list_t *list, const char *pattern, bool nixl) {
    glob_t found;

    if (glob(pattern, 0, NULL, &found) != 0) {
        return;
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        add_in_folder(list, found.gl_pathv[i], nixl);
    }
    globfree(&found);
}

static void add_of_variable(list_t *list, const char *variable, const char *tail, bool nixl) {
    const char *base = secure_getenv(variable);
    char pattern[PATH_MAX];

    if (base != NULL && base[0] == '/') {
        snprintf(pattern, sizeof pattern, "%s%s", base, tail);
        add_in_folders(list, pattern, nixl);
    }
}

static void add_wheels(list_t *list, bool nixl) {
    for (size_t i = 0; i < package_count; i++) {
        add_in_folder(list, packages[i], nixl);
    }
    if (package_count == 0) {
        add_of_variable(list, "VIRTUAL_ENV", "/lib/python3*/site-packages", nixl);
        add_of_variable(list, "HOME", "/.local/lib/python3*/site-packages", nixl);
        add_in_folders(list, "/usr/local/lib/python3*/*-packages", nixl);
        add_in_folders(list, "/usr/lib/python3*/*-packages", nixl);
    }
}

bool rw_ucx_prefer_packages(const char *const *folders, size_t count) {
    char **copies = calloc(count + 1, sizeof *copies);
    bool all = copies != NULL;

    for (size_t i = 0; all && i < count; i++) {
        copies[i] = strdup(folders[i]);
        all = copies[i] != NULL;
    }
    pthread_mutex_lock(&lock);
    if (all) {
        char **old = packages;

        packages = copies;
        package_count = count;
        copies = old;
    }
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; copies != NULL && copies[i] != NULL; i++) {
        free(copies[i]);
    }
    free(copies);
    return all;
}

/* ---- by the user ---- */

/* A library, a folder with libraries, or a prefix. */
static void add_path(list_t *list, const char *path) {
    static const char *const tails[] = {"/lib/" NAME, "/lib64/" NAME, "/lib/*/" NAME, "/" NAME,
                                        "/libucp-*.so.0*"};
    struct stat status;
    char pattern[PATH_MAX];

    if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode)) {
        /* A name without a slash would be the dynamic linker's to find. */
        snprintf(pattern, sizeof pattern, "%s%s", strchr(path, '/') == NULL ? "./" : "", path);
        add(list, pattern, pattern, asked);
        return;
    }
    for (size_t i = 0; i < sizeof tails / sizeof *tails && list->count == 0; i++) {
        glob_t found;

        snprintf(pattern, sizeof pattern, "%s%s", path, tails[i]);
        if (glob(pattern, 0, NULL, &found) == 0) {
            add(list, found.gl_pathv[0], found.gl_pathv[0], asked);
            globfree(&found);
        }
    }
}

static void add_choice(list_t *list, const char *choice) {
    list->chosen = true;
    if (strcmp(choice, "system") == 0) {
        add_system(list);
    } else if (strcmp(choice, "nixl") == 0) {
        add_wheels(list, true);
    } else if (strcmp(choice, "wheel") == 0) {
        add_wheels(list, false);
    } else {
        add_path(list, choice);
    }
}

static void add_all(list_t *list) {
    bool mapped = add_mapped(list);

    if (package_count > 0) {
        add_wheels(list, false);
        add_wheels(list, true);
        if (!mapped) {
            add_system(list);
        }
    } else {
        if (!mapped) {
            add_system(list);
        }
        add_wheels(list, true);
        add_wheels(list, false);
    }
}

/* Moves those that lack less to the front; keeps the order of equals. */
static void sort(const list_t *list) {
    for (size_t i = 1; i < list->count; i++) {
        for (size_t j = i; j > 0 && list->places[j - 1].lacks > list->places[j].lacks; j--) {
            rw_ucx_place_t place = list->places[j];

            list->places[j] = list->places[j - 1];
            list->places[j - 1] = place;
        }
    }
}

size_t rw_ucx_find(const char *choice, rw_ucx_place_t places[RW_UCX_PLACES]) {
    list_t list = {.places = places};

    pthread_mutex_lock(&lock);
    if (choice != NULL) {
        add_choice(&list, choice);
    } else {
        add_all(&list);
        sort(&list);
    }
    pthread_mutex_unlock(&lock);
    return list.count;
}
