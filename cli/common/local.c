/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets in the file system, and who made them. */
#include "local.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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
    int fd = fill(&address, path) ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
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
    if (fd >= 0) {
        close(fd);
    }
    return fd < 0 && errno == ECONNREFUSED;
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

int cli_local_listen(const char *path, struct cli_local *local, char text[CLI_SENTENCE_SIZE]) {
    struct stat info;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    local->path[0] = '\0';
    if (fd >= 0 && bind_to(fd, path) && lstat(path, &info) == 0) {
        snprintf(local->path, sizeof local->path, "%s", path);
        local->device = info.st_dev;
        local->file = info.st_ino;
        if (listen(fd, SOMAXCONN) == 0) {
            return fd;
        }
    }
    cli_sentence(text,
                 "can't listen on '" CLI_LOCAL "%s': %s; give the path of a socket that is not "
                 "there yet, of at most %zu bytes, in a directory that may be written",
                 path, cli_errno_text(errno), sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
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
