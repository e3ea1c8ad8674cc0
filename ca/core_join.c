/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Join tokens (design 8.1): a machine without a cluster proves once who it is with a token that an
 * administrator has made for it, and from then on with its certificate. The record is written anew
 * as spent by the very commit that appends the certificate's entry, and that commit has read it:
 * of two requests with one token one conflicts, is decided again, and refused.
 *
 * Records stay for a week behind their end, so that a token that comes late is told why.
 */
#include "core_impl.h"
#include "join.h"

#include <stdlib.h>

#define VERSION    1
#define VALUE_MAX  (1 + 8 + 8 + 1 + 8 + 32 + MICA_SPIFFE_ID_MAX)
#define KEEP       ((int64_t)7 * 86400)
#define TOKENS_MAX 10000
#define PRUNE_MAX  1000

enum state { FRESH, SPENT, REVOKED };

struct record {
	int64_t created, end, changed; /* seconds */
	enum state state;
	uint8_t hash[32];
	char id[MICA_SPIFFE_ID_MAX + 1];
	uint64_t rev;
};

static void encode(const struct record *r, struct mica_buf *out)
{
	mica_buf_put_u8(out, VERSION);
	mica_buf_put_be64(out, (uint64_t)r->created);
	mica_buf_put_be64(out, (uint64_t)r->end);
	mica_buf_put_u8(out, (uint8_t)r->state);
	mica_buf_put_be64(out, (uint64_t)r->changed);
	mica_buf_put(out, r->hash, sizeof(r->hash));
	mica_buf_put_str(out, r->id);
}

static bool decode(struct mica_slice value, struct record *r)
{
	struct mica_cursor c = {value, false};
	const uint8_t version = mica_cur_u8(&c);
	struct mica_slice hash;
	uint8_t state;

	r->created = (int64_t)mica_cur_be64(&c);
	r->end = (int64_t)mica_cur_be64(&c);
	state = mica_cur_u8(&c);
	r->changed = (int64_t)mica_cur_be64(&c);
	hash = mica_cur_take(&c, sizeof(r->hash));
	if (c.bad || version != VERSION || state > REVOKED ||
		mica_slice_copy(c.s, r->id, sizeof(r->id)) != MICA_OK)
		return false;
	r->state = (enum state)state;
	memcpy(r->hash, hash.p, sizeof(r->hash));
	return true;
}

static mica_rc damaged(struct mica_err *e)
{
	return mica_fail(e, MICA_CORRUPT, "record_malformed",
		"the stored record of a join token is damaged");
}

/* NOT_FOUND "no_such_record". */
static mica_rc read_record(
	struct mica_core *c, const char *handle, struct record *r, struct mica_err *e)
{
	MICA_AUTO_BUF value;
	mica_rc rc;

	mica_buf_init(&value, VALUE_MAX);
	rc = mica_store_get(c->store, MICA_T_JOIN, mica_slice_str(handle), &value, &r->rev, e);
	if (rc == MICA_OK && !decode(mica_buf_slice(&value), r))
		rc = damaged(e);
	return rc;
}

/* ---- who comes with one ---------------------------------------------------------------------- */

/* Before anything holds the caller learns what is expected, and no more. */
static mica_rc unknown(struct mica_err *e, const char *detail)
{
	return mica_fail_fine(e, MICA_UNAUTHENTICATED, "token_invalid",
		"expected a join token as `mica token create` prints it, for /v1/x509-svids",
		"join_token_unknown", "%s", detail);
}

static mica_rc check_state(const struct record *r, int64_t now, int64_t grace, struct mica_err *e)
{
	if (r->state == REVOKED)
		return mica_fail(e, MICA_UNAUTHENTICATED, "join_token_revoked",
			"this join token was revoked; expected another one");
	if (r->state == SPENT && (now - r->changed > grace || now < r->changed))
		return mica_fail(e, MICA_UNAUTHENTICATED, "join_token_spent",
			"this join token was used; expected another one, or the certificate that it gave");
	if (r->state == FRESH && now >= r->end)
		return mica_fail(e, MICA_UNAUTHENTICATED, "join_token_expired",
			"this join token has expired; expected another one");
	return MICA_OK;
}

/* One that was spent a moment ago still says who comes: whoever repeats a request, because its
 * answer was lost, gets the same answer (replay.h), and anybody else nothing: what is to be issued
 * is looked at again in mica_core_join_use. */
mica_rc mica_core_authenticate_join(struct mica_core *c, const struct core_view *v,
	struct mica_slice token, int64_t now, struct mica_caller *out, struct mica_err *e)
{
	const struct mica_join *j = v->policy->join;
	struct mica_err own = MICA_ERR_INIT;
	char handle[JOIN_HANDLE_SIZE];
	uint8_t hash[32];
	struct record r;
	mica_rc rc;

	if (!mica_join_handle(token, handle))
		return unknown(e, "not of a join token's form");
	rc = read_record(c, handle, &r, &own);
	if (rc == MICA_NOT_FOUND)
		return unknown(e, "no token has this handle");
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	mica_sha256(token, hash);
	if (!mica_slice_eq_secret(
		    mica_slice(hash, sizeof(hash)), mica_slice(r.hash, sizeof(r.hash))))
		return unknown(e, "another token has this handle");
	rc = check_state(&r, now, CORE_JOIN_REPLAY, e);
	if (rc != MICA_OK)
		return rc;
	memcpy(out->principal.issuer, j->name, sizeof(out->principal.issuer));
	memcpy(out->principal.spiffe_id, r.id, sizeof(out->principal.spiffe_id));
	memcpy(out->evidence.id, handle, sizeof(handle));
	out->evidence.kind = MICA_EV_JOIN;
	out->evidence.front = MICA_FRONT_REST;
	out->evidence.origin_time = now;
	out->evidence.credential_expiry = r.end;
	out->roles = 0; /* it is for a certificate, and that one has what its name is given */
	return MICA_OK;
}

mica_rc mica_core_join_use(struct mica_core *c, const struct mica_caller *caller, int64_t now,
	struct core_join_use **out, struct mica_err *e)
{
	struct core_join_use *u;
	struct mica_err own = MICA_ERR_INIT;
	struct record r;
	mica_rc rc;

	*out = NULL;
	if (caller->evidence.kind != MICA_EV_JOIN)
		return MICA_OK;
	rc = read_record(c, caller->evidence.id, &r, &own);
	if (rc == MICA_NOT_FOUND)
		return unknown(e, "it was taken away meanwhile");
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	rc = check_state(&r, now, -1, e);
	if (rc != MICA_OK)
		return rc;
	u = MICA_NEW(struct core_join_use);
	memcpy(u->handle, caller->evidence.id, JOIN_HANDLE_SIZE);
	u->rev = r.rev;
	r.state = SPENT;
	r.changed = now;
	mica_buf_init(&u->record, VALUE_MAX);
	encode(&r, &u->record);
	*out = u;
	return mica_buf_rc(&u->record, e);
}

void mica_core_join_use_free(struct core_join_use *u)
{
	if (!u)
		return;
	mica_buf_clear(&u->record);
	mica_free(u);
}

/* ---- administrators -------------------------------------------------------------------------- */

static mica_rc need_on(const struct core_view *v, struct mica_err *e)
{
	return v->policy->join
		? MICA_OK
		: mica_fail(e, MICA_CONFLICT, "join_tokens_off",
			  "join tokens are off; expected join_tokens.spiffe_path in the configuration");
}

static mica_rc note(struct core_change *ch, const char *action, const char *handle,
	const struct record *r, const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_ADMIN, .action = action};
	MICA_AUTO_BUF detail;

	mica_buf_init(&detail, 4 * VALUE_MAX);
	mica_core_put_string(&detail, "{", "id", handle);
	mica_core_put_string(&detail, ",", "spiffe_id", r->id);
	mica_core_put_time(&detail, ",", "expires", r->end);
	mica_buf_put_u8(&detail, '}');
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(ch, &n, actor, now_ms, e);
}

static mica_rc put(struct core_change *ch, const char *handle, const struct record *r, uint64_t rev,
	struct mica_err *e)
{
	MICA_AUTO_BUF value;

	mica_buf_init(&value, VALUE_MAX);
	encode(r, &value);
	mica_core_change_read(ch, MICA_T_JOIN, mica_slice_str(handle), rev);
	mica_core_change_write(
		ch, MICA_PUT, MICA_T_JOIN, mica_slice_str(handle), mica_buf_slice(&value));
	return mica_buf_rc(&value, e);
}

/* How many there are; those that nobody will ask about are taken away by `ch`. */
struct sweep {
	struct core_change *ch;
	int64_t now;
	unsigned n, gone;
};

static bool sweep_one(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct sweep *s = ctx;
	struct record r;

	(void)rev;
	if (decode(value, &r) && s->now > r.end + KEEP && s->gone < PRUNE_MAX) {
		mica_core_change_write(s->ch, MICA_DELETE, MICA_T_JOIN, key, MICA_SLICE_NULL);
		s->gone++;
	} else {
		s->n++;
	}
	return true;
}

static mica_rc sweep(struct mica_core *c, struct core_change *ch, int64_t now, struct mica_err *e)
{
	struct mica_scan scan = {.table = MICA_T_JOIN};
	struct sweep s = {.ch = ch, .now = now};
	mica_rc rc = mica_store_list(c->store, &scan, sweep_one, &s, e);

	if (rc == MICA_OK && s.n >= TOKENS_MAX)
		rc = mica_fail(e, MICA_CONFLICT, "too_many_join_tokens",
			"there are %d join tokens; they go a week after their end", TOKENS_MAX);
	return rc;
}

static mica_rc choose_name(const struct mica_join *j, struct mica_slice id, const char *handle,
	struct record *r, struct mica_err *e)
{
	struct mica_spiffe_id parsed;
	mica_rc rc;

	if (id.len == 0)
		return mica_join_name(j, handle, r->id, e);
	rc = mica_spiffe_id_parse_workload(id, &parsed, e);
	if (rc == MICA_OK && !mica_join_may_name(j, id))
		rc = mica_fail(e, MICA_INVALID, "name_not_allowed",
			"a join token cannot give this name; expected %s%s (join_tokens.spiffe_path)",
			j->td_prefix, mica_template_text(j->path));
	return rc == MICA_OK ? mica_slice_copy(id, r->id, sizeof(r->id)) : rc;
}

static mica_rc choose_end(
	const struct mica_join *j, int64_t ttl, int64_t now, struct record *r, struct mica_err *e)
{
	if (ttl < 0 || ttl > j->max_ttl)
		return mica_fail(e, MICA_INVALID, "bad_join_ttl",
			"a join token of %lld s was asked for; expected at most %lld s (join_tokens.max_ttl)",
			(long long)ttl, (long long)j->max_ttl);
	r->created = r->changed = now;
	r->end = now + (ttl ? ttl : j->ttl);
	return MICA_OK;
}

static mica_rc create(struct mica_core *c, struct mica_slice id, int64_t ttl,
	const struct mica_caller *actor, int64_t now_ms, const char *text, struct mica_buf *json,
	struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	struct record r = {.state = FRESH};
	char handle[JOIN_HANDLE_SIZE];
	mica_rc rc = need_on(v, e);

	if (rc == MICA_OK && !mica_join_handle(mica_slice_str(text), handle))
		rc = mica_fail(e, MICA_INTERNAL, "record_malformed", "no token was made");
	if (rc == MICA_OK)
		rc = choose_name(v->policy->join, id, handle, &r, e);
	if (rc == MICA_OK)
		rc = choose_end(v->policy->join, ttl, now_ms / 1000, &r, e);
	if (rc == MICA_OK)
		rc = sweep(c, &ch, now_ms / 1000, e);
	if (rc != MICA_OK)
		return rc;
	mica_sha256(mica_slice_str(text), r.hash);
	rc = put(&ch, handle, &r, 0, e);
	if (rc == MICA_OK)
		rc = note(&ch, "join_token_created", handle, &r, actor, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_change_commit(c, &ch, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_put_string(json, "{", "token", text);
	mica_core_put_string(json, ",", "id", handle);
	mica_core_put_string(json, ",", "spiffe_id", r.id);
	mica_core_put_time(json, ",", "expires", r.end);
	mica_buf_put_u8(json, '}');
	return mica_buf_rc(json, e);
}

mica_rc mica_core_join_create(struct mica_core *c, struct mica_slice spiffe_id, int64_t ttl,
	const struct mica_caller *actor, int64_t now_ms, struct mica_buf *json, struct mica_err *e)
{
	char text[JOIN_TEXT_SIZE];
	mica_rc rc;

	mica_join_make(text);
	pthread_mutex_lock(&c->admin);
	rc = create(c, spiffe_id, ttl, actor, now_ms, text, json, e);
	pthread_mutex_unlock(&c->admin);
	mica_wipe(text, sizeof(text));
	return rc;
}

static mica_rc no_token(struct mica_err *e)
{
	return mica_fail(e, MICA_NOT_FOUND, "no_such_join_token",
		"no join token has this id; `mica token list` has those that there are");
}

static mica_rc take_back(struct mica_core *c, const char *handle, const struct mica_caller *actor,
	int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	struct mica_err own = MICA_ERR_INIT;
	struct record r;
	uint64_t rev;
	mica_rc rc = read_record(c, handle, &r, &own);

	if (rc == MICA_NOT_FOUND)
		return no_token(e);
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	if (r.state == REVOKED)
		return MICA_OK; /* it holds already, durably */
	if (r.state == SPENT)
		return mica_fail(e, MICA_CONFLICT, "join_token_spent",
			"this join token was used: revoke the certificate that it gave, and deny its SPIFFE ID");
	rev = r.rev;
	r.state = REVOKED;
	r.changed = now_ms / 1000;
	rc = put(&ch, handle, &r, rev, e);
	if (rc == MICA_OK)
		rc = note(&ch, "join_token_revoked", handle, &r, actor, now_ms, e);
	return rc == MICA_OK ? mica_core_change_commit(c, &ch, now_ms, e) : rc;
}

mica_rc mica_core_join_revoke(struct mica_core *c, struct mica_slice id,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	char handle[JOIN_HANDLE_SIZE];
	mica_rc rc;

	if (id.len == 0 || mica_slice_copy(id, handle, sizeof(handle)) != MICA_OK)
		return no_token(e);
	pthread_mutex_lock(&c->admin);
	rc = take_back(c, handle, actor, now_ms, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}

struct listing {
	struct mica_buf *json;
	int64_t now;
	unsigned n;
};

static bool put_one(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct listing *l = ctx;
	char handle[JOIN_HANDLE_SIZE];
	struct record r;
	const char *state;

	(void)rev;
	if (mica_slice_copy(key, handle, sizeof(handle)) != MICA_OK || !decode(value, &r))
		return true; /* `mica store check` has to say that */
	state = r.state == SPENT     ? "spent"
		: r.state == REVOKED ? "revoked"
		: l->now >= r.end    ? "expired"
				     : "fresh";
	mica_core_put_string(l->json, l->n++ ? ",{" : "{", "id", handle);
	mica_core_put_string(l->json, ",", "state", state);
	mica_core_put_string(l->json, ",", "spiffe_id", r.id);
	mica_core_put_time(l->json, ",", "created", r.created);
	mica_core_put_time(l->json, ",", "expires", r.end);
	if (r.state != FRESH)
		mica_core_put_time(l->json, ",", "changed", r.changed);
	mica_buf_put_u8(l->json, '}');
	return true;
}

mica_rc mica_core_join_list(
	struct mica_core *c, int64_t now_ms, struct mica_buf *json, struct mica_err *e)
{
	struct mica_scan scan = {.table = MICA_T_JOIN};
	struct listing l = {.json = json, .now = now_ms / 1000};
	mica_rc rc;

	mica_buf_put_str(json, "{\"tokens\":[");
	rc = mica_store_list(c->store, &scan, put_one, &l, e);
	mica_buf_put_str(json, "]}");
	return rc == MICA_OK ? mica_buf_rc(json, e) : rc;
}

/* ---- restores -------------------------------------------------------------------------------- */

struct doomed {
	struct mica_write *writes;
	char (*keys)[JOIN_HANDLE_SIZE];
	size_t n, room;
};

static bool doom(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct doomed *d = ctx;

	(void)value;
	(void)rev;
	if (d->n == d->room) {
		d->room = d->room ? 2 * d->room : 64;
		d->keys = mica_realloc(d->keys, d->room, sizeof(*d->keys));
	}
	if (mica_slice_copy(key, d->keys[d->n], sizeof(d->keys[0])) == MICA_OK)
		d->n++;
	return true;
}

/* What was spent after the backup would be fresh again. */
mica_rc mica_core_join_forget(struct mica_store *s, struct mica_err *e)
{
	struct mica_scan scan = {.table = MICA_T_JOIN};
	struct doomed d = {.n = 0};
	struct mica_change ch = {.n_writes = 0};
	mica_rc rc = mica_store_list(s, &scan, doom, &d, e);

	d.writes = mica_calloc(d.n + 1, sizeof(*d.writes));
	for (size_t i = 0; i < d.n; i++)
		d.writes[i] = (struct mica_write){
			MICA_T_JOIN, MICA_DELETE, mica_slice_str(d.keys[i]), MICA_SLICE_NULL};
	ch.writes = d.writes;
	ch.n_writes = d.n;
	if (rc == MICA_OK && d.n > 0)
		rc = mica_store_commit(s, &ch, 1, NULL, e);
	mica_free(d.writes);
	mica_free(d.keys);
	return rc;
}
