/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories that others write to: a thread that looks when the kernel tells of a change
 * (inotify), when it is asked to, and now and then, for what the kernel does not tell of (network
 * file systems, a folder that is mounted later).
 */
#ifndef MICA_SERVER_LOOKOUT_H
#define MICA_SERVER_LOOKOUT_H

#include "mica/err.h"

#include <limits.h>
#include <sys/stat.h>

/* By what a file is known again without keeping what is in it. */
struct lookout_stamp {
	bool there;
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
};
void lookout_stamp_take(const char *path, struct lookout_stamp *out);
bool lookout_stamp_same(const struct lookout_stamp *a, const struct lookout_stamp *b);

/* The folder that a directory's files are in. Kubernetes writes a folder for each version and swaps
 * the link `..data` to it: what the link names now is of one moment, whatever it names later.
 * Elsewhere, the directory itself. */
void lookout_folder(const char *directory, char out[PATH_MAX]);

struct lookout; /* opaque */
struct lookout_options {
	const char *name; /* of the thread; also of what is logged: <name>_not_notified */
	const char *event; /* that event; a literal */
	int64_t poll_ms;
	/* On the thread: looks; and what is to be watched from then on, up to `max`. The texts live
	 * until the next look. */
	void (*look)(void *ctx);
	unsigned (*folders)(void *ctx, const char **out, unsigned max);
	void *ctx;
};
/* The first look comes with the first news. UNAVAILABLE "no_threads", else as mica_fail_errno. */
mica_rc lookout_new(
	const struct lookout_options *o, struct lookout **out, struct mica_err *e) MICA_MUST_CHECK;
void lookout_look(struct lookout *l); /* now; any thread; NULL is fine */
void lookout_free(struct lookout *l); /* ends the thread; NULL is fine */

#endif
