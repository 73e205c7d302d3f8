/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server offers: files under their base names, and directories with the files below them.
 * No name leads out of an offered directory. Symbolic links below a directory are followed while
 * they stay in it.
 */
#ifndef CLI_SERVE_TREE_H
#define CLI_SERVE_TREE_H

#include <sys/stat.h>

#include "request.h"
#include "walk.h"

struct cli_tree;

/* Opens the paths and looks for two that offer the same name. NULL: a sentence was printed. */
struct cli_tree *cli_tree_open(char *const *paths, size_t count);
void cli_tree_close(struct cli_tree *tree);

/* Opens an object for reading. Returns a descriptor and its stat, or -1 with a refusal. */
int cli_tree_object(const struct cli_tree *tree, const char *name, struct stat *info,
                    struct cli_refusal *refusal);

/* Adds the next max objects at most whose names follow after, in the order of their names, as the
 * trees are now. False: out of memory. */
bool cli_tree_list(const struct cli_tree *tree, const char *after, size_t max,
                   struct cli_page *page);

/* Opens what a name stands for below a directory, through symbolic links as long as they stay
 * there. -1: see errno. */
int cli_tree_open_beneath(int directory, const char *name, int flags);

/* Opens the directory that is deepest on the way to name and exists, without following symbolic
 * links. *rest: where the remainder of name begins. Returns a descriptor, or -1 with a refusal. */
int cli_tree_deepest(int root, const char *name, const char **rest, struct cli_refusal *refusal);

/* Makes the directories on the way to name below a directory. Returns a descriptor of the last one
 * (its own, even when name has one component), and *base: where the file's own name begins. -1: see
 * errno. */
int cli_tree_make_parents(int directory, const char *name, const char **base);

#endif
