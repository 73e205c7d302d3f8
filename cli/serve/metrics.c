/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of a server as Prometheus text. */
#include <stdio.h>
#include <stdlib.h>

#include "serve.h"

struct metric {
    const char *name;
    const char *type;
    const char *help;
    uint64_t value;
};

static void print_head(FILE *out, const char *name, const char *type, const char *help) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_connector(FILE *out, const ropeway_stats_t *stats) {
    const struct metric metrics[] = {
        {"ropeway_operations_created_total", "counter", "Operations created.",
         stats->operations_created},
        {"ropeway_operations_completed_total", "counter", "Operations that ended complete.",
         stats->operations_completed},
        {"ropeway_operations_cancelled_total", "counter", "Operations that ended cancelled.",
         stats->operations_cancelled},
        {"ropeway_operations_errored_total", "counter", "Operations that ended in an error.",
         stats->operations_errored},
        {"ropeway_operations_live", "gauge", "Operations that have not ended.",
         stats->operations_live},
        {"ropeway_sent_bytes_total", "counter", "Payload bytes sent.", stats->bytes_sent},
        {"ropeway_received_bytes_total", "counter", "Payload bytes received.",
         stats->bytes_received},
        {"ropeway_inflight_bytes", "gauge", "Payload bytes in flight.", stats->bytes_inflight},
        {"ropeway_peers", "gauge", "Connections to peers that are open.", stats->peers},
        {"ropeway_peers_created_total", "counter", "Connections to peers ever opened.",
         stats->peers_created},
        {"ropeway_peers_failed_total", "counter",
         "Connections to peers that broke or were closed by force.", stats->peers_failed},
        {"ropeway_requests_rejected_total", "counter", "Requests of peers that failed a check.",
         stats->requests_rejected},
        {"ropeway_messages_dropped_total", "counter", "Late or malformed messages of peers.",
         stats->messages_dropped},
        {"ropeway_wakeups_total", "counter", "Times that the progress thread woke from sleep.",
         stats->wakeups},
        {"ropeway_queues", "gauge", "Peers with a queue in shared memory.", stats->queues},
        {"ropeway_registered_bytes", "gauge", "Memory registered ahead of operations.",
         stats->memory_registered},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        print_head(out, metrics[i].name, metrics[i].type, metrics[i].help);
        fprintf(out, "%s %llu\n", metrics[i].name, (unsigned long long)metrics[i].value);
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
