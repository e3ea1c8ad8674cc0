/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The effects of rotation: facts for the decision (rotation.h), and each of its steps as one
 * transaction: records of authorities, the bundle's numbers, entries of the ledger. Between any two
 * steps the process may end; the next one asks again and goes on.
 */
#include "core_impl.h"

#include <stdio.h>

#define KEEP_EVERY_MS                                                                              \
	(3 * 60 * 1000) /* less than MICA_CLOCK_AHEAD_MS: a start soon after is believed */
#define STEPS_MAX 16 /* in one go; more of them wait a second */

/* ---- what is known --------------------------------------------------------------------------- */

mica_rc mica_core_reload_authorities(struct mica_core *c, int64_t now, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct core_authorities *a = NULL;
	/* The clock may have gone back; what has happened has happened. */
	int64_t at = now > v->auths->from ? now : v->auths->from;
	mica_rc rc = mica_core_authorities_load(c, v->policy->trust_domain, v->auths, at, &a, e);

	if (rc == MICA_OK)
		mica_core_view_take_set(c, &(struct core_parts){.auths = a});
	return rc;
}

int64_t mica_core_counter(struct mica_core *c, const char *key)
{
	MICA_AUTO_BUF b;
	struct mica_cursor cur;

	mica_buf_init(&b, 64);
	if (mica_store_get(c->store, MICA_T_COUNTER, mica_slice_str(key), &b, NULL, NULL) !=
		MICA_OK)
		return 0;
	cur = (struct mica_cursor){mica_buf_slice(&b), false};
	return (int64_t)mica_cur_be64(&cur);
}

int64_t mica_core_last_leaf(struct mica_core *c, const char *id)
{
	char key[64];

	snprintf(key, sizeof(key), "last_leaf/%s", id);
	return mica_core_counter(c, key);
}

static struct mica_slice carried_key(const char *id, char out[64])
{
	snprintf(out, 64, "carried/%s", id);
	return mica_slice_str(out);
}

struct mica_slice mica_core_confirmed_key(const char *id, const char *outlet, char out[160])
{
	snprintf(out, 160, "confirmed/%s/%s", id, outlet);
	return mica_slice_str(out);
}

static mica_rc look_at_confirmations(struct mica_core *c, const struct core_policy *p,
	const char *id, bool *confirmed, struct mica_err *e)
{
	mica_rc rc = MICA_OK;
	char key[160];

	*confirmed = true;
	for (unsigned i = 0; i < p->unsure_outlets.n && rc == MICA_OK; i++) {
		uint64_t rev;

		rc = mica_core_rev(c, MICA_T_META,
			mica_core_confirmed_key(id, p->unsure_outlets.v[i], key), &rev, e);
		*confirmed = *confirmed && rev != 0;
	}
	return rc;
}

/* Acknowledgements count for roots that wait for them, and are looked for now and then: it is one
 * look at all holders. */
static mica_rc look_at_acks(struct mica_core *c, const struct core_view *v, unsigned i, int64_t now,
	bool *acked, struct mica_err *e)
{
	const struct mica_authority *a = &v->auths->v[i];
	int64_t since = mica_authority_first(a, MICA_AE_PUBLISHED, now);
	uint64_t sequence[MICA_CHANNEL_COUNT];

	*acked = false;
	if (a->kind != MICA_AUTHORITY_ROOT || since == MICA_TIME_NEVER ||
		mica_authority_state_at(a, now) != MICA_AS_PUBLISHED ||
		now < since + mica_rotation_propagation(&v->policy->rotation, a->kind))
		return MICA_OK;
	mica_core_first_bundles(a, sequence);
	return mica_core_acked(c, sequence, now, acked, e);
}

mica_rc mica_core_gather(struct mica_core *c, const struct core_view *v, int64_t now,
	struct mica_rotation_fact facts[CORE_AUTHORITY_MAX], struct mica_err *e)
{
	mica_rc rc = MICA_OK;
	char key[64];

	for (unsigned i = 0; i < v->auths->n && rc == MICA_OK; i++) {
		const struct mica_authority *a = &v->auths->v[i];

		facts[i] = (struct mica_rotation_fact){
			.last_leaf = mica_core_last_leaf(c, a->id), .confirmed = true};
		if (a->kind != MICA_AUTHORITY_ROOT)
			continue;
		facts[i].renewed = mica_core_renewed(c, v, now);
		carried_key(a->id, key);
		facts[i].carried = mica_core_counter(c, key);
		rc = look_at_confirmations(c, v->policy, a->id, &facts[i].confirmed, e);
		if (rc == MICA_OK)
			rc = look_at_acks(c, v, i, now, &facts[i].acked, e);
	}
	return rc;
}

/* ---- a new authority ---------------------------------------------------------------------------
 */

static mica_rc open_root(struct mica_core *c, const struct mica_authority *root,
	struct mica_signer **signer, struct mica_cert_issuer **issuer, struct mica_err *e)
{
	mica_rc rc = mica_kek_open(
		c->kek, MICA_KEY_ROOT, root->id, mica_buf_slice(&root->envelope), signer, e);

	if (rc == MICA_OK)
		rc = mica_cert_issuer_new(mica_buf_slice(&root->cert), *signer, issuer, e);
	if (rc != MICA_OK)
		mica_err_context(e, "root %s", root->id);
	return rc;
}

static void auto_issuer(struct mica_cert_issuer **i)
{
	mica_cert_issuer_free(*i);
}

static mica_rc sign_issuing(struct mica_core *c, const struct mica_authority *root,
	struct mica_ca_spec *s, struct mica_buf *cert, struct mica_err *e)
{
	MICA_AUTO_SIGNER signer = NULL;
	__attribute__((cleanup(auto_issuer))) struct mica_cert_issuer *issuer = NULL;
	mica_rc rc = open_root(c, root, &signer, &issuer, e);

	return rc == MICA_OK ? mica_issuing_sign(issuer, s, cert, e) : rc;
}

static mica_rc certify(struct mica_core *c, const struct core_view *v,
	const struct mica_rotation_step *step, const struct mica_signer *key, int64_t now_ms,
	struct mica_authority *a, struct mica_err *e)
{
	const struct mica_authority *root = step->parent >= 0 ? &v->auths->v[step->parent] : NULL;
	struct mica_ca_spec s = {.kind = root ? MICA_CA_ISSUING : MICA_CA_ROOT,
		.trust_domain = v->policy->trust_domain,
		.not_after = a->not_after};

	char url[CORE_CRL_URL_SIZE];

	a->not_before -= CORE_CA_BACKDATE;
	if (root && a->not_before < root->not_before)
		a->not_before = root->not_before;
	if (a->kind == MICA_AUTHORITY_JWT)
		return MICA_OK;
	s.not_before = a->not_before;
	mica_serial_make(now_ms, s.serial);
	if (!root)
		return mica_root_sign(key, &s, &a->cert, e);
	memcpy(a->parent, root->id, sizeof(a->parent));
	s.key = mica_signer_public(key);
	s.crl_url = mica_core_crl_url(v->policy, root->id, url);
	return sign_issuing(c, root, &s, &a->cert, e);
}

static mica_rc make(struct mica_core *c, const struct core_view *v,
	const struct mica_rotation_step *step, int64_t now_ms, struct mica_authority *a,
	struct mica_err *e)
{
	static const enum mica_key_purpose purposes[MICA_AUTHORITY_KIND_COUNT] = {
		[MICA_AUTHORITY_ROOT] = MICA_KEY_ROOT,
		[MICA_AUTHORITY_ISSUING] = MICA_KEY_ISSUING,
		[MICA_AUTHORITY_JWT] = MICA_KEY_JWT};
	int64_t end = step->parent >= 0 ? v->auths->v[step->parent].not_after : MICA_TIME_NEVER;
	MICA_AUTO_SIGNER key = NULL;
	mica_rc rc = mica_signer_generate(
		step->kind == MICA_AUTHORITY_JWT ? MICA_KN_P256 : v->policy->authority_key, &key,
		e);

	if (rc != MICA_OK)
		return rc;
	snprintf(a->set, sizeof(a->set), "%s", MICA_SET_DEFAULT);
	mica_pubkey_id_hex(mica_signer_public(key), a->id);
	mica_buf_put_slice(&a->spki, mica_pubkey_spki(mica_signer_public(key)));
	rc = mica_rotation_born(&v->policy->rotation, step, now_ms / 1000, end, a, e);
	if (rc == MICA_OK)
		rc = certify(c, v, step, key, now_ms, a, e);
	if (rc == MICA_OK)
		rc = mica_kek_seal(c->kek, purposes[step->kind], a->id, key, &a->envelope, e);
	return rc;
}

/* ---- a step ------------------------------------------------------------------------------------
 */

/* One step on its way into the store. */
struct stepping {
	struct mica_core *c;
	const struct core_view *v;
	const struct mica_rotation_step *s;
	const struct mica_caller *actor; /* NULL = micad itself */
	struct mica_slice
		more; /* members of the entry's detail, each with a comma before; may be empty */
	int64_t now_ms;
	struct mica_authority at, instead;
	struct core_change ch;
};

static void stepping_clear(struct stepping *x)
{
	mica_authority_clear(&x->at);
	mica_authority_clear(&x->instead);
	mica_core_change_clear(&x->ch);
}

static mica_rc note(
	struct stepping *x, const char *action, const struct mica_authority *a, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_AUTHORITY, .action = action, .authority = a->id};
	MICA_AUTO_BUF detail;

	mica_buf_init(&detail, 8192);
	mica_buf_printf(&detail, "{\"kind\":\"%s\",\"why\":\"%s\"",
		mica_authority_kind_name(a->kind), mica_rotation_why_name(x->s->why));
	if (x->s->action == MICA_ROT_CREATE && a->parent[0])
		mica_buf_printf(&detail, ",\"parent\":\"%s\"", a->parent);
	if (x->s->canary)
		mica_buf_put_str(&detail, ",\"channel\":\"canary\"");
	if (x->s->standby)
		mica_buf_put_str(&detail, ",\"standby\":true");
	if (x->s->emergency)
		mica_buf_put_str(&detail, ",\"emergency\":true");
	mica_buf_put_slice(&detail, x->more);
	mica_buf_put_u8(&detail, '}');
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(&x->ch, &n, x->actor, x->now_ms, e);
}

/* The authorities as they will be, for the content of the bundle; all borrowed. */
struct preview {
	struct core_authorities a;
	struct mica_authority v[CORE_AUTHORITY_MAX + 1];
	struct core_authority_more more[CORE_AUTHORITY_MAX + 1];
};

static mica_rc fill_preview(const struct stepping *x, struct preview *p, struct mica_err *e)
{
	const struct core_authorities *a = x->v->auths;
	mica_rc rc = MICA_OK;

	p->a.v = p->v;
	p->a.more = p->more;
	p->a.n = a->n;
	p->a.from = x->now_ms / 1000 > a->from ? x->now_ms / 1000 : a->from;
	memcpy(p->v, a->v, a->n * sizeof(p->v[0]));
	memcpy(p->more, a->more, a->n * sizeof(p->more[0]));
	if (x->s->at >= 0)
		p->v[x->s->at] = x->at;
	if (x->s->instead >= 0)
		p->v[x->s->instead] = x->instead;
	if (x->s->action == MICA_ROT_CREATE) {
		rc = mica_pubkey_read(mica_buf_slice(&x->at.spki), &p->more[a->n].pub, e);
		p->v[p->a.n++] = x->at;
	}
	return rc;
}

static mica_rc renumber(
	struct stepping *x, uint64_t sequence[MICA_CHANNEL_COUNT], struct mica_err *e)
{
	MICA_AUTO_FREE struct preview *p = mica_calloc(1, sizeof(*p));
	mica_rc rc = fill_preview(x, p, e);

	if (rc == MICA_OK)
		rc = mica_core_renumber(x->c, x->v, &p->a, &x->ch, x->now_ms, sequence, e);
	return rc;
}

static mica_rc put(
	struct stepping *x, const struct mica_authority *a, uint64_t rev, struct mica_err *e)
{
	MICA_AUTO_BUF record;
	mica_rc rc;

	mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
	rc = mica_authority_encode(a, &record, e);
	mica_core_change_read(&x->ch, MICA_T_AUTHORITY, mica_slice_str(a->id), rev);
	mica_core_change_write(
		&x->ch, MICA_PUT, MICA_T_AUTHORITY, mica_slice_str(a->id), mica_buf_slice(&record));
	return rc;
}

/* Whose bundle is older than this root, and stays so until they renew. */
static void note_carried(struct stepping *x)
{
	int64_t end = mica_core_carried(x->c);
	MICA_AUTO_BUF b;
	char key[64];

	mica_buf_init(&b, 8);
	mica_buf_put_be64(&b, (uint64_t)end);
	if (end > 0)
		mica_core_change_write(&x->ch, MICA_PUT, MICA_T_COUNTER, carried_key(x->at.id, key),
			mica_buf_slice(&b));
}

static mica_rc prepare_create(struct stepping *x, struct mica_err *e)
{
	uint64_t sequence[MICA_CHANNEL_COUNT] = {0};
	mica_rc rc;

	if (x->v->auths->n == CORE_AUTHORITY_MAX)
		return mica_fail(e, MICA_CONFLICT, "too_many_authorities",
			"there are %d authorities, the most that a store holds; a shorter "
			"rotation.trash lets old ones go",
			CORE_AUTHORITY_MAX);
	rc = make(x->c, x->v, x->s, x->now_ms, &x->at, e);
	if (rc == MICA_OK)
		rc = note(x, "created", &x->at, e);
	if (rc == MICA_OK && x->at.kind != MICA_AUTHORITY_ISSUING) {
		rc = renumber(x, sequence, e);
		if (x->s->canary)
			x->at.canary_sequence = sequence[MICA_CHANNEL_CANARY];
		else
			x->at.sequence = sequence[MICA_CHANNEL_LIVE];
	}
	if (rc == MICA_OK && x->at.kind == MICA_AUTHORITY_ROOT)
		note_carried(x);
	if (rc == MICA_OK && x->s->parent >= 0)
		mica_core_change_read(&x->ch, MICA_T_AUTHORITY, mica_slice_str(x->at.parent),
			x->v->auths->more[x->s->parent].rev);
	return rc == MICA_OK ? put(x, &x->at, 0, e) : rc;
}

static mica_rc prepare_mark(struct stepping *x, struct mica_err *e)
{
	static const char *const actions[MICA_ROT_ACTION_COUNT] = {[MICA_ROT_READY] = "ready",
		[MICA_ROT_ACTIVATE] = "activated",
		[MICA_ROT_REMOVE] = "removed",
		[MICA_ROT_PUBLISH] = "published",
		[MICA_ROT_RESTORE] = "canary_restored"};
	bool in_canary = x->s->canary && x->s->action == MICA_ROT_REMOVE;
	const struct core_authorities *a = x->v->auths;
	int at = x->s->at, instead = x->s->instead;
	/* as mica_rotation_mark has it: it comes back to the canary channel */
	bool back = x->s->action == MICA_ROT_RESTORE ||
		(x->s->action == MICA_ROT_ACTIVATE &&
			mica_canary_gone(&a->v[at], x->now_ms / 1000));
	uint64_t sequence[MICA_CHANNEL_COUNT];
	mica_rc rc = mica_authority_copy(&a->v[at], &x->at, e);

	if (rc == MICA_OK && instead >= 0)
		rc = mica_authority_copy(&a->v[instead], &x->instead, e);
	if (rc == MICA_OK)
		rc = mica_rotation_mark(
			x->s, &x->at, instead >= 0 ? &x->instead : NULL, x->now_ms / 1000, e);
	if (rc == MICA_OK && instead >= 0)
		rc = note(x, "retired", &x->instead, e);
	if (rc == MICA_OK)
		rc = note(x, in_canary ? "canary_removed" : actions[x->s->action], &x->at, e);
	if (rc == MICA_OK)
		rc = renumber(x, sequence, e);
	if (rc == MICA_OK && x->s->action == MICA_ROT_PUBLISH)
		x->at.sequence = sequence[MICA_CHANNEL_LIVE];
	if (rc == MICA_OK && x->at.kind == MICA_AUTHORITY_ROOT &&
		(back || x->s->action == MICA_ROT_PUBLISH))
		note_carried(x);
	if (rc == MICA_OK && instead >= 0)
		rc = put(x, &x->instead, a->more[instead].rev, e);
	return rc == MICA_OK ? put(x, &x->at, a->more[at].rev, e) : rc;
}

static mica_rc prepare_destroy(struct stepping *x, struct mica_err *e)
{
	const struct mica_authority *a = &x->v->auths->v[x->s->at];
	const struct mica_string_list *outlets = &x->v->policy->unsure_outlets;
	char key[160];

	mica_core_change_read(
		&x->ch, MICA_T_AUTHORITY, mica_slice_str(a->id), x->v->auths->more[x->s->at].rev);
	mica_core_change_write(
		&x->ch, MICA_DELETE, MICA_T_AUTHORITY, mica_slice_str(a->id), MICA_SLICE_NULL);
	snprintf(key, sizeof(key), "last_leaf/%s", a->id);
	mica_core_change_write(
		&x->ch, MICA_DELETE, MICA_T_COUNTER, mica_slice_str(key), MICA_SLICE_NULL);
	if (a->kind == MICA_AUTHORITY_ROOT)
		mica_core_change_write(&x->ch, MICA_DELETE, MICA_T_COUNTER, carried_key(a->id, key),
			MICA_SLICE_NULL);
	for (unsigned i = 0; i < outlets->n; i++)
		mica_core_change_write(&x->ch, MICA_DELETE, MICA_T_META,
			mica_core_confirmed_key(a->id, outlets->v[i], key), MICA_SLICE_NULL);
	return note(x, "destroyed", a, e);
}

static mica_rc prepare(struct stepping *x, struct mica_err *e)
{
	switch (x->s->action) {
	case MICA_ROT_CREATE: return prepare_create(x, e);
	case MICA_ROT_DESTROY: return prepare_destroy(x, e);
	default: return prepare_mark(x, e);
	}
}

mica_rc mica_core_step(struct mica_core *c, const struct mica_rotation_step *s,
	const struct mica_caller *actor, struct mica_slice more, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	__attribute__((cleanup(stepping_clear))) struct stepping x = {.c = c,
		.v = v,
		.s = s,
		.actor = actor,
		.more = more,
		.now_ms = mica_core_decision_ms(c, now_ms)};
	char id[MICA_KEY_ID_SIZE];
	mica_rc rc;

	mica_authority_init(&x.at);
	mica_authority_init(&x.instead);
	rc = prepare(&x, e);
	if (rc == MICA_OK)
		rc = mica_core_change_commit(c, &x.ch, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	/* It holds from here on, whatever fails below. */
	c->stale = c->renumbered = true;
	memcpy(id, s->at >= 0 ? v->auths->v[s->at].id : x.at.id, sizeof(id));
	if (s->action == MICA_ROT_DESTROY)
		mica_core_forget_last_leaf(c, id);
	rc = mica_core_reload_authorities(c, x.now_ms / 1000, e);
	c->stale = rc != MICA_OK;
	return rc;
}

/* ---- what is due -------------------------------------------------------------------------------
 */

mica_rc mica_core_rotation_next(struct mica_core *c, const struct core_view *v, int64_t now_ms,
	struct mica_rotation_step *out, struct mica_err *e)
{
	struct mica_rotation_fact facts[CORE_AUTHORITY_MAX];
	struct mica_rotation_facts f = {.of = facts,
		.frozen = c->rotation.word != MICA_CLOCK_AGREES,
		.carried = mica_core_carried(c),
		.look_again = c->rotation.look_again,
		.unproven = c->rotation.clock.unproven};
	int64_t now = mica_core_decision_ms(c, now_ms) / 1000;
	mica_rc rc = mica_core_gather(c, v, now, facts, e);

	if (rc == MICA_OK)
		*out = mica_rotation_next(&v->policy->rotation, &f, v->auths->v, v->auths->n, now);
	return rc;
}

mica_rc mica_core_rotate(struct mica_core *c, int64_t now_ms, bool *hurry, struct mica_err *e)
{
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		CORE_AUTO_VIEW v = mica_core_view_get(c);
		struct mica_rotation_step s;
		MICA_AUTO_BUF more;
		mica_rc rc = mica_core_can_issue(c, e);

		mica_buf_init(&more, 256);
		if (rc == MICA_OK)
			rc = mica_core_rotation_next(c, v, now_ms, &s, e);
		if (rc != MICA_OK)
			return rc;
		if (s.action == MICA_ROT_NONE)
			return MICA_OK;
		if (s.why == MICA_RW_RENEWED)
			mica_core_put_renewed(c, &more);
		rc = mica_core_step(c, &s, NULL, mica_buf_slice(&more), now_ms, e);
		if (rc != MICA_OK) {
			mica_err_context(e, "rotation: %s %s", mica_rotation_action_name(s.action),
				mica_authority_kind_name(s.kind));
			return rc;
		}
		*hurry = *hurry || s.why == MICA_RW_TAINTED;
		atomic_fetch_add(&c->rotation_steps, 1);
	}
	return MICA_OK;
}

/* ---- the clock ---------------------------------------------------------------------------------
 */

int64_t mica_core_decision_ms(const struct mica_core *c, int64_t now_ms)
{
	return now_ms > c->rotation.clock.seen_ms ? now_ms : c->rotation.clock.seen_ms;
}

/* The greatest time that any commit used, but for one that was overruled. */
static int64_t greatest_ms(struct mica_core *c)
{
	int64_t t = mica_ledger_now_ms(c->ledger);

	return t > c->rotation.overruled_ms ? t : 0;
}

static mica_rc load_overruled(struct mica_core *c, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_cursor cur;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, 64);
	rc = mica_store_get(c->store, MICA_T_META, MICA_LIT("clock"), &b, NULL, &own);
	if (rc == MICA_NOT_FOUND)
		return MICA_OK;
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	cur = (struct mica_cursor){mica_buf_slice(&b), false};
	mica_cur_u8(&cur);
	c->rotation.overruled_ms = (int64_t)mica_cur_be64(&cur);
	c->rotation.clock.seen_ms = (int64_t)mica_cur_be64(&cur);
	if (cur.s.len > 0)
		c->rotation.clock.proven_ms = (int64_t)mica_cur_be64(&cur);
	return MICA_OK;
}

mica_rc mica_core_rotation_open(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	struct mica_clock_memory *m = &c->rotation.clock;
	mica_rc rc = load_overruled(c, e);

	if (rc != MICA_OK)
		return rc;
	if (greatest_ms(c) > m->seen_ms)
		m->seen_ms = greatest_ms(c);
	c->rotation.word = mica_clock_judge(m, now_ms, 0);
	if (m->proven_ms == 0)
		m->proven_ms = m->seen_ms; /* nobody has looked yet */
	mica_clock_start(m, now_ms);
	atomic_store(&c->clock_unproven, m->unproven);
	return MICA_OK;
}

void mica_core_look_again(struct mica_core *c, int64_t now_ms)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	/* that of JWT keys is the longer one */
	c->rotation.look_again = mica_core_decision_ms(c, now_ms) / 1000 +
		mica_rotation_propagation(&v->policy->rotation, MICA_AUTHORITY_JWT);
}

static void put_clock(const struct mica_core *c, struct core_change *ch)
{
	const struct core_rotation *r = &c->rotation;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 32);
	mica_buf_put_u8(&b, 1);
	mica_buf_put_be64(&b, (uint64_t)r->overruled_ms);
	mica_buf_put_be64(&b, (uint64_t)r->clock.seen_ms);
	mica_buf_put_be64(&b, (uint64_t)r->clock.proven_ms);
	mica_core_change_write(ch, MICA_PUT, MICA_T_META, MICA_LIT("clock"), mica_buf_slice(&b));
}

/* `action` NULL = the record alone. */
static mica_rc note_clock(
	struct mica_core *c, const char *action, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_ADMIN, .action = action};
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	MICA_AUTO_BUF detail;
	mica_rc rc = MICA_OK;

	mica_buf_init(&detail, 256);
	mica_buf_printf(&detail, "{\"clock\":\"%s\",\"seen_ms\":%lld,\"proven_ms\":%lld}",
		mica_clock_word_name(c->rotation.word), (long long)c->rotation.clock.seen_ms,
		(long long)c->rotation.clock.proven_ms);
	n.detail = mica_buf_slice(&detail);
	put_clock(c, &ch);
	if (action)
		rc = mica_core_change_note(&ch, &n, NULL, now_ms, e);
	return rc == MICA_OK ? mica_core_change_commit(c, &ch, now_ms, e) : rc;
}

void mica_core_hear_clock(struct mica_core *c, int64_t iat)
{
	int64_t told = atomic_load_explicit(&c->told, memory_order_relaxed);

	while (told < iat && !atomic_compare_exchange_weak(&c->told, &told, iat))
		;
}

/* Whether somebody else's clock agrees with ours; and now and then a word for the next start of how
 * far it is believed. */
static mica_rc prove(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	struct core_rotation *r = &c->rotation;
	bool told = r->unproven_told;

	if (mica_clock_prove(&r->clock, now_ms, atomic_load(&c->told) * 1000)) {
		mica_clock_keep(&r->clock, now_ms);
		atomic_store(&c->clock_unproven, false);
		r->unproven_told = false;
		r->kept_ms = now_ms;
		return note_clock(c, "clock_proven", now_ms, e);
	}
	r->unproven_told = r->clock.unproven;
	if (r->clock.unproven)
		return told ? MICA_OK : note_clock(c, "clock_unproven", now_ms, e);
	mica_clock_keep(&r->clock, now_ms);
	if (now_ms < r->kept_ms + KEEP_EVERY_MS)
		return MICA_OK;
	r->kept_ms = now_ms;
	return note_clock(c, NULL, now_ms, e);
}

static mica_rc tick(struct mica_core *c, int64_t now_ms, int64_t mono_ms, struct mica_err *e)
{
	struct mica_clock_memory *m = &c->rotation.clock;
	enum mica_clock_word before = c->rotation.word;
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t skew = v->policy->rotation.skew;

	if (greatest_ms(c) > m->seen_ms)
		m->seen_ms = greatest_ms(c);
	if (!m->anchored)
		mica_clock_anchor(m, now_ms, mono_ms);
	c->rotation.mono_ms = mono_ms;
	c->rotation.word = mica_clock_judge(m, now_ms, mono_ms);
	atomic_store(&c->clock_frozen, c->rotation.word != MICA_CLOCK_AGREES);
	if (c->rotation.word == MICA_CLOCK_AGREES && mica_clock_stepped(m, now_ms, mono_ms, skew))
		mica_core_look_again(c, now_ms);
	if (c->rotation.word != before)
		return note_clock(c,
			c->rotation.word == MICA_CLOCK_AGREES ? "clock_agrees" : "clock_disagrees",
			now_ms, e);
	return c->rotation.word == MICA_CLOCK_AGREES ? prove(c, now_ms, e) : MICA_OK;
}

/* What has happened has happened, at `now` at the latest. */
static mica_rc redate(
	const struct core_view *v, struct core_change *ch, int64_t now, struct mica_err *e)
{
	for (unsigned i = 0; i < v->auths->n; i++) {
		MICA_AUTO_AUTHORITY a;
		MICA_AUTO_BUF record;
		mica_rc rc;

		mica_authority_init(&a);
		mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
		rc = mica_authority_copy(&v->auths->v[i], &a, e);
		if (rc == MICA_OK && !mica_rotation_redate(&a, now))
			continue;
		if (rc == MICA_OK)
			rc = mica_authority_encode(&a, &record, e);
		if (rc != MICA_OK)
			return rc;
		mica_core_change_write(ch, MICA_PUT, MICA_T_AUTHORITY, mica_slice_str(a.id),
			mica_buf_slice(&record));
	}
	return MICA_OK;
}

/* The view begins anew at the accepted time. */
static mica_rc view_at(
	struct mica_core *c, const struct core_view *v, int64_t now, struct mica_err *e)
{
	struct core_authorities *a = NULL;
	mica_rc rc = mica_core_authorities_load(c, v->policy->trust_domain, v->auths, now, &a, e);

	if (rc == MICA_OK)
		mica_core_view_take_set(c, &(struct core_parts){.auths = a});
	return rc;
}

mica_rc mica_core_accept_clock(
	struct mica_core *c, const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct core_note n = {.type = MICA_ENTRY_ADMIN, .action = "clock_accepted"};
	struct core_rotation *r = &c->rotation, before = *r;
	int64_t seen = mica_ledger_now_ms(c->ledger);
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	mica_rc rc = redate(v, &ch, now_ms / 1000, e);

	r->overruled_ms = seen > now_ms ? seen : now_ms;
	r->clock.seen_ms = r->clock.proven_ms = now_ms;
	r->clock.unproven = false;
	put_clock(c, &ch);
	if (rc == MICA_OK)
		rc = mica_core_change_note(&ch, &n, actor, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_change_commit(c, &ch, now_ms, e);
	if (rc != MICA_OK) {
		*r = before;
		return rc;
	}
	mica_clock_anchor(&r->clock, now_ms, r->mono_ms);
	r->word = MICA_CLOCK_AGREES;
	atomic_store(&c->clock_frozen, false);
	atomic_store(&c->clock_unproven, false);
	mica_core_look_again(c, now_ms);
	return view_at(c, v, now_ms / 1000, e);
}

mica_rc mica_core_tick(struct mica_core *c, int64_t now_ms, int64_t mono_ms, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	rc = tick(c, now_ms, mono_ms, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}
