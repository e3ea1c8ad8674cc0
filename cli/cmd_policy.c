/* SPDX-License-Identifier: Apache-2.0 */
/* Authorization policies without a server: whether they are right, and what they decide. */
#include "policy_files.h"

#include "mica/file.h"
#include "mica/policy_case.h"

#include <stdio.h>

/* ---- policy validate ---------------------------------------------------------------------------
 */

struct problem {
	const char *file, *level, *reason;
	int line, column;
	char text[MICA_ERR_TEXT_MAX];
};

struct validation {
	struct problem *v;
	unsigned n, errors, warnings;
	struct policy_files all;
	mica_rc rc; /* of the first error */
};

static void validation_clear(struct validation *x)
{
	mica_free(x->v);
	policy_files_clear(&x->all);
}

static void add_problem(struct validation *x, struct problem p, const char *text)
{
	if ((x->n & (x->n - 1)) == 0) /* full at every power of two */
		x->v = mica_realloc(x->v, x->n ? 2u * x->n : 1, sizeof(x->v[0]));
	snprintf(p.text, sizeof(p.text), "%s", text);
	x->v[x->n++] = p;
}

static void add_error(struct validation *x, const char *file, const struct mica_err *e)
{
	const struct problem p = {.file = file,
		.level = "error",
		.reason = e->reason,
		.line = e->line,
		.column = e->column};

	add_problem(x, p, e->text);
	x->errors++;
	x->rc = x->rc == MICA_OK ? e->rc : x->rc;
}

static void validate_file(struct validation *x, const char *file)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_POLICIES some;

	if (policy_file_load(file, &some, &e) != MICA_OK) {
		add_error(x, file, &e);
		return;
	}
	for (unsigned i = 0; i < some.n_warnings && i < MICA_POLICY_WARNINGS_MAX; i++) {
		const struct mica_policy_warning *w = &some.warnings[i];
		const struct problem p = {.file = file,
			.level = "warning",
			.reason = w->reason,
			.line = w->line,
			.column = w->column};

		add_problem(x, p, w->text);
	}
	x->warnings += some.n_warnings;
	policy_files_add(&x->all, &some);
}

static void show_problem(struct writer *w, const struct problem *p)
{
	wr_object(w, NULL);
	wr_cstr(w, "level", p->level);
	wr_cstr(w, "reason", p->reason);
	wr_cstr(w, "file", p->file);
	wr_int(w, "line", p->line);
	wr_int(w, "column", p->column);
	wr_cstr(w, "text", p->text);
	wr_end(w);
}

mica_rc cmd_policy_validate(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {{"level", 8}, {"text", 0}};
	__attribute__((cleanup(validation_clear))) struct validation x = {.n = 0};
	struct mica_policy_set *set = NULL;
	struct mica_err own = MICA_ERR_INIT;

	(void)e;
	for (unsigned i = 0; i < c->n_args; i++)
		validate_file(&x, c->args[i]);
	/* what only shows when all are together */
	if (x.errors == 0 && mica_policy_set_new(NULL, x.all.v, x.all.n, &set, &own) != MICA_OK)
		add_error(&x, NULL, &own);
	mica_policy_set_unref(set);
	wr_object(c->w, NULL);
	wr_verdict(c->w, "verdict", x.errors == 0, x.errors == 0 ? "valid" : "invalid");
	wr_uint(c->w, "files", c->n_args);
	wr_uint(c->w, "policies", x.all.n);
	wr_uint(c->w, "errors", x.errors);
	wr_uint(c->w, "warnings", x.warnings);
	wr_table(c->w, "problems", columns, MICA_ARRAY_LEN(columns));
	for (unsigned i = 0; i < x.n; i++)
		show_problem(c->w, &x.v[i]);
	wr_end(c->w);
	wr_end(c->w);
	c->exit_status = mica_rc_exit(x.rc);
	return MICA_OK;
}

/* ---- policy test
 * ---------------------------------------------------------------------------------- */

/* A file that a table names stands beside it unless its path is absolute. */
static mica_rc load_beside(
	const char *table, const char *name, struct policy_files *all, struct mica_err *e)
{
	const char *slash = strrchr(table, '/');
	int dir = slash && name[0] != '/' ? (int)(slash - table) + 1 : 0;
	MICA_AUTO_POLICIES some = MICA_POLICIES_INIT;
	char path[4096];
	mica_rc rc;

	if ((size_t)snprintf(path, sizeof(path), "%.*s%s", dir, table, name) >= sizeof(path))
		return mica_fail(e, MICA_INVALID, "path_too_long", "%.60s...: too long", name);
	rc = policy_file_load(path, &some, e);
	if (rc == MICA_OK)
		policy_files_add(all, &some);
	return rc;
}

static mica_rc load_table(const char *path, struct mica_policy_cases *cases,
	struct mica_policy_set **set, struct mica_err *e)
{
	POLICY_FILES_AUTO all = {NULL, 0, 0};
	MICA_AUTO_BUF text;
	mica_rc rc;

	mica_buf_init(&text, MICA_POLICY_TEXT_MAX);
	rc = mica_file_read(path, &text, e);
	if (rc == MICA_OK)
		rc = mica_policy_cases_parse(mica_buf_slice(&text), path, cases, e);
	for (unsigned i = 0; rc == MICA_OK && i < cases->n_files; i++)
		rc = load_beside(path, cases->files[i], &all, e);
	return rc == MICA_OK ? mica_policy_set_new(&cases->mesh, all.v, all.n, set, e) : rc;
}

static void put_line(void *ctx, const struct mica_policy_finding *f)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 65536);
	mica_policy_finding_put(&b, f);
	wr_str(ctx, NULL, mica_buf_slice(&b));
}

static void show_failure(struct cli *c, const struct mica_policy_set *set,
	const struct mica_policy_case *k, const struct mica_policy_verdict *v, const char *why)
{
	wr_object(c->w, NULL);
	wr_int(c->w, "line", k->line);
	wr_cstr(c->w, "name", k->name);
	wr_cstr(c->w, "verdict", v->now.allowed ? "allow" : "deny");
	wr_cstr(c->w, "why", mica_policy_why_name(v->now.why));
	wr_cstr(c->w, "found", why);
	wr_list(c->w, "rules");
	mica_policy_explain(set, &k->request, put_line, c->w);
	wr_end(c->w);
	wr_end(c->w);
}

static unsigned run_cases(
	struct cli *c, const struct mica_policy_set *set, const struct mica_policy_cases *cases)
{
	unsigned failed = 0;

	wr_list(c->w, "failures");
	for (unsigned i = 0; i < cases->n; i++) {
		struct mica_policy_verdict v;
		MICA_AUTO_BUF why;
		bool holds;

		mica_buf_init(&why, 8192);
		holds = mica_policy_case_holds(set, &cases->v[i], &v, &why);
		failed += !holds;
		if (!holds)
			show_failure(c, set, &cases->v[i], &v, (const char *)why.p);
	}
	wr_end(c->w);
	return failed;
}

mica_rc cmd_policy_test(struct cli *c, struct mica_err *e)
{
	MICA_AUTO_POLICY_CASES cases = {.n = 0};
	struct mica_policy_set *set = NULL;
	mica_rc rc = load_table(c->args[0], &cases, &set, e);
	unsigned failed;

	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "file", c->args[0]);
	wr_uint(c->w, "policies", mica_policy_set_count(set));
	failed = run_cases(c, set, &cases);
	wr_uint(c->w, "passed", cases.n - failed);
	wr_uint(c->w, "failed", failed);
	wr_verdict(c->w, "verdict", failed == 0, failed ? "failed" : "passed");
	wr_end(c->w);
	c->exit_status = failed ? CLI_EXIT_MATCHED : 0;
	mica_policy_set_unref(set);
	return MICA_OK;
}
