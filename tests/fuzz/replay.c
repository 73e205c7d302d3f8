/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds files to a fuzz target, in builds without libFuzzer: a corpus is a test as well.
 * usage: TARGET DIRECTORY... */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

#define LONGEST ((size_t)1 << 20)

static void feed(const char *directory, const char *name) {
    char path[4096];
    uint8_t *bytes = malloc(LONGEST);
    uint8_t *exact;
    FILE *file;
    size_t length;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "re");
    FUZZ_CHECK(bytes != NULL && file != NULL);
    length = fread(bytes, 1, LONGEST, file);
    FUZZ_CHECK(feof(file));
    fclose(file);
    exact = realloc(bytes, length > 0 ? length : 1);
    FUZZ_CHECK(exact != NULL);
    LLVMFuzzerTestOneInput(exact, length);
    free(exact);
}

static size_t feed_all(const char *directory) {
    DIR *files = opendir(directory);
    size_t count = 0;

    FUZZ_CHECK(files != NULL);
    for (struct dirent *file; (file = readdir(files)) != NULL;) {
        if (file->d_name[0] != '.') {
            feed(directory, file->d_name);
            count++;
        }
    }
    closedir(files);
    return count;
}

int main(int argc, char **argv) {
    size_t count = 0;

    for (int i = 1; i < argc; i++) {
        count += feed_all(argv[i]);
    }
    printf("%zu inputs\n", count);
    return count > 0 ? 0 : 1;
}
