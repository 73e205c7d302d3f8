/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys ADDRESS KEY get|put REMOTE SIZE: a foreign UCX program, which tries a remote key of its own
 * making. ADDRESS is a worker's and KEY a packed remote key, both in hexadecimal; REMOTE is an
 * address of the other process. A get prints "moved" and the first bytes; a put writes bytes of
 * 0x66 and prints "moved". Prints "refused" and UCX's reason when the transfer fails, and
 * "unanswered" when it has not ended within LIMIT_S seconds. Exits with 0 in these cases.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucp/api/ucp.h>

#define LIMIT_S 60
#define SHOWN 16

static ucs_status_t broken = UCS_OK;

static void fail(const char *what, ucs_status_t status) {
    fprintf(stderr, "%s: %s\n", what, ucs_status_string(status));
    exit(1);
}

static void *from_hex(const char *text) {
    size_t length = strlen(text) / 2;
    uint8_t *bytes = malloc(length + 1);
    for (size_t i = 0; bytes != NULL && i < length; i++) {
        unsigned value = 0;
        if (sscanf(text + 2 * i, "%2x", &value) != 1) {
            fprintf(stderr, "'%s' is not hexadecimal\n", text);
            exit(2);
        }
        bytes[i] = (uint8_t)value;
    }
    return bytes;
}

static void on_error(void *arg, ucp_ep_h endpoint, ucs_status_t status) {
    (void)arg, (void)endpoint;
    broken = status;
}

static ucp_worker_h make_worker(void) {
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                           .features = UCP_FEATURE_RMA | UCP_FEATURE_AMO32 | UCP_FEATURE_AMO64 |
                                       UCP_FEATURE_AM};
    ucp_worker_params_t worker_params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                         .thread_mode = UCS_THREAD_MODE_SINGLE};
    ucs_status_t status = ucp_init(&params, NULL, &context);
    if (status != UCS_OK) {
        fail("UCX can't start", status);
    }
    status = ucp_worker_create(context, &worker_params, &worker);
    if (status != UCS_OK) {
        fail("no worker", status);
    }
    return worker;
}

static ucp_ep_h connect_to(ucp_worker_h worker, const void *address) {
    ucp_ep_h endpoint;
    ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER,
        .address = address,
        .err_mode = UCP_ERR_HANDLING_MODE_PEER,
        .err_handler = {.cb = on_error},
    };
    ucs_status_t status = ucp_ep_create(worker, &params, &endpoint);
    if (status != UCS_OK) {
        fail("no endpoint", status);
    }
    return endpoint;
}

/* The request's end, or the endpoint's, or UCS_INPROGRESS when the time is up. */
static ucs_status_t finish(ucp_worker_h worker, ucs_status_ptr_t request) {
    time_t end = time(NULL) + LIMIT_S;
    ucs_status_t status = UCS_PTR_IS_PTR(request) ? UCS_INPROGRESS : UCS_PTR_STATUS(request);
    while (status == UCS_INPROGRESS && broken == UCS_OK && time(NULL) < end) {
        ucp_worker_progress(worker);
        status = ucp_request_check_status(request);
    }
    return broken != UCS_OK ? broken : status;
}

static ucs_status_t transfer(ucp_worker_h worker, ucp_ep_h endpoint, ucp_rkey_h key, int put,
                             uint64_t remote, uint8_t *memory, size_t size) {
    static const ucp_request_param_t none = {0};
    ucs_status_ptr_t request = put ? ucp_put_nbx(endpoint, memory, size, remote, key, &none)
                                   : ucp_get_nbx(endpoint, memory, size, remote, key, &none);
    ucs_status_t status = finish(worker, request);
    /* A put is over when it has left; a flush is over when the other side has it. */
    return status == UCS_OK ? finish(worker, ucp_ep_flush_nbx(endpoint, &none)) : status;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: %s ADDRESS KEY get|put REMOTE SIZE\n", argv[0]);
        return 2;
    }
    int put = strcmp(argv[3], "put") == 0;
    uint64_t remote = strtoull(argv[4], NULL, 0);
    size_t size = strtoull(argv[5], NULL, 0);
    ucp_rkey_h key;
    ucp_worker_h worker = make_worker();
    ucp_ep_h endpoint = connect_to(worker, from_hex(argv[1]));
    uint8_t *memory = malloc(size + SHOWN);
    ucs_status_t status = ucp_ep_rkey_unpack(endpoint, from_hex(argv[2]), &key);
    if (status != UCS_OK || memory == NULL) {
        fail("the key can't be unpacked", status);
    }
    memset(memory, 0x66, size + SHOWN);
    status = transfer(worker, endpoint, key, put, remote, memory, size);
    if (status == UCS_INPROGRESS) {
        printf("unanswered\n");
    } else if (status != UCS_OK) {
        printf("refused: %s\n", ucs_status_string(status));
    } else {
        printf("moved ");
        for (size_t i = 0; i < SHOWN && !put; i++) {
            printf("%02x", memory[i]);
        }
        printf("\n");
    }
    fflush(stdout);
    /* Nothing is given back: the process ends here, as one that means no good would. */
    _Exit(0);
}
