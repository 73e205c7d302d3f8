/* SPDX-License-Identifier: Apache-2.0 */
/* RDMA devices in the files of sysfs. */
#include "base/rdma.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACTIVE "4:" /* as the state of a port begins */
#define NAME_MAX_LENGTH 64

typedef char rw_name_t[NAME_MAX_LENGTH];

/* The next entry of a folder that is no "." or ".."; NULL: there is none. */
static const char *next_name(DIR *folder) {
    const struct dirent *entry = NULL;

    while (folder != NULL && (entry = readdir(folder)) != NULL && entry->d_name[0] == '.') {
    }
    return entry != NULL ? entry->d_name : NULL;
}

static void close_folder(DIR *folder) {
    if (folder != NULL) {
        closedir(folder);
    }
}

/* The first line of a file, without its end. */
static bool read_line(const char *path, rw_name_t line) {
    FILE *file = fopen(path, "re");
    bool read = file != NULL && fgets(line, NAME_MAX_LENGTH, file) != NULL;

    if (file != NULL) {
        fclose(file);
    }
    if (read) {
        line[strcspn(line, "\n")] = '\0';
    }
    return read;
}

bool rw_rdma_is_here(const char *folder) {
    DIR *devices = opendir(folder);
    bool is_here = next_name(devices) != NULL;

    close_folder(devices);
    return is_here;
}

/* The number of decimal digits that text begins with, or -1; *text is left behind it. */
static long read_number(const char **text) {
    char *end = NULL;
    long number = **text >= '0' && **text <= '9' ? strtol(*text, &end, 10) : -1;

    *text = number >= 0 ? end : *text;
    return number;
}

/* Whether an entry of a list, which may have a range of numbers in it as UCX takes them,
 * "mlx5_[0-3]:1", is this name. */
static bool is_name(const char *entry, size_t length, const char *name) {
    const char *open = memchr(entry, '[', length), *at = open != NULL ? open + 1 : NULL;
    size_t prefix = open != NULL ? (size_t)(open - entry) : length;
    long first, last, number;

    if (strncmp(entry, name, prefix) != 0) {
        return false;
    }
    name += prefix;
    if (open == NULL) {
        return *name == '\0';
    }
    first = read_number(&at);
    at += *at == '-';
    last = read_number(&at);
    number = read_number(&name);
    if (first < 0 || *at != ']' || number < first || number > last) {
        return false;
    }
    at++;
    return strlen(name) == length - (size_t)(at - entry) && strncmp(at, name, strlen(name)) == 0;
}

/* Whether an entry of net_devices names this port: "DEVICE" or "DEVICE:PORT". */
static bool names(const char *entry, size_t length, const char *device, const char *port) {
    char both[512]; /* as paths have room for */

    snprintf(both, sizeof both, "%s:%s", device, port);
    return is_name(entry, length, device) || is_name(entry, length, both);
}

static bool is_allowed(const char *net_devices, const char *device, const char *port) {
    bool leaves_out = net_devices != NULL && net_devices[0] == '^';
    const char *list = leaves_out ? net_devices + 1 : net_devices;

    if (net_devices == NULL || strcmp(net_devices, "all") == 0) {
        return true;
    }
    for (const char *at = list; *at != '\0'; at += strcspn(at, ","), at += *at == ',') {
        if (names(at, strcspn(at, ","), device, port)) {
            return !leaves_out;
        }
    }
    return leaves_out;
}

static bool has_port_up(const char *folder, const char *device, const char *net_devices) {
    char path[512];
    const char *port;
    bool found = false;
    DIR *ports;

    snprintf(path, sizeof path, "%s/%s/ports", folder, device);
    ports = opendir(path);
    while (!found && (port = next_name(ports)) != NULL) {
        rw_name_t state;

        snprintf(path, sizeof path, "%s/%s/ports/%s/state", folder, device, port);
        found = is_allowed(net_devices, device, port) && read_line(path, state) &&
                strncmp(state, ACTIVE, strlen(ACTIVE)) == 0;
    }
    close_folder(ports);
    return found;
}

bool rw_rdma_is_up(const char *folder, const char *net_devices) {
    DIR *devices = opendir(folder);
    const char *device;
    bool found = false;

    if (net_devices == NULL) {
        net_devices = getenv("UCX_NET_DEVICES"); /* UCX, which uses them, obeys it as well */
    }
    while (!found && (device = next_name(devices)) != NULL) {
        found = has_port_up(folder, device, net_devices);
    }
    close_folder(devices);
    return found;
}

/* The interface of a device's port, which an entry of net_devices names; "": it has none. false:
 * there is no such device. */
static bool find_interface(const char *folder, const char *entry, size_t length,
                           rw_name_t interface) {
    int name = (int)(length > 0 ? strcspn(entry, ",:") : 0);
    int port = (int)length > name + 1 ? (int)length - name - 1 : 0;
    char path[512];
    DIR *device;

    snprintf(path, sizeof path, "%s/%.*s", folder, name, entry);
    device = name > 0 ? opendir(path) : NULL;
    if (device == NULL) {
        return false;
    }
    closedir(device);
    snprintf(path, sizeof path, "%s/%.*s/ports/%.*s/gid_attrs/ndevs/0", folder, name, entry,
             port > 0 ? port : 1, port > 0 ? entry + name + 1 : "1");
    if (!read_line(path, interface)) {
        interface[0] = '\0';
    }
    return true;
}

int rw_rdma_write_interfaces(const char *folder, const char *net_devices, char *text, size_t size) {
    size_t used = 0;

    if (net_devices == NULL || net_devices[0] == '^') {
        return snprintf(text, size, "all");
    }
    text[0] = '\0';
    for (const char *at = net_devices; *at != '\0' && used < size; at += *at == ',') {
        size_t length = strcspn(at, ",");
        const char *name = at;
        rw_name_t interface;

        if (find_interface(folder, at, length, interface)) {
            name = interface;
        }
        at += length;
        if (name != interface || interface[0] != '\0') {
            used += (size_t)snprintf(text + used, size - used, "%s%.*s", used > 0 ? "," : "",
                                     (int)(name == interface ? strlen(name) : length), name);
        }
    }
    return used > 0 || net_devices[0] == '\0' ? (int)used : snprintf(text, size, "all");
}
