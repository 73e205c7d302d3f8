/* SPDX-License-Identifier: Apache-2.0 */
/* What each request does, whichever channel it came by. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/api.h"
#include "common/map.h"
#include "common/name.h"
#include "common/temp.h"
#include "common/text.h"
#include "serve.h"

static void pack_answer(struct cli_answer *answer, json_t *json) {
    answer->json = json;
    if (json == NULL) {
        cli_refuse(&answer->refusal, 500, "the server is out of memory");
    }
}

static void answer_list(struct cli_server *server, const struct cli_request *request,
                        struct cli_answer *answer) {
    if (request->is_page) {
        answer->text = cli_list_page(server->tree, request, &answer->refusal);
        return;
    }
    answer->list = cli_list_open(server->tree);
    if (answer->list == NULL) {
        cli_refuse(&answer->refusal, 500, "the server is out of memory");
    }
}

/* Opens and maps what a read asks for. */
static bool prepare_read(struct cli_server *server, const struct cli_request *request,
                         struct cli_transfer *transfer, struct cli_refusal *refusal) {
    transfer->file = cli_tree_object(server->tree, request->name, &transfer->before, refusal);
    if (transfer->file < 0) {
        return false;
    }
    uint64_t size = (uint64_t)transfer->before.st_size;
    if (request->offset > size) {
        return cli_refuse(refusal, 416, "the offset %llu is past the end of '%s' (%llu bytes)",
                          (unsigned long long)request->offset, request->name,
                          (unsigned long long)size);
    }
    uint64_t rest = size - request->offset;
    transfer->size = request->length < rest ? request->length : rest;
    transfer->want_checksum = request->want_checksum;
    if (!cli_map_open(&transfer->map, transfer->file, request->offset, transfer->size, false)) {
        return cli_refuse(refusal, 500, "the server can't map '%s': %s", request->name,
                          cli_errno_text(errno));
    }
    return true;
}

/* Changes whenever the object does: ranges with equal tags belong together. */
static json_t *object_tag(const struct stat *info) {
    char tag[80];
    snprintf(tag, sizeof tag, "%llx-%llx-%llx-%lx", (unsigned long long)info->st_ino,
             (unsigned long long)info->st_size, (unsigned long long)info->st_mtim.tv_sec,
             info->st_mtim.tv_nsec);
    return json_string(tag);
}

/* Makes the temporary file of an upload and maps it. */
static bool prepare_write(struct cli_server *server, const struct cli_request *request,
                          struct cli_transfer *transfer, struct cli_refusal *refusal) {
    const char *rest;
    char text[CLI_SENTENCE_SIZE];
    struct stat info;
    transfer->file = cli_tree_deepest(server->writable, request->name, &rest, refusal);
    if (transfer->file < 0) {
        return false;
    }
    if (fstatat(transfer->file, rest, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode)) {
        return cli_refuse(refusal, 409, "'%s' can't be written: it is a directory", request->name);
    }
    transfer->rest = strdup(rest);
    transfer->size = request->size;
    transfer->want_checksum = request->checksum[0] != '\0';
    memcpy(transfer->checksum, request->checksum, sizeof transfer->checksum);
    if (transfer->rest == NULL ||
        !cli_temp_open(transfer->file, cli_base_name(request->name), &transfer->temp)) {
        return cli_refuse(refusal, errno == EACCES || errno == EROFS ? 403 : 500,
                          "the server can't make a file for '%s': %s", request->name,
                          cli_errno_text(errno));
    }
    if (!cli_temp_resize(&transfer->temp, request->size, text)) {
        return cli_refuse(refusal,
                          errno == ENOSPC || errno == EDQUOT ? 507
                          : errno == EFBIG                   ? 413
                                                             : 500,
                          "the server has no room for '%s': %s", request->name, text);
    }
    if (!cli_map_open(&transfer->map, transfer->temp.fd, 0, request->size, true)) {
        return cli_refuse(refusal, 500, "the server can't map a file for '%s': %s", request->name,
                          cli_errno_text(errno));
    }
    return true;
}

/* Takes a place for a transfer and opens what it needs. NULL: refusal says why. */
static struct cli_transfer *prepare(struct cli_server *server, const struct cli_request *request,
                                    bool upload, struct cli_refusal *refusal) {
    if (!cli_transfers_reserve(server->transfers, request->peer, refusal)) {
        return NULL;
    }
    struct cli_transfer *transfer = cli_transfer_create(request->name, request->peer, upload);
    if (transfer == NULL) {
        cli_refuse(refusal, 500, "the server is out of memory");
    } else if ((upload ? prepare_write : prepare_read)(server, request, transfer, refusal)) {
        return transfer;
    }
    cli_transfer_destroy(transfer);
    cli_transfers_unreserve(server->transfers);
    return NULL;
}

static void answer_read(struct cli_server *server, const struct cli_request *request,
                        struct cli_answer *answer) {
    struct cli_transfer *transfer = prepare(server, request, false, &answer->refusal);
    if (transfer == NULL) {
        return;
    }
    struct stat info = transfer->before;
    uint64_t length = transfer->size;
    char id[CLI_TRANSFER_ID_SIZE];
    json_t *metadata;
    if (cli_transfers_start(server->transfers, transfer, id, &metadata, &answer->refusal)) {
        pack_answer(answer, json_pack("{s:s, s:I, s:I, s:I, s:o, s:s, s:s, s:o}", "name",
                                      request->name, "size", (json_int_t)info.st_size, "offset",
                                      (json_int_t)request->offset, "length", (json_int_t)length,
                                      "tag", object_tag(&info), "transfer", id, "server",
                                      server->id, "metadata", metadata));
    }
}

static void answer_write(struct cli_server *server, const struct cli_request *request,
                         struct cli_answer *answer) {
    if (server->writable < 0) {
        cli_refuse(&answer->refusal, 403,
                   "this server takes no uploads; start it with '--writable DIR'");
        return;
    }
    if (cli_temp_is_name(cli_base_name(request->name))) {
        cli_refuse(&answer->refusal, 400, "'%s' is kept for unfinished files; use another name",
                   request->name);
        return;
    }
    struct cli_transfer *transfer = prepare(server, request, true, &answer->refusal);
    if (transfer == NULL) {
        return;
    }
    char id[CLI_TRANSFER_ID_SIZE];
    json_t *metadata;
    if (cli_transfers_start(server->transfers, transfer, id, &metadata, &answer->refusal)) {
        pack_answer(answer, json_pack("{s:s, s:I, s:s, s:s, s:o}", "name", request->name, "size",
                                      (json_int_t)request->size, "transfer", id, "server",
                                      server->id, "metadata", metadata));
    }
}

void cli_serve_log_refusal(const char *peer, const char *what, const struct cli_refusal *refusal) {
    cli_log(&(struct cli_log_entry){.level = "warning",
                                    .outcome = "refused",
                                    .kind = what,
                                    .peer = peer,
                                    .status = refusal->status,
                                    .text = refusal->text});
}

bool cli_serve_authorized(const struct cli_server *server, const char *header) {
    if (!server->needs_token) {
        return true;
    }
    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0) {
        return false;
    }
    /* Hashes have one length: the comparison tells nothing about the token's. */
    unsigned char hash[CLI_TOKEN_HASH_SIZE];
    const char *token = header + 7 + strspn(header + 7, " ");
    crypto_generichash(hash, sizeof hash, (const unsigned char *)token, strlen(token), NULL, 0);
    return sodium_memcmp(hash, server->token_hash, sizeof hash) == 0;
}

/* As many may wait as there may be transfers; the rest is told how things stand, and asks again. So
 * however many wait, there is room for others. */
static void answer_outcome(struct cli_server *server, const struct cli_request *request,
                           struct cli_answer *answer) {
    bool waits = request->wait_s > 0;
    bool may_wait = waits && atomic_fetch_add(&server->waits, 1) < server->max_clients;
    answer->json = cli_transfers_outcome(server->transfers, request->transfer,
                                         may_wait ? request->wait_s : 0, &answer->refusal);
    if (waits) {
        atomic_fetch_sub(&server->waits, 1);
    }
}

void cli_serve_answer(struct cli_server *server, const struct cli_request *request,
                      struct cli_answer *answer) {
    switch (request->route) {
    case CLI_ROUTE_LIST:
        answer_list(server, request, answer);
        break;
    case CLI_ROUTE_READ:
        answer_read(server, request, answer);
        break;
    case CLI_ROUTE_WRITE:
        answer_write(server, request, answer);
        break;
    case CLI_ROUTE_TRANSFER:
        answer_outcome(server, request, answer);
        break;
    case CLI_ROUTE_METRICS:
        answer->text = cli_serve_metrics(server);
        answer->is_plain = true;
        if (answer->text == NULL) {
            cli_refuse(&answer->refusal, 500, "the server is out of memory");
        }
        break;
    case CLI_ROUTE_OPENAPI:
        answer->text = strdup(cli_serve_openapi());
        if (answer->text == NULL) {
            cli_refuse(&answer->refusal, 500, "the server is out of memory");
        }
        break;
    case CLI_ROUTE_HEALTH:
        if (cli_health_is_good(server->health, &answer->refusal)) {
            pack_answer(answer,
                        json_pack("{s:s, s:s}", "status", "ok", "version", ropeway_version()));
        }
        break;
    }
}
