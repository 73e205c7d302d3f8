/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of links: verbs.h. */
#include "ucx/verbs.h"

#include "ucx/peek.h"
#include "ucx/system.h"
#include "ucx/ucx.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULES "ucx" /* the folder beside libucs in which it looks for them */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX]; /* guarded by lock; "": there is none */

/* ---- the names ---- */

/* The name that a copy has on a system: "libmlx5-0a1b2c3d.so.1.24.48.0" is "libmlx5.so.1". false:
 * it is no copy of one of these. */
static bool has_system_name(const char *copy, char *name, size_t size) {
    static const char *const stems[] = {"libibverbs", "libmlx5", "librdmacm", "libnl-3",
                                        "libnl-route-3"};

    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        size_t stem = strlen(stems[i]), hash, version;
        const char *at = copy + stem + 1;

        if (strncmp(copy, stems[i], stem) != 0 || copy[stem] != '-') {
            continue;
        }
        hash = strspn(at, "0123456789abcdef");
        version = strspn(at + hash + (strncmp(at + hash, ".so.", 4) == 0 ? 4 : 0), "0123456789");
        if (hash > 0 && version > 0 && strncmp(at + hash, ".so.", 4) == 0) {
            snprintf(name, size, "%s.so.%.*s", stems[i], (int)version, at + hash + 4);
            return true;
        }
    }
    return false;
}

static bool take_first(const char *path, void *argument) {
    bool good = rw_ucx_is_library(path);

    if (good) {
        snprintf(argument, PATH_MAX, "%s", path);
    }
    return !good;
}

/* false: the path is too long. */
static bool join(const char *path, const char *file, char joined[PATH_MAX]) {
    int length = snprintf(joined, PATH_MAX, "%s/%s", path, file);

    errno = ENAMETOOLONG;
    return length > 0 && length < PATH_MAX;
}

/* Where a link of this name shall lead to. */
static bool choose_target(const char *from, const char *file, char target[PATH_MAX]) {
    char name[NAME_MAX + 1];

    target[0] = '\0';
    if (has_system_name(file, name, sizeof name)) {
        rw_ucx_search_system(name, take_first, target);
    }
    return target[0] != '\0' || join(from, file, target);
}

/* ---- the folder ---- */

/* Fills `to` with links to the files of `from`. Returns how many lead to the system's; -1: it could
 * not be done, with errno. */
static int link_files(const char *from, const char *to) {
    DIR *files = opendir(from);
    int led = 0;

    if (files == NULL) {
        return -1;
    }
    for (const struct dirent *file; led >= 0 && (file = readdir(files)) != NULL;) {
        char target[PATH_MAX], path[PATH_MAX];

        if (file->d_name[0] == '.' || strcmp(file->d_name, MODULES) == 0) {
            continue;
        }
        if (!choose_target(from, file->d_name, target) || !join(to, file->d_name, path) ||
            symlink(target, path) != 0) {
            led = -1;
        } else {
            led += strncmp(target, from, strlen(from)) != 0;
        }
    }
    closedir(files);
    return led;
}

static void remove_files(const char *path) {
    DIR *files = opendir(path);

    if (files == NULL) {
        return;
    }
    for (const struct dirent *file; (file = readdir(files)) != NULL;) {
        if (file->d_name[0] != '.') {
            unlinkat(dirfd(files), file->d_name, 0);
        }
    }
    closedir(files);
    rmdir(path);
}

static void remove_folder(void) {
    char modules[PATH_MAX];

    if (folder[0] != '\0') {
        if (join(folder, MODULES, modules)) {
            remove_files(modules);
        }
        remove_files(folder);
        folder[0] = '\0';
    }
}

/* Whether a file of a folder is the one of this path. */
static bool is_file(DIR *files, const char *file, const char *path) {
    struct stat a, b;

    return fstatat(dirfd(files), file, &a, 0) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* Whether any of these files is a copy of a libibverbs that the system has. */
static bool has_copies(const char *from) {
    DIR *files = opendir(from);
    bool any = false;

    if (files == NULL) {
        return false;
    }
    for (const struct dirent *file; !any && (file = readdir(files)) != NULL;) {
        char name[NAME_MAX + 1], target[PATH_MAX] = "";

        if (has_system_name(file->d_name, name, sizeof name) &&
            strncmp(name, "libibverbs.", 11) == 0) {
            rw_ucx_search_system(name, take_first, target);
            any = target[0] != '\0' && !is_file(files, file->d_name, target);
        }
    }
    closedir(files);
    return any;
}

/* Makes it, and fills it. false: with errno. */
static bool make_folder(const char *from) {
    const char *base = secure_getenv("TMPDIR");
    char modules[PATH_MAX], original[PATH_MAX];

    if (!join(base != NULL && base[0] == '/' ? base : "/tmp", "ropeway-ucx-XXXXXX", folder) ||
        mkdtemp(folder) == NULL) {
        folder[0] = '\0';
        return false;
    }
    return link_files(from, folder) > 0 && join(folder, MODULES, modules) &&
           join(from, MODULES, original) &&
           (access(original, F_OK) != 0 ||
            (mkdir(modules, 0700) == 0 && link_files(original, modules) >= 0));
}

bool rw_ucx_verbs_lead(const char *path, char led[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    char beside[PATH_MAX], from[PATH_MAX];
    bool made = false;

    if (slash == NULL || slash - path >= PATH_MAX) {
        return false;
    }
    snprintf(beside, sizeof beside, "%.*s/", (int)(slash - path), path);
    if (realpath(beside, from) == NULL || !has_copies(from)) {
        return false;
    }
    pthread_mutex_lock(&lock);
    remove_folder();
    if (make_folder(from)) {
        made = join(folder, slash + 1, led);
    } else {
        rw_ucx_say(ROPEWAY_LOG_WARN,
                   "the libibverbs that %s brings finds no driver here, and no folder of links in "
                   "which that name leads to the system's can be made: %s; TMPDIR names another "
                   "folder for temporary files",
                   path, strerror(errno));
        remove_folder();
    }
    pthread_mutex_unlock(&lock);
    return made;
}

void rw_ucx_verbs_done(void) {
    pthread_mutex_lock(&lock);
    remove_folder();
    pthread_mutex_unlock(&lock);
}
