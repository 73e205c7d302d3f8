/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway doctor: options, the order of the checks, and how they report. */
#include "doctor.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ropeway.h>

#include "common/cli.h"
#include "common/message.h"
#include "common/text.h"
#include "facts.h"
#include "peer.h"
#include "perf/perf.h"
#include "ports.h"

static const char help[] =
    "Usage: ropeway doctor [OPTION]...\n"
    "Check this machine's set-up, and say what to change. Each check ends in ok, warn or fail.\n"
    "\n"
    "  --listen ADDR:PORT  the address that a server is to listen on (default 127.0.0.1:0)\n"
    "  --json              print one JSON object\n"
    "  -h, --help          show this text\n"
    "\n"
    "Or say how a peer would be reached from here, and why so:\n"
    "\n"
    "  --peer FILE         the RDMA metadata of one of its operations; '-': from stdin. What a\n"
    "                      server answers to a request for an object will do, too:\n"
    "                      curl -sX POST URL/v1/objects/NAME/read | ropeway doctor --peer -\n"
    "                      The operation is not begun: its key can still be used. Nothing is sent\n"
    "                      to the peer, so whether its addresses answer is not tested.\n"
    "  --transports LIST   as of 'ropeway get'\n"
    "  --net-devices LIST  as of 'ropeway info'\n"
    "  --device DEVICE     where the memory on this side is, such as cuda:0 (default cpu)\n"
    "\n"
    "Exit code: 0 when no check failed, or there is a way to the peer, else 1.\n";

static void report(struct cli_doctor *doctor, const char *status, const char *name,
                   const char *remedy, const char *format, va_list arguments) {
    char text[2048];
    vsnprintf(text, sizeof text, format, arguments);
    cli_printable(text);
    json_array_append_new(doctor->checks, json_pack("{s:s,s:s,s:s,s:s?}", "name", name, "status",
                                                    status, "text", text, "remedy", remedy));
    if (doctor->json) {
        return;
    }
    printf("%-4s  %s: %s\n", status, name, text);
    if (remedy != NULL) {
        printf("      -> %s\n", remedy);
    }
    fflush(stdout);
}

void cli_doctor_ok(struct cli_doctor *doctor, const char *name, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report(doctor, "ok", name, NULL, format, arguments);
    va_end(arguments);
}

void cli_doctor_warn(struct cli_doctor *doctor, const char *name, const char *remedy,
                     const char *format, ...) {
    va_list arguments;
    doctor->warnings++;
    va_start(arguments, format);
    report(doctor, "warn", name, remedy, format, arguments);
    va_end(arguments);
}

void cli_doctor_fail(struct cli_doctor *doctor, const char *name, const char *remedy,
                     const char *format, ...) {
    va_list arguments;
    doctor->failures++;
    va_start(arguments, format);
    report(doctor, "fail", name, remedy, format, arguments);
    va_end(arguments);
}

static void check_port(const struct cli_port *port, void *doctor) {
    cli_doctor_check_port(doctor, port);
}

struct transfer {
    struct cli_doctor *doctor;
    const struct cli_perf_child *server;
};

static void check_transfer_by(const struct cli_port *port, void *argument) {
    const struct transfer *transfer = argument;
    if (port->active) {
        cli_doctor_check_transfer(transfer->doctor, transfer->server->address, "rc+self",
                                  port->name);
    }
}

static void check_transfers(struct cli_doctor *doctor, const struct cli_perf_child *server) {
    struct transfer transfer = {doctor, server};
    cli_doctor_check_transfer(doctor, server->address, "any", NULL);
    cli_doctor_check_transfer(doctor, server->address, "stream", NULL);
    if (cli_facts_have_ucx(doctor->facts)) {
        cli_doctor_check_transfer(doctor, server->address, "tcp", NULL);
    }
    if (!cli_facts_have(doctor->facts, cli_facts_infiniband)) {
        return;
    }
    if (getenv("UCX_NET_DEVICES") != NULL) { /* the user has chosen */
        cli_doctor_check_transfer(doctor, server->address, "rc+self", NULL);
    } else {
        cli_ports_each(check_transfer_by, &transfer);
    }
}

static void check_all(struct cli_doctor *doctor, const char *listen) {
    struct cli_perf_child server;
    char error[CLI_SENTENCE_SIZE];
    /* Starts first: a process of its own is to be made before UCX runs in this one. */
    bool started = cli_perf_child_start(&server, error);
    cli_doctor_check_cma(doctor);
    json_t *facts = cli_facts_load(NULL, NULL);
    doctor->facts = facts;
    snprintf(doctor->facts_error, sizeof doctor->facts_error, "%s",
             facts == NULL ? ropeway_last_error() : "");
    cli_doctor_check_release(doctor);
    cli_doctor_check_settings(doctor);
    cli_doctor_check_shared_memory(doctor);
    cli_doctor_check_locked_memory(doctor);
    cli_doctor_check_open_files(doctor);
    cli_doctor_check_interfaces(doctor);
    cli_doctor_check_listen(doctor, listen);
    if (cli_facts_have_ucx(facts)) {
        cli_doctor_check_infiniband(doctor);
        cli_doctor_check_cuda(doctor);
    }
    cli_ports_each(check_port, doctor);
    if (!started) {
        cli_doctor_fail(doctor, "transfers", "see the checks above", "%s", error);
    } else if (facts != NULL) {
        check_transfers(doctor, &server);
    }
    cli_perf_child_stop(&server);
    json_decref(facts);
}

static int examine(bool json, const char *listen) {
    struct cli_doctor doctor = {.json = json, .checks = json_array()};
    check_all(&doctor, listen);
    if (json) {
        json_t *object =
            json_pack("{s:b,s:O}", "ok", doctor.failures == 0, "checks", doctor.checks);
        json_dumpf(object, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(object);
    } else {
        printf("%zu checks: %u warn, %u fail\n", json_array_size(doctor.checks), doctor.warnings,
               doctor.failures);
    }
    json_decref(doctor.checks);
    if (cli_flush_stdout() != CLI_EXIT_OK) {
        return CLI_EXIT_FAILED;
    }
    return doctor.failures == 0 ? CLI_EXIT_OK : CLI_EXIT_FAILED;
}

/* Which of the two is asked for. */
static int choose(const struct cli_peer_options *peer, const char *listen) {
    if (peer->path == NULL &&
        (peer->transports != NULL || peer->net_devices != NULL || peer->device.kind != 0)) {
        return cli_usage("doctor", "--transports, --net-devices and --device go with --peer");
    }
    if (peer->path == NULL) {
        return examine(peer->json, listen != NULL ? listen : "127.0.0.1:0");
    }
    if (listen != NULL) {
        return cli_usage("doctor", "--listen does not go with --peer");
    }
    if (strstr(peer->path, "://") != NULL) {
        return cli_usage("doctor", "--peer takes a file of RDMA metadata, and '%s' is a URL",
                         peer->path);
    }
    return cli_doctor_peer(peer);
}

int cli_run_doctor(int argc, char **argv) {
    static const struct option names[] = {
        {"listen", required_argument, NULL, 'l'},
        {"json", no_argument, NULL, 'j'},
        {"peer", required_argument, NULL, 'p'},
        {"transports", required_argument, NULL, 't'},
        {"net-devices", required_argument, NULL, 'd'},
        {"device", required_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct cli_peer_options peer = {0};
    const char *listen = NULL;
    int option;
    while ((option = getopt_long(argc, argv, ":h", names, NULL)) != -1) {
        switch (option) {
        case 'h':
            fputs(help, stdout);
            return cli_flush_stdout();
        case 'l':
            listen = optarg;
            break;
        case 'j':
            peer.json = true;
            break;
        case 'p':
            peer.path = optarg;
            break;
        case 't':
            peer.transports = optarg;
            break;
        case 'd':
            peer.net_devices = optarg;
            break;
        case 'm':
            if (ropeway_device_parse(optarg, &peer.device) != ROPEWAY_OK) {
                return cli_usage("doctor", "%s", ropeway_last_error());
            }
            break;
        default:
            return cli_usage_option("doctor", option, argv);
        }
    }
    if (optind < argc) {
        return cli_usage("doctor", "'%s' is an argument too many", argv[optind]);
    }
    return choose(&peer, listen);
}
