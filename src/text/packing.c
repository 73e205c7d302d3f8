/* SPDX-License-Identifier: Apache-2.0 */
/* Deflates and inflates agent metadata. */
#include "text/packing.h"

#include "base/base64.h"
#include "base/error.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define PREFIX_LENGTH (sizeof RW_PACKING_PREFIX - 1)
#define FIRST_GUESS 4 /* how much longer than its input an inflated blob is expected to be */

/* A usual blob is a few hundred bytes of binary addresses. They hardly shrink, and compressing them
 * would take longer than all else together, so small blobs are stored as they are. */
#define SMALL_BLOB 4096

static ropeway_error_t no_memory(size_t length) {
    return rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for %zu bytes of metadata", length);
}

static ropeway_error_t deflate_blob(const uint8_t *blob, size_t length, uint8_t **packed,
                                    size_t *packed_length) {
    bool small = length <= SMALL_BLOB;
    z_stream stream = {0};
    size_t capacity;

    if (deflateInit2(&stream, small ? Z_NO_COMPRESSION : Z_BEST_SPEED, Z_DEFLATED,
                     small ? 9 : MAX_WBITS, small ? 1 : MAX_MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        return no_memory(length);
    }
    capacity = deflateBound(&stream, length);
    *packed = malloc(capacity);
    if (*packed == NULL) {
        deflateEnd(&stream);
        return no_memory(capacity);
    }
    stream.next_in = (Bytef *)blob;
    stream.avail_in = (uInt)length;
    stream.next_out = *packed;
    stream.avail_out = (uInt)capacity;
    deflate(&stream, Z_FINISH);
    *packed_length = stream.total_out;
    deflateEnd(&stream);
    return ROPEWAY_OK;
}

ropeway_error_t rw_pack(const uint8_t *blob, size_t length, char **text, size_t *text_length) {
    uint8_t *packed;
    size_t packed_length;
    size_t size;
    ropeway_error_t error = deflate_blob(blob, length, &packed, &packed_length);

    if (error != ROPEWAY_OK) {
        return error;
    }
    size = RW_BASE64_LENGTH(packed_length) + 1;
    *text = malloc(PREFIX_LENGTH + size);
    if (*text == NULL) {
        free(packed);
        return no_memory(PREFIX_LENGTH + size);
    }
    memcpy(*text, RW_PACKING_PREFIX, PREFIX_LENGTH);
    rw_base64_encode(packed, packed_length, *text + PREFIX_LENGTH);
    (*text)[PREFIX_LENGTH + size - 1] = '\0';
    free(packed);
    *text_length = PREFIX_LENGTH + size - 1;
    return ROPEWAY_OK;
}

static ropeway_error_t decode_text(const char *text, size_t text_length, uint8_t **packed,
                                   size_t *packed_length) {
    bool base64 =
        text_length >= PREFIX_LENGTH && memcmp(text, RW_PACKING_PREFIX, PREFIX_LENGTH) == 0;
    size_t capacity = text_length / 4 * 3 + 3;
    bool good;

    *packed = malloc(capacity);
    if (*packed == NULL) {
        return no_memory(capacity);
    }
    if (base64) {
        good = rw_base64_decode(text + PREFIX_LENGTH, text_length - PREFIX_LENGTH, *packed,
                                packed_length);
    } else {
        good = sodium_hex2bin(*packed, capacity, text, text_length, NULL, packed_length, NULL) == 0;
    }
    if (good) {
        return ROPEWAY_OK;
    }
    free(*packed);
    return rw_fail(
        ROPEWAY_ERR_METADATA,
        "nixl_metadata (%zu characters) is not valid %s; hand the metadata over unchanged",
        text_length, base64 ? "base64" : "hex, and does not begin with \"b64:\"");
}

/* Makes room for more output, up to one byte past max: that byte tells "too long" from "fits". */
static bool grow(z_stream *stream, uint8_t **blob, size_t *capacity, size_t max) {
    size_t larger = *capacity < (max + 1) / 2 ? *capacity * 2 : max + 1;
    uint8_t *moved = realloc(*blob, larger);

    if (moved == NULL) {
        return false;
    }
    *blob = moved;
    *capacity = larger;
    stream->next_out = moved + stream->total_out;
    stream->avail_out = (uInt)(larger - stream->total_out);
    return true;
}

static ropeway_error_t check_end(const z_stream *stream, int rc, size_t max) {
    if (stream->total_out > max) {
        return rw_fail(ROPEWAY_ERR_LIMIT,
                       "nixl_metadata unpacks to more than %zu bytes; raise max_metadata if its "
                       "sender is trusted",
                       max);
    }
    if (rc == Z_MEM_ERROR) {
        return no_memory(stream->total_out);
    }
    if (rc != Z_STREAM_END) {
        return rw_fail(ROPEWAY_ERR_METADATA,
                       "nixl_metadata is not valid zlib data after %lu bytes: %s",
                       stream->total_out,
                       stream->msg != NULL ? stream->msg
                       : rc == Z_BUF_ERROR ? "it is cut off"
                                           : "it needs a dictionary");
    }
    if (stream->avail_in != 0) {
        return rw_fail(ROPEWAY_ERR_METADATA, "nixl_metadata has %u bytes behind its zlib data",
                       stream->avail_in);
    }
    return ROPEWAY_OK;
}

static ropeway_error_t inflate_blob(const uint8_t *packed, size_t packed_length, size_t max,
                                    uint8_t **blob, size_t *length) {
    z_stream stream = {.next_in = (Bytef *)packed, .avail_in = (uInt)packed_length};
    size_t capacity = packed_length < max / FIRST_GUESS ? packed_length * FIRST_GUESS + 1 : max + 1;
    ropeway_error_t error;
    int rc = inflateInit(&stream);

    *blob = rc == Z_OK ? malloc(capacity) : NULL;
    if (*blob == NULL) {
        inflateEnd(&stream);
        return no_memory(capacity);
    }
    stream.next_out = *blob;
    stream.avail_out = (uInt)capacity;
    for (rc = inflate(&stream, Z_FINISH);
         rc == Z_BUF_ERROR && stream.avail_out == 0 && capacity <= max;
         rc = inflate(&stream, Z_FINISH)) {
        if (!grow(&stream, blob, &capacity, max)) {
            rc = Z_MEM_ERROR;
            break;
        }
    }
    error = check_end(&stream, rc, max);
    *length = stream.total_out;
    inflateEnd(&stream);
    if (error != ROPEWAY_OK) {
        free(*blob);
        *blob = NULL;
    }
    return error;
}

ropeway_error_t rw_unpack(const char *text, size_t text_length, size_t max, uint8_t **blob,
                          size_t *length) {
    uint8_t *packed;
    size_t packed_length;
    ropeway_error_t error = decode_text(text, text_length, &packed, &packed_length);

    if (error == ROPEWAY_OK) {
        error = inflate_blob(packed, packed_length, max, blob, length);
        free(packed);
    }
    return error;
}
