/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of a server as Prometheus text. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve.h"

/* One of ropeway_stats_t. */
struct metric {
    const char *name;
    const char *type;
    const char *unit;
    const char *help;
    uint64_t value;
};

static void print_head(FILE *out, const char *name, const char *type, const char *help) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Prometheus has units last: ropeway_sent_bytes_total is bytes_sent. */
static void name_metric(const struct metric *metric, char *name, size_t size) {
    bool is_bytes = strcmp(metric->unit, "bytes") == 0;
    const char *rest = is_bytes ? strchr(metric->name, '_') : NULL;
    snprintf(name, size, "ropeway_%s%s%s", rest != NULL ? rest + 1 : metric->name,
             is_bytes ? "_bytes" : "", strcmp(metric->type, "counter") == 0 ? "_total" : "");
}

static void print_connector(FILE *out, const ropeway_stats_t *stats) {
#define COUNTER(name, unit, help) {#name, "counter", unit, help, stats->name},
#define GAUGE(name, unit, help) {#name, "gauge", unit, help, stats->name},
    const struct metric metrics[] = {ROPEWAY_STATS_MAP(COUNTER, GAUGE)};
#undef COUNTER
#undef GAUGE
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        const struct metric *metric = &metrics[i];
        char name[100], help[200];
        name_metric(metric, name, sizeof name);
        snprintf(help, sizeof help, "%c%s.", toupper((unsigned char)metric->help[0]),
                 metric->help + 1);
        print_head(out, name, metric->type, help);
        fprintf(out, "%s %llu\n", name, (unsigned long long)metric->value);
    }
}

static void print_transfers(FILE *out, const struct cli_transfer_counts *counts) {
    static const char *const kinds[] = {"read", "write"};
    print_head(out, "ropeway_transfers_live", "gauge", "Transfers that have not ended, by kind.");
    for (int i = 0; i < 2; i++) {
        fprintf(out, "ropeway_transfers_live{kind=\"%s\"} %llu\n", kinds[i],
                (unsigned long long)counts->live[i]);
    }
    print_head(out, "ropeway_transfers_total", "counter",
               "Transfers that have ended, by kind and outcome.");
    for (int i = 0; i < 2; i++) {
        fprintf(out, "ropeway_transfers_total{kind=\"%s\",outcome=\"complete\"} %llu\n", kinds[i],
                (unsigned long long)counts->complete[i]);
        fprintf(out, "ropeway_transfers_total{kind=\"%s\",outcome=\"failed\"} %llu\n", kinds[i],
                (unsigned long long)counts->failed[i]);
    }
    print_head(out, "ropeway_transfers_refused_total", "counter",
               "Transfers refused because the limit of --max-clients was reached.");
    fprintf(out, "ropeway_transfers_refused_total %llu\n", (unsigned long long)counts->refused);
}

char *cli_serve_metrics(struct cli_server *server) {
    char *text = NULL;
    size_t size;
    ropeway_stats_t stats = {0};
    struct cli_transfer_counts counts;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    ropeway_connector_stats(server->connector, &stats, sizeof stats);
    cli_transfers_count(server->transfers, &counts);
    print_head(out, "ropeway_build_info", "gauge", "Versions of Ropeway and UCX; always 1.");
    fprintf(out, "ropeway_build_info{version=\"%s\",ucx=\"%s\"} 1\n", ropeway_version(),
            ropeway_ucx_version());
    print_head(out, "ropeway_http_requests_total", "counter", "HTTP requests.");
    fprintf(out, "ropeway_http_requests_total %llu\n",
            (unsigned long long)atomic_load(&server->requests));
    print_head(out, "ropeway_nats_requests_total", "counter", "NATS requests.");
    fprintf(out, "ropeway_nats_requests_total %llu\n",
            (unsigned long long)atomic_load(&server->messages));
    print_transfers(out, &counts);
    print_connector(out, &stats);
    if (fclose(out) == 0) {
        return text;
    }
    free(text);
    return NULL;
}
