/* SPDX-License-Identifier: Apache-2.0 */
/* The authorities of a store as a part of a view: records, keys, and what follows from times. */
#include "core_impl.h"

#include "mica/pem.h"

static void free_key(void *part)
{
	struct core_key *k = part;

	mica_cert_issuer_free(k->issuer); /* borrows the signer */
	mica_signer_free(k->signer);
	mica_free(k);
}

static void free_authorities(void *part)
{
	struct core_authorities *a = part;

	for (unsigned i = 0; i < a->n; i++) {
		mica_authority_clear(&a->v[i]);
		mica_core_part_unref(a->more[i].key);
		mica_buf_clear(&a->more[i].pem);
	}
	mica_free(a->v);
	mica_free(a->more);
	mica_trust_free(a->trust);
	mica_free(a);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct gather {
	struct core_authorities *a;
	struct mica_err *e;
	mica_rc rc;
};

static bool gather_one(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct gather *g = ctx;
	struct core_authorities *a = g->a;

	if (a->n == CORE_AUTHORITY_MAX) {
		g->rc = mica_fail(g->e, MICA_CORRUPT, "too_many_authorities",
			"the store holds more than %d authorities", CORE_AUTHORITY_MAX);
		return false;
	}
	g->rc = mica_authority_decode(value, &a->v[a->n], g->e);
	if (g->rc != MICA_OK)
		return false;
	mica_buf_init(&a->more[a->n].pem, 2 * MICA_CHAIN_MAX * MICA_CERT_MAX);
	a->more[a->n].rev = rev;
	if (!mica_slice_eq_str(key, a->v[a->n++].id))
		g->rc = mica_fail(g->e, MICA_CORRUPT, "authority_malformed",
			"the record of authority %s stands in another's place", a->v[a->n - 1].id);
	return g->rc == MICA_OK;
}

static const enum mica_key_purpose purposes[MICA_AUTHORITY_KIND_COUNT] = {
	[MICA_AUTHORITY_ROOT] = MICA_KEY_ROOT,
	[MICA_AUTHORITY_ISSUING] = MICA_KEY_ISSUING,
	[MICA_AUTHORITY_JWT] = MICA_KEY_JWT};

/* One that has another certificate by now is unlocked again, for it. */
static struct core_key *lent_key(const struct core_authorities *old, const struct mica_authority *a)
{
	for (unsigned i = 0; old && i < old->n; i++)
		if (strcmp(old->v[i].id, a->id) == 0 &&
			mica_slice_eq(mica_buf_slice(&old->v[i].cert), mica_buf_slice(&a->cert)))
			return mica_core_part_ref(old->more[i].key);
	return NULL;
}

static mica_rc unlock(struct mica_core *c, const struct mica_authority *a, struct core_key **out,
	struct mica_err *e)
{
	CORE_AUTO_PART struct core_key *k = mica_core_part_new(sizeof(*k), free_key);
	mica_rc rc = mica_kek_open(
		c->kek, purposes[a->kind], a->id, mica_buf_slice(&a->envelope), &k->signer, e);

	if (rc == MICA_OK && a->kind == MICA_AUTHORITY_ISSUING)
		rc = mica_cert_issuer_new(mica_buf_slice(&a->cert), k->signer, &k->issuer, e);
	if (rc != MICA_OK) {
		mica_err_context(e, "authority %s", a->id);
		return rc;
	}
	if (!mica_slice_eq(
		    mica_buf_slice(&a->spki), mica_pubkey_spki(mica_signer_public(k->signer))))
		return mica_fail(e, MICA_CORRUPT, "authority_malformed",
			"authority %s: the private key is not that of its record", a->id);
	*out = MICA_STEAL(k);
	return MICA_OK;
}

/* What is said of it to others. */
static mica_rc put_certificates(
	const struct mica_authority *a, struct core_authority_more *m, struct mica_err *e)
{
	struct mica_cert_info info;
	mica_rc rc;

	if (a->cert.len == 0)
		return MICA_OK;
	rc = mica_cert_read(mica_buf_slice(&a->cert), &info, e);
	if (rc == MICA_OK)
		rc = mica_authority_chain(a, m->chain + 1, &m->n_chain, e);
	if (rc != MICA_OK)
		return rc;
	m->ski = info.ski;
	m->chain[0] = mica_buf_slice(&a->cert);
	m->n_chain++;
	for (size_t i = 0; i < m->n_chain; i++)
		mica_pem_put(&m->pem, MICA_PEM_CERT, m->chain[i]);
	return mica_buf_rc(&m->pem, e);
}

static mica_rc complete_one(struct mica_core *c, struct core_authorities *a, unsigned i,
	const struct core_authorities *old, struct mica_err *e)
{
	struct core_authority_more *m = &a->more[i];
	mica_rc rc = mica_pubkey_read(mica_buf_slice(&a->v[i].spki), &m->pub, e);

	if (rc == MICA_OK)
		rc = put_certificates(&a->v[i], m, e);
	if (rc != MICA_OK) {
		mica_err_context(e, "authority %s", a->v[i].id);
		return rc;
	}
	/* A root's key is unlocked for one signature, not kept; one that waits for its certificate
	 * signs nothing. */
	if (a->v[i].kind == MICA_AUTHORITY_ROOT || a->v[i].envelope.len == 0 ||
		(a->v[i].kind == MICA_AUTHORITY_ISSUING && a->v[i].cert.len == 0))
		return MICA_OK;
	m->key = lent_key(old, &a->v[i]);
	return m->key ? MICA_OK : unlock(c, &a->v[i], &m->key, e);
}

/* ---- what follows from times ----------------------------------------------------------------- */

static mica_rc make_trust(struct core_authorities *a, const char *trust_domain, struct mica_err *e)
{
	struct mica_slice roots[CORE_AUTHORITY_MAX];
	size_t n = 0;

	for (unsigned i = 0; i < a->n; i++)
		if (a->v[i].kind == MICA_AUTHORITY_ROOT && a->v[i].cert.len > 0 &&
			mica_authority_is_published(&a->v[i], a->from))
			roots[n++] = mica_buf_slice(&a->v[i].cert);
	return mica_trust_new(trust_domain, roots, n, &a->trust, e);
}

static void derive(struct core_authorities *a, int64_t now)
{
	a->from = now;
	a->until = MICA_TIME_NEVER;
	for (unsigned i = 0; i < a->n; i++) {
		int64_t next = mica_authority_next_change(&a->v[i], now);

		a->until = next < a->until ? next : a->until;
	}
	for (int kind = 0; kind < MICA_AUTHORITY_KIND_COUNT; kind++)
		a->active[kind] = kind == 0 ? -1
					    : mica_authority_active(a->v, a->n, MICA_SET_DEFAULT,
						      (enum mica_authority_kind)kind, now);
}

/* A thread whose clock was read before the view was made must not see an authority as it was
 * before, so times earlier than the view's count as its own. */
int mica_core_active(const struct core_authorities *a, enum mica_authority_kind kind, int64_t now)
{
	if (now < a->until)
		return a->active[kind];
	return mica_authority_active(a->v, a->n, MICA_SET_DEFAULT, kind, now);
}

int mica_core_authority_find(const struct core_authorities *a, const char *id)
{
	for (unsigned i = 0; i < a->n; i++)
		if (strcmp(a->v[i].id, id) == 0)
			return (int)i;
	return -1;
}

mica_rc mica_core_authority_need(
	const struct core_authorities *a, const char *id, int *at, struct mica_err *e)
{
	*at = mica_core_authority_find(a, id);
	if (*at >= 0)
		return MICA_OK;
	return mica_fail(e, MICA_NOT_FOUND, "no_such_authority",
		"there is no authority with this id; expected 40 hex digits of `mica authority list`");
}

int mica_core_authority_named(const struct core_authorities *a, struct mica_slice aki)
{
	uint8_t id[MICA_KEY_ID_LEN];

	for (unsigned i = 0; aki.len > 0 && i < a->n; i++) {
		if (a->v[i].kind == MICA_AUTHORITY_JWT)
			continue;
		if (a->more[i].ski.len > 0 && mica_slice_eq(a->more[i].ski, aki))
			return (int)i;
		mica_pubkey_id(&a->more[i].pub, id); /* of one whose certificate has none */
		if (a->more[i].ski.len == 0 && mica_slice_eq(mica_slice(id, sizeof(id)), aki))
			return (int)i;
	}
	return -1;
}

mica_rc mica_core_authorities_load(struct mica_core *c, const char *trust_domain,
	const struct core_authorities *old, int64_t now, struct core_authorities **out,
	struct mica_err *e)
{
	CORE_AUTO_PART struct core_authorities *a =
		mica_core_part_new(sizeof(*a), free_authorities);
	struct mica_scan scan = {.table = MICA_T_AUTHORITY};
	struct gather g = {a, e, MICA_OK};
	mica_rc rc;

	a->v = mica_calloc(CORE_AUTHORITY_MAX, sizeof(*a->v));
	a->more = mica_calloc(CORE_AUTHORITY_MAX, sizeof(*a->more));
	rc = mica_store_list(c->store, &scan, gather_one, &g, e);
	if (rc == MICA_OK)
		rc = g.rc;
	if (rc == MICA_OK && a->n == 0)
		rc = mica_fail(e, MICA_CORRUPT, "store_damaged",
			"the store lacks its authorities, which `mica init` writes");
	for (unsigned i = 0; i < a->n && rc == MICA_OK; i++)
		rc = complete_one(c, a, i, old, e);
	if (rc != MICA_OK)
		return rc;
	derive(a, now);
	rc = make_trust(a, trust_domain, e);
	if (rc == MICA_OK)
		*out = MICA_STEAL(a);
	return rc;
}
