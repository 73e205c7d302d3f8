/* SPDX-License-Identifier: Apache-2.0 */
/* A program for the lists in TS_LISTS, which meson.build gives it. */
#include "lists.h"

int main(int argc, char **argv) {
    static const ts_list_t *const lists[] = {TS_LISTS};
    return ts_main("rdma", argc, argv, lists, sizeof lists / sizeof *lists);
}
