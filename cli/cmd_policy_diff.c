/* SPDX-License-Identifier: Apache-2.0 */
/* `mica policy diff`: what changes for whom from some files of policies to others. */
#include "policy_files.h"

#include "mica/policy_diff.h"

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

mica_rc cmd_policy_diff(struct cli *c, struct mica_err *e)
{
	struct mica_policy_set *before = NULL, *after = NULL;
	mica_rc rc;

	if (c->n_rest == 0)
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"the new files are missing: expected OLD... -- NEW...");
	rc = policy_files_set(c, c->args, c->n_args, &before, e);
	if (rc == MICA_OK)
		rc = policy_files_set(c, c->rest, c->n_rest, &after, e);
	if (rc == MICA_OK) {
		MICA_AUTO_POLICY_DIFF d;

		mica_policy_diff(before, after, NULL, &d);
		show(c, &d);
	}
	mica_policy_set_unref(before);
	mica_policy_set_unref(after);
	return rc;
}
