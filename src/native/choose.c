/* SPDX-License-Identifier: Apache-2.0 */
/* By which carrier a peer is reached: decisions alone. Nothing is started, connected or sent here;
 * begin.c does as it is told, and ropeway_connector_route() tells. */
#include "native/native.h"

#include "base/error.h"

bool rw_native_needs_other(const ropeway_connector_t *connector, bool device_here) {
    const rw_carrier_t *other = rw_links_for_devices(connector);

    return device_here || (other != NULL && other->is_named);
}

/* Whether another carrier would be better than this one. */
static bool wants_other(const rw_trip_t *trip, const rw_carrier_t *carrier) RW_LOCKED {
    const ropeway_connector_t *connector = trip->connector;
    const rw_carrier_t *other = rw_links_for_devices(connector);

    return carrier->kind->host_only &&
           (rw_native_needs_other(connector, trip->device_here) ||
            (other != NULL && other->is_preferred && !rw_watch_is_near(connector, trip->hello)));
}

/* UCX encrypts nothing. Where nobody here has asked for it, host memory goes by it on this host and
 * over RDMA networks, and else as the user says. */
static ropeway_error_t check_clear(const rw_trip_t *trip, const rw_carrier_t *carrier) RW_LOCKED {
    const ropeway_connector_t *connector = trip->connector;

    if (carrier != &connector->links->second || carrier->kind->host_only || carrier->is_preferred ||
        trip->device_here || trip->device_there || rw_watch_is_near(connector, trip->hello) ||
        rw_native_allows_clear(connector)) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_NO_PATH,
                   "the peer \"%s\" is reached by UCX alone, which encrypts nothing on its way; if "
                   "that may be, name transports of UCX here as well, or set encryption to \"off\"",
                   trip->hello->name);
}

ropeway_error_t rw_native_choose(const rw_trip_t *trip, rw_choice_t *choice) {
    choice->carrier = rw_links_choose(trip->connector, trip->hello);
    choice->wants_other = wants_other(trip, choice->carrier);
    return check_clear(trip, choice->carrier);
}

ropeway_error_t rw_native_refuse_way(const char *name, bool device_here) {
    return rw_fail(ROPEWAY_ERR_NO_PATH,
                   "the peer \"%s\" can't be reached by UCX, which %s; its connector must name "
                   "transports of UCX, have interop on or memory of a device in use, or its host "
                   "an RDMA network",
                   name,
                   device_here ? "memory of a device needs" : "the option transports asks for");
}
