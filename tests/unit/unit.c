/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of unit tests. */
#include "unit.h"

#include "text/serdes.h"

#include <ftw.h>

static uint64_t random_state;

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status, (void)type, (void)walk;
    return remove(path);
}

int unit_remove_folder(const char *folder) {
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void unit_accepted(ropeway_error_t got, const char *call, const char *file, int line) {
    if (got != ROPEWAY_OK) {
        print_error("%s returned %s: %s\n", call, ropeway_error_name(got), ropeway_last_error());
        _fail(file, line);
    }
}

void unit_refused(ropeway_error_t got, ropeway_error_t want, const char *call, const char *file,
                  int line, const char *const *pieces) {
    const char *sentence = ropeway_last_error();

    if (got != want) {
        print_error("%s returned %s, not %s\n", call, ropeway_error_name(got),
                    ropeway_error_name(want));
        _fail(file, line);
    }
    for (const char *c = sentence; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ') {
            print_error("the sentence \"%s\" has a control character\n", sentence);
            _fail(file, line);
        }
    }
    for (; *pieces != NULL; pieces++) {
        if (strstr(sentence, *pieces) == NULL) {
            print_error("the sentence \"%s\" does not contain \"%s\"\n", sentence, *pieces);
            _fail(file, line);
        }
    }
}

int unit_seed(void **state) {
    (void)state;
    random_state = ts_seed();
    return 0;
}

uint64_t unit_random(void) {
    return ts_random(&random_state);
}

uint64_t unit_below(uint64_t limit) {
    return unit_random() % limit;
}

void unit_random_bytes(void *bytes, size_t length) {
    uint8_t *at = bytes;

    for (size_t i = 0; i < length; i++) {
        at[i] = (uint8_t)unit_random();
    }
}

char *unit_metadata(const char *packed) {
    char *text;

    if (asprintf(&text,
                 "{\"descriptors\":[{\"device\":\"cpu\",\"ptr\":1,\"size\":2}],"
                 "\"nixl_metadata\":\"%s\","
                 "\"notification_key\":\"k\",\"operation_kind\":1}",
                 packed) < 0) {
        abort();
    }
    return text;
}

uint8_t *unit_blob(size_t *length) {
    static const uint8_t address[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    rw_connection_t connection = {RW_BACKEND_NATIVE, address, sizeof address};
    uint8_t *blob;

    assert_accepted(
        rw_serdes_encode("agent", &connection, 1, NULL, 0, RW_METADATA_MAX_DEFAULT, &blob, length));
    return blob;
}

/* Puts count bytes in the place of dropped ones. */
static uint8_t *splice(uint8_t *bytes, size_t *length, size_t at, size_t dropped,
                       const uint8_t *fresh, size_t count) {
    size_t rest = *length - at - dropped;
    uint8_t *result = malloc(at + count + rest + 1);

    if (result == NULL) {
        abort();
    }
    memcpy(result, bytes, at);
    memcpy(result + at, fresh, count);
    memcpy(result + at + count, bytes + at + dropped, rest);
    free(bytes);
    *length = at + count + rest;
    return result;
}

static uint8_t *mutate_once(uint8_t *bytes, size_t *length) {
    size_t at = unit_below(*length + 1);
    size_t left = *length - at;
    uint8_t fresh[16];
    size_t count = 1 + unit_below(sizeof fresh);

    unit_random_bytes(fresh, sizeof fresh);
    switch (unit_below(6)) {
    case 0: /* cut off */
        *length = at;
        return bytes;
    case 1: /* insert */
        return splice(bytes, length, at, 0, fresh, count);
    case 2: /* delete */
        return splice(bytes, length, at, count < left ? count : left, fresh, 0);
    case 3: /* repeat what stands here */
        count = count < left ? count : left;
        memcpy(fresh, bytes + at, count);
        return splice(bytes, length, at, 0, fresh, count);
    case 4: /* a character that means something in JSON */
        fresh[0] = (uint8_t) "{}[]\",:\\u0-9.e \0\377"[unit_below(18)];
        return splice(bytes, length, at, left > 0 ? 1 : 0, fresh, 1);
    default: /* flip a bit */
        if (left > 0) {
            bytes[at] ^= (uint8_t)(1u << unit_below(8));
        }
        return bytes;
    }
}

uint8_t *unit_mutate(const void *bytes, size_t length, size_t *mutated_length) {
    uint8_t *work = malloc(length + 1);
    uint8_t *exact;

    if (work == NULL) {
        abort();
    }
    memcpy(work, bytes, length);
    *mutated_length = length;
    for (uint64_t i = 0, times = 1 + unit_below(4); i < times; i++) {
        work = mutate_once(work, mutated_length);
    }
    exact = malloc(*mutated_length);
    if (exact == NULL && *mutated_length > 0) {
        abort();
    }
    if (*mutated_length > 0) {
        memcpy(exact, work, *mutated_length);
    }
    free(work);
    return exact;
}
