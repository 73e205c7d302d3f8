/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory counts as its name with a slash, which gives the order of whole names. One that is
 * too large to be kept sorted is read as often as it takes; each time the smallest entries that
 * follow the last one are kept.
 */
#include "walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/name.h"
#include "common/text.h"
#include "names.h"
#include "tree.h"

/* Where a walk is. */
struct walk {
    int root;
    const char *after;
    size_t max;
    struct cli_page *page;
};

/* The smallest entries of one directory, each with a slash at its end if it is one. */
struct keys {
    char **list;
    size_t count, capacity;
    char *bound;   /* what follows this one is not among the smallest; NULL: not known yet */
    bool left_out; /* there were more */
};

static int compare_keys(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void drop_largest(struct keys *keys, size_t keep) {
    if (keys->count > 0) {
        qsort(keys->list, keys->count, sizeof *keys->list, compare_keys);
    }
    while (keys->count > keep) {
        free(keys->list[--keys->count]);
        keys->left_out = true;
    }
    keys->bound = keys->count == keep && keys->count > 0 ? keys->list[keep - 1] : NULL;
}

static void free_keys(struct keys *keys) {
    while (keys->count > 0) {
        free(keys->list[--keys->count]);
    }
    free(keys->list);
}

static bool add_key(struct keys *keys, const char *key, size_t keep) {
    if (keys->bound != NULL && strcmp(key, keys->bound) > 0) {
        keys->left_out = true;
        return true;
    }
    if (keys->count == keys->capacity && keys->capacity > 0 && keys->capacity >= 2 * keep) {
        drop_largest(keys, keep);
    } else if (keys->list == NULL || keys->count == keys->capacity) {
        size_t capacity = keys->capacity > 0 ? 2 * keys->capacity : 16;
        char **grown = realloc(keys->list, capacity * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        keys->list = grown;
        keys->capacity = capacity;
    }
    char *copy = strdup(key);
    if (copy != NULL) {
        keys->list[keys->count++] = copy;
    }
    return copy != NULL;
}

/* Whether what a key stands for, below a prefix, may follow after. */
static bool may_follow(const char *prefix, const char *key, const char *after) {
    size_t length = strlen(prefix);
    int order = strncmp(after, prefix, length);
    if (order != 0) {
        return order < 0; /* all below this prefix, or nothing */
    }
    const char *rest = after + length;
    size_t key_length = strlen(key);
    bool leads_to_after = key[key_length - 1] == '/' && strncmp(rest, key, key_length) == 0;
    return leads_to_after || strcmp(key, rest) > 0;
}

/* The smallest keys of a directory that follow low ("": all do). */
static bool read_keys(const struct walk *walk, int directory, const char *prefix, const char *low,
                      size_t keep, struct keys *keys) {
    DIR *stream = cli_names_stream(directory);
    struct dirent *entry;
    char key[CLI_KEY_SIZE];
    bool read = true;
    if (stream == NULL) {
        return true; /* it may have gone, or may not be read */
    }
    while (read && (entry = readdir(stream)) != NULL) {
        if (cli_names_key(dirfd(stream), entry, key) && strcmp(key, low) > 0 &&
            may_follow(prefix, key, walk->after)) {
            read = add_key(keys, key, keep);
        }
    }
    closedir(stream);
    drop_largest(keys, keep);
    return read;
}

/* What is offered under a name; false: it is no file, or leads out. */
static bool look_at(const struct walk *walk, int directory, const char *key, const char *name,
                    struct stat *info) {
    if (fstatat(directory, key, info, AT_SYMLINK_NOFOLLOW) != 0) {
        return false;
    }
    if (S_ISLNK(info->st_mode)) {
        int target = cli_tree_open_beneath(walk->root, name, O_PATH | O_CLOEXEC);
        bool found = target >= 0 && fstat(target, info) == 0;
        if (target >= 0) {
            close(target);
        }
        return found && S_ISREG(info->st_mode);
    }
    return S_ISREG(info->st_mode);
}

static bool walk_below(const struct walk *walk, int directory, const char *prefix, int depth);

static bool take_key(const struct walk *walk, int directory, const char *prefix, const char *key,
                     int depth) {
    struct stat info;
    char *name = cli_format("%s%s", prefix, key);
    size_t length = name != NULL ? strlen(name) : 0;
    bool taken = name != NULL;
    if (length > 0 && name[length - 1] == '/') {
        int below = -1;
        name[length - 1] = '\0';
        if (depth < CLI_NAME_DEPTH_MAX && cli_name_check(name, length - 1) == NULL) {
            below = openat(directory, name + strlen(prefix),
                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
        name[length - 1] = '/';
        if (below >= 0) {
            taken = walk_below(walk, below, name, depth + 1);
            close(below);
        }
    } else if (taken && cli_name_check(name, length) == NULL &&
               look_at(walk, directory, key, name, &info)) {
        double mtime = (double)info.st_mtim.tv_sec + (double)info.st_mtim.tv_nsec / 1e9;
        return cli_page_add(walk->page, name, (uint64_t)info.st_size, mtime);
    }
    free(name);
    return taken;
}

/* In a directory that is too large to be kept. */
static bool walk_again(const struct walk *walk, int directory, const char *prefix, int depth) {
    char *low = strdup("");
    bool walked = low != NULL, more = true;
    while (walked && more && walk->page->count < walk->max) {
        struct keys keys = {0};
        walked = read_keys(walk, directory, prefix, low, walk->max - walk->page->count, &keys);
        for (size_t i = 0; walked && i < keys.count && walk->page->count < walk->max; i++) {
            walked = take_key(walk, directory, prefix, keys.list[i], depth);
        }
        free(low);
        low = keys.count > 0 ? strdup(keys.list[keys.count - 1]) : NULL;
        more = keys.left_out && low != NULL;
        free_keys(&keys);
    }
    free(low);
    return walked;
}

/* The first key that may follow: the order of keys is that of what they stand for. */
static size_t first_key(const struct walk *walk, const char *prefix,
                        const struct cli_names *names) {
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (may_follow(prefix, names->keys[middle], walk->after)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static bool walk_below(const struct walk *walk, int directory, const char *prefix, int depth) {
    const struct cli_names *names = cli_names_get(directory);
    if (names == NULL) {
        return walk_again(walk, directory, prefix, depth);
    }
    bool walked = true;
    for (size_t i = first_key(walk, prefix, names);
         walked && i < names->count && walk->page->count < walk->max; i++) {
        walked = take_key(walk, directory, prefix, names->keys[i], depth);
    }
    cli_names_release(names);
    return walked;
}

bool cli_walk(int directory, const char *after, size_t max, struct cli_page *page) {
    struct walk walk = {directory, after, page->count + max, page};
    return walk_below(&walk, directory, "", 0);
}

/* ---- Pages ------------------------------------------------------------------------- */

bool cli_page_add(struct cli_page *page, char *name, uint64_t size, double mtime) {
    /* The room doubles: a count that is a power of two is full. */
    if ((page->count & (page->count - 1)) == 0) {
        size_t room = page->count > 0 ? 2 * page->count : 1;
        struct cli_file *grown = realloc(page->files, room * sizeof *grown);
        if (grown == NULL) {
            free(name);
            return false;
        }
        page->files = grown;
    }
    page->files[page->count++] = (struct cli_file){name, size, mtime};
    return true;
}

static int compare_files(const void *left, const void *right) {
    return strcmp(((const struct cli_file *)left)->name, ((const struct cli_file *)right)->name);
}

void cli_page_sort(struct cli_page *page) {
    if (page->count > 0) {
        qsort(page->files, page->count, sizeof *page->files, compare_files);
    }
}

void cli_page_cut(struct cli_page *page, size_t max) {
    while (page->count > max) {
        free(page->files[--page->count].name);
    }
}

void cli_page_free(struct cli_page *page) {
    cli_page_cut(page, 0);
    free(page->files);
    page->files = NULL;
}
