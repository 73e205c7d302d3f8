/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what the loaded UCX can do. */
#include "doctor.h"

#include <string.h>
#include <unistd.h>

#include <ropeway.h>

#include "common/text.h"
#include "facts.h"
#include "ports.h"

/* Whether this host has devices that only UCX moves bytes with. */
static bool host_needs_one(void) {
    json_t *hardware = cli_facts_infiniband_hardware();
    bool any = json_array_size(hardware) > 0 || cli_facts_have_cuda_driver();
    json_decref(hardware);
    return any;
}

void cli_doctor_check_release(struct cli_doctor *doctor) {
    static const char name[] = "UCX release";
    const json_t *ucx = json_object_get(doctor->facts, "ucx");
    const char *library = json_string_value(json_object_get(ucx, "library"));
    if (doctor->facts == NULL) {
        cli_doctor_fail(doctor, name, "check ROPEWAY_UCX and the UCX_ variables of the environment",
                        "%s", doctor->facts_error);
    } else if (cli_facts_have_ucx(doctor->facts)) {
        cli_doctor_ok(doctor, name, "%s, loaded from %s: %s", ropeway_ucx_version(),
                      library != NULL ? library : "an unknown place", cli_facts_why(doctor->facts));
    } else if (host_needs_one()) {
        cli_doctor_warn(doctor, name, "install one for this host's InfiniBand or CUDA devices",
                        "none is loaded: %s", cli_facts_why(doctor->facts));
    } else {
        cli_doctor_ok(doctor, name, "none is loaded, and no device of this host needs one: %s",
                      cli_facts_why(doctor->facts));
    }
}

/* Settings of the environment win over Ropeway's own, so they belong in the picture. */
void cli_doctor_check_settings(struct cli_doctor *doctor) {
    static const char name[] = "UCX settings";
    json_t *names = json_array();
    char text[512];
    for (char **each = environ; *each != NULL; each++) {
        if (strncmp(*each, "UCX_", 4) == 0) {
            json_array_append_new(names, json_string(*each));
        }
    }
    cli_facts_join(names, text, sizeof text);
    cli_doctor_ok(doctor, name, "%s%s", json_array_size(names) > 0 ? "the environment sets " : "",
                  json_array_size(names) > 0 ? text : "the environment sets none");
    json_decref(names);
}

void cli_doctor_check_infiniband(struct cli_doctor *doctor) {
    static const char name[] = "InfiniBand";
    json_t *hardware = cli_facts_infiniband_hardware();
    char devices[512];
    char transports[512];
    cli_facts_join(hardware, devices, sizeof devices);
    cli_facts_list(doctor->facts, cli_facts_infiniband, transports, sizeof transports);
    if (transports[0] != '\0') {
        cli_doctor_ok(doctor, name, "usable through %s; devices: %s", transports, devices);
    } else if (json_array_size(hardware) > 0) {
        cli_doctor_warn(
            doctor, name, cli_facts_site_ucx,
            "this host has %s, but this UCX has no InfiniBand transport that works here "
            "(the UCX wheel of PyPI has none)",
            devices);
    } else {
        cli_doctor_ok(doctor, name, "no such device on this host");
    }
    json_decref(hardware);
}

/* "ACTIVE, 100 Gb/sec (4X EDR), eth2 with MTU 4200, address 3 (RoCE v2) ..." */
static void describe_port(const struct cli_port *port, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%s", port->state);
    if (port->rate[0] != '\0' && used < size) {
        used += (size_t)snprintf(text + used, size - used, ", %s", port->rate);
    }
    if (port->interface[0] != '\0' && used < size) {
        used += (size_t)snprintf(text + used, size - used, ", %s with MTU %ld", port->interface,
                                 port->mtu);
    }
    if (port->gid_index >= 0 && used < size) {
        snprintf(text + used, size - used, ", GID %d is %s%s%s", port->gid_index, port->gid,
                 port->gid_type[0] != '\0' ? ", " : "", port->gid_type);
    }
}

/* What keeps a port from carrying bytes, with what to do about it; a port that is down may be one
 * that nobody uses. */
void cli_doctor_check_port(struct cli_doctor *doctor, const struct cli_port *port) {
    char name[160], text[512];
    snprintf(name, sizeof name, "port %s", port->name);
    describe_port(port, text, sizeof text);
    if (!port->active) {
        cli_doctor_warn(doctor, name,
                        port->ethernet ? "set its interface up ('ip link set dev INTERFACE up'), "
                                         "and look at cable and switch"
                                       : "look at cable and switch, and at the subnet manager",
                        "%s: it carries nothing", text);
    } else if (port->gid_index < 0) {
        cli_doctor_warn(doctor, name, "give its interface an address, of which the GID is made",
                        "%s, no GID: peers can't reach it", text);
    } else if (port->file[0] == '\0' || port->file_error != 0) {
        cli_doctor_warn(doctor, name,
                        "load the module ib_uverbs; give a container the device, as by "
                        "--device=/dev/infiniband, and this user the right to read and write it",
                        "%s, but %s: %s", text, port->file[0] != '\0' ? port->file : "its file",
                        port->file[0] != '\0' ? cli_errno_text(port->file_error) : "there is none");
    } else {
        cli_doctor_ok(doctor, name, "%s", text);
    }
}

void cli_doctor_check_cuda(struct cli_doctor *doctor) {
    static const char name[] = "CUDA";
    bool ucx = cli_facts_ucx_has_cuda(doctor->facts);
    bool driver = cli_facts_have_cuda_driver();
    if (driver && !ucx) {
        cli_doctor_warn(doctor, name,
                        "use a UCX that was built with CUDA, and check that the libraries of the "
                        "CUDA runtime can be loaded",
                        "a driver is there, but this UCX has no CUDA parts that load; descriptors "
                        "on cuda:N are refused");
    } else if (driver) {
        cli_doctor_ok(doctor, name, "a driver is there, and this UCX has its CUDA parts");
    } else {
        cli_doctor_ok(doctor, name, "no driver with a device on this host; host memory only");
    }
}
