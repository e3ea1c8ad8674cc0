/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the signer of an offline root sends back: certificates for the requests that wait
 * (core_request.c), and roots. Everything is checked before anything is written, and all of it is
 * one transaction. CRLs of roots that come with them are taken behind it, each by itself.
 */
#include "core_impl.h"

#include "mica/pem.h"

#include "ca_check.h"

#include <inttypes.h>
#include <stdio.h>

#define ROOTS_MAX (CORE_AUTHORITY_MAX + MICA_IMPORT_MAX)

struct import {
	const struct mica_import *in;
	struct core_bring *b;
	struct mica_ca_rules rules;
	struct mica_slice der[MICA_IMPORT_MAX];
	struct mica_ca_cert cert[MICA_IMPORT_MAX];
	size_t n, known; /* certificates; those of them that were here already */
	/* Roots that one may be signed by: those of the view, then new ones. */
	struct mica_ca_cert root[ROOTS_MAX];
	size_t n_roots;
	struct mica_slice crl_der[MICA_IMPORT_MAX];
	size_t n_crls;
	char ids[MICA_IMPORT_MAX][MICA_KEY_ID_SIZE]; /* of what is written */
	size_t n_ids;
};

static const struct core_authorities *auths(const struct import *x)
{
	return x->b->v->auths;
}

/* ---- what is there already ---------------------------------------------------------------------
 */

static mica_rc load_roots(struct import *x, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (unsigned i = 0; i < auths(x)->n && rc == MICA_OK; i++)
		if (auths(x)->v[i].kind == MICA_AUTHORITY_ROOT && auths(x)->v[i].cert.len > 0)
			rc = mica_ca_cert_read(
				mica_buf_slice(&auths(x)->v[i].cert), &x->root[x->n_roots++], e);
	return rc;
}

/* The next block, of either kind; NOT_FOUND at the end. */
static mica_rc next_block(
	struct mica_slice *in, struct mica_buf *mem, bool *is_crl, struct mica_err *e)
{
	struct mica_slice at = *in;

	*is_crl = mica_pem_next(&at, MICA_PEM_CRL, NULL, mem, NULL) == MICA_OK;
	if (*is_crl) {
		*in = at;
		return MICA_OK;
	}
	return mica_pem_next(in, MICA_PEM_CERT, NULL, mem, e);
}

/* Where each block ends in `mem`, which only then stands still. */
static mica_rc split(struct import *x, struct mica_buf *mem, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_slice in = x->in->pem, *to;
	size_t ends[2 * MICA_IMPORT_MAX], n = 0, from = 0;
	bool crl[2 * MICA_IMPORT_MAX], is_crl;
	mica_rc rc;

	while ((rc = next_block(&in, mem, &is_crl, &own)) == MICA_OK) {
		if ((is_crl ? x->n_crls : x->n) == MICA_IMPORT_MAX)
			return mica_fail(e, MICA_LIMIT, "pem_too_many",
				"PEM: more than %d certificates, or CRLs", MICA_IMPORT_MAX);
		if (is_crl)
			x->n_crls++;
		else
			x->n++;
		crl[n] = is_crl;
		ends[n++] = mem->len;
		mica_err_clear(&own);
	}
	if (rc != MICA_NOT_FOUND)
		return mica_fail(e, rc, own.reason,
			"%s; expected certificates and CRLs and nothing else (`openssl ca -notext`)",
			own.text);
	x->n = x->n_crls = 0;
	for (size_t i = 0; i < n; from = ends[i++]) {
		to = crl[i] ? &x->crl_der[x->n_crls++] : &x->der[x->n++];
		*to = mica_slice(mem->p + from, ends[i] - from);
	}
	return n ? MICA_OK
		 : mica_fail(e, MICA_INVALID, "import_empty",
			   "there is nothing in it; expected PEM blocks CERTIFICATE or X509 CRL");
}

static mica_rc read_all(struct import *x, struct mica_buf *mem, struct mica_err *e)
{
	mica_rc rc = split(x, mem, e);

	for (size_t i = 0; i < x->n && rc == MICA_OK; i++) {
		rc = mica_ca_cert_read(x->der[i], &x->cert[i], e);
		if (rc != MICA_OK)
			mica_err_context(e, "certificate %zu", i + 1);
	}
	return rc;
}

/* The very certificate is here. */
static bool is_known(const struct import *x, size_t i)
{
	int at = mica_core_authority_find(auths(x), x->cert[i].id);

	return at >= 0 && mica_slice_eq(mica_buf_slice(&auths(x)->v[at].cert), x->der[i]);
}

/* Relying parties, and revocation lists, know an authority by its name. */
static mica_rc check_subject(const struct import *x, size_t i, struct mica_err *e)
{
	const struct mica_ca_cert *c = &x->cert[i], *other;
	struct mica_cert_info info;
	bool taken = false;

	for (unsigned k = 0; k < auths(x)->n; k++)
		if (auths(x)->v[k].cert.len > 0 && strcmp(auths(x)->v[k].id, c->id) != 0 &&
			mica_cert_read(mica_buf_slice(&auths(x)->v[k].cert), &info, NULL) ==
				MICA_OK &&
			mica_slice_eq(info.subject, c->info.subject))
			taken = true;
	for (size_t k = 0; k < x->n; k++) {
		other = &x->cert[k];
		if (strcmp(other->id, c->id) != 0 &&
			mica_slice_eq(other->info.subject, c->info.subject))
			taken = true;
	}
	return taken
		? mica_fail(e, MICA_CONFLICT, "subject_taken",
			  "another authority has the same subject; each needs its own: keep the "
			  "one of the request")
		: MICA_OK;
}

/* ---- entries -----------------------------------------------------------------------------------
 */

static mica_rc note(struct import *x, const struct mica_authority *a, const struct mica_ca_cert *c,
	struct mica_err *e)
{
	MICA_AUTO_BUF more;
	char end[MICA_TIME_SIZE];

	mica_buf_init(&more, 1024);
	mica_time_format(a->not_after, end);
	mica_buf_put_str(&more, ",\"serial\":\"");
	mica_buf_put_hex(&more, c->info.serial.p, c->info.serial.len);
	mica_buf_printf(&more, "\",\"not_after\":\"%s\"", end);
	memcpy(x->ids[x->n_ids++], a->id, MICA_KEY_ID_SIZE);
	return mica_core_bring_note(x->b, a, "imported", mica_buf_slice(&more), e);
}

/* What its certificate says. */
static void certify(struct mica_authority *a, const struct mica_ca_cert *c)
{
	a->not_before = c->info.not_before;
	a->not_after = c->info.not_after;
	mica_buf_reset(&a->cert);
	mica_buf_put_slice(&a->cert, c->info.der);
}

/* ---- roots -------------------------------------------------------------------------------------
 */

static mica_rc add_root(struct import *x, size_t i, struct mica_err *e)
{
	const struct mica_ca_cert *c = &x->cert[i];
	struct mica_authority *a;
	mica_rc rc;

	if (!x->in->new_root)
		return mica_fail(e, MICA_INVALID, "root_unknown",
			"a root with key %s is not known here; whoever is to trust it has to mean it: "
			"--new-root",
			c->id);
	if (mica_core_authority_find(auths(x), c->id) >= 0)
		return mica_fail(e, MICA_CONFLICT, "key_taken",
			"an authority of ours has this root's key %s already; a new root has a new key",
			c->id);
	rc = mica_ca_check_root(&x->rules, c, e);
	if (rc == MICA_OK)
		rc = check_subject(x, i, e);
	if (rc == MICA_OK)
		rc = mica_core_bring_add(x->b, -1, MICA_AUTHORITY_ROOT, &c->key, &a, e);
	if (rc == MICA_OK)
		rc = mica_authority_add_time(a, MICA_AE_PUBLISHED, x->b->now, e);
	if (rc != MICA_OK)
		return rc;
	a->standby = x->in->standby;
	certify(a, c);
	x->root[x->n_roots++] = *c;
	x->b->bundle = true;
	return note(x, a, c, e);
}

/* ---- issuing authorities -----------------------------------------------------------------------
 */

/* The request that it answers. */
static mica_rc find_request(
	const struct import *x, const struct mica_ca_cert *c, int *at, struct mica_err *e)
{
	const struct mica_authority *a;

	*at = mica_core_authority_find(auths(x), c->id);
	a = *at < 0 ? NULL : &auths(x)->v[*at];
	if (!a || a->kind != MICA_AUTHORITY_ISSUING)
		return mica_fail(e, MICA_INVALID, "no_such_request",
			"no request of ours is for the key %s of this certificate; `mica authority csr` "
			"tells those that wait",
			c->id);
	if (a->cert.len > 0)
		return mica_fail(e, MICA_CONFLICT, "already_certified",
			"authority %s has another certificate already; keys are used once: sign a "
			"request that waits",
			c->id);
	if (mica_authority_state_at(a, x->b->now) != MICA_AS_PENDING)
		return mica_fail(e, MICA_CONFLICT, "already_certified",
			"authority %s was given up before its certificate came", c->id);
	return MICA_OK;
}

/* One that relying parties are, or will be, told to trust. */
static mica_rc check_parent(const struct import *x, const struct mica_ca_cert *root,
	const struct mica_authority **out, struct mica_err *e)
{
	int at = mica_core_authority_find(auths(x), root->id);
	enum mica_authority_state s;

	*out = at < 0 ? NULL : &auths(x)->v[at];
	if (at < 0) /* one that comes with it */
		return MICA_OK;
	s = mica_authority_state_at(*out, x->b->now);
	if (s != MICA_AS_PUBLISHED && s != MICA_AS_READY && s != MICA_AS_ACTIVE &&
		s != MICA_AS_RETIRED)
		return mica_fail(e, MICA_CONFLICT, "root_unusable",
			"root %s is %s: nothing more is issued below it", root->id,
			mica_authority_state_name(s));
	mica_core_change_read(
		&x->b->ch, MICA_T_AUTHORITY, mica_slice_str(root->id), auths(x)->more[at].rev);
	return MICA_OK;
}

static mica_rc find_parent(
	const struct import *x, const struct mica_ca_cert *c, size_t *root, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	size_t between[MICA_AUTHORITY_CHAIN_MAX], n;
	mica_rc rc = mica_ca_find_path(
		&x->rules, c, NULL, 0, x->root, x->n_roots, between, &n, root, &own);

	if (rc == MICA_OK)
		return MICA_OK;
	if (strcmp(own.reason, "ca_issuer_unknown") == 0)
		return mica_fail(e, MICA_INVALID, "issuer_unknown",
			"no root here has signed it; a new root is imported with --new-root");
	return mica_fail(e, rc, own.reason, "%s", own.text);
}

static mica_rc add_issuing(struct import *x, size_t i, struct mica_err *e)
{
	const struct mica_ca_cert *c = &x->cert[i];
	const struct mica_authority *parent;
	struct mica_authority *a;
	size_t root = 0;
	int at = -1;
	mica_rc rc = find_request(x, c, &at, e);

	if (rc == MICA_OK)
		rc = mica_ca_check_issuing(&x->rules, c, e);
	if (rc == MICA_OK)
		rc = find_parent(x, c, &root, e);
	if (rc == MICA_OK)
		rc = check_parent(x, &x->root[root], &parent, e);
	if (rc == MICA_OK)
		rc = check_subject(x, i, e);
	if (rc == MICA_OK)
		rc = mica_core_bring_add(x->b, at, MICA_AUTHORITY_ISSUING, &c->key, &a, e);
	/* It is known by whoever gets a leaf of it. */
	if (rc == MICA_OK)
		rc = mica_authority_add_time(a, MICA_AE_PUBLISHED, x->b->now, e);
	if (rc == MICA_OK)
		rc = mica_authority_add_time(a, MICA_AE_READY, x->b->now, e);
	if (rc != MICA_OK)
		return rc;
	memcpy(a->parent, x->root[root].id, sizeof(a->parent));
	certify(a, c);
	return note(x, a, c, e);
}

/* ---- CRLs --------------------------------------------------------------------------------------
 */

/* The root that it names; of several of one name the one that has signed it. */
static mica_rc find_crl_issuer(const struct import *x, size_t i, struct mica_crl_info *info,
	const char **id, struct mica_err *e)
{
	mica_rc rc = mica_crl_read(x->crl_der[i], info, e);

	*id = NULL;
	for (size_t k = 0; k < x->n_roots && rc == MICA_OK; k++) {
		const struct mica_ca_cert *r = &x->root[k];

		if (!mica_slice_eq(info->issuer, r->info.subject))
			continue;
		*id = r->id;
		if (mica_pubkey_verify(&r->key, info->alg, MICA_SIG_DER, info->tbs, info->signature,
			    NULL) == MICA_OK)
			return MICA_OK;
	}
	if (rc == MICA_OK)
		rc = *id ? mica_fail(e, MICA_INVALID, "crl_bad_signature",
				   "CRL %zu: the root that it names has not signed it", i + 1)
			 : mica_fail(e, MICA_INVALID, "crl_wrong_issuer",
				   "CRL %zu: it is of no root here; micad signs those of issuing "
				   "authorities",
				   i + 1);
	return rc;
}

/* Whether a newer CRL of the same root is among those that are brought: only that one is taken. Two
 * of one number are none to choose from. */
static mica_rc look_for_newer(const struct import *x, size_t i, const struct mica_crl_info *info,
	const char *id, bool *outdated, struct mica_err *e)
{
	*outdated = false;
	for (size_t k = 0; k < x->n_crls; k++) {
		struct mica_crl_info other;
		const char *other_id;
		mica_rc rc = find_crl_issuer(x, k, &other, &other_id, e);

		if (rc != MICA_OK)
			return rc;
		if (strcmp(other_id, id) != 0)
			continue;
		if (other.number == info->number && !mica_slice_eq(other.der, info->der))
			return mica_fail(e, MICA_CONFLICT, "crl_not_newer",
				"CRLs %zu and %zu: both are of one root, and of number %" PRIu64
				"; expected one of them alone",
				i + 1, k + 1, info->number);
		*outdated = *outdated || other.number > info->number;
	}
	return MICA_OK;
}

/* Before anything is written, since it is all or nothing. */
static mica_rc check_crls(const struct import *x, struct mica_err *e)
{
	struct mica_crl_info info;
	mica_rc rc = MICA_OK;
	const char *id;
	bool same, outdated;

	for (size_t i = 0; i < x->n_crls && rc == MICA_OK; i++) {
		rc = find_crl_issuer(x, i, &info, &id, e);
		if (rc == MICA_OK)
			rc = look_for_newer(x, i, &info, id, &outdated, e);
		if (rc == MICA_OK)
			rc = mica_core_check_crl(x->b->v, id, &info, x->b->now, &same, e);
	}
	return rc;
}

/* When their roots are in the view. */
static mica_rc take_crls(struct import *x, struct mica_err *e)
{
	struct mica_crl_info info;
	mica_rc rc = MICA_OK;
	const char *id;
	bool outdated = false;

	for (size_t i = 0; i < x->n_crls && rc == MICA_OK; i++) {
		rc = find_crl_issuer(x, i, &info, &id, e);
		if (rc == MICA_OK)
			rc = look_for_newer(x, i, &info, id, &outdated, e);
		if (rc == MICA_OK && !outdated)
			rc = mica_core_take_crl(x->b->c, id, &info, x->b->actor, x->b->now_ms, e);
		if (rc != MICA_OK)
			mica_err_context(e, "CRL %zu", i + 1);
	}
	return rc;
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

typedef mica_rc add_fn(struct import *x, size_t i, struct mica_err *e);

static mica_rc add(struct import *x, size_t i, add_fn *fn, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	/* a signer's answer often has the same one twice: in the chain, and alone */
	for (size_t k = 0; k < i; k++)
		if (mica_slice_eq(x->der[k], x->der[i]))
			return MICA_OK;
	if (is_known(x, i))
		x->known++;
	else
		rc = fn(x, i, e);
	if (rc != MICA_OK)
		mica_err_context(e, "certificate %zu", i + 1);
	return rc;
}

static mica_rc check_all(struct import *x, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < x->n && rc == MICA_OK; i++)
		if (mica_ca_cert_is_root(&x->cert[i]))
			rc = add(x, i, add_root, e);
	for (size_t i = 0; i < x->n && rc == MICA_OK; i++)
		if (!mica_ca_cert_is_root(&x->cert[i]))
			rc = add(x, i, add_issuing, e);
	if (rc == MICA_OK)
		rc = check_crls(x, e);
	if (rc == MICA_OK && x->n_ids == 0 && x->n_crls == 0)
		return mica_fail(e, MICA_CONFLICT, "imported_already",
			"all %zu certificates are here already", x->known);
	return rc;
}

static void put_result(
	const struct import *x, struct mica_core *c, int64_t now, struct mica_buf *json)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	bool any = false;

	mica_buf_put_str(json, "{\"imported\":[");
	for (size_t i = 0; i < x->n_ids; i++) {
		for (unsigned k = 0; k < v->auths->n; k++) {
			const struct mica_authority *a = &v->auths->v[k];

			if (strcmp(a->id, x->ids[i]) != 0)
				continue;
			mica_core_put_string(json, any ? ",{" : "{", "id", a->id);
			mica_core_put_string(json, ",", "kind", mica_authority_kind_name(a->kind));
			mica_core_put_string(json, ",", "state",
				mica_authority_state_name(mica_authority_state_at(a, now)));
			mica_core_put_time(json, ",", "not_after", a->not_after);
			mica_buf_put_u8(json, '}');
			any = true;
		}
	}
	mica_buf_printf(json, "],\"crls\":%zu}", x->n_crls);
}

static mica_rc import(struct import *x, struct mica_err *e)
{
	MICA_AUTO_BUF der;
	const struct core_policy *p = x->b->v->policy;
	mica_rc rc;

	mica_buf_init(&der, MICA_CRL_MAX);
	if (p->rotation.root_home != MICA_ROOT_OFFLINE)
		return mica_fail(e, MICA_CONFLICT, "root_not_offline",
			"certificates are imported below a root whose key is elsewhere "
			"(authorities.root: offline)");
	mica_ca_rules_of(&p->rotation, p->trust_domain, x->b->now, true, &x->rules);
	rc = load_roots(x, e);
	if (rc == MICA_OK)
		rc = read_all(x, &der, e);
	if (rc == MICA_OK)
		rc = check_all(x, e);
	if (rc == MICA_OK)
		rc = mica_core_bring_commit(x->b, e);
	return rc == MICA_OK ? take_crls(x, e) : rc;
}

mica_rc mica_core_import(struct mica_core *c, const struct mica_import *in,
	const struct mica_caller *actor, int64_t now_ms, struct mica_buf *json, struct mica_err *e)
{
	MICA_AUTO_FREE struct import *x = mica_calloc(1, sizeof(*x));
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	{
		CORE_AUTO_BRING b;

		mica_core_bring_begin(&b, c, actor, now_ms);
		x->in = in;
		x->b = &b;
		rc = import(x, e);
	}
	if (rc == MICA_OK) {
		mica_core_go_on(c, now_ms);
		put_result(x, c, mica_core_decision_ms(c, now_ms) / 1000, json);
		rc = mica_buf_rc(json, e);
	}
	pthread_mutex_unlock(&c->admin);
	return rc;
}
