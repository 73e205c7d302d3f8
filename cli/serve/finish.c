/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a transfer: after its bytes have moved and its operation is released. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transfer.h"
#include "tree.h"

struct cli_transfer *cli_transfer_create(const char *name, bool upload) {
    struct cli_transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL) {
        return NULL;
    }
    transfer->upload = upload;
    transfer->file = -1;
    transfer->map.slot = -1;
    transfer->temp = CLI_TEMP_NONE;
    transfer->name = strdup(name);
    if (transfer->name != NULL) {
        return transfer;
    }
    free(transfer);
    return NULL;
}

void cli_transfer_close(struct cli_transfer *transfer) {
    cli_map_close(&transfer->map);
    cli_temp_discard(&transfer->temp);
    if (transfer->file >= 0) {
        close(transfer->file);
    }
    transfer->file = -1;
    free(transfer->rest);
    transfer->rest = NULL;
}

void cli_transfer_destroy(struct cli_transfer *transfer) {
    if (transfer == NULL) {
        return;
    }
    cli_transfer_close(transfer);
    free(transfer->name);
    free(transfer);
}

bool cli_transfer_finish_is_slow(const struct cli_transfer *transfer) {
    return transfer->upload || transfer->want_checksum;
}

static bool finish_read(struct cli_transfer *transfer) {
    struct stat after;
    if (transfer->want_checksum &&
        !cli_checksum_memory(transfer->map.data, (size_t)transfer->map.size, NULL, NULL,
                             transfer->checksum)) {
        cli_sentence(transfer->error, "the server is out of memory");
        return false;
    }
    bool same = fstat(transfer->file, &after) == 0 && after.st_size == transfer->before.st_size &&
                after.st_mtim.tv_sec == transfer->before.st_mtim.tv_sec &&
                after.st_mtim.tv_nsec == transfer->before.st_mtim.tv_nsec &&
                !cli_map_faulted(&transfer->map);
    if (!same) {
        cli_sentence(transfer->error,
                     "'%s' was changed on the server while it was read; get it again",
                     transfer->name);
    }
    return same;
}

/* Gives an upload its name. Returns 0 or an errno value. */
static int publish(struct cli_transfer *transfer) {
    const char *base;
    if (fsync(transfer->temp.fd) != 0) {
        return errno;
    }
    int directory = cli_tree_make_parents(transfer->file, transfer->rest, &base);
    if (directory < 0) {
        return errno;
    }
    int error = cli_temp_publish(&transfer->temp, directory, base);
    if (error == 0) {
        fsync(directory);
    }
    close(directory);
    return error;
}

static bool finish_upload(struct cli_transfer *transfer) {
    char found[CLI_CHECKSUM_SIZE];
    if (transfer->want_checksum) {
        if (!cli_checksum_memory(transfer->map.data, (size_t)transfer->map.size, NULL, NULL,
                                 found)) {
            cli_sentence(transfer->error, "the server is out of memory");
            return false;
        }
        if (strcmp(found, transfer->checksum) != 0) {
            cli_sentence(
                transfer->error,
                "'%s' arrived with checksum %s instead of %s and was dropped; put it again",
                transfer->name, found, transfer->checksum);
            return false;
        }
    }
    int error = cli_map_faulted(&transfer->map) ? EIO : publish(transfer);
    if (error != 0) {
        cli_sentence(transfer->error, "the server can't store '%s': %s", transfer->name,
                     cli_errno_text(error));
    }
    return error == 0;
}

bool cli_transfer_finish(struct cli_transfer *transfer) {
    return transfer->upload ? finish_upload(transfer) : finish_read(transfer);
}
