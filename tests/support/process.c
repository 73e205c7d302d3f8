/* SPDX-License-Identifier: Apache-2.0 */
/* What a process uses and prints, and the clock of tests. */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TS_SANITIZED true
#endif
#endif
#ifndef TS_SANITIZED
#define TS_SANITIZED false
#endif

static int saved_fds[2] = {-1, -1};
static int capture_fd = -1;

static double seconds(clockid_t clock) {
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

double ts_now(void) {
    return seconds(CLOCK_MONOTONIC);
}

double ts_cpu_seconds(void) {
    return seconds(CLOCK_PROCESS_CPUTIME_ID);
}

bool ts_sanitized(void) {
    return TS_SANITIZED;
}

size_t ts_scaled(size_t count, size_t minimum) {
    const char *text = getenv("ROPEWAY_TEST_SCALE");
    double scale = text != NULL ? atof(text) : TS_SANITIZED ? 0.1 : 1.0;
    size_t scaled = (size_t)((double)count * scale);
    return scaled < minimum ? minimum : scaled;
}

uint64_t ts_seed(void) {
    const char *text = getenv("ROPEWAY_TEST_SEED");
    uint64_t seed = 0;
    if (text != NULL) {
        seed = strtoull(text, NULL, 0);
    } else if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        seed = (uint64_t)time(NULL);
    }
    printf("ROPEWAY_TEST_SEED=%" PRIu64 "\n", seed);
    fflush(stdout);
    return seed;
}

uint64_t ts_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t count_entries(const char *path) {
    size_t count = 0;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return 0;
    }
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count - 2;
}

ts_usage_t ts_usage(pid_t pid) {
    ts_usage_t usage = {0};
    char path[64];
    if (pid == 0) {
        pid = getpid();
    }
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    usage.descriptors = count_entries(path) - (pid == getpid() ? 1 : 0);
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    usage.threads = count_entries(path);
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        unsigned long size = 0, resident = 0;
        if (fscanf(file, "%lu %lu", &size, &resident) == 2) {
            usage.resident = (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
        }
        fclose(file);
    }
    return usage;
}

bool ts_usage_back(const ts_usage_t *before, ts_usage_t *after) {
    double end = ts_now() + TS_BOUND_MS / 3000.0;
    for (;;) {
        *after = ts_usage(0);
        if (after->descriptors <= before->descriptors && after->threads <= before->threads) {
            return true;
        }
        if (ts_now() > end) {
            return false;
        }
        poll(NULL, 0, 2);
    }
}

void ts_capture_begin(void) {
    fflush(stdout);
    fflush(stderr);
    capture_fd = memfd_create("captured-output", MFD_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        saved_fds[i] = dup(i + 1);
        if (capture_fd < 0 || saved_fds[i] < 0 || dup2(capture_fd, i + 1) < 0) {
            perror("capture of the output");
            abort();
        }
    }
}

char *ts_capture_end(void) {
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 2; i++) {
        dup2(saved_fds[i], i + 1);
        close(saved_fds[i]);
    }
    char *text = ts_read_all(capture_fd);
    close(capture_fd);
    return text;
}

char *ts_read_all(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        st.st_size = 0;
    }
    char *text = calloc(1, (size_t)st.st_size + 1);
    if (text != NULL && st.st_size > 0 && pread(fd, text, (size_t)st.st_size, 0) < 0) {
        snprintf(text, (size_t)st.st_size, "%s", strerror(errno));
    }
    return text;
}
