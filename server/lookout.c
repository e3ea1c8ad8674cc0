/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pthread_setname_np */
#include "lookout.h"

#include "mica/log.h"
#include "mica/mem.h"
#include "mica/threads.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#define FOLDERS_MAX 64

struct lookout {
	struct lookout_options o;
	pthread_t thread;
	bool runs;
	atomic_bool stop;
	int inotify, wake; /* descriptors; -1 = none */
};

/* ---- files ----------------------------------------------------------------------------------- */

void lookout_stamp_take(const char *path, struct lookout_stamp *out)
{
	struct stat st;

	memset(out, 0, sizeof(*out));
	if (stat(path, &st) != 0)
		return;
	*out = (struct lookout_stamp){.there = true,
		.device = st.st_dev,
		.inode = st.st_ino,
		.size = st.st_size,
		.modified = st.st_mtim,
		.changed = st.st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool lookout_stamp_same(const struct lookout_stamp *a, const struct lookout_stamp *b)
{
	return a->there == b->there && a->device == b->device && a->inode == b->inode &&
		a->size == b->size && same_time(&a->modified, &b->modified) &&
		same_time(&a->changed, &b->changed);
}

void lookout_folder(const char *directory, char out[PATH_MAX])
{
	char link[PATH_MAX];

	snprintf(link, sizeof(link), "%s/..data", directory);
	if (!realpath(link, out))
		snprintf(out, PATH_MAX, "%s", directory);
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* Again at each look: the folders may be others by now. A watch that is there already stays, and
 * goes with its folder. */
static void watch(struct lookout *l)
{
	const char *folders[FOLDERS_MAX];
	unsigned n = l->o.folders(l->o.ctx, folders, FOLDERS_MAX);

	for (unsigned i = 0; i < n && l->inotify >= 0; i++)
		(void)inotify_add_watch(l->inotify, folders[i],
			IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE | IN_DELETE |
				IN_ATTRIB | IN_ONLYDIR);
}

static void drain(int fd)
{
	char room[4096];

	while (fd >= 0 && read(fd, room, sizeof(room)) > 0)
		;
}

/* Until something is told, or it is time to look. */
static void wait_for_news(struct lookout *l)
{
	struct pollfd fds[] = {
		{.fd = l->inotify, .events = POLLIN}, {.fd = l->wake, .events = POLLIN}};

	(void)poll(fds, MICA_ARRAY_LEN(fds), (int)l->o.poll_ms);
	drain(l->inotify);
	drain(l->wake);
}

static void *run(void *arg)
{
	struct lookout *l = arg;

	pthread_setname_np(pthread_self(), l->o.name);
	for (;;) {
		watch(l);
		wait_for_news(l);
		if (atomic_load(&l->stop))
			return NULL;
		l->o.look(l->o.ctx);
	}
}

mica_rc lookout_new(const struct lookout_options *o, struct lookout **out, struct mica_err *e)
{
	struct lookout *l = MICA_NEW(struct lookout);
	mica_rc rc = MICA_OK;

	l->o = *o;
	l->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (l->inotify < 0)
		MICA_LOG(
			MICA_WARN, o->event, MICA_I("errno", errno), MICA_I("poll_ms", o->poll_ms));
	l->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->wake < 0)
		rc = mica_fail_errno(e, errno, "eventfd");
	if (rc == MICA_OK)
		rc = mica_thread_start(&l->thread, run, l, o->name, e);
	l->runs = rc == MICA_OK;
	if (rc != MICA_OK) {
		lookout_free(l);
		return rc;
	}
	*out = l;
	return MICA_OK;
}

void lookout_look(struct lookout *l)
{
	if (l && l->wake >= 0)
		(void)eventfd_write(l->wake, 1);
}

void lookout_free(struct lookout *l)
{
	if (!l)
		return;
	atomic_store(&l->stop, true);
	lookout_look(l);
	if (l->runs)
		pthread_join(l->thread, NULL);
	if (l->inotify >= 0)
		close(l->inotify);
	if (l->wake >= 0)
		close(l->wake);
	mica_free(l);
}
