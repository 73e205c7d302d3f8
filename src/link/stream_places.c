/* SPDX-License-Identifier: Apache-2.0 */
/* What the options listen, net_devices and advertise come to: ports and addresses. */
#include "link/stream_places.h"

#include "base/error.h"
#include "base/rdma.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INTERFACES_TEXT 256
#define INTERFACES_LISTED 1024 /* bytes of the option net_devices */

/* ---- what was asked for ---- */

static bool *find_way(rw_ways_t *ways, const char *name, size_t length) {
    const struct {
        const char *name;
        bool *way;
    } all[] = {{"stream", &ways->tcp},
               {"local", &ways->local},
               {"pull", &ways->pull},
               {"ring", &ways->ring}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strlen(all[i].name) == length && strncmp(all[i].name, name, length) == 0) {
            return all[i].way;
        }
    }
    return NULL;
}

/* Notes what is named. Returns how many names there are; *unknown: how many of them are not ways.
 */
static size_t read_ways(const char *text, rw_ways_t *ways, size_t *unknown) {
    size_t count = 0;

    *unknown = 0;
    *ways = (rw_ways_t){0};
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");
        bool *way = find_way(ways, text, length);

        count++;
        *unknown += way == NULL;
        if (way != NULL) {
            *way = true;
        }
        text += length;
        text += *text == ',';
    }
    return count;
}

bool rw_ways_are_named(const char *text) {
    rw_ways_t ways;
    size_t unknown;

    return read_ways(text, &ways, &unknown) > unknown;
}

ropeway_error_t rw_ways_read(const char *text, rw_ways_t *ways) {
    size_t unknown;

    if (read_ways(text, ways, &unknown) == 0 || unknown > 0) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the connector option transports is \"%s\"; \"stream\", \"local\", "
                       "\"pull\" and \"ring\" can't be mixed with transports of UCX",
                       text);
    }
    if (!ways->local && (ways->pull || ways->ring || !ways->tcp)) {
        return rw_fail(
            ROPEWAY_ERR_INVALID_ARGUMENT,
            "the connector option transports is \"%s\"; \"pull\" and \"ring\" need \"local\" "
            "beside it",
            text);
    }
    return ROPEWAY_OK;
}

static ropeway_error_t refuse_listen(const char *text) {
    return rw_fail(
        ROPEWAY_ERR_INVALID_ARGUMENT,
        "the connector option listen is \"%s\"; it must be \"ADDRESS:PORT\", \"PORT\" or "
        "\"PORT-PORT\", with a numeric address, and ports from 1 to 65535",
        text);
}

static bool read_port(const char **text, uint16_t *port) {
    char *end;
    unsigned long number = strtoul(*text, &end, 10);

    if (end == *text || **text < '0' || **text > '9' || number > UINT16_MAX) {
        return false;
    }
    *text = end;
    *port = (uint16_t)number;
    return true;
}

ropeway_error_t rw_places_read_listen(const char *text, rw_listen_wish_t *wish) {
    const char *ports = text, *colon = text != NULL ? strrchr(text, ':') : NULL;

    memset(wish, 0, sizeof *wish);
    if (text == NULL) {
        return ROPEWAY_OK;
    }
    if (colon != NULL) {
        wish->has_place = true;
        ports = colon + 1;
        if (!rw_place_read(text, (size_t)(colon - text), &wish->place)) {
            return refuse_listen(text);
        }
    }
    if (!read_port(&ports, &wish->first)) {
        return refuse_listen(text);
    }
    wish->last = wish->first;
    if (*ports == '-') {
        ports++;
        if (!read_port(&ports, &wish->last)) {
            return refuse_listen(text);
        }
    }
    if (*ports != '\0' || wish->last < wish->first ||
        (wish->first == 0 && (!wish->has_place || wish->last > 0))) {
        return refuse_listen(text);
    }
    return ROPEWAY_OK;
}

/* ---- interfaces ---- */

static bool is_named(const char *list, const char *name) {
    size_t length = strlen(name);

    for (const char *at = list; *at != '\0'; at += strcspn(at, ","), at += *at == ',') {
        if (strcspn(at, ",") == length && strncmp(at, name, length) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_address(const struct ifaddrs *entry, rw_place_t *place) {
    int family = entry->ifa_addr != NULL ? entry->ifa_addr->sa_family : AF_UNSPEC;

    memset(place, 0, sizeof *place);
    if ((entry->ifa_flags & IFF_UP) == 0) {
        return false;
    }
    if (family == AF_INET) {
        memcpy(&place->v4, entry->ifa_addr, sizeof place->v4);
        return true;
    }
    if (family == AF_INET6) {
        memcpy(&place->v6, entry->ifa_addr, sizeof place->v6);
        place->v6.sin6_port = 0;
        return !IN6_IS_ADDR_LINKLOCAL(&place->v6.sin6_addr);
    }
    return false;
}

/* Adds the addresses of those interfaces that devices names, NULL: of all; loopback addresses last,
 * as far as there is room. */
static void add_places(const struct ifaddrs *list, const char *devices,
                       rw_stream_address_t *address) {
    for (int loopback = 0; loopback <= 1; loopback++) {
        for (const struct ifaddrs *entry = list; entry != NULL; entry = entry->ifa_next) {
            rw_place_t place;

            if (address->count < RW_PLACES_MAX - (loopback == 0) &&
                (devices == NULL || is_named(devices, entry->ifa_name)) &&
                has_address(entry, &place) && rw_place_is_loopback(&place) == (loopback == 1)) {
                address->places[address->count++] = place;
            }
        }
    }
}

/* Every name must be that of an interface. */
static ropeway_error_t check_devices(const struct ifaddrs *list, const char *devices) {
    char there[INTERFACES_TEXT] = "";
    size_t used = 0;

    for (const char *at = devices; *at != '\0'; at += strcspn(at, ","), at += *at == ',') {
        const struct ifaddrs *entry = list;
        size_t length = strcspn(at, ",");

        while (entry != NULL &&
               (strlen(entry->ifa_name) != length || strncmp(entry->ifa_name, at, length) != 0)) {
            entry = entry->ifa_next;
        }
        if (entry != NULL) {
            continue;
        }
        for (entry = list; entry != NULL && used < sizeof there; entry = entry->ifa_next) {
            if (!is_named(there, entry->ifa_name)) {
                used += (size_t)snprintf(there + used, sizeof there - used, "%s%s",
                                         used > 0 ? "," : "", entry->ifa_name);
            }
        }
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the connector option net_devices names \"%.*s\", which is no network "
                       "interface here; there are: %s",
                       (int)length, at, there);
    }
    return ROPEWAY_OK;
}

/* ---- where peers shall connect to ---- */

/* "ADDRESS" or "ADDRESS:PORT". */
static bool read_place(const char *text, uint16_t port, rw_place_t *place) {
    const char *colon = strrchr(text, ':'), *digits = colon != NULL ? colon + 1 : NULL;
    bool read = rw_place_read(text, strlen(text), place);

    if (!read && colon != NULL) {
        read = rw_place_read(text, (size_t)(colon - text), place) && read_port(&digits, &port) &&
               *digits == '\0';
    }
    rw_place_set_port(place, port);
    return read && rw_place_is_host(place);
}

ropeway_error_t rw_places_read_advertised(const char *text, uint16_t port,
                                          rw_stream_address_t *address) {
    address->count = 0;
    for (const char *at = text; *at != '\0'; at += strcspn(at, ","), at += *at == ',') {
        size_t length = strcspn(at, ",");
        char place[RW_PLACE_TEXT];

        snprintf(place, sizeof place, "%.*s", (int)length, at);
        if (address->count == RW_PLACES_MAX || length >= sizeof place ||
            !read_place(place, port, &address->places[address->count])) {
            address->count = 0;
            break;
        }
        address->count++;
    }
    return address->count > 0
               ? ROPEWAY_OK
               : rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                         "the connector option advertise is \"%s\"; it must be up to %d numeric "
                         "addresses of hosts, separated by commas, each with \":PORT\" behind it "
                         "if the port is another one than is listened to",
                         text, RW_PLACES_MAX);
}

ropeway_error_t rw_places_choose(const rw_listen_wish_t *wish, const char *devices,
                                 rw_stream_address_t *address, bool *everywhere) {
    char interfaces[INTERFACES_LISTED];
    int length = rw_rdma_write_interfaces(RW_RDMA_FOLDER, devices, interfaces, sizeof interfaces);
    bool all = strcmp(interfaces, "all") == 0;
    struct ifaddrs *list = NULL;
    ropeway_error_t error = ROPEWAY_OK;

    if (length < 0 || (size_t)length >= sizeof interfaces) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the connector option net_devices is longer than %zu bytes",
                       sizeof interfaces - 1);
    }
    *everywhere = wish->has_place ? !rw_place_is_given(&wish->place) : all;
    address->count = 0;
    if (wish->has_place && !*everywhere) {
        address->places[address->count++] = wish->place;
        return ROPEWAY_OK;
    }
    if (getifaddrs(&list) != 0) {
        return rw_fail(ROPEWAY_ERR_SYSTEM, "the network interfaces can't be listed: %m");
    }
    if (!all) {
        error = check_devices(list, interfaces);
    }
    add_places(list, all ? NULL : interfaces, address);
    freeifaddrs(list);
    if (error == ROPEWAY_OK && address->count == 0) {
        error = rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                        "the network interfaces %s have no address to listen at",
                        all ? "of this host" : interfaces);
    }
    return error;
}

void rw_places_drop_v6(rw_stream_address_t *address) {
    size_t count = 0;

    for (size_t i = 0; i < address->count; i++) {
        if (address->places[i].any.sa_family == AF_INET) {
            address->places[count++] = address->places[i];
        }
    }
    address->count = count;
}
