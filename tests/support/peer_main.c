/* SPDX-License-Identifier: Apache-2.0 */
/* The peer process of the tests: serves the socket on descriptor 3. */
#include "peer_serve.h"
#include "transport.h"

#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s TRANSPORT, with a socket on descriptor 3\n", argv[0]);
        return 2;
    }
    ts_transport_init(argv[1]);
    ts_peer_serve(3);
    return 0;
}
