/* SPDX-License-Identifier: Apache-2.0 */
/* Files of policies, for commands that need no micad. */
#ifndef MICA_CLI_POLICY_FILES_H
#define MICA_CLI_POLICY_FILES_H

#include "cli.h"

#include "mica/policy_set.h"

/* All policies of several files, for a set. */
struct policy_files {
	const struct mica_policy **v;
	size_t n, room;
};
void policy_files_clear(struct policy_files *all);
#define POLICY_FILES_AUTO __attribute__((cleanup(policy_files_clear))) struct policy_files

/* What mica_file_read() and mica_policies_parse() say; *out is empty then. */
mica_rc policy_file_load(
	const char *path, struct mica_policies *out, struct mica_err *e) MICA_MUST_CHECK;
/* References them. */
void policy_files_add(struct policy_files *all, const struct mica_policies *some);
/* All policies in `paths`, behind what is there. */
mica_rc policy_files_load(struct policy_files *all, const char *const *paths, unsigned n,
	struct mica_err *e) MICA_MUST_CHECK;
/* References those of `base` that `all` has no policy of the same kind, namespace and name for. */
void policy_files_add_missing(struct policy_files *all, const struct policy_files *base);

#define POLICY_MESH_OPTIONS                                                                        \
	(CLI_BIT(OPT_ROOT_NAMESPACE) | CLI_BIT(OPT_TRUST_DOMAIN) | CLI_BIT(OPT_ALIAS))
/* The set of all, in the mesh that those options describe. */
mica_rc policy_files_make(struct cli *c, const struct policy_files *all,
	struct mica_policy_set **out, struct mica_err *e) MICA_MUST_CHECK;
/* The same of the policies in `paths`. */
mica_rc policy_files_set(struct cli *c, const char *const *paths, unsigned n,
	struct mica_policy_set **out, struct mica_err *e) MICA_MUST_CHECK;

#define POLICY_WORKLOAD_OPTIONS (CLI_BIT(OPT_NAMESPACE) | CLI_BIT(OPT_LABEL))
/* The workload that those options describe; `pairs` has room for CLI_LIST_MAX labels. *given is
 * false when none does. INVALID "bad_option": a label without '='; labels without namespace; a
 * namespace that cannot be. */
mica_rc policy_workload(struct cli *c, struct mica_policy_pair *pairs,
	struct mica_policy_workload *out, bool *given, struct mica_err *e) MICA_MUST_CHECK;

#endif
