/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway serve: start, and the orderly end. */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "channel/token.h"
#include "common/address.h"
#include "common/api.h"
#include "common/cli.h"
#include "common/clock.h"
#include "common/event.h"
#include "common/interrupt.h"
#include "common/local.h"
#include "common/map.h"
#include "common/message.h"
#include "common/text.h"
#include "options.h"

#define REPORT_LIMIT_MS 2000 /* how long an end waits for clients to ask for outcomes */
#define STOP_LIMIT_MS 5000
#define CLI_DATA_LISTEN_SIZE (CLI_ADDRESS_SIZE + 16)

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

/* Lets the bytes come to the address that requests come to, by one port if one was chosen. false:
 * it said why. */
static bool choose_data_port(const struct cli_serve_options *options,
                             ropeway_connector_options_t *settings,
                             char listen[CLI_DATA_LISTEN_SIZE]) {
    char host[CLI_ADDRESS_SIZE], text[CLI_SENTENCE_SIZE];
    const char *port = options->data_port != NULL ? options->data_port : "0";
    if (options->data_port != NULL) {
        settings->transports = "stream,local,pull,ring";
    }
    settings->advertise = options->data_advertise;
    if (options->http.listen != NULL) {
        if (cli_local_path(options->http.listen) != NULL) {
            strcpy(host, "127.0.0.1");
        } else if (!cli_address_host_of(options->http.listen, host, text)) {
            cli_fail("%s", text);
            return false;
        }
        snprintf(listen, CLI_DATA_LISTEN_SIZE, "%s:%s", host, port);
        settings->listen = listen;
    } else if (strcmp(port, "0") != 0) { /* requests come by NATS alone */
        settings->listen = port;
    }
    return true;
}

static bool open_connector(struct cli_server *server, const struct cli_serve_options *options) {
    ropeway_connector_options_t settings;
    char listen[CLI_DATA_LISTEN_SIZE];
    ropeway_connector_options_init(&settings, sizeof settings);
    settings.log = cli_log_line;
    settings.stall_ms = options->limits.stall_ms;
    settings.transports = options->transports;
    settings.interop = options->interop;
    if (!choose_data_port(options, &settings, listen)) {
        return false;
    }
    if (ropeway_connector_create(&settings, &server->connector) == ROPEWAY_OK) {
        return true;
    }
    cli_fail("%s", ropeway_last_error());
    return false;
}

static bool start_transfers(struct cli_server *server, const struct cli_serve_options *options) {
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
    cli_health_destroy(server->health);
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
    const char *colon = cli_local_path(http->listen) == NULL ? strrchr(http->listen, ':') : NULL;
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
static int open_channels(struct cli_server *server, struct cli_serve_options *options,
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
    if (!cli_health_start(server->health, channels->httpd != NULL ? bound.name : NULL)) {
        return CLI_EXIT_FAILED;
    }
    if (channels->httpd != NULL) {
        bool local = cli_local_path(bound.name) != NULL;
        printf("ropeway: serving on %s%s%s/\n", local ? "" : "http://", bound.name,
               local ? ":" : "");
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

static int serve(struct cli_server *server, struct cli_serve_options *options, int signals) {
    struct channels channels = {0};
    server->health = cli_health_create();
    int code = server->health != NULL && start_transfers(server, options)
                   ? open_channels(server, options, &channels)
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
    struct cli_serve_options options;
    struct cli_server server = {.writable = -1, .idle_fd = -1};
    int code = cli_serve_options(argc, argv, &options);
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
