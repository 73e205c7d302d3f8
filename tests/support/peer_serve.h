/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of a peer (peer.h). */
#ifndef TS_PEER_SERVE_H
#define TS_PEER_SERVE_H

/* Does what the lines on the socket say until "quit" or its end, then ends its connector and closes
 * the socket. */
void ts_peer_serve(int socket);

#endif
