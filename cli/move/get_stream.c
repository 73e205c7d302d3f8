/* SPDX-License-Identifier: Apache-2.0 */
/* While one range is written to the descriptor the next one is on its way. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/interrupt.h"
#include "common/message.h"
#include "common/text.h"
#include "get.h"

#define RANGE ((uint64_t)32 << 20) /* bytes */
#define WRITE_STEP ((size_t)1 << 20)

struct range {
    char *buffer;
    struct cli_offer offer;
    ropeway_operation_t *operation;
};

struct stream {
    struct cli_client *client;
    int fd;
    const char *target;
    struct range ranges[2];
    struct cli_checksum *checksum; /* of all bytes; NULL without --verify */
    uint64_t size;
    char tag[CLI_TAG_SIZE];
};

static bool write_out(struct stream *stream, const char *data, size_t size) {
    struct pollfd fds[] = {{.fd = stream->fd, .events = POLLOUT},
                           {.fd = cli_interrupt_fd(), .events = POLLIN}};
    while (size != 0 && !cli_interrupted()) {
        poll(fds, 2, -1);
        if (cli_interrupted()) {
            break;
        }
        ssize_t written = write(stream->fd, data, size < WRITE_STEP ? size : WRITE_STEP);
        if (written < 0 && errno != EINTR && errno != EAGAIN) {
            cli_fail("can't write to %s: %s", stream->target,
                     errno == EPIPE    ? "nobody reads it any more"
                     : errno == ENOSPC ? "no space is left; free some"
                                       : cli_errno_text(errno));
            return false;
        }
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
    return size == 0;
}

/* Asks for the range at offset and begins to read it. */
static bool begin_range(struct stream *stream, struct range *range, uint64_t offset) {
    struct cli_client *client = stream->client;
    if (!cli_client_ask_read(client, client->url.name, offset, RANGE, &range->offer)) {
        return false;
    }
    if (offset == 0) {
        stream->size = range->offer.size;
        strcpy(stream->tag, range->offer.tag);
        client->progress.total = stream->size;
    } else if (strcmp(stream->tag, range->offer.tag) != 0 || stream->size != range->offer.size) {
        cli_fail("'%s' was changed on the server while it was read; get it again",
                 client->url.name);
        return false;
    }
    return cli_client_begin(client, &range->offer, ROPEWAY_OPERATION_READ, range->buffer,
                            &range->operation);
}

/* Waits for a range and checks it. */
static bool end_range(struct stream *stream, struct range *range) {
    struct cli_client *client = stream->client;
    ropeway_operation_t *operation = range->operation;
    char here[CLI_CHECKSUM_SIZE], there[CLI_CHECKSUM_SIZE];
    range->operation = NULL;
    if (!cli_client_wait(client, operation, range->offer.offset) ||
        !cli_client_confirm(client, &range->offer, there)) {
        return false;
    }
    if (stream->checksum == NULL) {
        return true;
    }
    cli_checksum_add(stream->checksum, range->buffer, (size_t)range->offer.length);
    if (!cli_checksum_memory(range->buffer, (size_t)range->offer.length, NULL, NULL, here)) {
        cli_fail("out of memory");
        return false;
    }
    return cli_get_compare(client, here, there);
}

static bool move_all(struct stream *stream) {
    unsigned turn = 0;
    bool moved = begin_range(stream, &stream->ranges[0], 0);
    for (uint64_t offset = 0; moved;) {
        struct range *now = &stream->ranges[turn], *next = &stream->ranges[turn ^ 1];
        offset += now->offer.length;
        moved = end_range(stream, now) &&
                (offset >= stream->size || begin_range(stream, next, offset)) &&
                write_out(stream, now->buffer, (size_t)now->offer.length);
        cli_offer_free(&now->offer);
        turn ^= 1;
        if (offset >= stream->size) {
            break;
        }
    }
    return moved;
}

bool cli_get_stream(struct cli_client *client, int fd, const char *target, struct cli_got *got) {
    struct stream stream = {.client = client, .fd = fd, .target = target};
    char *buffers = mmap(NULL, 2 * RANGE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (client->options->verify) {
        stream.checksum = cli_checksum_create();
    }
    bool moved = false;
    if (buffers == MAP_FAILED || (client->options->verify && stream.checksum == NULL)) {
        cli_fail("out of memory");
    } else {
        stream.ranges[0].buffer = buffers;
        stream.ranges[1].buffer = buffers + RANGE;
        moved = move_all(&stream);
    }
    if (moved && stream.checksum != NULL) {
        cli_checksum_text(stream.checksum, got->checksum);
    }
    got->bytes = stream.size;
    for (int i = 0; i < 2; i++) {
        ropeway_operation_release(stream.ranges[i].operation);
        cli_offer_free(&stream.ranges[i].offer);
    }
    cli_checksum_destroy(stream.checksum);
    if (buffers != MAP_FAILED) {
        munmap(buffers, 2 * RANGE);
    }
    return moved;
}
