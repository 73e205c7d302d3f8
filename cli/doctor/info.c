/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway info: the facts, and what a transfer would use. */
#include <getopt.h>
#include <stdio.h>

#include <jansson.h>
#include <ropeway.h>

#include "common/cli.h"
#include "common/message.h"
#include "facts.h"

#define LIST_SIZE 512

static const char help[] =
    "Usage: ropeway info [OPTION]...\n"
    "Show versions, transports and devices, and what a transfer would use.\n"
    "\n"
    "  --transports LIST   what connectors with this option would use of UCX, such as rc,self\n"
    "                      (default: streams, and UCX where it is needed)\n"
    "  --net-devices LIST  interfaces and RDMA devices, such as eth0,mlx5_0:1 (default: all)\n"
    "  --json              print one JSON object\n"
    "  -h, --help          show this text\n"
    "\n"
    "UCX chooses by its own estimates for each peer; 'ropeway perf' shows the path that it took.\n";

/* What follows from the facts. */
struct choice {
    char memory[LIST_SIZE];
    char zero_copy[LIST_SIZE];
    char infiniband[LIST_SIZE];
    json_t *tcp;      /* devices */
    json_t *hardware; /* InfiniBand devices of the kernel */
    bool ucx;         /* there is one */
    bool by_ucx;      /* and the transports are its own */
    bool ucx_cuda, driver;
};

static void choose(const json_t *facts, const char *transports, struct choice *choice) {
    cli_facts_list(facts, cli_facts_memory, choice->memory, sizeof choice->memory);
    cli_facts_list(facts, cli_facts_zero_copy, choice->zero_copy, sizeof choice->zero_copy);
    cli_facts_list(facts, cli_facts_infiniband, choice->infiniband, sizeof choice->infiniband);
    choice->tcp = cli_facts_devices(facts, "tcp");
    choice->hardware = cli_facts_infiniband_hardware();
    choice->ucx = cli_facts_have_ucx(facts);
    choice->by_ucx = choice->ucx && transports != NULL;
    choice->ucx_cuda = cli_facts_ucx_has_cuda(facts);
    choice->driver = cli_facts_have_cuda_driver();
}

static void text_same_host(const struct choice *choice, char *text, size_t size) {
    if (!choice->by_ucx) {
        snprintf(text, size, "a Unix socket, and large transfers from memory to memory");
    } else if (json_array_size(choice->tcp) > 0) {
        snprintf(text, size,
                 choice->zero_copy[0] == '\0'
                     ? "TCP%s"
                     : "TCP, and large transfers from memory to memory (%s)",
                 choice->zero_copy);
    } else if (choice->memory[0] == '\0') {
        snprintf(text, size, "nothing");
    } else if (choice->zero_copy[0] == '\0') {
        snprintf(text, size, "shared memory (%s), with a copy on each side", choice->memory);
    } else {
        snprintf(text, size, "shared memory (%s), large transfers without a copy (%s)",
                 choice->memory, choice->zero_copy);
    }
}

static void text_network(const struct choice *choice, char *text, size_t size) {
    char devices[LIST_SIZE];
    cli_facts_join(choice->tcp, devices, sizeof devices);
    if (choice->infiniband[0] != '\0') {
        snprintf(text, size, "InfiniBand or RoCE (%s)%s", choice->infiniband,
                 choice->by_ucx ? "" : ", else TCP by Ropeway itself, with TLS");
    } else if (!choice->by_ucx) {
        snprintf(text, size, "TCP by Ropeway itself, with TLS");
    } else if (json_array_size(choice->tcp) > 0) {
        snprintf(text, size, "TCP over %s", devices);
    } else {
        snprintf(text, size, "nothing");
    }
}

static void text_infiniband(const struct choice *choice, char *text, size_t size) {
    char hardware[LIST_SIZE];
    cli_facts_join(choice->hardware, hardware, sizeof hardware);
    if (!choice->ucx) {
        snprintf(text, size, "not usable without UCX; devices of this host: %s", hardware);
    } else if (choice->infiniband[0] != '\0') {
        snprintf(text, size, "usable: %s; devices of this host: %s", choice->infiniband, hardware);
    } else {
        snprintf(text, size,
                 "this UCX has no InfiniBand transport here (the UCX wheel of PyPI never has one); "
                 "devices of this host: %s; to use RDMA, %s",
                 hardware, cli_facts_site_ucx);
    }
}

static const char *text_cuda(const struct choice *choice) {
    if (choice->ucx_cuda && choice->driver) {
        return "usable: this UCX has its CUDA parts, and a driver is there";
    }
    if (choice->ucx_cuda) {
        return "this UCX has its CUDA parts, but no driver with a device is on this host";
    }
    if (choice->driver) {
        return "a driver is there, but this UCX has no CUDA parts that load; descriptors on cuda:N "
               "are refused; use a UCX built with CUDA";
    }
    return "no driver on this host, and no CUDA parts in use; descriptors on cuda:N are refused";
}

static void print_text(const json_t *facts, const struct choice *choice) {
    const json_t *ucx = json_object_get(facts, "ucx");
    const char *library = json_string_value(json_object_get(ucx, "library"));
    char text[4 * LIST_SIZE];
    const char *key;
    json_t *transport, *value;
    size_t i;
    printf("Ropeway       %s\n", ropeway_version());
    if (choice->ucx) {
        printf("UCX           %s, loaded from %s (%s)\n", ropeway_ucx_version(),
               library != NULL ? library : "an unknown place", cli_facts_why(facts));
    } else {
        printf("UCX           none: %s\n", cli_facts_why(facts));
    }
    json_object_foreach(json_object_get(ucx, "settings"), key, value) {
        printf("              %s=%s\n", key, json_string_value(value));
    }
    cli_facts_join(json_object_get(facts, "memory_types"), text, sizeof text);
    printf("Memory types  %s\n", text);
    json_array_foreach(json_object_get(facts, "transports"), i, transport) {
        const char *name = json_string_value(json_object_get(transport, "name"));
        cli_facts_join(json_object_get(transport, "devices"), text, sizeof text);
        printf("%-13s %-10s %s\n", i == 0 ? "Transports" : "", name != NULL ? name : "?", text);
    }
    text_same_host(choice, text, sizeof text);
    printf("Same host     %s\n", text);
    text_network(choice, text, sizeof text);
    printf("Network       %s\n", text);
    text_infiniband(choice, text, sizeof text);
    printf("InfiniBand    %s\n", text);
    printf("CUDA          %s\n", text_cuda(choice));
}

static void print_json(json_t *facts, const struct choice *choice) {
    char same_host[4 * LIST_SIZE], network[4 * LIST_SIZE], infiniband[4 * LIST_SIZE];
    text_same_host(choice, same_host, sizeof same_host);
    text_network(choice, network, sizeof network);
    text_infiniband(choice, infiniband, sizeof infiniband);
    json_object_set_new(facts, "same_host", json_string(same_host));
    json_object_set_new(facts, "network", json_string(network));
    json_object_set_new(facts, "infiniband",
                        json_pack("{s:b,s:O,s:s}", "usable", choice->infiniband[0] != '\0',
                                  "hardware", choice->hardware, "text", infiniband));
    json_object_set_new(facts, "cuda",
                        json_pack("{s:b,s:b,s:b,s:s}", "usable", choice->ucx_cuda && choice->driver,
                                  "ucx", choice->ucx_cuda, "driver", choice->driver, "text",
                                  text_cuda(choice)));
    json_dumpf(facts, stdout, JSON_INDENT(2));
    putchar('\n');
}

static int show(const char *transports, const char *net_devices, bool json) {
    json_t *facts = cli_facts_load(transports, net_devices);
    struct choice choice;
    if (facts == NULL) {
        return cli_fail("%s", ropeway_last_error());
    }
    choose(facts, transports, &choice);
    if (json) {
        print_json(facts, &choice);
    } else {
        print_text(facts, &choice);
    }
    json_decref(choice.tcp);
    json_decref(choice.hardware);
    json_decref(facts);
    return cli_flush_stdout();
}

int cli_run_info(int argc, char **argv) {
    static const struct option names[] = {
        {"transports", required_argument, NULL, 't'},
        {"net-devices", required_argument, NULL, 'd'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *transports = NULL;
    const char *net_devices = NULL;
    bool json = false;
    int option;
    while ((option = getopt_long(argc, argv, ":h", names, NULL)) != -1) {
        switch (option) {
        case 'h':
            fputs(help, stdout);
            return cli_flush_stdout();
        case 't':
            transports = optarg;
            break;
        case 'd':
            net_devices = optarg;
            break;
        case 'j':
            json = true;
            break;
        default:
            return cli_usage_option("info", option, argv);
        }
    }
    if (optind < argc) {
        return cli_usage("info", "'%s' is an argument too many", argv[optind]);
    }
    return show(transports, net_devices, json);
}
