/* SPDX-License-Identifier: Apache-2.0 */
/* Finding, listing and making files below the offered directories. */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "common/message.h"
#include "common/name.h"
#include "common/temp.h"
#include "common/text.h"

#define MAX_OBJECTS 1000000
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

/* Called for each object. False: stop. */
typedef bool visit_fn(void *arg, const struct root *root, const char *name,
                      const struct stat *info);

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

static int open_beneath(int directory, const char *name, int flags) {
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

/* ---- Walking -------------------------------------------------------------- */

static bool walk(const struct root *root, int directory, const char *prefix, int depth,
                 visit_fn *visit, void *arg);

static bool walk_entry(const struct root *root, DIR *stream, const char *entry, const char *prefix,
                       int depth, visit_fn *visit, void *arg) {
    struct stat info;
    char *name = cli_format("%s%s%s", prefix, *prefix != '\0' ? "/" : "", entry);
    bool more = true;
    if (name == NULL || cli_name_check(name, strlen(name)) != NULL || cli_temp_is_name(entry) ||
        fstatat(dirfd(stream), entry, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        goto out;
    }
    if (S_ISDIR(info.st_mode)) {
        int below = depth < CLI_NAME_DEPTH_MAX ? openat(dirfd(stream), entry, OPEN_DIRECTORY) : -1;
        if (below >= 0) {
            more = walk(root, below, name, depth + 1, visit, arg);
        }
        goto out;
    }
    if (S_ISLNK(info.st_mode)) {
        int target = open_beneath(root->directory, name, O_PATH | O_CLOEXEC);
        if (target < 0) {
            goto out;
        }
        int failed = fstat(target, &info);
        close(target);
        if (failed != 0) {
            goto out;
        }
    }
    if (S_ISREG(info.st_mode)) {
        more = visit(arg, root, name, &info);
    }
out:
    free(name);
    return more;
}

/* Takes the descriptor over. */
static bool walk(const struct root *root, int directory, const char *prefix, int depth,
                 visit_fn *visit, void *arg) {
    DIR *stream = fdopendir(directory);
    if (stream == NULL) {
        close(directory);
        return true;
    }
    bool more = true;
    struct dirent *entry;
    while (more && (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            more = walk_entry(root, stream, entry->d_name, prefix, depth, visit, arg);
        }
    }
    closedir(stream);
    return more;
}

static bool walk_root(const struct root *root, visit_fn *visit, void *arg) {
    struct stat info;
    if (root->file == NULL) {
        int directory = openat(root->directory, ".", OPEN_DIRECTORY);
        return directory < 0 || walk(root, directory, "", 0, visit, arg);
    }
    if (fstatat(root->directory, root->file, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(info.st_mode)) {
        return true;
    }
    return visit(arg, root, root->name, &info);
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

struct collision_check {
    json_t *owners; /* name: the path that offers it */
    bool failed;
};

static bool note_owner(void *arg, const struct root *root, const char *name,
                       const struct stat *info) {
    (void)info;
    struct collision_check *check = arg;
    const char *owner = json_string_value(json_object_get(check->owners, name));
    if (owner != NULL) {
        cli_fail("'%s' and '%s' both offer the name '%s'; rename one, or serve them apart", owner,
                 root->path, name);
        check->failed = true;
    } else if (json_object_set_new(check->owners, name, json_string_nocheck(root->path)) != 0) {
        cli_fail("out of memory");
        check->failed = true;
    }
    return !check->failed;
}

static bool names_are_distinct(const struct cli_tree *tree) {
    struct collision_check check = {.owners = json_object()};
    for (size_t i = 0; tree->count > 1 && i < tree->count && !check.failed; i++) {
        walk_root(&tree->roots[i], note_owner, &check);
    }
    json_decref(check.owners);
    return !check.failed;
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

static int open_in_root(const struct root *root, const char *name) {
    if (root->file == NULL) {
        return open_beneath(root->directory, name, OPEN_OBJECT);
    }
    if (strcmp(root->name, name) == 0) {
        return openat(root->directory, root->file, OPEN_OBJECT | O_NOFOLLOW);
    }
    errno = ENOENT;
    return -1;
}

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

static bool add_to_list(void *arg, const struct root *root, const char *name,
                        const struct stat *info) {
    (void)root;
    json_t *list = arg;
    json_t *entry = json_pack("{s:s, s:I, s:f}", "name", name, "size", (json_int_t)info->st_size,
                              "mtime", (double)info->st_mtim.tv_sec + info->st_mtim.tv_nsec / 1e9);
    return json_array_append_new(list, entry) == 0 && json_array_size(list) <= MAX_OBJECTS;
}

json_t *cli_tree_list(const struct cli_tree *tree, struct cli_refusal *refusal) {
    json_t *list = json_array();
    for (size_t i = 0; i < tree->count; i++) {
        if (walk_root(&tree->roots[i], add_to_list, list)) {
            continue;
        }
        cli_refuse(refusal, 500, "the list of objects is too long for the server (%zu and more)",
                   json_array_size(list));
        json_decref(list);
        return NULL;
    }
    return list;
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
