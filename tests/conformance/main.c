/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance list as a program. */
#include "lists.h"

#include <string.h>

int main(int argc, char **argv) {
    static const ts_list_t *const lists[] = {
        &ts_list_transfer,  &ts_list_mapped,  &ts_list_pieces, &ts_list_prefix, &ts_list_outcome,
        &ts_list_events,    &ts_list_checks,  &ts_list_key,    &ts_list_cancel, &ts_list_time,
        &ts_list_integrity, &ts_list_threads, &ts_list_stream, &ts_list_local,  &ts_list_carriers,
        &ts_list_shortage,  &ts_list_route,   &ts_list_guest,
    };
    /* What a variant of a transport may change: how bytes get there, and are kept from it after a
     * cancel; that a silent peer is found; what UCX says, and does while idle. Arguments,
     * metadata, keys, outcomes and pieces are dealt with above every transport. */
    static const ts_list_t *const of_variants[] = {
        &ts_list_transfer, &ts_list_mapped,   &ts_list_cancel, &ts_list_time,
        &ts_list_carriers, &ts_list_shortage, &ts_list_guest,
    };
    if (argc == 3 && strcmp(argv[2], "--log-only") == 0) {
        ts_transport_init(argv[1]);
        return ts_guest_log_only();
    }
    if (argc == 2 && ts_transport_is_variant(argv[1])) {
        return ts_main("conformance", argc, argv, of_variants,
                       sizeof of_variants / sizeof *of_variants);
    }
    return ts_main("conformance", argc, argv, lists, sizeof lists / sizeof *lists);
}
