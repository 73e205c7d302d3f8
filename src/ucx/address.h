/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What UCX packs for other processes: worker addresses and remote keys. UCX reads them without
 * knowing their length, and aborts the process when an address has a format that it does not know.
 * Both come from the network here, so they are walked through first.
 */
#ifndef RW_UCX_BLOB_H
#define RW_UCX_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RW_UCX_RELEASE 24 /* room for a release as text */

/* Whether length bytes are a worker address that UCX can read without harm. If not *wrong is a
 * phrase that says why, such as "it ends too early". release: of the UCX that packed it, as far as
 * the address tells: "1.22" (UCX packs the minor number modulo 16; the one closest to ours is
 * meant) or "of unknown release"; written in either case. */
bool rw_ucx_address_check(const uint8_t *address, size_t length, char release[RW_UCX_RELEASE],
                          const char **wrong);

/* The same for a packed remote key. It must be followed by RW_UCX_KEY_PAD bytes of RW_UCX_KEY_END
 * when UCX reads it. */
bool rw_ucx_key_check(const uint8_t *key, size_t length, const char **wrong);

#define RW_UCX_KEY_PAD 512
#define RW_UCX_KEY_END 0xff /* ends UCX's list of distances */

#endif
