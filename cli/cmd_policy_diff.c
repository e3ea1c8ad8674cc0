/* SPDX-License-Identifier: Apache-2.0 */
/* `mica policy diff` and `impact`: what changes for whom from some policies to others. */
#include "client.h"
#include "policy_files.h"

#include "mica/file.h"
#include "mica/policy_diff.h"
#include "mica/spiffeid.h"

#define PEERS_BYTES ((size_t)16 << 20)
#define PEERS_MAX   10000

static void show_words(struct writer *w, const char *key, const char *const *v, unsigned n)
{
	wr_list(w, key);
	for (unsigned i = 0; i < n; i++)
		wr_cstr(w, NULL, v[i]);
	wr_end(w);
}

static void show_change(struct writer *w, const struct mica_policy_change *c)
{
	MICA_AUTO_BUF text;

	mica_buf_init(&text, (size_t)16 << 20);
	mica_policy_change_put(&text, c);
	wr_object(w, NULL);
	wr_cstr(w, "namespace", c->ns);
	wr_object(w, "labels");
	for (unsigned i = 0; i < c->n_labels; i++)
		wr_str(w, (const char *)c->labels[i].key.p, c->labels[i].value);
	wr_end(w);
	wr_cstr(w, "change", c->gains ? "gains" : "loses");
	show_words(w, "who", c->who, c->n_who);
	show_words(w, "what", c->what, c->n_what);
	wr_str(w, "text", mica_buf_slice(&text));
	wr_end(w);
}

static void show(struct cli *c, const struct mica_policy_diff *d)
{
	static const struct wr_column columns[] = {{"text", 0}};

	wr_object(c->w, NULL);
	wr_verdict(c->w, "verdict", d->n == 0, d->n ? "different" : "same");
	wr_uint(c->w, "requests", d->requests);
	wr_bool(c->w, "complete", d->complete);
	wr_table(c->w, "changes", columns, MICA_ARRAY_LEN(columns));
	for (unsigned i = 0; i < d->n; i++)
		show_change(c->w, &d->v[i]);
	wr_end(c->w);
	wr_end(c->w);
	c->exit_status = d->n ? CLI_EXIT_MATCHED : 0;
}

/* ---- whom it is about --------------------------------------------------------------------------
 */

struct peers {
	struct mica_buf text; /* lines become strings */
	const char **v;
	unsigned n;
	char **held; /* those that are no part of `text` */
};

static void peers_clear(struct peers *p)
{
	for (unsigned i = 0; p->held && i < p->n; i++)
		mica_free(p->held[i]);
	mica_free(p->held);
	mica_buf_clear(&p->text);
	mica_free(p->v);
}

static mica_rc read_peers(struct cli *c, struct peers *p, struct mica_err *e)
{
	const char *file = cli_str(c, OPT_PEERS);
	struct mica_slice rest, line;
	mica_rc rc = file ? mica_file_read(file, &p->text, e) : MICA_OK;

	if (rc != MICA_OK || !file)
		return rc;
	mica_buf_put_u8(&p->text, '\n');
	rest = mica_buf_slice(&p->text);
	p->v = mica_calloc(PEERS_MAX, sizeof(p->v[0]));
	while (rest.len) {
		struct mica_spiffe_id id;

		mica_slice_cut(&rest, '\n', &line);
		if (line.len == 0)
			continue;
		rc = mica_spiffe_id_parse(line, &id, e);
		if (rc != MICA_OK)
			return rc;
		if (p->n == PEERS_MAX)
			return mica_fail(e, MICA_LIMIT, "too_many_peers",
				"--peers %s: more than %d", file, PEERS_MAX);
		((uint8_t *)line.p)[line.len] = '\0';
		p->v[p->n++] = (const char *)line.p;
	}
	return p->n ? MICA_OK
		    : mica_fail(e, MICA_INVALID, "bad_option", "--peers %s: nobody is in it", file);
}

/* ---- who holds a live certificate ---------------------------------------------------------------
 */

#define EVENTS_MAX ((size_t)64 << 20)

static bool is_known(const struct peers *p, const char *id)
{
	for (unsigned i = 0; i < p->n; i++)
		if (strcmp(p->v[i], id) == 0)
			return true;
	return false;
}

static mica_rc add_holder(struct cli *c, struct peers *p, const json_t *event, struct mica_err *e)
{
	const char *id = json_string_value(json_object_get(event, "spiffe_id"));
	const char *until = json_string_value(json_object_get(event, "not_after"));
	int64_t end = 0;

	if (!id || !until || mica_time_parse(mica_slice_str(until), &end) != MICA_OK ||
		end <= c->now || is_known(p, id))
		return MICA_OK;
	if (p->n == PEERS_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_peers",
			"more than %d SPIFFE IDs have live certificates", PEERS_MAX);
	p->held[p->n] = mica_strdup(id);
	p->v[p->n] = p->held[p->n];
	p->n++;
	return MICA_OK;
}

/* A page of certificates that were issued; `next` is where it goes on, empty at the end. */
static mica_rc read_page(
	struct cli *c, struct client *k, struct peers *p, struct mica_buf *next, struct mica_err *e)
{
	MICA_AUTO_BUF path;
	struct client_request r = {.max_body = EVENTS_MAX};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	json_t *one;
	size_t i;
	mica_rc rc;

	mica_buf_init(&path, 16384);
	mica_buf_put_str(&path, "/v1/events?type=x509_issued&order=newest&limit=1000");
	client_query(&path, "cursor", mica_buf_slice(next));
	r.path = (const char *)path.p;
	rc = client_json(k, &r, &answer, &d, e);
	mica_buf_reset(next);
	if (rc != MICA_OK)
		return rc;
	json_array_foreach (json_object_get(d.root, "events"), i, one) {
		rc = add_holder(c, p, one, e);
		if (rc != MICA_OK)
			return rc;
	}
	if (json_is_string(json_object_get(d.root, "next")))
		mica_buf_put_str(next, json_string_value(json_object_get(d.root, "next")));
	return mica_buf_rc(next, e);
}

static mica_rc read_holders(struct cli *c, struct client *k, struct peers *p, struct mica_err *e)
{
	MICA_AUTO_BUF next;
	mica_rc rc = MICA_OK;

	mica_buf_init(&next, 1024);
	p->v = mica_calloc(PEERS_MAX, sizeof(p->v[0]));
	p->held = mica_calloc(PEERS_MAX, sizeof(p->held[0]));
	do {
		if (rc == MICA_OK)
			rc = read_page(c, k, p, &next, e);
	} while (rc == MICA_OK && next.len > 0 && !cli_stopped());
	return rc;
}

/* ---- the policies in force
 * -----------------------------------------------------------------------
 */

#define IN_FORCE_MAX ((size_t)64 << 20)

static int put_text(const char *text, size_t len, void *out)
{
	mica_buf_put(out, text, len);
	return 0;
}

static mica_rc add_document(struct policy_files *all, const json_t *document, struct mica_err *e)
{
	MICA_AUTO_POLICIES some = MICA_POLICIES_INIT;
	MICA_AUTO_BUF text;
	mica_rc rc;

	mica_buf_init(&text, MICA_POLICY_TEXT_MAX);
	if (json_dump_callback(document, put_text, &text, JSON_COMPACT) != 0)
		return mica_fail(e, MICA_INVALID, "json_type",
			"micad's list of policies has one without its document");
	rc = mica_policies_parse(mica_buf_slice(&text), "in force", NULL, &some, e);
	if (rc == MICA_OK)
		policy_files_add(all, &some);
	return rc;
}

static mica_rc read_in_force(struct client *k, struct policy_files *all, struct mica_err *e)
{
	const struct client_request r = {.path = "/v1/policies", .max_body = IN_FORCE_MAX};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	json_t *one;
	size_t i;
	mica_rc rc = client_json(k, &r, &answer, &d, e);

	if (rc != MICA_OK)
		return rc;
	json_array_foreach (json_object_get(d.root, "policies"), i, one) {
		rc = add_document(all, json_object_get(one, "document"), e);
		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

/* ---- both commands -----------------------------------------------------------------------------
 */

static mica_rc compare(struct cli *c, const struct policy_files *old,
	const struct policy_files *new, const struct peers *peers, struct mica_err *e)
{
	struct mica_policy_set *before = NULL, *after = NULL;
	mica_rc rc = policy_files_make(c, old, &before, e);

	if (rc == MICA_OK)
		rc = policy_files_make(c, new, &after, e);
	if (rc == MICA_OK) {
		const struct mica_policy_diff_options o = {peers->v, peers->n};
		MICA_AUTO_POLICY_DIFF d;

		mica_policy_diff(before, after, &o, &d);
		show(c, &d);
	}
	mica_policy_set_unref(before);
	mica_policy_set_unref(after);
	return rc;
}

static mica_rc load_both(
	struct cli *c, struct policy_files *old, struct policy_files *new, struct mica_err *e)
{
	mica_rc rc = policy_files_load(old, c->args, c->n_args, e);

	return rc == MICA_OK ? policy_files_load(new, c->rest, c->n_rest, e) : rc;
}

mica_rc cmd_policy_diff(struct cli *c, struct mica_err *e)
{
	__attribute__((cleanup(peers_clear))) struct peers peers = {.v = NULL};
	POLICY_FILES_AUTO old = {NULL, 0, 0};
	POLICY_FILES_AUTO new = {NULL, 0, 0};
	mica_rc rc;

	mica_buf_init(&peers.text, PEERS_BYTES);
	if (c->n_rest == 0)
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"the new files are missing: expected OLD... -- NEW...");
	rc = read_peers(c, &peers, e);
	if (rc == MICA_OK)
		rc = load_both(c, &old, &new, e);
	return rc == MICA_OK ? compare(c, &old, &new, &peers, e) : rc;
}

/* Without "--", the files are applied to what is in force. */
mica_rc cmd_policy_impact(struct cli *c, struct mica_err *e)
{
	__attribute__((cleanup(peers_clear))) struct peers peers = {.v = NULL};
	POLICY_FILES_AUTO old = {NULL, 0, 0};
	POLICY_FILES_AUTO new = {NULL, 0, 0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	mica_buf_init(&peers.text, PEERS_BYTES);
	if (rc == MICA_OK && c->n_rest > 0)
		rc = load_both(c, &old, &new, e);
	else if (rc == MICA_OK)
		rc = policy_files_load(&new, c->args, c->n_args, e);
	if (rc == MICA_OK && c->n_rest == 0)
		rc = read_in_force(k, &old, e);
	if (rc == MICA_OK && c->n_rest == 0)
		policy_files_add_missing(&new, &old);
	if (rc == MICA_OK)
		rc = read_holders(c, k, &peers, e);
	if (rc == MICA_OK && peers.n == 0)
		rc = mica_fail(e, MICA_NOT_FOUND, "no_holder", "no certificate is live");
	return rc == MICA_OK ? compare(c, &old, &new, &peers, e) : rc;
}
