/* SPDX-License-Identifier: Apache-2.0 */
/* The folder of links: verbs.h. */
#include "ucx/verbs.h"

#include "ucx/peek.h"
#include "ucx/system.h"
#include "ucx/ucx.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the names ---- */

/* The name that a copy has on a system: "libmlx5-0a1b2c3d.so.1.24.48.0" is "libmlx5.so.1". false:
 * it is no copy of one of these. */
static bool has_system_name(const char *copy, char *name, size_t size) {
    static const char *const stems[] = {"libibverbs", "libmlx5", "librdmacm", "libnl-3",
                                        "libnl-route-3"};

    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        size_t stem = strlen(stems[i]), hash, version;
        const char *end;

        if (strncmp(copy, stems[i], stem) != 0 || copy[stem] != '-') {
            continue;
        }
        hash = strspn(copy + stem + 1, "0123456789abcdef");
        end = copy + stem + 1 + hash;
        version = strncmp(end, ".so.", 4) == 0 ? strspn(end + 4, "0123456789") : 0;
        if (hash > 0 && version > 0) {
            snprintf(name, size, "%s.so.%.*s", stems[i], (int)version, end + 4);
            return true;
        }
    }
    return false;
}

static bool take_first(const char *path, void *argument) {
    char *target = argument;

    if (rw_ucx_is_library(path) && realpath(path, target) != NULL) {
        return false;
    }
    target[0] = '\0';
    return true;
}

/* false: the path is too long. */
static bool join(const char *path, const char *file, char joined[PATH_MAX]) {
    int length = snprintf(joined, PATH_MAX, "%s/%s", path, file);

    if (length < PATH_MAX) {
        return true;
    }
    errno = ENAMETOOLONG;
    return false;
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

/* Whether any of these files is a copy of a libibverbs that the system has. */
static bool has_copies(const char *from) {
    DIR *files = opendir(from);
    bool any = false;

    if (files == NULL) {
        return false;
    }
    for (const struct dirent *file; !any && (file = readdir(files)) != NULL;) {
        char name[NAME_MAX + 1], copy[PATH_MAX], target[PATH_MAX] = "";

        if (has_system_name(file->d_name, name, sizeof name) &&
            strncmp(name, "libibverbs.", 11) == 0 && join(from, file->d_name, copy)) {
            rw_ucx_search_system(name, take_first, target);
            any = target[0] != '\0' && !rw_ucx_are_same(copy, target);
        }
    }
    closedir(files);
    return any;
}

/* ---- the folder ---- */

#define LIBRARIES "lib"
#define MODULES "ucx"  /* the folder beside libucs in which it looks for them */
#define SETTINGS "etc" /* the one beside that folder in which it looks for its configuration */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX]; /* its name; guarded by lock; "": there is none */
static int root = -1;         /* the folder; it stays open; guarded by lock */
static pid_t maker;           /* guarded by lock */

/* Fills a folder with links to the files of `from`. */
static bool link_files(const char *from, int to) {
    DIR *files = opendir(from);
    bool good = files != NULL;

    for (const struct dirent *file; good && (file = readdir(files)) != NULL;) {
        char target[PATH_MAX];

        if (file->d_name[0] != '.' && strcmp(file->d_name, MODULES) != 0) {
            good = choose_target(from, file->d_name, target) &&
                   symlinkat(target, to, file->d_name) == 0;
        }
    }
    if (files != NULL) {
        closedir(files);
    }
    return good;
}

/* Makes a folder in a folder, with links to the files of `from`. */
static bool make_links(const char *from, int in, const char *name) {
    int fd =
        mkdirat(in, name, 0700) == 0 ? openat(in, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    char modules[PATH_MAX];
    bool good = fd >= 0 && link_files(from, fd) && join(from, MODULES, modules);

    if (good && access(modules, F_OK) == 0) {
        good = make_links(modules, fd, MODULES);
    }
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

/* Its configuration counts as before, if it has one. */
static bool link_settings(const char *from) {
    char settings[PATH_MAX];

    return join(from, "../" SETTINGS, settings) &&
           (access(settings, F_OK) != 0 || symlinkat(settings, root, SETTINGS) == 0);
}

static bool make_folder(const char *from) {
    const char *base = secure_getenv("TMPDIR");

    if (!join(base != NULL && base[0] == '/' ? base : "/tmp", "ropeway-ucx-XXXXXX", folder) ||
        mkdtemp(folder) == NULL) {
        folder[0] = '\0';
        return false;
    }
    maker = getpid();
    root = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return root >= 0 && make_links(from, root, LIBRARIES) && link_settings(from);
}

static void remove_files(int in, const char *name) {
    int fd = openat(in, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *files = fd >= 0 ? fdopendir(fd) : NULL;

    for (const struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        if (file->d_name[0] != '.' && unlinkat(fd, file->d_name, 0) != 0) {
            remove_files(fd, file->d_name);
        }
    }
    if (files != NULL) {
        closedir(files);
    } else if (fd >= 0) {
        close(fd);
    }
    unlinkat(in, name, AT_REMOVEDIR);
}

/* A forked child leaves it to its parent. */
static void remove_folder(void) {
    if (folder[0] != '\0' && root >= 0 && maker == getpid()) {
        remove_files(root, LIBRARIES);
        unlinkat(root, SETTINGS, 0);
    }
    if (folder[0] != '\0' && maker == getpid()) {
        rmdir(folder);
    }
    folder[0] = '\0';
}

__attribute__((destructor)) static void remove_at_exit(void) {
    remove_folder(); /* without the lock: nobody else is here, or never gives it back */
}

bool rw_ucx_verbs_lead(const char *path, char led[PATH_MAX]) {
    const char *slash = strrchr(path, '/');
    char beside[PATH_MAX], from[PATH_MAX], lib[64];
    bool made;
    int error;

    if (slash == NULL || slash - path >= PATH_MAX) {
        return false;
    }
    snprintf(beside, sizeof beside, "%.*s/", (int)(slash - path), path);
    if (realpath(beside, from) == NULL || !has_copies(from)) {
        return false;
    }
    pthread_mutex_lock(&lock);
    made = make_folder(from);
    error = errno;
    snprintf(lib, sizeof lib, "/proc/self/fd/%d/" LIBRARIES, root);
    made = made && join(lib, slash + 1, led) && access(led, F_OK) == 0;
    pthread_mutex_unlock(&lock);
    if (!made) {
        rw_ucx_verbs_undo();
        rw_ucx_say(ROPEWAY_LOG_WARN,
                   "the libibverbs that %s brings finds no driver here, and no folder of links in "
                   "which that name leads to the system's can be made: %s; TMPDIR names another "
                   "folder for temporary files",
                   path, strerror(error));
    }
    return made;
}

void rw_ucx_verbs_undo(void) {
    pthread_mutex_lock(&lock);
    remove_folder();
    if (root >= 0) {
        close(root);
        root = -1;
    }
    pthread_mutex_unlock(&lock);
}

void rw_ucx_verbs_done(void) {
    if (access("/dev/nvidiactl", F_OK) == 0) {
        return;
    }
    pthread_mutex_lock(&lock);
    remove_folder();
    pthread_mutex_unlock(&lock);
}
