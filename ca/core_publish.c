/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is published: the bundle of each channel in each form, encoded once, shared by all readers;
 * and the publisher's certificate, by which the signed form is believed.
 *
 * One counter numbers both channels. While no authority is in the canary channel alone, both are
 * one; when such an authority has gone the live one is published again under a higher number, so
 * that holders of the canary's see it grow.
 */
#include "core_impl.h"

#include <inttypes.h>
#include <stdio.h>

/* Certificates of the publisher outlive what they vouch for. */
#define PUBLISHER_LIFE (2 * MICA_JWS_LIFE)
#define RECORD_VERSION 1
#define HASTE          4 /* in a compromise bundles are looked for so much sooner */

static struct mica_slice channel_key(enum mica_channel ch, char out[64])
{
	snprintf(out, 64, "%s/%s", MICA_SET_DEFAULT, mica_channel_name(ch));
	return mica_slice_str(out);
}

void mica_core_put_sequence(struct core_change *ch, enum mica_channel channel, uint64_t sequence,
	const uint8_t hash[32], const char *origin)
{
	MICA_AUTO_BUF b;
	char key[64];

	mica_buf_init(&b, 64 + MICA_NOTE_NAME_MAX);
	mica_buf_put_u8(&b, RECORD_VERSION);
	mica_buf_put_be64(&b, sequence);
	mica_buf_put(&b, hash, 32);
	mica_buf_put_str(&b, origin);
	mica_core_change_write(
		ch, MICA_PUT, MICA_T_SNAPSHOT, channel_key(channel, key), mica_buf_slice(&b));
}

/* In a compromise those whose certificates are out already are told by the bundle, and look for the
 * next one sooner. */
static void call_for_renewal(const struct mica_rotation_policy *p, const struct core_authorities *a,
	int64_t now, struct core_content *out)
{
	out->b.renew = out->renew;
	out->b.renew_before = MICA_TIME_NEVER;
	for (unsigned i = 0; i < a->n && out->b.n_renew < MICA_BUNDLE_KEYS_MAX; i++) {
		int64_t before = mica_renewal_before(p, a->v, a->n, i, now);
		char *text;

		if (before == MICA_TIME_NEVER)
			continue;
		/* what its leaves call it */
		text = out->renew_text[out->b.n_renew];
		snprintf(text, MICA_KEY_ID_SIZE, "%s", a->v[i].id);
		if (a->more[i].ski.len == MICA_KEY_ID_LEN)
			mica_hex_encode(a->more[i].ski.p, MICA_KEY_ID_LEN, text);
		out->renew[out->b.n_renew++] = text;
		if (before < out->b.renew_before)
			out->b.renew_before = before;
	}
	if (out->b.n_renew > 0 && out->b.refresh_hint > HASTE)
		out->b.refresh_hint /= HASTE;
}

void mica_core_content(const struct core_policy *p, const struct core_authorities *a,
	enum mica_channel ch, int64_t now, struct core_content *out)
{
	memset(&out->b, 0, sizeof(out->b));
	out->b = (struct mica_bundle_content){.set = MICA_SET_DEFAULT,
		.trust_domain = p->trust_domain,
		.channel = ch,
		.refresh_hint = p->refresh_hint,
		.roots = out->roots,
		.jwt_keys = out->keys};
	call_for_renewal(&p->rotation, a, now, out);
	for (unsigned i = 0; i < a->n; i++) {
		const struct mica_authority *v = &a->v[i];

		if (!(ch == MICA_CHANNEL_CANARY ? mica_authority_in_canary(v, now)
						: mica_authority_is_published(v, now)))
			continue;
		if (v->kind == MICA_AUTHORITY_ROOT && v->cert.len > 0)
			out->roots[out->b.n_roots++] = mica_buf_slice(&v->cert);
		else if (v->kind == MICA_AUTHORITY_JWT)
			out->keys[out->b.n_jwt_keys++] =
				(struct mica_bundle_key){v->id, &a->more[i].pub};
	}
}

/* ---- a new part ------------------------------------------------------------------------------ */

static void free_published(void *part)
{
	struct core_published *p = part;

	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++)
		for (int f = 0; f < MICA_FMT_COUNT; f++)
			mica_snapshot_unref(p->snap[ch][f]);
	mica_buf_clear(&p->publisher);
	mica_free(p);
}

static struct core_published *new_published(void)
{
	struct core_published *p = mica_core_part_new(sizeof(*p), free_published);

	mica_buf_init(&p->publisher, MICA_CERT_MAX);
	return p;
}

/* What is known of the last one: of the view, or at the start of the store. */
static void copy_published(struct core_published *to, const struct core_published *from)
{
	memcpy(to->sequence, from->sequence, sizeof(to->sequence));
	memcpy(to->hash, from->hash, sizeof(to->hash));
	memcpy(to->publisher_authority, from->publisher_authority, sizeof(to->publisher_authority));
	to->publisher_end = from->publisher_end;
	to->signed_at = from->signed_at;
	mica_buf_put_slice(&to->publisher, mica_buf_slice(&from->publisher));
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++)
		for (int f = 0; f < MICA_FMT_COUNT; f++)
			if (from->snap[ch][f])
				to->snap[ch][f] = mica_snapshot_ref(from->snap[ch][f]);
}

static mica_rc damaged(struct mica_err *e, const char *what)
{
	return mica_fail(
		e, MICA_CORRUPT, "snapshot_malformed", "the stored record of %s is damaged", what);
}

static mica_rc load_channel(
	struct mica_core *c, struct core_published *p, enum mica_channel ch, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_cursor cur;
	struct mica_slice hash;
	MICA_AUTO_BUF b;
	char key[64];
	mica_rc rc;

	mica_buf_init(&b, 1024);
	rc = mica_store_get(c->store, MICA_T_SNAPSHOT, channel_key(ch, key), &b, NULL, &own);
	if (rc != MICA_OK)
		return mica_fail(e, rc == MICA_NOT_FOUND ? MICA_CORRUPT : rc, own.reason,
			"the bundle's record: %s", own.text);
	cur = (struct mica_cursor){mica_buf_slice(&b), false};
	if (mica_cur_u8(&cur) != RECORD_VERSION)
		return damaged(e, "the bundle");
	p->sequence[ch] = mica_cur_be64(&cur);
	hash = mica_cur_take(&cur, 32);
	if (cur.bad || p->sequence[ch] > MICA_SEQUENCE_MAX)
		return damaged(e, "the bundle");
	/* A restored log has another name. What was published under higher numbers after the backup
	 * is not known here: so there is a new number, by the clock, whatever the content. */
	if (mica_slice_eq_str(cur.s, mica_ledger_key(c->ledger)->name))
		memcpy(p->hash[ch], hash.p, 32);
	return MICA_OK;
}

static mica_rc load_publisher(struct mica_core *c, struct core_published *p, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_cert_info info;
	struct mica_cursor cur;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, MICA_CERT_MAX + 64);
	rc = mica_store_get(c->store, MICA_T_SNAPSHOT, MICA_LIT("publisher"), &b, NULL, &own);
	if (rc == MICA_NOT_FOUND)
		return MICA_OK;
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	cur = (struct mica_cursor){mica_buf_slice(&b), false};
	if (mica_cur_u8(&cur) != RECORD_VERSION ||
		mica_slice_copy(mica_cur_take(&cur, MICA_KEY_ID_SIZE - 1), p->publisher_authority,
			sizeof(p->publisher_authority)) != MICA_OK ||
		cur.bad || mica_cert_read(cur.s, &info, NULL) != MICA_OK)
		return damaged(e, "the publisher");
	mica_buf_put_slice(&p->publisher, cur.s);
	p->publisher_end = info.not_after;
	return MICA_OK;
}

/* ---- the publisher's certificate ------------------------------------------------------------- */

static mica_rc store_publisher(
	struct mica_core *c, const struct core_published *p, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	MICA_AUTO_BUF b;

	mica_buf_init(&b, MICA_CERT_MAX + 64);
	mica_buf_put_u8(&b, RECORD_VERSION);
	mica_buf_put_str(&b, p->publisher_authority);
	mica_buf_put_slice(&b, mica_buf_slice(&p->publisher));
	mica_core_change_write(
		&ch, MICA_PUT, MICA_T_SNAPSHOT, MICA_LIT("publisher"), mica_buf_slice(&b));
	return mica_core_change_commit(c, &ch, now_ms, e);
}

static mica_rc certify(struct mica_core *c, struct core_view *v, struct core_published *p,
	int64_t now_ms, struct mica_err *e)
{
	struct mica_principal who;
	struct mica_evidence ev;
	struct core_decision d = {.principal = &who,
		.evidence = &ev,
		.address = "",
		.key = mica_signer_public(c->publication_key),
		.ttl = PUBLISHER_LIFE};
	CORE_AUTO_CANDIDATE k = NULL;
	mica_rc rc =
		mica_core_self(v->policy->trust_domain, "publisher", now_ms / 1000, &who, &ev, e);

	if (rc == MICA_OK)
		rc = mica_core_make_x509(v, &d, now_ms, &k, e);
	if (rc == MICA_OK)
		rc = mica_core_commit(c, &k, 1, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	if (mica_candidate_rc(k) != MICA_OK)
		return mica_fail(e, MICA_CONFLICT, "changed_meanwhile",
			"the authority has changed while the publisher was certified");
	mica_buf_reset(&p->publisher);
	mica_buf_put_slice(&p->publisher, k->chain[0]);
	p->publisher_end = k->end;
	p->signed_at = 0;
	memcpy(p->publisher_authority, v->auths->v[k->authority].id,
		sizeof(p->publisher_authority));
	return store_publisher(c, p, now_ms, e);
}

/* A signed form needs a publisher certified by the active authority until the form expires, or as
 * long as that authority lives. Without an active one the last certificate is used to its end. */
static mica_rc ensure_publisher(struct mica_core *c, struct core_view *v, struct core_published *p,
	int64_t now_ms, struct mica_err *e)
{
	int64_t now = now_ms / 1000, reach;
	int at = mica_core_active(v->auths, MICA_AUTHORITY_ISSUING, now);

	if (at < 0 || mica_core_can_issue(c, NULL) != MICA_OK)
		return MICA_OK;
	reach = v->auths->v[at].not_after;
	if (reach > now + MICA_JWS_LIFE)
		reach = now + MICA_JWS_LIFE;
	if (strcmp(p->publisher_authority, v->auths->v[at].id) == 0 && p->publisher_end >= reach)
		return MICA_OK;
	return certify(c, v, p, now_ms, e);
}

/* ---- encoding -------------------------------------------------------------------------------- */

typedef mica_rc put_fn(
	const struct mica_bundle_content *c, struct mica_buf *out, struct mica_err *e);
static put_fn *const encoders[MICA_FMT_COUNT] = {[MICA_FMT_BUNDLE_JSON] = mica_bundle_put_json,
	[MICA_FMT_BUNDLE_PEM] = mica_bundle_put_pem,
	[MICA_FMT_JWKS] = mica_bundle_put_jwks};

static mica_rc encode_plain(struct core_published *p, const struct core_content *content,
	enum mica_format f, struct mica_err *e)
{
	enum mica_channel ch = content->b.channel;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, MICA_BUNDLE_MAX);
	rc = encoders[f](&content->b, &b, e);
	if (rc != MICA_OK)
		return rc;
	mica_snapshot_unref(p->snap[ch][f]);
	p->snap[ch][f] =
		mica_snapshot_take_new(&b, MICA_SET_DEFAULT, ch, content->b.sequence, 0, 0);
	return MICA_OK;
}

size_t mica_core_publisher_chain(
	const struct core_view *v, const char *id, struct mica_slice chain[MICA_CHAIN_MAX])
{
	for (unsigned i = 0; i < v->auths->n; i++) {
		const struct core_authority_more *m = &v->auths->more[i];

		if (strcmp(v->auths->v[i].id, id) != 0)
			continue;
		memcpy(chain + 1, m->chain, m->n_chain * sizeof(m->chain[0]));
		return 1 + m->n_chain;
	}
	return 1;
}

static mica_rc encode_signed(struct mica_core *c, const struct core_view *v,
	struct core_published *p, const struct core_content *content, int64_t now,
	struct mica_err *e)
{
	struct mica_slice chain[MICA_CHAIN_MAX] = {mica_buf_slice(&p->publisher)};
	size_t n_chain = mica_core_publisher_chain(v, p->publisher_authority, chain);
	enum mica_channel ch = content->b.channel;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, 2 * MICA_BUNDLE_MAX);
	rc = mica_bundle_put_jws(&content->b, c->publication_key, chain, n_chain, now, &b, e);
	if (rc != MICA_OK)
		return rc;
	mica_snapshot_unref(p->snap[ch][MICA_FMT_BUNDLE_JWS]);
	p->snap[ch][MICA_FMT_BUNDLE_JWS] = mica_snapshot_take_new(
		&b, MICA_SET_DEFAULT, ch, content->b.sequence, now, now + MICA_JWS_LIFE);
	return MICA_OK;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static mica_rc note_published(struct core_change *ch, const struct core_published *p,
	enum mica_channel channel, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_BUNDLE, .action = "published"};
	MICA_AUTO_BUF detail;

	mica_buf_init(&detail, 256);
	mica_buf_printf(&detail, "{\"channel\":\"%s\",\"sequence\":%" PRIu64 ",\"sha256\":\"",
		mica_channel_name(channel), p->sequence[channel]);
	mica_buf_put_hex(&detail, p->hash[channel], 32);
	mica_buf_put_str(&detail, "\"}");
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(ch, &n, NULL, now_ms, e);
}

/* Gives new numbers to what differs from what was published, and records them in `ch`. */
static mica_rc number(struct mica_core *c, struct core_published *p,
	struct core_content content[MICA_CHANNEL_COUNT], struct core_change *ch, int64_t now_ms,
	bool *changed, struct mica_err *e)
{
	uint8_t hash[MICA_CHANNEL_COUNT][32];
	uint64_t *seq = p->sequence, last, next;
	bool live, canary, one;
	mica_rc rc;

	for (int i = 0; i < MICA_CHANNEL_COUNT; i++)
		mica_bundle_hash(&content[i].b, hash[i]);
	one = memcmp(hash[MICA_CHANNEL_LIVE], hash[MICA_CHANNEL_CANARY], 32) == 0;
	live = memcmp(hash[MICA_CHANNEL_LIVE], p->hash[MICA_CHANNEL_LIVE], 32) != 0 ||
		(one && seq[MICA_CHANNEL_LIVE] != seq[MICA_CHANNEL_CANARY]);
	canary = one ? live
		     : memcmp(hash[MICA_CHANNEL_CANARY], p->hash[MICA_CHANNEL_CANARY], 32) != 0;
	*changed = live || canary;
	if (!*changed)
		return MICA_OK;
	last = seq[0] > seq[1] ? seq[0] : seq[1];
	rc = mica_sequence_next(last, now_ms, &next, e);
	memcpy(p->hash, hash, sizeof(p->hash));
	for (int i = 0; i < MICA_CHANNEL_COUNT && rc == MICA_OK; i++) {
		if (!(i == MICA_CHANNEL_LIVE ? live : canary))
			continue;
		seq[i] = one || i == MICA_CHANNEL_LIVE || !live ? next : next + 1;
		mica_core_put_sequence(ch, (enum mica_channel)i, seq[i], hash[i],
			mica_ledger_key(c->ledger)->name);
		rc = note_published(ch, p, (enum mica_channel)i, now_ms, e);
	}
	return rc;
}

static void fill_content(const struct core_policy *p, const struct core_authorities *a,
	struct core_content content[MICA_CHANNEL_COUNT])
{
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++)
		mica_core_content(p, a, (enum mica_channel)ch, a->from, &content[ch]);
}

mica_rc mica_core_renumber(struct mica_core *c, const struct core_view *v,
	const struct core_authorities *a, struct core_change *ch, int64_t now_ms,
	uint64_t sequence[MICA_CHANNEL_COUNT], struct mica_err *e)
{
	CORE_AUTO_PART struct core_published *p = new_published();
	MICA_AUTO_FREE struct core_content *content =
		mica_calloc(MICA_CHANNEL_COUNT, sizeof(*content));
	bool changed = false;
	mica_rc rc;

	memcpy(p->sequence, v->pub->sequence, sizeof(p->sequence));
	memcpy(p->hash, v->pub->hash, sizeof(p->hash));
	fill_content(v->policy, a, content);
	rc = number(c, p, content, ch, now_ms, &changed, e);
	memcpy(sequence, p->sequence, sizeof(p->sequence));
	return rc;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static mica_rc start(struct mica_core *c, const struct core_view *v, struct core_published *p,
	struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	if (v->pub)
		copy_published(p, v->pub);
	for (int ch = 0; ch < MICA_CHANNEL_COUNT && rc == MICA_OK && (!v->pub || c->renumbered);
		ch++)
		rc = load_channel(c, p, (enum mica_channel)ch, e);
	return rc == MICA_OK && !v->pub ? load_publisher(c, p, e) : rc;
}

/* Numbers in a commit of their own, for what did not change with a step. */
static mica_rc number_now(struct mica_core *c, struct core_published *p,
	struct core_content content[MICA_CHANNEL_COUNT], int64_t now_ms, bool *numbered,
	struct mica_err *e)
{
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	mica_rc rc = number(c, p, content, &ch, now_ms, numbered, e);

	return rc == MICA_OK && *numbered ? mica_core_change_commit(c, &ch, now_ms, e) : rc;
}

static mica_rc encode_all(struct mica_core *c, const struct core_view *v, struct core_published *p,
	struct core_content content[MICA_CHANNEL_COUNT], bool plain, bool sign, int64_t now,
	struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (int ch = 0; ch < MICA_CHANNEL_COUNT && rc == MICA_OK; ch++) {
		content[ch].b.sequence = p->sequence[ch];
		for (int f = 0; f < MICA_FMT_COUNT && rc == MICA_OK; f++)
			if (plain && encoders[f])
				rc = encode_plain(p, &content[ch], (enum mica_format)f, e);
		if (rc == MICA_OK && sign)
			rc = encode_signed(c, v, p, &content[ch], now, e);
	}
	if (rc == MICA_OK && sign)
		p->signed_at = now;
	return rc;
}

mica_rc mica_core_publish(struct mica_core *c, int64_t now_ms, bool *changed, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	CORE_AUTO_PART struct core_published *p = new_published();
	MICA_AUTO_FREE struct core_content *content =
		mica_calloc(MICA_CHANNEL_COUNT, sizeof(*content));
	int64_t now = now_ms / 1000;
	bool numbered = false, fresh = c->renumbered || !v->pub, sign;
	mica_rc rc = start(c, v, p, e), late;

	fill_content(v->policy, v->auths, content);
	if (rc == MICA_OK)
		rc = number_now(c, p, content, now_ms, &numbered, e);
	if (rc != MICA_OK)
		return rc;
	numbered = numbered || fresh;
	/* What has its number is published in any case; the certificate is tried again later. */
	late = ensure_publisher(c, v, p, now_ms, e);
	sign = now < p->publisher_end &&
		(numbered || p->signed_at == 0 || now >= p->signed_at + MICA_JWS_RESIGN);
	if (v->pub && !numbered && !sign)
		return late;
	rc = encode_all(c, v, p, content, numbered, sign, now, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_view_take_set(c, &(struct core_parts){.pub = MICA_STEAL(p)});
	c->renumbered = false;
	if (changed)
		*changed = true;
	return late;
}

/* ---- readers --------------------------------------------------------------------------------- */

mica_rc mica_core_snapshot(struct mica_core *c, const char *td, enum mica_channel ch,
	enum mica_format f, const struct mica_snapshot **out, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	if (td && strcmp(td, v->policy->trust_domain) != 0)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_trust_domain",
			"there is no bundle of this trust domain here; expected %s",
			v->policy->trust_domain);
	if ((unsigned)ch >= MICA_CHANNEL_COUNT || (unsigned)f >= MICA_FMT_COUNT)
		return mica_fail(e, MICA_INVALID, "no_such_channel", "no such channel or form");
	if (f == MICA_FMT_POLICIES_JSON || f == MICA_FMT_POLICIES_JWS)
		return mica_core_policies_snapshot(v, ch, f, out, e);
	if (!v->pub->snap[ch][f])
		return mica_fail(e, MICA_UNAVAILABLE, "not_signed",
			"there is no signed form, as no issuing authority is active");
	*out = mica_snapshot_ref(v->pub->snap[ch][f]);
	return MICA_OK;
}

uint64_t mica_core_bundle_sequence(struct mica_core *c, enum mica_channel ch)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	return (unsigned)ch < MICA_CHANNEL_COUNT ? v->pub->sequence[ch] : 0;
}
