/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 with padding (RFC 4648), for metadata: public text, so that it need not take the same time
 * for all of it, as libsodium's does at ten times the cost. */
#ifndef RW_BASE64_H
#define RW_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RW_BASE64_LENGTH(size) (((size) + 2) / 3 * 4)

/* Writes RW_BASE64_LENGTH(size) characters, without a NUL. */
void rw_base64_encode(const uint8_t *bytes, size_t size, char *text);
/* bytes: room for length / 4 * 3. false: not base64 as the above writes it. */
bool rw_base64_decode(const char *text, size_t length, uint8_t *bytes, size_t *size);

#endif
