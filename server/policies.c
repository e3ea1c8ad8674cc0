/* SPDX-License-Identifier: Apache-2.0 */
#include "policies.h"

#include "mica/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define SUBSCRIBERS 8

/* A document as it was read, in the order of the core. */
struct one {
	const struct mica_policy *policy;
	uint64_t revision;
};

/* What is in force in a channel. */
struct in_force {
	struct one *v;
	size_t n, room;
	struct mica_policy_set *set;
	uint64_t sequence;
};

struct policies {
	struct mica_core *core;
	char *trust_domain, *root_ns;
	struct mica_string_list aliases;
	bool directory_on;
	struct mica_linkerd linkerd;
	pthread_mutex_t loading; /* held while sets are made; `now` is written under both */
	pthread_mutex_t lock;
	struct in_force now[MICA_CHANNEL_COUNT];
	struct {
		void (*fn)(void *ctx);
		void *ctx;
	} subscriber[SUBSCRIBERS];
	unsigned n_subscribers;
	atomic_bool behind;
};

static void clear(struct in_force *f)
{
	for (size_t i = 0; i < f->n; i++)
		mica_policy_unref(f->v[i].policy);
	mica_free(f->v);
	mica_policy_set_unref(f->set);
	memset(f, 0, sizeof(*f));
}
#define AUTO_IN_FORCE __attribute__((cleanup(clear))) struct in_force

/* ---- reading what the core has --------------------------------------------------------------- */

static int compare(const struct mica_policy *p, const struct mica_doc_key *k)
{
	int cmp = mica_slice_cmp(mica_slice_str(mica_policy_kind_name(p->kind)), k->kind);

	if (cmp == 0)
		cmp = mica_slice_cmp(mica_slice_str(p->ns), k->ns);
	return cmp ? cmp : mica_slice_cmp(mica_slice_str(p->name), k->name);
}

/* A new reference to this very revision, when it was read before. */
static const struct mica_policy *known(const struct in_force *f, const struct mica_doc *d)
{
	size_t from = 0, to = f->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;
		int cmp = compare(f->v[mid].policy, &d->key);

		if (cmp == 0)
			return f->v[mid].revision == d->revision ? mica_policy_ref(f->v[mid].policy)
								 : NULL;
		if (cmp < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}

static mica_rc unreadable(const struct mica_doc *d, const struct mica_err *why, struct mica_err *e)
{
	return mica_fail(e, MICA_CORRUPT, "policy_unreadable",
		"%.*s %.*s/%.*s, revision %llu, cannot be read: %s", MICA_FMT(d->key.kind),
		MICA_FMT(d->key.ns), MICA_FMT(d->key.name), (unsigned long long)d->revision,
		why->text);
}

static const struct mica_policy *read_one(const struct mica_doc *d, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	MICA_AUTO_POLICIES some = MICA_POLICIES_INIT;

	if (mica_policies_parse(d->text, "stored", NULL, &some, &own) == MICA_OK &&
		(some.n != 1 || compare(some.v[0], &d->key) != 0))
		mica_fail(&own, MICA_CORRUPT, "policy_name", "it is another policy");
	if (own.rc == MICA_OK)
		return mica_policy_ref(some.v[0]);
	unreadable(d, &own, e);
	return NULL;
}

struct loading {
	const struct in_force *before, *live; /* lend what was read already */
	struct in_force *out;
	struct mica_err *e;
};

static bool load_one(void *ctx, const struct mica_doc *d)
{
	struct loading *l = ctx;
	const struct mica_policy *policy = known(l->before, d);

	if (!policy && l->live)
		policy = known(l->live, d);
	if (!policy)
		policy = read_one(d, l->e);
	if (!policy)
		return false;
	if (l->out->n == l->out->room) {
		l->out->room = l->out->room ? 2 * l->out->room : 64;
		l->out->v = mica_realloc(l->out->v, l->out->room, sizeof(*l->out->v));
	}
	l->out->v[l->out->n++] = (struct one){policy, d->revision};
	return true;
}

static mica_rc compile(const struct policies *p, struct in_force *f, struct mica_err *e)
{
	const struct mica_policy_mesh mesh = {.root_ns = p->root_ns,
		.trust_domain = p->trust_domain,
		.aliases = (const char *const *)p->aliases.v,
		.n_aliases = p->aliases.n};
	MICA_AUTO_FREE const struct mica_policy **v = mica_calloc(f->n + 1, sizeof(*v));

	for (size_t i = 0; i < f->n; i++)
		v[i] = f->v[i].policy;
	return mica_policy_set_new(&mesh, v, f->n, &f->set, e);
}

static mica_rc load(struct policies *p, enum mica_channel ch, const struct in_force *live,
	struct in_force *out, struct mica_err *e)
{
	struct loading l = {.before = &p->now[ch], .live = live, .out = out, .e = e};

	out->sequence = mica_core_policies_visit(p->core, ch, load_one, &l);
	if (e->rc != MICA_OK)
		return e->rc;
	/* while both channels are one they have one number, and one set is enough */
	if (live && live->sequence == out->sequence) {
		out->set = mica_policy_set_ref(live->set);
		return MICA_OK;
	}
	return compile(p, out, e);
}

static void swap(struct policies *p, enum mica_channel ch, struct in_force *f)
{
	struct in_force old;

	pthread_mutex_lock(&p->lock);
	old = p->now[ch];
	p->now[ch] = *f;
	pthread_mutex_unlock(&p->lock);
	*f = old; /* its owner clears it, without the lock */
}

/* The sets follow what the core has. */
static mica_rc refresh(struct policies *p, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc;

	pthread_mutex_lock(&p->loading);
	{
		AUTO_IN_FORCE live = {.n = 0};
		AUTO_IN_FORCE canary = {.n = 0};

		rc = load(p, MICA_CHANNEL_LIVE, NULL, &live, &own);
		if (rc == MICA_OK)
			rc = load(p, MICA_CHANNEL_CANARY, &live, &canary, &own);
		if (rc == MICA_OK) {
			swap(p, MICA_CHANNEL_LIVE, &live);
			swap(p, MICA_CHANNEL_CANARY, &canary);
		}
	}
	pthread_mutex_unlock(&p->loading);
	return rc == MICA_OK ? rc : mica_fail(e, rc, own.reason, "%s", own.text);
}

/* What was committed is in force for all readers before its caller hears of it. That it cannot be
 * read is a bug: it was read when it came. */
static void follow(struct policies *p)
{
	struct mica_err e = MICA_ERR_INIT;

	atomic_store(&p->behind, refresh(p, &e) != MICA_OK);
	if (e.rc != MICA_OK)
		MICA_LOG(MICA_ERROR, "policies_not_followed", MICA_E(&e),
			MICA_S("next", "decisions go by the policies of before"));
	for (unsigned i = 0; i < p->n_subscribers; i++)
		p->subscriber[i].fn(p->subscriber[i].ctx);
}

/* ---- life ------------------------------------------------------------------------------------ */

mica_rc policies_new(struct mica_core *core, const struct mica_config *config,
	struct policies **out, struct mica_err *e)
{
	const struct mica_string_list *aliases = &config->policies.trust_domain_aliases;
	struct policies *p = MICA_NEW(struct policies);
	mica_rc rc;

	p->core = core;
	p->trust_domain = mica_strdup(config->trust_domain);
	p->root_ns = mica_strdup(config->policies.root_namespace);
	p->directory_on = config->policies.directory != NULL;
	snprintf(p->linkerd.control_ns, sizeof(p->linkerd.control_ns), "%s",
		config->linkerd.control_plane_namespace ? config->linkerd.control_plane_namespace
							: "linkerd");
	snprintf(p->linkerd.trust_domain, sizeof(p->linkerd.trust_domain), "%s",
		config->linkerd.trust_domain ? config->linkerd.trust_domain : config->trust_domain);
	p->aliases.v = mica_calloc(aliases->n + 1, sizeof(*p->aliases.v));
	for (unsigned i = 0; i < aliases->n; i++)
		p->aliases.v[p->aliases.n++] = mica_strdup(aliases->v[i]);
	pthread_mutex_init(&p->loading, NULL);
	pthread_mutex_init(&p->lock, NULL);
	rc = refresh(p, e);
	if (rc != MICA_OK)
		policies_free(p);
	else
		*out = p;
	return rc;
}

void policies_free(struct policies *p)
{
	if (!p)
		return;
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++)
		clear(&p->now[ch]);
	mica_string_list_clear(&p->aliases);
	mica_free(p->trust_domain);
	mica_free(p->root_ns);
	pthread_mutex_destroy(&p->loading);
	pthread_mutex_destroy(&p->lock);
	mica_free(p);
}

struct mica_policy_set *policies_get(struct policies *p, enum mica_channel ch, int64_t *sequence)
{
	struct mica_policy_set *s;

	pthread_mutex_lock(&p->lock);
	s = mica_policy_set_ref(p->now[ch].set);
	if (sequence)
		*sequence = (int64_t)p->now[ch].sequence;
	pthread_mutex_unlock(&p->lock);
	return s;
}

const struct mica_linkerd *policies_linkerd(const struct policies *p)
{
	return &p->linkerd;
}

bool policies_behind(struct policies *p)
{
	return atomic_load(&p->behind);
}

void policies_subscribe(struct policies *p, void (*fn)(void *ctx), void *ctx)
{
	if (p->n_subscribers == SUBSCRIBERS)
		abort(); /* a bug: they are counted when the program is written */
	p->subscriber[p->n_subscribers].fn = fn;
	p->subscriber[p->n_subscribers++].ctx = ctx;
}

/* ---- changes --------------------------------------------------------------------------------- */

mica_rc policies_edits_of(
	const struct mica_policies *read, struct policies_edits *out, struct mica_err *e)
{
	out->v = mica_calloc(read->n + 1, sizeof(*out->v));
	out->texts = mica_calloc(read->n + 1, sizeof(*out->texts));
	for (unsigned i = 0; i < read->n; i++) {
		const struct mica_policy *p = read->v[i];
		struct mica_buf *text = &out->texts[out->n++];

		mica_buf_init(text, MICA_DOC_TEXT_MAX);
		mica_policy_put_json(text, p);
		if (text->over)
			return mica_fail(e, MICA_LIMIT, "policy_too_large",
				"%s %s/%s: is longer than %d octets",
				mica_policy_kind_name(p->kind), p->ns, p->name, MICA_DOC_TEXT_MAX);
		out->v[i] = (struct mica_doc_edit){.op = MICA_DOC_PUT,
			.key = {mica_slice_str(mica_policy_kind_name(p->kind)),
				mica_slice_str(p->ns), mica_slice_str(p->name)},
			.text = mica_buf_slice(text),
			.dry_run = p->dry_run,
			.expect = MICA_REVISION_ANY};
	}
	return MICA_OK;
}

void policies_edits_clear(struct policies_edits *e)
{
	for (size_t i = 0; i < e->n; i++)
		mica_buf_clear(&e->texts[i]);
	mica_free(e->texts);
	mica_free(e->v);
	memset(e, 0, sizeof(*e));
}

static bool check_revision(void *ctx, const struct mica_doc *d)
{
	MICA_AUTO_POLICIES some = MICA_POLICIES_INIT;

	if (!d->deleted)
		(void)(mica_policies_parse(d->text, "stored", NULL, &some, ctx) == MICA_OK);
	return true;
}

/* What comes back must be what this program reads. */
static mica_rc check_rollbacks(
	struct policies *p, const struct mica_docs_change *ch, struct mica_err *e)
{
	for (size_t i = 0; i < ch->n; i++) {
		const struct mica_doc_edit *ed = &ch->edits[i];
		struct mica_err own = MICA_ERR_INIT;
		mica_rc rc;

		if (ed->op != MICA_DOC_ROLLBACK)
			continue;
		rc = mica_core_policy(
			p->core, ch->channel, &ed->key, ed->to, check_revision, &own, e);
		if (rc != MICA_OK)
			return rc;
		if (own.rc != MICA_OK)
			return mica_fail(e, MICA_INVALID, own.reason, "%s", own.text);
	}
	return MICA_OK;
}

mica_rc policies_change(
	struct policies *p, struct mica_docs_change *ch, int64_t now_ms, struct mica_err *e)
{
	mica_rc rc = check_rollbacks(p, ch, e);

	ch->directory_on = p->directory_on;
	if (rc == MICA_OK)
		rc = mica_core_policies_change(p->core, ch, now_ms, e);
	if (rc == MICA_OK && ch->changed > 0)
		follow(p);
	return rc;
}

mica_rc policies_promote(struct policies *p, const struct mica_doc_key *keys, size_t n,
	bool withdraw, const struct mica_caller *actor, int64_t now_ms, uint64_t *sequence,
	size_t *n_done, struct mica_err *e)
{
	mica_rc rc = mica_core_policies_promote(
		p->core, keys, n, withdraw, actor, now_ms, sequence, n_done, e);

	if (rc == MICA_OK)
		follow(p);
	return rc;
}
