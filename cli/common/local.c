/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets in the file system, and who made them. */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_TRIES 200
#define LOCK_PAUSE_MS 10

const char *cli_local_path(const char *address) {
    size_t length = strlen(CLI_LOCAL);
    return strncmp(address, CLI_LOCAL, length) == 0 ? address + length : NULL;
}

/* False: the path is empty or too long. */
static bool fill(struct sockaddr_un *address, const char *path) {
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address->sun_path) {
        errno = length == 0 ? EINVAL : ENAMETOOLONG;
        return false;
    }
    memcpy(address->sun_path, path, length + 1);
    return true;
}

int cli_local_connect(const char *path) {
    struct sockaddr_un address;
    int fd =
        fill(&address, path) ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (fd >= 0 && (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
                    fcntl(fd, F_SETFL, 0) != 0)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* Locks the directory of a path against others who listen in it. -1: it can't be locked. That is no
 * reason to fail, nor is a stranger who never lets go of a directory that all can read. */
static int lock_directory(const char *path) {
    struct sockaddr_un address;
    if (!fill(&address, path)) {
        return -1;
    }
    char *slash = strrchr(address.sun_path, '/');
    if (slash != NULL) {
        slash[slash == address.sun_path] = '\0';
    }
    int fd = open(slash != NULL ? address.sun_path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int left = LOCK_TRIES; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; left--) {
        if (errno != EWOULDBLOCK || left == 0) {
            close(fd);
            return -1;
        }
        poll(NULL, 0, LOCK_PAUSE_MS);
    }
    return fd;
}

/* Whether the path is a socket that was left behind. */
static bool is_left_behind(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISSOCK(info.st_mode)) {
        return false;
    }
    int fd = cli_local_connect(path);
    if (fd < 0 && errno == ECONNREFUSED) {
        return true;
    }
    if (fd >= 0) {
        close(fd);
    }
    errno = EADDRINUSE;
    return false;
}

static bool bind_to(int fd, const char *path) {
    struct sockaddr_un address;
    const struct sockaddr *any = (const struct sockaddr *)&address;
    /* The file gets the mode of the socket: there is no moment in which others may connect. */
    return fill(&address, path) && fchmod(fd, S_IRUSR | S_IWUSR) == 0 &&
           (bind(fd, any, sizeof address) == 0 ||
            (errno == EADDRINUSE && is_left_behind(path) && unlink(path) == 0 &&
             bind(fd, any, sizeof address) == 0));
}

static bool listen_at(int fd, const char *path, struct cli_local *local) {
    struct stat info;
    if (!bind_to(fd, path) || lstat(path, &info) != 0) {
        return false;
    }
    snprintf(local->path, sizeof local->path, "%s", path);
    local->device = info.st_dev;
    local->file = info.st_ino;
    return listen(fd, SOMAXCONN) == 0;
}

int cli_local_listen(const char *path, struct cli_local *local, char text[CLI_SENTENCE_SIZE]) {
    local->path[0] = '\0';
    if (path[0] != '\0' && strstr(path + 1, CLI_LOCAL_END) != NULL) {
        cli_sentence(text,
                     "can't listen on '" CLI_LOCAL "%s': '" CLI_LOCAL_END "' ends the path in a "
                     "URL, so that no client could come; give a path without it",
                     path);
        return -1;
    }
    /* A socket that was bound and does not listen yet looks as if it had been left behind. */
    int lock = lock_directory(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool listens = fd >= 0 && listen_at(fd, path, local);
    int error = errno;
    if (lock >= 0) {
        close(lock);
    }
    if (listens) {
        return fd;
    }
    cli_sentence(text,
                 "can't listen on '" CLI_LOCAL "%s': %s; give the path of a socket that is not "
                 "there yet, of at most %zu bytes, in a directory that may be written",
                 path, cli_errno_text(error), sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
    if (fd >= 0) {
        close(fd);
    }
    cli_local_remove(local);
    return -1;
}

void cli_local_remove(struct cli_local *local) {
    struct stat info;
    if (local->path[0] != '\0' && lstat(local->path, &info) == 0 && info.st_dev == local->device &&
        info.st_ino == local->file) {
        unlink(local->path);
    }
    local->path[0] = '\0';
}

bool cli_local_peer(int fd, uid_t *user) {
    struct sockaddr_storage address = {0};
    struct ucred peer;
    socklen_t length = sizeof address, size = sizeof peer;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0 ||
        address.ss_family != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return false;
    }
    *user = peer.uid;
    return true;
}
