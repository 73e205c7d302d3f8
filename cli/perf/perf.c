/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway perf: options, and the order of the measurements. */
#include "perf.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli.h"
#include "common/message.h"
#include "common/text.h"

#define MAX_LIST 16
#define MAX_CONCURRENCY (CLI_PERF_MAX_BATCH / 2)

struct options {
    bool server, local, json;
    const char *connect;
    const char *listen;
    char *transports[MAX_LIST + 1];
    size_t sizes[MAX_LIST];
    size_t size_count;
    bool read, write;
    uint64_t concurrency;
    uint32_t seconds_ms, idle_ms;
    uint64_t pending;
    uint32_t spin_us;
    uint32_t flags;
};

static const char help[] =
    "Usage: ropeway perf --local [OPTION]...\n"
    "       ropeway perf --server [--listen ADDR:PORT]\n"
    "       ropeway perf [--connect] HOST:PORT [OPTION]...\n"
    "Measure what reads and writes between two processes cost.\n"
    "\n"
    "  --local             start the server as a second process on this machine\n"
    "  --server            serve clients, one at a time, until SIGTERM; anyone who reaches the\n"
    "                      port may measure, and use 1 GiB of memory\n"
    "  --listen ADDR:PORT  where the server listens (default 127.0.0.1:0; port 0 picks one)\n"
    "  --connect HOST:PORT the server to measure with\n"
    "\n"
    "  --transports LIST   of any (what connectors use by themselves), stream, local, local+pull,\n"
    "                      local+pull+ring, or UCX's names joined by +, as tcp, rc or tcp+cma\n"
    "                      (default: any,stream with --local, else any); each is measured on its\n"
    "                      own\n"
    "  --size LIST         bytes of an operation, as 4096, 64K or 64M, up to 1G\n"
    "                      (default 4K,64K,1M,64M)\n"
    "  --kind KIND         read, write or both (default both)\n"
    "  --concurrency N     operations at a time in the second half of the table, 1 to 512\n"
    "                      (default 16; fewer where N buffers would take more than 256 MiB)\n"
    "  --seconds S         bound of each phase of each case (default 0.5)\n"
    "  --idle S            how long to measure idle processes; 0: not at all (default 2)\n"
    "  --pending N         pending operations on each side of the second idle measurement\n"
    "                      (default 1000)\n"
    "  --spin US           how long both sides poll after activity before they sleep\n"
    "                      (default: the library's)\n"
    "  --integrity         let every operation check its checksum\n"
    "  --json              print one JSON object, times in microseconds\n"
    "  -h, --help          show this text\n"
    "\n"
    "What is timed: 'p50' and 'p99' run from just before begin_read() or begin_write() until\n"
    "wait() has returned, one operation at a time, each with metadata that was made before.\n"
    "'asleep' is the p50 when each operation comes 2 ms after the one before, so that both sides\n"
    "sleep. 'whole' is the p50 from asking the server for one operation (it creates the "
    "operation,\n"
    "and its metadata comes over the control channel) until wait() has returned. 'MB/s' (10^6) is\n"
    "bytes by the summed time of the operations, or, with N at a time, by the wall time from the\n"
    "first begin to the last outcome of each batch. 'cpu' is CPU time of all threads for one\n"
    "operation, on the active side and on the peer's. In every case the first and the last batch\n"
    "are compared byte by byte, outside the timed part.\n";

/* Bytes with an optional K, M or G, also as KiB, MiB and GiB. */
static bool parse_size(const char *text, size_t *size) {
    static const char units[] = "KMG";
    char digits[24];
    size_t length = strspn(text, "0123456789");
    const char *unit = text + length;
    const char *which = *unit != '\0' ? strchr(units, *unit) : NULL;
    unsigned shift = which != NULL ? 10 * (unsigned)(which - units + 1) : 0;
    uint64_t value;
    if (length >= sizeof digits || (*unit != '\0' && which == NULL) ||
        (which != NULL && unit[1] != '\0' && strcmp(unit + 1, "iB") != 0)) {
        return false;
    }
    memcpy(digits, text, length);
    digits[length] = '\0';
    if (!cli_parse_number(digits, 0, CLI_PERF_MAX_SIZE >> shift, &value)) {
        return false;
    }
    *size = (size_t)value << shift;
    return true;
}

static int parse_sizes(struct options *options, char *list) {
    char *rest = NULL;
    options->size_count = 0;
    for (char *each = strtok_r(list, ",", &rest); each != NULL; each = strtok_r(NULL, ",", &rest)) {
        if (options->size_count == MAX_LIST ||
            !parse_size(each, &options->sizes[options->size_count++])) {
            return cli_usage("perf", "--size takes up to %d sizes up to 1G, not '%s'", MAX_LIST,
                             each);
        }
    }
    return options->size_count > 0 ? CLI_GO_ON : cli_usage("perf", "--size is empty");
}

static int parse_transports(struct options *options, char *list) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+";
    char *rest = NULL;
    size_t count = 0;
    for (char *each = strtok_r(list, ",", &rest); each != NULL; each = strtok_r(NULL, ",", &rest)) {
        if (count == MAX_LIST || strlen(each) > 64 || strspn(each, allowed) != strlen(each)) {
            return cli_usage("perf",
                             "--transports takes up to %d names like any, stream or "
                             "rc_mlx5+self, not '%s'",
                             MAX_LIST, each);
        }
        options->transports[count++] = each;
    }
    options->transports[count] = NULL;
    return count > 0 ? CLI_GO_ON : cli_usage("perf", "--transports is empty");
}

static int parse_kind(struct options *options, const char *kind) {
    options->read = strcmp(kind, "write") != 0;
    options->write = strcmp(kind, "read") != 0;
    if ((options->read && options->write) == (strcmp(kind, "both") == 0)) {
        return CLI_GO_ON;
    }
    return cli_usage("perf", "--kind is read, write or both, not '%s'", kind);
}

static int parse_number(const char *name, const char *text, uint64_t min, uint64_t max,
                        uint64_t *value) {
    if (cli_parse_number(text, min, max, value)) {
        return CLI_GO_ON;
    }
    return cli_usage("perf", "--%s is a number from %llu to %llu, not '%s'", name,
                     (unsigned long long)min, (unsigned long long)max, text);
}

static int parse_seconds(const char *name, const char *text, uint32_t min_ms, uint32_t *ms) {
    if (cli_parse_seconds(text, min_ms, 600000, ms)) {
        return CLI_GO_ON;
    }
    return cli_usage("perf", "--%s is a number of seconds from %g to 600, not '%s'", name,
                     min_ms / 1e3, text);
}

static int parse_one(struct options *options, int option) {
    uint64_t value = 0;
    int rc = CLI_GO_ON;
    switch (option) {
    case 't':
        return parse_transports(options, optarg);
    case 's':
        return parse_sizes(options, optarg);
    case 'k':
        return parse_kind(options, optarg);
    case 'n':
        return parse_number("concurrency", optarg, 1, MAX_CONCURRENCY, &options->concurrency);
    case 'T':
        return parse_seconds("seconds", optarg, 1, &options->seconds_ms);
    case 'i':
        return parse_seconds("idle", optarg, 0, &options->idle_ms);
    case 'p':
        return parse_number("pending", optarg, 0, CLI_PERF_MAX_PENDING, &options->pending);
    case 'u':
        rc = parse_number("spin", optarg, 0, 10000000, &value);
        options->spin_us = (uint32_t)value;
        return rc;
    case 'I':
        options->flags |= ROPEWAY_OPERATION_INTEGRITY;
        return CLI_GO_ON;
    case 'j':
        options->json = true;
        return CLI_GO_ON;
    case 'c':
        options->connect = optarg;
        return CLI_GO_ON;
    case 'l':
        options->listen = optarg;
        return CLI_GO_ON;
    case 'L':
        options->local = true;
        return CLI_GO_ON;
    default:
        options->server = true;
        return CLI_GO_ON;
    }
}

static int check(struct options *options, int argc, char **argv) {
    static char any[] = "any", stream[] = "stream";
    if (optind < argc && options->connect == NULL) {
        options->connect = argv[optind++];
    }
    if (optind < argc) {
        return cli_usage("perf", "'%s' is an argument too many", argv[optind]);
    }
    if ((options->connect != NULL) + options->server + options->local != 1) {
        return cli_usage("perf", "choose one of --local, --server and the HOST:PORT of a server");
    }
    if (options->listen != NULL && !options->server) {
        return cli_usage("perf", "--listen goes with --server alone");
    }
    if (options->transports[0] == NULL) {
        options->transports[0] = any;
        options->transports[1] = options->local ? stream : NULL;
    }
    return CLI_GO_ON;
}

/* Returns an exit code, or CLI_GO_ON. */
static int parse(struct options *options, int argc, char **argv) {
    static const struct option names[] = {
        {"local", no_argument, NULL, 'L'},
        {"server", no_argument, NULL, 'S'},
        {"listen", required_argument, NULL, 'l'},
        {"connect", required_argument, NULL, 'c'},
        {"transports", required_argument, NULL, 't'},
        {"size", required_argument, NULL, 's'},
        {"kind", required_argument, NULL, 'k'},
        {"concurrency", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 'T'},
        {"idle", required_argument, NULL, 'i'},
        {"pending", required_argument, NULL, 'p'},
        {"spin", required_argument, NULL, 'u'},
        {"integrity", no_argument, NULL, 'I'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    int rc;
    while ((option = getopt_long(argc, argv, ":h", names, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return cli_flush_stdout();
        }
        rc = option == '?' || option == ':' ? cli_usage_option("perf", option, argv)
                                            : parse_one(options, option);
        if (rc != CLI_GO_ON) {
            return rc;
        }
    }
    return check(options, argc, argv);
}

static bool measure_case(struct cli_perf_session *session, const struct options *options,
                         const char *transport, ropeway_operation_kind_t kind, size_t size,
                         json_t *cases) {
    struct cli_perf_case result = {.transport = transport,
                                   .kind = kind,
                                   .size = size,
                                   .concurrency = options->concurrency,
                                   .seconds = options->seconds_ms / 1e3};
    if (!cli_perf_case_run(session, &result)) {
        return false;
    }
    json_array_append_new(cases, cli_perf_case_json(&result));
    if (!options->json) {
        cli_perf_case_print(&result);
    }
    return true;
}

static bool measure_idle(struct cli_perf_session *session, const struct options *options,
                         const char *transport, size_t pending, json_t *idles) {
    struct cli_perf_idle idle = {.pending = pending, .seconds = options->idle_ms / 1e3};
    if (options->idle_ms == 0) {
        return true;
    }
    if (!cli_perf_idle_run(session, &idle)) {
        return false;
    }
    json_array_append_new(idles, cli_perf_idle_json(transport, &idle));
    if (!options->json) {
        cli_perf_idle_print(transport, &idle);
    }
    return true;
}

static bool measure_session(struct cli_perf_session *session, const struct options *options,
                            const char *transport, json_t *report) {
    json_t *cases = json_object_get(report, "cases");
    json_t *idles = json_object_get(report, "idle");
    for (size_t i = 0; i < options->size_count; i++) {
        if (options->read && !measure_case(session, options, transport, ROPEWAY_OPERATION_READ,
                                           options->sizes[i], cases)) {
            return false;
        }
        if (options->write && !measure_case(session, options, transport, ROPEWAY_OPERATION_WRITE,
                                            options->sizes[i], cases)) {
            return false;
        }
    }
    return measure_idle(session, options, transport, 0, idles) &&
           (options->pending == 0 ||
            measure_idle(session, options, transport, options->pending, idles));
}

static int measure(const struct options *options, const char *address) {
    json_t *report = json_pack("{s:s,s:s,s:[],s:[]}", "ropeway", ropeway_version(), "ucx",
                               ropeway_ucx_version(), "cases", "idle");
    bool done = true;
    if (!options->json) {
        cli_perf_case_heading();
    }
    for (size_t i = 0; options->transports[i] != NULL && done; i++) {
        struct cli_perf_session session;
        done = cli_perf_session_open(&session, address, options->transports[i], NULL,
                                     options->spin_us);
        session.operation_flags = options->flags;
        done = done && measure_session(&session, options, options->transports[i], report);
        if (!done) {
            cli_fail("%s: %s", options->transports[i], session.error);
        }
        cli_perf_session_close(&session);
    }
    if (options->json && done) {
        json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(7));
        putchar('\n');
    }
    json_decref(report);
    return done ? cli_flush_stdout() : CLI_EXIT_FAILED;
}

int cli_run_perf(int argc, char **argv) {
    struct options options = {.read = true,
                              .write = true,
                              .sizes = {4096, 65536, 1048576, 67108864},
                              .size_count = 4,
                              .concurrency = 16,
                              .seconds_ms = 500,
                              .idle_ms = 2000,
                              .pending = 1000,
                              .spin_us = ROPEWAY_INHERIT};
    struct cli_perf_child child = {.pid = -1};
    char error[CLI_SENTENCE_SIZE];
    int rc = parse(&options, argc, argv);
    if (rc != CLI_GO_ON) {
        return rc;
    }
    if (options.server) {
        return cli_perf_serve(options.listen != NULL ? options.listen : "127.0.0.1:0");
    }
    if (options.local && !cli_perf_child_start(&child, error)) {
        return cli_fail("%s", error);
    }
    rc = measure(&options, options.local ? child.address : options.connect);
    cli_perf_child_stop(&child);
    return rc;
}
