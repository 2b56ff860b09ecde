/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failures on purpose: the Nth call that the library makes of what it depends on fails, as if there were no memory, no
 * descriptor, no thread, no entropy. Counted are its own calls of what is named in the wrap lines, and what jansson,
 * libcurl and OpenSSL allocate; with fail_system.h, what libcurl asks of the system, too. test/gates/failures.sh sees to
 * it that there is nothing else that could fail.
 */
#ifndef TEST_SUPPORT_FAIL_H
#define TEST_SUPPORT_FAIL_H

/* What fail_*.c are linked with; all of them are in support_fail.c. */
/* wrap: malloc calloc realloc strdup */
/* wrap: pthread_create pthread_mutex_init pthread_cond_init pthread_condattr_init pthread_condattr_setclock */
/* wrap: pthread_attr_init pthread_attr_setstacksize */
/* wrap: eventfd timerfd_create getrandom pipe pipe2 open fcntl socket getsockname poll read */
/* wrap: getpwuid_r gethostname */
/* wrap: posix_spawnp posix_spawn_file_actions_init posix_spawn_file_actions_adddup2 */
/* wrap: posix_spawn_file_actions_addopen posix_spawn_file_actions_addclosefrom_np posix_spawnattr_init */
/* wrap: curl_global_init curl_easy_init curl_easy_setopt curl_easy_getinfo curl_slist_append */
/* wrap: curl_multi_init curl_multi_setopt curl_multi_add_handle curl_multi_remove_handle */
/* wrap: curl_multi_perform curl_multi_poll curl_multi_wakeup */
/* wrap: EVP_MD_fetch EVP_MAC_fetch EVP_MD_CTX_new EVP_MAC_CTX_new EVP_MAC_CTX_set_params EVP_Digest */
/* wrap: EVP_DigestInit_ex EVP_DigestUpdate EVP_DigestFinal_ex EVP_MAC_init EVP_MAC_update EVP_MAC_final */
/* wrap: json_loadb json_object json_array json_stringn_nocheck json_integer json_real json_deep_copy */
/* wrap: json_array_append_new json_object_set_new_nocheck */

#include <pthread.h>
#include <stdbool.h>

/* Once, before anything else is called. */
void fail_install(void);

/* From now on, the calls are counted, in this process and in what it forks, and those from the nth on (1: the first),
 * count of them, fail. */
void fail_arm(unsigned nth, unsigned count);
/* Ends it: whether one was made fail. */
bool fail_disarm(void);
/* What was made fail last, "malloc". */
const char *fail_what(void);
/* Whether that is a code for it: memory and the system; or what a dependency makes of it. */
bool fail_explains(int code);
/* This thread's calls are not counted. */
void fail_exempt(bool is_exempt);

/* How many points to go on by: 1 with DYNALOCK_TEST_SWEEP=full in the environment, else the usual. */
unsigned fail_step(unsigned usual);
/* Prints how many points were tried since the last report, and what failed at them; returns how many. */
unsigned fail_report(const char *operation);

/* Of that thread (0: nobody's): what has arrived is not looked at right after a poll, but just before the next one. */
void fail_look_late(pthread_t thread, bool late);

/* For fail_system.h: whether the call that is being made fails. */
bool fail_now(const char *name);

#endif
