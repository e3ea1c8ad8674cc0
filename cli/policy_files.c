/* SPDX-License-Identifier: Apache-2.0 */
#include "policy_files.h"

#include "mica/file.h"
#include "mica/spiffeid.h"

void policy_files_clear(struct policy_files *all)
{
	for (size_t i = 0; i < all->n; i++)
		mica_policy_unref(all->v[i]);
	mica_free(all->v);
}

void policy_files_add(struct policy_files *all, const struct mica_policies *some)
{
	if (all->n + some->n > all->room) {
		all->room = 2 * all->room + some->n;
		all->v = mica_realloc(all->v, all->room, sizeof(all->v[0]));
	}
	for (unsigned i = 0; i < some->n; i++)
		all->v[all->n++] = mica_policy_ref(some->v[i]);
}

mica_rc policy_file_load(const char *path, struct mica_policies *out, struct mica_err *e)
{
	MICA_AUTO_BUF text;
	mica_rc rc;

	*out = (struct mica_policies)MICA_POLICIES_INIT;
	mica_buf_init(&text, MICA_POLICY_TEXT_MAX);
	rc = mica_file_read(path, &text, e);
	return rc == MICA_OK ? mica_policies_parse(mica_buf_slice(&text), path, NULL, out, e) : rc;
}

mica_rc policy_files_load(
	struct policy_files *all, const char *const *paths, unsigned n, struct mica_err *e)
{
	for (unsigned i = 0; i < n; i++) {
		MICA_AUTO_POLICIES some;
		mica_rc rc = policy_file_load(paths[i], &some, e);

		if (rc != MICA_OK)
			return rc;
		policy_files_add(all, &some);
	}
	return MICA_OK;
}

static bool has(const struct policy_files *all, size_t n, const struct mica_policy *p)
{
	for (size_t i = 0; i < n; i++)
		if (all->v[i]->kind == p->kind && strcmp(all->v[i]->ns, p->ns) == 0 &&
			strcmp(all->v[i]->name, p->name) == 0)
			return true;
	return false;
}

void policy_files_add_missing(struct policy_files *all, const struct policy_files *base)
{
	const size_t n = all->n;

	for (size_t i = 0; i < base->n; i++) {
		const struct mica_policies one = {.v = &base->v[i], .n = 1};

		if (!has(all, n, base->v[i]))
			policy_files_add(all, &one);
	}
}

mica_rc policy_files_make(struct cli *c, const struct policy_files *all,
	struct mica_policy_set **out, struct mica_err *e)
{
	const struct mica_policy_mesh mesh = {.root_ns = cli_str(c, OPT_ROOT_NAMESPACE),
		.trust_domain = cli_str(c, OPT_TRUST_DOMAIN),
		.aliases = c->v[OPT_ALIAS].list,
		.n_aliases = c->v[OPT_ALIAS].n};

	return mica_policy_set_new(&mesh, all->v, all->n, out, e);
}

mica_rc policy_files_set(struct cli *c, const char *const *paths, unsigned n,
	struct mica_policy_set **out, struct mica_err *e)
{
	POLICY_FILES_AUTO all = {NULL, 0, 0};
	mica_rc rc = policy_files_load(&all, paths, n, e);

	return rc == MICA_OK ? policy_files_make(c, &all, out, e) : rc;
}

mica_rc policy_workload(struct cli *c, struct mica_policy_pair *pairs,
	struct mica_policy_workload *out, bool *given, struct mica_err *e)
{
	const struct cli_value *labels = &c->v[OPT_LABEL];

	*given = cli_set(c, OPT_NAMESPACE);
	if (!*given && labels->n)
		return mica_fail(e, MICA_INVALID, "bad_option",
			"--label needs --namespace: a workload is of one");
	if (*given && !mica_k8s_label_ok(mica_slice_str(cli_str(c, OPT_NAMESPACE))))
		return mica_fail(e, MICA_INVALID, "bad_option",
			"--namespace %.60s: expected the name of a namespace",
			cli_str(c, OPT_NAMESPACE));
	for (unsigned i = 0; i < labels->n; i++) {
		const char *sep = strchr(labels->list[i], '=');

		if (!sep || sep == labels->list[i])
			return mica_fail(e, MICA_INVALID, "bad_option",
				"--label %.60s: expected KEY=VALUE", labels->list[i]);
		pairs[i].key = mica_slice(labels->list[i], (size_t)(sep - labels->list[i]));
		pairs[i].value = mica_slice_str(sep + 1);
	}
	*out = (struct mica_policy_workload){
		.ns = *given ? mica_slice_str(cli_str(c, OPT_NAMESPACE)) : MICA_SLICE_NULL,
		.labels = pairs,
		.n_labels = labels->n};
	return MICA_OK;
}
