/* SPDX-License-Identifier: Apache-2.0 */
/* The options of ropeway serve, and its help text. */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "channel/url.h"
#include "common/cli.h"
#include "common/map.h"
#include "common/message.h"
#include "common/text.h"

#define DEFAULT_LISTEN "127.0.0.1:8470"
#define DEFAULT_SUBJECT "ropeway"
#define DEFAULT_CLIENTS 64
#define DEFAULT_RATE 1024 /* bytes per second */
#define MONTH_MS (30U * 86400000U)

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
        "                             with '--nats'; port 0 picks a free one); 'unix:PATH': at a\n"
        "                             Unix socket, for processes of the same user\n"
        "      --allow-host NAME      a further name that requests may call the server by, and "
        "whose\n"
        "                             pages may use it; '*': all\n"
        "      --data-port PORT       the bytes go by a TCP port of the same address, encrypted\n"
        "                             except on this host: by this one (default: any), and by UCX\n"
        "                             with stock peers only; PORT-PORT: by the first that is free\n"
        "      --data-advertise LIST  clients connect to these for the bytes: ADDR or ADDR:PORT, "
        "with\n"
        "                             commas (for NAT, and in containers)\n"
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
        "      --transports LIST      what moves the bytes instead: as 'local,pull', or UCX's\n"
        "                             transports as in UCX_TLS, e.g. 'rc,self'\n"
        "  -h, --help                 show this text\n",
        DEFAULT_LISTEN, DEFAULT_SUBJECT, DEFAULT_CLIENTS, CLI_MAPS_MAX, DEFAULT_RATE);
}

static int allow_host(struct cli_hosts *hosts, const char *name) {
    if (hosts->count == CLI_HOSTS_MAX || name[0] == '\0') {
        return cli_usage("serve", "--allow-host takes a name, up to %d times", CLI_HOSTS_MAX);
    }
    hosts->names[hosts->count++] = name;
    hosts->allowed = hosts->count;
    return CLI_GO_ON;
}

/* The options that are times, none above a month; false: it is another one. */
static bool find_time(int option, struct cli_serve_options *options, const char **name,
                      uint32_t *min_ms, uint32_t **ms) {
    const struct {
        const char *name;
        uint32_t *ms;
        int option;
        uint32_t min_ms;
    } times[] = {
        {"--grace", &options->grace_ms, 'g', 0},
        {"--begin-limit", &options->limits.begin_ms, 'b', 1},
        {"--stall-limit", &options->limits.stall_ms, 'S', 1},
        {"--deadline", &options->deadline_ms, 'd', 1},
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        if (times[i].option == option) {
            *name = times[i].name;
            *min_ms = times[i].min_ms;
            *ms = times[i].ms;
            return true;
        }
    }
    return false;
}

/* The options that are numbers or words with a meaning of their own. An exit code, or CLI_GO_ON. */
static int parse_value(int option, struct cli_serve_options *options) {
    const char *name;
    uint32_t min_ms, *ms;
    if (find_time(option, options, &name, &min_ms, &ms)) {
        return cli_parse_seconds(optarg, min_ms, MONTH_MS, ms)
                   ? CLI_GO_ON
                   : cli_usage("serve", "%s '%s' is not a number of seconds", name, optarg);
    }
    switch (option) {
    case 'c':
        if (!cli_parse_number(optarg, 1, CLI_MAPS_MAX, &options->max_clients)) {
            return cli_usage("serve", "--max-clients '%s' is not a number from 1 to %d", optarg,
                             CLI_MAPS_MAX);
        }
        break;
    case 'r':
        if (!cli_parse_number(optarg, 0, UINT32_MAX, &options->limits.rate)) {
            return cli_usage("serve", "--min-rate '%s' is not a number of bytes per second",
                             optarg);
        }
        break;
    case 'L':
        options->log_as_json = strcmp(optarg, "json") == 0;
        if (!options->log_as_json && strcmp(optarg, "text") != 0) {
            return cli_usage("serve", "--log-format '%s' is neither text nor json", optarg);
        }
        break;
    case 'H':
        return allow_host(&options->http.hosts, optarg);
    }
    return CLI_GO_ON;
}

/* An exit code, or CLI_GO_ON. */
static int parse_option(int option, struct cli_serve_options *options) {
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
    case 'i':
        options->interop = true;
        break;
    case 'T':
        options->transports = optarg;
        break;
    case 'P':
        options->data_port = optarg;
        break;
    case 'A':
        options->data_advertise = optarg;
        break;
    default:
        return parse_value(option, options);
    }
    return CLI_GO_ON;
}

static int check_nats(struct cli_serve_options *options) {
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

/* "PORT" or "PORT-PORT". */
static bool is_port_range(const char *text) {
    char first[8];
    const char *dash = strchr(text, '-');
    size_t length = dash != NULL ? (size_t)(dash - text) : strlen(text);
    uint64_t low, high;
    if (length >= sizeof first) {
        return false;
    }
    snprintf(first, sizeof first, "%.*s", (int)length, text);
    return cli_parse_number(first, dash != NULL, 65535, &low) &&
           (dash == NULL || (cli_parse_number(dash + 1, 1, 65535, &high) && low <= high));
}

static int check_data(const struct cli_serve_options *options) {
    const char *named = options->data_port != NULL ? "--data-port" : "--data-advertise";
    if (options->data_port != NULL && !is_port_range(options->data_port)) {
        return cli_usage("serve", "--data-port '%s' is neither a port nor PORT-PORT",
                         options->data_port);
    }
    if ((options->data_port != NULL || options->data_advertise != NULL) &&
        options->transports != NULL) {
        return cli_usage("serve", "%s has transports of its own; leave --transports out", named);
    }
    return CLI_GO_ON;
}

int cli_serve_options(int argc, char **argv, struct cli_serve_options *options) {
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
                                          {"data-port", required_argument, NULL, 'P'},
                                          {"data-advertise", required_argument, NULL, 'A'},
                                          {"allow-host", required_argument, NULL, 'H'},
                                          {"log-format", required_argument, NULL, 'L'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int option, code = CLI_GO_ON;
    *options = (struct cli_serve_options){
        .max_clients = DEFAULT_CLIENTS,
        .grace_ms = 10000,
        .limits = {.begin_ms = 30000, .stall_ms = 30000, .rate = DEFAULT_RATE}};
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
    if (code == CLI_GO_ON) {
        code = check_data(options);
    }
    return code == CLI_GO_ON ? check_nats(options) : code;
}
