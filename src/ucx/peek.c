/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the release out of a library's file. It is a string that ucp_get_version_string() gives:
 * the one text of three numbers among the constants. */
#include "ucx/peek.h"

#include <ctype.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct file {
    const uint8_t *bytes;
    size_t size;
} file_t;

static bool map_file(const char *path, file_t *file) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    void *bytes = MAP_FAILED;

    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
        (size_t)status.st_size > sizeof(ElfW(Ehdr))) {
        bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        *file = (file_t){bytes, (size_t)status.st_size};
    }
    if (fd >= 0) {
        close(fd);
    }
    return bytes != MAP_FAILED;
}

/* Whether it is of the kind of the library that asks. */
static bool is_ours(const file_t *file) {
    const ElfW(Ehdr) *head = (const ElfW(Ehdr) *)file->bytes, *ours;
    extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

    ours = &__ehdr_start;
    return memcmp(head->e_ident, ELFMAG, SELFMAG) == 0 &&
           head->e_ident[EI_CLASS] == ours->e_ident[EI_CLASS] &&
           head->e_ident[EI_DATA] == ours->e_ident[EI_DATA] && head->e_machine == ours->e_machine &&
           head->e_type == ET_DYN;
}

static bool holds(const file_t *file, uint64_t offset, uint64_t size) {
    return offset <= file->size && size <= file->size - offset;
}

/* The section of constants. */
static bool find_constants(const file_t *file, file_t *constants) {
    const ElfW(Ehdr) *head = (const ElfW(Ehdr) *)file->bytes;
    const ElfW(Shdr) * sections, *names;

    if (head->e_shentsize != sizeof *sections || head->e_shstrndx >= head->e_shnum ||
        head->e_shoff % _Alignof(ElfW(Shdr)) != 0 ||
        !holds(file, head->e_shoff, (uint64_t)head->e_shnum * sizeof *sections)) {
        return false;
    }
    sections = (const ElfW(Shdr) *)(file->bytes + head->e_shoff);
    names = &sections[head->e_shstrndx];
    for (unsigned i = 0; i < head->e_shnum && holds(file, names->sh_offset, names->sh_size); i++) {
        const ElfW(Shdr) *section = &sections[i];

        if (section->sh_type == SHT_PROGBITS && section->sh_name < names->sh_size &&
            names->sh_size - section->sh_name >= sizeof ".rodata" &&
            memcmp(file->bytes + names->sh_offset + section->sh_name, ".rodata",
                   sizeof ".rodata") == 0 &&
            holds(file, section->sh_offset, section->sh_size)) {
            *constants = (file_t){file->bytes + section->sh_offset, section->sh_size};
            return true;
        }
    }
    return false;
}

static bool is_part(uint8_t byte) {
    return isdigit(byte) || byte == '.';
}

/* The text of digits and dots that ends before this NUL. */
static bool read_release(const file_t *constants, size_t nul, rw_ucx_release_t *release) {
    size_t begin = nul;
    char rest;

    while (begin > 0 && is_part(constants->bytes[begin - 1])) {
        begin--;
    }
    return nul - begin >= 5 && nul - begin < 16 &&
           sscanf((const char *)constants->bytes + begin, "%u.%u.%u%c", &release->major,
                  &release->minor, &release->patch, &rest) == 3;
}

bool rw_ucx_peek(const char *path, rw_ucx_release_t *release) {
    file_t file, constants;
    unsigned found = 0;

    if (!map_file(path, &file)) {
        return false;
    }
    if (is_ours(&file) && find_constants(&file, &constants)) {
        for (size_t i = 1; i < constants.size && found < 2; i++) {
            if (constants.bytes[i] == '\0' && isdigit(constants.bytes[i - 1])) {
                found += read_release(&constants, i, release);
            }
        }
    }
    munmap((void *)file.bytes, file.size);
    return found == 1;
}

bool rw_ucx_is_library(const char *path) {
    file_t file;
    bool is;

    if (!map_file(path, &file)) {
        return false;
    }
    is = is_ours(&file);
    munmap((void *)file.bytes, file.size);
    return is;
}

bool rw_ucx_are_same(const char *one, const char *other) {
    struct stat a, b;

    return stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}
