/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what the operating system allows. */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/address.h"
#include "common/text.h"
#include "facts.h"
#include "ports.h"

#define SHM_PATH "/dev/shm"
#define SHM_WANTED ((uint64_t)64 << 20)
#define FILES_WANTED 4096
#define MTU_WANTED 1280

/* Tries what a peer does: a process that is not our ancestor reads our memory. Returns 0, or the
 * errno value of the refusal. UCX allows tracers in the same way, so that Yama's scope 1 passes. */
static int try_foreign_read(void) {
    volatile unsigned char secret = 0xa5;
    int status = 0;
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    pid_t child = fork();
    if (child < 0) {
        return errno;
    }
    if (child == 0) {
        unsigned char copy = 0;
        struct iovec local = {.iov_base = &copy, .iov_len = 1};
        struct iovec remote = {.iov_base = (void *)&secret, .iov_len = 1};
        secret = 0; /* the child's own copy: only the parent's holds the value now */
        if (process_vm_readv(getppid(), &local, 1, &remote, 1, 0) != 1) {
            _exit(errno > 0 && errno < 255 ? errno : 255);
        }
        _exit(copy == 0xa5 ? 0 : 255);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int yama_scope(void) {
    FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    int scope = -1;
    if (file != NULL) {
        if (fscanf(file, "%d", &scope) != 1) {
            scope = -1;
        }
        fclose(file);
    }
    return scope;
}

void cli_doctor_check_cma(struct cli_doctor *doctor) {
    static const char name[] = "memory of other processes";
    int scope = yama_scope();
    int refusal = try_foreign_read();
    char yama[64] = "no Yama";
    if (scope >= 0) {
        snprintf(yama, sizeof yama, "kernel.yama.ptrace_scope is %d", scope);
    }
    if (refusal == 0) {
        cli_doctor_ok(doctor, name, "process_vm_readv works between processes (%s)", yama);
        return;
    }
    cli_doctor_warn(doctor, name,
                    scope >= 2 ? "set kernel.yama.ptrace_scope to 0 or 1 with sysctl"
                               : "run both workers as the same user and, in containers, in one PID "
                                 "namespace, with CAP_SYS_PTRACE or a seccomp profile that allows "
                                 "process_vm_readv",
                    "process_vm_readv is refused: %s (%s); large transfers on the same host need "
                    "a copy more",
                    refusal == 255 ? "wrong data" : cli_errno_text(refusal), yama);
}

void cli_doctor_check_shared_memory(struct cli_doctor *doctor) {
    static const char name[] = "shared memory";
    char probe[] = SHM_PATH "/ropeway-doctor-XXXXXX";
    char room[CLI_SIZE_TEXT], wanted[CLI_SIZE_TEXT];
    struct statvfs space;
    int fd = mkostemp(probe, O_CLOEXEC);
    if (fd < 0 || statvfs(SHM_PATH, &space) != 0) {
        int cause = errno;
        if (fd >= 0) {
            unlink(probe);
            close(fd);
        }
        cli_doctor_fail(doctor, name, "mount a tmpfs on " SHM_PATH " that this user may write",
                        "no file can be made in " SHM_PATH ": %s", cli_errno_text(cause));
        return;
    }
    unlink(probe);
    close(fd);
    uint64_t bytes = (uint64_t)space.f_bavail * space.f_frsize;
    if (bytes < SHM_WANTED) {
        cli_doctor_warn(doctor, name,
                        "enlarge it: 'mount -o remount,size=1G " SHM_PATH "', or --shm-size for a "
                        "container",
                        "%s has %s free; with less than %s a few workers fill it", SHM_PATH,
                        cli_size_text(bytes, room), cli_size_text(SHM_WANTED, wanted));
        return;
    }
    cli_doctor_ok(doctor, name, "%s free in %s", cli_size_text(bytes, room), SHM_PATH);
}

void cli_doctor_check_locked_memory(struct cli_doctor *doctor) {
    static const char name[] = "locked memory";
    bool needed = doctor->facts != NULL && cli_facts_have(doctor->facts, cli_facts_infiniband);
    char text[CLI_SIZE_TEXT] = "unlimited";
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) {
        limit.rlim_cur = 0;
    }
    if (limit.rlim_cur != RLIM_INFINITY) {
        cli_size_text(limit.rlim_cur, text);
    }
    if (needed && limit.rlim_cur != RLIM_INFINITY) {
        cli_doctor_warn(doctor, name,
                        "raise it: 'ulimit -l unlimited', LimitMEMLOCK=infinity in a systemd unit, "
                        "or --ulimit memlock=-1 for a container",
                        "the limit is %s, and RDMA transports pin what they move", text);
        return;
    }
    cli_doctor_ok(doctor, name, "the limit is %s%s", text,
                  needed ? "" : "; no RDMA transport here, so nothing is pinned");
}

void cli_doctor_check_open_files(struct cli_doctor *doctor) {
    static const char name[] = "open files";
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit.rlim_cur = 0;
    }
    if (limit.rlim_cur < FILES_WANTED) {
        cli_doctor_warn(doctor, name,
                        "raise it with 'ulimit -n', or LimitNOFILE= in a systemd unit, when a "
                        "worker has many peers",
                        "the limit is %llu; each peer over TCP takes up to two",
                        (unsigned long long)limit.rlim_cur);
        return;
    }
    cli_doctor_ok(doctor, name, "the limit is %llu", (unsigned long long)limit.rlim_cur);
}

static int mtu_of(const char *interface) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    int mtu = -1;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    if (fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0) {
        mtu = request.ifr_mtu;
    }
    if (fd >= 0) {
        close(fd);
    }
    return mtu;
}

/* Sums up the interfaces that are up. */
struct interfaces {
    unsigned outside; /* addresses of interfaces besides loopback */
    bool loopback;
    int smallest_mtu;
    char text[512];
};

static void add_interface(struct interfaces *sum, const struct ifaddrs *each) {
    size_t used = strlen(sum->text);
    char address[NI_MAXHOST] = "?";
    socklen_t length = each->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                            : sizeof(struct sockaddr_in6);
    int mtu = mtu_of(each->ifa_name);
    getnameinfo(each->ifa_addr, length, address, sizeof address, NULL, 0, NI_NUMERICHOST);
    snprintf(sum->text + used, sizeof sum->text - used, "%s%s %s MTU %d", used > 0 ? ", " : "",
             each->ifa_name, address, mtu);
    if ((each->ifa_flags & IFF_LOOPBACK) != 0) {
        sum->loopback = true;
    } else {
        sum->outside++;
        sum->smallest_mtu =
            sum->smallest_mtu == 0 || mtu < sum->smallest_mtu ? mtu : sum->smallest_mtu;
    }
}

/* The first interface in UCX_NET_DEVICES that this host lacks, or NULL. Names with a colon or a
 * pattern in them are for UCX to judge. */
static const char *missing_device(char *buffer, size_t size) {
    const char *list = getenv("UCX_NET_DEVICES");
    char *rest = NULL;
    snprintf(buffer, size, "%s", list != NULL ? list : "");
    for (char *each = strtok_r(buffer, ",", &rest); each != NULL;
         each = strtok_r(NULL, ",", &rest)) {
        if (strcmp(each, "all") != 0 && strpbrk(each, ":*^[") == NULL &&
            if_nametoindex(each) == 0) {
            return each;
        }
    }
    return NULL;
}

void cli_doctor_check_interfaces(struct cli_doctor *doctor) {
    static const char name[] = "network interfaces";
    struct interfaces sum = {0};
    struct ifaddrs *list = NULL;
    char buffer[512];
    const char *missing = missing_device(buffer, sizeof buffer);
    if (getifaddrs(&list) != 0) {
        cli_doctor_fail(doctor, name, "allow netlink sockets", "they can't be listed: %s",
                        cli_errno_text(errno));
        return;
    }
    for (struct ifaddrs *each = list; each != NULL; each = each->ifa_next) {
        bool up = (each->ifa_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
        int family = each->ifa_addr != NULL ? each->ifa_addr->sa_family : AF_UNSPEC;
        if (up && (family == AF_INET || family == AF_INET6)) {
            add_interface(&sum, each);
        }
    }
    freeifaddrs(list);
    if (missing != NULL) {
        cli_doctor_fail(doctor, name, "name one that is there, or unset the variable",
                        "UCX_NET_DEVICES names '%s', which this host lacks (%s)", missing,
                        sum.text);
    } else if (!sum.loopback) {
        cli_doctor_fail(doctor, name, "bring it up with 'ip link set lo up'",
                        "loopback is down (up: %s)", sum.text[0] != '\0' ? sum.text : "none");
    } else if (sum.outside == 0) {
        cli_doctor_warn(doctor, name, "bring one up when workers on other hosts are to be reached",
                        "none but loopback is up (%s)", sum.text);
    } else if (sum.smallest_mtu < MTU_WANTED) {
        cli_doctor_warn(doctor, name, "raise the MTU, or choose another with UCX_NET_DEVICES",
                        "an MTU of %d makes TCP slow (%s)", sum.smallest_mtu, sum.text);
    } else {
        cli_doctor_ok(doctor, name, "%s", sum.text);
    }
}

void cli_doctor_check_listen(struct cli_doctor *doctor, const char *address) {
    static const char name[] = "listening";
    struct cli_bound bound;
    char error[CLI_SENTENCE_SIZE];
    int fd = cli_address_listen(address, &bound, error);
    if (fd < 0) {
        cli_doctor_fail(doctor, name,
                        "give --listen an address of this host, and a port that is free and, for "
                        "one below 1024, allowed",
                        "%s", error);
        return;
    }
    close(fd);
    cli_doctor_ok(doctor, name, "'ropeway serve --listen %s' can have its port", address);
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
