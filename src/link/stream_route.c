/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stream connects to: which addresses of a peer are tried, in which order, and why not the
 * others. Only its Unix socket is looked at here, to see whose it is. */
#include "link/stream_route.h"

#include "base/error.h"
#include "link/peer.h"
#include "link/stream_identity.h"
#include "link/stream_local.h"

#include <stdio.h>
#include <string.h>

_Static_assert(RW_DIAL_MAX <= RW_ROUTES_MAX, "every place is a route");

/* ---- what the options say ---- */

static const char *const encryption_names[] = {"off", "auto", "required"};

static ropeway_error_t read_encryption(const char *text, rw_encryption_t *encryption) {
    for (size_t i = 0; i < sizeof encryption_names / sizeof *encryption_names; i++) {
        if (strcmp(text != NULL ? text : "auto", encryption_names[i]) == 0) {
            *encryption = (rw_encryption_t)i;
            return ROPEWAY_OK;
        }
    }
    return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                   "the connector option encryption is \"%s\"; it must be \"auto\", \"off\" or "
                   "\"required\"",
                   text);
}

ropeway_error_t rw_stream_read_options(const rw_carrier_t *carrier, rw_ways_t *ways,
                                       rw_encryption_t *encryption) {
    const ropeway_connector_options_t *options = &carrier->connector->options;
    ropeway_error_t error = read_encryption(options->encryption, encryption);

    if (error == ROPEWAY_OK && rw_stream_must_encrypt(options)) {
        *encryption = RW_ENCRYPT_REQUIRED;
    }
    *ways = (rw_ways_t){.tcp = true, .local = true, .pull = true, .ring = true};
    return error == ROPEWAY_OK && carrier->is_named ? rw_ways_read(options->transports, ways)
                                                    : error;
}

/* ---- the choice ---- */

bool rw_stream_encrypts(rw_encryption_t wanted, const rw_place_t *there, const rw_place_t *here) {
    return wanted == RW_ENCRYPT_REQUIRED ||
           (wanted == RW_ENCRYPT_AUTO && !rw_place_is_local(there) &&
            !(rw_place_is_loopback(there) && rw_place_is_loopback(here)));
}

static const char *refuse_local(const rw_ways_t *ways, rw_encryption_t own,
                                const rw_stream_address_t *address, bool is_near) {
    if (!ways->local) {
        return "the option transports leaves it out here";
    }
    if (!address->local) {
        return "the peer does not offer it";
    }
    if (!is_near) {
        return "the peer is on another host, or in another PID namespace";
    }
    return own == RW_ENCRYPT_REQUIRED || address->encryption == RW_ENCRYPT_REQUIRED
               ? "encryption is required, and it has none"
               : NULL;
}

/* Loopback addresses are for peers on this host; others can hardly be meant by them. */
size_t rw_stream_choose(const rw_ways_t *ways, rw_encryption_t own,
                        const rw_stream_address_t *address, const uint8_t instance[RW_ID_BYTES],
                        bool is_near, rw_stream_target_t targets[RW_DIAL_MAX]) {
    size_t count = 1;

    rw_local_place(address->fingerprint, instance, &targets[0].place);
    targets[0].refused = refuse_local(ways, own, address, is_near);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < address->count; i++) {
            if (rw_place_is_loopback(&address->places[i]) == (is_near == (pass == 0))) {
                targets[count++] = (rw_stream_target_t){
                    .place = address->places[i],
                    .refused = ways->tcp ? NULL : "the option transports leaves it out here"};
            }
        }
    }
    return count;
}

ropeway_error_t rw_stream_refuse(const rw_carrier_t *carrier, const rw_hello_t *hello,
                                 const char *wrong) {
    return rw_fail(ROPEWAY_ERR_NO_PATH,
                   "the peer \"%s\" can't be reached by the transport \"%s\": %s", hello->name,
                   carrier->is_named ? carrier->connector->options.transports : carrier->kind->name,
                   wrong);
}

ropeway_error_t rw_stream_check(const rw_carrier_t *carrier, const rw_hello_t *hello,
                                const rw_stream_target_t *targets, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (targets[i].refused == NULL) {
            return ROPEWAY_OK;
        }
    }
    return rw_stream_refuse(carrier, hello, "both sides have no way in common");
}

void rw_stream_write_path(const rw_place_t *place, const char *tls, char *path, size_t size) {
    char text[RW_PLACE_TEXT];

    rw_place_write(place, text);
    if (rw_place_is_local(place)) {
        snprintf(path, size, "local");
    } else {
        snprintf(path, size, "tcp/%s%s%s", text, tls != NULL ? " " : "", tls != NULL ? tls : "");
    }
}

/* ---- for who asks ---- */

static void describe(const rw_stream_target_t *target, const rw_ways_t *ways,
                     rw_encryption_t wanted, rw_route_t *route) {
    bool is_local = rw_place_is_local(&target->place);

    /* Who connects to a loopback address does so from one. */
    route->is_encrypted = rw_stream_encrypts(wanted, &target->place, &target->place);
    route->pulls = is_local && ways->pull;
    route->refused = target->refused;
    rw_stream_write_path(&target->place, route->is_encrypted ? RW_TLS_VERSION : NULL, route->path,
                         sizeof route->path);
    if (route->pulls) {
        snprintf(route->path, sizeof route->path, "local pull");
    }
}

/* Finds out whose the Unix socket is, and strikes it if that is not us. Whether a place is left. */
static bool strike_foreign(rw_stream_target_t *targets, size_t count, rw_owner_t *owner) {
    bool any = false;

    if (targets[0].refused == NULL) {
        targets[0].refused = rw_local_find_owner(&targets[0].place, owner);
    }
    for (size_t i = 0; i < count; i++) {
        any |= targets[i].refused == NULL;
    }
    return any;
}

ropeway_error_t rw_stream_routes(rw_carrier_t *carrier, const rw_hello_t *hello,
                                 rw_routes_t *routes) {
    rw_stream_target_t targets[RW_DIAL_MAX];
    rw_stream_address_t address;
    rw_ways_t ways;
    rw_encryption_t own, wanted;
    ropeway_error_t error = rw_stream_read_options(carrier, &ways, &own);
    const char *wrong = rw_stream_address_decode(hello->address, hello->address_length, &address);

    if (error != ROPEWAY_OK || wrong != NULL) {
        return error != ROPEWAY_OK ? error : rw_stream_refuse(carrier, hello, wrong);
    }
    wanted = address.encryption > own ? address.encryption : own;
    routes->encryption = encryption_names[address.encryption];
    routes->count = rw_stream_choose(&ways, own, &address, hello->instance,
                                     rw_watch_is_near(carrier->connector, hello), targets);
    error = rw_stream_check(carrier, hello, targets, routes->count);
    if (!strike_foreign(targets, routes->count, &routes->owner) && error == ROPEWAY_OK) {
        error = rw_fail(ROPEWAY_ERR_UNREACHABLE,
                        "no connection to the peer \"%s\" can be made: a Unix socket: %s",
                        hello->name, targets[0].refused);
    }
    for (size_t i = 0; i < routes->count; i++) {
        describe(&targets[i], &ways, wanted, &routes->list[i]);
    }
    return error;
}
