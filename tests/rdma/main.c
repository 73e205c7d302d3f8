/* SPDX-License-Identifier: Apache-2.0 */
#include "lists.h"

int main(int argc, char **argv) {
    static const ts_list_t *const lists[] = {&ts_list_memory, &ts_list_device};
    return ts_main("rdma", argc, argv, lists, sizeof lists / sizeof *lists);
}
