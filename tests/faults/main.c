/* SPDX-License-Identifier: Apache-2.0 */
/* The fault list as a program. */
#include "lists.h"

int main(int argc, char **argv) {
    /* What a variant of a transport may change: how the end of a process and of a cable are told.
     * Whatever the library itself makes of cancels, floods and strangers, it makes of them over
     * the other one. */
    static const ts_list_t *const of_variants[] = {&ts_list_death, &ts_list_link};
    static const ts_list_t *const lists[] = {
        &ts_list_death, &ts_list_frozen, &ts_list_race,
        &ts_list_flood, &ts_list_link,   &ts_list_stranger,
    };
    if (argc == 2 && ts_transport_is_variant(argv[1])) {
        return ts_main("faults", argc, argv, of_variants, sizeof of_variants / sizeof *of_variants);
    }
    return ts_main("faults", argc, argv, lists, sizeof lists / sizeof *lists);
}
