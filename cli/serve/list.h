/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of objects as JSON, in pages: however long a list is, one page of it is in memory. */
#ifndef CLI_SERVE_LIST_H
#define CLI_SERVE_LIST_H

#include <stddef.h>
#include <sys/types.h>

#include "request.h"
#include "tree.h"

/* The answer to a request for a page, to be freed. NULL: refusal says why. */
char *cli_list_page(const struct cli_tree *tree, const struct cli_request *request,
                    struct cli_refusal *refusal);

/* The answer to a request for the whole list, which is read piece by piece. */
struct cli_list;

/* The tree must stay. NULL: out of memory. */
struct cli_list *cli_list_open(const struct cli_tree *tree);

/* The next bytes; 0: that was all; -1: out of memory. */
ssize_t cli_list_read(struct cli_list *list, char *buffer, size_t size);
void cli_list_close(struct cli_list *list);

#endif
