/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway serve: options, start, and the orderly end. */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "channel/token.h"
#include "channel/url.h"
#include "common/address.h"
#include "common/api.h"
#include "common/cli.h"
#include "common/clock.h"
#include "common/event.h"
#include "common/interrupt.h"
#include "common/map.h"
#include "common/message.h"
#include "common/text.h"

#define DEFAULT_LISTEN "127.0.0.1:8470"
#define DEFAULT_SUBJECT "ropeway"
#define DEFAULT_CLIENTS 64
#define REPORT_LIMIT_MS 2000 /* how long an end waits for clients to ask for outcomes */
#define STOP_LIMIT_MS 5000
#define DEFAULT_RATE 1024 /* bytes per second */
#define DAY_MS 86400000

struct options {
    struct cli_httpd_options http;
    struct cli_natsd_options nats;
    const char *writable;
    const char *token_file;
    const char *transports;
    uint64_t max_clients;
    uint32_t grace_ms;
    struct cli_transfer_limits limits;
    uint32_t deadline_ms;
    bool interop;
    bool log_as_json;
};

static void print_help(void) {
    printf(
        "Usage: ropeway serve [OPTION]... PATH...\n"
        "Offer files and directories for reading, and take uploads.\n"
        "\n"
        "A file is offered under its base name, a directory as the files below it under their\n"
        "names relative to it. Requests come by HTTP, by NATS or by both. The address of each is\n"
        "printed on stdout as one line, 'ropeway: serving on http://ADDR:PORT/' or\n"
        "'ropeway: serving on nats://HOST:PORT/PREFIX/'.\n"
        "\n"
        "  -l, --listen ADDR:PORT     listen here for HTTP (default %s, or not at all\n"
        "                             with '--nats'; port 0 picks a free one)\n"
        "      --allow-host NAME      a further name that requests may call the server by, and "
        "whose\n"
        "                             pages may use it; '*': all\n"
        "  -n, --nats URL             take requests from the NATS server at\n"
        "                             nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]; tls:// asks for "
        "TLS\n"
        "  -s, --subject PREFIX       their subjects are PREFIX.list, PREFIX.read and so on\n"
        "                             (default %s); servers with one PREFIX share its requests,\n"
        "                             and must offer the same files\n"
        "      --nats-creds FILE      log in there with a credentials file\n"
        "      --tls-ca FILE          trust the certificates in FILE (PEM), and use TLS with NATS\n"
        "      --tls-cert FILE, --tls-key FILE\n"
        "                             show the NATS server this certificate\n"
        "  -w, --writable DIR         take uploads into DIR; they can be read when DIR is among\n"
        "                             the PATHs too\n"
        "  -t, --token-file FILE      ask every request for the token in FILE (or in the "
        "environment\n"
        "                             variable ROPEWAY_TOKEN)\n"
        "  -c, --max-clients N        transfers at a time (default %d, at most %d); further\n"
        "                             clients are told to try again later\n"
        "      --grace SECONDS        on SIGTERM or SIGINT, how long to let transfers go on\n"
        "                             (default 10); a second signal ends at once\n"
        "      --begin-limit SECONDS  drop a transfer that its client does not begin in this\n"
        "                             time (default 30)\n"
        "      --stall-limit SECONDS  end a transfer of which no byte moves in this time\n"
        "                             (default 30)\n"
        "      --min-rate N           end a transfer that moves less than N bytes a second, over\n"
        "                             the time of --stall-limit (default %d)\n"
        "      --deadline SECONDS     end a transfer that is not done in this time (default: "
        "none)\n"
        "      --interop              let stock NIXL programs move the bytes, too; whoever "
        "reaches\n"
        "                             the server's UCX ports can then read and write its memory,\n"
        "                             so only on a network that you trust\n"
        "      --log-format FORMAT    text or json: how stderr tells of each transfer and refusal\n"
        "                             (default text)\n"
        "      --transports LIST      UCX transports to use, as in UCX_TLS, e.g. 'tcp,self'\n"
        "  -h, --help                 show this text\n",
        DEFAULT_LISTEN, DEFAULT_SUBJECT, DEFAULT_CLIENTS, CLI_MAPS_MAX, DEFAULT_RATE);
}

/* ---- Options ------------------------------------------------------------------ */

static int allow_host(struct cli_hosts *hosts, const char *name) {
    if (hosts->count == CLI_HOSTS_MAX || name[0] == '\0') {
        return cli_usage("serve", "--allow-host takes a name, up to %d times", CLI_HOSTS_MAX);
    }
    hosts->names[hosts->count++] = name;
    hosts->allowed = hosts->count;
    return CLI_GO_ON;
}

/* The exit code, or CLI_GO_ON. */
static int parse_option(int option, struct options *options) {
    if (cli_credentials_option(option, optarg, &options->nats.credentials)) {
        return CLI_GO_ON;
    }
    switch (option) {
    case 'l':
        options->http.listen = optarg;
        break;
    case 'n':
        options->nats.url = optarg;
        break;
    case 's':
        options->nats.subject = optarg;
        break;
    case 'w':
        options->writable = optarg;
        break;
    case 't':
        options->token_file = optarg;
        break;
    case 'c':
        if (!cli_parse_number(optarg, 1, CLI_MAPS_MAX, &options->max_clients)) {
            return cli_usage("serve", "--max-clients '%s' is not a number from 1 to %d", optarg,
                             CLI_MAPS_MAX);
        }
        break;
    case 'g':
        if (!cli_parse_seconds(optarg, 0, DAY_MS, &options->grace_ms)) {
            return cli_usage("serve", "--grace '%s' is not a number of seconds", optarg);
        }
        break;
    case 'b':
        if (!cli_parse_seconds(optarg, 1, DAY_MS, &options->limits.begin_ms)) {
            return cli_usage("serve", "--begin-limit '%s' is not a number of seconds", optarg);
        }
        break;
    case 'S':
        if (!cli_parse_seconds(optarg, 1, DAY_MS, &options->limits.stall_ms)) {
            return cli_usage("serve", "--stall-limit '%s' is not a number of seconds", optarg);
        }
        break;
    case 'i':
        options->interop = true;
        break;
    case 'T':
        options->transports = optarg;
        break;
    case 'r':
        if (!cli_parse_number(optarg, 0, UINT32_MAX, &options->limits.rate)) {
            return cli_usage("serve", "--min-rate '%s' is not a number of bytes per second",
                             optarg);
        }
        break;
    case 'd':
        if (!cli_parse_seconds(optarg, 1, 30U * DAY_MS, &options->deadline_ms)) {
            return cli_usage("serve", "--deadline '%s' is not a number of seconds", optarg);
        }
        break;
    case 'H':
        return allow_host(&options->http.hosts, optarg);
    case 'L':
        options->log_as_json = strcmp(optarg, "json") == 0;
        if (!options->log_as_json && strcmp(optarg, "text") != 0) {
            return cli_usage("serve", "--log-format '%s' is neither text nor json", optarg);
        }
        break;
    }
    return CLI_GO_ON;
}

static int check_nats(struct options *options) {
    struct cli_natsd_options *nats = &options->nats;
    const struct cli_credentials *credentials = &nats->credentials;
    if (nats->url == NULL &&
        (nats->subject != NULL || credentials->nats_creds != NULL || credentials->tls_ca != NULL ||
         credentials->tls_cert != NULL || credentials->tls_key != NULL)) {
        return cli_usage("serve", "--subject and the options for credentials are for NATS, and "
                                  "--nats URL is missing");
    }
    if (!cli_credentials_check(credentials, "serve")) {
        return CLI_EXIT_USAGE;
    }
    if (nats->url == NULL && options->http.listen == NULL) {
        options->http.listen = DEFAULT_LISTEN;
    }
    if (nats->subject == NULL) {
        nats->subject = DEFAULT_SUBJECT;
    }
    const char *wrong = cli_subject_check(nats->subject);
    if (wrong != NULL) {
        return cli_usage("serve", "--subject '%s' can't be used: it %s", nats->subject, wrong);
    }
    return CLI_GO_ON;
}

static int parse_options(int argc, char **argv, struct options *options) {
    static const struct option known[] = {{"listen", required_argument, NULL, 'l'},
                                          {"nats", required_argument, NULL, 'n'},
                                          {"subject", required_argument, NULL, 's'},
                                          CLI_CREDENTIALS_LONG_OPTIONS,
                                          {"writable", required_argument, NULL, 'w'},
                                          {"token-file", required_argument, NULL, 't'},
                                          {"max-clients", required_argument, NULL, 'c'},
                                          {"grace", required_argument, NULL, 'g'},
                                          {"begin-limit", required_argument, NULL, 'b'},
                                          {"stall-limit", required_argument, NULL, 'S'},
                                          {"min-rate", required_argument, NULL, 'r'},
                                          {"deadline", required_argument, NULL, 'd'},
                                          {"interop", no_argument, NULL, 'i'},
                                          {"transports", required_argument, NULL, 'T'},
                                          {"allow-host", required_argument, NULL, 'H'},
                                          {"log-format", required_argument, NULL, 'L'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option, code = CLI_GO_ON;
    while (code == CLI_GO_ON &&
           (option = getopt_long(argc, argv, ":l:n:s:w:t:c:h", known, NULL)) != -1) {
        if (option == 'h') {
            print_help();
            return cli_flush_stdout();
        }
        if (option == '?' || option == ':') {
            return cli_usage_option("serve", option, argv);
        }
        code = parse_option(option, options);
    }
    if (code == CLI_GO_ON && optind == argc && options->writable == NULL) {
        return cli_usage("serve", "a PATH to offer is missing");
    }
    return code == CLI_GO_ON ? check_nats(options) : code;
}

/* ---- Start ----------------------------------------------------------------------- */

static bool take_token(struct cli_server *server, const char *path) {
    char *token;
    if (!cli_token_load(path, &token)) {
        return false;
    }
    server->needs_token = token != NULL;
    if (token != NULL) {
        crypto_generichash(server->token_hash, sizeof server->token_hash, (unsigned char *)token,
                           strlen(token), NULL, 0);
    }
    cli_token_free(token);
    return true;
}

static bool open_writable(struct cli_server *server, const char *path) {
    if (path == NULL) {
        return true;
    }
    server->writable = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (server->writable >= 0 && faccessat(server->writable, ".", W_OK | X_OK, AT_EACCESS) == 0) {
        return true;
    }
    cli_fail("can't take uploads into '%s': %s; give a directory that may be written", path,
             cli_errno_text(errno));
    return false;
}

static bool open_connector(struct cli_server *server, const struct options *options) {
    ropeway_connector_options_t settings;
    ropeway_connector_options_init(&settings, sizeof settings);
    settings.log = cli_log_line;
    settings.stall_ms = options->limits.stall_ms;
    settings.transports = options->transports;
    settings.interop = options->interop;
    if (ropeway_connector_create(&settings, &server->connector) == ROPEWAY_OK) {
        return true;
    }
    cli_fail("%s", ropeway_last_error());
    return false;
}

static bool start_transfers(struct cli_server *server, const struct options *options) {
    int wake = cli_event_create();
    if (wake < 0 || !cli_map_outlive_faults(wake)) {
        cli_fail("can't start the server: %s", cli_errno_text(errno));
        return false;
    }
    struct cli_transfer_limits limits = options->limits;
    limits.max_clients = server->max_clients;
    limits.total_ms = options->deadline_ms;
    limits.begin_shows = !options->interop;
    server->transfers = cli_transfers_create(server->connector, wake, &limits);
    if (server->transfers == NULL) {
        return false;
    }
    server->idle_fd = cli_transfers_change_fd(server->transfers);
    return true;
}

static void make_id(struct cli_server *server) {
    unsigned char random[(CLI_SERVER_ID_SIZE - 1) / 2];
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(server->id, sizeof server->id, random, sizeof random);
}

/* Each transfer takes a few descriptors, and so does each connection. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- The end ----------------------------------------------------------------------- */

static bool is_quiet(struct cli_server *server, uint64_t *live, uint64_t *unreported) {
    cli_transfers_pending(server->transfers, live, unreported);
    return *live == 0 && *unreported == 0 && atomic_load(&server->active) == 0;
}

/* Lets transfers end, and their clients learn it, for as long as the grace lasts. Returns how many
 * are left. */
static uint64_t drain(struct cli_server *server, int signals, uint32_t grace_ms) {
    uint64_t live, unreported, now = cli_now_ms();
    uint64_t until = now + grace_ms, report_until = 0;
    struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                           {.fd = server->idle_fd, .events = POLLIN}};
    while (!is_quiet(server, &live, &unreported)) {
        now = cli_now_ms();
        if (live == 0 && report_until == 0) {
            report_until = now + REPORT_LIMIT_MS < until ? now + REPORT_LIMIT_MS : until;
        }
        uint64_t end = live == 0 ? report_until : until;
        if (now >= end) {
            break;
        }
        poll(fds, 2, (int)(end - now));
        if (fds[0].revents != 0) {
            break;
        }
        cli_event_clear(server->idle_fd);
    }
    return live;
}

/* The channels that bring requests; NULL: not asked for. */
struct channels {
    struct cli_httpd *httpd;
    struct cli_natsd *natsd;
};

static void stop(struct cli_server *server, struct channels *channels) {
    bool stopped =
        server->transfers == NULL || cli_transfers_stop(server->transfers, STOP_LIMIT_MS);
    if (!stopped || !cli_natsd_stop(channels->natsd)) {
        /* A disk that hangs, say: its threads still use what would be freed here. */
        cli_log_flush();
        fflush(NULL);
        _exit(CLI_EXIT_OK);
    }
    cli_httpd_stop(channels->httpd);
    cli_health_stop(server->health);
    if (server->transfers != NULL) {
        cli_transfers_destroy(server->transfers);
    }
    ropeway_connector_destroy(server->connector);
    cli_tree_close(server->tree);
    if (server->writable >= 0) {
        close(server->writable);
    }
}

/* Which names lead to this server. */
static void name_hosts(struct cli_httpd_options *http, char host[256]) {
    struct cli_hosts *hosts = &http->hosts;
    const char *colon = strrchr(http->listen, ':');
    size_t length = colon != NULL ? (size_t)(colon - http->listen) : 0;
    if (gethostname(hosts->machine, sizeof hosts->machine - 1) != 0) {
        hosts->machine[0] = '\0';
    }
    if (length > 0 && length < 256) {
        memcpy(host, http->listen, length);
        host[length] = '\0';
        hosts->names[hosts->count++] = host;
    }
}

/* Opens the channels and prints their URLs. */
static int open_channels(struct cli_server *server, struct options *options,
                         struct channels *channels) {
    static char host[256];
    struct cli_bound bound;
    char nats_url[512];
    if (options->http.listen != NULL) {
        name_hosts(&options->http, host);
        options->http.max_connections = server->max_clients * 2 + 32;
        channels->httpd = cli_httpd_start(server, &options->http, &bound);
        if (channels->httpd == NULL) {
            return CLI_EXIT_FAILED;
        }
        if (!bound.is_loopback && !server->needs_token) {
            cli_warn("who can reach http://%s/ can read all that is offered%s; use '--token-file "
                     "FILE'",
                     bound.name, server->writable >= 0 ? ", and write" : "");
        }
    }
    if (options->nats.url != NULL) {
        channels->natsd = cli_natsd_start(server, &options->nats, nats_url, sizeof nats_url);
        if (channels->natsd == NULL) {
            return CLI_EXIT_FAILED;
        }
    }
    server->health = cli_health_start(channels->httpd != NULL ? bound.name : NULL);
    if (server->health == NULL) {
        return CLI_EXIT_FAILED;
    }
    if (channels->httpd != NULL) {
        printf("ropeway: serving on http://%s/\n", bound.name);
    }
    if (channels->natsd != NULL) {
        printf("ropeway: serving on %s\n", nats_url);
    }
    return cli_flush_stdout();
}

/* Waits until the server is told to end, or has lost its channel. */
static int wait_for_end(const struct channels *channels, int signals) {
    struct signalfd_siginfo received;
    struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                           {.fd = cli_natsd_lost_fd(channels->natsd), .events = POLLIN}};
    do {
        if (poll(fds, 2, -1) > 0 && fds[1].revents != 0) {
            return CLI_EXIT_FAILED;
        }
    } while (fds[0].revents == 0 || read(signals, &received, sizeof received) < 0);
    return CLI_EXIT_OK;
}

static int serve(struct cli_server *server, struct options *options, int signals) {
    struct channels channels = {0};
    int code = start_transfers(server, options) ? open_channels(server, options, &channels)
                                                : CLI_EXIT_FAILED;
    if (code == CLI_EXIT_OK) {
        code = wait_for_end(&channels, signals);
        cli_natsd_leave(channels.natsd);
        cli_transfers_close(server->transfers);
        uint64_t left = drain(server, signals, options->grace_ms);
        if (left != 0) {
            cli_warn("ended with %llu transfers unfinished; '--grace SECONDS' gives them more time",
                     (unsigned long long)left);
        }
    }
    stop(server, &channels);
    cli_log_flush();
    return code;
}

int cli_run_serve(int argc, char **argv) {
    struct options options = {
        .max_clients = DEFAULT_CLIENTS,
        .grace_ms = 10000,
        .limits = {.begin_ms = 30000, .stall_ms = 30000, .rate = DEFAULT_RATE}};
    struct cli_server server = {.writable = -1, .idle_fd = -1};
    int code = parse_options(argc, argv, &options);
    if (code != CLI_GO_ON) {
        return code;
    }
    if (sodium_init() < 0) {
        return cli_fail("can't get random numbers from this system");
    }

    cli_log_start(options.log_as_json);
    signal(SIGHUP, SIG_IGN); /* there is nothing to read again, and the log is a stream */
    /* Before any thread starts: they all inherit it. */
    int signals = cli_interrupt_watch();
    if (signals < 0) {
        return CLI_EXIT_FAILED;
    }
    raise_descriptor_limit();
    server.max_clients = (uint32_t)options.max_clients;
    make_id(&server);
    server.tree = cli_tree_open(argv + optind, (size_t)(argc - optind));
    if (server.tree != NULL && take_token(&server, options.token_file) &&
        open_writable(&server, options.writable) && open_connector(&server, &options)) {
        return serve(&server, &options, signals);
    }
    cli_tree_close(server.tree);
    return CLI_EXIT_FAILED;
}
