/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program finds around it, for tests of where settings and credentials come from: variables, and a home of
 * the test program's own.
 */
#ifndef TEST_SUPPORT_ENVIRONMENT_H
#define TEST_SUPPORT_ENVIRONMENT_H

/* Unsets all that begins with AWS_. */
void environment_clear(void);
void environment_set(const char *name, const char *value);

/* One for the program: HOME, with .aws and the folder of logins in it. */
void home_make(void);
/* -1: there was something in it besides .aws/config, .aws/credentials and token. */
int home_remove(void);
const char *home_path(const char *name); /* valid until the next call */
void home_put(const char *name, const char *text);
void home_drop(const char *name); /* it need not be there */

#endif
