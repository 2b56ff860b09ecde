/* SPDX-License-Identifier: Apache-2.0 */
#include "virtual_time.h"

#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define VIRTUAL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VIRTUAL_ASAN 1
#endif
#endif
#ifdef VIRTUAL_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    VIRTUAL_THREADS = 12,
    VIRTUAL_STACK = 256 * 1024,
    VIRTUAL_FDS = 64,
    VIRTUAL_FD = 100000, /* the first: none of the system's */
    VIRTUAL_NUMBER = 7000,
    VIRTUAL_STILL = 20000 /* turns without time passing */
};

struct virtual_event {
    struct virtual_event *next;
    int64_t when_us;
    void (*happen)(void *context);
    void *context;
};

/* The first is the one that everything else is called from. The others stay where they are between two runs: a stack
 * that was left in the middle of a function would look overrun. */
struct virtual_thread {
    ucontext_t context;
    pthread_t number;
    struct virtual_host *host;
    void *(*run)(void *context);
    void *argument;
    bool busy, made;
    unsigned held; /* mutexes */
    bool (*ready)(void *context);
    void *ready_context;
    int64_t until_us;
};

struct virtual_descriptor {
    bool open, signalled;
    int64_t due_us; /* of an alarm; INT64_MAX: never */
    const struct virtual_host *host;
};

static struct virtual_thread virtual_all[VIRTUAL_THREADS];
static char virtual_stacks[VIRTUAL_THREADS][VIRTUAL_STACK] __attribute__((aligned(64)));
static struct virtual_descriptor virtual_fds[VIRTUAL_FDS];
static struct virtual_event *virtual_events;
static _Thread_local bool virtual_is_here;
static int virtual_self;
static int64_t virtual_us;
static pthread_t virtual_next_number;
static uint64_t virtual_seed, virtual_turns, virtual_changes;
static unsigned virtual_still;
#ifdef VIRTUAL_ASAN
static const void *virtual_first_stack;
static size_t virtual_first_size;
#endif

void (*virtual_look)(void);
unsigned virtual_nervous;

/* ---- Chance, and clocks ---- */

/* splitmix64 */
static uint64_t virtual_random(void)
{
    uint64_t z = virtual_seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint64_t virtual_chance(uint64_t bound)
{
    return virtual_random() % bound;
}

int64_t virtual_now_us(void)
{
    return virtual_us;
}

static int64_t virtual_boot(void *context)
{
    const struct virtual_host *host = context;
    bool still = virtual_us < host->still_until_us;
    int64_t us =
        still ? host->still_from_us : virtual_us - (host->still_until_us - host->still_from_us);
    us -= host->stood_us;
    return host->boot_us + us + us / 1000000 * host->drift_ppm +
           us % 1000000 * host->drift_ppm / 1000000;
}

static int64_t virtual_real(void *context)
{
    return virtual_boot(context) + ((const struct virtual_host *)context)->ahead_us;
}

struct dlk_clock virtual_clock(struct virtual_host *host)
{
    return (struct dlk_clock){virtual_boot, virtual_real, host};
}

/* ---- Turns ---- */

void virtual_reset(uint64_t chance)
{
    fuzz_check(virtual_threads() == 0 && virtual_self == 0);
    virtual_is_here = true;
    while (virtual_events != NULL) {
        struct virtual_event *event = virtual_events;
        virtual_events = event->next;
        free(event);
    }
    memset(virtual_fds, 0, sizeof virtual_fds);
    virtual_us = 0;
    virtual_next_number = VIRTUAL_NUMBER;
    virtual_seed = chance;
    virtual_turns = virtual_changes = 0;
    virtual_still = 0;
    virtual_look = NULL;
    virtual_nervous = 0;
    virtual_all[0] =
        (struct virtual_thread){.number = virtual_next_number++, .busy = true, .made = true};
}

uint64_t virtual_steps(void)
{
    return virtual_turns;
}

unsigned virtual_threads(void)
{
    unsigned count = 0;
    for (int i = 1; i < VIRTUAL_THREADS; i++) {
        count += virtual_all[i].busy ? 1 : 0;
    }
    return count;
}

static void virtual_switch(int to)
{
    int from = virtual_self;
    virtual_self = to;
#ifdef VIRTUAL_ASAN
    void *fake = NULL;
    __sanitizer_start_switch_fiber(&fake, to == 0 ? virtual_first_stack : virtual_stacks[to],
                                   to == 0 ? virtual_first_size : VIRTUAL_STACK);
#endif
    (void)swapcontext(&virtual_all[from].context, &virtual_all[to].context);
#ifdef VIRTUAL_ASAN
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
}

static bool virtual_may_run(const struct virtual_thread *thread)
{
    if (!thread->busy || (thread->host != NULL && virtual_us < thread->host->frozen_until_us)) {
        return false;
    }
    return virtual_us >= thread->until_us ||
           (thread->ready != NULL && thread->ready(thread->ready_context));
}

/* Whose turn it is; -1: nobody's before time passes. */
static int virtual_pick(void)
{
    int first = virtual_nervous > 0 ? (int)virtual_chance(VIRTUAL_THREADS) : virtual_self + 1;
    for (int i = 0; i < VIRTUAL_THREADS; i++) {
        int candidate = (first + i) % VIRTUAL_THREADS;
        if (virtual_may_run(&virtual_all[candidate])) {
            return candidate;
        }
    }
    return -1;
}

static int64_t virtual_next_due(void)
{
    int64_t due_us = virtual_events != NULL ? virtual_events->when_us : INT64_MAX;
    for (int i = 0; i < VIRTUAL_THREADS; i++) {
        const struct virtual_thread *thread = &virtual_all[i];
        int64_t until_us = thread->until_us;
        if (thread->host != NULL && thread->host->frozen_until_us > virtual_us &&
            thread->host->frozen_until_us > until_us) {
            until_us = thread->host->frozen_until_us;
        }
        if (thread->busy && until_us > virtual_us && until_us < due_us) {
            due_us = until_us;
        }
        if (thread->busy && thread->host != NULL && thread->host->frozen_until_us > virtual_us &&
            thread->host->frozen_until_us < due_us) {
            due_us = thread->host->frozen_until_us;
        }
    }
    for (int i = 0; i < VIRTUAL_FDS; i++) {
        int64_t alarm_us = virtual_fds[i].due_us;
        if (virtual_fds[i].open && alarm_us > virtual_us && alarm_us < due_us) {
            due_us = alarm_us;
        }
    }
    return due_us;
}

/* Time passes until something happens. */
static void virtual_pass(void)
{
    int64_t due_us = virtual_next_due();
    fuzz_check(due_us != INT64_MAX); /* else everybody waits for ever */
    if (due_us > virtual_us) {
        virtual_us = due_us;
        virtual_still = 0;
    }
    while (virtual_events != NULL && virtual_events->when_us <= virtual_us) {
        struct virtual_event *event = virtual_events;
        virtual_events = event->next;
        event->happen(event->context);
        free(event);
    }
}

void virtual_at(int64_t when_us, void (*happen)(void *context), void *context)
{
    struct virtual_event **at = &virtual_events;
    struct virtual_event *made = malloc(sizeof *made);
    if (made == NULL) {
        abort();
    }
    while (*at != NULL && (*at)->when_us <= when_us) {
        at = &(*at)->next;
    }
    *made = (struct virtual_event){*at, when_us, happen, context};
    *at = made;
}

/* Gives the turn away, until it may be had again. */
static void virtual_yield(void)
{
    int next;
    virtual_turns++;
    fuzz_check(virtual_still++ < VIRTUAL_STILL); /* else somebody runs in circles */
    if (virtual_look != NULL) {
        virtual_look();
    }
    while ((next = virtual_pick()) < 0) {
        virtual_pass();
    }
    if (next != virtual_self) {
        virtual_switch(next);
    }
}

void virtual_wait(bool (*ready)(void *context), void *context, int64_t until_us)
{
    struct virtual_thread *self = &virtual_all[virtual_self];
    fuzz_check(self->held == 0); /* nobody waits with a mutex in hand */
    self->ready = ready;
    self->ready_context = context;
    self->until_us = until_us;
    virtual_yield();
}

/* ---- Threads ---- */

void virtual_be(struct virtual_host *host)
{
    virtual_all[virtual_self].host = host;
}

static void virtual_main(void)
{
#ifdef VIRTUAL_ASAN
    const void *stack = NULL;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(NULL, &stack, &size);
    if (virtual_first_size == 0) { /* where the first of all comes from */
        virtual_first_stack = stack;
        virtual_first_size = size;
    }
#endif
    for (;;) {
        struct virtual_thread *self = &virtual_all[virtual_self];
        (void)self->run(self->argument);
        self->busy = false;
        virtual_yield(); /* until it is wanted again */
    }
}

pthread_t virtual_start(struct virtual_host *host, void *(*run)(void *context), void *context)
{
    int i = 1;
    while (i < VIRTUAL_THREADS && virtual_all[i].busy) {
        i++;
    }
    fuzz_check(i < VIRTUAL_THREADS);
    struct virtual_thread *thread = &virtual_all[i];
    if (!thread->made) {
        (void)getcontext(&thread->context);
        thread->context.uc_stack.ss_sp = virtual_stacks[i];
        thread->context.uc_stack.ss_size = VIRTUAL_STACK;
        thread->context.uc_link = NULL;
        makecontext(&thread->context, virtual_main, 0);
        thread->made = true;
    }
    thread->number = virtual_next_number++;
    thread->host = host;
    thread->run = run;
    thread->argument = context;
    thread->held = 0;
    thread->ready = NULL;
    thread->until_us = virtual_us; /* its turn comes */
    thread->busy = true;
    return thread->number;
}

bool virtual_runs(pthread_t thread)
{
    for (int i = 0; i < VIRTUAL_THREADS; i++) {
        if (virtual_all[i].busy && virtual_all[i].number == thread) {
            return true;
        }
    }
    return false;
}

/* ---- Descriptors ---- */

static struct virtual_descriptor *virtual_descriptor(int fd)
{
    bool known = fd >= VIRTUAL_FD && fd < VIRTUAL_FD + VIRTUAL_FDS;
    struct virtual_descriptor *found = known ? &virtual_fds[fd - VIRTUAL_FD] : NULL;
    return found != NULL && found->open ? found : NULL;
}

int virtual_pipe(void)
{
    for (int i = 0; i < VIRTUAL_FDS; i++) {
        if (!virtual_fds[i].open) {
            virtual_fds[i] = (struct virtual_descriptor){true, false, INT64_MAX, NULL};
            return VIRTUAL_FD + i;
        }
    }
    fuzz_failed("there are descriptors left", __FILE__, __LINE__);
}

void virtual_pipe_write(int fd)
{
    struct virtual_descriptor *descriptor = virtual_descriptor(fd);
    if (descriptor != NULL) {
        descriptor->signalled = true;
    }
}

void virtual_pipe_drain(int fd)
{
    struct virtual_descriptor *descriptor = virtual_descriptor(fd);
    if (descriptor != NULL) {
        descriptor->signalled = false;
    }
}

void virtual_pipe_close(int fd)
{
    struct virtual_descriptor *descriptor = virtual_descriptor(fd);
    if (descriptor != NULL) {
        descriptor->open = false;
    }
}

bool virtual_readable(int fd)
{
    const struct virtual_descriptor *descriptor = virtual_descriptor(fd);
    return descriptor != NULL && (descriptor->signalled || descriptor->due_us <= virtual_us);
}

unsigned virtual_descriptors(void)
{
    unsigned count = 0;
    for (int i = 0; i < VIRTUAL_FDS; i++) {
        count += virtual_fds[i].open ? 1 : 0;
    }
    return count;
}

void virtual_stand_still(struct virtual_host *host, int64_t us)
{
    fuzz_check(virtual_us >= host->still_until_us);
    host->stood_us += host->still_until_us - host->still_from_us;
    host->still_from_us = virtual_us;
    host->still_until_us = host->frozen_until_us = virtual_us + us;
    for (int i = 0; i < VIRTUAL_FDS; i++) {
        struct virtual_descriptor *alarm = &virtual_fds[i];
        alarm->due_us += alarm->host == host && alarm->due_us < INT64_MAX ? us : 0;
    }
    for (int i = 0; i < VIRTUAL_THREADS; i++) {
        struct virtual_thread *thread = &virtual_all[i];
        thread->until_us += thread->host == host && thread->until_us < INT64_MAX ? us : 0;
    }
}

/* ---- In the place of os.c's ---- */

int __wrap_dlk_wake_open(struct dlk_wake *wake);
int __wrap_dlk_wake_open(struct dlk_wake *wake)
{
    wake->read_fd = wake->write_fd = virtual_pipe();
    return 0;
}

void __wrap_dlk_wake_close(struct dlk_wake *wake);
void __wrap_dlk_wake_close(struct dlk_wake *wake)
{
    virtual_pipe_close(wake->read_fd);
    wake->read_fd = wake->write_fd = -1;
}

void __wrap_dlk_wake_up(const struct dlk_wake *wake);
void __wrap_dlk_wake_up(const struct dlk_wake *wake)
{
    virtual_pipe_write(wake->write_fd);
}

void __wrap_dlk_wake_drain(const struct dlk_wake *wake);
void __wrap_dlk_wake_drain(const struct dlk_wake *wake)
{
    virtual_pipe_drain(wake->read_fd);
}

bool __wrap_dlk_wake_works(const struct dlk_wake *wake);
bool __wrap_dlk_wake_works(const struct dlk_wake *wake)
{
    return virtual_descriptor(wake->read_fd) != NULL;
}

int __wrap_dlk_alarm_open(struct dlk_alarm *alarm);
int __wrap_dlk_alarm_open(struct dlk_alarm *alarm)
{
    alarm->fd = virtual_pipe();
    return 0;
}

void __wrap_dlk_alarm_close(struct dlk_alarm *alarm);
void __wrap_dlk_alarm_close(struct dlk_alarm *alarm)
{
    virtual_pipe_close(alarm->fd);
    alarm->fd = -1;
}

/* By a clock that is as fast as that of the machine; never too early. */
static int64_t virtual_after(int64_t delay_us)
{
    const struct virtual_host *host = virtual_all[virtual_self].host;
    int64_t drift_ppm = host != NULL ? host->drift_ppm : 0;
    if (delay_us > INT64_MAX / 4096) {
        return INT64_MAX;
    }
    int64_t us = delay_us - delay_us * drift_ppm / (1000000 + drift_ppm);
    return virtual_us + (us > 0 ? us + 3 : 0);
}

void __wrap_dlk_alarm_set(const struct dlk_alarm *alarm, int64_t delay_us);
void __wrap_dlk_alarm_set(const struct dlk_alarm *alarm, int64_t delay_us)
{
    struct virtual_descriptor *descriptor = virtual_descriptor(alarm->fd);
    if (descriptor != NULL) {
        descriptor->due_us = delay_us < 0 ? INT64_MAX : virtual_after(delay_us);
        descriptor->host = virtual_all[virtual_self].host;
    }
}

bool __wrap_dlk_alarm_works(const struct dlk_alarm *alarm);
bool __wrap_dlk_alarm_works(const struct dlk_alarm *alarm)
{
    return virtual_descriptor(alarm->fd) != NULL;
}

struct virtual_poll {
    const int *fds;
    size_t count;
};

static int virtual_first_readable(const struct virtual_poll *poll)
{
    for (size_t i = 0; i < poll->count; i++) {
        if (virtual_readable(poll->fds[i])) {
            return (int)i;
        }
    }
    return -1;
}

static bool virtual_poll_ready(void *context)
{
    return virtual_first_readable(context) >= 0;
}

int __wrap_dlk_wait_readable(const int *fds, size_t count, int64_t timeout_ms);
int __wrap_dlk_wait_readable(const int *fds, size_t count, int64_t timeout_ms)
{
    struct virtual_poll polled = {fds, count};
    if (timeout_ms != 0) { /* else it only looks, perhaps with a mutex in hand */
        int64_t until_us = timeout_ms < 0 ? INT64_MAX : virtual_after(timeout_ms * 1000);
        virtual_wait(virtual_poll_ready, &polled, until_us);
    }
    return virtual_first_readable(&polled);
}

int __wrap_dlk_thread_start(pthread_t *thread, void *(*run)(void *), void *context);
int __wrap_dlk_thread_start(pthread_t *thread, void *(*run)(void *), void *context)
{
    *thread = virtual_start(virtual_all[virtual_self].host, run, context);
    return 0;
}

int __wrap_dlk_random(void *bytes, size_t length);
int __wrap_dlk_random(void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        ((unsigned char *)bytes)[i] = (unsigned char)virtual_random();
    }
    return 0;
}

uint64_t __wrap_dlk_random_below(uint64_t bound);
uint64_t __wrap_dlk_random_below(uint64_t bound)
{
    return bound == 0 ? 0 : virtual_chance(bound);
}

/* ---- In the place of the C library's, for this thread alone: sanitizers and libFuzzer call them, too ---- */

static bool virtual_has_ended(void *context)
{
    return !virtual_runs(*(const pthread_t *)context);
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
    if (!virtual_is_here) {
        return __real_pthread_join(thread, result);
    }
    fuzz_check(thread >= VIRTUAL_NUMBER && thread < virtual_next_number);
    virtual_wait(virtual_has_ended, &thread, INT64_MAX);
    return 0;
}

/* Of condition variables there is one. */
static bool virtual_has_changed(void *context)
{
    return virtual_changes != *(const uint64_t *)context;
}

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

static void virtual_wait_changed(pthread_mutex_t *mutex, int64_t until_us)
{
    uint64_t seen = virtual_changes;
    virtual_all[virtual_self].held--;
    (void)__real_pthread_mutex_unlock(mutex);
    virtual_wait(virtual_has_changed, &seen, until_us);
    (void)__wrap_pthread_mutex_lock(mutex);
}

int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    if (!virtual_is_here) {
        return __real_pthread_cond_wait(condition, mutex);
    }
    virtual_wait_changed(mutex, INT64_MAX);
    return 0;
}

bool __wrap_dlk_wait_changed(dynalock_store *store, int64_t until_us);
bool __wrap_dlk_wait_changed(dynalock_store *store, int64_t until_us)
{
    int64_t left_us = until_us - dlk_store_boot_us(store);
    if (left_us <= 0) {
        return false;
    }
    virtual_wait_changed(&store->mutex, virtual_after(left_us));
    return true;
}

int __real_pthread_cond_broadcast(pthread_cond_t *condition);
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition);
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition)
{
    if (!virtual_is_here) {
        return __real_pthread_cond_broadcast(condition);
    }
    virtual_changes++;
    return 0;
}

static bool virtual_is_free(void *context)
{
    pthread_mutex_t *mutex = context;
    return pthread_mutex_trylock(mutex) == 0 && __real_pthread_mutex_unlock(mutex) == 0;
}

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (!virtual_is_here) {
        return __real_pthread_mutex_lock(mutex);
    }
    struct virtual_thread *self = &virtual_all[virtual_self];
    while (pthread_mutex_trylock(mutex) != 0) {
        unsigned held = self->held;
        self->held = 0;
        virtual_wait(virtual_is_free, mutex, INT64_MAX);
        self->held = held;
    }
    self->held++;
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (!virtual_is_here) {
        return __real_pthread_mutex_unlock(mutex);
    }
    struct virtual_thread *self = &virtual_all[virtual_self];
    int result = __real_pthread_mutex_unlock(mutex);
    self->held--;
    if (virtual_nervous > 0 && self->held == 0 && virtual_chance(256) < virtual_nervous) {
        virtual_wait(NULL, NULL, virtual_us);
    }
    return result;
}
