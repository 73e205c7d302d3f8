/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway ls: what a server offers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "common/api.h"
#include "common/cli.h"
#include "common/message.h"
#include "common/name.h"
#include "common/text.h"

#define PAGE_FILES 2048
#define PAGE_MAX ((size_t)1 << 20) /* bytes of a page: a server sends a quarter of that at most */

static void print_help(void) {
    printf(
        "Usage: ropeway ls [OPTION]... URL\n"
        "List the names and sizes of what a server offers, e.g. 'ropeway ls http://HOST:PORT/' or\n"
        "'ropeway ls nats://HOST:PORT/PREFIX/'.\n"
        "With a path, only that object, or those below it.\n"
        "\n"
        "      --json              print a JSON object: {\"objects\": [{name, size, mtime}, "
        "...]}\n" CLI_CLIENT_OPTIONS_HELP "  -h, --help              show this text\n");
}

/* A list while it comes in, page by page. */
struct listing {
    struct cli_client *client;
    const char *prefix;        /* what is asked for; "": all */
    char after[CLI_NAME_SIZE]; /* the last name that was seen */
    bool more;                 /* another page follows */
    uint64_t shown;
};

static bool is_below(const char *name, const char *prefix) {
    size_t length = strlen(prefix);
    return length == 0 ||
           (strncmp(name, prefix, length) == 0 && (name[length] == '/' || name[length] == '\0'));
}

static const char *name_of(const json_t *entry) {
    return json_string_value(json_object_get(entry, "name"));
}

static bool is_entry(const json_t *entry) {
    const json_t *size = json_object_get(entry, "size");
    const char *name = name_of(entry);
    return name != NULL && strlen(name) < CLI_NAME_SIZE && json_is_integer(size) &&
           json_integer_value(size) >= 0;
}

static int compare_names(const void *left, const void *right) {
    return strcmp(name_of(*(json_t *const *)left), name_of(*(json_t *const *)right));
}

/* The objects of a page in the order of their names; borrowed. NULL: it holds something else. */
static const json_t **sort_page(const json_t *page, size_t *count) {
    const json_t *list = json_object_get(page, "objects");
    const json_t **entries =
        json_is_array(list) ? calloc(json_array_size(list) + 1, sizeof(json_t *)) : NULL;
    size_t index;
    const json_t *entry;
    *count = json_array_size(list);
    if (entries == NULL) {
        return NULL;
    }
    json_array_foreach(list, index, entry) {
        if (!is_entry(entry)) {
            free(entries);
            return NULL;
        }
        entries[index] = entry;
    }
    qsort(entries, *count, sizeof *entries, compare_names);
    return entries;
}

static bool show_json(const json_t *entry, bool first) {
    char *text = json_dumps(entry, JSON_COMPACT);
    if (text == NULL) {
        cli_fail("out of memory");
        return false;
    }
    printf("%s%s", first ? "{\"objects\":[" : ",", text);
    free(text);
    return true;
}

static bool show_line(const json_t *entry) {
    char size[CLI_SIZE_TEXT];
    char *name = strdup(name_of(entry));
    if (name == NULL) {
        cli_fail("out of memory");
        return false;
    }
    cli_printable(name);
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(entry, "size"));
    printf("%10s  %s\n", cli_size_text(bytes, size), name);
    free(name);
    return true;
}

/* Shows a page. False: a sentence was printed. */
static bool show_page(struct listing *listing, const json_t *const *entries, size_t count) {
    bool as_json = listing->client->options->json;
    for (size_t i = 0; i < count; i++) {
        if (!is_below(name_of(entries[i]), listing->prefix)) {
            continue;
        }
        if (!(as_json ? show_json(entries[i], listing->shown == 0) : show_line(entries[i]))) {
            return false;
        }
        listing->shown++;
    }
    return cli_flush_stdout() == CLI_EXIT_OK;
}

/* Whether names that follow one can still be below a prefix. */
static bool may_follow(const char *prefix, const char *name) {
    return strncmp(name, prefix, strlen(prefix)) <= 0;
}

static bool bad_list(const struct listing *listing, const char *what) {
    cli_fail("the answer of %s is not a list of objects%s; is this a Ropeway server?",
             listing->client->url.base, what);
    return false;
}

/* Takes a page in. False: a sentence was printed. */
static bool take_page(struct listing *listing, const json_t *page) {
    size_t count;
    const json_t **entries = sort_page(page, &count);
    listing->more = json_is_true(json_object_get(page, "more"));
    if (entries == NULL) {
        return bad_list(listing, "");
    }
    /* The pages of a list follow each other, and have something in them. */
    bool right =
        listing->after[0] == '\0' || count == 0 || strcmp(name_of(entries[0]), listing->after) > 0;
    bool taken = right && (count > 0 || !listing->more) && show_page(listing, entries, count);
    if (!right || (count == 0 && listing->more)) {
        bad_list(listing, " that comes to an end");
    }
    if (taken && count > 0) {
        strcpy(listing->after, name_of(entries[count - 1]));
        listing->more = listing->more && may_follow(listing->prefix, listing->after);
    }
    free(entries);
    return taken;
}

static bool list_all(struct listing *listing) {
    bool taken = true;
    while (taken && listing->more) {
        struct cli_query query = {.route = CLI_ROUTE_LIST,
                                  .after = listing->after,
                                  .page = PAGE_FILES,
                                  .limit = PAGE_MAX};
        json_t *page = cli_channel_call(listing->client->channel, &query);
        taken = page != NULL && take_page(listing, page);
        json_decref(page);
    }
    return taken;
}

/* Begins right before what may be at or below a name: at the directory that it is in. */
static void set_start(struct listing *listing) {
    const char *slash = strrchr(listing->prefix, '/');
    size_t length = slash != NULL ? (size_t)(slash - listing->prefix) : 0;
    memcpy(listing->after, listing->prefix, length);
    listing->after[length] = '\0';
}

static int list(const struct cli_client_options *options, const char *url) {
    struct cli_client client;
    int code;
    if (cli_client_open(&client, options, url, &code)) {
        struct listing listing = {.client = &client, .prefix = client.url.name, .more = true};
        set_start(&listing);
        code = CLI_EXIT_FAILED;
        if (list_all(&listing)) {
            if (listing.shown == 0 && listing.prefix[0] != '\0') {
                cli_fail("no object is called '%s', and none is below it", listing.prefix);
            } else {
                if (options->json) {
                    puts(listing.shown > 0 ? "]}" : "{\"objects\":[]}");
                }
                code = cli_flush_stdout();
            }
        }
    }
    cli_client_close(&client);
    return cli_client_exit_code(code);
}

int cli_run_ls(int argc, char **argv) {
    static const struct option known[] = {CLI_CLIENT_LONG_OPTIONS, {NULL, 0, NULL, 0}};
    struct cli_client_options options = {.command = "ls", .timeout_ms = CLI_CLIENT_TIMEOUT_MS};
    int code =
        cli_client_options(argc, argv, ":" CLI_CLIENT_SHORT_OPTIONS, known, print_help, &options);
    if (code != CLI_GO_ON) {
        return code;
    }
    if (argc - optind != 1) {
        return cli_usage("ls", "one URL is needed, and %d are given", argc - optind);
    }
    return list(&options, argv[optind]);
}
