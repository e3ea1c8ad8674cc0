/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of requests and the verdicts that are expected of policies, for users' own CI and for our
 * tests: kind PolicyTest, described in docs/POLICIES.md. Pure; any thread.
 */
#ifndef MICA_POLICY_CASE_H
#define MICA_POLICY_CASE_H

#include "mica/policy_set.h"

#define MICA_POLICY_CASES_MAX 4096

/* What is not expected is not compared. */
struct mica_policy_case {
	const char *name;
	int line, column;
	struct mica_policy_request request;
	bool allowed;
	bool has_dry_run, dry_run_allowed;
	bool has_audited, audited;
	const char *by; /* "NAMESPACE/NAME" of the policy that decides; NULL = unsaid */
};
/* Everything in it lives as long as it does. */
struct mica_policy_cases {
	const char *const *files; /* of policies, relative to the table's folder */
	unsigned n_files;
	struct mica_policy_mesh mesh;
	const struct mica_policy_case *v;
	unsigned n;
	void *memory; /* private */
};

/* Errors as mica_policies_parse has them. */
mica_rc mica_policy_cases_parse(struct mica_slice text, const char *name,
	struct mica_policy_cases *out, struct mica_err *e) MICA_MUST_CHECK;
/* What stands under `request` of a case, by itself, in YAML or JSON: out->v[0].request. */
mica_rc mica_policy_request_parse(struct mica_slice text, const char *name,
	struct mica_policy_cases *out, struct mica_err *e) MICA_MUST_CHECK;
void mica_policy_cases_clear(struct mica_policy_cases *c);
#define MICA_AUTO_POLICY_CASES                                                                     \
	__attribute__((cleanup(mica_policy_cases_clear))) struct mica_policy_cases

/* Decides and compares. True when all is as expected; else what differs stands in `why`, one line,
 * which may be NULL. */
bool mica_policy_case_holds(const struct mica_policy_set *s, const struct mica_policy_case *c,
	struct mica_policy_verdict *verdict, struct mica_buf *why);

#endif
