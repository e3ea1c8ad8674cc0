/* SPDX-License-Identifier: Apache-2.0 */
/* Ledger entries: structure, bytes, JSON. The format is docs/LEDGER.md's and lasts for ever. */
#include "mica/entry.h"

#include "mica/cert.h"
#include "mica/json.h"
#include "mica/pem.h"
#include "mica/secret.h"

#define FORMAT     1
#define HEADER_LEN 24
#define LONG_LEN   0xff /* two octets of length follow */

/* Tags never change their meaning; new ones may be added anywhere, readers skip them. */
enum tag {
	T_SET = 1,
	T_ISSUER = 2,
	T_CLUSTER = 3,
	T_NS = 4,
	T_SA = 5,
	T_POD = 6,
	T_NODE = 7,
	T_SUBJECT = 8,
	T_SA_UID = 9,
	T_POD_UID = 10,
	T_NODE_UID = 11,
	T_EVIDENCE = 12, /* kind, front, id */
	T_EVIDENCE_EXPIRY = 13,
	T_ORIGIN = 14, /* index 8, time 8 */
	T_REQUESTED_TTL = 15,
	T_OUTLET = 16,
	T_ADDRESS = 17,
	T_ASKER_NS = 18, /* who asked for the principal */
	T_ASKER_SA = 19,
	T_ASKER_POD = 20,
	T_ASKER_POD_UID = 21,
	T_INSTANCE = 22,
	T_CERTIFICATE = 32,
	T_SUB = 33,
	T_JTI = 34,
	T_KID = 35,
	T_AUD = 36, /* once for each */
	T_TIMES = 37, /* iat 8, exp 8 */
	T_ACTION = 48,
	T_AUTHORITY = 49,
	T_ACTOR = 50, /* kind, then uid 4 gid 4 pid 4 or the SPIFFE ID */
	T_DETAIL = 51
};

/* ---- types --------------------------------------------------------------------------------- */

static const struct {
	enum mica_entry_type type;
	const char *name;
} types[] = {
	{MICA_ENTRY_X509_ISSUED, "x509_issued"},
	{MICA_ENTRY_JWT_ISSUED, "jwt_issued"},
	{MICA_ENTRY_LOG, "log"},
	{MICA_ENTRY_AUTHORITY, "authority"},
	{MICA_ENTRY_BUNDLE, "bundle"},
	{MICA_ENTRY_KEY, "key"},
	{MICA_ENTRY_POLICY, "policy"},
	{MICA_ENTRY_DENY, "deny"},
	{MICA_ENTRY_ADMIN, "admin"},
	{MICA_ENTRY_REVOCATION, "revocation"},
	{MICA_ENTRY_LINEAGE, "lineage"},
};

const char *mica_entry_type_name(enum mica_entry_type t)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(types); i++)
		if (types[i].type == t)
			return types[i].name;
	return NULL;
}

enum mica_entry_type mica_entry_type_parse(struct mica_slice name)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(types); i++)
		if (mica_slice_eq_str(name, types[i].name))
			return types[i].type;
	return (enum mica_entry_type)0;
}

static bool issues(enum mica_entry_type t)
{
	return t == MICA_ENTRY_X509_ISSUED || t == MICA_ENTRY_JWT_ISSUED;
}

/* ---- fields that are plain text or octets: one table for writing and reading --------------------
 */

struct text_field {
	uint8_t tag;
	uint16_t max;
	size_t offset;
};
#define TEXT(tag, field, max)                                                                      \
	{                                                                                          \
		tag, max, offsetof(struct mica_entry, field)                                       \
	}
static const struct text_field texts[] = {
	TEXT(T_SET, set, MICA_NAME_MAX),
	TEXT(T_ISSUER, issuer, MICA_NAME_MAX),
	TEXT(T_CLUSTER, cluster, MICA_NAME_MAX),
	TEXT(T_NS, ns, MICA_K8S_NS_MAX),
	TEXT(T_SA, sa, MICA_K8S_NAME_MAX),
	TEXT(T_POD, pod, MICA_K8S_NAME_MAX),
	TEXT(T_NODE, node, MICA_K8S_NAME_MAX),
	TEXT(T_SUBJECT, subject, 255),
	TEXT(T_ADDRESS, address, 63),
	TEXT(T_ASKER_NS, asker_ns, MICA_K8S_NS_MAX),
	TEXT(T_ASKER_SA, asker_sa, MICA_K8S_NAME_MAX),
	TEXT(T_ASKER_POD, asker_pod, MICA_K8S_NAME_MAX),
	TEXT(T_INSTANCE, instance, MICA_INSTANCE_MAX),
	TEXT(T_CERTIFICATE, certificate, MICA_CERT_MAX),
	TEXT(T_SUB, sub, MICA_SPIFFE_ID_MAX),
	TEXT(T_JTI, jti, 255),
	TEXT(T_KID, kid, 255),
	TEXT(T_ACTION, action, MICA_NAME_MAX),
	TEXT(T_DETAIL, detail, 32768),
};

static const struct text_field *text_field(unsigned tag)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(texts); i++)
		if (texts[i].tag == tag)
			return &texts[i];
	return NULL;
}

/* Texts have no NUL: they become C strings and JSON. */
static bool no_nul(struct mica_slice s)
{
	return s.len == 0 || memchr(s.p, 0, s.len) == NULL;
}

static bool text_ok(const struct text_field *f, struct mica_slice s)
{
	return s.len <= f->max && (f->tag == T_CERTIFICATE || no_nul(s));
}

static const uint8_t no_uid[16];

static bool uid_set(const struct mica_uid *u)
{
	return memcmp(u->b, no_uid, sizeof(no_uid)) != 0;
}

/* ---- encoding ------------------------------------------------------------------------------ */

static void put_head(struct mica_buf *b, enum tag tag, size_t len)
{
	mica_buf_put_u8(b, (uint8_t)tag);
	if (len < LONG_LEN) {
		mica_buf_put_u8(b, (uint8_t)len);
		return;
	}
	mica_buf_put_u8(b, LONG_LEN);
	mica_buf_put_be16(b, (uint16_t)len);
}

static void put_text(struct mica_buf *b, enum tag tag, struct mica_slice v)
{
	if (v.len == 0)
		return;
	put_head(b, tag, v.len);
	mica_buf_put_slice(b, v);
}

static void put_uid(struct mica_buf *b, enum tag tag, const struct mica_uid *u)
{
	if (uid_set(u))
		put_text(b, tag, mica_slice(u->b, sizeof(u->b)));
}

static void put_i64(struct mica_buf *b, enum tag tag, int64_t v)
{
	if (v == 0)
		return;
	put_head(b, tag, 8);
	mica_buf_put_be64(b, (uint64_t)v);
}

static void put_pair(struct mica_buf *b, enum tag tag, int64_t v, int64_t w)
{
	if (v == 0 && w == 0)
		return;
	put_head(b, tag, 16);
	mica_buf_put_be64(b, (uint64_t)v);
	mica_buf_put_be64(b, (uint64_t)w);
}

static void put_issuance(struct mica_buf *b, const struct mica_entry *en)
{
	put_text(b, T_ISSUER, en->issuer);
	put_text(b, T_CLUSTER, en->cluster);
	put_text(b, T_NS, en->ns);
	put_text(b, T_SA, en->sa);
	put_text(b, T_POD, en->pod);
	put_text(b, T_NODE, en->node);
	put_text(b, T_SUBJECT, en->subject);
	put_uid(b, T_SA_UID, &en->sa_uid);
	put_uid(b, T_POD_UID, &en->pod_uid);
	put_uid(b, T_NODE_UID, &en->node_uid);
	if (en->ev_kind != 0) {
		put_head(b, T_EVIDENCE, 2 + en->ev_id.len);
		mica_buf_put_u8(b, (uint8_t)en->ev_kind);
		mica_buf_put_u8(b, (uint8_t)en->ev_front);
		mica_buf_put_slice(b, en->ev_id);
	}
	put_i64(b, T_EVIDENCE_EXPIRY, en->ev_expiry);
	put_pair(b, T_ORIGIN, (int64_t)en->origin_index, en->origin_time);
	put_i64(b, T_REQUESTED_TTL, en->requested_ttl);
	put_text(b, T_OUTLET, mica_slice(&(uint8_t){(uint8_t)en->outlet}, en->outlet ? 1 : 0));
	put_text(b, T_ADDRESS, en->address);
	put_text(b, T_ASKER_NS, en->asker_ns);
	put_text(b, T_ASKER_SA, en->asker_sa);
	put_text(b, T_ASKER_POD, en->asker_pod);
	put_uid(b, T_ASKER_POD_UID, &en->asker_pod_uid);
	put_text(b, T_INSTANCE, en->instance);
}

static void put_actor(struct mica_buf *b, const struct mica_entry *en)
{
	bool local = en->actor == MICA_ACTOR_LOCAL;

	if (en->actor == MICA_ACTOR_NONE)
		return;
	put_head(b, T_ACTOR, 1 + (local ? 12 : en->actor_id.len));
	mica_buf_put_u8(b, (uint8_t)en->actor);
	if (!local) {
		mica_buf_put_slice(b, en->actor_id);
		return;
	}
	mica_buf_put_be32(b, en->uid);
	mica_buf_put_be32(b, en->gid);
	mica_buf_put_be32(b, en->pid);
}

static mica_rc refuse(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "entry_invalid", "ledger entry: %s", what);
}

/* An authority's id as 40 hex digits or as its 20 octets. */
static bool raw_id(struct mica_slice s, uint8_t raw[MICA_KEY_ID_LEN])
{
	size_t len = MICA_KEY_ID_LEN;

	if (s.len == MICA_KEY_ID_LEN) {
		memcpy(raw, s.p, MICA_KEY_ID_LEN);
		return true;
	}
	return s.len == 2 * MICA_KEY_ID_LEN && mica_hex_decode(s, raw, &len) == MICA_OK;
}

static bool is_object(struct mica_slice text)
{
	MICA_AUTO_JSON d = {0};

	return mica_json_parse(text, NULL, &d, NULL) == MICA_OK && json_is_object(d.root);
}

static mica_rc check_type(const struct mica_entry *en, struct mica_err *e)
{
	if (en->type <= 0 || en->type > MICA_ENTRY_TYPE_MAX)
		return refuse(e, "type out of range");
	if (en->type == MICA_ENTRY_X509_ISSUED && en->certificate.len == 0)
		return refuse(e, "an issued certificate without the certificate");
	if (en->type == MICA_ENTRY_JWT_ISSUED &&
		(en->sub.len == 0 || en->jti.len == 0 || en->kid.len == 0 || en->n_aud == 0))
		return refuse(e, "an issued JWT needs sub, aud, jti and kid");
	if (issues(en->type) && en->ev_kind == 0)
		return refuse(e, "an issuance without evidence");
	if (!issues(en->type) && (en->action.len == 0 || en->actor == MICA_ACTOR_NONE))
		return refuse(e, "a change needs an action and an actor");
	return MICA_OK;
}

static mica_rc check_fields(const struct mica_entry *en, struct mica_err *e)
{
	uint8_t id[MICA_KEY_ID_LEN];

	for (size_t i = 0; i < MICA_ARRAY_LEN(texts); i++) {
		struct mica_slice s;

		memcpy(&s, (const char *)en + texts[i].offset, sizeof(s));
		if (!text_ok(&texts[i], s))
			return refuse(e, "a field is too long, or holds a NUL");
	}
	if (en->time_ms < 0 || en->time_ms >> 48)
		return refuse(e, "time out of range");
	if (en->n_aud > MICA_ENTRY_AUD_MAX)
		return refuse(e, "too many audiences");
	for (size_t i = 0; i < en->n_aud; i++)
		if (en->aud[i].len == 0 || en->aud[i].len > 1024 || !no_nul(en->aud[i]))
			return refuse(
				e, "an audience of 0 or more than 1024 octets, or with a NUL");
	if (en->ev_id.len > MICA_EVIDENCE_ID_MAX || !no_nul(en->ev_id) ||
		en->actor_id.len > MICA_SPIFFE_ID_MAX || !no_nul(en->actor_id))
		return refuse(e, "a field is too long, or holds a NUL");
	if (en->authority.len > 0 && !raw_id(en->authority, id))
		return refuse(e, "the authority is not an id of 40 hex digits");
	if (en->detail.len > 0 && !is_object(en->detail))
		return refuse(e, "the detail is not a JSON object");
	return MICA_OK;
}

mica_rc mica_entry_encode(struct mica_entry *en, struct mica_buf *out, struct mica_err *e)
{
	uint8_t id[MICA_KEY_ID_LEN];
	size_t before = out->len;
	mica_rc rc = check_type(en, e);

	if (rc == MICA_OK)
		rc = check_fields(en, e);
	if (rc != MICA_OK)
		return rc;
	if (memcmp(en->salt, no_uid, MICA_SALT_LEN) == 0)
		mica_random(en->salt, MICA_SALT_LEN);
	mica_buf_put_u8(out, FORMAT);
	mica_buf_put_u8(out, (uint8_t)en->type);
	mica_buf_put_be16(out, (uint16_t)(en->time_ms >> 32));
	mica_buf_put_be32(out, (uint32_t)en->time_ms);
	mica_buf_put(out, en->salt, MICA_SALT_LEN);
	if (!mica_slice_eq_str(en->set, "default"))
		put_text(out, T_SET, en->set);
	put_issuance(out, en);
	put_text(out, T_CERTIFICATE, en->certificate);
	put_text(out, T_SUB, en->sub);
	put_text(out, T_JTI, en->jti);
	put_text(out, T_KID, en->kid);
	for (size_t i = 0; i < en->n_aud; i++)
		put_text(out, T_AUD, en->aud[i]);
	put_pair(out, T_TIMES, en->iat, en->exp);
	put_text(out, T_ACTION, en->action);
	if (en->authority.len > 0 && raw_id(en->authority, id))
		put_text(out, T_AUTHORITY, mica_slice(id, sizeof(id)));
	put_actor(out, en);
	put_text(out, T_DETAIL, en->detail);
	if (out->over || out->len - before > MICA_ENTRY_MAX)
		return mica_fail(e, MICA_LIMIT, "entry_too_long",
			"ledger entry: longer than %d octets", MICA_ENTRY_MAX);
	return MICA_OK;
}

/* ---- decoding ------------------------------------------------------------------------------ */

static bool read_uid(struct mica_slice v, struct mica_uid *u)
{
	if (v.len != sizeof(u->b))
		return false;
	memcpy(u->b, v.p, sizeof(u->b));
	return true;
}

static bool read_u64s(struct mica_slice v, int64_t *a, int64_t *b)
{
	struct mica_cursor c = {v, false};

	if (v.len != (b ? 16U : 8U))
		return false;
	*a = (int64_t)mica_cur_be64(&c);
	if (b)
		*b = (int64_t)mica_cur_be64(&c);
	return *a >= 0 && (!b || *b >= 0);
}

static bool read_evidence(struct mica_slice v, struct mica_entry *en)
{
	if (v.len < 2 || v.len > 2 + MICA_EVIDENCE_ID_MAX)
		return false;
	en->ev_kind = v.p[0];
	en->ev_front = v.p[1];
	en->ev_id = mica_slice_sub(v, 2, v.len);
	return en->ev_kind != 0 && no_nul(en->ev_id);
}

static bool read_actor(struct mica_slice v, struct mica_entry *en)
{
	struct mica_cursor c = {v, false};

	en->actor = mica_cur_u8(&c);
	if (en->actor != MICA_ACTOR_LOCAL) {
		en->actor_id = c.s;
		return !c.bad && en->actor != MICA_ACTOR_NONE && c.s.len <= MICA_SPIFFE_ID_MAX &&
			no_nul(c.s);
	}
	en->uid = mica_cur_be32(&c);
	en->gid = mica_cur_be32(&c);
	en->pid = mica_cur_be32(&c);
	return !c.bad && c.s.len == 0;
}

static bool read_special(unsigned tag, struct mica_slice v, struct mica_entry *en)
{
	int64_t index = 0;

	switch (tag) {
	case T_SA_UID: return read_uid(v, &en->sa_uid);
	case T_POD_UID: return read_uid(v, &en->pod_uid);
	case T_NODE_UID: return read_uid(v, &en->node_uid);
	case T_ASKER_POD_UID: return read_uid(v, &en->asker_pod_uid);
	case T_EVIDENCE: return read_evidence(v, en);
	case T_EVIDENCE_EXPIRY: return read_u64s(v, &en->ev_expiry, NULL);
	case T_REQUESTED_TTL: return read_u64s(v, &en->requested_ttl, NULL);
	case T_TIMES: return read_u64s(v, &en->iat, &en->exp);
	case T_ORIGIN:
		if (!read_u64s(v, &index, &en->origin_time))
			return false;
		en->origin_index = (uint64_t)index;
		return true;
	case T_OUTLET: en->outlet = v.len == 1 ? v.p[0] : 0; return v.len == 1;
	case T_AUD:
		if (en->n_aud == MICA_ENTRY_AUD_MAX)
			return false;
		en->aud[en->n_aud++] = v;
		return v.len <= 1024 && no_nul(v);
	case T_AUTHORITY: en->authority = v; return v.len == MICA_KEY_ID_LEN;
	case T_ACTOR: return read_actor(v, en);
	default: return true; /* of a later version */
	}
}

static bool read_field(unsigned tag, struct mica_slice v, struct mica_entry *en)
{
	const struct text_field *f = text_field(tag);

	if (v.len == 0)
		return false; /* what is absent has no field */
	if (!f)
		return read_special(tag, v, en);
	memcpy((char *)en + f->offset, &v, sizeof(v));
	return text_ok(f, v);
}

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_CORRUPT, "entry_malformed", "ledger entry: %s", what);
}

mica_rc mica_entry_decode(struct mica_slice bytes, struct mica_entry *out, struct mica_err *e)
{
	struct mica_cursor c = {bytes, false};
	unsigned last = 0;

	memset(out, 0, sizeof(*out));
	out->set = MICA_LIT("default");
	if (bytes.len < HEADER_LEN || bytes.len > MICA_ENTRY_MAX)
		return malformed(e, "its length is out of range");
	if (mica_cur_u8(&c) != FORMAT)
		return mica_fail(e, MICA_CORRUPT, "entry_newer",
			"ledger entry: format %u, this program reads %u", bytes.p[0], FORMAT);
	out->type = mica_cur_u8(&c);
	out->time_ms = (int64_t)mica_cur_be16(&c) << 32;
	out->time_ms |= mica_cur_be32(&c);
	memcpy(out->salt, mica_cur_take(&c, MICA_SALT_LEN).p, MICA_SALT_LEN);
	if (out->type == 0 || out->type > MICA_ENTRY_TYPE_MAX)
		return malformed(e, "type out of range");
	while (c.s.len > 0) {
		unsigned tag = mica_cur_u8(&c);
		size_t len = mica_cur_u8(&c);
		struct mica_slice v;

		if (len == LONG_LEN)
			len = mica_cur_be16(&c);
		v = mica_cur_take(&c, len);
		if (c.bad || tag < last || (tag == last && tag != T_AUD))
			return malformed(e, "fields out of order or cut off");
		if (!read_field(tag, v, out))
			return malformed(e, "a field has a wrong length or value");
		last = tag;
	}
	return MICA_OK;
}

/* ---- principal and evidence ---------------------------------------------------------------- */

void mica_entry_set_principal(struct mica_entry *out, const struct mica_principal *p)
{
	out->issuer = mica_slice_str(p->issuer);
	out->cluster = mica_slice_str(p->cluster);
	out->ns = mica_slice_str(p->ns);
	out->sa = mica_slice_str(p->sa);
	out->pod = mica_slice_str(p->pod);
	out->node = mica_slice_str(p->node);
	out->subject = mica_slice_str(p->subject);
	out->sa_uid = p->sa_uid;
	out->pod_uid = p->pod_uid;
	out->node_uid = p->node_uid;
}

void mica_entry_set_evidence(struct mica_entry *out, const struct mica_evidence *v)
{
	out->ev_kind = v->kind;
	out->ev_front = v->front;
	out->ev_id = mica_slice_str(v->id);
	out->ev_expiry = v->credential_expiry;
	out->origin_index = v->origin_index;
	out->origin_time = v->origin_time;
	out->asker_ns = mica_slice_str(v->asker.ns);
	out->asker_sa = mica_slice_str(v->asker.sa);
	out->asker_pod = mica_slice_str(v->asker.pod);
	out->asker_pod_uid = v->asker.pod_uid;
}

mica_rc mica_entry_get_principal(
	const struct mica_entry *en, struct mica_principal *out, struct mica_err *e)
{
	struct mica_entry_keys k;
	mica_rc rc = mica_entry_keys(en, &k, e);

	if (rc != MICA_OK)
		return rc;
	memset(out, 0, sizeof(*out));
	if (mica_slice_copy(en->issuer, out->issuer, sizeof(out->issuer)) != MICA_OK ||
		mica_slice_copy(en->cluster, out->cluster, sizeof(out->cluster)) != MICA_OK ||
		mica_slice_copy(en->ns, out->ns, sizeof(out->ns)) != MICA_OK ||
		mica_slice_copy(en->sa, out->sa, sizeof(out->sa)) != MICA_OK ||
		mica_slice_copy(en->pod, out->pod, sizeof(out->pod)) != MICA_OK ||
		mica_slice_copy(en->node, out->node, sizeof(out->node)) != MICA_OK ||
		mica_slice_copy(en->subject, out->subject, sizeof(out->subject)) != MICA_OK ||
		mica_slice_copy(k.spiffe_id, out->spiffe_id, sizeof(out->spiffe_id)) != MICA_OK)
		return malformed(e, "a field of the principal is malformed");
	out->sa_uid = en->sa_uid;
	out->pod_uid = en->pod_uid;
	out->node_uid = en->node_uid;
	return MICA_OK;
}

mica_rc mica_entry_get_evidence(
	const struct mica_entry *en, uint64_t index, struct mica_evidence *out, struct mica_err *e)
{
	memset(out, 0, sizeof(*out));
	out->kind = en->ev_kind;
	out->front = en->ev_front;
	out->credential_expiry = en->ev_expiry;
	out->origin_index = en->origin_index ? en->origin_index : index;
	out->origin_time = en->origin_time;
	out->asker.pod_uid = en->asker_pod_uid;
	if (mica_slice_copy(en->ev_id, out->id, sizeof(out->id)) != MICA_OK ||
		mica_slice_copy(en->asker_ns, out->asker.ns, sizeof(out->asker.ns)) != MICA_OK ||
		mica_slice_copy(en->asker_sa, out->asker.sa, sizeof(out->asker.sa)) != MICA_OK ||
		mica_slice_copy(en->asker_pod, out->asker.pod, sizeof(out->asker.pod)) != MICA_OK)
		return malformed(e, "the evidence is malformed");
	return MICA_OK;
}

mica_rc mica_entry_keys(
	const struct mica_entry *en, struct mica_entry_keys *out, struct mica_err *e)
{
	struct mica_cert_info info;

	memset(out, 0, sizeof(*out));
	out->pod_uid = en->pod_uid;
	if (en->type != MICA_ENTRY_X509_ISSUED) {
		out->spiffe_id = en->sub;
		out->not_before = en->iat;
		out->not_after = en->exp;
		return MICA_OK;
	}
	if (mica_cert_read(en->certificate, &info, NULL) != MICA_OK)
		return malformed(e, "its certificate cannot be read");
	out->spiffe_id = info.n_uri > 0 ? info.uri[0] : en->sub;
	out->serial = info.serial;
	out->authority = info.aki;
	out->not_before = info.not_before;
	out->not_after = info.not_after;
	return MICA_OK;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static const char *const fronts[] = {"rest", "istio", "linkerd", "consul"};
static const char *const kinds[] = {
	NULL, "token", "renewal", "pod_certificate_request", "join_token", "admin", "self"};
static const char *const outlets[] = {"none", "carried", "ack"};
static const char *const actors[] = {NULL, "system", "local", "spiffe"};

static void name_of(struct mica_buf *b, const char *key, const char *const *names, size_t n,
	unsigned v, const char *before)
{
	mica_buf_printf(b, "%s\"%s\":", before, key);
	if (v < n && names[v])
		mica_buf_printf(b, "\"%s\"", names[v]);
	else
		mica_buf_printf(b, "\"%s_%u\"", key, v);
}

static void put_str(struct mica_buf *b, const char *key, struct mica_slice v)
{
	if (v.len == 0)
		return;
	mica_buf_printf(b, ",\"%s\":", key);
	mica_buf_put_json_string(b, v);
}

static void put_hex(struct mica_buf *b, const char *key, struct mica_slice v)
{
	if (v.len == 0)
		return;
	mica_buf_printf(b, ",\"%s\":\"", key);
	mica_buf_put_hex(b, v.p, v.len);
	mica_buf_put_u8(b, '"');
}

static void put_num(struct mica_buf *b, const char *key, int64_t v)
{
	if (v != 0)
		mica_buf_printf(b, ",\"%s\":%lld", key, (long long)v);
}

static void put_time(struct mica_buf *b, const char *key, int64_t t)
{
	char text[MICA_TIME_SIZE];

	if (t == 0)
		return;
	mica_time_format(t, text);
	mica_buf_printf(b, ",\"%s\":\"%s\"", key, text);
}

static void put_uuid(struct mica_buf *b, const char *key, const struct mica_uid *u)
{
	char text[MICA_UUID_SIZE];

	if (!uid_set(u))
		return;
	mica_uuid_format(u->b, text);
	mica_buf_printf(b, ",\"%s\":\"%s\"", key, text);
}

static void json_principal(struct mica_buf *b, const struct mica_entry *en)
{
	mica_buf_put_str(b, ",\"principal\":{\"issuer\":");
	mica_buf_put_json_string(b, en->issuer);
	put_str(b, "cluster", en->cluster);
	put_str(b, "namespace", en->ns);
	put_str(b, "service_account", en->sa);
	put_str(b, "pod", en->pod);
	put_str(b, "node", en->node);
	put_str(b, "subject", en->subject);
	put_uuid(b, "service_account_uid", &en->sa_uid);
	put_uuid(b, "pod_uid", &en->pod_uid);
	put_uuid(b, "node_uid", &en->node_uid);
	mica_buf_put_u8(b, '}');
}

static void json_evidence(struct mica_buf *b, const struct mica_entry *en, uint64_t index)
{
	mica_buf_put_str(b, ",\"evidence\":{");
	name_of(b, "kind", kinds, MICA_ARRAY_LEN(kinds), en->ev_kind, "");
	name_of(b, "front", fronts, MICA_ARRAY_LEN(fronts), en->ev_front, ",");
	put_str(b, "id", en->ev_id);
	put_time(b, "expires", en->ev_expiry);
	mica_buf_printf(b, ",\"origin_index\":%llu",
		(unsigned long long)(en->origin_index ? en->origin_index : index));
	put_time(b, "origin_time", en->origin_time);
	if (en->asker_ns.len > 0) {
		mica_buf_put_str(b, ",\"asked_by\":{\"namespace\":");
		mica_buf_put_json_string(b, en->asker_ns);
		put_str(b, "service_account", en->asker_sa);
		put_str(b, "pod", en->asker_pod);
		put_uuid(b, "pod_uid", &en->asker_pod_uid);
		mica_buf_put_u8(b, '}');
	}
	mica_buf_put_u8(b, '}');
}

static void json_x509(struct mica_buf *b, const struct mica_entry *en, unsigned flags)
{
	struct mica_entry_keys k;

	if (mica_entry_keys(en, &k, NULL) != MICA_OK) {
		mica_buf_put_str(b, ",\"error\":\"certificate_unreadable\"");
		return;
	}
	put_str(b, "spiffe_id", k.spiffe_id);
	put_hex(b, "serial", k.serial);
	put_hex(b, "authority", k.authority);
	put_time(b, "not_before", k.not_before);
	put_time(b, "not_after", k.not_after);
	if (flags & MICA_ENTRY_JSON_CERTIFICATE) {
		MICA_AUTO_BUF pem;

		mica_buf_init(&pem, (size_t)2 * MICA_CERT_MAX);
		mica_pem_put(&pem, MICA_PEM_CERT, en->certificate);
		put_str(b, "certificate", mica_buf_slice(&pem));
	}
}

static void json_jwt(struct mica_buf *b, const struct mica_entry *en)
{
	put_str(b, "spiffe_id", en->sub);
	put_str(b, "jti", en->jti);
	put_str(b, "kid", en->kid);
	mica_buf_put_str(b, ",\"audience\":[");
	for (size_t i = 0; i < en->n_aud; i++) {
		mica_buf_put_str(b, i ? "," : "");
		mica_buf_put_json_string(b, en->aud[i]);
	}
	mica_buf_put_u8(b, ']');
	put_time(b, "not_before", en->iat);
	put_time(b, "not_after", en->exp);
}

static void json_change(struct mica_buf *b, const struct mica_entry *en)
{
	put_str(b, "action", en->action);
	put_hex(b, "authority", en->authority);
	mica_buf_put_str(b, ",\"actor\":{");
	name_of(b, "kind", actors, MICA_ARRAY_LEN(actors), en->actor, "");
	if (en->actor == MICA_ACTOR_LOCAL)
		mica_buf_printf(b, ",\"uid\":%u,\"gid\":%u,\"pid\":%u", en->uid, en->gid, en->pid);
	put_str(b, "id", en->actor_id);
	mica_buf_put_u8(b, '}');
	if (en->detail.len == 0)
		return;
	if (is_object(en->detail)) {
		mica_buf_put_str(b, ",\"detail\":");
		mica_buf_put_slice(b, en->detail);
	} else {
		put_str(b, "detail_text", en->detail);
	}
}

void mica_entry_json(
	const struct mica_entry *en, uint64_t index, unsigned flags, struct mica_buf *out)
{
	const char *type = mica_entry_type_name(en->type);
	char time[MICA_TIME_SIZE];

	mica_time_format(en->time_ms / 1000, time);
	time[MICA_TIME_SIZE - 2] = '\0'; /* milliseconds stand before the Z */
	mica_buf_printf(out, "{\"index\":%llu,\"time\":\"%s.%03uZ\"", (unsigned long long)index,
		time, (unsigned)(en->time_ms % 1000));
	if (type)
		mica_buf_printf(out, ",\"type\":\"%s\"", type);
	else
		mica_buf_printf(out, ",\"type\":\"type_%u\"", (unsigned)en->type);
	put_str(out, "set", en->set);
	if (en->type == MICA_ENTRY_X509_ISSUED)
		json_x509(out, en, flags);
	if (en->type == MICA_ENTRY_JWT_ISSUED)
		json_jwt(out, en);
	if (en->issuer.len > 0)
		json_principal(out, en);
	if (en->ev_kind != 0)
		json_evidence(out, en, index);
	put_num(out, "requested_ttl", en->requested_ttl);
	if (issues(en->type))
		name_of(out, "outlet", outlets, MICA_ARRAY_LEN(outlets), en->outlet, ",");
	if (!(flags & MICA_ENTRY_JSON_NO_ADDRESS))
		put_str(out, "address", en->address);
	put_str(out, "instance", en->instance);
	if (!issues(en->type))
		json_change(out, en);
	mica_buf_put_u8(out, '}');
}
