/* SPDX-License-Identifier: Apache-2.0 */
/* The fault list as a program. */
#include "lists.h"

int main(int argc, char **argv) {
    static const ts_list_t *const lists[] = {
        &ts_list_death, &ts_list_frozen, &ts_list_race,
        &ts_list_flood, &ts_list_link,   &ts_list_stranger,
    };
    return ts_main("faults", argc, argv, lists, sizeof lists / sizeof *lists);
}
