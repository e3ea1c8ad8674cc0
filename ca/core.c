/* SPDX-License-Identifier: Apache-2.0 */
/* The core's skeleton: parts and views, readers of tokens, changes and their records. */
#include "core_impl.h"

#include <sched.h>

/* ---- parts ----------------------------------------------------------------------------------- */

void *mica_core_part_new(size_t size, void (*free)(void *part))
{
	struct core_part *p = mica_alloc(size);

	atomic_init(&p->refs, 1);
	p->free = free;
	return p;
}

void *mica_core_part_ref(void *part)
{
	struct core_part *p = part;

	if (p)
		atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void mica_core_part_unref(void *part)
{
	struct core_part *p = part;

	if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
		p->free(p);
}

/* ---- views ----------------------------------------------------------------------------------- */

/*
 * The pointer is read, then the reference is counted: between the two the view must not go away.
 * Who is in between has said so in one of two counters. The writer puts the new view in place and
 * then sees each counter at zero once: whoever comes later finds the new one. It sends newcomers to
 * the other counter while it waits for one, so that a stream of readers cannot keep it waiting.
 */
static atomic_uint *entrance(struct mica_core *c, unsigned which)
{
	return which & 1 ? &c->entering1 : &c->entering0;
}

struct core_view *mica_core_view_get(struct mica_core *c)
{
	atomic_uint *in = entrance(c, atomic_load(&c->phase));
	struct core_view *v;

	atomic_fetch_add(in, 1);
	v = atomic_load(&c->view);
	if (v)
		atomic_fetch_add(&v->refs, 1);
	atomic_fetch_sub(in, 1);
	return v;
}

void mica_core_view_unref(struct core_view *v)
{
	if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
		return;
	mica_core_part_unref(v->policy);
	mica_core_part_unref(v->auths);
	mica_core_part_unref(v->deny);
	mica_core_part_unref(v->keys);
	mica_core_part_unref(v->revoked);
	mica_core_part_unref(v->crls);
	mica_core_part_unref(v->pub);
	mica_core_part_unref(v->docs);
	mica_free(v->no_keys);
	mica_free(v);
}

static void set_view(struct mica_core *c, struct core_view *v)
{
	struct core_view *old = atomic_exchange(&c->view, v);

	for (unsigned i = 0; i < 2; i++) {
		unsigned was = atomic_fetch_xor(&c->phase, 1);

		while (atomic_load(entrance(c, was)) != 0)
			sched_yield();
	}
	mica_core_view_unref(old);
}

/* Keys that no caller may bring: those of authorities, of log and publications, and denied ones. */
static void gather_keys(struct mica_core *c, struct core_view *v)
{
	size_t room = v->auths->n + 2 + v->deny->d.n_keys;

	v->no_keys = mica_calloc(room, sizeof(*v->no_keys));
	for (unsigned i = 0; i < v->auths->n; i++)
		memcpy(v->no_keys[v->n_no_keys++], v->auths->more[i].pub.spki_sha256, 32);
	memcpy(v->no_keys[v->n_no_keys++], mica_signer_public(c->log_key)->spki_sha256, 32);
	memcpy(v->no_keys[v->n_no_keys++], mica_signer_public(c->publication_key)->spki_sha256, 32);
	for (size_t i = 0; i < v->deny->d.n_keys; i++)
		memcpy(v->no_keys[v->n_no_keys++], v->deny->d.keys[i], 32);
	mica_key_denied_sort(v->no_keys, v->n_no_keys);
}

static void *pick(void *taken, void *part)
{
	return taken ? taken : mica_core_part_ref(part);
}

void mica_core_view_take_set(struct mica_core *c, const struct core_parts *parts)
{
	static const struct core_view none;
	const struct core_view *old = atomic_load(&c->view); /* we hold `admin`: it stays */
	struct core_view *v = MICA_NEW(struct core_view);

	if (!old)
		old = &none;
	atomic_init(&v->refs, 1);
	v->policy = pick(parts->policy, old->policy);
	v->auths = pick(parts->auths, old->auths);
	v->deny = pick(parts->deny, old->deny);
	v->keys = pick(parts->keys, old->keys);
	v->pub = pick(parts->pub, old->pub);
	v->revoked = pick(parts->revoked, old->revoked);
	v->crls = pick(parts->crls, old->crls);
	v->docs = pick(parts->docs, old->docs);
	gather_keys(c, v);
	if (v->policy && v->auths)
		mica_renewal_calls_of(
			&v->policy->rotation, v->auths->v, v->auths->n, v->auths->from, &v->calls);
	if (parts->policy || parts->auths || parts->deny || parts->revoked)
		atomic_fetch_add(&c->generation, 1);
	v->generation = atomic_load(&c->generation);
	set_view(c, v);
}

uint64_t mica_core_generation(struct mica_core *c)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	return v->generation;
}

/* ---- names and readers ----------------------------------------------------------------------- */

const char *mica_core_keep_name(struct mica_core *c, const char *name)
{
	for (unsigned i = 0; i < c->n_names; i++)
		if (strcmp(c->names[i], name) == 0)
			return c->names[i];
	c->names = mica_realloc(c->names, c->n_names + 1, sizeof(char *));
	c->names[c->n_names] = mica_strdup(name);
	return c->names[c->n_names++];
}

/* Each thread begins at a place of its own, where it finds the reader it gave back last. */
static unsigned own_place(void)
{
	static atomic_uint threads;
	static __thread unsigned place;

	if (place == 0)
		place = atomic_fetch_add(&threads, 1) + 1;
	return place;
}

struct mica_token_reader *mica_core_reader_take(struct mica_core *c)
{
	unsigned from = own_place();

	for (unsigned i = 0; i < CORE_READERS; i++) {
		struct mica_token_reader *r =
			atomic_exchange(&c->readers[(from + i) % CORE_READERS], NULL);

		if (r)
			return r;
	}
	return mica_token_reader_new();
}

void mica_core_reader_give(struct mica_core *c, struct mica_token_reader *r)
{
	unsigned from = own_place();

	mica_token_close(r);
	for (unsigned i = 0; i < CORE_READERS; i++) {
		struct mica_token_reader *none = NULL;

		if (atomic_compare_exchange_strong(
			    &c->readers[(from + i) % CORE_READERS], &none, r))
			return;
	}
	mica_token_reader_free(r);
}

/* ---- changes --------------------------------------------------------------------------------- */

void mica_core_change_clear(struct core_change *ch)
{
	for (size_t i = 0; i < ch->n_mem; i++)
		mica_free(ch->mem[i]);
	mica_free(ch->mem);
	mica_free(ch->writes);
	mica_free(ch->entries);
	memset(ch, 0, sizeof(*ch));
}

static struct mica_slice keep(struct core_change *ch, struct mica_slice s)
{
	void *copy = mica_memdup(s.p, s.len);

	if (ch->n_mem == ch->room_mem) {
		ch->room_mem = ch->room_mem ? 2 * ch->room_mem : 16;
		ch->mem = mica_realloc(ch->mem, ch->room_mem, sizeof(void *));
	}
	ch->mem[ch->n_mem++] = copy;
	return mica_slice(copy, s.len);
}

void mica_core_change_read(
	struct core_change *ch, enum mica_table t, struct mica_slice key, uint64_t rev)
{
	if (ch->n_reads == CORE_CHANGE_READS) {
		ch->over = true;
		return;
	}
	ch->reads[ch->n_reads++] = (struct mica_read){t, keep(ch, key), rev};
}

/* Room for one more in an array that doubles. */
static void *grow(void *v, size_t n, size_t size)
{
	return (n & (n - 1)) == 0 ? mica_realloc(v, n ? 2 * n : 1, size) : v;
}

void mica_core_change_write(struct core_change *ch, enum mica_write_op op, enum mica_table t,
	struct mica_slice key, struct mica_slice value)
{
	if (ch->n_writes == CORE_CHANGE_WRITES) {
		ch->over = true;
		return;
	}
	ch->writes = grow(ch->writes, ch->n_writes, sizeof(*ch->writes));
	ch->writes[ch->n_writes] = (struct mica_write){t, op, keep(ch, key), MICA_SLICE_NULL};
	if (value.len > 0)
		ch->writes[ch->n_writes].value = keep(ch, value);
	ch->n_writes++;
}

static void set_actor(struct mica_entry *en, const struct mica_caller *actor)
{
	if (!actor) {
		en->actor = MICA_ACTOR_SYSTEM;
	} else if (actor->uid >= 0) {
		en->actor = MICA_ACTOR_LOCAL;
		en->uid = (uint32_t)actor->uid;
		en->gid = (uint32_t)actor->gid;
		en->pid = (uint32_t)actor->pid;
	} else {
		en->actor = MICA_ACTOR_SPIFFE;
		en->actor_id = mica_slice_str(actor->principal.spiffe_id);
	}
}

mica_rc mica_core_change_note(struct core_change *ch, const struct core_note *n,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	struct mica_entry en = {.type = n->type, .time_ms = now_ms, .detail = n->detail};
	MICA_AUTO_BUF body;
	mica_rc rc;

	en.action = mica_slice_str(n->action);
	if (n->authority)
		en.authority = mica_slice_str(n->authority);
	set_actor(&en, actor);
	mica_buf_init(&body, MICA_ENTRY_MAX);
	rc = mica_entry_encode(&en, &body, e);
	if (rc != MICA_OK)
		return rc;
	if (ch->n_entries == CORE_CHANGE_ENTRIES) {
		ch->over = true;
		return MICA_OK;
	}
	ch->entries = grow(ch->entries, ch->n_entries, sizeof(*ch->entries));
	ch->entries[ch->n_entries++] = keep(ch, mica_buf_slice(&body));
	return MICA_OK;
}

mica_rc mica_core_ledger_commit(struct mica_core *c, struct mica_change *changes, size_t n,
	int64_t now_ms, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_ledger_commit(c->ledger, changes, n, now_ms, &own);

	/* What is in the store now is not known: nothing may be decided on it any more. */
	if (rc == MICA_INTERNAL)
		atomic_store(&c->failed, true);
	if (rc != MICA_OK && e && e->rc == MICA_OK)
		*e = own;
	return rc;
}

mica_rc mica_core_change_commit(
	struct mica_core *c, struct core_change *ch, int64_t now_ms, struct mica_err *e)
{
	struct mica_change one = {.reads = ch->reads,
		.n_reads = ch->n_reads,
		.writes = ch->writes,
		.n_writes = ch->n_writes,
		.entries = ch->entries,
		.n_entries = ch->n_entries};
	mica_rc rc;

	if (ch->over)
		return mica_fail(e, MICA_INTERNAL, "change_too_large",
			"a change has more reads, writes or entries than there is room for");
	if (ch->n_entries > 0)
		pthread_mutex_lock(&c->commit);
	rc = mica_core_ledger_commit(c, &one, 1, now_ms, e);
	if (ch->n_entries > 0)
		pthread_mutex_unlock(&c->commit);
	if (rc == MICA_OK && one.rc != MICA_OK)
		return mica_fail(e, MICA_CONFLICT, "changed_meanwhile",
			"somebody else changed the same record at the same time; try again");
	return rc;
}

static mica_rc take_rev(void *ctx, struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	(void)value;
	(void)e;
	*(uint64_t *)ctx = rev;
	return MICA_OK;
}

mica_rc mica_core_rev(struct mica_core *c, enum mica_table t, struct mica_slice key, uint64_t *rev,
	struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc;

	*rev = 0;
	rc = mica_store_view(c->store, t, key, take_rev, rev, &own);
	if (rc == MICA_NOT_FOUND)
		return MICA_OK;
	if (rc != MICA_OK && e && e->rc == MICA_OK)
		*e = own;
	return rc;
}
