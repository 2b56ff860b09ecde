/* SPDX-License-Identifier: Apache-2.0 */
/* `dynalock run`: waits for a lock, and runs a command while it is held. */
#include "command.h"
#include "process.h"
#include "waiting.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN_TTL_MS INT64_C(20000)
#define RUN_TTL_MIN_MS INT64_C(2000)
#define RUN_POLL_MIN_MS INT64_C(10)
#define RUN_TIME_MAX_MS (INT64_C(365) * 86400000) /* of a lock's options */
#define RUN_KILL_MIN_MS INT64_C(200)
#define RUN_LOOK_MS 20 /* at what dies, where nothing tells of it */
/* What is left of the group when its leader has ended: time to end by itself, and time to end when told. */
#define RUN_LEFT_MS 1000
#define RUN_LEFT_TOLD_MS 5000
#define RUN_DYING_MS 1000
#define RUN_RELEASE_MS INT64_C(5000)

extern char **environ;

struct run {
    const char *key;
    char **command;
    int64_t wait_ms;
    int not_acquired; /* the exit status */
    bool verbose;
    dynalock_lock_options options;
    char default_holder[320];
    int64_t term_ms,
        kill_ms; /* left of the lease, when the group is told to end, and when it is killed */

    dynalock_store *store;
    dynalock_lock *lock;
    int signal_fd, event_fd;
    struct guardian guardian;
    struct group group;
    int64_t deadline_ms; /* as the guardian knows it */
    int64_t looked_ms;   /* at what is left of the lease */

    int ended_by;        /* the signal that ended the waiting for the lock */
    bool told, was_told; /* to end, for the lease is about to; or was, and was renewed after all */
    bool unguarded;      /* and said so */
    bool in_terminal;    /* the group had it when it ended */
    bool late;           /* a deadline that the guardian knew has passed */
    bool settled;        /* nothing of the lock is left */
    bool stopped_with;   /* this process has, with the group */
    bool continuing;     /* the group is to be, if the lease holds */
    int64_t ended_ms, killed_ms;
    bool left_told;
};

/* ---- Options ---- */

enum { RUN_TTL = 256, RUN_WAIT, RUN_TRY, RUN_POLL, RUN_KEEP, RUN_HOLDER, RUN_VALUE };

static const struct option run_options[] = {
    {"ttl", required_argument, NULL, RUN_TTL},
    {"wait", required_argument, NULL, RUN_WAIT},
    {"try", no_argument, NULL, RUN_TRY},
    {"poll", required_argument, NULL, RUN_POLL},
    {"keep-record", no_argument, NULL, RUN_KEEP},
    {"holder", required_argument, NULL, RUN_HOLDER},
    {"value", required_argument, NULL, RUN_VALUE},
    {"conflict-exit-code", required_argument, NULL, 'E'},
    {NULL, 0, NULL, 0},
};

static bool run_exit_status(const char *text, int *status)
{
    char *end = NULL;
    long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < 0 || number > 255) {
        complain_usage("-E: %s is no exit status: 0 to 255", text);
        return false;
    }
    *status = (int)number;
    return true;
}

static bool run_take(struct run *run, int option)
{
    switch (option) {
    case RUN_TTL:
        return duration_option("--ttl", optarg, RUN_TTL_MIN_MS, RUN_TIME_MAX_MS,
                               &run->options.ttl_ms);
    case RUN_WAIT: return duration_option("--wait", optarg, 0, DURATION_MAX_MS, &run->wait_ms);
    case RUN_TRY: run->wait_ms = 0; return true;
    case RUN_POLL:
        return duration_option("--poll", optarg, RUN_POLL_MIN_MS, RUN_TIME_MAX_MS,
                               &run->options.poll_ms);
    case RUN_KEEP: run->options.keep_record = true; return true;
    case RUN_HOLDER: run->options.holder = optarg; return true;
    case RUN_VALUE: run->options.value = dynalock_bytes(optarg, strlen(optarg)); return true;
    default: return run_exit_status(optarg, &run->not_acquired);
    }
}

static int run_parse(struct run *run, struct settings *settings, int argc, char **argv)
{
    int option = 0;
    bool waits = false, tries = false;
    while ((option = settings_option(settings, argc, argv, "E:", run_options)) >= RUN_TTL ||
           option == 'E') {
        waits = waits || option == RUN_WAIT;
        tries = tries || option == RUN_TRY;
        if (!run_take(run, option)) {
            return EXIT_USAGE;
        }
    }
    if (option != -1) {
        return option == 'h' ? EXIT_OK : EXIT_USAGE;
    }
    if (waits && tries) {
        return complain_usage("run: --wait and --try exclude each other");
    }
    int status = settings_arguments(argc, argv, 2, argc, argc - optind < 1 ? "a KEY" : "a COMMAND");
    run->key = argv[optind];
    run->command = argv + optind + 1;
    return status;
}

static void run_set_holder(struct run *run)
{
    char host[256] = "", since[TIME_SIZE];
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') {
        (void)snprintf(host, sizeof host, "unknown");
    }
    text_time(time_now_ms(), false, since);
    (void)snprintf(run->default_holder, sizeof run->default_holder, "%s %ld %s", host,
                   (long)getpid(), since);
    run->options.holder = run->default_holder;
}

/* ---- What the library tells ---- */

static void run_log(const dynalock_event *event, void *context)
{
    (void)context;
    if (event->id == DYNALOCK_EVENT_WAITING) {
        waiting_note(event);
        signals_wake();
    } else if (event->id == DYNALOCK_EVENT_RENEWED) {
        signals_wake();
    }
}

/* Waits for something to happen. The next event of the lock; kind NONE: there is none. */
static dynalock_lock_event run_await(const struct run *run, int64_t wait_ms)
{
    struct pollfd fds[2] = {{.fd = run->signal_fd, .events = POLLIN},
                            {.fd = run->event_fd, .events = POLLIN}};
    dynalock_lock_event event = {.kind = DYNALOCK_LOCK_EVENT_NONE};
    (void)poll(fds, 2, wait_ms < 0 ? -1 : wait_ms > 60000 ? 60000 : (int)wait_ms);
    (void)dynalock_next_event(run->store, &event, NULL);
    return event;
}

static bool run_ends_by(int number)
{
    return number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT;
}

/* ---- Releasing ---- */

/* The release is awaited for so long, unless a signal or the lease's end comes first: what was sent may still arrive. */
static bool release_is_over(int64_t until_ms)
{
    bool over = process_clock_ms() >= until_ms;
    for (int number = signals_next(); number >= 0; number = signals_next()) {
        over = over || run_ends_by(number);
    }
    return over;
}

/* False: the lock was lost before. */
static bool run_release(struct run *run)
{
    dynalock_lock_event event = {.kind = DYNALOCK_LOCK_EVENT_NONE};
    int64_t left_ms = dynalock_lock_remaining_ms(run->lock);
    int64_t until_ms = process_clock_ms() + (left_ms < RUN_RELEASE_MS ? left_ms : RUN_RELEASE_MS);
    int code = dynalock_lock_release_start(run->lock, &event.error);
    while (code == 0 && event.kind != DYNALOCK_LOCK_EVENT_RELEASE) {
        if (release_is_over(until_ms)) {
            complain("%s: the lock may stay until its lease ends: the release was not answered",
                     run->key);
            return true;
        }
        event = run_await(run, until_ms - process_clock_ms());
    }
    code = code != 0 ? code : event.code;
    run->settled = code == 0;
    if (code != 0) {
        (void)report(run->key, &event.error);
    }
    return code != DYNALOCK_ERR_LOST;
}

/* ---- Acquiring ---- */

/* The signal by which waiting is to end, of those that have come; 0: none. Nobody is there yet for the others. */
static int acquire_signals(void)
{
    int ends = 0;
    for (int number = signals_next(); number >= 0; number = signals_next()) {
        if (run_ends_by(number)) {
            ends = number;
        } else if (number == SIGTSTP) {
            waiting_end();
            (void)signals_stop(false);
        }
    }
    return ends;
}

static int acquire_failed(const struct run *run, const dynalock_lock_event *event)
{
    if (event->code != DYNALOCK_ERR_NOT_ACQUIRED) {
        return report(run->key, &event->error);
    }
    if (run->wait_ms != 0 ||
        run->verbose) { /* who tries and no more, in a cron job, knows what to expect */
        (void)report(run->key, &event->error);
    }
    return run->not_acquired;
}

/* -1, or the exit status; so do the next ones. */
static int run_acquire(struct run *run)
{
    dynalock_error error;
    dynalock_lock_event event = {.kind = DYNALOCK_LOCK_EVENT_NONE};
    if (dynalock_lock_acquire_start(run->lock, run->wait_ms, &error) != 0) {
        return report(run->key, &error);
    }
    waiting_begin(run->key);
    while (event.kind != DYNALOCK_LOCK_EVENT_ACQUIRE) {
        event = run_await(run, waiting_show());
        int number = acquire_signals();
        if (number != 0 && run->ended_by == 0) {
            run->ended_by = number;
            (void)dynalock_lock_cancel(run->lock, NULL);
        }
    }
    waiting_end();
    if (run->ended_by != 0) {
        if (event.code == 0) {
            (void)run_release(run);
        }
        return EXIT_SIGNAL + run->ended_by;
    }
    return event.code == 0 ? -1 : acquire_failed(run, &event);
}

/* ---- Starting ---- */

static char *start_variable(const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 2;
    char *text = malloc(size);
    if (text != NULL) {
        (void)snprintf(text, size, "%s=%s", name, value);
    }
    return text;
}

static bool start_is_ours(const char *variable)
{
    static const char *const names[] = {"DYNALOCK_KEY=", "DYNALOCK_TOKEN=", "DYNALOCK_HOLDER="};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strncmp(variable, names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void start_free(char **environment)
{
    if (environment != NULL) {
        free(environment[0]);
        free(environment[1]);
        free(environment[2]);
        free(environment);
    }
}

/* Not by setenv: other threads may be reading the environment. The copies last as long as the program. */
static char **start_environment(const struct run *run)
{
    size_t count = 0, used = 3;
    char token[24];
    while (environ[count] != NULL) {
        count++;
    }
    char **made = calloc(count + 4, sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    (void)snprintf(token, sizeof token, "%" PRId64, dynalock_lock_token(run->lock));
    made[0] = start_variable("DYNALOCK_KEY", run->key);
    made[1] = start_variable("DYNALOCK_TOKEN", token);
    made[2] = start_variable("DYNALOCK_HOLDER", run->options.holder);
    for (size_t i = 0; i < count; i++) {
        if (!start_is_ours(environ[i])) {
            made[used++] = environ[i];
        }
    }
    if (made[0] == NULL || made[1] == NULL || made[2] == NULL) {
        start_free(made);
        return NULL;
    }
    return made;
}

/* What is left of the lease. The clock is read before: standing still in between makes the deadline earlier, not later. */
static int64_t run_left_ms(struct run *run)
{
    run->looked_ms = process_clock_ms();
    return dynalock_lock_remaining_ms(run->lock);
}

/* The guardian acts after this process should have. */
static int64_t run_deadline(const struct run *run, int64_t left_ms)
{
    return run->looked_ms + left_ms - run->kill_ms / 2;
}

/* Starts another guardian where there is none any more. True: it has to be told. */
static bool run_look_after_guardian(struct run *run)
{
    bool new = guardian_has_died(&run->guardian) || run->guardian.pid <= 0;
    if (new && !guardian_start(&run->guardian) && !run->unguarded) {
        run->unguarded = true;
        complain("%s: the guardian has died, and there is no other: %s", run->key, strerror(errno));
    }
    return new;
}

static int run_start(struct run *run)
{
    char **environment = start_environment(run);
    if (environment == NULL) {
        complain("out of memory");
        return EXIT_SYSTEM;
    }
    (void)run_look_after_guardian(run);
    run->deadline_ms = run_deadline(run, run_left_ms(run));
    bool started =
        group_start(&run->group, run->command, environment, &run->guardian, run->deadline_ms);
    int why = errno;
    start_free(environment);
    if (started) {
        return -1;
    }
    complain("%s: %s", run->command[0], strerror(why));
    if (why == EAGAIN || why == ENOMEM || why == EMFILE || why == ENFILE) {
        return EXIT_SYSTEM;
    }
    return why == ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_EXECUTE;
}

/* ---- Holding ---- */

/* What is to end has to go on for that; the lease allows it: what has none is killed. */
static void hold_hand_on(const struct run *run, int number)
{
    group_signal(&run->group, number);
    if (run->group.stopped && run_ends_by(number) &&
        dynalock_lock_remaining_ms(run->lock) > run->kill_ms) {
        group_signal(&run->group, SIGCONT);
    }
}

static void hold_signals(struct run *run)
{
    for (int number = signals_next(); number >= 0; number = signals_next()) {
        if (number == SIGCONT) {
            group_look(&run->group);
            run->continuing = run->group.stopped;
            if (!run->group.stopped) {
                group_give_terminal(&run->group);
                group_signal(&run->group, SIGCONT);
            }
        } else if (number != 0 && number != SIGCHLD) {
            hold_hand_on(run, number);
        }
    }
}

static void hold_guardian(struct run *run, int64_t left_ms)
{
    int64_t deadline_ms = run_deadline(run, left_ms);
    run->late = run->late || process_clock_ms() >= run->deadline_ms;
    bool new = run_look_after_guardian(run);
    /* Looked at twice, the same deadline may differ by a few milliseconds. */
    if (new || deadline_ms > run->deadline_ms + RUN_LOOK_MS ||
        deadline_ms < run->deadline_ms - RUN_LOOK_MS) {
        run->deadline_ms = deadline_ms;
        (void)guardian_tell(&run->guardian, run->group.leader, deadline_ms);
    }
}

static void hold_judge(struct run *run, int64_t left_ms)
{
    if (run->late && run->group.ended && run->group.signal == SIGKILL && run->killed_ms == 0) {
        run->killed_ms = process_clock_ms();
        group_signal(&run->group, SIGKILL); /* should it have been somebody else's doing */
        complain("%s: the lock is lost (dynalock stood still); its guardian has killed the command",
                 run->key);
    } else if (left_ms <= run->kill_ms) {
        group_signal(&run->group, SIGKILL);
        if (run->killed_ms == 0) {
            run->killed_ms = process_clock_ms();
            complain("%s: the lock is lost (%s): killing the command", run->key,
                     left_ms > 0 ? "its lease could not be renewed"
                                 : dynalock_cause_name(dynalock_lock_cause(run->lock)));
        }
    } else if (left_ms <= run->term_ms && !run->told) {
        run->told = run->was_told = true;
        hold_hand_on(run, SIGTERM);
        complain(
            "%s: the lease could not be renewed and is about to end: telling the command to end",
            run->key);
    } else if (left_ms > run->term_ms) {
        run->told = false;
    }
}

/* Nobody could continue the group: Ctrl-Z is nothing then, as it is to others; who waits for a terminal that it will not
 * get is told, as the system tells those that it leaves behind. */
static void hold_orphan(struct run *run, int by)
{
    run->stopped_with = run->group.stopped = false;
    group_give_terminal(&run->group);
    if (by != SIGTSTP) {
        group_signal(&run->group, SIGHUP);
    }
    group_signal(&run->group, SIGCONT);
}

/* Who waits for the terminal gets it where this process could; else this process stops, too. */
static void hold_stop_with(struct run *run, int by)
{
    if (by != SIGTSTP && group_lend_terminal(&run->group)) {
        run->group.stopped = false;
        group_signal(&run->group, SIGCONT);
        return;
    }
    run->stopped_with = true;
    if (!signals_stop(group_take_terminal(&run->group))) {
        hold_orphan(run, by);
    } /* else SIGCONT has told that it goes on */
}

/* With the group, of which a shell or a terminal has stopped the leader, this process stops; what it judges when it
 * goes on, is judged before the group does. */
static void hold_stop(struct run *run, int64_t left_ms)
{
    int by = run->group.stop_signal;
    if (!run->group.stopped || run->killed_ms != 0) {
        run->stopped_with = run->continuing = false;
    } else if (run->continuing && left_ms > run->term_ms) {
        run->continuing = run->stopped_with = run->group.stopped = false;
        group_give_terminal(&run->group);
        group_signal(&run->group, SIGCONT);
    } else if (!run->continuing && !run->stopped_with &&
               (by == SIGTSTP || by == SIGTTIN || by == SIGTTOU)) {
        hold_stop_with(run, by);
    }
}

/* The leader has ended. True: so has all of its group. */
static bool hold_ends(struct run *run)
{
    int64_t now_ms = process_clock_ms();
    int left = group_is_left(&run->group);
    if (run->ended_ms == 0) {
        run->ended_ms = now_ms;
    }
    if (left == 0) {
        group_signal(&run->group, SIGKILL); /* who was born while the others were looked at */
        return true;
    }
    if (run->killed_ms != 0) {
        return false;
    }
    if (!run->left_told && (left < 0 || now_ms - run->ended_ms > RUN_LEFT_MS)) {
        run->left_told = true;
        group_signal(&run->group, SIGTERM);
        group_signal(&run->group, SIGCONT);
    }
    if (left < 0 || now_ms - run->ended_ms > RUN_LEFT_MS + RUN_LEFT_TOLD_MS) {
        group_signal(&run->group, SIGKILL);
    }
    return left < 0;
}

static int64_t hold_wait_ms(const struct run *run, int64_t left_ms)
{
    if (run->group.ended || run->killed_ms != 0) {
        return RUN_LOOK_MS;
    }
    return left_ms > run->term_ms ? left_ms - run->term_ms + 1 : left_ms - run->kill_ms + 1;
}

/* Until the group has ended. */
static void run_hold(struct run *run)
{
    for (;;) {
        if (run->killed_ms != 0 && process_clock_ms() - run->killed_ms > RUN_DYING_MS) {
            complain("%s: not all of it could be killed, and what is left runs on without the lock",
                     run->key); /* another user's, by sudo; or the system holds it up */
            return;
        }
        hold_signals(run);
        group_look(&run->group);
        int64_t left_ms = run_left_ms(run);
        hold_guardian(run, left_ms);
        hold_judge(run, left_ms);
        if (run->group.ended && hold_ends(run)) {
            return;
        }
        hold_stop(run, left_ms);
        (void)run_await(run, hold_wait_ms(run, left_ms));
    }
}

/* ---- Ending ---- */

static int run_command(struct run *run)
{
    int status = run_start(run);
    if (status != -1) {
        (void)run_release(run);
        return status;
    }
    run_hold(run);
    run->in_terminal = group_take_terminal(&run->group);
    guardian_end(&run->guardian);
    group_end(&run->group);
    if (run->killed_ms != 0 || !run_release(run)) {
        return EXIT_LOST;
    }
    bool by_us = run->told || (run->was_told && run->group.signal == SIGTERM);
    return by_us && run->group.status != 0 ? EXIT_LOST : run->group.status;
}

/* Between here and there the lease may have run short: the command would have no time. */
static int run_await_lease(struct run *run)
{
    while (dynalock_lock_remaining_ms(run->lock) <= run->term_ms) {
        dynalock_lock_event event = run_await(run, 1000);
        int number = acquire_signals();
        if (number != 0) {
            (void)run_release(run);
            return EXIT_SIGNAL + number;
        }
        if (event.kind == DYNALOCK_LOCK_EVENT_LOST) {
            (void)report(run->key, &event.error);
            return EXIT_LOST;
        }
    }
    return -1;
}

static int run_open(struct run *run, const struct settings *settings)
{
    dynalock_error error;
    int status = settings_open(settings, PARTITION_OF_LOCKS, run_log, run, &run->store);
    if (status != EXIT_OK) {
        return status;
    }
    int code = dynalock_lock_new(run->store, run->key, &run->options, &run->lock, &error);
    if (code == 0) {
        code = dynalock_event_fd(run->store, &run->event_fd, &error);
    }
    return code == 0 ? -1 : report(run->key, &error);
}

/* What was lost, or could not be released, ends by its lease: who waits for this process is not to wait for that. */
static void run_close(struct run *run, int status)
{
    bool held = run->lock != NULL && dynalock_lock_token(run->lock) != 0;
    guardian_end(&run->guardian);
    if (held && !run->settled) {
        _exit(status);
    }
    dynalock_lock_free(run->lock);
    (void)dynalock_close(run->store);
}

static int run_all(struct run *run, const struct settings *settings)
{
    /* The guardian first, while this is a program of one thread with nothing open. */
    if (!signals_open(&run->signal_fd) || !guardian_start(&run->guardian)) {
        complain("no pipe or no process: %s", strerror(errno));
        return EXIT_SYSTEM;
    }
    int status = run_open(run, settings);
    if (status == -1) {
        status = run_acquire(run);
    }
    if (status == -1) {
        status = run_await_lease(run);
    }
    if (status == -1) {
        status = run_command(run);
    }
    run_close(run, status);
    bool interrupted =
        run->ended_by == SIGINT || (run->group.signal == SIGINT && status != EXIT_LOST);
    if (interrupted && process_has_terminal()) {
        signals_die(SIGINT, run->in_terminal); /* or a script would go on behind Ctrl-C */
    }
    return status;
}

int command_run(struct settings *settings, int argc, char **argv)
{
    struct run run = {.wait_ms = -1,
                      .not_acquired = EXIT_NOT_ACQUIRED,
                      .options = {.ttl_ms = RUN_TTL_MS},
                      .group = {.terminal = -1}};
    run_set_holder(&run);
    int status = run_parse(&run, settings, argc, argv);
    if (status != -1) {
        return status;
    }
    run.verbose = settings->verbose;
    run.term_ms = run.options.ttl_ms / 4;
    run.kill_ms =
        run.options.ttl_ms / 20 > RUN_KILL_MIN_MS ? run.options.ttl_ms / 20 : RUN_KILL_MIN_MS;
    return run_all(&run, settings);
}
