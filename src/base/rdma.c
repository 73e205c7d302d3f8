/* SPDX-License-Identifier: Apache-2.0 */
/* RDMA devices in the files of sysfs. */
#include "base/rdma.h"

#include <dirent.h>
#include <stdio.h>
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

/* Whether an entry of net_devices names this port: "DEVICE" or "DEVICE:PORT". */
static bool names(const char *entry, size_t length, const char *device, const char *port) {
    size_t name = strlen(device);

    if (length < name || strncmp(entry, device, name) != 0) {
        return false;
    }
    return length == name || (entry[name] == ':' && length - name - 1 == strlen(port) &&
                              strncmp(entry + name + 1, port, strlen(port)) == 0);
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
