/* SPDX-License-Identifier: Apache-2.0 */
/* A cache of sorted directories. One of them is read at a time, for whoever wants it. */
#include "names.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/temp.h"

#define DIRECTORIES 256                /* that are kept */
#define BYTES_MAX ((size_t)16 << 20)   /* of one, and of all */
#define KEY_COST (sizeof(char *) + 32) /* of a key, besides its bytes */
#define SETTLED_S 2 /* a change in the last moments may not show in the time of the next one */

struct kept {
    struct cli_names names; /* the first member */
    struct kept *next;      /* in the order of use, latest first */
    struct stat info;       /* of the directory when it was read */
    size_t bytes;
    unsigned users;
    bool listed; /* else it goes with its last user */
};

static struct {
    pthread_mutex_t lock;
    struct kept *first;
    size_t count, bytes;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void destroy(struct kept *kept) {
    for (size_t i = 0; i < kept->names.count; i++) {
        free(kept->names.keys[i]);
    }
    free(kept->names.keys);
    free(kept);
}

static bool is_directory(int directory, const struct dirent *entry) {
    struct stat info;
    return entry->d_type == DT_DIR ||
           (entry->d_type == DT_UNKNOWN &&
            fstatat(directory, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(info.st_mode));
}

bool cli_names_key(int directory, const struct dirent *entry, char key[CLI_KEY_SIZE]) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || cli_temp_is_name(name)) {
        return false;
    }
    snprintf(key, CLI_KEY_SIZE, "%.*s%s", NAME_MAX, name,
             is_directory(directory, entry) ? "/" : "");
    return true;
}

DIR *cli_names_stream(int directory) {
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy >= 0 ? fdopendir(copy) : NULL;
    if (stream == NULL && copy >= 0) {
        close(copy);
    }
    return stream;
}

static bool add(struct kept *kept, const char *key) {
    struct cli_names *names = &kept->names;
    kept->bytes += strlen(key) + KEY_COST;
    if (kept->bytes > BYTES_MAX) {
        return false;
    }
    /* The room doubles: a count that is a power of two is full. */
    if ((names->count & (names->count - 1)) == 0) {
        size_t room = names->count > 0 ? 2 * names->count : 1;
        char **grown = realloc(names->keys, room * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        names->keys = grown;
    }
    names->keys[names->count] = strdup(key);
    return names->keys[names->count] != NULL && ++names->count > 0;
}

static int compare(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static struct kept *load(int directory, const struct stat *info) {
    struct kept *kept = calloc(1, sizeof *kept);
    DIR *stream = kept != NULL ? cli_names_stream(directory) : NULL;
    struct dirent *entry;
    char key[CLI_KEY_SIZE];
    bool loaded = stream != NULL;
    while (loaded && (entry = readdir(stream)) != NULL) {
        loaded = !cli_names_key(dirfd(stream), entry, key) || add(kept, key);
    }
    if (stream != NULL) {
        closedir(stream);
    }
    if (loaded && kept->names.count > 0) {
        qsort(kept->names.keys, kept->names.count, sizeof *kept->names.keys, compare);
    }
    if (!loaded && kept != NULL) {
        destroy(kept);
        kept = NULL;
    }
    if (kept != NULL) {
        kept->info = *info;
    }
    return kept;
}

/* Takes one off the list; it stays with its users. */
static void forget(struct kept **link) {
    struct kept *kept = *link;
    *link = kept->next;
    cache.count--;
    cache.bytes -= kept->bytes;
    kept->listed = false;
    if (kept->users == 0) {
        destroy(kept);
    }
}

static bool is_same(const struct stat *one, const struct stat *other) {
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

static bool is_unchanged(const struct stat *one, const struct stat *other) {
    return one->st_mtim.tv_sec == other->st_mtim.tv_sec &&
           one->st_mtim.tv_nsec == other->st_mtim.tv_nsec;
}

/* Finds what is kept of a directory, and forgets it if that has changed. */
static struct kept *find(const struct stat *info) {
    for (struct kept **link = &cache.first; *link != NULL; link = &(*link)->next) {
        struct kept *kept = *link;
        if (is_same(&kept->info, info)) {
            if (!is_unchanged(&kept->info, info)) {
                forget(link);
                return NULL;
            }
            *link = kept->next;
            kept->next = cache.first;
            cache.first = kept;
            return kept;
        }
    }
    return NULL;
}

/* Keeps it, unless its directory may have changed while it was read. */
static void keep(struct kept *kept, int directory) {
    struct stat now;
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    if (fstat(directory, &now) != 0 || !is_unchanged(&kept->info, &now) ||
        time.tv_sec < now.st_mtim.tv_sec + SETTLED_S) {
        return;
    }
    while (cache.first != NULL &&
           (cache.count == DIRECTORIES || cache.bytes + kept->bytes > BYTES_MAX)) {
        struct kept **last = &cache.first;
        while ((*last)->next != NULL) {
            last = &(*last)->next;
        }
        forget(last);
    }
    kept->listed = true;
    kept->next = cache.first;
    cache.first = kept;
    cache.count++;
    cache.bytes += kept->bytes;
}

const struct cli_names *cli_names_get(int directory) {
    struct stat info;
    if (fstat(directory, &info) != 0) {
        return NULL;
    }
    pthread_mutex_lock(&cache.lock);
    struct kept *kept = find(&info);
    if (kept == NULL) {
        kept = load(directory, &info);
        if (kept != NULL) {
            keep(kept, directory);
        }
    }
    if (kept != NULL) {
        kept->users++;
    }
    pthread_mutex_unlock(&cache.lock);
    return kept != NULL ? &kept->names : NULL;
}

void cli_names_release(const struct cli_names *names) {
    struct kept *kept = (struct kept *)names;
    if (kept == NULL) {
        return;
    }
    pthread_mutex_lock(&cache.lock);
    bool last = --kept->users == 0 && !kept->listed;
    pthread_mutex_unlock(&cache.lock);
    if (last) {
        destroy(kept);
    }
}
