/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway serve: options, start, and the orderly end. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli.h"
#include "serve.h"
#include "token.h"

#define DEFAULT_LISTEN "127.0.0.1:8470"
#define DEFAULT_CLIENTS 64
#define REPORT_LIMIT_MS 2000 /* how long an end waits for clients to ask for outcomes */
#define STOP_LIMIT_MS 5000
#define DAY_MS 86400000

struct options {
    const char *listen;
    const char *writable;
    const char *token_file;
    const char *transports;
    uint64_t max_clients;
    uint32_t grace_ms;
    uint32_t begin_limit_ms;
    uint32_t stall_limit_ms;
    bool interop;
};

static void print_help(void) {
    printf(
        "Usage: ropeway serve [OPTION]... PATH...\n"
        "Offer files and directories for reading, and take uploads.\n"
        "\n"
        "A file is offered under its base name, a directory as the files below it under their\n"
        "names relative to it. The address is printed on stdout as one line,\n"
        "'ropeway: serving on http://ADDR:PORT/'.\n"
        "\n"
        "  -l, --listen ADDR:PORT     listen here (default %s; port 0 picks a free one)\n"
        "  -w, --writable DIR         take uploads into DIR; they can be read when DIR is among\n"
        "                             the PATHs too\n"
        "  -t, --token-file FILE      ask every request for the token in FILE\n"
        "  -c, --max-clients N        transfers at a time (default %d, at most %d); further\n"
        "                             clients are told to try again later\n"
        "      --grace SECONDS        on SIGTERM or SIGINT, how long to let transfers go on\n"
        "                             (default 10); a second signal ends at once\n"
        "      --begin-limit SECONDS  drop a transfer that its client does not begin in this\n"
        "                             time (default 30)\n"
        "      --stall-limit SECONDS  end a transfer of which no byte moves in this time\n"
        "                             (default 30)\n"
        "      --interop              let stock NIXL programs move the bytes, too; whoever "
        "reaches\n"
        "                             the server's UCX ports can then read and write its memory,\n"
        "                             so only on a network that you trust\n"
        "      --transports LIST      UCX transports to use, as in UCX_TLS, e.g. 'tcp,self'\n"
        "  -h, --help                 show this text\n",
        DEFAULT_LISTEN, DEFAULT_CLIENTS, RW_MAPS_MAX);
}

/* ---- Options ------------------------------------------------------------------ */

/* The exit code, or -1 to go on. */
static int parse_option(int option, struct options *options) {
    switch (option) {
    case 'l':
        options->listen = optarg;
        break;
    case 'w':
        options->writable = optarg;
        break;
    case 't':
        options->token_file = optarg;
        break;
    case 'c':
        if (!rw_parse_number(optarg, 1, RW_MAPS_MAX, &options->max_clients))
            return rw_usage("serve", "--max-clients '%s' is not a number from 1 to %d", optarg,
                            RW_MAPS_MAX);
        break;
    case 'g':
        if (!rw_parse_seconds(optarg, 0, DAY_MS, &options->grace_ms))
            return rw_usage("serve", "--grace '%s' is not a number of seconds", optarg);
        break;
    case 'b':
        if (!rw_parse_seconds(optarg, 1, DAY_MS, &options->begin_limit_ms))
            return rw_usage("serve", "--begin-limit '%s' is not a number of seconds", optarg);
        break;
    case 's':
        if (!rw_parse_seconds(optarg, 1, DAY_MS, &options->stall_limit_ms))
            return rw_usage("serve", "--stall-limit '%s' is not a number of seconds", optarg);
        break;
    case 'i':
        options->interop = true;
        break;
    case 'T':
        options->transports = optarg;
        break;
    }
    return -1;
}

static int parse_options(int argc, char **argv, struct options *options) {
    static const struct option known[] = {{"listen", required_argument, NULL, 'l'},
                                          {"writable", required_argument, NULL, 'w'},
                                          {"token-file", required_argument, NULL, 't'},
                                          {"max-clients", required_argument, NULL, 'c'},
                                          {"grace", required_argument, NULL, 'g'},
                                          {"begin-limit", required_argument, NULL, 'b'},
                                          {"stall-limit", required_argument, NULL, 's'},
                                          {"interop", no_argument, NULL, 'i'},
                                          {"transports", required_argument, NULL, 'T'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option, code = -1;
    while (code < 0 && (option = getopt_long(argc, argv, ":l:w:t:c:h", known, NULL)) != -1) {
        if (option == 'h') {
            print_help();
            return rw_flush_stdout();
        }
        if (option == '?' || option == ':')
            return rw_usage_option("serve", option, argv);
        code = parse_option(option, options);
    }
    if (code < 0 && optind == argc && !options->writable)
        return rw_usage("serve", "a PATH to offer is missing");
    return code;
}

/* ---- Start ----------------------------------------------------------------------- */

static bool take_token(struct rw_server *server, const char *path) {
    if (!path)
        return true;
    char *token = rw_token_read(path);
    if (!token)
        return false;
    crypto_generichash(server->token_hash, sizeof server->token_hash, (unsigned char *)token,
                       strlen(token), NULL, 0);
    server->needs_token = true;
    rw_token_free(token);
    return true;
}

static bool open_writable(struct rw_server *server, const char *path) {
    if (!path)
        return true;
    server->writable = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (server->writable >= 0 && faccessat(server->writable, ".", W_OK | X_OK, AT_EACCESS) == 0)
        return true;
    rw_fail("can't take uploads into '%s': %s; give a directory that may be written", path,
            rw_errno_text(errno));
    return false;
}

static bool open_connector(struct rw_server *server, const struct options *options) {
    ropeway_connector_options_t settings;
    ropeway_connector_options_init(&settings, sizeof settings);
    settings.log = rw_log_line;
    settings.stall_ms = options->stall_limit_ms;
    settings.transports = options->transports;
    settings.interop = options->interop;
    if (ropeway_connector_create(&settings, &server->connector) == ROPEWAY_OK)
        return true;
    rw_fail("%s", ropeway_last_error());
    return false;
}

static bool start_transfers(struct rw_server *server, const struct options *options) {
    int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = wake < 0 ? errno : rw_map_install(wake);
    if (error) {
        rw_fail("can't start the server: %s", rw_errno_text(error));
        return false;
    }
    server->transfers = rw_transfers_create(server->connector, wake, (uint32_t)options->max_clients,
                                            options->begin_limit_ms);
    if (!server->transfers)
        return false;
    server->idle_fd = rw_transfers_change_fd(server->transfers);
    return true;
}

/* Each transfer takes a few descriptors, and so does each connection. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- The end ----------------------------------------------------------------------- */

static bool is_quiet(struct rw_server *server, uint64_t *live, uint64_t *unreported) {
    rw_transfers_pending(server->transfers, live, unreported);
    return *live == 0 && *unreported == 0 && atomic_load(&server->active) == 0;
}

/* Lets transfers end, and their clients learn it, for as long as the grace lasts. Returns how many
 * are left. */
static uint64_t drain(struct rw_server *server, int signals, uint32_t grace_ms) {
    uint64_t live, unreported, count, now = rw_now_ms();
    uint64_t until = now + grace_ms, report_until = 0;
    struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                           {.fd = server->idle_fd, .events = POLLIN}};
    while (!is_quiet(server, &live, &unreported)) {
        now = rw_now_ms();
        if (live == 0 && !report_until)
            report_until = now + REPORT_LIMIT_MS < until ? now + REPORT_LIMIT_MS : until;
        uint64_t end = live == 0 ? report_until : until;
        if (now >= end)
            break;
        poll(fds, 2, (int)(end - now));
        if (fds[0].revents)
            break;
        while (read(server->idle_fd, &count, sizeof count) > 0)
            ;
    }
    return live;
}

static void stop(struct rw_server *server, struct rw_httpd *httpd) {
    if (server->transfers && !rw_transfers_stop(server->transfers, STOP_LIMIT_MS)) {
        /* A disk that hangs, say: its threads still use what would be freed here. */
        fflush(NULL);
        _exit(RW_EXIT_OK);
    }
    rw_httpd_stop(httpd);
    if (server->transfers)
        rw_transfers_destroy(server->transfers);
    ropeway_connector_destroy(server->connector);
    rw_tree_close(server->tree);
    if (server->writable >= 0)
        close(server->writable);
}

static int serve(struct rw_server *server, const struct options *options, int signals) {
    char url[128];
    bool loopback;
    struct rw_httpd *httpd =
        start_transfers(server, options)
            ? rw_httpd_start(server, options->listen, (uint32_t)options->max_clients * 2 + 32, url,
                             sizeof url, &loopback)
            : NULL;
    int code = RW_EXIT_FAILED;
    if (httpd) {
        if (!loopback && !server->needs_token)
            rw_warn("who can reach %s can read all that is offered%s; use '--token-file FILE'", url,
                    server->writable >= 0 ? ", and write" : "");
        printf("ropeway: serving on %s\n", url);
        code = rw_flush_stdout();
    }
    if (code == RW_EXIT_OK) {
        struct signalfd_siginfo received;
        while (read(signals, &received, sizeof received) < 0 && errno == EINTR)
            ;
        rw_transfers_close(server->transfers);
        uint64_t left = drain(server, signals, options->grace_ms);
        if (left)
            rw_warn("ended with %llu transfers unfinished; '--grace SECONDS' gives them more time",
                    (unsigned long long)left);
    }
    stop(server, httpd);
    return code;
}

int rw_cmd_serve(int argc, char **argv) {
    struct options options = {.listen = DEFAULT_LISTEN,
                              .max_clients = DEFAULT_CLIENTS,
                              .grace_ms = 10000,
                              .begin_limit_ms = 30000,
                              .stall_limit_ms = 30000};
    struct rw_server server = {.writable = -1, .idle_fd = -1};
    int code = parse_options(argc, argv, &options);
    if (code >= 0)
        return code;
    if (sodium_init() < 0)
        return rw_fail("can't get random numbers from this system");

    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    /* Before any thread starts: they all inherit it. */
    pthread_sigmask(SIG_BLOCK, &handled, NULL);
    signal(SIGPIPE, SIG_IGN);
    int signals = signalfd(-1, &handled, SFD_CLOEXEC);
    if (signals < 0)
        return rw_fail("can't watch for signals: %s", rw_errno_text(errno));
    raise_descriptor_limit();
    server.tree = rw_tree_open(argv + optind, (size_t)(argc - optind));
    if (server.tree && take_token(&server, options.token_file) &&
        open_writable(&server, options.writable) && open_connector(&server, &options))
        return serve(&server, &options, signals);
    rw_tree_close(server.tree);
    return RW_EXIT_FAILED;
}
