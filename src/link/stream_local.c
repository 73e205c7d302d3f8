/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets: their names, and who is at the other end. */
#include "link/stream_local.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "ropeway-"
#define NAMED 16 /* bytes of the hash in the name */

void rw_local_place(const uint8_t fingerprint[RW_FINGERPRINT_BYTES],
                    const uint8_t instance[RW_ID_BYTES], rw_place_t *place) {
    uint8_t named[RW_FINGERPRINT_BYTES + RW_ID_BYTES], hash[crypto_hash_sha256_BYTES];
    char *name;

    memcpy(named, fingerprint, RW_FINGERPRINT_BYTES);
    memcpy(named + RW_FINGERPRINT_BYTES, instance, RW_ID_BYTES);
    crypto_hash_sha256(hash, named, sizeof named);
    memset(place, 0, sizeof *place);
    place->local.sun_family = AF_UNIX;
    name = place->local.sun_path + 1;
    memcpy(name, PREFIX, sizeof PREFIX - 1);
    sodium_bin2hex(name + sizeof PREFIX - 1, 2 * (size_t)NAMED + 1, hash, NAMED);
}

bool rw_local_is_ours(int fd, pid_t *pid) {
    struct ucred other;
    socklen_t size = sizeof other;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &other, &size) != 0 || size != sizeof other) {
        return false;
    }
    *pid = other.pid;
    return other.uid == geteuid();
}

const char *rw_local_find_owner(const rw_place_t *place, rw_owner_t *owner) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const char *refused = NULL;
    pid_t pid;

    *owner = RW_OWNER_UNKNOWN;
    if (fd < 0) {
        return NULL;
    }
    if (connect(fd, &place->any, rw_place_length(place)) == 0) {
        *owner = rw_local_is_ours(fd, &pid) ? RW_OWNER_US : RW_OWNER_ANOTHER;
        refused = *owner == RW_OWNER_ANOTHER ? RW_LOCAL_FOREIGN : NULL;
    } else if (errno == ECONNREFUSED) {
        refused = "nobody listens there in this network namespace";
    }
    close(fd);
    return refused;
}
