/* SPDX-License-Identifier: Apache-2.0 */
/* Intrusive doubly linked list. An unlinked node points to itself. */
#ifndef RW_LIST_H
#define RW_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rw_node {
    struct rw_node *next, *previous;
} rw_node_t;

#define RW_CONTAINER(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

static inline void rw_list_init(rw_node_t *link) {
    link->next = link->previous = link;
}

static inline bool rw_list_is_empty(const rw_node_t *list) {
    return list->next == list;
}

static inline void rw_list_append(rw_node_t *list, rw_node_t *link) {
    link->previous = list->previous;
    link->next = list;
    list->previous->next = link;
    list->previous = link;
}

/* Unlinking an unlinked node does nothing. */
static inline void rw_list_remove(rw_node_t *link) {
    link->previous->next = link->next;
    link->next->previous = link->previous;
    rw_list_init(link);
}

/* Takes the first node off, or returns NULL. */
static inline rw_node_t *rw_list_take(rw_node_t *list) {
    rw_node_t *link = list->next;

    if (link == list) {
        return NULL;
    }
    rw_list_remove(link);
    return link;
}

#endif
