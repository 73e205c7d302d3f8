/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operation and a connection cost in memory: the growth of this process's resident set
 * over many of them, divided by their number. The peers live in a second process.
 *
 * Usage: memory TRANSPORTS ENCRYPTION OPERATIONS PEERS (any: the default transports); prints one
 * JSON object.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "standalone.h"

#define SMALL ((size_t)4096)
#define LARGE ((size_t)4 << 20)
#define OTHERS 8
#define WAIT_MS 60000

static const char *transports, *encryption;

static size_t resident(void) {
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long total = 0, pages = 0;

    if (file == NULL || fscanf(file, "%lu %lu", &total, &pages) != 2) {
        fprintf(stderr, "memory: /proc/self/statm can't be read\n");
        exit(1);
    }
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* The second process: every peer offers a small and a large operation, one line of metadata each,
 * and stays until the first process closes the other pipe. */
static void be_the_peers(size_t peers, FILE *out, int until) {
    char *memory = touched(LARGE);
    size_t i;
    char byte;

    for (i = 0; i < peers; i++) {
        ropeway_connector_t *connector = connect_by(transports, encryption);
        const char *metadata;

        check(ropeway_operation_metadata(offer(connector, memory, SMALL), &metadata), "metadata");
        fprintf(out, "%s\n", metadata);
        check(ropeway_operation_metadata(offer(connector, memory, LARGE), &metadata), "metadata");
        fprintf(out, "%s\n", metadata);
    }
    fclose(out);
    _exit(read(until, &byte, 1) == 0 ? 0 : 1);
}

static char **read_lines(FILE *in, size_t count) {
    char **lines = calloc(count, sizeof(char *));
    size_t i;

    for (i = 0; lines != NULL && i < count; i++) {
        size_t size = 0;

        if (getline(&lines[i], &size, in) < 0) {
            fprintf(stderr, "memory: the second process failed\n");
            exit(1);
        }
    }
    return lines;
}

/* Reads from every peer at once; lines[2 * i + which] is the metadata. */
static void read_all(ropeway_connector_t *connector, char **lines, size_t peers, int which,
                     char *memory, size_t size) {
    ropeway_operation_t **operations = calloc(peers, sizeof(ropeway_operation_t *));
    size_t i;

    for (i = 0; operations != NULL && i < peers; i++) {
        operations[i] =
            begin_read(connector, lines[2 * i + (size_t)which], memory + i * size, size);
    }
    for (i = 0; operations != NULL && i < peers; i++) {
        if (ropeway_operation_wait(operations[i], WAIT_MS) != ROPEWAY_OK) {
            fprintf(stderr, "memory: read %zu: %s\n", i,
                    ropeway_operation_error_text(operations[i]));
            exit(1);
        }
        ropeway_operation_release(operations[i]);
    }
    free(operations);
}

static double each(size_t before, size_t count) {
    size_t now = resident();

    return now > before ? (double)(now - before) / (double)count : 0;
}

static void measure(size_t count, size_t peers, FILE *in) {
    char **lines = read_lines(in, 2 * peers);
    ropeway_operation_t **operations = touched(count * sizeof(ropeway_operation_t *));
    char *memory = touched(peers * LARGE);
    size_t empty = resident();
    ropeway_connector_t *connector = connect_by(transports, encryption);
    double alone = each(empty, 1);
    double connected, busy, created, described, another;
    const char *metadata;
    size_t before, i;

    before = resident();
    for (i = 0; i < OTHERS; i++) {
        connect_by(transports, encryption);
    }
    another = each(before, OTHERS);
    read_all(connector, lines, 1, 0, memory, SMALL);
    before = resident();
    read_all(connector, lines + 2, peers - 1, 0, memory, SMALL);
    connected = each(before, peers - 1);
    read_all(connector, lines, peers, 1, memory, LARGE);
    busy = each(before, peers - 1);

    before = resident();
    for (i = 0; i < count; i++) {
        operations[i] = offer(connector, memory, SMALL);
    }
    created = each(before, count);
    for (i = 0; i < count; i++) {
        check(ropeway_operation_metadata(operations[i], &metadata), "metadata");
    }
    described = each(before, count);
    printf("{\"transports\": \"%s\", \"operations\": %zu, \"peers\": %zu, \"connector\": %.0f, "
           "\"another_connector\": %.0f, "
           "\"connected_peer\": %.0f, \"busy_peer\": %.0f, \"operation\": %.0f, "
           "\"operation_with_metadata\": %.0f, \"metadata\": %zu}\n",
           transports, count, peers, alone, another, connected, busy, created, described,
           strlen(metadata));
}

int main(int argc, char **argv) {
    size_t count = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    size_t peers = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    int lines[2], until[2];
    pid_t child;

    if (count < 1 || peers < 2) {
        fprintf(stderr, "usage: memory TRANSPORTS ENCRYPTION OPERATIONS PEERS (at least 2)\n");
        return 2;
    }
    transports = argv[1];
    encryption = argv[2];
    if (pipe(lines) != 0 || pipe(until) != 0 || (child = fork()) < 0) {
        perror("memory");
        return 1;
    }
    if (child == 0) {
        close(until[1]);
        be_the_peers(peers, fdopen(lines[1], "w"), until[0]);
    }
    close(lines[1]);
    measure(count, peers, fdopen(lines[0], "r"));
    close(until[1]);
    waitpid(child, NULL, 0);
    return 0;
}
