/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's read side: what is public as it is, and entries for those who may see them. */
#include "core_impl.h"

#include "mica/pem.h"

/* A page of events ends early rather than grow beyond this. */
#define EVENTS_BYTES (2 << 20)

static bool sees_all(const struct mica_caller *reader)
{
	return (reader->roles & (MICA_ROLE_AUDITOR | MICA_ROLE_ADMIN)) != 0;
}

/* ---- static files ---------------------------------------------------------------------------- */

mica_rc mica_core_checkpoint(struct mica_core *c, struct mica_buf *out, struct mica_err *e)
{
	struct mica_log_head head;

	mica_ledger_head(c->ledger, &head);
	mica_buf_put(out, head.note, head.note_len);
	return mica_buf_rc(out, e);
}

mica_rc mica_core_tile(struct mica_core *c, unsigned level, uint64_t n, unsigned width,
	struct mica_buf *out, struct mica_err *e)
{
	struct mica_tile_id id = {.level = level, .n = n, .width = width};

	if (level > 7 || n >= MICA_TREE_MAX / MICA_TILE_WIDTH)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_tile", "there is no such tile");
	return mica_ledger_tile(c->ledger, &id, out, e);
}

mica_rc mica_core_entry_bundle(
	struct mica_core *c, uint64_t n, unsigned width, struct mica_buf *out, struct mica_err *e)
{
	struct mica_tile_id id = {.entries = true, .n = n, .width = width};

	if (n >= MICA_TREE_MAX / MICA_TILE_WIDTH)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_tile", "there is no such bundle");
	return mica_ledger_tile(c->ledger, &id, out, e);
}

/* ---- one entry ------------------------------------------------------------------------------- */

/* The entry, when `reader` may have it; who may not does not learn whether it is there. */
static mica_rc entry_for(struct mica_core *c, const struct mica_caller *reader, uint64_t index,
	struct mica_buf *body, struct mica_entry *en, struct mica_err *e)
{
	static const char no[] = "there is no such entry, or it is not yours";
	struct mica_err own = MICA_ERR_INIT;
	struct mica_entry_keys keys;
	mica_rc rc = mica_ledger_entry(c->ledger, index, body, &own);

	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_entry", "%s", no);
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	rc = mica_entry_decode(mica_buf_slice(body), en, e);
	if (rc != MICA_OK || sees_all(reader))
		return rc;
	rc = mica_entry_keys(en, &keys, e);
	if (rc != MICA_OK)
		return rc;
	if (keys.spiffe_id.len == 0 ||
		!mica_slice_eq_str(keys.spiffe_id, reader->principal.spiffe_id))
		return mica_fail(e, MICA_NOT_FOUND, "no_such_entry", "%s", no);
	return MICA_OK;
}

mica_rc mica_core_proof(struct mica_core *c, const struct mica_caller *reader, uint64_t index,
	struct mica_buf *out, struct mica_err *e)
{
	struct mica_entry en;
	MICA_AUTO_BUF body;
	mica_rc rc;

	mica_buf_init(&body, MICA_ENTRY_MAX);
	rc = entry_for(c, reader, index, &body, &en, e);
	return rc == MICA_OK ? mica_ledger_receipt(c->ledger, index, out, e) : rc;
}

/* The entry's own octets, too: with them and the receipt its holder proves that it stands in the
 * ledger. */
static void put_certificate(const struct mica_entry *en, struct mica_slice body, uint64_t index,
	const struct core_revoked_one *revoked, struct mica_buf *json)
{
	MICA_AUTO_BUF pem;
	struct mica_entry_keys keys;
	char time[MICA_TIME_SIZE];

	mica_buf_init(&pem, 2 * MICA_CERT_MAX);
	mica_pem_put(&pem, MICA_PEM_CERT, en->certificate);
	mica_buf_put_str(json, "{\"certificate\":");
	mica_buf_put_json_string(json, mica_buf_slice(&pem));
	mica_buf_printf(json, ",\"ledger_index\":%llu", (unsigned long long)index);
	if (mica_entry_keys(en, &keys, NULL) == MICA_OK) {
		mica_buf_put_str(json, ",\"spiffe_id\":");
		mica_buf_put_json_string(json, keys.spiffe_id);
		mica_buf_put_str(json, ",\"serial\":\"");
		mica_buf_put_hex(json, keys.serial.p, keys.serial.len);
		mica_buf_put_str(json, "\",\"authority\":\"");
		mica_buf_put_hex(json, keys.authority.p, keys.authority.len);
		mica_time_format(keys.not_before, time);
		mica_buf_printf(json, "\",\"not_before\":\"%s\"", time);
		mica_time_format(keys.not_after, time);
		mica_buf_printf(json, ",\"not_after\":\"%s\"", time);
	}
	mica_buf_put_str(json, ",\"entry\":\"");
	mica_buf_put_b64(json, body.p, body.len);
	mica_buf_put_str(json, "\",\"revoked\":");
	if (revoked)
		mica_core_put_revocation(json, revoked);
	else
		mica_buf_put_str(json, "null");
	mica_buf_put_str(json, ",\"event\":");
	mica_entry_json(en, index, 0, json);
	mica_buf_put_u8(json, '}');
}

mica_rc mica_core_certificate(struct mica_core *c, const struct mica_caller *reader,
	struct mica_slice serial_hex, struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	uint8_t serial[MICA_SERIAL_LEN];
	size_t len = sizeof(serial);
	struct mica_entry en;
	MICA_AUTO_BUF body;
	uint64_t index = 0;
	mica_rc rc;

	if (mica_hex_decode(serial_hex, serial, &len) != MICA_OK || len != sizeof(serial))
		return mica_fail(e, MICA_INVALID, "bad_serial", "a serial number is %d hex digits",
			2 * MICA_SERIAL_LEN);
	mica_buf_init(&body, MICA_ENTRY_MAX);
	rc = mica_ledger_by_serial(c->ledger, serial, &index, e);
	if (rc == MICA_OK && entry_for(c, reader, index, &body, &en, NULL) != MICA_OK)
		rc = mica_fail(e, MICA_NOT_FOUND, "no_such_certificate",
			"the ledger has no such certificate");
	if (rc != MICA_OK)
		return rc;
	put_certificate(&en, mica_buf_slice(&body), index,
		mica_core_revoked(v, mica_slice(serial, sizeof(serial))), json);
	return mica_buf_rc(json, e);
}

/* ---- events ---------------------------------------------------------------------------------- */

struct events {
	struct mica_buf *json;
	size_t begin;
	unsigned n;
};

static bool put_event(
	void *ctx, uint64_t index, const struct mica_entry *entry, struct mica_slice bytes)
{
	struct events *ev = ctx;

	(void)bytes;
	if (ev->n++ > 0)
		mica_buf_put_u8(ev->json, ',');
	mica_entry_json(entry, index, 0, ev->json);
	return ev->json->len - ev->begin < EVENTS_BYTES;
}

struct filter {
	struct mica_ledger_query q;
	struct mica_uid pod;
	uint8_t serial[MICA_SERIAL_LEN];
};

static mica_rc bad_filter(struct mica_err *e, const char *text)
{
	return mica_fail(e, MICA_INVALID, "bad_filter", "%s", text);
}

static mica_rc read_filter(const struct mica_event_query *q, struct filter *f, struct mica_err *e)
{
	size_t len = sizeof(f->serial);

	f->q = (struct mica_ledger_query){.spiffe_id = q->spiffe_id,
		.oldest_first = q->oldest_first,
		.limit = q->limit,
		.cursor = q->cursor};
	if (q->limit > 1000)
		return bad_filter(e, "limit: expected 1 to 1000");
	if (q->since < 0 || q->until < 0 || q->since > INT64_MAX / 1000 - 1 ||
		q->until > INT64_MAX / 1000 - 1)
		return bad_filter(e, "since, until: expected times since 1970");
	f->q.since_ms = q->since * 1000;
	f->q.until_ms = q->until > 0 ? q->until * 1000 + 999 : 0;
	if (q->pod_uid.len > 0 && mica_uuid_parse(q->pod_uid, f->pod.b) != MICA_OK)
		return bad_filter(e, "pod_uid: expected a UID (8-4-4-4-12 lower-case hex)");
	if (q->pod_uid.len > 0)
		f->q.pod_uid = &f->pod;
	if (q->serial.len > 0 &&
		(mica_hex_decode(q->serial, f->serial, &len) != MICA_OK ||
			len != sizeof(f->serial)))
		return bad_filter(e, "serial: expected 32 hex digits");
	if (q->serial.len > 0)
		f->q.serial = mica_slice(f->serial, sizeof(f->serial));
	if (q->type.len > 0) {
		f->q.type = mica_entry_type_parse(q->type);
		if (f->q.type == 0)
			return bad_filter(e,
				"type: expected x509_issued, jwt_issued, log, authority, bundle, key, policy, deny, admin or revocation");
	}
	return MICA_OK;
}

/* A workload sees what was issued to its name; asking for another's finds nothing. */
static bool narrow(const struct mica_caller *reader, struct filter *f)
{
	struct mica_slice own = mica_slice_str(reader->principal.spiffe_id);

	if (sees_all(reader))
		return true;
	if (own.len == 0 || (f->q.spiffe_id.len > 0 && !mica_slice_eq(f->q.spiffe_id, own)))
		return false;
	f->q.spiffe_id = own;
	return true;
}

mica_rc mica_core_events(struct mica_core *c, const struct mica_caller *reader,
	const struct mica_event_query *q, struct mica_buf *json, struct mica_err *e)
{
	struct events ev = {.json = json, .begin = json->len};
	char next[MICA_CURSOR_SIZE] = "";
	struct filter f;
	mica_rc rc = read_filter(q, &f, e);

	if (rc != MICA_OK)
		return rc;
	mica_buf_put_str(json, "{\"events\":[");
	if (narrow(reader, &f))
		rc = mica_ledger_query(c->ledger, &f.q, put_event, &ev, next, e);
	if (rc != MICA_OK) {
		json->len = ev.begin; /* nothing half made */
		if (json->p)
			json->p[json->len] = '\0';
		return rc;
	}
	if (next[0])
		mica_buf_printf(json, "],\"next\":\"%s\"}", next);
	else
		mica_buf_put_str(json, "],\"next\":null}");
	return mica_buf_rc(json, e);
}
