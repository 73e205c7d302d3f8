/* SPDX-License-Identifier: Apache-2.0 */
/* Which UCX is loaded, and what is said when none can be. A process loads one for good, so every
 * case is a process of its own. */
#include "ucx/find.h"
#include "ucx/peek.h"
#include "ucx/ucx.h"
#include "ucx/verbs.h"
#include "unit.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/ropeway-ucx-XXXXXX";

/* ---- places ---- */

/* Path below the folder of this test. */
static const char *below(const char *path) {
    static char full[4][PATH_MAX];
    static unsigned turn;
    char *result = full[turn++ % 4];

    snprintf(result, PATH_MAX, "%s/%s", folder, path);
    return result;
}

/* Makes the folders above the path, and a link there. */
static void put(const char *target, const char *path) {
    char full[PATH_MAX];

    snprintf(full, sizeof full, "%s", below(path));
    for (char *slash = strchr(full + strlen(folder) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    assert_int_equal(symlink(target, full), 0);
}

/* A wheel as those of nixl are, and what a system has; any library will do. */
static void put_wheel_with_verbs(void) {
    put(UNIT_POOR_UCX, "wheel/libucp-0a1b2c3d.so.0.0.0");
    put(UNIT_OLD_UCX, "wheel/libibverbs-1de1263b.so.1.14.48.0");
    put(UNIT_OLD_UCX, "wheel/libmlx5-79ef1d27.so.1.24.48.0");
    put(UNIT_OLD_UCX, "wheel/libnl-route-3-3ad497a3.so.200.26.0");
    put(UNIT_OLD_UCX, "wheel/ucx/libuct_ib.so.0.0.0");
    put(UNIT_SILENT_UCX, "system/libibverbs.so.1");
    put(UNIT_SILENT_UCX, "system/libnl-route-3.so.200");
    put("/etc/passwd", "broken/libibverbs.so.1");
    put(UNIT_POOR_UCX, "plain/libucp.so.0");
}

static int make_folder(void **state) {
    (void)state;
    unsetenv("ROPEWAY_UCX");
    unsetenv("UCX_MODULES");
    assert_non_null(mkdtemp(folder));
    put("/nowhere", "empty/file");
    put(UNIT_OLD_UCX, "old/lib/libucp.so.0");
    put(UNIT_SILENT_UCX, "silent/lib/libucp.so.0");
    put(UNIT_POOR_UCX, "poor/libucp.so.0");
    put(UNIT_OLD_UCX, "site-old/libucx/lib/libucp.so.0");
    put(UNIT_UCX, "site-good/libucx/lib");
    put(UNIT_POOR_UCX, "site-nixl/nixl_cu12.libs/libucp-0a1b2c3d.so.0.0.0");
    put_wheel_with_verbs();
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    return unit_remove_folder(folder);
}

/* ---- a process ---- */

/* What a process says of its try: what it loaded, or "error: " and the sentence. */
typedef char said_t[2048];

static void prefer(const char *const *sites, size_t count) {
    const char *full[4];

    for (size_t i = 0; i < count; i++) {
        full[i] = below(sites[i]);
    }
    assert_true(rw_ucx_prefer_packages(full, count));
}

static void load_and_say(int out) {
    if (rw_ucx_load() == ROPEWAY_OK) {
        dprintf(out, "%s %s: %s", ropeway_ucx_version(), rw_ucx_library(), rw_ucx_why());
    } else {
        dprintf(out, "error: %s", ropeway_last_error());
    }
}

typedef struct try {
    const char *choice;       /* ROPEWAY_UCX; NULL: none */
    const char *mapped;       /* loaded before; NULL: nothing */
    const char *const *sites; /* ends with NULL; NULL: it is no Python */
    uint32_t interop;
}
try_t;

/* Runs it in a process of its own. */
static void apart(void (*run)(const try_t *try, int out), const try_t *try, said_t said) {
    size_t length = 0;
    ssize_t got;
    int ends[2], status;
    pid_t child;

    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        if (try->choice != NULL) {
            setenv("ROPEWAY_UCX", try->choice, 1);
        }
        run(try, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    while ((got = read(ends[0], said + length, sizeof(said_t) - 1 - length)) > 0) {
        length += (size_t)got;
    }
    said[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void load(const try_t *try, int out) {
    size_t count = 0;

    while (try->sites != NULL && try->sites[count] != NULL) {
        count++;
    }
    if (try->mapped != NULL && dlopen(try->mapped, RTLD_NOW | RTLD_LOCAL) == NULL) {
        dprintf(out, "%s", dlerror());
        _exit(1);
    }
    prefer(try->sites, count);
    load_and_say(out);
}

static void try_load(const char *choice, const char *mapped, const char *const *sites,
                     said_t said) {
    const try_t try = {.choice = choice, .mapped = mapped, .sites = sites};

    apart(load, &try, said);
}

static void assert_says(const char *said, const char *piece) {
    if (strstr(said, piece) == NULL) {
        fail_msg("\"%s\" has no \"%s\"", said, piece);
    }
}

/* ---- what is said ---- */

static void nothing_is_loaded_before_it_is_needed(void **state) {
    (void)state;
    assert_string_equal(ropeway_ucx_version(), "");
    assert_string_equal(rw_ucx_library(), "");
    assert_null(dlopen("libucp.so.0", RTLD_NOLOAD | RTLD_LAZY));
}

static void a_choice_that_leads_nowhere_is_named(void **state) {
    said_t said;

    (void)state;
    try_load(below("empty"), NULL, NULL, said);
    assert_says(said, "error: UCX 1.22 or newer is needed, and ROPEWAY_UCX=/tmp/");
    assert_says(said, "empty leads to none: nothing was found there");
    try_load(below("empty/file"), NULL, NULL, said);
    assert_says(said, "nothing was found there");
    try_load("nixl", NULL, (const char *[]){"site-good", NULL}, said);
    assert_says(said, "ROPEWAY_UCX=nixl leads to none");
    try_load("/bin/sh", NULL, NULL, said);
    assert_says(said, "ROPEWAY_UCX=/bin/sh leads to none: /bin/sh");
}

static void one_that_is_too_old_is_refused_with_both_releases(void **state) {
    said_t said;

    (void)state;
    try_load(below("old"), NULL, NULL, said);
    assert_says(said, "error: UCX 1.22 or newer is needed");
    assert_says(said, "old/lib/libucp.so.0 is UCX 1.13.1");
    try_load(below("silent"), NULL, NULL, said);
    assert_says(said, "silent/lib/libucp.so.0 is UCX 1.13.1");
}

static void a_file_tells_its_release_without_being_loaded(void **state) {
    rw_ucx_release_t release;

    (void)state;
    assert_true(rw_ucx_peek(UNIT_OLD_UCX, &release));
    assert_int_equal(release.minor, 13);
    assert_true(rw_ucx_peek(UNIT_UCX "/libucp.so.0", &release));
    assert_int_equal(release.major, 1);
    assert_true(release.minor >= RW_UCX_MINOR_NEEDED);
    assert_false(rw_ucx_peek(UNIT_SILENT_UCX, &release));
    assert_false(rw_ucx_peek("/proc/self/cmdline", &release));
    assert_false(rw_ucx_peek(folder, &release));
    assert_false(rw_ucx_is_library("/etc/passwd"));
    assert_null(dlopen(UNIT_OLD_UCX, RTLD_NOLOAD | RTLD_LAZY));
}

static void a_missing_function_is_named(void **state) {
    said_t said;

    (void)state;
    try_load(below("poor"), NULL, NULL, said);
    assert_says(said, "poor/libucp.so.0, UCX 1.99.1, lacks ucp_am_recv_data_nbx");
}

static void what_to_install_is_said_where_nothing_is_chosen(void **state) {
    said_t said;

    (void)state;
    try_load(NULL, UNIT_OLD_UCX, (const char *[]){"site-old", NULL}, said);
    if (strstr(said, "error: ") != NULL) { /* the dynamic linker knows none either */
        assert_says(said, "site-old/libucx/lib/libucp.so.0 is UCX 1.13.1");
        assert_says(said, "pip install 'ropeway[ucx]'");
    }
}

/* ---- what is chosen ---- */

static void a_prefix_a_folder_and_a_library_can_be_chosen(void **state) {
    said_t said;

    (void)state;
    for (int i = 0; i < 3; i++) {
        static const char *const forms[] = {UNIT_UCX "/..", UNIT_UCX, UNIT_UCX "/libucp.so.0"};

        try_load(forms[i], NULL, NULL, said);
        assert_says(said, "1.");
        assert_says(said, "/libucp.so.0: ROPEWAY_UCX asks for it");
    }
    try_load("wheel", NULL, (const char *[]){"site-good", NULL}, said);
    assert_says(said, "site-good/libucx/lib/libucp.so.0: ROPEWAY_UCX asks for it");
}

static void the_dynamic_linkers_is_found(void **state) {
    said_t said;

    (void)state;
    try_load("system", NULL, NULL, said);
    assert_says(said, "libucp.so.0: ROPEWAY_UCX asks for it");
    try_load(NULL, NULL, NULL, said);
    assert_says(said, "libucp.so.0: the dynamic linker finds it");
}

static void packages_come_first_in_a_python(void **state) {
    said_t said;

    (void)state;
    try_load(NULL, NULL, (const char *[]){"empty", "site-good", NULL}, said);
    assert_says(said, "site-good/libucx/lib/libucp.so.0: it is in the libucx wheel");
}

static void what_can_not_be_used_is_passed_over(void **state) {
    said_t said;

    (void)state;
    try_load(NULL, NULL, (const char *[]){"site-old", "site-nixl", "site-good", NULL}, said);
    assert_says(said, "site-good/libucx/lib/libucp.so.0: it is in the libucx wheel");
}

static void one_that_the_process_has_is_taken_and_none_put_beside_it(void **state) {
    said_t said;

    (void)state;
    try_load(NULL, UNIT_UCX "/libucp.so.0", (const char *[]){"site-good", NULL}, said);
    assert_says(said, "libucp.so.0: the process has it already");
    try_load(below("old"), UNIT_UCX "/libucp.so.0", NULL, said);
    assert_says(said, "error: ");
    assert_says(said, "old/lib/libucp.so.0 can't be used beside ");
}

/* ---- a wheel with verbs libraries of its own ---- */

#define LEAD "lead" /* the first argument of a process that shows what becomes of one */

/* The links of a folder and of the one in it, one a line with what it leads to. */
static void list(const char *path, const char *prefix) {
    DIR *files = opendir(path);

    for (const struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        char target[PATH_MAX], below_it[PATH_MAX];
        ssize_t length = readlinkat(dirfd(files), file->d_name, target, sizeof target - 1);

        if (length > 0) {
            printf("%s%s %.*s\n", prefix, file->d_name, (int)length, target);
        } else if (file->d_name[0] != '.') {
            snprintf(below_it, sizeof below_it, "%.2000s/%s", path, file->d_name);
            list(below_it, "ucx/");
        }
    }
    if (files != NULL) {
        closedir(files);
    }
}

static int lead(const char *path) {
    char led[PATH_MAX], beside[PATH_MAX + 32], *slash;

    if (!rw_ucx_verbs_lead(path, led)) {
        puts("not led");
        return 0;
    }
    slash = strrchr(led, '/');
    *slash = '\0';
    printf("%s\n", slash + 1);
    list(led, "");
    /* Where UCX looks for its configuration. */
    snprintf(beside, sizeof beside, "%s/../etc/ucx/ucx.conf", led);
    puts(access(beside, F_OK) == 0 ? "a configuration" : "no configuration");
    rw_ucx_verbs_undo();
    puts(access(led, F_OK) == 0 ? "there" : "gone");
    return 0;
}

/* In a program of its own: the dynamic linker reads its variables at the start. */
static void exec_lead(const try_t *try, int out) {
    setenv("LD_LIBRARY_PATH", try->mapped, 1);
    setenv("TMPDIR", below("temporary"), 1);
    unsetenv("ROPEWAY_UCX");
    dup2(out, STDOUT_FILENO);
    execl("/proc/self/exe", "unit_ucx_load", LEAD, try->choice, NULL);
    _exit(1);
}

/* With the system's libraries in this folder. */
static void try_lead(const char *folder_of_system, const char *libucp, said_t said) {
    char choice[PATH_MAX], mapped[PATH_MAX];
    const try_t try = {.choice = choice, .mapped = mapped};

    snprintf(choice, sizeof choice, "%s", below(libucp));
    snprintf(mapped, sizeof mapped, "%s", below(folder_of_system));
    mkdir(below("temporary"), 0700);
    /* What anybody can put into a folder for temporary files. */
    put("/etc/passwd", "temporary/etc/ucx/ucx.conf");
    apart(exec_lead, &try, said);
    unlink(below("temporary/etc/ucx/ucx.conf"));
    rmdir(below("temporary/etc/ucx"));
    rmdir(below("temporary/etc"));
    assert_int_equal(rmdir(below("temporary")), 0); /* nothing else is left in it */
}

static void assert_leads(const char *said, const char *name, const char *target) {
    char line[2 * PATH_MAX], *full = realpath(target, NULL);

    snprintf(line, sizeof line, "\n%s %s\n", name, full);
    free(full);
    assert_says(said, line);
}

static void verbs_of_a_wheel_lead_to_the_systems(void **state) {
    said_t said;

    (void)state;
    try_lead("system", "wheel/libucp-0a1b2c3d.so.0.0.0", said);
    assert_ptr_equal(strstr(said, "libucp-0a1b2c3d.so.0.0.0\n"), said);
    assert_leads(said, "libibverbs-1de1263b.so.1.14.48.0", below("system/libibverbs.so.1"));
    assert_leads(said, "libnl-route-3-3ad497a3.so.200.26.0", below("system/libnl-route-3.so.200"));
    assert_says(said, "\nlibucp-0a1b2c3d.so.0.0.0 /");
    assert_says(said, "/wheel/libucp-0a1b2c3d.so.0.0.0\n");
    assert_says(said, "/wheel/ucx/libuct_ib.so.0.0.0\n");
    assert_says(said, "\nno configuration\ngone\n");
}

static void nothing_is_led_without_copies_or_a_system_that_has_them(void **state) {
    said_t said;

    (void)state;
    try_lead("system", "plain/libucp.so.0", said);
    assert_string_equal(said, "not led\n");
    try_lead("system", "nowhere/libucp.so.0", said);
    assert_string_equal(said, "not led\n");
    if (dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_LOCAL) == NULL) {
        try_lead("broken", "wheel/libucp-0a1b2c3d.so.0.0.0", said);
        assert_string_equal(said, "not led\n");
    }
}

/* ---- a connector without ---- */

static void take_warning(void *arg, ropeway_log_level_t level, const char *text) {
    int *out = arg;

    if (level <= ROPEWAY_LOG_WARN) {
        dprintf(*out, "%s|", text);
    }
}

/* Makes two offers, and says what the log and the calls did. */
static void offer_and_say(const try_t *try, int out) {
    static char memory[16];
    const ropeway_descriptor_t descriptor = {.ptr = memory, .size = sizeof memory};
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "stream,local,pull";
    options.interop = try->interop;
    options.log = take_warning;
    options.log_arg = &out;
    assert_accepted(ropeway_connector_create(&options, &connector));
    for (int i = 0; i < 2; i++) {
        ropeway_operation_t *operation = NULL;
        ropeway_error_t error =
            ropeway_create_readable(connector, &descriptor, 1, NULL, &operation);

        dprintf(out, "%s %s|", ropeway_error_name(error),
                error != ROPEWAY_OK ? ropeway_last_error() : "");
        ropeway_operation_release(operation);
    }
    ropeway_connector_destroy(connector);
}

static void interop_needs_a_ucx_only_if_it_was_asked_for(void **state) {
    static const char *const wanted[] = {
        "ROPEWAY_OK |ROPEWAY_OK |", "ROPEWAY_ERR_UNSUPPORTED UCX 1.22 or newer is needed, ",
        "stock NIXL peers can't reach this connector: UCX 1.22 or newer is needed, "};

    (void)state;
    for (uint32_t interop = 0; interop < UNIT_COUNT(wanted); interop++) {
        const try_t try = {.choice = below("empty"), .interop = interop};
        const char *second;
        said_t said;

        apart(offer_and_say, &try, said);
        assert_ptr_equal(strstr(said, wanted[interop]), said);
        second = strstr(said + 1, wanted[interop]);
        assert_int_equal(second != NULL, interop == 1); /* the warning comes once */
    }
}

/* ---- threads ---- */

#define THREADS 8

static void *load_in_thread(void *barrier) {
    pthread_barrier_wait(barrier);
    return rw_ucx_load() == ROPEWAY_OK && ropeway_ucx_version()[0] != '\0' ? barrier : NULL;
}

static void threads_may_load_at_once(void **state) {
    pthread_barrier_t barrier;
    pthread_t threads[THREADS];
    int status;
    pid_t child;

    (void)state;
    child = fork();
    if (child == 0) {
        int failed = 0;

        pthread_barrier_init(&barrier, NULL, THREADS);
        for (int i = 0; i < THREADS; i++) {
            pthread_create(&threads[i], NULL, load_in_thread, &barrier);
        }
        for (int i = 0; i < THREADS; i++) {
            void *good;

            pthread_join(threads[i], &good);
            failed += good == NULL;
        }
        _exit(failed);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_loaded_before_it_is_needed),
        cmocka_unit_test(a_choice_that_leads_nowhere_is_named),
        cmocka_unit_test(one_that_is_too_old_is_refused_with_both_releases),
        cmocka_unit_test(a_file_tells_its_release_without_being_loaded),
        cmocka_unit_test(a_missing_function_is_named),
        cmocka_unit_test(what_to_install_is_said_where_nothing_is_chosen),
        cmocka_unit_test(a_prefix_a_folder_and_a_library_can_be_chosen),
        cmocka_unit_test(the_dynamic_linkers_is_found),
        cmocka_unit_test(packages_come_first_in_a_python),
        cmocka_unit_test(what_can_not_be_used_is_passed_over),
        cmocka_unit_test(one_that_the_process_has_is_taken_and_none_put_beside_it),
        cmocka_unit_test(verbs_of_a_wheel_lead_to_the_systems),
        cmocka_unit_test(nothing_is_led_without_copies_or_a_system_that_has_them),
        cmocka_unit_test(interop_needs_a_ucx_only_if_it_was_asked_for),
        cmocka_unit_test(threads_may_load_at_once),
    };

    if (argc == 3 && strcmp(argv[1], LEAD) == 0) {
        return lead(argv[2]);
    }
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
