/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "common/interrupt.h"
#include "common/prefault.h"
#include "get.h"

/* Where the bytes of a file go. */
struct landing {
    struct cli_temp temp;
    void *data;
    size_t size;
    struct cli_prefault prefault;
};

static bool may_go_on(void *arg) {
    (void)arg;
    return !cli_interrupted();
}

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

/* Makes the file with room for all bytes. */
static bool open_landing(struct landing *landing, int directory, const char *target,
                         uint64_t size) {
    char text[CLI_SENTENCE_SIZE];
    int error = cli_temp_open(directory, cli_base_name(target), &landing->temp);
    if (error != 0) {
        cli_fail("can't make a file for '%s': %s; choose another place with '-o FILE'", target,
                 cli_errno_text(error));
        return false;
    }
    if (cli_temp_reserve(&landing->temp, size, text) != 0) {
        cli_fail("can't store '%s': %s", target, text);
        return false;
    }
    landing->size = (size_t)size;
    return true;
}

/* False: this file system can't map files. */
static bool map_landing(struct landing *landing, const char *target) {
    static char nothing;
    static char sentence[CLI_SENTENCE_SIZE];
    landing->data = &nothing;
    if (landing->size == 0) {
        return true;
    }
    landing->data =
        mmap(NULL, landing->size, PROT_READ | PROT_WRITE, MAP_SHARED, landing->temp.fd, 0);
    if (landing->data == MAP_FAILED) {
        return false;
    }
    cli_sentence(sentence, "can't store '%s': its disk failed or is full; nothing was stored",
                 target);
    cli_client_guard_mapping(sentence, &landing->temp);
    cli_prefault_start(&landing->prefault, landing->data, landing->size, true);
    return true;
}

static void close_landing(struct landing *landing) {
    cli_prefault_stop(&landing->prefault);
    if (landing->size != 0 && landing->data != MAP_FAILED) {
        munmap(landing->data, landing->size);
    }
    cli_temp_discard(&landing->temp);
}

static bool receive(struct cli_client *client, const struct cli_offer *offer,
                    struct landing *landing, struct cli_got *got) {
    ropeway_operation_t *operation;
    char there[CLI_CHECKSUM_SIZE];
    if (!cli_client_begin(client, offer, ROPEWAY_OPERATION_READ, landing->data, &operation) ||
        !cli_client_wait(client, operation, 0) || !cli_client_confirm(client, offer, there)) {
        return false;
    }
    got->bytes = offer->length;
    if (!client->options->verify) {
        return true;
    }
    if (!cli_checksum_memory(landing->data, landing->size, may_go_on, NULL, got->checksum)) {
        if (!cli_interrupted()) {
            cli_fail("out of memory");
        }
        return false;
    }
    return cli_get_compare(client, got->checksum, there);
}

static bool publish(struct landing *landing, int directory, const char *target) {
    if (cli_interrupted()) {
        return false;
    }
    int error = cli_temp_publish(&landing->temp, directory, cli_base_name(target));
    if (error != 0) {
        cli_fail("can't give '%s' its name: %s", target, cli_errno_text(error));
    }
    return error == 0;
}

bool cli_get_file(struct cli_client *client, int directory, const char *target,
                  struct cli_got *got) {
    struct landing landing = {.temp = CLI_TEMP_NONE, .data = MAP_FAILED};
    struct cli_offer offer;
    bool done = cli_client_ask_read(client, client->url.name, 0, CLI_TO_THE_END, &offer);
    if (done) {
        client->progress.total = offer.length;
        done = open_landing(&landing, directory, target, offer.length);
    }
    if (done) {
        done = (map_landing(&landing, target)
                    ? receive(client, &offer, &landing, got)
                    : cli_get_stream(client, landing.temp.fd, target, got)) &&
               publish(&landing, directory, target);
    }
    close_landing(&landing);
    cli_offer_free(&offer);
    return done;
}
