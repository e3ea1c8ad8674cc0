/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of the daemon: start everything in order, watch over it, reload, drain, stop.
 *
 * Threads: the main thread takes signals and tells the supervisor that the others live; a timer
 * thread does what is due (indexes, signed forms, the serving certificate); the committer; the
 * workers of each listener; the api's pool; the fetchers of issuers' keys and TokenReviews.
 */
#ifndef MICA_SERVER_MICAD_H
#define MICA_SERVER_MICAD_H

#include "mica/err.h"

/* Serves until SIGTERM or SIGINT. The exit status: 0, or that of the error at start
 * (mica_rc_exit), or 75 when the store failed while running: start me again. */
int micad_run(const char *config_path);

/* Loads the configuration and says what is wrong or doubtful with it, on standard output. */
int micad_check_config(const char *config_path);

#endif
