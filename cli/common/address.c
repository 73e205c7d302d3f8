/* SPDX-License-Identifier: Apache-2.0 */
/* Listening and connecting: each address that a name stands for is tried in turn. */
#include "address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "text.h"

/* "HOST:PORT" or "[HOST]:PORT" into host. Returns the port's text; NULL: it is neither. */
static const char *split(const char *address, char *host, size_t host_size) {
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (colon == NULL || !cli_parse_number(colon + 1, 0, 65535, &port)) {
        return NULL;
    }
    size_t length = (size_t)(colon - address);
    bool brackets = length >= 2 && address[0] == '[' && colon[-1] == ']';
    if (length >= host_size || (!brackets && memchr(address, ':', length) != NULL)) {
        return NULL;
    }
    snprintf(host, host_size, "%.*s", (int)(length - 2 * brackets), address + brackets);
    return colon + 1;
}

static struct addrinfo *resolve(const char *address, int flags, char text[CLI_SENTENCE_SIZE]) {
    struct addrinfo hints = {.ai_flags = flags | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char host[NI_MAXHOST];
    const char *port = split(address, host, sizeof host);
    if (port == NULL) {
        cli_sentence(text,
                     "'%s' is not an address: write HOST:PORT, and an IPv6 address in brackets, "
                     "as in '[::1]:0'",
                     address);
        return NULL;
    }
    int failed = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &list);
    if (failed != 0) {
        cli_sentence(text, "'%s' can't be resolved: %s; check the host and the port", address,
                     gai_strerror(failed));
        return NULL;
    }
    return list;
}

static bool is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET6) {
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
    }
    /* The analyser does not follow the cast. NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage) */
    return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
}

static socklen_t size_of(const struct sockaddr *address) {
    return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

void cli_address_name(const struct sockaddr *address, char *name, size_t size) {
    char host[NI_MAXHOST], port[8];
    if (getnameinfo(address, size_of(address), host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        strcpy(host, "?");
        strcpy(port, "0");
    }
    snprintf(name, size, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
}

static bool describe(int fd, struct cli_bound *bound) {
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        return false;
    }
    cli_address_name((struct sockaddr *)&address, bound->name, sizeof bound->name);
    bound->is_loopback = is_loopback(&address);
    return true;
}

static bool start_listening(int fd, const struct addrinfo *address) {
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    return bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0;
}

static bool start_connecting(int fd, const struct addrinfo *address) {
    return connect(fd, address->ai_addr, address->ai_addrlen) == 0;
}

/* The first socket with which that works; -1: see errno. */
static int first_socket(const struct addrinfo *list,
                        bool (*start)(int fd, const struct addrinfo *address)) {
    int error = EADDRNOTAVAIL;
    for (const struct addrinfo *each = list; each != NULL; each = each->ai_next) {
        int fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
        if (fd >= 0 && start(fd, each)) {
            return fd;
        }
        error = errno;
        if (fd >= 0) {
            close(fd);
        }
    }
    errno = error;
    return -1;
}

bool cli_address_host_of(const char *address, char host[CLI_ADDRESS_SIZE],
                         char text[CLI_SENTENCE_SIZE]) {
    struct addrinfo *list = resolve(address, AI_PASSIVE, text);
    if (list == NULL) {
        return false;
    }
    cli_address_name(list->ai_addr, host, CLI_ADDRESS_SIZE);
    *strrchr(host, ':') = '\0';
    freeaddrinfo(list);
    return true;
}

int cli_address_listen(const char *address, struct cli_bound *bound, char text[CLI_SENTENCE_SIZE]) {
    struct addrinfo *list = resolve(address, AI_PASSIVE, text);
    if (list == NULL) {
        return -1;
    }
    int fd = first_socket(list, start_listening);
    freeaddrinfo(list);
    if (fd >= 0 && describe(fd, bound)) {
        return fd;
    }
    cli_sentence(
        text, "can't listen on %s: %s; choose an address of this host and a free port, or port 0",
        address, cli_errno_text(errno));
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

int cli_address_connect(const char *address, const char *server, char text[CLI_SENTENCE_SIZE]) {
    struct addrinfo *list = resolve(address, 0, text);
    if (list == NULL) {
        return -1;
    }
    int fd = first_socket(list, start_connecting);
    freeaddrinfo(list);
    if (fd < 0) {
        cli_sentence(text, "can't connect to %s: %s; is '%s' running there?", address,
                     cli_errno_text(errno), server);
    }
    return fd;
}

void cli_address_host(const struct sockaddr *address, char *host, size_t size) {
    char text[NI_MAXHOST] = "?";
    static const char wrapped[] = "::ffff:";
    if (address != NULL) {
        getnameinfo(address, size_of(address), text, sizeof text, NULL, 0, NI_NUMERICHOST);
    }
    bool is_wrapped = strncmp(text, wrapped, strlen(wrapped)) == 0 && strchr(text, '.') != NULL;
    snprintf(host, size, "%s", text + (is_wrapped ? strlen(wrapped) : 0));
}
