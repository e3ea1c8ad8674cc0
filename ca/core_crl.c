/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CRLs that are published: one of each root and issuing authority whose key is here, signed
 * anew when what it names has changed, and in any case after a quarter of its life; encoded once,
 * shared by all readers. The last one of each is kept in the store, so that a start neither waits
 * for signatures nor needs any.
 *
 * "Stop signing" means certificates: a tainted or retired key signs its CRL until the last thing
 * that it vouches for has ended, and so long relying parties can be told.
 */
#include "core_impl.h"

#include "mica/pem.h"

#include "x509.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>

#define VERSION      1
#define RESIGN_PARTS 4 /* of a life, after which it is signed anew */
#define ALARM_PARTS  2
#define AGAIN_MS     10000 /* after a failure */
#define RECORD_MAX   (MICA_CRL_MAX + 256)
#define ETAG_SIZE    96

static void crl_clear(struct core_crl *r)
{
	mica_snapshot_unref(r->der);
	mica_snapshot_unref(r->pem);
	r->der = r->pem = NULL;
}

static void free_crls(void *part)
{
	struct core_crls *l = part;

	for (unsigned i = 0; i < l->n; i++)
		crl_clear(&l->v[i]);
	mica_snapshot_unref(l->all);
	mica_free(l);
}

const struct core_crl *mica_core_find_crl(const struct core_crls *l, const char *authority)
{
	for (unsigned i = 0; l && i < l->n; i++)
		if (strcmp(l->v[i].authority, authority) == 0)
			return &l->v[i];
	return NULL;
}

/* ---- forms ----------------------------------------------------------------------------------- */

/* Takes the bytes. The number is in the ETag: one list, one tag. */
static void put_forms(struct core_crl *r, struct mica_buf *der)
{
	char etag[ETAG_SIZE];
	MICA_AUTO_BUF pem;

	mica_buf_init(&pem, 2 * MICA_CRL_MAX);
	mica_pem_put(&pem, MICA_PEM_CRL, mica_buf_slice(der));
	snprintf(etag, sizeof(etag), "\"crl-%s-%" PRIu64 "\"", r->authority, r->number);
	r->der = mica_snapshot_take_made(der, etag, r->number, r->next_update);
	r->pem = mica_snapshot_take_made(&pem, etag, r->number, r->next_update);
}

/* All of them in one file, as servers want it that check whole chains. */
static void put_all(struct core_crls *l)
{
	uint64_t newest = 0;
	int64_t end = MICA_TIME_NEVER;
	char etag[ETAG_SIZE];
	MICA_AUTO_BUF pem;

	mica_buf_init(&pem, (size_t)4 * MICA_CRL_MAX);
	for (unsigned i = 0; i < l->n; i++) {
		mica_buf_put_slice(&pem, l->v[i].pem->bytes);
		newest = l->v[i].number > newest ? l->v[i].number : newest;
		end = l->v[i].next_update < end ? l->v[i].next_update : end;
	}
	snprintf(etag, sizeof(etag), "\"crl-all-%u-%" PRIu64 "\"", l->n, newest);
	l->all = mica_snapshot_take_made(&pem, etag, newest, end);
}

/* ---- the store ------------------------------------------------------------------------------- */

static struct mica_slice record_key(const char *authority, char out[64])
{
	snprintf(out, 64, "crl/%s", authority);
	return mica_slice_str(out);
}

void mica_core_put_crl(struct core_change *ch, const struct core_crl *r, struct mica_slice der)
{
	MICA_AUTO_BUF b;
	char key[64];

	mica_buf_init(&b, RECORD_MAX);
	mica_buf_put_u8(&b, VERSION);
	mica_buf_put_be64(&b, r->number);
	mica_buf_put_be64(&b, (uint64_t)r->signed_ms);
	mica_buf_put_be64(&b, (uint64_t)r->this_update);
	mica_buf_put_be64(&b, (uint64_t)r->next_update);
	mica_buf_put(&b, r->hash, sizeof(r->hash));
	mica_buf_put_slice(&b, der);
	mica_core_change_write(
		ch, MICA_PUT, MICA_T_SNAPSHOT, record_key(r->authority, key), mica_buf_slice(&b));
}

struct loading {
	struct core_crls *l;
	mica_rc rc;
	struct mica_err *e;
};

static bool load_one(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct loading *x = ctx;
	struct mica_cursor cur = {value, false};
	struct core_crl r = {.number = 0};
	struct mica_slice hash;
	MICA_AUTO_BUF der;
	bool known;

	(void)rev;
	known = mica_cur_u8(&cur) == VERSION;
	r.number = mica_cur_be64(&cur);
	r.signed_ms = (int64_t)mica_cur_be64(&cur);
	r.this_update = (int64_t)mica_cur_be64(&cur);
	r.next_update = (int64_t)mica_cur_be64(&cur);
	hash = mica_cur_take(&cur, sizeof(r.hash));
	if (!known || cur.bad ||
		mica_slice_copy(mica_slice_sub(key, 4, key.len), r.authority,
			sizeof(r.authority)) != MICA_OK) {
		x->rc = mica_fail(x->e, MICA_CORRUPT, "snapshot_malformed",
			"the stored record of a CRL is damaged");
		return false;
	}
	if (x->l->n == CORE_AUTHORITY_MAX)
		return false;
	memcpy(r.hash, hash.p, sizeof(r.hash));
	mica_buf_init(&der, MICA_CRL_MAX);
	mica_buf_put_slice(&der, cur.s);
	put_forms(&r, &der);
	x->l->v[x->l->n++] = r;
	return true;
}

mica_rc mica_core_crls_load(struct mica_core *c, struct core_crls **out, struct mica_err *e)
{
	CORE_AUTO_PART struct core_crls *l = mica_core_part_new(sizeof(*l), free_crls);
	struct mica_scan scan = {.table = MICA_T_SNAPSHOT, .prefix = MICA_LIT("crl/")};
	struct loading x = {l, MICA_OK, e};
	mica_rc rc = mica_store_list(c->store, &scan, load_one, &x, e);

	if (rc == MICA_OK)
		rc = x.rc;
	if (rc != MICA_OK)
		return rc;
	put_all(l);
	*out = MICA_STEAL(l);
	return MICA_OK;
}

/* ---- which there are ------------------------------------------------------------------------- */

/* A certificate that others have made may forbid it. */
bool mica_core_signs_crl(const struct core_view *v, unsigned i)
{
	struct mica_issuer_parts parts;

	if (v->auths->v[i].kind == MICA_AUTHORITY_ROOT)
		return v->auths->v[i].envelope.len > 0;
	if (!v->auths->more[i].key || !v->auths->more[i].key->issuer)
		return false;
	mica_cert_issuer_parts(v->auths->more[i].key->issuer, &parts);
	return parts.signs_crls;
}

/* What a list names; the slices point into the view. */
struct naming {
	struct mica_crl_entry *v;
	size_t n;
	uint8_t hash[32];
};

static void name_all(const struct core_view *v, const char *authority, struct naming *out)
{
	const struct core_revoked *r = v->revoked;
	MICA_AUTO_BUF text;

	mica_buf_init(&text, (size_t)64 * (MICA_CRL_ENTRIES_MAX + 2));
	mica_buf_printf(&text, "%" PRId64, v->policy->crl_validity);
	out->v = mica_calloc(r->n + 1, sizeof(*out->v));
	out->n = 0;
	for (size_t i = 0; i < r->n; i++) {
		const struct core_revoked_one *one = &r->v[i];

		if (strcmp(one->authority, authority) != 0)
			continue;
		out->v[out->n++] = (struct mica_crl_entry){
			mica_slice(one->serial, one->len), one->at_ms / 1000, one->reason};
		mica_buf_put_u8(&text, one->len);
		mica_buf_put(&text, one->serial, one->len);
		mica_buf_put_be64(&text, (uint64_t)one->at_ms);
		mica_buf_put_u8(&text, (uint8_t)one->reason);
	}
	SHA256(text.p, text.len, out->hash);
}

/* ---- signing --------------------------------------------------------------------------------- */

static void auto_issuer(struct mica_cert_issuer **i)
{
	mica_cert_issuer_free(*i);
}

/* A root's key is unlocked for this one signature. */
static mica_rc sign_by_root(struct mica_core *c, const struct mica_authority *root,
	const struct mica_crl_spec *s, struct mica_buf *der, struct mica_err *e)
{
	MICA_AUTO_SIGNER signer = NULL;
	__attribute__((cleanup(auto_issuer))) struct mica_cert_issuer *issuer = NULL;
	mica_rc rc = mica_kek_open(
		c->kek, MICA_KEY_ROOT, root->id, mica_buf_slice(&root->envelope), &signer, e);

	if (rc == MICA_OK)
		rc = mica_cert_issuer_new(mica_buf_slice(&root->cert), signer, &issuer, e);
	return rc == MICA_OK ? mica_crl_sign(issuer, s, der, e) : rc;
}

static mica_rc sign_one(struct mica_core *c, const struct core_view *v, unsigned i,
	const struct naming *what, const struct core_crl *old, int64_t now_ms, struct core_crl *out,
	struct mica_err *e)
{
	const struct mica_authority *a = &v->auths->v[i];
	int64_t life = v->policy->crl_validity,
		back = life / 10 < CORE_BACKDATE ? life / 10 : CORE_BACKDATE;
	struct mica_crl_spec s = {.number = (uint64_t)now_ms,
		.this_update = now_ms / 1000 - back,
		.next_update = now_ms / 1000 + life,
		.entries = what->v,
		.n = what->n};
	MICA_AUTO_BUF der;
	mica_rc rc;

	mica_buf_init(&der, MICA_CRL_MAX);
	/* The time in ms, and above the last one whatever the clock says. */
	if (old && s.number <= old->number)
		s.number = old->number + 1;
	rc = a->kind == MICA_AUTHORITY_ROOT
		? sign_by_root(c, a, &s, &der, e)
		: mica_crl_sign(v->auths->more[i].key->issuer, &s, &der, e);
	if (rc != MICA_OK) {
		mica_err_context(e, "CRL of authority %s", a->id);
		return rc;
	}
	*out = (struct core_crl){.number = s.number,
		.signed_ms = now_ms,
		.this_update = s.this_update,
		.next_update = s.next_update};
	memcpy(out->authority, a->id, sizeof(out->authority));
	memcpy(out->hash, what->hash, sizeof(out->hash));
	put_forms(out, &der);
	return MICA_OK;
}

/* ---- publishing ------------------------------------------------------------------------------ */

struct publishing {
	struct mica_core *c;
	const struct core_view *v;
	const struct core_crls *old; /* may be NULL */
	struct core_crls *l;
	struct core_change ch;
	int64_t now_ms;
	bool changed;
	struct mica_err *e;
	mica_rc rc; /* the first trouble */
};

/* Nothing is looked at again before the first of these. */
static void look_at(struct publishing *p, int64_t at_ms)
{
	if (at_ms > p->now_ms && at_ms < p->l->look_ms)
		p->l->look_ms = at_ms;
}

/* A root vouches for authorities until it leaves; an issuing one for leaves, and who checks whole
 * chains needs the list of a leaf that has just ended for a while longer. */
static bool is_wanted(struct publishing *p, unsigned i)
{
	const struct mica_authority *a = &p->v->auths->v[i];
	int64_t now = p->now_ms / 1000, last;
	enum mica_authority_state s = mica_authority_state_at(a, now);

	if (a->kind == MICA_AUTHORITY_JWT || a->cert.len == 0 || s == MICA_AS_REMOVED ||
		now > a->not_after)
		return false;
	if (a->kind == MICA_AUTHORITY_ROOT ||
		(s != MICA_AS_RETIRED && s != MICA_AS_TAINTED && s != MICA_AS_REVOKED))
		return true;
	last = mica_core_last_leaf(p->c, a->id) + p->v->policy->rotation.skew;
	look_at(p, (last + 1) * 1000);
	return now <= last;
}

static int64_t part_of_life(const struct core_crl *r, unsigned parts)
{
	return r->signed_ms + (r->next_update * 1000 - r->signed_ms) / parts;
}

static bool is_due(const struct core_crl *r, const struct naming *what, int64_t now_ms)
{
	return !r || memcmp(r->hash, what->hash, sizeof(r->hash)) != 0 ||
		now_ms >= part_of_life(r, RESIGN_PARTS) || now_ms < r->signed_ms;
}

static void keep(struct publishing *p, const struct core_crl *r)
{
	struct core_crl *to = &p->l->v[p->l->n++];

	*to = *r;
	to->der = mica_snapshot_ref(r->der);
	to->pem = mica_snapshot_ref(r->pem);
	look_at(p, part_of_life(r, RESIGN_PARTS));
}

/* What cannot be signed now stays as it was: an old list says more than none. */
static void publish_one(struct publishing *p, unsigned i)
{
	const struct core_crl *old = mica_core_find_crl(p->old, p->v->auths->v[i].id);
	struct core_crl fresh = {.number = 0};
	struct naming what;
	mica_rc rc;

	name_all(p->v, p->v->auths->v[i].id, &what);
	if (!is_due(old, &what, p->now_ms) || !mica_core_signs_crl(p->v, i)) {
		if (old)
			keep(p, old);
		mica_free(what.v);
		return;
	}
	rc = sign_one(p->c, p->v, i, &what, old, p->now_ms, &fresh, p->rc == MICA_OK ? p->e : NULL);
	mica_free(what.v);
	if (rc == MICA_OK) {
		mica_core_put_crl(&p->ch, &fresh, fresh.der->bytes);
		keep(p, &fresh);
		crl_clear(&fresh);
		p->changed = true;
		return;
	}
	p->rc = p->rc == MICA_OK ? rc : p->rc;
	if (old)
		keep(p, old);
	look_at(p, p->now_ms + AGAIN_MS);
}

/* Lists of authorities that have gone. */
static void drop_old(struct publishing *p)
{
	char key[64];

	for (unsigned i = 0; p->old && i < p->old->n; i++) {
		if (mica_core_find_crl(p->l, p->old->v[i].authority))
			continue;
		mica_core_change_write(&p->ch, MICA_DELETE, MICA_T_SNAPSHOT,
			record_key(p->old->v[i].authority, key), MICA_SLICE_NULL);
		p->changed = true;
	}
}

static bool nothing_due(const struct core_view *v, int64_t now_ms)
{
	return v->crls && v->crls->generation == v->generation && now_ms < v->crls->look_ms &&
		now_ms / 1000 < v->auths->until;
}

/* Unlike bundles a list is put in place even when it cannot be written: whoever reads it learns
 * what is in the ledger already. */
mica_rc mica_core_crls_publish(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	CORE_AUTO_PART struct core_crls *l = NULL;
	struct publishing p = {
		.c = c, .v = v, .old = v->crls, .now_ms = mica_core_decision_ms(c, now_ms), .e = e};
	mica_rc rc;

	if (nothing_due(v, p.now_ms))
		return MICA_OK;
	l = mica_core_part_new(sizeof(*l), free_crls);
	l->generation = v->generation;
	l->look_ms = p.now_ms + v->policy->crl_validity * 1000 / RESIGN_PARTS;
	p.l = l;
	for (unsigned i = 0; i < v->auths->n; i++)
		if (is_wanted(&p, i))
			publish_one(&p, i);
	drop_old(&p);
	put_all(l);
	mica_core_view_take_set(c, &(struct core_parts){.crls = MICA_STEAL(l)});
	rc = p.ch.n_writes > 0 ? mica_core_change_commit(c, &p.ch, now_ms, e) : MICA_OK;
	mica_core_change_clear(&p.ch);
	return p.rc != MICA_OK ? p.rc : rc;
}

const char *mica_core_crl_url(
	const struct core_policy *p, const char *authority, char out[CORE_CRL_URL_SIZE])
{
	if (!p->crl_url[0])
		return NULL;
	snprintf(out, CORE_CRL_URL_SIZE, "%s%s%s", p->crl_url[0], authority, p->crl_url[1]);
	return out;
}

/* ---- readers --------------------------------------------------------------------------------- */

mica_rc mica_core_crl(struct mica_core *c, struct mica_slice authority, enum mica_crl_form form,
	const struct mica_snapshot **out, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	if (form == MICA_CRL_ALL_PEM) {
		*out = mica_snapshot_ref(v->crls->all);
		return MICA_OK;
	}
	for (unsigned i = 0; i < v->crls->n; i++) {
		const struct core_crl *r = &v->crls->v[i];

		if (!mica_slice_eq_str(authority, r->authority))
			continue;
		*out = mica_snapshot_ref(form == MICA_CRL_DER ? r->der : r->pem);
		return MICA_OK;
	}
	return mica_fail(e, MICA_NOT_FOUND, "no_such_crl",
		"no CRL of such an authority is published; GET /v1/crl.pem has those that are");
}

void mica_core_crls_look(
	const struct core_view *v, int64_t now_ms, int64_t *first_end, unsigned *late)
{
	*first_end = 0;
	*late = 0;
	for (unsigned i = 0; v->crls && i < v->crls->n; i++) {
		const struct core_crl *r = &v->crls->v[i];

		if (*first_end == 0 || r->next_update < *first_end)
			*first_end = r->next_update;
		*late += now_ms >= part_of_life(r, ALARM_PARTS);
	}
}
