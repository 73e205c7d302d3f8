/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what the loaded UCX can do. */
#include "doctor.h"

#include <string.h>
#include <unistd.h>

#include <ropeway.h>

#include "facts.h"

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
