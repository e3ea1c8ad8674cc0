/* SPDX-License-Identifier: Apache-2.0 */
#include "plugged.h"

#include "lookout.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/log.h"
#include "mica/mem.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>

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

/* One moment of the directory. */
struct moment {
	char folder[PATH_MAX]; /* that the files are in */
	const struct layout *layout; /* NULL = no file of any is there */
	struct lookout_stamp stamp[FILES];
};

struct plugged {
	struct mica_core *core;
	char *directory, *passphrase_file;
	int64_t poll_ms, settle_ms;
	void (*changed)(void *ctx);
	void *ctx;
	struct lookout *lookout; /* NULL: it was not started */
	struct moment *last; /* the thread's own: of the last look; NULL = there was none */

	pthread_mutex_t lock; /* what follows */
	struct plugged_status status;
};

/* ---- one moment --------------------------------------------------------------------------------
 */

static void take_stamp(const char *folder, const char *name, struct lookout_stamp *out)
{
	char path[PATH_MAX + 64];

	memset(out, 0, sizeof(*out));
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (name[0] != '\0')
		lookout_stamp_take(path, out);
}

static bool same_moment(const struct moment *a, const struct moment *b)
{
	if (a->layout != b->layout || strcmp(a->folder, b->folder) != 0)
		return false;
	for (int i = 0; i < FILES; i++)
		if (!lookout_stamp_same(&a->stamp[i], &b->stamp[i]))
			return false;
	return true;
}

/* Of the layouts the first counts of which any file is there, so that one that is missing is missed
 * by its name. */
static void look_at(const struct plugged *p, struct moment *m)
{
	memset(m, 0, sizeof(*m));
	lookout_folder(p->directory, m->folder);
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
static void look(void *ctx)
{
	struct plugged *p = ctx;
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
	pthread_mutex_init(&p->lock, NULL);
	snprintf(p->status.directory, sizeof(p->status.directory), "%s", p->directory);
	look(p);
	return p;
}

static unsigned folders(void *ctx, const char **out, unsigned max)
{
	const struct plugged *p = ctx;

	(void)max; /* there is room for more than two */
	out[0] = p->directory;
	if (!p->last)
		return 1;
	out[1] = p->last->folder;
	return 2;
}

mica_rc plugged_start(struct plugged *p, void (*changed)(void *ctx), void *ctx, struct mica_err *e)
{
	const struct lookout_options o = {.name = "plugged",
		.event = "plugged_not_notified",
		.poll_ms = p->poll_ms,
		.look = look,
		.folders = folders,
		.ctx = p};

	p->changed = changed;
	p->ctx = ctx;
	return lookout_new(&o, &p->lookout, e);
}

void plugged_look(struct plugged *p)
{
	if (p)
		lookout_look(p->lookout);
}

void plugged_free(struct plugged *p)
{
	if (!p)
		return;
	lookout_free(p->lookout);
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
