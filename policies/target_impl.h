/* SPDX-License-Identifier: Apache-2.0 */
/* What the compilers share. */
#ifndef MICA_TARGET_IMPL_H
#define MICA_TARGET_IMPL_H

#include "mica/policy_compile.h"

/* One compilation: what is asked, where it goes, what was lost. */
struct target_run {
	const struct mica_policy_set *set;
	const struct mica_policy_compile_options *o;
	struct mica_buf *b;
	struct mica_policy_report *report; /* never NULL */
	struct mica_err *e;
	mica_rc rc; /* the first failure: nothing need be written any more */
};

/* Notes a loss: fails the run when it is strict. `rule` from 0. */
void target_lose(struct target_run *t, const struct mica_policy *p, unsigned rule, int line,
	int column, const char *reason, const char *format, ...) MICA_PRINTF(7, 8);
/* Whether the compilation is about policy `p`: enforced (or dry run, as the caller likes), of
 * authorization, and of the workload if there is one. */
bool target_wants(const struct target_run *t, const struct mica_policy *p);

/* The compilers: each writes to t->b and sets t->rc. */
void target_envoy(struct target_run *t); /* both filters */
void target_istio(struct target_run *t);
void target_linkerd(struct target_run *t);
void target_consul(struct target_run *t);

#endif
