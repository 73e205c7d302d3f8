/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a transfer: after its bytes have moved and its operation is released. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transfer.h"
#include "tree.h"

struct rw_transfer *rw_transfer_create(const char *name, bool upload) {
    struct rw_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return NULL;
    transfer->upload = upload;
    transfer->file = -1;
    transfer->map.slot = -1;
    transfer->temp = RW_TEMP_NONE;
    transfer->name = strdup(name);
    if (transfer->name)
        return transfer;
    free(transfer);
    return NULL;
}

void rw_transfer_close(struct rw_transfer *transfer) {
    rw_map_close(&transfer->map);
    rw_temp_discard(&transfer->temp);
    if (transfer->file >= 0)
        close(transfer->file);
    transfer->file = -1;
    free(transfer->rest);
    transfer->rest = NULL;
}

void rw_transfer_destroy(struct rw_transfer *transfer) {
    if (!transfer)
        return;
    rw_transfer_close(transfer);
    free(transfer->name);
    free(transfer);
}

bool rw_transfer_finish_is_slow(const struct rw_transfer *transfer) {
    return transfer->upload || transfer->want_checksum;
}

static bool finish_read(struct rw_transfer *transfer) {
    struct stat after;
    if (transfer->want_checksum &&
        !rw_checksum_memory(transfer->map.data, (size_t)transfer->map.size, NULL, NULL,
                            transfer->checksum)) {
        rw_sentence(transfer->error, "the server is out of memory");
        return false;
    }
    bool same = fstat(transfer->file, &after) == 0 && after.st_size == transfer->before.st_size &&
                after.st_mtim.tv_sec == transfer->before.st_mtim.tv_sec &&
                after.st_mtim.tv_nsec == transfer->before.st_mtim.tv_nsec &&
                !rw_map_faulted(&transfer->map);
    if (!same)
        rw_sentence(transfer->error,
                    "'%s' was changed on the server while it was read; get it again",
                    transfer->name);
    return same;
}

/* Gives an upload its name. Returns 0 or an errno value. */
static int publish(struct rw_transfer *transfer) {
    const char *base;
    if (fsync(transfer->temp.fd) != 0)
        return errno;
    int directory = rw_tree_make_parents(transfer->file, transfer->rest, &base);
    if (directory < 0)
        return errno;
    int error = rw_temp_publish(&transfer->temp, directory, base);
    if (!error)
        fsync(directory);
    close(directory);
    return error;
}

static bool finish_upload(struct rw_transfer *transfer) {
    char found[RW_CHECKSUM_SIZE];
    if (transfer->want_checksum) {
        if (!rw_checksum_memory(transfer->map.data, (size_t)transfer->map.size, NULL, NULL,
                                found)) {
            rw_sentence(transfer->error, "the server is out of memory");
            return false;
        }
        if (strcmp(found, transfer->checksum) != 0) {
            rw_sentence(transfer->error,
                        "'%s' arrived with checksum %s instead of %s and was dropped; put it again",
                        transfer->name, found, transfer->checksum);
            return false;
        }
    }
    int error = rw_map_faulted(&transfer->map) ? EIO : publish(transfer);
    if (error)
        rw_sentence(transfer->error, "the server can't store '%s': %s", transfer->name,
                    rw_errno_text(error));
    return !error;
}

bool rw_transfer_finish(struct rw_transfer *transfer) {
    return transfer->upload ? finish_upload(transfer) : finish_read(transfer);
}
