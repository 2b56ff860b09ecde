/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library as a guest in a process: with small stacks, without its descriptors, loaded and unloaded, with the
 * host's allocators, and whenever the host sets up libcurl. What concerns a whole process is played by this program
 * anew: test_guest ROLE ENDPOINT TABLE PARTITION, whose exit status counts what went wrong.
 */
#define _GNU_SOURCE /* unshare, setxattr's flags */
#include "support_calls.h"
#include "support_certificate.h"
#include "support_process.h"

#include <curl/curl.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define STACK_SIZE ((size_t)4096 * 1024) /* its own data is there, too: nearly 1 MB */
#else
#define STACK_SIZE ((size_t)128 * 1024)
#endif
#define ROLE_LIMIT_S 60
#define CLOSE_MS 10000 /* on a machine under load; a call would wait for 60,000 */
#define ROLE_UNABLE 77

static int wrong(const char *what, int code, int expected)
{
    if (code == expected) {
        return 0;
    }
    fprintf(stderr, "%s: %d (%s), not %d\n", what, code, dynalock_strerror(code), expected);
    return 1;
}

/* ---- What each host does --------------------------------------------------------------------- */

/* The functions, whether linked or loaded. */
struct library {
    __typeof__(dynalock_open) *open;
    __typeof__(dynalock_close) *close;
    __typeof__(dynalock_put) *put;
    __typeof__(dynalock_get) *get;
    __typeof__(dynalock_kv_json) *kv_json;
    __typeof__(dynalock_kv_free) *kv_free;
    __typeof__(dynalock_lock_new) *lock_new;
    __typeof__(dynalock_lock_acquire) *acquire;
    __typeof__(dynalock_lock_free) *lock_free;
};

static const struct library linked = {dynalock_open,     dynalock_close,        dynalock_put,
                                      dynalock_get,      dynalock_kv_json,      dynalock_kv_free,
                                      dynalock_lock_new, dynalock_lock_acquire, dynalock_lock_free};

struct place {
    const char *endpoint, *table, *partition;
};

static dynalock_options place_options(const struct place *place)
{
    return (dynalock_options){.region = RIG_REGION,
                              .endpoint = place->endpoint,
                              .access_key_id = RIG_KEY_ID,
                              .secret_access_key = RIG_SECRET};
}

/* Flags for the stores that use() opens. */
static uint64_t host_flags;

static int use_values(const struct library *lib, dynalock_store *store)
{
    json_t *made = json_pack("{s:s,s:[i,f,b,n]}", "text", "a", "list", 1, 0.5, 1);
    json_t *read = NULL;
    dynalock_kv *kv = NULL;
    int bad = wrong("put", lib->put(store, "guest", dynalock_json(made), NULL, NULL), DYNALOCK_OK) +
              wrong("get", lib->get(store, "guest", NULL, &kv, NULL), DYNALOCK_OK);
    if (bad == 0) {
        bad += wrong("json", lib->kv_json(kv, &read, NULL), DYNALOCK_OK);
        bad += wrong("equal", json_equal(made, read), 1);
    }
    json_decref(read);
    json_decref(made);
    lib->kv_free(kv);
    return bad;
}

/* A value there and back, a lock with its keeper, and the end. */
static int use(const struct library *lib, const struct place *place)
{
    dynalock_store *store = NULL;
    dynalock_lock *lock = NULL;
    dynalock_options options = place_options(place);
    options.flags = host_flags;
    int bad = wrong("open", lib->open(place->table, place->partition, &options, &store, NULL), 0);
    if (bad != 0) {
        return bad;
    }
    bad += use_values(lib, store);
    bad += wrong("lock_new", lib->lock_new(store, "guest lock", NULL, &lock, NULL), DYNALOCK_OK);
    bad += lock ? wrong("acquire", lib->acquire(lock, -1, LONG_MS, NULL), DYNALOCK_OK) : 0;
    lib->lock_free(lock);
    return bad + wrong("close", lib->close(store), DYNALOCK_OK);
}

/* ---- Roles ----------------------------------------------------------------------------------- */

static int role_curl_never(const struct place *place)
{
    return use(&linked, place);
}

/* The host may even end it: libcurl counts, and the library has its own share. */
static int role_curl_before(const struct place *place)
{
    int bad = wrong("curl_global_init", (int)curl_global_init(CURL_GLOBAL_ALL), 0);
    bad += use(&linked, place);
    curl_global_cleanup();
    return bad + use(&linked, place);
}

static int role_curl_after(const struct place *place)
{
    int bad = use(&linked, place);
    bad += wrong("curl_global_init", (int)curl_global_init(CURL_GLOBAL_ALL), 0);
    CURL *easy = curl_easy_init();
    bad += wrong("curl_easy_init", easy != NULL, 1);
    curl_easy_cleanup(easy);
    curl_global_cleanup();
    return bad + use(&linked, place);
}

/* Allocators whose blocks no other can free: a mark and the size stand before each. */
struct guarded {
    char mark[16];
    size_t size;
    max_align_t bytes[];
};

static const char guard_mark[16] = "a guarded block";
static unsigned long guard_count;

static void *guard_alloc(size_t size)
{
    struct guarded *block = malloc(sizeof *block + size);
    if (!block) {
        return NULL;
    }
    memcpy(block->mark, guard_mark, sizeof guard_mark);
    block->size = size;
    __atomic_add_fetch(&guard_count, 1, __ATOMIC_RELAXED);
    /* cppcheck-suppress memleak; the caller has it, by the bytes in it */
    return block->bytes;
}

static struct guarded *guard_of(void *p)
{
    struct guarded *block = (struct guarded *)(void *)((char *)p - offsetof(struct guarded, bytes));
    if (memcmp(block->mark, guard_mark, sizeof guard_mark) != 0) {
        abort(); /* it is another allocator's */
    }
    return block;
}

static void guard_free(void *p)
{
    if (p) {
        struct guarded *block = guard_of(p);
        block->mark[0] = 0;
        free(block);
    }
}

static void *guard_realloc(void *p, size_t size)
{
    void *moved = guard_alloc(size);
    if (moved && p) {
        size_t old = guard_of(p)->size;
        memcpy(moved, p, old < size ? old : size);
        guard_free(p);
    }
    return moved;
}

static void *guard_calloc(size_t count, size_t size)
{
    void *p = guard_alloc(count * size);
    return p ? memset(p, 0, count * size) : NULL;
}

static char *guard_strdup(const char *text)
{
    char *copy = guard_alloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

static CURLcode guard_curl(void)
{
    return curl_global_init_mem(CURL_GLOBAL_ALL, guard_alloc, guard_free, guard_realloc,
                                guard_strdup, guard_calloc);
}

/* libcurl takes new allocators only when nobody has it initialised any more. */
static int role_curl_only_by_host(const struct place *place)
{
    host_flags = DYNALOCK_NO_CURL_INIT;
    int bad = wrong("curl_global_init", (int)curl_global_init(CURL_GLOBAL_ALL), 0);
    bad += use(&linked, place) + use(&linked, place);
    curl_global_cleanup();
    bad += wrong("curl_global_init_mem", (int)guard_curl(), 0);
    curl_easy_cleanup(curl_easy_init());
    bad += wrong("nobody else had libcurl initialised", guard_count > 0, 1);
    bad += use(&linked, place);
    curl_global_cleanup();
    return bad;
}

static int role_allocators(const struct place *place)
{
    json_set_alloc_funcs(guard_alloc, guard_free);
    int bad = wrong("json", use(&linked, place), 0);
    unsigned long by_json = guard_count;
    return bad + wrong("jansson used them", by_json > 0, 1);
}

static int role_curl_allocators(const struct place *place)
{
    int bad = wrong("curl_global_init_mem", (int)guard_curl(), 0);
    bad += use(&linked, place);
    return bad + wrong("libcurl used them", guard_count > 0, 1);
}

/* A host that closes all descriptors it does not know, with a lock held. */
static int role_closed_descriptors(const struct place *place)
{
    struct rusage before;
    struct rusage after;
    dynalock_store *store = NULL;
    dynalock_lock *lock = NULL;
    dynalock_options options = place_options(place);
    options.timeout_ms = 3000;
    options.close_timeout_ms = 1000;
    const dynalock_lock_options lease = {.ttl_ms = 3000};
    int bad =
        wrong("open", dynalock_open(place->table, place->partition, &options, &store, NULL), 0) +
        wrong("lock_new", dynalock_lock_new(store, "closed", &lease, &lock, NULL), 0) +
        wrong("acquire", dynalock_lock_acquire(lock, -1, LONG_MS, NULL), 0) +
        wrong("put", dynalock_put(store, "closed put", dynalock_none(), NULL, NULL), 0);
    for (int fd = 3; fd < 1024; fd++) {
        (void)close(fd);
    }
    (void)getrusage(RUSAGE_SELF, &before);
    int64_t until = monotonic_ms() + 4000;
    dynalock_error error = {0};
    int code = dynalock_put(store, "closed put", dynalock_none(), NULL, &error);
    bad += wrong("the put fails or works, and says so", code == 0 || error.message[0] != 0, 1);
    code = dynalock_lock_release(lock, &error);
    bad += wrong("the release fails or works, and says so", code == 0 || error.message[0] != 0, 1);
    sleep_ms(until - monotonic_ms());
    (void)getrusage(RUSAGE_SELF, &after);
    int64_t used_ms = (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
                       before.ru_stime.tv_sec) *
                          1000 +
                      (after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
                       before.ru_stime.tv_usec) /
                          1000;
    bad += wrong("a thread spins", used_ms > 1500, 0);
    bad += wrong("lock_state", dynalock_lock_state(lock) == DYNALOCK_LOCK_HELD, 0);
    dynalock_lock_free(lock);
    return bad + wrong("close", dynalock_close(store), 0);
}

/* POSIX lets a function's address be that of an object; ISO C has no word for it. */
static void library_load(void *handle, const char *name, void *function)
{
    void *symbol = dlsym(handle, name);
    if (!symbol) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    memcpy(function, &symbol, sizeof symbol);
}

/* The shared library that make builds, by where this program is: its own system's, if that is
 * another. */
static void library_path(char path[PATH_MAX])
{
    char program[PATH_MAX / 2] = "";
    (void)!readlink("/proc/self/exe", program, sizeof program - 1);
    *strrchr(program, '/') = 0;
    snprintf(path, PATH_MAX, "%s/../libdynalock.so", program);
    if (access(path, R_OK) != 0) {
        snprintf(path, PATH_MAX, "%s/../../release/libdynalock.so", program);
    }
}

static int threads_now(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry = folder ? readdir(folder) : NULL; entry; entry = readdir(folder)) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}

static int is_mapped(const char *name)
{
    char line[PATH_MAX + 200];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        found |= strstr(line, name) != NULL;
    }
    if (maps) {
        (void)fclose(maps);
    }
    return found;
}

static void *does_nothing(void *context)
{
    return context;
}

/* With the first thread of a program some sanitizers start one of their own. */
static int threads_at_first(void)
{
    pthread_t thread;
    int bad = pthread_create(&thread, NULL, does_nothing, NULL);
    return bad != 0 || pthread_join(thread, NULL) != 0 ? -1 : threads_now();
}

/* One that was joined may be seen for a moment yet. */
static int threads_once_at_rest(int expected)
{
    for (int i = 0; i < 100 && threads_now() > expected; i++) {
        sleep_ms(10);
    }
    return threads_now();
}

static int role_unloaded(const struct place *place)
{
    char path[PATH_MAX];
    library_path(path);
    int linked_with = is_mapped("/libdynalock.so");
    int threads = threads_at_first();
    for (int i = 0; i < 3; i++) {
        void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!handle) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        struct library loaded;
        library_load(handle, "dynalock_open", &loaded.open);
        library_load(handle, "dynalock_close", &loaded.close);
        library_load(handle, "dynalock_put", &loaded.put);
        library_load(handle, "dynalock_get", &loaded.get);
        library_load(handle, "dynalock_kv_json", &loaded.kv_json);
        library_load(handle, "dynalock_kv_free", &loaded.kv_free);
        library_load(handle, "dynalock_lock_new", &loaded.lock_new);
        library_load(handle, "dynalock_lock_acquire", &loaded.acquire);
        library_load(handle, "dynalock_lock_free", &loaded.lock_free);
        int bad = use(&loaded, place);
        bad += wrong("threads are left", threads_once_at_rest(threads) > threads, 0) +
               wrong("is mapped", is_mapped("/libdynalock.so"), 1) +
               wrong("dlclose", dlclose(handle), 0) +
               wrong("is still mapped", is_mapped("/libdynalock.so"), linked_with);
        pid_t child = fork(); /* calls the handlers that are left */
        if (child == 0) {
            _exit(0);
        }
        int status = 1;
        (void)waitpid(child, &status, 0);
        if (bad + wrong("the child", status, 0) != 0) {
            return 1;
        }
    }
    return 0;
}

/* Of a setuid program the environment is the user's: it must not say where requests go. */
static int role_setuid(const struct place *place)
{
    dynalock_store *store = NULL;
    dynalock_error error = {0};
    if (getauxval(AT_SECURE) == 0) {
        return ROLE_UNABLE;
    }
    int bad = wrong("without a region",
                    dynalock_open(place->table, place->partition, NULL, &store, &error),
                    DYNALOCK_ERR_CONFIG);
    /* Nothing is left but the metadata of an instance. */
    const dynalock_options options = {.region = RIG_REGION, .endpoint = place->endpoint};
    dynalock_kv *kv = NULL;
    bad +=
        wrong("open", dynalock_open(place->table, place->partition, &options, &store, &error), 0);
    int code = bad == 0 ? dynalock_get(store, "k", NULL, &kv, &error) : 0;
    bad +=
        wrong("without keys",
              code == DYNALOCK_ERR_CREDENTIALS || code == DYNALOCK_ERR_CREDENTIALS_UNAVAILABLE, 1);
    bad += wrong("close", dynalock_close(store), 0);
    const dynalock_options with_keys = {.region = RIG_REGION,
                                        .endpoint = place->endpoint,
                                        .access_key_id = RIG_KEY_ID,
                                        .secret_access_key = RIG_SECRET};
    bad +=
        wrong("open", dynalock_open(place->table, place->partition, &with_keys, &store, &error), 0);
    bad += wrong("past the proxy of the environment",
                 bad == 0 ? dynalock_get(store, "k", NULL, &kv, &error) : 0,
                 bad == 0 ? DYNALOCK_ERR_NOT_FOUND : 0);
    bad += wrong("close", dynalock_close(store), 0);
    _exit(bad); /* the leak sanitizer may not look at such a process */
}

static const struct {
    const char *name;
    int (*play)(const struct place *place);
} roles[] = {
    {"curl never", role_curl_never},
    {"curl before", role_curl_before},
    {"curl after", role_curl_after},
    {"curl only by the host", role_curl_only_by_host},
    {"allocators", role_allocators},
    {"curl allocators", role_curl_allocators},
    {"closed descriptors", role_closed_descriptors},
    {"unloaded", role_unloaded},
    {"setuid", role_setuid},
};

static int role_play(char **arguments)
{
    const struct place place = {arguments[2], arguments[3], arguments[4]};
    (void)alarm(ROLE_LIMIT_S);
    for (size_t i = 0; i < COUNT(roles); i++) {
        if (strcmp(arguments[1], roles[i].name) == 0) {
            return roles[i].play(&place);
        }
    }
    return 1;
}

/* ---- The tests ------------------------------------------------------------------------------- */

static int role_run(struct bench *b, const char *program, const char *role)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)execl(program, "test_guest", role, b->endpoint, b->table, b->partition, (char *)NULL);
        _exit(127);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static void role_test(void **state, const char *role)
{
    print_message("%s\n", role);
    assert_int_equal(role_run(*state, "/proc/self/exe", role), 0);
}

static void test_the_host_sets_libcurl_up_before_or_after_or_never(void **state)
{
    role_test(state, "curl never");
    role_test(state, "curl before");
    role_test(state, "curl after");
}

static void test_the_host_keeps_libcurls_global_state_to_itself(void **state)
{
    role_test(state, "curl only by the host");
}

static void test_the_host_replaces_allocators(void **state)
{
    role_test(state, "allocators");
    role_test(state, "curl allocators");
}

static void test_the_host_closes_all_descriptors(void **state)
{
    struct bench *b = *state;
    int proxy = b->rig->proxy;
    snprintf(b->endpoint, sizeof b->endpoint, "%s", rig_proxy_new(b->rig, test_server(), NULL));
    role_test(state, "closed descriptors");
    b->rig->proxy = proxy;
}

static void test_the_library_is_loaded_and_unloaded_again_and_again(void **state)
{
    role_test(state, "unloaded");
}

/* ---- Setuid ---------------------------------------------------------------------------------- */

static bool file_says(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return fd >= 0 && close(fd) == 0 && written;
}

/* Goes into a user namespace of its own, where this process's user and group are called so. */
static bool become(unsigned id)
{
    char users[32];
    char groups[32];
    snprintf(users, sizeof users, "%u %u 1", id, (unsigned)geteuid());
    snprintf(groups, sizeof groups, "%u %u 1", id, (unsigned)getegid());
    return unshare(CLONE_NEWUSER) == 0 && file_says("/proc/self/setgroups", "deny") &&
           file_says("/proc/self/uid_map", users) && file_says("/proc/self/gid_map", groups);
}

/* Gives the file a capability, which makes its program as privileged as a setuid one. */
static bool give_capability(const char *path)
{
    const struct vfs_cap_data data = {
        .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
        .data = {{.permitted = 1U << CAP_NET_BIND_SERVICE, .inheritable = 0}},
    };
    return setxattr(path, "security.capability", &data, sizeof data, 0) == 0;
}

/* Plays the role in a program that is privileged, by a user who is not root, whoever calls: that takes a namespace
 * whose root gives the capability, and one within. */
static int privileged_run(struct bench *b, const char *program)
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!become(0) || !give_capability(program) || !become(1000)) {
            _exit(ROLE_UNABLE);
        }
        (void)execl(program, "test_guest", "setuid", b->endpoint, b->table, b->partition,
                    (char *)NULL);
        _exit(127);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/* Where there are no user namespaces: a copy of this program that belongs to nobody, and runs as nobody. */
static int setuid_run(struct bench *b, const char *program)
{
    bool able = geteuid() == 0 && chown(program, 65534, 65534) == 0 && chmod(program, 04755) == 0;
    return able ? role_run(b, program, "setuid") : ROLE_UNABLE << 8;
}

static void copy_program(const char *copy)
{
    char command[PATH_MAX];
    char program[PATH_MAX / 2] = "";
    (void)!readlink("/proc/self/exe", program, sizeof program - 1);
    snprintf(command, sizeof command, "cp '%s' '%s'", program, copy);
    assert_int_equal(system(command), 0);
}

static void test_a_setuid_program_asks_no_environment(void **state)
{
    struct bench *b = *state;
    char folder[] = "/tmp/dynalock-guest-XXXXXX";
    char copy[64];
    assert_non_null(mkdtemp(folder));
    char keys[64];
    assert_int_equal(chmod(folder, 0777), 0);
    snprintf(keys, sizeof keys, "%s/keys", folder);
    snprintf(copy, sizeof copy, "%s/test_guest", folder);
    copy_program(copy);
    setenv("AWS_REGION", RIG_REGION, 1);
    setenv("AWS_ENDPOINT_URL", b->endpoint, 1);
    setenv("AWS_ACCESS_KEY_ID", RIG_KEY_ID, 1);
    setenv("AWS_SECRET_ACCESS_KEY", RIG_SECRET, 1);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("SSLKEYLOGFILE", keys, 1);
    int status = privileged_run(b, copy);
    if (WEXITSTATUS(status) == ROLE_UNABLE) {
        status = setuid_run(b, copy);
    }
    unsetenv("AWS_REGION");
    unsetenv("AWS_ENDPOINT_URL");
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    unsetenv("http_proxy");
    unsetenv("SSLKEYLOGFILE");
    bool told_keys = unlink(keys) == 0;
    unlink(copy);
    rmdir(folder);
    if (WIFEXITED(status) && WEXITSTATUS(status) == ROLE_UNABLE) {
#ifdef __SANITIZE_THREAD__
        return; /* a process with a thread of the sanitizer cannot go into a user namespace */
#endif
        fail_msg(
            "neither a user namespace nor a setuid file can be had here: this cannot be tested");
    }
    assert_int_equal(status, 0);
    assert_false(told_keys);
}

/* ---- Small stacks ---------------------------------------------------------------------------- */

#define STACK_MARK 0xA5

/* A stack that knows how much of it was used; below it is a page that may not be touched. */
struct stack {
    unsigned char *memory;
    size_t guard;
};

static struct stack stack_new(void)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    struct stack stack = {.guard = guard};
    stack.memory = mmap(NULL, guard + STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    assert_true(stack.memory != MAP_FAILED);
    assert_int_equal(mprotect(stack.memory, guard, PROT_NONE), 0);
    memset(stack.memory + guard, STACK_MARK, STACK_SIZE);
    return stack;
}

static size_t stack_used(const struct stack *stack)
{
    size_t untouched = 0;
    while (untouched < STACK_SIZE && stack->memory[stack->guard + untouched] == STACK_MARK) {
        untouched++;
    }
    return STACK_SIZE - untouched;
}

/* Runs on a thread with such a stack; how many bytes of it that took. */
static size_t on_small_stack(void *(*run)(void *), void *context)
{
    struct stack stack = stack_new();
    pthread_attr_t attributes;
    pthread_t thread;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstack(&attributes, stack.memory + stack.guard, STACK_SIZE), 0);
    assert_int_equal(pthread_create(&thread, &attributes, run, context), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_attr_destroy(&attributes), 0);
    size_t used = stack_used(&stack);
    assert_int_equal(munmap(stack.memory, stack.guard + STACK_SIZE), 0);
    return used;
}

struct small {
    struct bench *bench;
    struct caller *caller;
    const struct server_call *call;
    const char *endpoint;
    int bad;
};

static void *small_use(void *context)
{
    struct small *small = context;
    const struct bench *b = small->bench;
    const struct place place = {b->endpoint, b->table, b->partition};
    small->bad = use(&linked, &place);
    return NULL;
}

static void *small_call(void *context)
{
    struct small *small = context;
    dynalock_error error = {0};
    small->bad = wrong(small->call->name, small->call->make(small->caller, &error), DYNALOCK_OK);
    return NULL;
}

static void *small_locks(void *context)
{
    struct small *small = context;
    dynalock_lock_info *infos = NULL;
    size_t count = 0;
    int fd = -1;
    small->bad =
        wrong("locks", dynalock_locks(small->caller->store, &infos, &count, NULL), DYNALOCK_OK) +
        wrong("ensure", dynalock_lock_ensure(small->caller->held, 0, NULL), DYNALOCK_OK) +
        wrong("lost_fd", dynalock_lock_lost_fd(small->caller->held, &fd, NULL), DYNALOCK_OK);
    dynalock_locks_free(infos);
    return NULL;
}

/* An acquisition and a release by events, and the cancelling of another. */
static void *small_events(void *context)
{
    struct small *small = context;
    dynalock_lock *lock = small->caller->other;
    dynalock_store *store = small->caller->store;
    dynalock_lock_event event = {0};
    int fd = -1;
    int bad = wrong("event_fd", dynalock_event_fd(store, &fd, NULL), DYNALOCK_OK) +
              wrong("acquire_start", dynalock_lock_acquire_start(lock, -1, NULL), DYNALOCK_OK) +
              wrong("readable", readable(fd, LONG_MS), true) +
              wrong("cancel", dynalock_lock_cancel(lock, NULL), DYNALOCK_OK) +
              wrong("next_event", dynalock_next_event(store, &event, NULL), DYNALOCK_OK) +
              wrong("acquired", event.kind, DYNALOCK_LOCK_EVENT_ACQUIRE) +
              wrong("lock_event_fd", dynalock_lock_event_fd(lock, &fd, NULL), DYNALOCK_OK) +
              wrong("release_start", dynalock_lock_release_start(lock, NULL), DYNALOCK_OK) +
              wrong("readable", readable(fd, LONG_MS), true) +
              wrong("lock_next_event", dynalock_lock_next_event(lock, &event, NULL), DYNALOCK_OK);
    small->bad = bad + wrong("released", event.kind, DYNALOCK_LOCK_EVENT_RELEASE);
    return NULL;
}

static void *small_close(void *context)
{
    struct small *small = context;
    small->bad = wrong("close", dynalock_close(small->caller->store), DYNALOCK_OK);
    small->caller->store = NULL;
    return NULL;
}

static void *small_tls(void *context)
{
    struct small *small = context;
    dynalock_store *store = NULL;
    dynalock_options options = bench_options(small->bench);
    options.endpoint = small->endpoint;
    small->bad = wrong("open", dynalock_open("t", "p", &options, &store, NULL), DYNALOCK_OK);
    small->bad +=
        wrong("a stranger's certificate", dynalock_delete(store, "k", NULL), DYNALOCK_ERR_TLS);
    dynalock_close(store);
    return NULL;
}

static void small_run(const char *name, void *(*run)(void *), struct small *small)
{
    size_t used = on_small_stack(run, small);
    print_message("%6zu bytes: %s\n", used, name);
    assert_int_equal(small->bad, 0);
}

static void test_a_thread_with_a_stack_of_128_kb_may_make_every_call(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < server_call_count; i++) {
        struct caller c = caller_new(b, NULL);
        struct small small = {.bench = b, .caller = &c, .call = &server_calls[i]};
        small_run(small.call->name, small_call, &small);
        caller_free(&c);
    }
    struct caller c = caller_new(b, NULL);
    struct small small = {.bench = b, .caller = &c};
    small_run("open, json, acquire, free, close", small_use, &small);
    small_run("locks, ensure, lost_fd", small_locks, &small);
    small_run("acquire and release by events", small_events, &small);
    small_run("close with a lock held", small_close, &small);
    caller_free(&c);
}

static void test_a_stack_of_128_kb_suffices_for_tls(void **state)
{
    const struct certificate certificate = certificate_new("127.0.0.1");
    struct process server = process_start("fair", certificate.key, certificate.file);
    struct small small = {.bench = *state, .endpoint = server.endpoint};
    small_run("a connection by TLS that is refused", small_tls, &small);
    process_end(&server);
    certificate_remove(&certificate);
}

/* ---- Closing amid calls ---------------------------------------------------------------------- */

/* The call ends before it is answered, and whatever it was leaves no lock behind. */
static void close_amid_call(struct bench *b, const struct server_call *call)
{
    struct caller c = caller_new(b, NULL);
    struct small small = {.bench = b, .caller = &c};
    struct call_thread t;
    pthread_t closer;
    print_message("%s\n", call->name);
    bench_reset(b);
    rig_fault(b->rig, "'action':{'do':'hold','where':'request'}");
    call_start(&t, &c, call);
    assert_true(rig_wait(b->rig, NULL, "held", 1, LONG_MS));
    int64_t began = monotonic_ms();
    assert_int_equal(pthread_create(&closer, NULL, small_close, &small), 0);
    check(call_join(&t), DYNALOCK_ERR_CLOSED);
    assert_int_equal(rig_let_go(b->rig), 1);
    assert_int_equal(pthread_join(closer, NULL), 0);
    assert_true(monotonic_ms() - began < CLOSE_MS);
    assert_int_equal(small.bad, 0);
    assert_false(is_there(b, c.held_key));
    assert_false(is_there(b, c.other_key));
    caller_free(&c);
}

static void test_closing_ends_any_call_of_another_thread(void **state)
{
    for (size_t i = 0; i < server_call_count; i++) {
        close_amid_call(*state, &server_calls[i]);
    }
}

static void test_closing_with_locks_held_releases_them(void **state)
{
    struct bench *b = *state;
    struct caller c = caller_new(b, NULL);
    check(dynalock_lock_acquire(c.other, -1, 0, &failure), DYNALOCK_OK);
    assert_true(is_there(b, c.held_key));
    assert_true(is_there(b, c.other_key));
    assert_int_equal(dynalock_close(c.store), DYNALOCK_OK);
    assert_false(is_there(b, c.held_key));
    assert_false(is_there(b, c.other_key));
    check(dynalock_lock_ensure(c.held, 0, &failure), DYNALOCK_ERR_CLOSED);
    c.store = NULL;
    caller_free(&c);
}

/* ---- Closing from inside a callback ---------------------------------------------------------- */

struct closer {
    dynalock_store *store;
    atomic_int logged, lost; /* what dynalock_close answered there; 1: was not called */
};

static void close_logging(const dynalock_event *event, void *context)
{
    struct closer *closer = context;
    (void)event;
    if (closer->store) {
        atomic_store(&closer->logged, dynalock_close(closer->store));
    }
}

static void close_losing(dynalock_lock *lock, int cause, void *context)
{
    struct closer *closer = context;
    (void)lock;
    (void)cause;
    atomic_store(&closer->lost, dynalock_close(closer->store));
}

static void test_closing_from_a_callback_is_refused(void **state)
{
    struct bench *b = *state;
    struct closer closer = {.logged = 1, .lost = 1};
    const char *key = bench_key(b);
    dynalock_options options = bench_options(b);
    options.log = close_logging;
    options.log_context = &closer;
    closer.store = bench_open(b, &options);
    dynalock_lock *lock = lock_take(
        closer.store, key,
        (dynalock_lock_options){.ttl_ms = 1500, .on_lost = close_losing, .context = &closer});
    assert_int_equal(atomic_load(&closer.logged), DYNALOCK_ERR_BUSY);
    bench_delete_item(b, key);
    for (int64_t end = monotonic_ms() + LONG_MS;
         atomic_load(&closer.lost) == 1 && monotonic_ms() < end;) {
        sleep_ms(10);
    }
    assert_int_equal(atomic_load(&closer.lost), DYNALOCK_ERR_BUSY);
    dynalock_lock_free(lock);
    assert_int_equal(dynalock_close(closer.store), DYNALOCK_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_the_host_sets_libcurl_up_before_or_after_or_never),
        LOCK_TEST(test_the_host_keeps_libcurls_global_state_to_itself),
        LOCK_TEST(test_the_host_replaces_allocators),
        LOCK_TEST(test_the_host_closes_all_descriptors),
        LOCK_TEST(test_the_library_is_loaded_and_unloaded_again_and_again),
        LOCK_TEST(test_a_setuid_program_asks_no_environment),
        LOCK_TEST(test_a_thread_with_a_stack_of_128_kb_may_make_every_call),
        LOCK_TEST(test_a_stack_of_128_kb_suffices_for_tls),
        LOCK_TEST(test_closing_ends_any_call_of_another_thread),
        LOCK_TEST(test_closing_with_locks_held_releases_them),
        LOCK_TEST(test_closing_from_a_callback_is_refused),
    };
    return argc == 5 ? role_play(argv) : cmocka_run_group_tests(tests, NULL, NULL);
}
