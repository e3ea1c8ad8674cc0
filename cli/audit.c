/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include "mica/clock.h"
#include "mica/entry.h"
#include "mica/file.h"

#include <stdio.h>
#include <unistd.h>

#define STATE_MAX (MICA_NOTE_MAX + 1024)

void audit_clear(struct audit *a)
{
	source_free(a->source);
	mica_buf_clear(&a->note);
}

/* ---- state --------------------------------------------------------------------------------- */

/* $XDG_STATE_HOME/mica/<origin>.audit; an origin is a name of a key, with '/' in it. Without a HOME
 * nothing is remembered, and the commands say so. */
static mica_rc default_state(const char *origin, char out[4096], struct mica_err *e)
{
	const char *state = mica_env("XDG_STATE_HOME"), *home = mica_env("HOME");
	int at = state && state[0] == '/' ? snprintf(out, 4096, "%s/mica/", state)
		: home                    ? snprintf(out, 4096, "%s/.local/state/mica/", home)
					  : -1;

	out[at < 0 ? 0 : 4095] = '\0';
	if (at < 0)
		return MICA_OK;
	if ((size_t)at + strlen(origin) + 16 >= 4096)
		return mica_fail(e, MICA_INVALID, "path_too_long", "--state: too long a path");
	for (const char *p = origin; *p; p++)
		out[at++] = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
				(*p >= '0' && *p <= '9') || *p == '.' || *p == '-'
			? *p
			: '_';
	snprintf(out + at, (size_t)(4096 - at), ".audit");
	return MICA_OK;
}

/* *found: something is remembered; `key` and `last` are of it. */
static mica_rc load_state(
	struct audit *a, struct mica_note_key *key, bool *found, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_slice note;
	MICA_AUTO_BUF text;
	mica_rc rc;

	*found = false;
	mica_buf_init(&text, STATE_MAX);
	if (!a->state[0])
		return MICA_OK;
	rc = mica_file_read(a->state, &text, &own);
	if (rc == MICA_NOT_FOUND)
		return MICA_OK;
	if (rc == MICA_OK)
		rc = audit_state_read(mica_buf_slice(&text), key, &note, &a->last, &own);
	if (rc != MICA_OK) {
		mica_err_context(&own, "%s", a->state);
		return mica_fail(e, rc, own.reason, "%s", own.text);
	}
	*found = true;
	return MICA_OK;
}

static mica_rc save_state(struct audit *a, struct mica_err *e)
{
	char *slash = strrchr(a->state, '/');
	MICA_AUTO_BUF text;
	mica_rc rc = MICA_OK;

	if (!a->state[0])
		return MICA_OK;
	mica_buf_init(&text, STATE_MAX);
	if (slash && slash != a->state) {
		*slash = '\0';
		rc = mica_mkdir_p(a->state, 0700, e);
		*slash = '/';
	}
	audit_state_write(&a->key, mica_buf_slice(&a->note), &text);
	if (rc == MICA_OK)
		rc = mica_file_write_atomic(a->state, mica_buf_slice(&text), 0600, e);
	return rc;
}

/* ---- the key ------------------------------------------------------------------------------- */

/* What micad says its key is. */
static mica_rc asked_key(struct audit *a, struct mica_note_key *key, struct mica_err *e)
{
	struct client_request r = {.path = "/v1/configuration", .anonymous = true};
	struct mica_slice vkey = {0};
	json_t *log = NULL;
	const struct mica_json_member top[] = {
		{.name = "log", .type = MICA_JSON_OBJECT, .required = true, .out = &log}};
	const struct mica_json_member inner[] = {
		{.name = "vkey", .type = MICA_JSON_STRING, .required = true, .out = &vkey}};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	struct client *k = source_client(a->source);
	mica_rc rc;

	if (!k)
		return mica_fail(e, MICA_INVALID, "log_key_unknown",
			"static files do not say whose they are: --vkey is needed");
	rc = client_json(k, &r, &answer, &d, e);
	if (rc == MICA_OK)
		rc = mica_json_read(&d, d.root, "", top, 1, true, e);
	if (rc == MICA_OK)
		rc = mica_json_read(&d, log, "log", inner, 1, true, e);
	return rc == MICA_OK ? mica_vkey_parse(vkey, key, e) : rc;
}

/* The log's name, from --vkey or from what the source says: enough to find what is remembered. */
static mica_rc log_name(
	struct audit *a, bool given, char origin[MICA_NOTE_NAME_MAX], struct mica_err *e)
{
	mica_rc rc;

	if (given) {
		memcpy(origin, a->key.name, MICA_NOTE_NAME_MAX);
		return MICA_OK;
	}
	rc = source_checkpoint(a->source, &a->note, e);
	if (rc == MICA_OK && !audit_origin(mica_buf_slice(&a->note), origin))
		rc = mica_fail(e, MICA_INVALID, "bad_checkpoint", "%s: this is not a checkpoint",
			source_where(a->source));
	return rc;
}

static mica_rc choose_key(struct audit *a, bool given, unsigned flags,
	const struct mica_note_key *kept, const char *origin, struct mica_err *e)
{
	const struct client *k = source_client(a->source);

	if (given && a->seen &&
		!(strcmp(kept->name, a->key.name) == 0 && mica_pubkey_eq(&kept->key, &a->key.key)))
		return mica_fail(e, MICA_CONFLICT, "audit_state_foreign",
			"%s: remembers the log %.200s, not %.200s", a->state, kept->name,
			a->key.name);
	if (given)
		return MICA_OK;
	if (a->seen) {
		a->key = *kept;
		return MICA_OK;
	}
	if (cli_set(a->c, OPT_FIRST_USE) || ((flags & AUDIT_LOCAL) && k && client_is_local(k))) {
		a->first_use = true;
		return asked_key(a, &a->key, e);
	}
	return mica_fail(e, MICA_INVALID, "log_key_unknown",
		"the key of the log %.200s is not known: --vkey is not given, and nothing of it is "
		"remembered",
		origin);
}

mica_rc audit_open(struct audit *a, struct cli *c, unsigned flags, struct mica_err *e)
{
	char origin[MICA_NOTE_NAME_MAX] = "";
	struct mica_note_key kept;
	bool given = cli_set(c, OPT_VKEY);
	mica_rc rc;

	memset(a, 0, sizeof(*a));
	a->c = c;
	mica_buf_init(&a->note, MICA_NOTE_MAX);
	rc = source_open(c, (flags & AUDIT_RIGHTS) != 0, &a->source, e);
	if (rc == MICA_OK && given)
		rc = mica_vkey_parse(mica_slice_str(cli_str(c, OPT_VKEY)), &a->key, e);
	if (rc == MICA_OK)
		rc = log_name(a, given, origin, e);
	if (rc == MICA_OK && cli_set(c, OPT_STATE))
		snprintf(a->state, sizeof(a->state), "%.4000s", cli_str(c, OPT_STATE));
	else if (rc == MICA_OK)
		rc = default_state(origin, a->state, e);
	if (rc == MICA_OK)
		rc = load_state(a, &kept, &a->seen, e);
	if (rc == MICA_OK)
		rc = choose_key(a, given, flags, &kept, origin, e);
	if (flags & AUDIT_STATELESS) {
		a->state[0] = '\0';
		a->seen = false;
	}
	return rc;
}

/* ---- one look ------------------------------------------------------------------------------ */

/* Two notes that contradict one another, both signed by one key, convince anybody. */
static void keep_evidence(struct audit *a, struct mica_err *e)
{
	char path[4200], time[MICA_TIME_SIZE];
	bool forked = strcmp(e->reason, "log_forked") == 0;
	bool shrunk = strcmp(e->reason, "log_shrunk") == 0;

	mica_time_format(mica_now(), time);
	snprintf(path, sizeof(path), "%s.%s.evidence", a->state, time);
	if (!a->state[0] ||
		mica_file_write_atomic(path, mica_buf_slice(&a->note), 0600, NULL) != MICA_OK) {
		snprintf(e->detail, sizeof(e->detail), "the checkpoint could not be kept: %.300s",
			(const char *)a->note.p);
		return;
	}
	if (forked || shrunk)
		snprintf(e->detail, sizeof(e->detail),
			"keep %.150s (seen before) and %.200s (served now)%s", a->state, path,
			forked ? ": with the tiles of both, the two signatures prove it to anybody"
			       : "");
	else
		snprintf(e->detail, sizeof(e->detail),
			"keep %.200s (the checkpoint as it came) and a copy of what %.120s serves now",
			path, source_where(a->source));
}

mica_rc audit_step(struct audit *a, bool *grown, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct audit_tiles tiles = source_tiles(a->source);
	struct mica_checkpoint now;
	uint64_t before = a->seen ? a->last.size : 0;
	mica_rc rc;

	source_forget(a->source);
	rc = source_checkpoint(a->source, &a->note, &own);
	if (rc == MICA_OK)
		rc = audit_advance(&a->key, a->seen ? &a->last : NULL, mica_buf_slice(&a->note),
			&tiles, &now, &own);
	if (rc != MICA_OK) {
		if (audit_is_broken(&own))
			keep_evidence(a, &own);
		if (e && e->rc == MICA_OK)
			*e = own;
		return rc;
	}
	if (grown)
		*grown = !a->seen || now.size > before;
	a->last = now;
	a->seen = true;
	return save_state(a, e);
}

/* ---- entries ------------------------------------------------------------------------------- */

struct one_entry {
	uint64_t index;
	struct mica_buf *out;
};

static mica_rc take_one(void *ctx, uint64_t index, struct mica_slice entry, struct mica_err *e)
{
	struct one_entry *o = ctx;

	if (index != o->index)
		return MICA_OK;
	mica_buf_reset(o->out);
	mica_buf_put_slice(o->out, entry);
	return mica_buf_rc(o->out, e);
}

mica_rc audit_read_entry(
	struct audit *a, uint64_t index, struct mica_buf *entry, struct mica_err *e)
{
	struct audit_tiles tiles = source_tiles(a->source);
	struct one_entry one = {index, entry};
	MICA_AUTO_BUF bundle;
	mica_rc rc;

	mica_buf_init(&bundle, 1);
	if (index >= a->last.size)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_entry",
			"entry %llu: the log has %llu entries", (unsigned long long)index,
			(unsigned long long)a->last.size);
	rc = source_bundle(a->source, a->last.size, index / MICA_TILE_WIDTH, &bundle, e);
	if (rc == MICA_OK)
		rc = audit_bundle(&a->last, &tiles, index / MICA_TILE_WIDTH,
			mica_buf_slice(&bundle), take_one, &one, e);
	return rc;
}

struct serial_search {
	const uint8_t *serial;
	bool found;
	uint64_t index;
};

static mica_rc compare_serial(
	void *ctx, uint64_t index, struct mica_slice bytes, struct mica_err *e)
{
	struct serial_search *s = ctx;
	struct mica_entry_keys keys;
	struct mica_entry en;

	(void)e;
	if (mica_entry_decode(bytes, &en, NULL) != MICA_OK || en.type != MICA_ENTRY_X509_ISSUED ||
		mica_entry_keys(&en, &keys, NULL) != MICA_OK)
		return MICA_OK;
	if (mica_slice_eq(keys.serial, mica_slice(s->serial, 16))) {
		s->found = true;
		s->index = index;
	}
	return MICA_OK;
}

/* Newest bundles first: whoever asks, asks for a living certificate. */
static mica_rc search_files(
	struct audit *a, const uint8_t serial[16], uint64_t *index, struct mica_err *e)
{
	struct audit_tiles tiles = source_tiles(a->source);
	struct serial_search s = {.serial = serial};
	MICA_AUTO_BUF bundle;
	uint64_t n = (a->last.size + MICA_TILE_WIDTH - 1) / MICA_TILE_WIDTH;
	mica_rc rc = MICA_OK;

	mica_buf_init(&bundle, 1);
	while (n-- > 0 && rc == MICA_OK && !s.found && !cli_stopped()) {
		rc = source_bundle(a->source, a->last.size, n, &bundle, e);
		if (rc == MICA_OK)
			rc = audit_bundle(&a->last, &tiles, n, mica_buf_slice(&bundle),
				compare_serial, &s, e);
	}
	if (rc == MICA_OK && !s.found)
		rc = mica_fail(e, MICA_NOT_FOUND, "no_such_certificate",
			"no entry of the log is for this certificate");
	*index = s.index;
	return rc;
}

/* What micad says where it is; the proof is ours. */
static mica_rc asked_entry(struct audit *a, const uint8_t serial[16], uint64_t *index,
	struct mica_buf *entry, struct mica_err *e)
{
	char path[128], hex[33];
	struct client_request r = {.path = path};
	struct mica_slice b64 = {0};
	int64_t at = -1;
	const struct mica_json_member members[] = {
		{.name = "ledger_index", .type = MICA_JSON_INT, .required = true, .out = &at},
		{.name = "entry", .type = MICA_JSON_STRING, .required = true, .out = &b64}};
	struct audit_tiles tiles = source_tiles(a->source);
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	size_t len = MICA_ENTRY_MAX;
	uint8_t *room;
	mica_rc rc;

	mica_hex_encode(serial, 16, hex);
	snprintf(path, sizeof(path), "/v1/certificates/%s", hex);
	rc = client_json(source_client(a->source), &r, &answer, &d, e);
	if (rc == MICA_OK)
		rc = mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, e);
	if (rc != MICA_OK)
		return rc;
	*index = (uint64_t)at;
	mica_buf_reset(entry);
	room = mica_buf_room(entry, len);
	if (!room || mica_b64_decode(b64, room, &len) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "answer_malformed", "its entry is not base64");
	mica_buf_added(entry, len);
	return audit_entry(&a->last, &tiles, *index, mica_buf_slice(entry), e);
}

mica_rc audit_find_serial(struct audit *a, const uint8_t serial[16], uint64_t *index,
	struct mica_buf *entry, struct mica_err *e)
{
	mica_rc rc;

	if (source_client(a->source))
		return asked_entry(a, serial, index, entry, e);
	rc = search_files(a, serial, index, e);
	return rc == MICA_OK ? audit_read_entry(a, *index, entry, e) : rc;
}
