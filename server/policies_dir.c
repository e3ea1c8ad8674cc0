/* SPDX-License-Identifier: Apache-2.0 */
#include "policies_dir.h"

#include "lookout.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/log.h"
#include "mica/mem.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#define SETTLE_MS    200
#define SETTLE_TRIES 15 /* then the next look sees: a stop waits for this one */
#define FILES_MAX    10000
#define FOLDERS_MAX  1000
#define DEPTH_MAX    8

struct file {
	char *path;
	struct lookout_stamp stamp;
};

/* One moment of the directory. */
struct moment {
	char folder[PATH_MAX]; /* that the files are in */
	struct file *file; /* by path */
	char **sub; /* folders below */
	unsigned n, n_sub;
	struct mica_err err; /* why it cannot be read */
};

struct policies_dir {
	struct policies *policies;
	char *directory;
	char git[PATH_MAX]; /* a checkout's .git, whose lock tells when it is at work */
	int64_t poll_ms, settle_ms;
	struct lookout *lookout; /* NULL: it was not started */
	struct moment *last; /* the looker's: NULL = none */
	pthread_mutex_t lock; /* what follows */
	struct policies_dir_status status;
};

/* ---- one moment ------------------------------------------------------------------------------ */

static void moment_free(struct moment *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->n; i++)
		mica_free(m->file[i].path);
	for (unsigned i = 0; i < m->n_sub; i++)
		mica_free(m->sub[i]);
	mica_free(m->file);
	mica_free(m->sub);
	mica_free(m);
}

static bool has_suffix(const char *name, const char *suffix)
{
	return mica_slice_has_suffix(mica_slice_str(name), mica_slice_str(suffix));
}

static void *grow(void *v, unsigned n, size_t size)
{
	return (n & (n - 1)) == 0 ? mica_realloc(v, n ? 2u * n : 1, size) : v;
}

static mica_rc too_many(struct moment *m, const char *what, int max)
{
	return mica_fail(&m->err, MICA_LIMIT, "policies_directory_too_large", "%s: more than %d %s",
		m->folder, max, what);
}

static mica_rc read_folder(struct moment *m, const char *path, unsigned depth);

static mica_rc read_entry(struct moment *m, const char *folder, const char *name, unsigned depth)
{
	char path[PATH_MAX];
	struct stat st;

	if (name[0] == '.')
		return MICA_OK;
	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return mica_fail(&m->err, MICA_LIMIT, "policies_directory_too_large",
			"%.200s...: its path is too long", folder);
	if (lstat(path, &st) != 0)
		return MICA_OK; /* it has gone: the next look sees it */
	if (S_ISDIR(st.st_mode)) {
		if (depth == DEPTH_MAX || m->n_sub == FOLDERS_MAX)
			return too_many(m, "folders, or too deep", FOLDERS_MAX);
		m->sub = grow(m->sub, m->n_sub, sizeof(*m->sub));
		m->sub[m->n_sub++] = mica_strdup(path);
		return read_folder(m, path, depth + 1);
	}
	if (!has_suffix(name, ".yaml") && !has_suffix(name, ".yml") && !has_suffix(name, ".json"))
		return MICA_OK;
	if (m->n == FILES_MAX)
		return too_many(m, "files", FILES_MAX);
	m->file = grow(m->file, m->n, sizeof(*m->file));
	m->file[m->n] = (struct file){.path = mica_strdup(path)};
	lookout_stamp_take(path, &m->file[m->n++].stamp);
	return MICA_OK;
}

static mica_rc read_folder(struct moment *m, const char *path, unsigned depth)
{
	DIR *d = opendir(path);
	struct dirent *one;
	mica_rc rc = MICA_OK;

	if (!d)
		return mica_fail(&m->err, MICA_UNAVAILABLE,
			errno == ENOENT ? "policies_directory_missing"
					: "policies_directory_unreadable",
			"%s: errno %d", path, errno);
	while (rc == MICA_OK && (one = readdir(d)) != NULL)
		rc = read_entry(m, path, one->d_name, depth);
	closedir(d);
	return rc;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static struct moment *look_at(const struct policies_dir *d)
{
	struct moment *m = MICA_NEW(struct moment);
	char lock[PATH_MAX + 16];
	struct lookout_stamp git;

	lookout_folder(d->directory, m->folder);
	if (read_folder(m, m->folder, 0) == MICA_OK && m->n > 0)
		qsort(m->file, m->n, sizeof(*m->file), by_path);
	/* git holds it while it writes a checkout */
	snprintf(lock, sizeof(lock), "%s/index.lock", d->git);
	lookout_stamp_take(lock, &git);
	if (git.there)
		mica_fail(&m->err, MICA_UNAVAILABLE, "policies_directory_changing",
			"%s: git is at work there", d->directory);
	return m;
}

static bool same_moment(const struct moment *a, const struct moment *b)
{
	if (strcmp(a->folder, b->folder) != 0 || a->n != b->n || a->err.reason != b->err.reason)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (strcmp(a->file[i].path, b->file[i].path) != 0 ||
			!lookout_stamp_same(&a->file[i].stamp, &b->file[i].stamp))
			return false;
	return true;
}

static bool is_changing(const struct moment *m)
{
	return m->err.reason && strcmp(m->err.reason, "policies_directory_changing") == 0;
}

/* Until nothing has changed for a while: files that are written one by one are not mixed, as long
 * as their writer is quick. */
static struct moment *settle(const struct policies_dir *d, struct moment *m)
{
	for (int i = 0; i < SETTLE_TRIES; i++) {
		struct moment *again;
		bool same;

		usleep((useconds_t)(d->settle_ms * 1000));
		again = look_at(d);
		same = same_moment(m, again);
		moment_free(m);
		m = again;
		if (same && !is_changing(m))
			break;
	}
	return m;
}

/* ---- what it holds --------------------------------------------------------------------------- */

static void append(struct mica_policies *all, const struct mica_policies *some)
{
	all->v = mica_realloc(all->v, all->n + some->n + 1, sizeof(*all->v));
	for (unsigned i = 0; i < some->n; i++)
		all->v[all->n++] = mica_policy_ref(some->v[i]);
}

static mica_rc read_file(const struct moment *m, const struct file *f, size_t *octets,
	struct mica_policies *all, struct mica_err *e)
{
	MICA_AUTO_POLICIES some = MICA_POLICIES_INIT;
	const char *name = f->path + strlen(m->folder) + 1;
	MICA_AUTO_BUF text;
	mica_rc rc;

	mica_buf_init(&text, MICA_POLICY_TEXT_MAX);
	rc = mica_file_read(f->path, &text, e);
	*octets += text.len;
	if (rc == MICA_OK && *octets > MICA_DOCS_TEXT_MAX)
		rc = mica_fail(e, MICA_LIMIT, "policies_too_large",
			"%s: its files have more than %d octets", m->folder, MICA_DOCS_TEXT_MAX);
	if (rc == MICA_OK)
		rc = mica_policies_parse(mica_buf_slice(&text), name, NULL, &some, e);
	if (rc == MICA_OK)
		append(all, &some);
	return rc;
}

static mica_rc read_all(const struct policies_dir *d, const struct moment *m,
	struct mica_policies *all, struct mica_err *e)
{
	struct moment *after;
	size_t octets = 0;
	mica_rc rc = m->err.rc;
	bool same;

	if (rc != MICA_OK)
		return mica_fail(e, rc, m->err.reason, "%s", m->err.text);
	if (m->n == 0)
		return mica_fail(e, MICA_UNAVAILABLE, "policies_directory_empty",
			"%s: there is no *.yaml, *.yml or *.json; it may not be mounted yet, so nothing is deleted",
			d->directory);
	for (unsigned i = 0; i < m->n && rc == MICA_OK; i++)
		rc = read_file(m, &m->file[i], &octets, all, e);
	after = look_at(d);
	same = same_moment(m, after);
	moment_free(after);
	if (!same && e->rc == MICA_OK)
		rc = mica_fail(e, MICA_UNAVAILABLE, "policies_directory_changing",
			"%s: its files change while they are read", d->directory);
	return rc;
}

static mica_rc take(struct policies_dir *d, const struct moment *m, struct mica_docs_change *ch,
	struct mica_err *e)
{
	MICA_AUTO_POLICIES all = MICA_POLICIES_INIT;
	POLICIES_AUTO_EDITS edits = {.n = 0};
	mica_rc rc = read_all(d, m, &all, e);

	if (rc == MICA_OK)
		rc = policies_edits_of(&all, &edits, e);
	if (rc != MICA_OK)
		return rc;
	*ch = (struct mica_docs_change){
		.edits = edits.v, .n = edits.n, .owner = MICA_DOC_DIRECTORY};
	rc = policies_change(d->policies, ch, mica_now_ms(), e);
	ch->edits = NULL;
	return rc;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* Whether the outcome is another than that of the last look. */
static bool note_outcome(struct policies_dir *d, mica_rc rc, const struct mica_docs_change *ch,
	const struct mica_err *e, bool same)
{
	struct policies_dir_status *s = &d->status;
	bool news;

	pthread_mutex_lock(&d->lock);
	news = rc == MICA_OK ? !s->valid
			     : !same || s->reason == NULL || strcmp(s->reason, e->reason) != 0;
	s->valid = rc == MICA_OK;
	s->reason = rc == MICA_OK ? NULL : e->reason;
	snprintf(s->error, sizeof(s->error), "%s", rc == MICA_OK ? "" : e->text);
	if (rc != MICA_OK) {
		s->refused += news;
	} else {
		s->taken += ch->changed > 0;
		s->taken_at = mica_now();
		s->documents = ch->n;
	}
	pthread_mutex_unlock(&d->lock);
	return news;
}

static void say(const struct policies_dir *d, mica_rc rc, const struct mica_docs_change *ch,
	const struct mica_err *e, bool news)
{
	if (rc != MICA_OK && news)
		MICA_LOG(MICA_ERROR, "policies_directory_refused",
			MICA_S("directory", d->directory), MICA_E(e),
			MICA_S("next", "the policies of before go on"));
	else if (rc == MICA_OK && (ch->changed > 0 || news))
		MICA_LOG(MICA_INFO, "policies_directory_taken", MICA_S("directory", d->directory),
			MICA_I("policies", ch->n), MICA_I("changed", ch->changed),
			MICA_I("deleted", ch->deleted), MICA_I("sequence", ch->sequence));
}

/* What is the same as before, and was taken, is not taken again; what was refused is, since the
 * reason may have been elsewhere: a full disk. */
static void look(void *ctx)
{
	struct policies_dir *d = ctx;
	struct moment *m = look_at(d);
	struct mica_docs_change ch = {.n = 0};
	struct mica_err e = MICA_ERR_INIT;
	bool same, news;
	mica_rc rc;

	if (d->last && d->status.valid && same_moment(d->last, m)) {
		moment_free(m);
		return;
	}
	m = settle(d, m);
	same = d->last && same_moment(d->last, m);
	rc = take(d, m, &ch, &e);
	moment_free(d->last);
	d->last = m;
	news = note_outcome(d, rc, &ch, &e, same);
	say(d, rc, &ch, &e, news);
}

static unsigned folders(void *ctx, const char **out, unsigned max)
{
	const struct policies_dir *d = ctx;
	unsigned n = 0;

	out[n++] = d->directory;
	out[n++] = d->git; /* if there is one */
	if (!d->last)
		return n;
	out[n++] = d->last->folder;
	for (unsigned i = 0; i < d->last->n_sub && n < max; i++)
		out[n++] = d->last->sub[i];
	return n;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct policies_dir *policies_dir_new(const struct policies_dir_options *o)
{
	struct policies_dir *d;

	if (!o->config->policies.directory)
		return NULL;
	d = MICA_NEW(struct policies_dir);
	d->policies = o->policies;
	d->directory = mica_strdup(o->config->policies.directory);
	snprintf(d->git, sizeof(d->git), "%s/.git", d->directory);
	d->poll_ms = o->config->policies.poll * 1000;
	d->settle_ms = o->settle_ms ? o->settle_ms : SETTLE_MS;
	pthread_mutex_init(&d->lock, NULL);
	look(d);
	return d;
}

mica_rc policies_dir_start(struct policies_dir *d, struct mica_err *e)
{
	const struct lookout_options o = {.name = "policies",
		.event = "policies_not_notified",
		.poll_ms = d->poll_ms,
		.look = look,
		.folders = folders,
		.ctx = d};

	return lookout_new(&o, &d->lookout, e);
}

void policies_dir_look(struct policies_dir *d)
{
	if (d)
		lookout_look(d->lookout);
}

void policies_dir_free(struct policies_dir *d)
{
	if (!d)
		return;
	lookout_free(d->lookout);
	moment_free(d->last);
	pthread_mutex_destroy(&d->lock);
	mica_free(d->directory);
	mica_free(d);
}

void policies_dir_status(struct policies_dir *d, struct policies_dir_status *out)
{
	pthread_mutex_lock(&d->lock);
	*out = d->status;
	pthread_mutex_unlock(&d->lock);
}
