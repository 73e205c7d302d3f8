/* SPDX-License-Identifier: Apache-2.0 */
/* Files without a name yet. */
#include "temp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "text.h"

#define MARK ".ropeway-"
#define RANDOM_DIGITS 8
#define MARGIN_PART 64                  /* of a disk; what is left free, for its other users */
#define MARGIN_MAX ((uint64_t)64 << 20) /* bytes */

/* False: see errno. */
static bool random_name(const char *final, char name[NAME_MAX + 1]) {
    uint32_t number;
    if (getrandom(&number, sizeof number, 0) != sizeof number) {
        return false;
    }
    int room = NAME_MAX - 1 - (int)strlen(MARK) - RANDOM_DIGITS;
    snprintf(name, NAME_MAX + 1, ".%.*s" MARK "%08x", room, final, number);
    return true;
}

bool cli_temp_is_name(const char *name) {
    size_t length = strlen(name), tail = strlen(MARK) + RANDOM_DIGITS;
    const char *mark = name + length - tail;
    return length > tail && name[0] == '.' && strncmp(mark, MARK, strlen(MARK)) == 0 &&
           strspn(mark + strlen(MARK), "0123456789abcdef") == RANDOM_DIGITS;
}

bool cli_temp_open(int directory, const char *final, struct cli_temp *temp) {
    struct stat replaced;
    /* What replaces a file is not open to more people than that one, not even before its end. */
    bool replaces = fstatat(directory, final, &replaced, AT_SYMLINK_NOFOLLOW) == 0;
    mode_t mode = replaces ? replaced.st_mode & 0600 : 0666;
    *temp = CLI_TEMP_NONE;
    temp->directory = directory;
    /* Naming a nameless file later takes /proc. */
    if (access("/proc/self/fd", X_OK) == 0) {
        temp->fd = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
        if (temp->fd >= 0) {
            return true;
        }
        if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL) {
            return false;
        }
    }
    do {
        if (!random_name(final, temp->name)) {
            return false;
        }
        temp->fd =
            openat(directory, temp->name, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, mode);
    } while (temp->fd < 0 && errno == EEXIST);
    if (temp->fd < 0) {
        temp->name[0] = '\0';
    }
    return temp->fd >= 0;
}

bool cli_temp_resize(const struct cli_temp *temp, uint64_t size, char text[CLI_SENTENCE_SIZE]) {
    struct statvfs room;
    uint64_t available = UINT64_MAX, margin = 0;
    if (fstatvfs(temp->fd, &room) == 0) {
        available = (uint64_t)room.f_bavail * room.f_frsize;
        margin = (uint64_t)room.f_blocks * room.f_frsize / MARGIN_PART;
        margin = margin < MARGIN_MAX ? margin : MARGIN_MAX;
    }
    int error = size > INT64_MAX                                ? EFBIG
                : size > available || available - size < margin ? ENOSPC
                                                                : 0;
    if (error == 0 && ftruncate(temp->fd, (off_t)size) != 0) {
        error = errno;
    }
    if (error == ENOSPC) {
        cli_sentence(text,
                     "%llu bytes are needed and about %llu are available there; free some space",
                     (unsigned long long)size, (unsigned long long)available);
    } else if (error != 0) {
        cli_sentence(text, "%s", cli_errno_text(error));
    }
    errno = error;
    return error == 0;
}

static bool link_nameless(const struct cli_temp *temp, int directory, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", temp->fd);
    return linkat(AT_FDCWD, path, directory, name, AT_SYMLINK_FOLLOW) == 0;
}

/* Links a nameless file under a name that nobody else has. */
static bool link_randomly(struct cli_temp *temp, int directory, const char *final) {
    bool linked;
    do {
        linked = random_name(final, temp->name) && link_nameless(temp, directory, temp->name);
    } while (!linked && errno == EEXIST);
    if (linked) {
        temp->directory = directory;
    } else {
        temp->name[0] = '\0';
    }
    return linked;
}

static bool name_it(struct cli_temp *temp, int directory, const char *name) {
    if (temp->name[0] == '\0') {
        if (link_nameless(temp, directory, name)) {
            return true;
        }
        /* A link never replaces a file; a rename does. */
        if (errno != EEXIST || !link_randomly(temp, directory, name)) {
            return false;
        }
    }
    if (renameat(temp->directory, temp->name, directory, name) != 0) {
        return false;
    }
    temp->name[0] = '\0';
    return true;
}

/* Takes over the owner and mode of the file that is replaced; what they give to
 * a group or by set-user-ID is dropped where they can't be kept. */
static bool inherit(const struct cli_temp *temp, int directory, const char *name) {
    struct stat replaced, own;
    if (fstatat(directory, name, &replaced, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(replaced.st_mode)) {
        return true;
    }
    if (fstat(temp->fd, &own) != 0) {
        return false;
    }
    mode_t mode = replaced.st_mode & 07777;
    if ((own.st_uid != replaced.st_uid || own.st_gid != replaced.st_gid) &&
        fchown(temp->fd, replaced.st_uid, replaced.st_gid) != 0) {
        mode &= 0707;
    }
    return fchmod(temp->fd, mode) == 0;
}

bool cli_temp_publish(struct cli_temp *temp, int directory, const char *name) {
    bool named = inherit(temp, directory, name) && name_it(temp, directory, name);
    cli_temp_discard(temp);
    return named;
}

void cli_temp_discard(struct cli_temp *temp) {
    int saved = errno;
    if (temp->fd < 0) {
        return;
    }
    if (temp->name[0] != '\0') {
        unlinkat(temp->directory, temp->name, 0);
    }
    close(temp->fd);
    *temp = CLI_TEMP_NONE;
    errno = saved;
}
