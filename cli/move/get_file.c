/* SPDX-License-Identifier: Apache-2.0 */
/* Fetches an object straight into a mapped file, which gets its name at the very end. */
#include <errno.h>
#include <string.h>

#include "common/api.h"
#include "common/checksum.h"
#include "common/interrupt.h"
#include "common/map.h"
#include "common/message.h"
#include "common/name.h"
#include "common/temp.h"
#include "common/text.h"
#include "get.h"

/* The file that the bytes go to. */
struct target {
    const char *path;
    struct cli_temp temp;
    struct cli_map map;
};

bool cli_get_compare(struct cli_client *client, const char *here, const char *there) {
    if (strcmp(here, there) == 0) {
        return true;
    }
    if (*there != '\0') {
        cli_fail("'%s' has checksum %s on the server and %s here; get it again", client->url.name,
                 there, here);
    } else {
        cli_fail(
            "%s does not tell the checksum of '%s'; leave '--verify' out, or update the server",
            client->url.base, client->url.name);
    }
    return false;
}

/* Makes the file of its size. */
static bool open_target(struct target *target, int directory, uint64_t size) {
    char text[CLI_SENTENCE_SIZE];
    if (!cli_temp_open(directory, cli_base_name(target->path), &target->temp)) {
        cli_fail("can't make a file for '%s': %s; choose another place with '-o FILE'",
                 target->path, cli_errno_text(errno));
        return false;
    }
    if (!cli_temp_resize(&target->temp, size, text)) {
        cli_fail("can't store '%s': %s", target->path, text);
        return false;
    }
    return true;
}

/* False: this file system can't map files. */
static bool map_target(struct target *target, uint64_t size) {
    char sentence[CLI_SENTENCE_SIZE];
    cli_sentence(sentence, "can't store '%s': its disk failed or is full; nothing was stored",
                 target->path);
    cli_map_end_on_fault(sentence, &target->temp);
    if (!cli_map_open(&target->map, target->temp.fd, 0, size, true)) {
        return false;
    }
    cli_map_prefault(&target->map, true, size);
    return true;
}

static bool receive(struct cli_client *client, const struct cli_offer *offer,
                    const struct target *target, struct cli_got *got) {
    ropeway_operation_t *operation;
    char there[CLI_CHECKSUM_SIZE];
    if (!cli_client_begin(client, offer, ROPEWAY_OPERATION_READ, target->map.data, &operation) ||
        !cli_client_wait(client, operation, 0) || !cli_client_confirm(client, offer, there)) {
        return false;
    }
    got->bytes = offer->length;
    if (!client->options->verify) {
        return true;
    }
    return cli_client_checksum(&target->map, got->checksum) &&
           cli_get_compare(client, got->checksum, there);
}

static bool publish(struct target *target, int directory) {
    if (cli_interrupted()) {
        return false;
    }
    if (!cli_temp_publish(&target->temp, directory, cli_base_name(target->path))) {
        cli_fail("can't give '%s' its name: %s", target->path, cli_errno_text(errno));
        return false;
    }
    return true;
}

bool cli_get_file(struct cli_client *client, int directory, const char *path, struct cli_got *got) {
    struct target target = {.path = path, .temp = CLI_TEMP_NONE, .map = CLI_MAP_NONE};
    struct cli_offer offer;
    bool done = cli_client_ask_read(client, client->url.name, 0, CLI_TO_THE_END, &offer);
    if (done) {
        client->progress.total = offer.length;
        done = open_target(&target, directory, offer.length);
    }
    if (done) {
        done = (map_target(&target, offer.length)
                    ? receive(client, &offer, &target, got)
                    : cli_get_stream(client, target.temp.fd, path, got)) &&
               publish(&target, directory);
    }
    cli_map_close(&target.map);
    cli_temp_discard(&target.temp);
    cli_offer_free(&offer);
    return done;
}
