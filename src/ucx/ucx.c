/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UCX as a good guest: the settings without which its active messages are slow, unsafe or deaf to a
 * dead peer, and the habits that would surprise a host process. docs/rationale.md has the reasons
 * for each value.
 */
#include "base/error.h"
#include "internal.h"
#include "ucx/ucx_blob.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucs/debug/debug.h>
#include <ucs/sys/string.h>

#define UCX_MAJOR_NEEDED 1u
#define UCX_MINOR_NEEDED 22u
#define ALL_BUT_QUEUES "^posix,sysv,xpmem" /* see queues_are_wanted() */
#define SEGMENT ((size_t)256 << 10)        /* bytes; as in the settings */

static const char *const settings[][2] = {
    /* The queues in shared memory serve endpoints that report a dead peer; see queues_are_wanted().
     */
    {"POSIX_ERROR_HANDLING", "y"},
    {"SYSV_ERROR_HANDLING", "y"},
    /* Rendezvous may read through CMA on such endpoints. */
    {"CMA_MEMORY_INVALIDATE", "y"},
    /* TCP in larger segments. The receive segment must not be smaller than the peer's; where it is
     * larger, UCX reads past a segment's end and has to move what it got. */
    {"TCP_TX_SEG_SIZE", "256k"},
    {"TCP_RX_SEG_SIZE", "256k"},
    /* No peer may name an address that UCX writes to. */
    {"TCP_PUT_ENABLE", "n"},
    /* connect() must not block the progress thread. */
    {"TCP_CONN_NB", "y"},
};

/* Whether the environment has UCX_<key>. */
static bool user_set(const char *key) {
    char name[64];

    snprintf(name, sizeof name, "UCX_%s", key);
    return getenv(name) != NULL;
}

/* Whether a comma-separated list has this word. */
static bool lists(const char *list, const char *word) {
    size_t length = strlen(word);

    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, length) == 0 && (at[length] == '\0' || at[length] == ',')) {
            return true;
        }
    }
    return false;
}

/* A worker has one queue in shared memory for all its peers. One that is killed or stopped between
 * taking a slot and filling it blocks the queue for all the others, for good. So on one host
 * messages go by TCP and large transfers by CMA, and the queues are for who asks for transports
 * without TCP. With stock NIXL peers they are for who says so by UCX's own variables: those have no
 * error handling on queues, and a connection that only one side may make over one ends the other
 * side's process (UCX 1.22 and 1.23 follow a null pointer when they find no way back). */
static bool queues_are_wanted(const char *transports, bool for_stock) {
    if (for_stock) {
        return user_set("POSIX_ERROR_HANDLING") || user_set("SYSV_ERROR_HANDLING");
    }
    if (transports == NULL) {
        transports = getenv("UCX_TLS");
    }
    if (transports == NULL) {
        return false;
    }
    return transports[0] == '^' ? lists(transports + 1, "tcp")
                                : !lists(transports, "tcp") && !lists(transports, "all");
}

static bool is_left_out(const char *key, const char *transports, bool for_stock) {
    if (strcmp(key, "TCP_PUT_ENABLE") == 0 || strcmp(key, "TCP_TX_SEG_SIZE") == 0 ||
        strcmp(key, "TCP_RX_SEG_SIZE") == 0) {
        return for_stock; /* they do put; stock_segments has theirs */
    }
    return (strcmp(key, "POSIX_ERROR_HANDLING") == 0 || strcmp(key, "SYSV_ERROR_HANDLING") == 0) &&
           !queues_are_wanted(transports, for_stock);
}

/* With rendezvous UCX would want what their endpoints can't do. */
static const char *const stock_settings[][2] = {{"RNDV_THRESH", "inf"}, {"ADDRESS_VERSION", "v2"}};

/* Stock peers receive in segments of UCX's default, 64 KiB. */
static const char *const stock_segments[][2] = {{"TCP_TX_SEG_SIZE", "64k"},
                                                {"TCP_RX_SEG_SIZE", "2m"}};

/* The end of a peer's process is noticed without a keep-alive, and in an order that lets its last
 * messages be read. An interface that UCX puts to sleep by itself would end the process when a
 * stranger writes to its socket. */
static const char *const queue_settings[][2] = {{"KEEPALIVE_INTERVAL", "inf"},
                                                {"ADAPTIVE_PROGRESS", "n"}};

/* Whether the user wants longer segments than ours, and forgot the receiving side. */
static bool sends_longer_than_receives(void) {
    size_t size;

    return user_set("TCP_TX_SEG_SIZE") && !user_set("TCP_RX_SEG_SIZE") &&
           ucs_str_to_memunits(getenv("UCX_TCP_TX_SEG_SIZE"), &size) == UCS_OK && size > SEGMENT;
}

const char *ropeway_ucx_version(void) {
    return ucp_get_version_string();
}

static ropeway_error_t check_version(void) {
    unsigned major, minor, release;

    ucp_get_version(&major, &minor, &release);
    if (major > UCX_MAJOR_NEEDED || (major == UCX_MAJOR_NEEDED && minor >= UCX_MINOR_NEEDED)) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                   "the UCX that was loaded is %u.%u.%u, but %u.%u or newer is needed: check "
                   "LD_LIBRARY_PATH, or install a newer UCX",
                   major, minor, release, UCX_MAJOR_NEEDED, UCX_MINOR_NEEDED);
}

/* UCX takes SIGHUP (and, in some builds, SIGSEGV and others) when it is loaded. Gives them back,
 * unless the user asked for UCX's handlers. */
__attribute__((constructor)) static void return_signals(void) {
    struct sigaction action;
    Dl_info owner, ucs;

    if (user_set("DEBUG_SIGNO") || user_set("HANDLE_ERRORS") || user_set("ERROR_SIGNALS") ||
        dladdr((void *)ucs_debug_disable_signal, &ucs) == 0) {
        return;
    }
    for (int number = 1; number < SIGRTMIN; number++) {
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
            action.sa_handler != SIG_IGN && dladdr((void *)action.sa_handler, &owner) != 0 &&
            owner.dli_fbase == ucs.dli_fbase) {
            ucs_debug_disable_signal(number);
        }
    }
}

ropeway_error_t rw_ucx_set(ucp_config_t *config, const char *key, const char *value) {
    ucs_status_t status = ucp_config_modify(config, key, value);

    if (status == UCS_OK) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX %s does not take the setting UCX_%s=%s: %s",
                   ropeway_ucx_version(), key, value, ucs_status_string(status));
}

/* Sets the transports that are given, or the environment's, without queues in shared memory: a
 * worker that has them without error handling must not offer them to those that have it. */
static ropeway_error_t leave_out_queues(ucp_config_t *config, const char *transports) {
    char text[512], *rest = text, *name;
    char left[2 * sizeof text] = "";
    size_t used = 0;

    if (transports == NULL) {
        transports = getenv("UCX_TLS");
    }
    if (transports == NULL || strcmp(transports, "all") == 0) {
        return rw_ucx_set(config, "TLS", ALL_BUT_QUEUES);
    }
    if (strlen(transports) >= sizeof text) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT, "the list of transports is longer than %zu bytes",
                       sizeof text - 1);
    }
    if (transports[0] == '^') {
        snprintf(left, sizeof left, "%s,mm", transports);
        return rw_ucx_set(config, "TLS", left);
    }
    strcpy(text, transports);
    while ((name = strsep(&rest, ",")) != NULL) {
        if (strcmp(name, "sm") == 0 || strcmp(name, "shm") == 0) {
            name = "cma";
        } else if (strcmp(name, "mm") == 0 || strcmp(name, "posix") == 0 ||
                   strcmp(name, "sysv") == 0 || strcmp(name, "xpmem") == 0) {
            continue;
        }
        used +=
            (size_t)snprintf(left + used, sizeof left - used, "%s%s", used > 0 ? "," : "", name);
    }
    return rw_ucx_set(config, "TLS", used > 0 ? left : "self");
}

static ropeway_error_t set_all(ucp_config_t *config, const char *transports,
                               const char *net_devices, uint32_t keepalive_ms, bool for_stock) {
    ropeway_error_t error = ROPEWAY_OK;
    char keepalive[32];

    for (size_t i = 0; i < sizeof settings / sizeof *settings && error == ROPEWAY_OK; i++) {
        if (!user_set(settings[i][0]) && !is_left_out(settings[i][0], transports, for_stock)) {
            error = rw_ucx_set(config, settings[i][0], settings[i][1]);
        }
    }
    for (size_t i = 0; for_stock && i < 2 && error == ROPEWAY_OK; i++) {
        error = rw_ucx_set(config, stock_settings[i][0], stock_settings[i][1]);
        if (error == ROPEWAY_OK && !user_set(stock_segments[i][0])) {
            error = rw_ucx_set(config, stock_segments[i][0], stock_segments[i][1]);
        }
    }
    if (error == ROPEWAY_OK && !for_stock && sends_longer_than_receives()) {
        error = rw_ucx_set(config, "TCP_RX_SEG_SIZE", getenv("UCX_TCP_TX_SEG_SIZE"));
    }
    if (error == ROPEWAY_OK && !user_set("KEEPALIVE_INTERVAL")) {
        snprintf(keepalive, sizeof keepalive, "%ums", keepalive_ms);
        error = rw_ucx_set(config, "KEEPALIVE_INTERVAL", keepalive);
    }
    if (error == ROPEWAY_OK && !queues_are_wanted(transports, for_stock)) {
        error = leave_out_queues(config, transports);
    } else if (error == ROPEWAY_OK && transports != NULL) {
        error = rw_ucx_set(config, "TLS", transports);
    }
    if (error == ROPEWAY_OK && net_devices != NULL) {
        error = rw_ucx_set(config, "NET_DEVICES", net_devices);
    }
    return error;
}

ropeway_error_t rw_ucx_config(const char *transports, const char *net_devices,
                              uint32_t keepalive_ms, bool for_stock, ucp_config_t **config) {
    ucs_status_t status;
    ropeway_error_t error = check_version();

    if (error != ROPEWAY_OK) {
        return error;
    }
    status = ucp_config_read(NULL, NULL, config);
    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT,
                       "UCX can't read its configuration: %s; check the UCX_ variables in the "
                       "environment",
                       ucs_status_string(status));
    }
    error = set_all(*config, transports, net_devices, keepalive_ms, for_stock);
    if (error != ROPEWAY_OK) {
        ucp_config_release(*config);
    }
    return error;
}

bool rw_ucx_can_queue(const char *transports, bool *large) {
    bool ignored;

    large = large != NULL ? large : &ignored;
    if (queues_are_wanted(transports, false)) { /* the connector's worker has its own */
        return false;
    }
    if (transports == NULL) {
        transports = getenv("UCX_TLS");
    }
    if (transports == NULL || strcmp(transports, "all") == 0) {
        return *large = true;
    }
    if (transports[0] == '^') {
        *large = !lists(transports + 1, "cma");
        return !lists(transports + 1, "posix") && !lists(transports + 1, "mm") &&
               !lists(transports + 1, "sm") && !lists(transports + 1, "shm");
    }
    *large = lists(transports, "all") || lists(transports, "sm") || lists(transports, "shm") ||
             lists(transports, "cma");
    return lists(transports, "all") || lists(transports, "sm") || lists(transports, "shm") ||
           lists(transports, "mm") || lists(transports, "posix");
}

ropeway_error_t rw_ucx_queue_config(const ropeway_connector_t *connector, ucp_config_t **config) {
    bool large = false;
    char list[64];
    ropeway_error_t error;

    rw_ucx_can_queue(connector->options.transports, &large);
    snprintf(list, sizeof list, "posix%s%s", large ? ",cma" : "",
             connector->has_cuda ? ",cuda_copy" : "");
    error = rw_ucx_config(list, NULL, connector->options.keepalive_ms, false, config);
    for (size_t i = 0; i < sizeof queue_settings / sizeof *queue_settings && error == ROPEWAY_OK;
         i++) {
        error = rw_ucx_set(*config, queue_settings[i][0], queue_settings[i][1]);
        if (error != ROPEWAY_OK) {
            ucp_config_release(*config);
        }
    }
    return error;
}

ropeway_error_t rw_ucx_connect(ucp_worker_h worker, const uint8_t *address, size_t length,
                               ucp_err_handler_cb_t on_error, void *argument, ucp_ep_h *endpoint) {
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLER,
                              .err_mode = UCP_ERR_HANDLING_MODE_PEER,
                              .err_handler = {.cb = on_error, .arg = argument}};
    char release[RW_UCX_RELEASE];
    const char *wrong;
    uint8_t *padded;
    ucs_status_t status;

    if (!rw_ucx_address_check(address, length, release, &wrong)) {
        return rw_fail(ROPEWAY_ERR_NO_PATH, "%s", wrong);
    }
    /* UCX reads an address without knowing its length; a damaged one shall end in zeroes. */
    padded = calloc(1, length + RW_ADDRESS_PAD);
    if (padded == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(padded, address, length);
    params.address = (const ucp_address_t *)padded;
    status = ucp_ep_create(worker, &params, endpoint);
    free(padded);
    return status == UCS_OK ? ROPEWAY_OK
                            : rw_fail(ROPEWAY_ERR_NO_PATH, "%s", ucs_status_string(status));
}

static ropeway_error_t open_context(ropeway_connector_t *connector) {
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME,
                           .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP,
                           .name = "ropeway"};
    ucp_context_attr_t attributes = {.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES};
    const ropeway_connector_options_t *options = &connector->options;
    ucp_config_t *config;
    ucs_status_t status;
    ropeway_error_t error = rw_ucx_config(options->transports, options->net_devices,
                                          options->keepalive_ms, false, &config);

    if (error != ROPEWAY_OK) {
        return error;
    }
    status = ucp_init(&params, config, &connector->context);
    ucp_config_release(config);
    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT,
                       "UCX can't start: %s (transports \"%s\", devices \"%s\"); `ropeway info` "
                       "lists what this machine has",
                       ucs_status_string(status),
                       options->transports != NULL ? options->transports : "all",
                       options->net_devices != NULL ? options->net_devices : "all");
    }
    if (ucp_context_query(connector->context, &attributes) == UCS_OK) {
        connector->has_cuda = (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA)) != 0;
    }
    return ROPEWAY_OK;
}

ropeway_error_t rw_ucx_open_worker(ucp_context_h context, ucp_worker_h *worker, int *fd) {
    ucp_worker_params_t params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                  .thread_mode = UCS_THREAD_MODE_SERIALIZED};
    ucs_status_t status = ucp_worker_create(context, &params, worker);

    if (status == UCS_OK) {
        status = ucp_worker_get_efd(*worker, fd);
        if (status == UCS_OK) {
            return ROPEWAY_OK;
        }
        ucp_worker_destroy(*worker);
    }
    *worker = NULL;
    return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX can't make a worker: %s", ucs_status_string(status));
}

ropeway_error_t rw_ucx_copy_address(ucp_worker_h worker, uint8_t **copy, size_t *length) {
    ucp_address_t *address;
    ucs_status_t status = ucp_worker_get_address(worker, &address, length);

    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX gives the worker no address: %s",
                       ucs_status_string(status));
    }
    *copy = malloc(*length);
    if (*copy != NULL) {
        memcpy(*copy, address, *length);
    }
    ucp_worker_release_address(worker, address);
    return *copy != NULL ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
}

ropeway_error_t rw_ucx_open(ropeway_connector_t *connector) RW_UNCHECKED {
    ropeway_error_t error = open_context(connector);

    if (error == ROPEWAY_OK) {
        error = rw_ucx_open_worker(connector->context, &connector->worker, &connector->ucx_fd);
        if (error != ROPEWAY_OK) {
            ucp_cleanup(connector->context);
            connector->context = NULL;
        }
    }
    return error;
}

void rw_ucx_close(ropeway_connector_t *connector) RW_UNCHECKED {
    if (connector->worker != NULL) {
        ucp_worker_destroy(connector->worker);
        ucp_cleanup(connector->context);
        connector->worker = NULL;
        connector->context = NULL;
    }
}

bool rw_ucx_is_our_setting(const char *key) {
    static const char *const optional[] = {"KEEPALIVE_INTERVAL", "TLS", "NET_DEVICES"};

    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (strcmp(settings[i][0], key) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        if (strcmp(optional[i], key) == 0) {
            return true;
        }
    }
    return false;
}

ucs_memory_type_t rw_ucx_memory_type(ropeway_device_t device) {
    return device.kind == ROPEWAY_DEVICE_CUDA ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST;
}
