/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugged-in authority: what its files hold, on its way into the store. Their roots are
 * published, their issuing authority waits below its root, and rotation.c does the rest: it knows
 * who has which root. What was there before goes on until then, for its key is in the store.
 */
#include "core_impl.h"

#include "ca_files.h"

#include <stdio.h>

struct plugging {
	struct core_bring b;
	const struct mica_ca_set *set;
	struct mica_ca_rules rules;
	size_t path[MICA_AUTHORITY_CHAIN_MAX], n_path;
	size_t root; /* in set->roots: where the path ends */
	int root_at; /* in the view; -1 = it is new */
	int64_t end; /* of the issuing authority: no later than that of any above it */
};

static int64_t lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static const struct core_authorities *auths(const struct plugging *x)
{
	return x->b.v->auths;
}

static enum mica_authority_state state(const struct plugging *x, int at)
{
	return mica_authority_state_at(&auths(x)->v[at], x->b.now);
}

static bool is_given_up(enum mica_authority_state s)
{
	return s == MICA_AS_TAINTED || s == MICA_AS_REVOKED || s == MICA_AS_REMOVED;
}

static bool has_cert(const struct plugging *x, int at, const struct mica_ca_cert *c)
{
	return mica_slice_eq(mica_buf_slice(&auths(x)->v[at].cert), c->info.der);
}

static mica_rc note(struct plugging *x, const struct mica_authority *a, const char *action,
	const struct mica_ca_cert *c, struct mica_err *e)
{
	char end[MICA_TIME_SIZE];
	MICA_AUTO_BUF more;

	mica_buf_init(&more, 1024);
	mica_time_format(a->not_after, end);
	mica_buf_put_str(&more, ",\"source\":\"files\"");
	if (c) {
		mica_buf_put_str(&more, ",\"serial\":\"");
		mica_buf_put_hex(&more, c->info.serial.p, c->info.serial.len);
		mica_buf_printf(&more, "\",\"not_after\":\"%s\"", end);
	}
	return mica_core_bring_note(&x->b, a, action, mica_buf_slice(&more), e);
}

static void certify(struct mica_authority *a, const struct mica_ca_cert *c)
{
	a->not_before = c->info.not_before;
	a->not_after = c->info.not_after;
	mica_buf_reset(&a->cert);
	mica_buf_put_slice(&a->cert, c->info.der);
}

/* One that has retired stands in the files again: it is the one to use. */
static bool is_back(const struct plugging *x, int at)
{
	const struct mica_authority *a = &auths(x)->v[at];
	int64_t ready = mica_authority_last(a, MICA_AE_READY, MICA_TIME_NEVER - 1);

	return state(x, at) == MICA_AS_RETIRED &&
		(ready == MICA_TIME_NEVER ||
			ready <= mica_authority_last(a, MICA_AE_RETIRED, x->b.now));
}

/* Later than its retirement, so that it is known which came last. */
static mica_rc mark_back(struct plugging *x, struct mica_authority *a, struct mica_err *e)
{
	int64_t retired = mica_authority_last(a, MICA_AE_RETIRED, x->b.now);

	return mica_authority_add_time(
		a, MICA_AE_READY, x->b.now > retired ? x->b.now : retired + 1, e);
}

static mica_rc take_back(struct plugging *x, int at, struct mica_err *e)
{
	struct mica_authority *a;
	mica_rc rc;

	if (!is_back(x, at))
		return MICA_OK;
	rc = mica_core_bring_add(&x->b, at, auths(x)->v[at].kind, NULL, &a, e);
	if (rc == MICA_OK)
		rc = mark_back(x, a, e);
	return rc == MICA_OK ? note(x, a, "returned", NULL, e) : rc;
}

/* ---- roots -------------------------------------------------------------------------------------
 */

static mica_rc new_root(struct plugging *x, const struct mica_ca_cert *c, struct mica_err *e)
{
	struct mica_authority *a;
	mica_rc rc = mica_core_bring_add(&x->b, -1, MICA_AUTHORITY_ROOT, &c->key, &a, e);

	if (rc == MICA_OK)
		rc = mica_authority_add_time(a, MICA_AE_PUBLISHED, x->b.now, e);
	if (rc != MICA_OK)
		return rc;
	certify(a, c);
	x->b.bundle = true;
	return note(x, a, "imported", c, e);
}

/* Another certificate for the same key, as some tools renew a root: whoever has either one believes
 * what that key has signed, if the name is the same. */
static mica_rc renewed_root(
	struct plugging *x, int at, const struct mica_ca_cert *c, bool used, struct mica_err *e)
{
	struct mica_cert_info was;
	struct mica_authority *a;
	mica_rc rc = mica_cert_read(mica_buf_slice(&auths(x)->v[at].cert), &was, e);

	if (rc == MICA_OK && !mica_slice_eq(was.subject, c->info.subject))
		return mica_fail(e, MICA_CONFLICT, "root_renamed",
			"root %s has another name now, with the same key: what it signed before would "
			"not be found below it; a new name needs a new key",
			c->id);
	if (rc == MICA_OK)
		rc = mica_core_bring_add(&x->b, at, MICA_AUTHORITY_ROOT, &c->key, &a, e);
	if (rc == MICA_OK && used && is_back(x, at))
		rc = mark_back(x, a, e);
	if (rc != MICA_OK)
		return rc;
	certify(a, c);
	x->b.bundle = true;
	return note(x, a, "renewed", c, e);
}

/* One that was given up may stand in the files for long: it is left out, unless all of them depend
 * on it. */
static mica_rc take_root(struct plugging *x, size_t i, struct mica_err *e)
{
	const struct mica_ca_cert *c = &x->set->roots[i];
	struct mica_ca_rules rules = x->rules;
	int at = mica_core_authority_find(auths(x), c->id);
	mica_rc rc;

	for (size_t k = 0; k < i; k++)
		if (strcmp(x->set->roots[k].id, c->id) == 0)
			return MICA_OK;
	if (at >= 0 && auths(x)->v[at].kind != MICA_AUTHORITY_ROOT)
		return mica_fail(e, MICA_CONFLICT, "key_taken",
			"root %s: an authority of another kind has its key", c->id);
	if (at >= 0 && is_given_up(state(x, at))) {
		if (i != x->root)
			return MICA_OK;
		return mica_fail(e, MICA_CONFLICT, "root_unusable",
			"root %s is %s: nothing more is issued below it", c->id,
			mica_authority_state_name(state(x, at)));
	}
	if (at >= 0 && has_cert(x, at, c))
		rules.root_least = 0;
	rc = mica_ca_check_root(&rules, c, e);
	if (rc != MICA_OK) {
		mica_err_context(e, "root %s", c->id);
		return rc;
	}
	if (at < 0)
		return new_root(x, c, e);
	if (!has_cert(x, at, c))
		return renewed_root(x, at, c, i == x->root, e);
	return i == x->root ? take_back(x, at, e) : MICA_OK;
}

/* ---- the issuing authority ---------------------------------------------------------------------
 */

static bool has_chain(const struct plugging *x, int at)
{
	const struct core_authority_more *m = &auths(x)->more[at];

	if (m->n_chain != 1 + x->n_path)
		return false;
	for (size_t i = 0; i < x->n_path; i++)
		if (!mica_slice_eq(m->chain[1 + i], x->set->pool[x->path[i]].info.der))
			return false;
	return true;
}

static mica_rc fill_issuing(
	struct plugging *x, struct mica_authority *a, const char *action, struct mica_err *e)
{
	memcpy(a->parent, x->set->roots[x->root].id, sizeof(a->parent));
	certify(a, &x->set->issuing);
	a->not_after = x->end;
	mica_buf_reset(&a->chain);
	for (size_t i = 0; i < x->n_path; i++)
		mica_buf_put_slice(&a->chain, x->set->pool[x->path[i]].info.der);
	if (x->root_at >= 0)
		mica_core_change_read(&x->b.ch, MICA_T_AUTHORITY, mica_slice_str(a->parent),
			auths(x)->more[x->root_at].rev);
	return note(x, a, action, &x->set->issuing, e);
}

static mica_rc new_issuing(struct plugging *x, struct mica_err *e)
{
	struct mica_authority *a;
	mica_rc rc =
		mica_core_bring_add(&x->b, -1, MICA_AUTHORITY_ISSUING, &x->set->issuing.key, &a, e);

	if (rc == MICA_OK)
		rc = mica_kek_seal(
			x->b.c->kek, MICA_KEY_ISSUING, a->id, x->set->key, &a->envelope, e);
	/* It is known by whoever gets a leaf of it. */
	if (rc == MICA_OK)
		rc = mica_authority_add_time(a, MICA_AE_PUBLISHED, x->b.now, e);
	if (rc == MICA_OK)
		rc = mica_authority_add_time(a, MICA_AE_READY, x->b.now, e);
	return rc == MICA_OK ? fill_issuing(x, a, "imported", e) : rc;
}

static mica_rc renewed_issuing(struct plugging *x, int at, struct mica_err *e)
{
	const char *root = x->set->roots[x->root].id;
	struct mica_authority *a;
	mica_rc rc;

	if (strcmp(auths(x)->v[at].parent, root) != 0)
		return mica_fail(e, MICA_CONFLICT, "same_key_other_root",
			"issuing authority %s stands below root %s now, with the same key; below "
			"another root it needs another key",
			x->set->issuing.id, root);
	rc = mica_core_bring_add(&x->b, at, MICA_AUTHORITY_ISSUING, &x->set->issuing.key, &a, e);
	return rc == MICA_OK ? fill_issuing(x, a, "renewed", e) : rc;
}

static mica_rc take_issuing(struct plugging *x, struct mica_err *e)
{
	int at = mica_core_authority_find(auths(x), x->set->issuing.id);

	if (at < 0)
		return new_issuing(x, e);
	if (auths(x)->v[at].kind != MICA_AUTHORITY_ISSUING || auths(x)->v[at].cert.len == 0)
		return mica_fail(e, MICA_CONFLICT, "key_taken",
			"an authority of ours has the key %s of this certificate",
			x->set->issuing.id);
	if (is_given_up(state(x, at)))
		return mica_fail(e, MICA_CONFLICT, "key_given_up",
			"issuing authority %s is %s, and signs nothing more; expected a new key",
			x->set->issuing.id, mica_authority_state_name(state(x, at)));
	if (!has_cert(x, at, &x->set->issuing) || !has_chain(x, at) ||
		auths(x)->v[at].not_after != x->end)
		return renewed_issuing(x, at, e);
	return take_back(x, at, e);
}

/* ---- what the files do not hold any more -------------------------------------------------------
 */

static bool is_in_files(const struct plugging *x, const struct mica_authority *a)
{
	if (strcmp(a->id, x->set->issuing.id) == 0)
		return true;
	for (size_t i = 0; i < x->set->n_roots; i++)
		if (strcmp(a->id, x->set->roots[i].id) == 0)
			return true;
	return false;
}

/* Whether it came from files, and nothing depends on it. */
static bool is_unused(const struct plugging *x, const struct mica_authority *a)
{
	enum mica_authority_state s = mica_authority_state_at(a, x->b.now);

	if (s != MICA_AS_PUBLISHED && s != MICA_AS_READY)
		return false;
	if (mica_core_last_leaf(x->b.c, a->id) != 0)
		return false;
	if (a->kind == MICA_AUTHORITY_ROOT && a->envelope.len == 0) {
		for (unsigned i = 0; i < auths(x)->n; i++)
			if (strcmp(auths(x)->v[i].parent, a->id) == 0 &&
				mica_core_last_leaf(x->b.c, auths(x)->v[i].id) != 0)
				return false;
		return true;
	}
	if (a->kind != MICA_AUTHORITY_ISSUING || a->cert.len == 0)
		return false;
	for (unsigned i = 0; i < auths(x)->n; i++) /* below a root of our own it is by hand */
		if (strcmp(auths(x)->v[i].id, a->parent) == 0)
			return auths(x)->v[i].envelope.len == 0;
	return true;
}

static mica_rc withdraw(struct plugging *x, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (unsigned i = 0; i < auths(x)->n && rc == MICA_OK; i++) {
		const struct mica_authority *was = &auths(x)->v[i];
		struct mica_authority *a;

		if (is_in_files(x, was) || !is_unused(x, was) || x->b.n == CORE_BRING_MAX)
			continue;
		rc = mica_core_bring_add(&x->b, (int)i, was->kind, NULL, &a, e);
		if (rc == MICA_OK)
			rc = mica_authority_add_time(a, MICA_AE_REMOVED, x->b.now, e);
		if (rc == MICA_OK)
			rc = note(x, a, "withdrawn", NULL, e);
		x->b.bundle = x->b.bundle || was->kind == MICA_AUTHORITY_ROOT;
	}
	return rc;
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

static mica_rc check_issuing(struct plugging *x, struct mica_err *e)
{
	const struct mica_ca_cert *c = &x->set->issuing;
	struct mica_ca_rules rules = x->rules;
	int at = mica_core_authority_find(auths(x), c->id);
	mica_rc rc;

	/* what signs already signs to its end */
	if (at >= 0 && has_cert(x, at, c))
		rules.issuing_least = 0;
	rc = mica_ca_check_issuing(&rules, c, e);
	if (rc == MICA_OK)
		rc = mica_ca_find_path(&x->rules, c, x->set->pool, x->set->n_pool, x->set->roots,
			x->set->n_roots, x->path, &x->n_path, &x->root, e);
	if (rc != MICA_OK)
		return rc;
	x->root_at = mica_core_authority_find(auths(x), x->set->roots[x->root].id);
	x->end = lesser(c->info.not_after, x->set->roots[x->root].info.not_after);
	for (size_t i = 0; i < x->n_path; i++)
		x->end = lesser(x->end, x->set->pool[x->path[i]].info.not_after);
	if (x->end - x->b.now < rules.issuing_least)
		return mica_fail(e, MICA_INVALID, "ca_too_short",
			"authority's certificate: one above it ends in %lld seconds; expected at least "
			"%lld",
			(long long)(x->end - x->b.now), (long long)rules.issuing_least);
	return MICA_OK;
}

static mica_rc take(struct plugging *x, struct mica_err *e)
{
	const struct core_policy *p = x->b.v->policy;
	mica_rc rc;

	if (p->rotation.root_home != MICA_ROOT_FILES)
		return mica_fail(e, MICA_CONFLICT, "root_not_in_files",
			"an authority is plugged in with authorities.root: files");
	mica_ca_rules_of(&p->rotation, p->trust_domain, x->b.now, false, &x->rules);
	rc = check_issuing(x, e);
	for (size_t i = 0; i < x->set->n_roots && rc == MICA_OK; i++)
		rc = take_root(x, i, e);
	if (rc == MICA_OK)
		rc = take_issuing(x, e);
	if (rc == MICA_OK)
		rc = withdraw(x, e);
	return rc == MICA_OK ? mica_core_bring_commit(&x->b, e) : rc;
}

static void fill_result(
	struct mica_core *c, const struct plugging *x, int64_t now, struct mica_plug_result *out)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int at = mica_core_active(v->auths, MICA_AUTHORITY_ISSUING, now);

	const struct mica_cert_info *info = &x->set->issuing.info;

	out->no_crl_sign = !(info->ku & MICA_KU_CRL_SIGN);
	out->no_key_ids = !info->ski.len || !info->aki.len;
	memcpy(out->issuing_id, x->set->issuing.id, sizeof(out->issuing_id));
	memcpy(out->root_id, x->set->roots[x->root].id, sizeof(out->root_id));
	out->active = at >= 0 && strcmp(v->auths->v[at].id, out->issuing_id) == 0;
}

static mica_rc plug(struct mica_core *c, const struct mica_ca_set *set, int64_t now_ms,
	struct mica_plug_result *out, struct mica_err *e)
{
	MICA_AUTO_FREE struct plugging *x = mica_calloc(1, sizeof(*x));
	mica_rc rc;

	x->set = set;
	mica_core_bring_begin(&x->b, c, NULL, now_ms);
	rc = take(x, e);
	out->changed = rc == MICA_OK && x->b.n > 0;
	mica_core_bring_clear(&x->b);
	if (rc != MICA_OK)
		return rc;
	if (out->changed)
		mica_core_go_on(c, now_ms);
	fill_result(c, x, mica_core_decision_ms(c, now_ms) / 1000, out);
	return MICA_OK;
}

mica_rc mica_core_plug(struct mica_core *c, const struct mica_plug *files, int64_t now_ms,
	struct mica_plug_result *out, struct mica_err *e)
{
	MICA_AUTO_CA_SET set = NULL;
	mica_rc rc = mica_ca_set_read(files, &set, e);

	*out = (struct mica_plug_result){.changed = false};
	if (rc != MICA_OK)
		return rc;
	pthread_mutex_lock(&c->admin);
	rc = plug(c, set, now_ms, out, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}
