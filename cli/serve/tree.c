/* SPDX-License-Identifier: Apache-2.0 */
/* Finding, listing and making files below the offered directories. */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "common/message.h"
#include "common/name.h"
#include "common/temp.h"
#include "common/text.h"

#define DISTINCT_PAGE 4096 /* names that are compared at a time */
#define OPEN_OBJECT (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct root {
    const char *path; /* as given */
    int directory;    /* the offered directory, or the one that holds the offered file */
    char *file;       /* the offered file's name in it; NULL for a directory */
    char *name;       /* what the offered file is called here */
};

struct cli_tree {
    struct root *roots;
    size_t count;
};

/* ---- Opening below a directory ------------------------------------------- */

/* Splits the first component off a name. Returns what follows the slash, or NULL at the last. */
static const char *split(const char *name, char component[CLI_NAME_COMPONENT_MAX + 1]) {
    size_t length = strcspn(name, "/");
    memcpy(component, name, length);
    component[length] = '\0';
    return name[length] != '\0' ? name + length + 1 : NULL;
}

/* For kernels and sandboxes without openat2(): no symbolic link is followed at all. */
static int open_step_by_step(int directory, const char *name, int flags) {
    char component[CLI_NAME_COMPONENT_MAX + 1];
    int at = dup(directory);
    while (at >= 0 && name != NULL) {
        name = split(name, component);
        int next = openat(at, component, name != NULL ? OPEN_DIRECTORY : flags | O_NOFOLLOW);
        int error = errno;
        close(at);
        errno = error;
        at = next;
    }
    return at;
}

int cli_tree_open_beneath(int directory, const char *name, int flags) {
    struct open_how how = {.flags = (unsigned)flags,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int attempt = 0;; attempt++) {
        int fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
        if (fd >= 0) {
            return fd;
        }
        /* EAGAIN: something was renamed while the kernel looked at "..". */
        if (errno == ENOSYS || errno == EPERM || (errno == EAGAIN && attempt == 16)) {
            return open_step_by_step(directory, name, flags);
        }
        if (errno != EAGAIN) {
            return -1;
        }
    }
}

/* ---- Opening and checking the roots ---------------------------------------- */

/* path with a last component that has a name: not "dir/." and the like. */
static bool open_file_root(struct root *root, const char *path) {
    char *real = realpath(path, NULL);
    if (real == NULL) {
        return false;
    }
    char *slash = strrchr(real, '/');
    root->file = strdup(slash + 1);
    root->name = strdup(cli_base_name(path));
    *slash = '\0';
    root->directory = open(*real != '\0' ? real : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(real);
    return root->directory >= 0 && root->file != NULL && root->name != NULL;
}

static bool open_root(struct root *root, const char *path) {
    *root = (struct root){.path = path, .directory = -1};
    struct stat info;
    bool opened = stat(path, &info) == 0;
    if (opened && S_ISDIR(info.st_mode)) {
        root->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        opened = root->directory >= 0;
    } else if (opened && S_ISREG(info.st_mode)) {
        opened = access(path, R_OK) == 0 && open_file_root(root, path);
    } else if (opened) {
        cli_fail("can't offer '%s': it is neither a file nor a directory", path);
        return false;
    }
    if (!opened) {
        cli_fail("can't offer '%s': %s; give paths that exist and may be read", path,
                 cli_errno_text(errno));
        return false;
    }
    const char *wrong = root->name != NULL ? cli_name_check(root->name, strlen(root->name)) : NULL;
    if (wrong != NULL) {
        cli_fail("can't offer '%s': the name %s; rename the file", path, wrong);
    }
    return wrong == NULL;
}

/* Adds the next files of a root. */
static bool list_root(const struct root *root, const char *after, size_t max,
                      struct cli_page *page) {
    struct stat info;
    if (root->file == NULL) {
        return cli_walk(root->directory, after, max, page);
    }
    if (strcmp(root->name, after) <= 0 ||
        fstatat(root->directory, root->file, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(info.st_mode)) {
        return true;
    }
    char *name = strdup(root->name);
    return name != NULL &&
           cli_page_add(page, name, (uint64_t)info.st_size,
                        (double)info.st_mtim.tv_sec + (double)info.st_mtim.tv_nsec / 1e9);
}

static int open_in_root(const struct root *root, const char *name) {
    if (root->file == NULL) {
        return cli_tree_open_beneath(root->directory, name, OPEN_OBJECT);
    }
    if (strcmp(root->name, name) == 0) {
        return openat(root->directory, root->file, OPEN_OBJECT | O_NOFOLLOW);
    }
    errno = ENOENT;
    return -1;
}

static bool root_offers(const struct root *root, const char *name) {
    struct stat info;
    int fd = open_in_root(root, name);
    bool offers = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    if (fd >= 0) {
        close(fd);
    }
    return offers;
}

/* Whether no root before this one offers a name that it offers, too. */
static bool root_is_distinct(const struct cli_tree *tree, const struct root *root) {
    char after[CLI_NAME_SIZE] = "";
    struct cli_page page = {0};
    bool distinct = true;
    do {
        cli_page_free(&page);
        page = (struct cli_page){0};
        if (!list_root(root, after, DISTINCT_PAGE, &page)) {
            cli_fail("out of memory");
            distinct = false;
        }
        for (size_t i = 0; distinct && i < page.count; i++) {
            for (const struct root *other = tree->roots; distinct && other < root; other++) {
                distinct = !root_offers(other, page.files[i].name);
                if (!distinct) {
                    cli_fail(
                        "'%s' and '%s' both offer the name '%s'; rename one, or serve them apart",
                        other->path, root->path, page.files[i].name);
                }
            }
        }
        if (page.count > 0) {
            snprintf(after, sizeof after, "%s", page.files[page.count - 1].name);
        }
    } while (distinct && page.count == DISTINCT_PAGE);
    cli_page_free(&page);
    return distinct;
}

static bool names_are_distinct(const struct cli_tree *tree) {
    bool distinct = true;
    for (size_t i = 1; i < tree->count && distinct; i++) {
        distinct = root_is_distinct(tree, &tree->roots[i]);
    }
    return distinct;
}

struct cli_tree *cli_tree_open(char *const *paths, size_t count) {
    struct cli_tree *tree = calloc(1, sizeof *tree);
    struct root *roots = calloc(count + 1, sizeof *roots);
    if (tree == NULL || roots == NULL) {
        free(tree);
        free(roots);
        cli_fail("out of memory");
        return NULL;
    }
    tree->roots = roots;
    bool opened = true;
    while (opened && tree->count < count) {
        opened = open_root(&roots[tree->count], paths[tree->count]);
        tree->count++;
    }
    if (opened && names_are_distinct(tree)) {
        return tree;
    }
    cli_tree_close(tree);
    return NULL;
}

void cli_tree_close(struct cli_tree *tree) {
    if (tree == NULL) {
        return;
    }
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->roots[i].directory >= 0) {
            close(tree->roots[i].directory);
        }
        free(tree->roots[i].file);
        free(tree->roots[i].name);
    }
    free(tree->roots);
    free(tree);
}

/* ---- What requests ask for ------------------------------------------------- */

int cli_tree_object(const struct cli_tree *tree, const char *name, struct stat *info,
                    struct cli_refusal *refusal) {
    bool forbidden = false;
    for (size_t i = 0; i < tree->count && !cli_temp_is_name(cli_base_name(name)); i++) {
        int fd = open_in_root(&tree->roots[i], name);
        if (fd >= 0 && fstat(fd, info) == 0 && S_ISREG(info->st_mode)) {
            return fd;
        }
        if (fd >= 0) {
            close(fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EIO) {
            cli_refuse(refusal, 500, "the server can't open '%s': %s", name, cli_errno_text(errno));
            return -1;
        }
        forbidden = forbidden || (fd < 0 && errno == EACCES);
    }
    if (forbidden) {
        cli_refuse(refusal, 403, "the server may not read '%s'; change the file's mode there",
                   name);
    } else {
        cli_refuse(refusal, 404, "no object is called '%s'; 'ropeway ls' shows the names", name);
    }
    return -1;
}

bool cli_tree_list(const struct cli_tree *tree, const char *after, size_t max,
                   struct cli_page *page) {
    bool listed = true;
    for (size_t i = 0; listed && i < tree->count; i++) {
        size_t before = page->count;
        listed = list_root(&tree->roots[i], after, max, page);
        if (before > 0) {
            cli_page_sort(page);
            cli_page_cut(page, max);
        }
    }
    return listed;
}

/* ---- Where uploads go ------------------------------------------------------- */

int cli_tree_deepest(int root, const char *name, const char **rest, struct cli_refusal *refusal) {
    char component[CLI_NAME_COMPONENT_MAX + 1];
    int at = openat(root, ".", OPEN_DIRECTORY);
    const char *next;
    *rest = name;
    while (at >= 0 && (next = split(*rest, component)) != NULL) {
        int below = openat(at, component, OPEN_DIRECTORY);
        if (below < 0 && errno == ENOENT) {
            return at;
        }
        int error = errno;
        close(at);
        errno = error;
        at = below;
        *rest = next;
    }
    if (at < 0 && (errno == ENOTDIR || errno == ELOOP)) {
        cli_refuse(refusal, 409, "'%s' can't be written: a part of its path is not a directory",
                   name);
    } else if (at < 0) {
        cli_refuse(refusal, errno == EACCES ? 403 : 500, "'%s' can't be written: %s", name,
                   cli_errno_text(errno));
    }
    return at;
}

int cli_tree_make_parents(int directory, const char *name, const char **base) {
    char component[CLI_NAME_COMPONENT_MAX + 1];
    int at = openat(directory, ".", OPEN_DIRECTORY);
    const char *next;
    *base = name;
    while (at >= 0 && (next = split(*base, component)) != NULL) {
        int below = -1;
        if (mkdirat(at, component, 0777) == 0 || errno == EEXIST) {
            below = openat(at, component, OPEN_DIRECTORY);
        }
        int error = errno;
        close(at);
        errno = error;
        at = below;
        *base = next;
    }
    return at;
}
