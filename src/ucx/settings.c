/* SPDX-License-Identifier: Apache-2.0 */
/* The settings without which UCX's active messages are slow, unsafe or deaf to a dead peer;
 * docs/rationale.md has the reasons for each value. The environment's own settings stand. */
#include "base/error.h"
#include "ucx/calls.h"
#include "ucx/ucx.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucs/sys/string.h>

#define ALL_BUT_QUEUES "^posix,sysv,xpmem" /* see queues_are_wanted() */
#define COUNT(list) (sizeof(list) / sizeof *(list))
#define SEGMENT ((size_t)256 << 10) /* bytes; as in the settings */

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

bool rw_ucx_is_users_setting(const char *key) {
    char name[64];

    snprintf(name, sizeof name, "UCX_%s", key);
    return getenv(name) != NULL;
}

bool rw_ucx_lists(const char *list, const char *word) {
    size_t length = strlen(word);

    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, length) == 0 && (at[length] == '\0' || at[length] == ',')) {
            return true;
        }
    }
    return false;
}

bool rw_ucx_uses_tcp(const char *transports) {
    if (transports == NULL) {
        transports = getenv("UCX_TLS");
    }
    if (transports == NULL) {
        return true;
    }
    return transports[0] == '^'
               ? !rw_ucx_lists(transports + 1, "tcp")
               : rw_ucx_lists(transports, "tcp") || rw_ucx_lists(transports, "all");
}

/* A worker has one queue in shared memory for all its peers. One that is killed or stopped between
 * taking a slot and filling it blocks the queue for all the others, for good. So on one host
 * messages go by TCP and large transfers by CMA, and the queues are for who asks for transports
 * without TCP. With stock NIXL peers they are for who says so by UCX's own variables: those have no
 * error handling on queues, and a connection that only one side may make over one ends the other
 * side's process (UCX 1.22 and 1.23 follow a null pointer when they find no way back). */
static bool queues_are_wanted(const char *transports, bool for_stock) {
    if (for_stock) {
        return rw_ucx_is_users_setting("POSIX_ERROR_HANDLING") ||
               rw_ucx_is_users_setting("SYSV_ERROR_HANDLING");
    }
    return !rw_ucx_uses_tcp(transports);
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

/* UCX would keep a registration for whoever uses the memory next, and with it the key: a peer that
 * has it reaches the memory of an operation that has ended. The environment may choose the cache.
 */
static const char *const cache[][2] = {{"RCACHE_ENABLE", "n"}};

/* Stock peers receive in segments of UCX's default, 64 KiB. */
static const char *const stock_segments[][2] = {{"TCP_TX_SEG_SIZE", "64k"},
                                                {"TCP_RX_SEG_SIZE", "2m"}};

/* Whether the user wants longer segments than ours, and forgot the receiving side. */
static bool sends_longer_than_receives(void) {
    size_t size;

    return rw_ucx_is_users_setting("TCP_TX_SEG_SIZE") &&
           !rw_ucx_is_users_setting("TCP_RX_SEG_SIZE") &&
           ucs_str_to_memunits(getenv("UCX_TCP_TX_SEG_SIZE"), &size) == UCS_OK && size > SEGMENT;
}

/* Sets a key to what the user wants. Errors: ERR_TRANSPORT. */
static ropeway_error_t set(ucp_config_t *config, const char *key, const char *value) {
    ucs_status_t status = ucp_config_modify(config, key, value);

    if (status == UCS_OK) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX %s does not take the setting UCX_%s=%s: %s",
                   ropeway_ucx_version(), key, value, ucs_status_string(status));
}

static bool guards_memory(const char *key) {
    return strcmp(key, "TCP_PUT_ENABLE") == 0 || strcmp(key, "RCACHE_ENABLE") == 0;
}

/* Sets a key to what we want. One that this UCX does not take is left out: it belongs to a
 * transport that this build of it has not, or a release has dropped it. */
static void prefer(ucp_config_t *config, const char *key, const char *value) {
    ucs_status_t status = ucp_config_modify(config, key, value);

    if (status != UCS_OK) {
        rw_ucx_say(guards_memory(key) ? ROPEWAY_LOG_WARN : ROPEWAY_LOG_DEBUG,
                   "UCX %s does not take the setting UCX_%s=%s, which is left out: %s",
                   ropeway_ucx_version(), key, value, ucs_status_string(status));
    }
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
        return set(config, "TLS", ALL_BUT_QUEUES);
    }
    if (strlen(transports) >= sizeof text) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT, "the list of transports is longer than %zu bytes",
                       sizeof text - 1);
    }
    if (transports[0] == '^') {
        snprintf(left, sizeof left, "%s,mm", transports);
        return set(config, "TLS", left);
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
    return set(config, "TLS", used > 0 ? left : "self");
}

/* Sets those of a list that the environment does not have. */
static void prefer_list(ucp_config_t *config, const char *const list[][2], size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!rw_ucx_is_users_setting(list[i][0])) {
            prefer(config, list[i][0], list[i][1]);
        }
    }
}

static void prefer_stock(ucp_config_t *config) {
    for (size_t i = 0; i < COUNT(stock_settings); i++) {
        prefer(config, stock_settings[i][0], stock_settings[i][1]);
    }
    prefer_list(config, stock_segments, COUNT(stock_segments));
}

static ropeway_error_t set_all(ucp_config_t *config, const rw_ucx_wish_t *wish) {
    const char *transports = wish->transports;
    bool for_stock = wish->purpose == RW_UCX_STOCK;
    ropeway_error_t error = ROPEWAY_OK;
    char keepalive[32];

    for (size_t i = 0; i < COUNT(settings); i++) {
        if (!is_left_out(settings[i][0], transports, for_stock)) {
            prefer_list(config, &settings[i], 1);
        }
    }
    if (for_stock || rw_ucx_may_register()) {
        prefer_list(config, cache, COUNT(cache));
    }
    if (for_stock) {
        prefer_stock(config);
    } else if (sends_longer_than_receives()) {
        error = set(config, "TCP_RX_SEG_SIZE", getenv("UCX_TCP_TX_SEG_SIZE"));
    }
    if (!rw_ucx_is_users_setting("KEEPALIVE_INTERVAL")) {
        snprintf(keepalive, sizeof keepalive, "%ums", wish->keepalive_ms);
        prefer(config, "KEEPALIVE_INTERVAL", keepalive);
    }
    if (error == ROPEWAY_OK && !queues_are_wanted(transports, for_stock)) {
        error = leave_out_queues(config, transports);
    } else if (error == ROPEWAY_OK && transports != NULL) {
        error = set(config, "TLS", transports);
    }
    if (error == ROPEWAY_OK && wish->net_devices != NULL) {
        error = set(config, "NET_DEVICES", wish->net_devices);
    }
    return error;
}

ropeway_error_t rw_ucx_read_config(const rw_ucx_wish_t *wish, ucp_config_t **config) {
    char why[256];
    ucs_status_t status;
    ropeway_error_t error = rw_ucx_load();

    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_ucx_overhear(why, sizeof why);
    status = ucp_config_read(NULL, NULL, config);
    rw_ucx_overhear(NULL, 0);
    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT,
                       "UCX can't read its configuration: %s; check the UCX_ variables in the "
                       "environment",
                       why[0] != '\0' ? why : ucs_status_string(status));
    }
    error = set_all(*config, wish);
    if (error != ROPEWAY_OK) {
        ucp_config_release(*config);
    }
    return error;
}

bool rw_ucx_is_our_setting(const char *key) {
    static const char *const optional[] = {"KEEPALIVE_INTERVAL", "TLS", "NET_DEVICES",
                                           "RCACHE_ENABLE"};

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

/* UCX's module for EFA links the system's libibverbs, and that of the nixl wheel has one of its
 * own: with both of them the process crashes as it ends. */
void rw_ucx_leave_out_modules(void) {
    glob_t found;

    if (rw_ucx_is_users_setting("MODULES")) {
        return;
    }
    if (glob("/sys/bus/pci/drivers/efa/*:*", GLOB_NOSORT, NULL, &found) == 0) {
        globfree(&found); /* such a device is there: whoever has it shall use it */
        return;
    }
    if (ucs_global_opts_set_value("MODULES", "^efa") != UCS_OK) {
        rw_ucx_say(ROPEWAY_LOG_DEBUG, "UCX %s does not take the setting UCX_MODULES=^efa",
                   ropeway_ucx_version());
    }
}
