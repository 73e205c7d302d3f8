/* SPDX-License-Identifier: Apache-2.0 */
/* Reads sysfs: docs of the kernel, ABI/stable/sysfs-class-infiniband. */
#include "ports.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICES "/sys/class/infiniband"
#define VERBS "/sys/class/infiniband_verbs"
#define PATH_SIZE 512
#define MAPPED "0000:0000:0000:0000:0000:ffff:" /* an IPv4 address */

/* The first line of a file, cut at size; "" when it can't be read. */
static void read_line(char *line, size_t size, const char *path) {
    FILE *file = fopen(path, "re");
    line[0] = '\0';
    if (file != NULL) {
        if (fgets(line, (int)size, file) == NULL) {
            line[0] = '\0';
        }
        fclose(file);
    }
    line[strcspn(line, "\n")] = '\0';
}

static const char *next_name(DIR *folder) {
    const struct dirent *entry = NULL;
    while (folder != NULL && (entry = readdir(folder)) != NULL && entry->d_name[0] == '.') {
    }
    return entry != NULL ? entry->d_name : NULL;
}

/* How good an address is for peers; 0: it is none. */
static int rank(const char *gid, const char *type) {
    bool is_none = strspn(gid, "0:") == strlen(gid);
    bool is_local = strncmp(gid, "fe80:", 5) == 0;
    bool routes = strcmp(type, "RoCE v2") == 0;
    if (is_none) {
        return 0;
    }
    return 1 + 2 * routes + (routes && strncmp(gid, MAPPED, strlen(MAPPED)) == 0) + !is_local;
}

/* The address that UCX is likely to choose: one that can be routed, of IPv4 first. */
static void choose_gid(struct cli_port *port, const char *folder) {
    char path[PATH_SIZE], gid[CLI_PORT_TEXT], type[CLI_PORT_TEXT];
    const char *index;
    int best = 0;
    snprintf(path, sizeof path, "%.400s/gids", folder);
    DIR *gids = opendir(path);
    while ((index = next_name(gids)) != NULL) {
        snprintf(path, sizeof path, "%.400s/gids/%.10s", folder, index);
        read_line(gid, sizeof gid, path);
        snprintf(path, sizeof path, "%.400s/gid_attrs/types/%.10s", folder, index);
        read_line(type, sizeof type, path);
        int number = atoi(index), found = rank(gid, type);
        if (found > best || (found > 0 && found == best && number < port->gid_index)) {
            best = found;
            port->gid_index = number;
            memcpy(port->gid, gid, sizeof gid);
            memcpy(port->gid_type, type, sizeof type);
        }
    }
    if (gids != NULL) {
        closedir(gids);
    }
}

static void find_interface(struct cli_port *port, const char *folder) {
    char path[PATH_SIZE], line[CLI_PORT_TEXT];
    snprintf(path, sizeof path, "%.400s/gid_attrs/ndevs/%d", folder,
             port->gid_index >= 0 ? port->gid_index : 0);
    read_line(port->interface, sizeof port->interface, path);
    snprintf(path, sizeof path, "/sys/class/net/%s/mtu", port->interface);
    read_line(line, sizeof line, path);
    port->mtu = strtol(line, NULL, 10);
}

/* Programs speak to a device through this file. */
static void find_file(struct cli_port *port, const char *device) {
    char path[PATH_SIZE], line[CLI_PORT_TEXT];
    const char *name;
    DIR *verbs = opendir(VERBS);
    while (port->file[0] == '\0' && (name = next_name(verbs)) != NULL) {
        snprintf(path, sizeof path, VERBS "/%.200s/ibdev", name);
        read_line(line, sizeof line, path);
        if (strcmp(line, device) == 0) {
            snprintf(port->file, sizeof port->file, "/dev/infiniband/%.40s", name);
            port->file_error = access(port->file, R_OK | W_OK) == 0 ? 0 : errno;
        }
    }
    if (verbs != NULL) {
        closedir(verbs);
    }
}

static void read_port(struct cli_port *port, const char *device, const char *number) {
    char folder[PATH_SIZE], path[PATH_SIZE], line[CLI_PORT_TEXT];
    *port = (struct cli_port){.gid_index = -1};
    snprintf(port->name, sizeof port->name, "%.60s:%.10s", device, number);
    snprintf(folder, sizeof folder, DEVICES "/%.60s/ports/%.10s", device, number);
    snprintf(path, sizeof path, "%.400s/state", folder);
    read_line(line, sizeof line, path); /* "4: ACTIVE" */
    const char *colon = strchr(line, ':');
    snprintf(port->state, sizeof port->state, "%s",
             colon != NULL ? colon + 1 + strspn(colon + 1, " ") : "unknown");
    port->active = strcmp(port->state, "ACTIVE") == 0;
    snprintf(path, sizeof path, "%.400s/link_layer", folder);
    read_line(line, sizeof line, path);
    port->ethernet = strcmp(line, "Ethernet") == 0;
    snprintf(path, sizeof path, "%.400s/rate", folder);
    read_line(port->rate, sizeof port->rate, path);
    choose_gid(port, folder);
    find_interface(port, folder);
    find_file(port, device);
}

void cli_ports_each(void (*take)(const struct cli_port *port, void *argument), void *argument) {
    char path[PATH_SIZE];
    const char *device, *number;
    DIR *devices = opendir(DEVICES);
    while ((device = next_name(devices)) != NULL) {
        snprintf(path, sizeof path, DEVICES "/%.60s/ports", device);
        DIR *ports = opendir(path);
        while ((number = next_name(ports)) != NULL) {
            struct cli_port port;
            read_port(&port, device, number);
            take(&port, argument);
        }
        if (ports != NULL) {
            closedir(ports);
        }
    }
    if (devices != NULL) {
        closedir(devices);
    }
}
