/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway ls: what a server offers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "common/api.h"
#include "common/cli.h"
#include "common/message.h"
#include "common/text.h"

#define LIST_MAX ((size_t)512 << 20)
#define OBJECTS_MAX 10000000

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

static bool is_below(const char *name, const char *prefix) {
    size_t length = strlen(prefix);
    return length == 0 ||
           (strncmp(name, prefix, length) == 0 && (name[length] == '/' || name[length] == '\0'));
}

static int compare_names(const void *left, const void *right) {
    return strcmp(json_string_value(json_object_get(*(json_t *const *)left, "name")),
                  json_string_value(json_object_get(*(json_t *const *)right, "name")));
}

/* The objects at or below a name, in the order of their names; borrowed. NULL: the answer is bad.
 */
static json_t **select_objects(json_t *answer, const char *prefix, size_t *count) {
    json_t *list = json_object_get(answer, "objects"), *entry;
    json_t **objects =
        json_is_array(list) ? calloc(json_array_size(list) + 1, sizeof *objects) : NULL;
    size_t index;
    *count = 0;
    if (objects == NULL) {
        return NULL;
    }
    json_array_foreach(list, index, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        json_t *size = json_object_get(entry, "size");
        if (name == NULL || !json_is_integer(size) || json_integer_value(size) < 0) {
            free(objects);
            return NULL;
        }
        if (is_below(name, prefix)) {
            objects[(*count)++] = entry;
        }
    }
    qsort(objects, *count, sizeof *objects, compare_names);
    return objects;
}

static int print_json(json_t *const *objects, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append(list, objects[i]);
    }
    json_t *whole = json_pack("{s:o}", "objects", list);
    char *text = whole != NULL ? json_dumps(whole, JSON_COMPACT) : NULL;
    json_decref(whole);
    if (text == NULL) {
        return cli_fail("out of memory");
    }
    puts(text);
    free(text);
    return cli_flush_stdout();
}

static int print_table(json_t *const *objects, size_t count) {
    char size[CLI_SIZE_TEXT];
    for (size_t i = 0; i < count; i++) {
        char *name = strdup(json_string_value(json_object_get(objects[i], "name")));
        if (name == NULL) {
            return cli_fail("out of memory");
        }
        cli_printable(name);
        json_int_t bytes = json_integer_value(json_object_get(objects[i], "size"));
        printf("%10s  %s\n", cli_size_text((uint64_t)bytes, size), name);
        free(name);
    }
    return cli_flush_stdout();
}

/* The last name of a list; NULL: there is none. */
static const char *last_name(json_t *list) {
    json_t *objects = json_object_get(list, "objects");
    size_t count = json_array_size(objects);
    return count != 0
               ? json_string_value(json_object_get(json_array_get(objects, count - 1), "name"))
               : NULL;
}

/* Fetches what follows the names of a list and adds it. False: a sentence was printed, or a signal
 * came. */
static bool fetch_more(struct cli_client *client, json_t *list, bool *more) {
    const char *after = last_name(list);
    struct cli_query ask = {.route = CLI_ROUTE_LIST, .limit = LIST_MAX};
    ask.body = after != NULL ? json_pack("{s:s}", "after", after) : NULL;
    json_t *page = ask.body != NULL ? cli_channel_call(client->channel, &ask) : NULL;
    const char *last = last_name(page);
    json_t *objects = json_object_get(list, "objects");
    bool added = last != NULL && strcmp(last, after) > 0 &&
                 json_array_size(objects) < OBJECTS_MAX &&
                 json_array_extend(objects, json_object_get(page, "objects")) == 0;
    if (!added && (page != NULL || ask.body == NULL)) {
        cli_fail(
            "the answer of %s is not a list of objects that comes to an end; is this a Ropeway "
            "server?",
            client->url.base);
    }
    *more = json_is_true(json_object_get(page, "more"));
    json_decref(page);
    json_decref(ask.body);
    return added;
}

/* The whole list, which comes in pieces where a channel can't carry it at once. NULL: a sentence
 * was printed, or a signal came. */
static json_t *fetch_list(struct cli_client *client) {
    struct cli_query ask = {.route = CLI_ROUTE_LIST, .limit = LIST_MAX};
    json_t *list = cli_channel_call(client->channel, &ask);
    bool more = json_is_true(json_object_get(list, "more"));
    while (list != NULL && more) {
        if (!fetch_more(client, list, &more)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static int list(const struct cli_client_options *options, const char *url) {
    struct cli_client client;
    int code;
    if (cli_client_open(&client, options, url, &code)) {
        json_t *answer = fetch_list(&client);
        size_t count;
        json_t **objects = answer != NULL ? select_objects(answer, client.url.name, &count) : NULL;
        if (objects != NULL && count == 0 && *client.url.name != '\0') {
            code = cli_fail("no object is called '%s', and none is below it", client.url.name);
        } else if (objects != NULL) {
            code = options->json ? print_json(objects, count) : print_table(objects, count);
        } else if (answer != NULL) {
            code = cli_fail("the answer of %s is not a list of objects; is this a Ropeway server?",
                            client.url.base);
        }
        free(objects);
        json_decref(answer);
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
