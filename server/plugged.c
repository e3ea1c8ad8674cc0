/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pthread_setname_np */
#include "plugged.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/log.h"
#include "mica/mem.h"
#include "mica/threads.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define FILE_MAX     ((size_t)256 * 1024)
#define SETTLE_MS    200
#define SETTLE_TRIES 25 /* then what is there is taken as it is: it may change for ever */
#define FILES        4

enum { CERT, CHAIN, ROOTS, KEY };

/* Names in the order of the enum; an empty one: there is no such file. */
static const struct layout {
	const char *names[FILES];
} layouts[] = {{{"ca-cert.pem", "cert-chain.pem", "root-cert.pem", "ca-key.pem"}},
	{{"tls.crt", "", "ca.crt", "tls.key"}}};

/* By what a file is known again without keeping what is in it. */
struct stamp {
	bool there;
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
};

/* One moment of the directory. */
struct moment {
	char folder[PATH_MAX]; /* that the files are in */
	const struct layout *layout; /* NULL = no file of any is there */
	struct stamp stamp[FILES];
};

struct plugged {
	struct mica_core *core;
	char *directory, *passphrase_file;
	int64_t poll_ms, settle_ms;
	void (*changed)(void *ctx);
	void *ctx;
	pthread_t thread;
	bool runs;
	int inotify, wake; /* descriptors; -1 = none */
	struct moment *last; /* the thread's own: of the last look; NULL = there was none */

	pthread_mutex_t lock; /* what follows */
	bool stop;
	struct plugged_status status;
};

/* ---- one moment --------------------------------------------------------------------------------
 */

static void take_stamp(const char *folder, const char *name, struct stamp *out)
{
	char path[PATH_MAX + 64];
	struct stat st;

	memset(out, 0, sizeof(*out));
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (name[0] == '\0' || stat(path, &st) != 0)
		return;
	*out = (struct stamp){.there = true,
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

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->there == b->there && a->device == b->device && a->inode == b->inode &&
		a->size == b->size && same_time(&a->modified, &b->modified) &&
		same_time(&a->changed, &b->changed);
}

static bool same_moment(const struct moment *a, const struct moment *b)
{
	if (a->layout != b->layout || strcmp(a->folder, b->folder) != 0)
		return false;
	for (int i = 0; i < FILES; i++)
		if (!same_stamp(&a->stamp[i], &b->stamp[i]))
			return false;
	return true;
}

/* Kubernetes writes a folder for each version and swaps the link `..data` to it: what the link
 * names now is of one moment, whatever it names later. Of the layouts the first counts of which any
 * file is there, so that one that is missing is missed by its name. */
static void look_at(const struct plugged *p, struct moment *m)
{
	char link[PATH_MAX];

	memset(m, 0, sizeof(*m));
	snprintf(link, sizeof(link), "%s/..data", p->directory);
	if (!realpath(link, m->folder))
		snprintf(m->folder, sizeof(m->folder), "%s", p->directory);
	for (size_t l = 0; l < MICA_ARRAY_LEN(layouts) && !m->layout; l++) {
		for (int i = 0; i < FILES; i++) {
			take_stamp(m->folder, layouts[l].names[i], &m->stamp[i]);
			if (m->stamp[i].there)
				m->layout = &layouts[l];
		}
	}
}

/* Until nothing has changed for a while: files that are written one by one are not mixed, as long
 * as their writer is quick. Whatever is mixed even so is refused, since its key does not fit. */
static void settle(const struct plugged *p, struct moment *m)
{
	struct moment again;

	look_at(p, m);
	for (int i = 0; i < SETTLE_TRIES; i++) {
		usleep((useconds_t)(p->settle_ms * 1000));
		look_at(p, &again);
		if (same_moment(m, &again))
			return;
		*m = again;
	}
}

struct contents {
	struct mica_buf file[FILES];
};

static void contents_init(struct contents *c)
{
	for (int i = 0; i < FILES; i++)
		mica_buf_init_secret(&c->file[i], FILE_MAX);
}

static void contents_clear(struct contents *c)
{
	for (int i = 0; i < FILES; i++)
		mica_buf_clear(&c->file[i]);
}
#define CONTENTS_AUTO __attribute__((cleanup(contents_clear))) struct contents

static mica_rc read_files(
	const struct plugged *p, const struct moment *m, struct contents *c, struct mica_err *e)
{
	char path[PATH_MAX + 64];
	struct mica_err own = MICA_ERR_INIT;
	struct moment after;
	mica_rc rc = MICA_OK;

	if (!m->layout)
		return mica_fail(e, MICA_NOT_FOUND, "plugged_files_missing",
			"%s: expected ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem, or "
			"tls.crt, tls.key and ca.crt",
			p->directory);
	for (int i = 0; i < FILES && rc == MICA_OK; i++) {
		if (m->layout->names[i][0] == '\0' || (i == CHAIN && !m->stamp[i].there))
			continue;
		snprintf(path, sizeof(path), "%s/%s", m->folder, m->layout->names[i]);
		rc = mica_file_read(path, &c->file[i], &own);
	}
	if (rc != MICA_OK)
		return mica_fail(e, rc,
			rc == MICA_NOT_FOUND ? "plugged_files_missing" : "plugged_files_unreadable",
			"%s", own.text);
	look_at(p, &after);
	if (!same_moment(m, &after))
		return mica_fail(e, MICA_UNAVAILABLE, "plugged_files_changing",
			"%s: its files change while they are read", p->directory);
	return MICA_OK;
}

/* ---- handing it on -----------------------------------------------------------------------------
 */

static mica_rc load_passphrase(
	const struct plugged *p, struct mica_secret **out, struct mica_err *e)
{
	const struct mica_secret_source source = {.file = p->passphrase_file};

	*out = NULL;
	return p->passphrase_file ? mica_secret_load(&source, out, e) : MICA_OK;
}

static mica_rc hand_on(
	struct plugged *p, const struct moment *m, struct mica_plug_result *r, struct mica_err *e)
{
	MICA_AUTO_SECRET pass = NULL;
	struct mica_plug_file f[FILES];
	struct mica_plug plug;
	CONTENTS_AUTO c;
	mica_rc rc;

	contents_init(&c);
	rc = read_files(p, m, &c, e);
	if (rc == MICA_OK)
		rc = load_passphrase(p, &pass, e);
	if (rc != MICA_OK)
		return rc;
	for (int i = 0; i < FILES; i++)
		f[i] = (struct mica_plug_file){m->layout->names[i], mica_buf_slice(&c.file[i])};
	plug = (struct mica_plug){.cert = f[CERT],
		.chain = f[CHAIN],
		.roots = f[ROOTS],
		.key = f[KEY],
		.passphrase = pass};
	return rc == MICA_OK ? mica_core_plug(p->core, &plug, mica_now_ms(), r, e) : rc;
}

static void say(struct plugged *p, mica_rc rc, const struct mica_plug_result *r,
	const struct mica_err *e, bool news)
{
	if (rc != MICA_OK && news)
		MICA_LOG(MICA_ERROR, "plugged_refused", MICA_S("directory", p->directory),
			MICA_E(e), MICA_S("next", "what was taken before goes on"));
	else if (rc == MICA_OK && (r->changed || news))
		MICA_LOG(MICA_INFO, r->changed ? "plugged_taken" : "plugged_as_before",
			MICA_S("directory", p->directory), MICA_S("issuing", r->issuing_id),
			MICA_S("root", r->root_id),
			MICA_S("issues", r->active ? "now" : "when everybody has its root"),
			MICA_S(r->no_crl_sign ? "crl" : NULL, "none: it has no cRLSign"),
			MICA_S(r->no_key_ids ? "strict_clients" : NULL,
				"refuse it: it lacks key identifiers"));
}

/* Whether the outcome is another than that of the last look. */
static bool note_outcome(struct plugged *p, mica_rc rc, const struct mica_plug_result *r,
	const struct mica_err *e, bool same)
{
	struct plugged_status *s = &p->status;
	bool news;

	pthread_mutex_lock(&p->lock);
	news = rc == MICA_OK ? !s->valid
			     : !same || s->reason == NULL || strcmp(s->reason, e->reason) != 0;
	s->valid = rc == MICA_OK;
	s->reason = rc == MICA_OK ? NULL : e->reason;
	snprintf(s->error, sizeof(s->error), "%s", rc == MICA_OK ? "" : e->text);
	if (rc != MICA_OK) {
		s->refused += news;
	} else {
		s->taken += r->changed;
		s->taken_at = mica_now();
		s->active = r->active;
		memcpy(s->issuing_id, r->issuing_id, sizeof(s->issuing_id));
		memcpy(s->root_id, r->root_id, sizeof(s->root_id));
	}
	pthread_mutex_unlock(&p->lock);
	return news;
}

/* What is the same as before, and was taken, is not handed on again; what was refused is, since the
 * reason may have been elsewhere: a passphrase, a full disk, the time. */
static void look(struct plugged *p)
{
	struct moment *m = MICA_NEW(struct moment);
	struct mica_plug_result r = {.changed = false};
	struct mica_err e = MICA_ERR_INIT;
	bool same, news;
	mica_rc rc;

	look_at(p, m);
	if (p->last && p->status.valid && same_moment(p->last, m)) {
		mica_free(m);
		return;
	}
	settle(p, m);
	same = p->last && same_moment(p->last, m);
	rc = hand_on(p, m, &r, &e);
	mica_free(p->last);
	p->last = m;
	news = note_outcome(p, rc, &r, &e, same);
	say(p, rc, &r, &e, news);
	if (rc == MICA_OK && r.changed && p->changed)
		p->changed(p->ctx);
}

/* ---- the thread --------------------------------------------------------------------------------
 */

/* Again at each look: the folders may be others by now. A watch that is there already stays, and
 * goes with its folder. */
static void watch(struct plugged *p)
{
	const char *folders[] = {p->directory, p->last ? p->last->folder : NULL};

	for (size_t i = 0; i < MICA_ARRAY_LEN(folders); i++)
		if (p->inotify >= 0 && folders[i])
			(void)inotify_add_watch(p->inotify, folders[i],
				IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE |
					IN_DELETE | IN_ATTRIB | IN_ONLYDIR);
}

static void drain(int fd)
{
	char room[4096];

	while (fd >= 0 && read(fd, room, sizeof(room)) > 0)
		;
}

/* Until something is told, or it is time to look. */
static void wait_for_news(struct plugged *p)
{
	struct pollfd fds[] = {
		{.fd = p->inotify, .events = POLLIN}, {.fd = p->wake, .events = POLLIN}};

	(void)poll(fds, MICA_ARRAY_LEN(fds), (int)p->poll_ms);
	drain(p->inotify);
	drain(p->wake);
}

static bool is_over(struct plugged *p)
{
	bool stop;

	pthread_mutex_lock(&p->lock);
	stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return stop;
}

static void *run(void *arg)
{
	struct plugged *p = arg;

	pthread_setname_np(pthread_self(), "plugged");
	for (;;) {
		watch(p);
		wait_for_news(p);
		if (is_over(p))
			return NULL;
		look(p);
	}
}

/* ---- life --------------------------------------------------------------------------------------
 */

struct plugged *plugged_new(const struct plugged_options *o)
{
	struct plugged *p;

	if (o->config->authorities.root != MICA_ROOT_FILES)
		return NULL;
	p = MICA_NEW(struct plugged);
	p->core = o->core;
	p->directory = mica_strdup(o->config->plugged.directory);
	p->passphrase_file = mica_strdup(o->config->plugged.passphrase_file);
	p->poll_ms = o->config->plugged.poll * 1000;
	p->settle_ms = o->settle_ms ? o->settle_ms : SETTLE_MS;
	p->inotify = p->wake = -1;
	pthread_mutex_init(&p->lock, NULL);
	snprintf(p->status.directory, sizeof(p->status.directory), "%s", p->directory);
	look(p);
	return p;
}

mica_rc plugged_start(struct plugged *p, void (*changed)(void *ctx), void *ctx, struct mica_err *e)
{
	mica_rc rc;

	p->changed = changed;
	p->ctx = ctx;
	p->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (p->inotify < 0)
		MICA_LOG(MICA_WARN, "plugged_not_notified", MICA_I("errno", errno),
			MICA_I("poll_ms", p->poll_ms));
	p->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (p->wake < 0)
		return mica_fail_errno(e, errno, "eventfd");
	rc = mica_thread_start(&p->thread, run, p, "plugged.directory", e);
	p->runs = rc == MICA_OK;
	return rc;
}

void plugged_look(struct plugged *p)
{
	if (p && p->wake >= 0)
		(void)eventfd_write(p->wake, 1);
}

void plugged_free(struct plugged *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_mutex_unlock(&p->lock);
	plugged_look(p);
	if (p->runs)
		pthread_join(p->thread, NULL);
	if (p->inotify >= 0)
		close(p->inotify);
	if (p->wake >= 0)
		close(p->wake);
	mica_free(p->last);
	pthread_mutex_destroy(&p->lock);
	mica_free(p->directory);
	mica_free(p->passphrase_file);
	mica_free(p);
}

void plugged_status(struct plugged *p, struct plugged_status *out)
{
	pthread_mutex_lock(&p->lock);
	*out = p->status;
	pthread_mutex_unlock(&p->lock);
}
