/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the ledger: audit list, show, verify. */
#include "audit.h"
#include "progress.h"

#include "mica/cert.h"
#include "mica/entry.h"
#include "mica/file.h"
#include "mica/pem.h"

#include <stdio.h>

#define EVENTS_MAX ((size_t)16 << 20)

/* ---- list ---------------------------------------------------------------------------------- */

static void query_time(struct mica_buf *path, const char *name, const struct cli_value *v)
{
	char text[MICA_TIME_SIZE];

	if (!v->set)
		return;
	mica_time_format(v->i, text);
	client_query(path, name, mica_slice_str(text));
}

static mica_rc list_path(
	struct cli *c, struct mica_slice cursor, struct mica_buf *path, struct mica_err *e)
{
	char limit[24];

	mica_buf_reset(path);
	mica_buf_put_str(path, "/v1/events");
	client_query(path, "spiffe_id", mica_slice_str(cli_str(c, OPT_SPIFFE_ID)));
	client_query(path, "pod_uid", mica_slice_str(cli_str(c, OPT_POD_UID)));
	client_query(path, "serial", mica_slice_str(cli_str(c, OPT_SERIAL)));
	client_query(path, "type", mica_slice_str(cli_str(c, OPT_TYPE)));
	query_time(path, "since", &c->v[OPT_SINCE]);
	query_time(path, "until", &c->v[OPT_UNTIL]);
	client_query(path, "order", mica_slice_str(cli_str(c, OPT_ORDER)));
	snprintf(limit, sizeof(limit), "%lld", (long long)cli_int(c, OPT_LIMIT, 100));
	client_query(path, "limit", mica_slice_str(limit));
	client_query(path, "cursor", cursor);
	return mica_buf_rc(path, e);
}

static struct mica_slice member(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_string(v) ? mica_json_str(v) : MICA_SLICE_NULL;
}

/* One line: when, what, who, and which. The rest is for JSON and `audit show`. */
static void show_event(struct writer *w, const json_t *event)
{
	struct mica_slice who = member(event, "spiffe_id"), what = member(event, "serial");
	const json_t *index = json_object_get(event, "index");
	const json_t *actor = json_object_get(event, "actor");
	char time[24], what_of[64] = "";

	if (wr_format(w) == OUT_JSON) {
		wr_json(w, NULL, event);
		return;
	}
	wr_object(w, NULL);
	wr_int(w, "index", json_integer_value(index));
	snprintf(time, sizeof(time), "%.*sZ",
		MICA_FMT(mica_slice_sub(member(event, "time"), 0, 19)));
	wr_cstr(w, "time", time);
	wr_str(w, "type", member(event, "type"));
	if (who.len == 0)
		who = member(event, "sub");
	if (who.len == 0)
		who = member(actor, member(actor, "id").len > 0 ? "id" : "kind");
	wr_str(w, "who", who);
	if (what.len == 0)
		what = member(event, "jti");
	if (what.len == 0)
		what = member(event, "action");
	if (member(event, "authority").len > 0 && actor)
		snprintf(what_of, sizeof(what_of), "%.*s %.*s", MICA_FMT(what),
			MICA_FMT(mica_slice_sub(member(event, "authority"), 0, 16)));
	wr_str(w, "what", what_of[0] ? mica_slice_str(what_of) : what);
	wr_end(w);
}

static const struct wr_column event_columns[] = {
	{"index", 8}, {"time", 20}, {"type", 11}, {"what", 32}, {"who", 0}};

static mica_rc show_page(
	struct cli *c, const struct mica_json *d, struct mica_buf *next, struct mica_err *e)
{
	json_t *events = NULL, *one;
	const struct mica_json_member members[] = {
		{.name = "events", .type = MICA_JSON_ARRAY, .required = true, .out = &events}};
	mica_rc rc = mica_json_read(d, d->root, "", members, 1, true, e);
	size_t i;

	if (rc != MICA_OK)
		return rc;
	json_array_foreach (events, i, one)
		show_event(c->w, one);
	mica_buf_reset(next);
	mica_buf_put_slice(next, member(d->root, "next"));
	return mica_buf_rc(next, e);
}

static mica_rc show_pages(
	struct cli *c, struct client *k, struct mica_buf *next, struct mica_err *e)
{
	MICA_AUTO_BUF path;
	mica_rc rc;

	mica_buf_init(&path, 16384);
	do {
		struct client_request r = {.max_body = EVENTS_MAX};
		RESPONSE_AUTO answer = {0};
		MICA_AUTO_JSON d = {0};

		rc = list_path(c, mica_buf_slice(next), &path, e);
		r.path = (const char *)path.p;
		if (rc == MICA_OK)
			rc = client_json(k, &r, &answer, &d, e);
		if (rc == MICA_OK)
			rc = show_page(c, &d, next, e);
		if (rc == MICA_OK && cli_set(c, OPT_ALL))
			rc = wr_flush(c->w, e);
	} while (rc == MICA_OK && cli_set(c, OPT_ALL) && next->len > 0 && !cli_stopped());
	return rc;
}

mica_rc cmd_audit_list(struct cli *c, struct mica_err *e)
{
	CLIENT_AUTO k = NULL;
	MICA_AUTO_BUF next;
	mica_rc rc;

	mica_buf_init(&next, 1024);
	mica_buf_put_str(&next, cli_set(c, OPT_CURSOR) ? cli_str(c, OPT_CURSOR) : "");
	rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc != MICA_OK)
		return rc;
	if (wr_format(c->w) == OUT_JSON)
		wr_object(c->w, NULL);
	wr_table(c->w, wr_format(c->w) == OUT_JSON ? "events" : NULL, event_columns,
		MICA_ARRAY_LEN(event_columns));
	rc = show_pages(c, k, &next, e);
	wr_end(c->w);
	if (wr_format(c->w) == OUT_TEXT) {
		if (rc == MICA_OK && next.len > 0)
			wr_note(c->w, "There are more: --all, or --cursor %s",
				(const char *)next.p);
		return rc;
	}
	if (next.len > 0)
		wr_str(c->w, "next", mica_buf_slice(&next));
	else
		wr_null(c->w, "next");
	wr_end(c->w);
	return rc;
}

/* ---- what an argument means --------------------------------------------------------------------
 */

/* An index, a serial number, or a file with a certificate (whose octets are kept to compare). */
struct target {
	bool is_index, is_serial;
	uint64_t index;
	uint8_t serial[MICA_SERIAL_LEN];
	struct mica_buf der; /* of the file's first certificate */
};

static mica_rc target_from_file(struct target *t, const char *path, struct mica_err *e)
{
	struct mica_slice certs[16];
	struct mica_cert_info info;
	MICA_AUTO_BUF pem, der;
	size_t n;
	mica_rc rc;

	mica_buf_init(&pem, (size_t)1 << 20);
	mica_buf_init(&der, 16 * MICA_CERT_MAX);
	rc = mica_file_read(path, &pem, e);
	if (rc == MICA_OK)
		rc = mica_pem_certs(
			mica_buf_slice(&pem), &der, certs, MICA_ARRAY_LEN(certs), &n, e);
	if (rc == MICA_OK)
		rc = mica_cert_read(certs[0], &info, e);
	if (rc == MICA_OK && info.serial.len != MICA_SERIAL_LEN)
		rc = mica_fail(e, MICA_INVALID, "bad_serial",
			"its serial number has %zu octets, ours have %d", info.serial.len,
			MICA_SERIAL_LEN);
	if (rc != MICA_OK) {
		mica_err_context(e, "%s", path);
		return rc;
	}
	memcpy(t->serial, info.serial.p, MICA_SERIAL_LEN);
	mica_buf_put_slice(&t->der, certs[0]);
	return MICA_OK;
}

static mica_rc read_target(struct target *t, const char *arg, struct mica_err *e)
{
	struct mica_slice s = mica_slice_str(arg);
	size_t len = sizeof(t->serial);

	memset(t, 0, sizeof(*t));
	mica_buf_init(&t->der, MICA_CERT_MAX);
	t->is_index = s.len < 20 && mica_parse_u64(s, MICA_TREE_MAX - 1, &t->index) == MICA_OK;
	if (t->is_index)
		return MICA_OK;
	t->is_serial = mica_hex_decode(s, t->serial, &len) == MICA_OK && len == sizeof(t->serial);
	return t->is_serial ? MICA_OK : target_from_file(t, arg, e);
}

/* The entry of a target, proved to be in the tree, and to be of that certificate. */
static mica_rc prove_target(struct audit *a, struct target *t, struct mica_buf *bytes,
	struct mica_entry *en, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	if (!t->is_index)
		rc = audit_find_serial(a, t->serial, &t->index, bytes, e);
	else
		rc = audit_read_entry(a, t->index, bytes, e);
	if (rc == MICA_OK)
		rc = mica_entry_decode(mica_buf_slice(bytes), en, e);
	if (rc == MICA_OK && !t->is_index) {
		struct mica_entry_keys keys;

		rc = mica_entry_keys(en, &keys, e);
		if (rc == MICA_OK && !mica_slice_eq(keys.serial, mica_slice(t->serial, 16)))
			rc = mica_fail(e, MICA_CORRUPT, "entry_wrong",
				"entry %llu is of another certificate",
				(unsigned long long)t->index);
	}
	if (rc == MICA_OK && t->der.len > 0 &&
		!mica_slice_eq(en->certificate, mica_buf_slice(&t->der)))
		rc = mica_fail(e, MICA_CORRUPT, "entry_wrong",
			"entry %llu has another certificate with this serial number",
			(unsigned long long)t->index);
	return rc;
}

/* ---- show ---------------------------------------------------------------------------------- */

static mica_rc put_entry(struct writer *w, const char *key, const struct mica_entry *en,
	uint64_t index, unsigned flags, struct mica_err *e)
{
	struct mica_json_limits limits = {.bytes = EVENTS_MAX};
	MICA_AUTO_JSON d = {0};
	MICA_AUTO_BUF json;
	mica_rc rc;

	mica_buf_init(&json, (size_t)1 << 20);
	mica_entry_json(en, index, flags, &json);
	rc = mica_buf_rc(&json, e);
	if (rc == MICA_OK)
		rc = mica_json_parse(mica_buf_slice(&json), &limits, &d, e);
	if (rc == MICA_OK)
		wr_json(w, key, d.root);
	return rc;
}

static void put_tree(struct writer *w, const struct mica_checkpoint *cp)
{
	char root[MICA_B64_SIZE(MICA_HASH_LEN)];

	mica_b64_encode(cp->root.b, MICA_HASH_LEN, root);
	wr_cstr(w, "origin", cp->origin);
	wr_uint(w, "size", cp->size);
	wr_cstr(w, "root", root);
}

mica_rc cmd_audit_show(struct cli *c, struct mica_err *e)
{
	struct mica_entry en;
	struct target t;
	MICA_AUTO_BUF bytes;
	AUDIT_AUTO a = {.c = c};
	mica_rc rc;

	mica_buf_init(&bytes, MICA_ENTRY_MAX);
	rc = read_target(&t, c->args[0], e);
	if (rc == MICA_OK)
		rc = audit_open(&a, c, AUDIT_RIGHTS, e);
	if (rc == MICA_OK)
		rc = audit_step(&a, NULL, e);
	if (rc == MICA_OK)
		rc = prove_target(&a, &t, &bytes, &en, e);
	if (rc == MICA_OK) {
		wr_object(c->w, NULL);
		rc = put_entry(c->w, "entry", &en, t.index, MICA_ENTRY_JSON_CERTIFICATE, e);
		wr_object(c->w, "proof");
		wr_verdict(c->w, "verdict", true, "in the tree");
		put_tree(c->w, &a.last);
		wr_end(c->w);
		wr_end(c->w);
	}
	mica_buf_clear(&t.der);
	return rc;
}

/* ---- verify -------------------------------------------------------------------------------- */

/* A receipt proves its entry without anybody being asked. */
static mica_rc verify_receipt(struct cli *c, struct mica_err *e)
{
	struct mica_note_key key;
	struct mica_checkpoint at;
	struct mica_entry en;
	MICA_AUTO_BUF receipt, entry;
	struct mica_receipt r;
	mica_rc rc;

	mica_buf_init(&receipt, MICA_NOTE_MAX);
	mica_buf_init(&entry, MICA_ENTRY_MAX);
	if (!cli_set(c, OPT_RECEIPT) || !cli_set(c, OPT_ENTRY) || !cli_set(c, OPT_VKEY))
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"a receipt is checked with --receipt, --entry and --vkey");
	rc = mica_vkey_parse(mica_slice_str(cli_str(c, OPT_VKEY)), &key, e);
	if (rc == MICA_OK)
		rc = mica_file_read(cli_str(c, OPT_RECEIPT), &receipt, e);
	if (rc == MICA_OK)
		rc = mica_file_read(cli_str(c, OPT_ENTRY), &entry, e);
	if (rc == MICA_OK)
		rc = mica_receipt_check(
			mica_buf_slice(&receipt), mica_buf_slice(&entry), &key, &at, e);
	if (rc == MICA_OK)
		rc = mica_receipt_parse(mica_buf_slice(&receipt), &r, e);
	if (rc == MICA_OK)
		rc = mica_entry_decode(mica_buf_slice(&entry), &en, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_verdict(c->w, "verdict", true, "in the tree");
	put_tree(c->w, &at);
	rc = put_entry(c->w, "entry", &en, r.index, 0, e);
	wr_end(c->w);
	return rc;
}

static mica_rc verify_bundles(struct audit *a, struct progress_line *line, struct mica_err *e)
{
	struct audit_tiles tiles = source_tiles(a->source);
	MICA_AUTO_BUF bundle;
	mica_rc rc = MICA_OK;

	mica_buf_init(&bundle, 1);
	line->what = "entries";
	for (uint64_t n = 0; n * MICA_TILE_WIDTH < a->last.size && rc == MICA_OK; n++) {
		if (cli_stopped())
			return mica_fail(e, MICA_UNAVAILABLE, "cancelled", "stopped");
		rc = source_bundle(a->source, a->last.size, n, &bundle, e);
		if (rc == MICA_OK)
			rc = audit_bundle(
				&a->last, &tiles, n, mica_buf_slice(&bundle), NULL, NULL, e);
		progress_show(line, n * MICA_TILE_WIDTH, a->last.size);
	}
	return rc;
}

static mica_rc verify_targets(struct cli *c, struct audit *a, struct mica_err *e)
{
	static const struct wr_column columns[] = {
		{"argument", 34}, {"index", 8}, {"verdict", 11}, {"spiffe_id", 0}};
	mica_rc rc = MICA_OK;

	if (c->n_args == 0)
		return MICA_OK;
	wr_table(c->w, "entries", columns, MICA_ARRAY_LEN(columns));
	for (unsigned i = 0; i < c->n_args && rc == MICA_OK; i++) {
		struct mica_entry_keys keys = {0};
		struct mica_entry en;
		struct target t;
		MICA_AUTO_BUF bytes;

		mica_buf_init(&bytes, MICA_ENTRY_MAX);
		rc = read_target(&t, c->args[i], e);
		if (rc == MICA_OK)
			rc = prove_target(a, &t, &bytes, &en, e);
		mica_buf_clear(&t.der);
		if (rc != MICA_OK)
			break;
		wr_object(c->w, NULL);
		wr_cstr(c->w, "argument", c->args[i]);
		wr_uint(c->w, "index", t.index);
		wr_cstr(c->w, "verdict", "in the tree");
		if (mica_entry_keys(&en, &keys, NULL) == MICA_OK && keys.spiffe_id.len > 0)
			wr_str(c->w, "spiffe_id", keys.spiffe_id);
		wr_end(c->w);
	}
	wr_end(c->w);
	return rc;
}

static mica_rc verify_all(struct cli *c, struct audit *a, struct mica_err *e)
{
	struct audit_tiles tiles = source_tiles(a->source);
	struct progress_line line = {.what = "tiles"};
	bool seen = a->seen;
	uint64_t before = a->last.size;
	mica_rc rc = audit_step(a, NULL, e);

	if (rc == MICA_OK && (cli_set(c, OPT_DEEP) || cli_set(c, OPT_FULL)))
		rc = audit_deep(&a->last, 0, &tiles, progress_show, &line, e);
	if (rc == MICA_OK && cli_set(c, OPT_FULL))
		rc = verify_bundles(a, &line, e);
	progress_end(&line);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_verdict(c->w, "verdict", true,
		seen ? "consistent with what was seen before"
		     : "consistent; seen for the first time");
	put_tree(c->w, &a->last);
	if (seen)
		wr_uint(c->w, "seen_before", before);
	wr_cstr(c->w, "read",
		cli_set(c, OPT_FULL)           ? "every entry"
			: cli_set(c, OPT_DEEP) ? "every tile"
					       : "what the proof needs");
	wr_cstr(c->w, "state", a->state[0] ? a->state : NULL);
	rc = verify_targets(c, a, e);
	wr_end(c->w);
	if (!a->state[0])
		wr_note(c->w, "Nothing is remembered: there is no HOME, and no --state FILE.");
	if (a->first_use)
		wr_note(c->w,
			"The key was believed because micad named it. Compare it with the operator's.");
	return rc;
}

mica_rc cmd_audit_verify(struct cli *c, struct mica_err *e)
{
	bool rights = c->n_args > 0 || cli_set(c, OPT_FULL);
	AUDIT_AUTO a = {.c = c};
	mica_rc rc;

	if (cli_set(c, OPT_RECEIPT) || cli_set(c, OPT_ENTRY))
		return verify_receipt(c, e);
	rc = audit_open(&a, c, rights ? AUDIT_RIGHTS : 0, e);
	return rc == MICA_OK ? verify_all(c, &a, e) : rc;
}
