/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a transfer: after its bytes have moved and its operation is released. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/map.h"
#include "common/temp.h"
#include "common/text.h"
#include "transfer.h"
#include "tree.h"

struct cli_transfer *cli_transfer_create(const char *name, const char *peer, bool upload) {
    struct cli_transfer *transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL) {
        return NULL;
    }
    transfer->upload = upload;
    snprintf(transfer->peer, sizeof transfer->peer, "%s", peer);
    transfer->file = -1;
    transfer->map = CLI_MAP_NONE;
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
    if (transfer->want_checksum &&
        !cli_checksum_memory(transfer->map.data, (size_t)transfer->map.size, NULL, NULL,
                             transfer->checksum)) {
        cli_sentence(transfer->error, "the server is out of memory");
        return false;
    }
    bool same =
        cli_file_unchanged(transfer->file, &transfer->before) && !cli_map_faulted(&transfer->map);
    if (!same) {
        cli_sentence(transfer->error,
                     "'%s' was changed on the server while it was read; get it again",
                     transfer->name);
    }
    return same;
}

/* Gives an upload its name. False: see errno. */
static bool publish(struct cli_transfer *transfer) {
    const char *base;
    int directory = fsync(transfer->temp.fd) == 0
                        ? cli_tree_make_parents(transfer->file, transfer->rest, &base)
                        : -1;
    if (directory < 0) {
        return false;
    }
    bool published = cli_temp_publish(&transfer->temp, directory, base);
    int error = errno;
    if (published) {
        fsync(directory);
    }
    close(directory);
    errno = error;
    return published;
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
    if (cli_map_faulted(&transfer->map)) { /* the bytes came, and there was no room for them */
        cli_sentence(transfer->error, CLI_NOT_STORED, transfer->name);
        return false;
    }
    bool stored = publish(transfer);
    if (!stored) {
        cli_sentence(transfer->error, "the server can't store '%s': %s", transfer->name,
                     cli_errno_text(errno));
    }
    return stored;
}

bool cli_transfer_finish(struct cli_transfer *transfer) {
    return transfer->upload ? finish_upload(transfer) : finish_read(transfer);
}
