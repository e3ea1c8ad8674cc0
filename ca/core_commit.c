/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committer's half: n candidates become one durable batch.
 *
 * Candidates that were decided on the same revisions of authority, deny list and rules stand or
 * fall together, so they are one change with many entries: the store judges a read set once, not
 * for each certificate. Ordinarily that is one change for the batch.
 */
#include "core_impl.h"

#include <stdio.h>

#define READS  4
#define WRITES 2

struct group {
	const struct core_view *view;
	int authority;
	size_t n, first; /* entries, in `entries` */
	int64_t end, carried; /* the latest of its candidates */
	bool renews;
	struct mica_read reads[READS];
	struct mica_write writes[WRITES];
	char key[64];
	uint8_t value[WRITES][8];
};

struct batch {
	struct mica_candidate **k;
	size_t n;
	unsigned *group_of; /* of k[i] */
	struct mica_slice *entries;
	struct group *groups;
	struct mica_change *changes;
	unsigned n_groups;
};

static const char *id_of(const struct core_view *v, int authority)
{
	return v->auths->v[authority].id;
}

static bool same_reads(const struct group *g, const struct mica_candidate *k)
{
	const struct core_view *a = g->view, *b = k->view;

	return a->auths->more[g->authority].rev == b->auths->more[k->authority].rev &&
		a->deny->rev == b->deny->rev && a->policy->rev == b->policy->rev &&
		g->renews == k->renews && (!k->renews || a->revoked->rev == b->revoked->rev) &&
		strcmp(id_of(a, g->authority), id_of(b, k->authority)) == 0;
}

static unsigned group_for(struct batch *b, const struct mica_candidate *k)
{
	unsigned i = 0;

	while (i < b->n_groups && !same_reads(&b->groups[i], k))
		i++;
	if (i == b->n_groups)
		b->groups[b->n_groups++] = (struct group){
			.view = k->view, .authority = k->authority, .renews = k->renews};
	return i;
}

/* Stored up to a minute late, so that most commits need not write it. */
static int64_t round_up(int64_t end)
{
	return (end + 59) / 60 * 60;
}

static struct core_last_leaf *last_leaf(struct mica_core *c, const char *id)
{
	struct core_last_leaf *l;

	for (unsigned i = 0; i < c->n_last_leaf; i++)
		if (strcmp(c->last_leaf[i].id, id) == 0)
			return &c->last_leaf[i];
	if (c->n_last_leaf == CORE_AUTHORITY_MAX)
		return NULL;
	l = &c->last_leaf[c->n_last_leaf++];
	*l = (struct core_last_leaf){.end = 0};
	snprintf(l->id, sizeof(l->id), "%s", id);
	return l;
}

/* Of an authority that is destroyed. */
void mica_core_forget_last_leaf(struct mica_core *c, const char *id)
{
	pthread_mutex_lock(&c->commit);
	for (unsigned i = 0; i < c->n_last_leaf; i++)
		if (strcmp(c->last_leaf[i].id, id) == 0)
			c->last_leaf[i--] = c->last_leaf[--c->n_last_leaf];
	pthread_mutex_unlock(&c->commit);
}

/* One more end that is later than what is stored. */
static void raise(struct batch *b, unsigned i, const char *key, int64_t to)
{
	struct group *g = &b->groups[i];
	size_t at = b->changes[i].n_writes++;
	uint64_t end = __builtin_bswap64((uint64_t)to);

	memcpy(g->value[at], &end, sizeof(end));
	g->writes[at] = (struct mica_write){
		MICA_T_COUNTER, MICA_MAX, mica_slice_str(key), mica_slice(g->value[at], 8)};
	b->changes[i].writes = g->writes;
}

int64_t mica_core_carried(struct mica_core *c)
{
	int64_t stored = mica_core_counter(c, "carried"), exact;

	pthread_mutex_lock(&c->commit);
	exact = c->carried;
	pthread_mutex_unlock(&c->commit);
	return round_up(exact) == stored ? exact : stored;
}

static void make_change(struct mica_core *c, struct batch *b, unsigned i)
{
	struct group *g = &b->groups[i];
	const struct core_view *v = g->view;
	const char *id = id_of(v, g->authority);
	const struct core_last_leaf *l = last_leaf(c, id);

	g->reads[0] = (struct mica_read){
		MICA_T_AUTHORITY, mica_slice_str(id), v->auths->more[g->authority].rev};
	g->reads[1] = (struct mica_read){MICA_T_META, MICA_LIT("deny"), v->deny->rev};
	g->reads[2] = (struct mica_read){MICA_T_META, MICA_LIT("rules"), v->policy->rev};
	/* last, for renewals alone: who came with a token is not held up by revocations */
	g->reads[3] = (struct mica_read){MICA_T_META, MICA_LIT("revoked"), v->revoked->rev};
	b->changes[i] = (struct mica_change){.reads = g->reads,
		.n_reads = g->renews ? READS : READS - 1,
		.entries = b->entries + g->first,
		.n_entries = g->n};
	snprintf(g->key, sizeof(g->key), "last_leaf/%s", id);
	if (!l || l->end < round_up(g->end))
		raise(b, i, g->key, round_up(g->end));
	if (round_up(c->carried) < round_up(g->carried))
		raise(b, i, "carried", round_up(g->carried));
}

static void fill(struct mica_core *c, struct batch *b)
{
	size_t at = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct group *g = &b->groups[b->group_of[i] = group_for(b, b->k[i])];

		g->n++;
		g->end = g->end < b->k[i]->end ? b->k[i]->end : g->end;
		if (b->k[i]->carried && g->carried < b->k[i]->end)
			g->carried = b->k[i]->end;
	}
	for (unsigned i = 0; i < b->n_groups; i++) {
		b->groups[i].first = at;
		at += b->groups[i].n;
		b->groups[i].n = 0;
	}
	for (size_t i = 0; i < b->n; i++) {
		struct group *g = &b->groups[b->group_of[i]];

		b->entries[g->first + g->n++] = mica_buf_slice(&b->k[i]->body);
	}
	for (unsigned i = 0; i < b->n_groups; i++)
		make_change(c, b, i);
}

/* Tells each candidate what became of it. */
static void settle(struct mica_core *c, struct batch *b, int64_t now_ms)
{
	for (unsigned i = 0; i < b->n_groups; i++) {
		struct core_last_leaf *l =
			last_leaf(c, id_of(b->groups[i].view, b->groups[i].authority));

		if (b->changes[i].rc == MICA_OK && l && l->end < round_up(b->groups[i].end))
			l->end = round_up(b->groups[i].end);
		if (b->changes[i].rc == MICA_OK && c->carried < b->groups[i].carried)
			c->carried = b->groups[i].carried;
		b->groups[i].n = 0;
	}
	for (size_t i = 0; i < b->n; i++) {
		const struct mica_change *ch = &b->changes[b->group_of[i]];
		struct mica_candidate *k = b->k[i];

		k->rc = ch->rc;
		k->issued.ledger_index = ch->index + b->groups[b->group_of[i]].n++;
		if (k->rc != MICA_OK)
			atomic_fetch_add(&c->conflicts, 1);
		else
			atomic_fetch_add(k->cert.len ? &c->x509_issued : &c->jwt_issued, 1);
		if (k->rc == MICA_OK && k->acks)
			mica_core_acks_born(c, k, now_ms);
		if (k->rc == MICA_OK)
			mica_core_lineage_born(c, k);
	}
	atomic_fetch_add(&c->commits, 1);
}

static mica_rc commit_batch(struct mica_core *c, struct mica_candidate **k, size_t n,
	int64_t now_ms, struct mica_err *e)
{
	MICA_AUTO_FREE unsigned *group_of = mica_calloc(n, sizeof(*group_of));
	MICA_AUTO_FREE struct mica_slice *entries = mica_calloc(n, sizeof(*entries));
	MICA_AUTO_FREE struct group *groups = mica_calloc(n, sizeof(*groups));
	MICA_AUTO_FREE struct mica_change *changes = mica_calloc(n, sizeof(*changes));
	struct batch b = {.k = k,
		.n = n,
		.group_of = group_of,
		.entries = entries,
		.groups = groups,
		.changes = changes};
	mica_rc rc;

	pthread_mutex_lock(&c->commit);
	fill(c, &b);
	rc = mica_core_ledger_commit(c, changes, b.n_groups, now_ms, e);
	if (rc == MICA_OK)
		settle(c, &b, now_ms);
	pthread_mutex_unlock(&c->commit);
	return rc;
}

void mica_core_see_now(struct mica_core *c, int64_t now_ms)
{
	int64_t seen = atomic_load(&c->now_ms);

	while (seen < now_ms && !atomic_compare_exchange_weak(&c->now_ms, &seen, now_ms))
		;
}

mica_rc mica_core_commit(struct mica_core *c, struct mica_candidate **k, size_t n, int64_t now_ms,
	struct mica_err *e)
{
	mica_rc rc;

	if (n == 0)
		return MICA_OK;
	mica_core_see_now(c, now_ms);
	for (size_t i = 0; i < n; i++)
		k[i]->rc = MICA_INTERNAL;
	rc = commit_batch(c, k, n, now_ms, e);
	if (rc != MICA_OK)
		for (size_t i = 0; i < n; i++)
			k[i]->rc = rc; /* nothing of it may leave */
	return rc;
}
