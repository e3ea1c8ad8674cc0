/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of policy files (policies.directory): a mounted ConfigMap, or a checkout. What is in
 * it, folders below it included, is read from one moment and taken as a whole: when all of it is
 * right it becomes what the directory owns, in one change; otherwise what was taken before goes on.
 *
 * Files are those named *.yaml, *.yml and *.json; what begins with a dot is passed over. A
 * directory that is not there, or has no such file, is taken for one that is not mounted yet, and
 * nothing is deleted for it.
 */
#ifndef MICA_SERVER_POLICIES_DIR_H
#define MICA_SERVER_POLICIES_DIR_H

#include "policies.h"

struct policies_dir; /* opaque */

struct policies_dir_options {
	struct policies *policies; /* borrowed until policies_dir_free */
	const struct mica_config *config; /* what counts is copied */
	int64_t settle_ms; /* nothing may have changed for so long; 0 = 200 */
};
/* Looks once, so that what is there is in force at once; a failure is logged and told by the
 * status. NULL without policies.directory. */
struct policies_dir *policies_dir_new(const struct policies_dir_options *o);
/* Looks for changes from now on, in a thread of its own. As lookout_new. */
mica_rc policies_dir_start(struct policies_dir *d, struct mica_err *e) MICA_MUST_CHECK;
void policies_dir_look(struct policies_dir *d); /* now (SIGHUP); any thread; NULL is fine */
void policies_dir_free(struct policies_dir *d); /* NULL is fine; ends the thread */

struct policies_dir_status {
	bool valid; /* what is there now was taken */
	uint64_t taken, refused; /* changes */
	int64_t taken_at; /* seconds; 0 = never */
	size_t documents;
	const char *reason; /* of the last look, NULL = none; a literal */
	char error[MICA_ERR_TEXT_MAX];
};
void policies_dir_status(struct policies_dir *d, struct policies_dir_status *out); /* any thread */

#endif
