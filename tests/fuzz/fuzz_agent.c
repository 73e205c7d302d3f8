/* SPDX-License-Identifier: Apache-2.0 */
/* Agent blobs, without the zlib and base64 around them, whose checks keep a fuzzer out. */
#include "fuzz.h"
#include "text/serdes.h"
#include "ucx/address.h"
#include "ucx/load.h"

#include <stdlib.h>
#include <string.h>

static void check_inside(const uint8_t *part, size_t part_length, const uint8_t *bytes,
                         size_t length) {
    FUZZ_CHECK(part_length > 0 && part >= bytes && part_length <= length &&
               part + part_length < bytes + length);
}

/* What UCX would read is walked within its bounds. */
static void check_blobs(const uint8_t *bytes, size_t length, const rw_agent_t *agent) {
    rw_region_t *regions = calloc(agent->region_count + 1, sizeof *regions);
    char release[RW_UCX_RELEASE];
    const char *wrong = NULL;

    FUZZ_CHECK(regions != NULL);
    rw_serdes_regions(bytes, length, regions);
    for (size_t i = 0; i < agent->region_count; i++) {
        FUZZ_CHECK(regions[i].key >= bytes && regions[i].key_length <= length);
        FUZZ_CHECK(rw_ucx_key_check(regions[i].key, regions[i].key_length, &wrong) ||
                   wrong != NULL);
    }
    if (agent->ucx != NULL && rw_ucx_load() == ROPEWAY_OK) { /* it asks for UCX's release */
        FUZZ_CHECK(rw_ucx_address_check(agent->ucx, agent->ucx_length, release, &wrong) ||
                   wrong != NULL);
        FUZZ_CHECK(strlen(release) > 0);
    }
    free(regions);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    char name[RW_AGENT_NAME_MAX + 1];
    rw_agent_t agent;
    ropeway_error_t error = rw_serdes_decode(bytes, length, &agent);

    if (error != ROPEWAY_OK) {
        FUZZ_CHECK(error == ROPEWAY_ERR_METADATA && *ropeway_last_error() != '\0');
        return 0;
    }
    check_inside((const uint8_t *)agent.name, agent.name_length, bytes, length);
    rw_agent_name_text(agent.name, agent.name_length, name);
    FUZZ_CHECK(rw_agent_name_valid(name, strlen(name)));
    if (agent.native != NULL) {
        check_inside(agent.native, agent.native_length, bytes, length);
    }
    if (agent.ucx != NULL) {
        check_inside(agent.ucx, agent.ucx_length, bytes, length);
    }
    check_blobs(bytes, length, &agent);
    return 0;
}
