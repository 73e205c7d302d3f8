/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of names become text here; jansson writes each entry. */
#include "list.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "common/name.h"
#include "common/text.h"

#define PAGE_FILES 2048
#define PAGE_BYTES ((size_t)256 << 10)

/* The entries of a page, with commas between them. */
struct text {
    char *bytes;
    size_t length;
    char last[CLI_NAME_SIZE]; /* name in the page, or where it began */
    bool more;
};

static char *entry_of(const struct cli_file *file) {
    json_t *name = json_string(file->name);
    char *quoted = name != NULL ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    char *text = quoted != NULL ? cli_format("{\"name\":%s,\"size\":%llu,\"mtime\":%.9f}", quoted,
                                             (unsigned long long)file->size, file->mtime)
                                : NULL;
    json_decref(name);
    free(quoted);
    return text;
}

/* Writes entries until the text has max bytes, but one at least. */
static bool write_entries(const struct cli_page *page, size_t count, size_t max,
                          struct text *text) {
    FILE *out = open_memstream(&text->bytes, &text->length);
    bool written = out != NULL;
    size_t used = 0, i = 0;
    for (; written && i < count; i++) {
        char *entry = entry_of(&page->files[i]);
        size_t length = entry != NULL ? strlen(entry) + 1 : 0;
        bool fits = i == 0 || used + length <= max;
        written = entry != NULL && (!fits || fprintf(out, "%s%s", i > 0 ? "," : "", entry) > 0);
        free(entry);
        if (!fits) {
            break;
        }
        used += length;
        snprintf(text->last, sizeof text->last, "%s", page->files[i].name);
    }
    text->more = i < page->count;
    return out != NULL && fclose(out) == 0 && written;
}

/* Makes the page that follows text->last. */
static bool make_page(const struct cli_tree *tree, size_t limit, size_t max, struct text *text) {
    struct cli_page page = {0};
    free(text->bytes);
    text->bytes = NULL;
    /* One more than is wanted tells whether there is more. */
    bool made = cli_tree_list(tree, text->last, limit + 1, &page) &&
                write_entries(&page, page.count < limit ? page.count : limit, max, text);
    cli_page_free(&page);
    return made;
}

char *cli_list_page(const struct cli_tree *tree, const struct cli_request *request,
                    struct cli_refusal *refusal) {
    static const char frame[] = "{\"objects\":[],\"more\":true}";
    size_t limit = request->limit > 0 && request->limit < PAGE_FILES ? request->limit : PAGE_FILES;
    size_t max = request->answer_max > 0 && request->answer_max < PAGE_BYTES ? request->answer_max
                                                                             : PAGE_BYTES;
    struct text *text = calloc(1, sizeof *text);
    char *answer = NULL;
    if (text != NULL) {
        snprintf(text->last, sizeof text->last, "%s", request->after);
        if (make_page(tree, limit, max > sizeof frame ? max - sizeof frame : 0, text)) {
            answer =
                cli_format("{\"objects\":[%s]%s}", text->bytes, text->more ? ",\"more\":true" : "");
        }
        free(text->bytes);
    }
    free(text);
    if (answer == NULL) {
        cli_refuse(refusal, 500, "the server is out of memory");
    }
    return answer;
}

/* ---- The whole list -------------------------------------------------------------------- */

static pthread_mutex_t whole_lists = PTHREAD_MUTEX_INITIALIZER;

struct cli_list {
    const struct cli_tree *tree;
    struct text text;
    char *chunk;                /* what is being read, to be freed */
    size_t at;                  /* so many bytes of it were */
    bool opened, begun, closed; /* the frame was written, an entry was, its end was */
};

struct cli_list *cli_list_open(const struct cli_tree *tree) {
    struct cli_list *list = calloc(1, sizeof *list);
    if (list != NULL) {
        list->tree = tree;
        list->text.more = true;
    }
    return list;
}

/* Puts what follows in place of the chunk that was read. */
static bool next_chunk(struct cli_list *list) {
    free(list->chunk);
    list->chunk = NULL;
    list->at = 0;
    if (!list->opened) {
        list->opened = true;
        list->chunk = strdup("{\"objects\":[");
    } else if (list->text.more) {
        /* One whole list at a time gets on, so that who asks for pages is not held up. */
        pthread_mutex_lock(&whole_lists);
        bool made = make_page(list->tree, PAGE_FILES, PAGE_BYTES, &list->text);
        pthread_mutex_unlock(&whole_lists);
        if (made) {
            bool some = list->text.length > 0;
            list->chunk = cli_format("%s%s", list->begun && some ? "," : "", list->text.bytes);
            list->begun = list->begun || some;
        }
    } else {
        list->chunk = strdup("]}");
        list->closed = true;
    }
    return list->chunk != NULL;
}

ssize_t cli_list_read(struct cli_list *list, char *buffer, size_t size) {
    for (;;) {
        size_t left = list->chunk != NULL ? strlen(list->chunk + list->at) : 0;
        if (left > 0) {
            size_t count = left < size ? left : size;
            memcpy(buffer, list->chunk + list->at, count);
            list->at += count;
            return (ssize_t)count;
        }
        if (list->closed) {
            return 0;
        }
        if (!next_chunk(list)) {
            return -1;
        }
    }
}

void cli_list_close(struct cli_list *list) {
    free(list->chunk);
    free(list->text.bytes);
    free(list);
}
