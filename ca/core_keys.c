/* SPDX-License-Identifier: Apache-2.0 */
/* Issuers' keys: judged when they come, kept as a last good copy. */
#include "core_impl.h"

#define RECORD_VERSION 1
#define RECORD_MAX     (MICA_JWKS_BYTES_MAX + 4096)

static void free_keys(void *part)
{
	struct core_keys *k = part;

	for (unsigned i = 0; i < k->n; i++)
		mica_jwks_unref(k->v[i].jwks);
	mica_free(k->v);
	mica_free(k);
}

struct core_keys *mica_core_keys_new(unsigned n)
{
	struct core_keys *k = mica_core_part_new(sizeof(*k), free_keys);

	k->n = n;
	k->v = mica_calloc(n + 1, sizeof(*k->v));
	return k;
}

static mica_rc parse(const struct mica_issuer *i, struct mica_slice document,
	const struct mica_jwks **out, struct mica_err *e)
{
	struct mica_jwks_options o = mica_issuer_jwks_options(i);

	return mica_jwks_parse(document, &o, out, e);
}

/* ---- kept copies ----------------------------------------------------------------------------- */

static mica_rc store_copy(struct mica_core *c, const struct mica_issuer *i,
	struct mica_slice document, int64_t now_ms, struct mica_err *e)
{
	struct mica_slice url = mica_slice_str(mica_issuer_url(i));
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	MICA_AUTO_BUF b;

	mica_buf_init(&b, RECORD_MAX);
	mica_buf_put_u8(&b, RECORD_VERSION);
	mica_buf_put_be64(&b, (uint64_t)now_ms);
	mica_buf_put_be16(&b, (uint16_t)url.len);
	mica_buf_put_slice(&b, url);
	mica_buf_put_slice(&b, document);
	mica_core_change_write(&ch, MICA_PUT, MICA_T_JWKS, mica_slice_str(mica_issuer_name(i)),
		mica_buf_slice(&b));
	return mica_core_change_commit(c, &ch, now_ms, e);
}

/* A copy that cannot be used counts as none: the server fetches a new one. The URL is compared,
 * for a name may have gone over to another issuer. */
static void use_copy(
	const struct mica_issuer *i, struct mica_slice record, struct core_issuer_keys *out)
{
	struct mica_cursor cur = {record, false};
	unsigned version = mica_cur_u8(&cur);
	int64_t fetched_ms = (int64_t)mica_cur_be64(&cur);
	struct mica_slice url = mica_cur_take(&cur, mica_cur_be16(&cur));

	if (cur.bad || version != RECORD_VERSION || fetched_ms <= 0 ||
		!mica_slice_eq_str(url, mica_issuer_url(i)))
		return;
	if (parse(i, cur.s, &out->jwks, NULL) == MICA_OK)
		out->fetched = fetched_ms / 1000;
}

mica_rc mica_core_keys_load(struct mica_core *c, const struct core_policy *p,
	struct core_keys **out, struct mica_err *e)
{
	unsigned n = mica_issuers_count(p->issuers);
	CORE_AUTO_PART struct core_keys *k = mica_core_keys_new(n);
	MICA_AUTO_BUF b;

	mica_buf_init(&b, RECORD_MAX);
	for (unsigned i = 0; i < n; i++) {
		const struct mica_issuer *is = mica_issuers_at(p->issuers, i);
		struct mica_err own = MICA_ERR_INIT;
		mica_rc rc = mica_store_get(c->store, MICA_T_JWKS,
			mica_slice_str(mica_issuer_name(is)), &b, NULL, &own);

		if (rc != MICA_OK && rc != MICA_NOT_FOUND && rc != MICA_LIMIT)
			return mica_fail(e, rc, own.reason, "%s", own.text);
		if (rc == MICA_OK)
			use_copy(is, mica_buf_slice(&b), &k->v[i]);
	}
	*out = MICA_STEAL(k);
	return MICA_OK;
}

/* ---- new ones -------------------------------------------------------------------------------- */

static mica_rc find_issuer(const struct core_view *v, const char *name,
	const struct mica_issuer **out, struct mica_err *e)
{
	*out = mica_issuers_named(v->policy->issuers, name);
	return *out ? MICA_OK
		    : mica_fail(e, MICA_NOT_FOUND, "no_such_issuer",
			      "there is no issuer \"%.63s\" in the configuration", name);
}

static mica_rc set_jwks(struct mica_core *c, const char *name, struct mica_slice document,
	int64_t now_ms, const struct mica_jwks **got, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct mica_issuer *issuer;
	struct core_keys *keys;
	mica_rc rc = find_issuer(v, name, &issuer, e);

	if (rc == MICA_OK)
		rc = parse(issuer, document, got, e);
	if (rc == MICA_OK)
		rc = store_copy(c, issuer, document, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	keys = mica_core_keys_new(v->keys->n);
	for (unsigned i = 0; i < keys->n; i++) {
		keys->v[i] = v->keys->v[i];
		if (i == mica_issuer_index(issuer))
			keys->v[i] = (struct core_issuer_keys){*got, now_ms / 1000};
		mica_jwks_ref(keys->v[i].jwks);
	}
	mica_core_view_take_set(c, &(struct core_parts){.keys = keys});
	return MICA_OK;
}

mica_rc mica_core_set_jwks(struct mica_core *c, const char *issuer, struct mica_slice document,
	int64_t now_ms, unsigned *usable, unsigned *skipped, struct mica_err *e)
{
	MICA_AUTO_JWKS got = NULL;
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	rc = set_jwks(c, issuer, document, now_ms, &got, e);
	pthread_mutex_unlock(&c->admin);
	if (rc == MICA_OK && usable)
		*usable = (unsigned)mica_jwks_count(got);
	if (rc == MICA_OK && skipped)
		*skipped = (unsigned)mica_jwks_skipped_count(got);
	return rc;
}

mica_rc mica_core_jwks_age(struct mica_core *c, const char *issuer, int64_t *fetched,
	unsigned *keys, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct core_issuer_keys *k;
	const struct mica_issuer *is;
	mica_rc rc = find_issuer(v, issuer, &is, e);

	if (rc != MICA_OK)
		return rc;
	k = &v->keys->v[mica_issuer_index(is)];
	*fetched = k->fetched;
	if (keys)
		*keys = k->jwks ? (unsigned)mica_jwks_count(k->jwks) : 0;
	return MICA_OK;
}
