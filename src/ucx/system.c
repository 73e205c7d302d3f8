/* SPDX-License-Identifier: Apache-2.0 */
/* The dynamic linker's search, gone through by hand: system.h. */
#include "ucx/system.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CACHE "/etc/ld.so.cache"

static bool is_systems(const char *folder) {
    return strncmp(folder, "/lib", 4) == 0 || strncmp(folder, "/usr/lib", 8) == 0;
}

/* What the linker says of this library's own search, in its order; the cache is not in it. To be
 * freed; NULL: it says nothing. */
static Dl_serinfo *search_path(void) {
    struct link_map *map;
    Dl_serinfo head, *path;
    Dl_info info;

    if (dladdr1((void *)rw_ucx_search_system, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 ||
        map == NULL || dlinfo(map, RTLD_DI_SERINFOSIZE, &head) != 0) {
        return NULL;
    }
    path = malloc(head.dls_size);
    if (path == NULL) {
        return NULL;
    }
    *path = head;
    if (dlinfo(map, RTLD_DI_SERINFO, path) != 0) {
        free(path);
        return NULL;
    }
    return path;
}

/* Those that are the system's, or the others. */
static bool search_folders(const Dl_serinfo *path, bool systems, const char *name,
                           rw_ucx_path_fn take, void *argument) {
    char file[PATH_MAX];

    for (unsigned i = 0; path != NULL && i < path->dls_cnt; i++) {
        const char *folder = path->dls_serpath[i].dls_name;

        snprintf(file, sizeof file, "%s/%s", folder, name);
        if (is_systems(folder) == systems && access(file, R_OK) == 0 && !take(file, argument)) {
            return false;
        }
    }
    return true;
}

/* The cache is a table, followed by its texts: paths are found among these. */
static bool search_texts(const char *texts, size_t size, const char *name, rw_ucx_path_fn take,
                         void *argument) {
    size_t length = strlen(name) + 1;
    const char *at = texts, *end = texts + size;

    while ((at = memmem(at, (size_t)(end - at), name, length)) != NULL) {
        const char *begin = at;

        while (begin > texts && begin[-1] != '\0' && at - begin < PATH_MAX) {
            begin--;
        }
        if (*begin == '/' && at[-1] == '/' && access(begin, R_OK) == 0 && !take(begin, argument)) {
            return false;
        }
        at += length;
    }
    return true;
}

static bool search_cache(const char *name, rw_ucx_path_fn take, void *argument) {
    int fd = open(CACHE, O_RDONLY | O_CLOEXEC);
    struct stat status;
    void *texts = MAP_FAILED;
    bool goes_on = true;

    if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0) {
        texts = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (texts != MAP_FAILED) {
        goes_on = search_texts(texts, (size_t)status.st_size, name, take, argument);
        munmap(texts, (size_t)status.st_size);
    }
    if (fd >= 0) {
        close(fd);
    }
    return goes_on;
}

void rw_ucx_search_system(const char *name, rw_ucx_path_fn take, void *argument) {
    Dl_serinfo *path = search_path();

    if (search_folders(path, false, name, take, argument) && search_cache(name, take, argument)) {
        search_folders(path, true, name, take, argument);
    }
    free(path);
}
