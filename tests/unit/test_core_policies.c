/* SPDX-License-Identifier: Apache-2.0 */
/* Policies as the core keeps them: revisions, channels, numbers, entries; and what is left of a
 * change that fails. */
#include "../../ca/core_docs.h"

#include "coretest.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, ct_setup, ct_teardown)
#define KIND    "AuthorizationPolicy"

static const struct mica_caller *admin(void)
{
	static struct mica_caller a;

	a = ct_role(MICA_ROLE_ADMIN);
	return &a;
}

static struct mica_doc_key key_of(const char *ns, const char *name)
{
	return (struct mica_doc_key){
		mica_slice_str(KIND), mica_slice_str(ns), mica_slice_str(name)};
}

static struct mica_doc_edit put(const char *ns, const char *name, const char *text)
{
	return (struct mica_doc_edit){.op = MICA_DOC_PUT,
		.key = key_of(ns, name),
		.text = mica_slice_str(text),
		.expect = MICA_REVISION_ANY};
}

static struct mica_doc_edit del(const char *ns, const char *name)
{
	return (struct mica_doc_edit){
		.op = MICA_DOC_DELETE, .key = key_of(ns, name), .expect = MICA_REVISION_ANY};
}

/* The reason, "" when all went well. */
static const char *try_all(struct ct *t, enum mica_channel ch, struct mica_doc_edit *edits,
	size_t n, int64_t now_ms, struct mica_docs_change *out)
{
	static struct mica_err err;
	struct mica_docs_change c = {
		.channel = ch, .edits = edits, .n = n, .directory_on = true, .actor = admin()};

	err = (struct mica_err)MICA_ERR_INIT;
	if (mica_core_policies_change(t->core, &c, now_ms, &err) == MICA_OK)
		err.reason = "";
	if (out)
		*out = c;
	return err.reason;
}

static const char *try_one(
	struct ct *t, enum mica_channel ch, struct mica_doc_edit ed, int64_t now_ms)
{
	return try_all(t, ch, &ed, 1, now_ms, NULL);
}

#define live(t, ed, now)   assert_string_equal(try_one(t, MICA_CHANNEL_LIVE, ed, now), "")
#define canary(t, ed, now) assert_string_equal(try_one(t, MICA_CHANNEL_CANARY, ed, now), "")

/* "ns/name@revision=text ..." of a channel. */
static bool put_doc(void *ctx, const struct mica_doc *d)
{
	mica_buf_printf(ctx, "%s%.*s/%.*s@%llu=%.*s", ((struct mica_buf *)ctx)->len ? " " : "",
		MICA_FMT(d->key.ns), MICA_FMT(d->key.name), (unsigned long long)d->revision,
		MICA_FMT(d->text));
	return true;
}

static const char *all(struct ct *t, enum mica_channel ch)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 1 << 20);
	(void)mica_core_policies_visit(t->core, ch, put_doc, &b);
	return tk_keep(mica_slice_dup(mica_buf_slice(&b)));
}

#define assert_all(t, ch, text) assert_string_equal(all(t, MICA_CHANNEL_##ch), text)

static uint64_t sequence(struct ct *t, enum mica_channel ch)
{
	struct mica_docs_stats s;

	mica_core_policies_stats(t->core, &s);
	return s.sequence[ch];
}

static json_t *history(struct ct *t, const char *ns, const char *name)
{
	struct mica_doc_key k = key_of(ns, name);
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_policy_history(t->core, &k, &b, e));
	return ct_json(&b);
}

/* ---- documents ------------------------------------------------------------------------------- */

static void a_document_has_revisions(void **state)
{
	struct ct *t = *state;
	uint64_t first = sequence(t, MICA_CHANNEL_LIVE), second;

	assert_true(first >= (uint64_t)NOW_MS);
	live(t, put("a", "x", "{\"n\":1}"), NOW_MS + 10);
	assert_all(t, LIVE, "a/x@1={\"n\":1}");
	assert_all(t, CANARY, "a/x@1={\"n\":1}");
	second = sequence(t, MICA_CHANNEL_LIVE);
	assert_true(second > first);
	assert_int_equal(second, sequence(t, MICA_CHANNEL_CANARY));
	live(t, put("a", "x", "{\"n\":2}"), NOW_MS + 10);
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), second + 1); /* the clock stood */
	live(t, put("a", "x", "{\"n\":2}"), NOW_MS + 20);
	assert_all(t, LIVE, "a/x@2={\"n\":2}");
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), second + 1); /* as it was: nothing */
	live(t, del("a", "x"), NOW_MS + 30);
	assert_all(t, LIVE, "");
	live(t, put("a", "x", "{\"n\":3}"), NOW_MS + 40);
	assert_all(t, LIVE, "a/x@4={\"n\":3}");
	ct_reopen(t, NOW_MS + 50);
	assert_all(t, LIVE, "a/x@4={\"n\":3}");
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), (uint64_t)NOW_MS + 40);
}

static void documents_are_in_order(void **state)
{
	struct ct *t = *state;
	struct mica_doc_edit ed[] = {put("b", "x", "{}"), put("a-b", "x", "{}"),
		put("a", "y", "{}"), put("a", "x.y", "{}")};

	assert_string_equal(try_all(t, MICA_CHANNEL_LIVE, ed, 4, NOW_MS, NULL), "");
	assert_all(t, LIVE, "a/x.y@1={} a/y@1={} a-b/x@1={} b/x@1={}");
}

static void what_was_expected_must_hold(void **state)
{
	struct ct *t = *state;
	struct mica_doc_edit ed = put("a", "x", "{}");

	ed.expect = 1;
	assert_string_equal(try_one(t, MICA_CHANNEL_LIVE, ed, NOW_MS), "revision_mismatch");
	ed.expect = 0;
	live(t, ed, NOW_MS);
	assert_string_equal(try_one(t, MICA_CHANNEL_LIVE, ed, NOW_MS), "revision_mismatch");
	ed = del("a", "x");
	ed.expect = 7;
	assert_string_equal(try_one(t, MICA_CHANNEL_LIVE, ed, NOW_MS), "revision_mismatch");
	ed.expect = 1;
	live(t, ed, NOW_MS);
	ed.expect = 2; /* its deletion is nothing that is there */
	assert_string_equal(try_one(t, MICA_CHANNEL_LIVE, ed, NOW_MS), "revision_mismatch");
	ed.expect = 0;
	assert_string_equal(try_one(t, MICA_CHANNEL_LIVE, ed, NOW_MS), "no_such_policy");
}

static void a_change_is_whole_or_not_at_all(void **state)
{
	struct ct *t = *state;
	struct mica_docs_change c;
	struct mica_doc_edit bad[] = {put("a", "x", "{}"), put("a", "y", "{}"), del("a", "z")};
	struct mica_doc_edit twice[] = {put("a", "x", "{}"), put("a", "x", "{\"n\":1}")};
	uint64_t before = sequence(t, MICA_CHANNEL_LIVE);
	struct mica_core_stats s;
	uint64_t entries;

	mica_core_stats(t->core, &s);
	entries = s.entries;
	assert_string_equal(
		try_all(t, MICA_CHANNEL_LIVE, bad, 3, NOW_MS + 5, &c), "no_such_policy");
	assert_int_equal(c.failed, 2);
	assert_string_equal(
		try_all(t, MICA_CHANNEL_LIVE, twice, 2, NOW_MS + 5, &c), "policy_twice");
	assert_all(t, LIVE, "");
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), before);
	live(t, put("a", "x", "{}"), NOW_MS + 6);
	assert_string_equal(
		try_all(t, MICA_CHANNEL_LIVE, twice, 2, NOW_MS + 7, &c), "policy_twice");
	assert_all(t, LIVE, "a/x@1={}");
	assert_string_equal(try_all(t, MICA_CHANNEL_LIVE, bad, 2, NOW_MS + 8, &c), "");
	assert_int_equal(c.changed, 1);
	assert_false(bad[0].changed);
	assert_true(bad[1].changed);
	assert_int_equal(c.sequence, sequence(t, MICA_CHANNEL_LIVE));
	mica_core_stats(t->core, &s);
	/* put and published in both channels; the same again */
	assert_int_equal(s.entries, entries + 6);
}

static void what_is_no_document_is_refused(void **state)
{
	struct ct *t = *state;
	char *big = tk_keep(mica_alloc(MICA_DOC_TEXT_MAX + 2));

	memset(big, ' ', MICA_DOC_TEXT_MAX + 1);
	big[0] = '{';
	big[MICA_DOC_TEXT_MAX] = '}';
	assert_string_equal(
		try_one(t, MICA_CHANNEL_LIVE, put("a", "x", big), NOW_MS), "policy_too_large");
	assert_string_equal(
		try_one(t, MICA_CHANNEL_LIVE, put("a", "x", "[]"), NOW_MS), "bad_policy_text");
	assert_string_equal(
		try_one(t, MICA_CHANNEL_LIVE, put("a", "x", "{\n}"), NOW_MS), "bad_policy_text");
	assert_string_equal(
		try_one(t, MICA_CHANNEL_LIVE, put("a", "", "{}"), NOW_MS), "bad_policy_name");
	assert_string_equal(
		try_one(t, MICA_CHANNEL_LIVE, put("a/b", "c", "{}"), NOW_MS), "bad_policy_name");
	assert_string_equal(
		try_one(t, MICA_CHANNEL_COUNT, put("a", "b", "{}"), NOW_MS), "no_such_channel");
}

/* ---- history --------------------------------------------------------------------------------- */

static bool take_text(void *ctx, const struct mica_doc *d)
{
	*(char **)ctx = tk_keep(mica_slice_dup(d->text));
	return true;
}

static void it_goes_back(void **state)
{
	struct ct *t = *state;
	struct mica_doc_edit back = {.op = MICA_DOC_ROLLBACK,
		.key = key_of("a", "x"),
		.expect = MICA_REVISION_ANY,
		.to = 1};
	struct mica_doc_key k = key_of("a", "x");
	json_t *h, *r;
	char *text = NULL;

	assert_string_equal(try_one(t, MICA_CHANNEL_LIVE, back, NOW_MS), "no_such_policy");
	live(t, put("a", "x", "{\"n\":1}"), NOW_MS);
	live(t, put("a", "x", "{\"n\":2}"), NOW_MS + 1000);
	live(t, back, NOW_MS + 2000);
	assert_all(t, LIVE, "a/x@3={\"n\":1}");
	back.to = 9;
	assert_string_equal(try_one(t, MICA_CHANNEL_LIVE, back, NOW_MS), "no_such_revision");
	h = history(t, "a", "x");
	r = json_object_get(h, "revisions");
	assert_int_equal(json_array_size(r), 3);
	r = json_array_get(r, 0);
	assert_int_equal(json_integer_value(json_object_get(r, "revision")), 3);
	assert_int_equal(json_integer_value(json_object_get(r, "from")), 1);
	assert_string_equal(json_string_value(json_object_get(r, "action")), "rolled_back");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(r, "actor"), "pid")), 4711);
	assert_int_equal(json_array_size(json_object_get(r, "channels")), 2);
	json_decref(h);
	assert_ok(mica_core_policy(t->core, MICA_CHANNEL_LIVE, &k, 2, take_text, &text, e));
	assert_string_equal(text, "{\"n\":2}");
	/* a deletion is a revision, too */
	live(t, del("a", "x"), NOW_MS + 3000);
	live(t, put("a", "x", "{\"n\":5}"), NOW_MS + 3001);
	back.to = 4;
	live(t, back, NOW_MS + 3002);
	assert_all(t, LIVE, "");
	back.to = 2;
	live(t, back, NOW_MS + 3003);
	assert_all(t, LIVE, "a/x@7={\"n\":2}");
}

static bool count_record(void *ctx, struct mica_slice k, struct mica_slice v, uint64_t rev)
{
	(void)k;
	(void)v;
	(void)rev;
	++*(unsigned *)ctx;
	return true;
}

static unsigned n_records(struct ct *t)
{
	struct mica_scan scan = {.table = MICA_T_POLICY};
	unsigned n = 0;

	assert_ok(mica_store_list(t->core->store, &scan, count_record, &n, e));
	return n;
}

static void history_is_bounded(void **state)
{
	struct ct *t = *state;
	struct mica_doc_key k = key_of("a", "x");
	struct mica_err err = MICA_ERR_INIT;
	char *text = NULL;
	json_t *h;

	live(t, put("a", "x", "{\"n\":0}"), NOW_MS);
	/* one revision stays in force all the time */
	for (int i = 1; i < MICA_DOC_HISTORY + 20; i++)
		canary(t, put("a", "x", tk_printf("{\"n\":%d}", i)), NOW_MS + i);
	assert_int_equal(n_records(t), 1 + MICA_DOC_HISTORY + 1);
	assert_ok(mica_core_policy(t->core, MICA_CHANNEL_LIVE, &k, 1, take_text, &text, e));
	assert_int_equal(
		mica_core_policy(t->core, MICA_CHANNEL_LIVE, &k, 20, take_text, &text, &err),
		MICA_NOT_FOUND);
	assert_string_equal(err.reason, "no_such_revision");
	live(t, put("a", "x", "{\"n\":-1}"), NOW_MS + 1000);
	assert_int_equal(n_records(t), 1 + MICA_DOC_HISTORY);
	h = history(t, "a", "x");
	assert_int_equal(json_array_size(json_object_get(h, "revisions")), MICA_DOC_HISTORY);
	json_decref(h);
	/* what was deleted long ago is forgotten by a later change */
	live(t, del("a", "x"), NOW_MS + 2000);
	live(t, put("a", "y", "{}"), NOW_MS + 1999 + (int64_t)MICA_DOC_KEEP * 1000);
	assert_int_equal(n_records(t), 1 + MICA_DOC_HISTORY + 2);
	live(t, put("a", "y", "{\"n\":1}"), NOW_MS + 2001 + (int64_t)MICA_DOC_KEEP * 1000);
	assert_int_equal(n_records(t), 3);
	live(t, put("a", "x", "{}"), NOW_MS + 2002 + (int64_t)MICA_DOC_KEEP * 1000);
	assert_all(t, LIVE, "a/x@1={} a/y@2={\"n\":1}");
}

/* ---- channels -------------------------------------------------------------------------------- */

static const char *promote(struct ct *t, const char *name, bool withdraw, int64_t now_ms)
{
	static struct mica_err err;
	struct mica_doc_key k = key_of("a", name ? name : "");
	uint64_t seq;
	size_t n;

	err = (struct mica_err)MICA_ERR_INIT;
	return mica_core_policies_promote(t->core, &k, name ? 1 : 0, withdraw, admin(), now_ms,
		       &seq, &n, &err) == MICA_OK
		? ""
		: err.reason;
}

static void canary_comes_first(void **state)
{
	struct ct *t = *state;
	uint64_t before;

	live(t, put("a", "x", "{\"n\":1}"), NOW_MS);
	before = sequence(t, MICA_CHANNEL_LIVE);
	canary(t, put("a", "x", "{\"n\":2}"), NOW_MS + 1);
	canary(t, put("a", "y", "{}"), NOW_MS + 2);
	assert_all(t, LIVE, "a/x@1={\"n\":1}");
	assert_all(t, CANARY, "a/x@2={\"n\":2} a/y@1={}");
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), before);
	assert_true(sequence(t, MICA_CHANNEL_CANARY) > before);
	ct_reopen(t, NOW_MS + 3);
	assert_all(t, CANARY, "a/x@2={\"n\":2} a/y@1={}");
	assert_string_equal(promote(t, "x", false, NOW_MS + 4), "");
	assert_all(t, LIVE, "a/x@2={\"n\":2}");
	assert_true(sequence(t, MICA_CHANNEL_LIVE) > before);
	assert_true(sequence(t, MICA_CHANNEL_LIVE) != sequence(t, MICA_CHANNEL_CANARY));
	assert_string_equal(promote(t, "x", false, NOW_MS + 4), "nothing_in_canary");
	assert_string_equal(promote(t, "z", false, NOW_MS + 4), "no_such_policy");
	assert_string_equal(promote(t, NULL, false, NOW_MS + 5), "");
	assert_all(t, LIVE, "a/x@2={\"n\":2} a/y@1={}");
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), sequence(t, MICA_CHANNEL_CANARY));
	assert_string_equal(promote(t, NULL, false, NOW_MS + 6), "nothing_in_canary");
}

static void canary_is_given_up(void **state)
{
	struct ct *t = *state;
	uint64_t before;

	live(t, put("a", "x", "{\"n\":1}"), NOW_MS);
	canary(t, del("a", "x"), NOW_MS + 1);
	canary(t, put("a", "y", "{}"), NOW_MS + 2);
	assert_all(t, CANARY, "a/y@1={}");
	before = sequence(t, MICA_CHANNEL_CANARY);
	assert_string_equal(promote(t, NULL, true, NOW_MS + 3), "");
	assert_all(t, LIVE, "a/x@1={\"n\":1}");
	assert_all(t, CANARY, "a/x@1={\"n\":1}");
	/* holders of the canary's see it grow */
	assert_true(sequence(t, MICA_CHANNEL_CANARY) > before);
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), sequence(t, MICA_CHANNEL_CANARY));
	canary(t, put("a", "y", "{\"n\":1}"), NOW_MS + 4);
	assert_all(t, CANARY, "a/x@1={\"n\":1} a/y@3={\"n\":1}");
	canary(t, del("a", "y"), NOW_MS + 5); /* it never was live */
	assert_all(t, CANARY, "a/x@1={\"n\":1}");
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), sequence(t, MICA_CHANNEL_CANARY));
}

static void a_live_change_ends_the_canary(void **state)
{
	struct ct *t = *state;

	live(t, put("a", "x", "{\"n\":1}"), NOW_MS);
	canary(t, put("a", "x", "{\"n\":2}"), NOW_MS + 1);
	live(t, put("a", "x", "{\"n\":3}"), NOW_MS + 2);
	assert_all(t, LIVE, "a/x@3={\"n\":3}");
	assert_all(t, CANARY, "a/x@3={\"n\":3}");
	assert_string_equal(promote(t, NULL, false, NOW_MS + 3), "nothing_in_canary");
}

/* ---- the directory --------------------------------------------------------------------------- */

static size_t directory(struct ct *t, struct mica_doc_edit *edits, size_t n, int64_t now_ms)
{
	struct mica_docs_change c = {
		.edits = edits, .n = n, .owner = MICA_DOC_DIRECTORY, .directory_on = true};

	assert_ok(mica_core_policies_change(t->core, &c, now_ms, e));
	return c.changed;
}

static void a_directory_is_all_of_it(void **state)
{
	struct ct *t = *state;
	struct mica_doc_edit ed[] = {put("a", "x", "{\"n\":1}"), put("a", "y", "{}")};
	struct mica_docs_change off = {.edits = ed, .n = 1, .actor = admin()};

	live(t, put("a", "x", "{\"n\":0}"), NOW_MS);
	live(t, put("b", "z", "{}"), NOW_MS + 1);
	assert_int_equal(directory(t, ed, 2, NOW_MS + 2), 2);
	assert_all(t, LIVE, "a/x@2={\"n\":1} a/y@1={} b/z@1={}");
	assert_int_equal(directory(t, ed, 2, NOW_MS + 3), 0);
	assert_string_equal(
		try_one(t, MICA_CHANNEL_LIVE, put("a", "x", "{}"), NOW_MS), "policy_of_directory");
	assert_string_equal(
		try_one(t, MICA_CHANNEL_CANARY, del("a", "y"), NOW_MS), "policy_of_directory");
	assert_int_equal(directory(t, ed, 1, NOW_MS + 4), 1);
	assert_all(t, LIVE, "a/x@2={\"n\":1} b/z@1={}");
	ct_reopen(t, NOW_MS + 5);
	assert_int_equal(directory(t, ed, 1, NOW_MS + 6), 0);
	/* without a directory they are everybody's */
	ed[0] = put("a", "x", "{\"n\":5}");
	assert_ok(mica_core_policies_change(t->core, &off, NOW_MS + 7, e));
	assert_all(t, LIVE, "a/x@3={\"n\":5} b/z@1={}");
}

/* ---- what is published ----------------------------------------------------------------------- */

static json_t *snapshot(struct ct *t, enum mica_channel ch)
{
	const char *text = ct_snapshot(t, ch, MICA_FMT_POLICIES_JSON);
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 1 << 20);
	mica_buf_put_str(&b, text);
	return ct_json(&b);
}

static void it_is_published_and_signed(void **state)
{
	struct ct *t = *state;
	const struct mica_snapshot *s = NULL, *again = NULL;
	json_t *j, *p;

	live(t, put("a", "x", "{\"n\":1}"), NOW_MS + 10);
	j = snapshot(t, MICA_CHANNEL_LIVE);
	assert_int_equal(
		json_integer_value(json_object_get(j, "sequence")), sequence(t, MICA_CHANNEL_LIVE));
	p = json_array_get(json_object_get(j, "policies"), 0);
	assert_string_equal(json_string_value(json_object_get(p, "namespace")), "a");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(p, "document"), "n")), 1);
	json_decref(j);
	assert_ok(
		mica_core_snapshot(t->core, NULL, MICA_CHANNEL_LIVE, MICA_FMT_POLICIES_JWS, &s, e));
	assert_int_equal(s->sequence, sequence(t, MICA_CHANNEL_LIVE));
	assert_int_equal(s->expires, NOW + 24 * 3600);
	/* signed anew an hour later, with the same number */
	assert_ok(mica_core_maintain(t->core, NOW_MS + 3601000, NULL, e));
	assert_ok(mica_core_snapshot(
		t->core, NULL, MICA_CHANNEL_LIVE, MICA_FMT_POLICIES_JWS, &again, e));
	assert_int_equal(again->sequence, s->sequence);
	assert_string_not_equal(again->etag, s->etag);
	assert_true(again->expires > s->expires);
	mica_snapshot_unref(s);
	mica_snapshot_unref(again);
}

static void changes_are_entries(void **state)
{
	struct ct *t = *state;
	struct mica_core_stats s;
	struct mica_entry en;
	uint8_t hash[32];
	char hex[65];
	const char *list;
	json_t *d;
	MICA_AUTO_BUF body, detail;

	mica_core_stats(t->core, &s);
	live(t, put("a", "x", "{\"n\":1}"), NOW_MS + 10);
	ct_entry(t, s.entries, &body, &en);
	assert_int_equal(en.type, MICA_ENTRY_POLICY);
	assert_true(mica_slice_eq_str(en.action, "put"));
	assert_int_equal(en.actor, MICA_ACTOR_LOCAL);
	mica_buf_init(&detail, 65536);
	mica_buf_put_slice(&detail, en.detail);
	d = ct_json(&detail);
	mica_sha256(MICA_LIT("{\"n\":1}"), hash);
	mica_hex_encode(hash, 32, hex);
	assert_string_equal(json_string_value(json_object_get(d, "sha256")), hex);
	assert_string_equal(json_string_value(json_object_get(d, "channel")), "live");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(d, "document"), "n")), 1);
	json_decref(d);
	/* and the whole list, by its hash */
	mica_buf_clear(&body);
	ct_entry(t, s.entries + 1, &body, &en);
	assert_true(mica_slice_eq_str(en.action, "published"));
	list = ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_POLICIES_JSON);
	mica_sha256(mica_slice_str(list), hash);
	mica_hex_encode(hash, 32, hex);
	assert_non_null(strstr(tk_keep(mica_slice_dup(en.detail)), hex));
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

/* The store fails at the next commit; then micad ends, and a new one goes on. */
static void fail_at(struct ct *t, enum mica_store_fault f, int i, int64_t now_ms)
{
	const char *live_was = all(t, MICA_CHANNEL_LIVE), *canary_was = all(t, MICA_CHANNEL_CANARY);
	uint64_t was = sequence(t, MICA_CHANNEL_LIVE);
	struct mica_doc_edit ed[] = {
		put("a", "x", tk_printf("{\"i\":%d}", i)), put("a", tk_printf("n%d", i), "{}")};
	enum mica_channel ch = i % 3 == 1 ? MICA_CHANNEL_CANARY : MICA_CHANNEL_LIVE;
	bool done, moves = i % 3 == 2;
	const char *reason;

	mica_store_set_fault(t->core->store, f, 0);
	reason = moves ? promote(t, NULL, false, now_ms) : try_all(t, ch, ed, 2, now_ms, NULL);
	assert_string_equal(reason, f == MICA_FAULT_FULL ? "disk_full" : "commit_failed");
	if (f == MICA_FAULT_FULL) { /* nothing has happened */
		assert_string_equal(all(t, MICA_CHANNEL_LIVE), live_was);
		assert_string_equal(all(t, MICA_CHANNEL_CANARY), canary_was);
		assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), was);
	} else { /* all of it has, or nothing */
		ct_reopen(t, now_ms + 1);
		done = strcmp(all(t, MICA_CHANNEL_CANARY), canary_was) != 0 ||
			strcmp(all(t, MICA_CHANNEL_LIVE), live_was) != 0;
		if (done && !moves)
			assert_string_equal(try_all(t, ch, ed, 2, now_ms + 1, NULL), "");
		if (done && !moves)
			assert_false(ed[0].changed || ed[1].changed);
	}
	/* and again it works */
	if (i % 3 == 2)
		reason = promote(t, NULL, false, now_ms + 2);
	else
		reason = try_all(t, ch, ed, 2, now_ms + 2, NULL);
	assert_true(strcmp(reason, "") == 0 || (moves && strcmp(reason, "nothing_in_canary") == 0));
}

static void nothing_is_half_done(void **state)
{
	struct ct *t = *state;

	for (int i = 0; i < 24; i++) {
		fail_at(t, i & 1 ? MICA_FAULT_FULL : MICA_FAULT_UNKNOWN, i, NOW_MS + 10 * i);
		(void)tk_empty_bin(state);
	}
	ct_close(t);
	{
		struct mica_check_result r;

		assert_ok(mica_core_check(&t->config, t->pass, NULL, NULL, &r, e));
	}
	ct_open_at(t, NOW_MS + 1000);
}

static void a_restored_set_has_a_new_number(void **state)
{
	struct ct *t = *state;
	char path[128];
	struct mica_caller who = ct_role(MICA_ROLE_ADMIN);
	struct mica_restore_result r;
	uint64_t was;

	live(t, put("a", "x", "{\"n\":1}"), NOW_MS + 10);
	snprintf(path, sizeof(path), "%s/backup", t->dir);
	assert_ok(mica_core_backup(t->core, path, NULL, NULL, e));
	live(t, put("a", "x", "{\"n\":2}"), NOW_MS + 20);
	was = sequence(t, MICA_CHANNEL_LIVE);
	ct_close(t);
	{
		char moved[160], from[160];

		snprintf(moved, sizeof(moved), "%s.backup", t->dir);
		assert_int_equal(rename(path, moved), 0);
		snprintf(from, sizeof(from), "%s/backup.manifest", t->dir);
		(void)rename(from, tk_printf("%s.backup.manifest", t->dir));
		ct_remove(t);
		assert_ok(mica_core_restore(&t->config, t->pass, moved, MICA_SLICE_NULL, &who,
			NOW_MS + 5000, NULL, &r, e));
		unlink(moved);
		unlink(tk_printf("%s.backup.manifest", t->dir));
	}
	ct_open_at(t, NOW_MS + 6000);
	assert_all(t, LIVE, "a/x@1={\"n\":1}");
	assert_true(sequence(t, MICA_CHANNEL_LIVE) > was);
	was = sequence(t, MICA_CHANNEL_LIVE);
	ct_reopen(t, NOW_MS + 9000);
	assert_int_equal(sequence(t, MICA_CHANNEL_LIVE), was);
}

static bool take_key(void *ctx, struct mica_slice k, struct mica_slice v, uint64_t rev)
{
	(void)v;
	(void)rev;
	mica_buf_reset(ctx);
	mica_buf_put_slice(ctx, k);
	return true;
}

static void a_damaged_record_is_seen(void **state)
{
	struct ct *t = *state;
	struct mica_scan scan = {.table = MICA_T_POLICY, .prefix = MICA_LIT("h")};
	struct mica_check_result r;
	struct mica_err err = MICA_ERR_INIT;
	struct mica_write w = {.table = MICA_T_POLICY, .op = MICA_DELETE};
	struct mica_change ch = {.writes = &w, .n_writes = 1};
	MICA_AUTO_BUF key;

	live(t, put("a", "x", "{\"n\":1}"), NOW_MS + 10);
	mica_buf_init(&key, MICA_STORE_KEY_MAX);
	assert_ok(mica_store_list(t->core->store, &scan, take_key, &key, e));
	w.key = mica_buf_slice(&key);
	assert_ok(mica_store_commit(t->core->store, &ch, 1, NULL, e));
	ct_close(t);
	assert_int_equal(mica_core_check(&t->config, t->pass, NULL, NULL, &r, &err), MICA_CORRUPT);
	assert_string_equal(err.reason, "record_malformed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_document_has_revisions),
		TEST(documents_are_in_order),
		TEST(what_was_expected_must_hold),
		TEST(a_change_is_whole_or_not_at_all),
		TEST(what_is_no_document_is_refused),
		TEST(it_goes_back),
		TEST(history_is_bounded),
		TEST(canary_comes_first),
		TEST(canary_is_given_up),
		TEST(a_live_change_ends_the_canary),
		TEST(a_directory_is_all_of_it),
		TEST(it_is_published_and_signed),
		TEST(changes_are_entries),
		TEST(nothing_is_half_done),
		TEST(a_restored_set_has_a_new_number),
		TEST(a_damaged_record_is_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
