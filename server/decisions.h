/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of questions: verdicts by door and reason, and for policies in dry run how often
 * enforcing them would have changed a verdict, for each of them by itself. Any thread.
 */
#ifndef MICA_SERVER_DECISIONS_H
#define MICA_SERVER_DECISIONS_H

#include "mica/buf.h"
#include "mica/policy_set.h"

#define DECISIONS_POLICIES 256 /* that are counted by themselves; the others together */

enum decision_door { DECISION_ENVOY, DECISION_REST, DECISION_DOORS };

struct decisions; /* opaque */
struct decisions *decisions_new(void);
void decisions_free(struct decisions *d); /* NULL is fine */

/* `ns` is the workload's; `now` in seconds. */
void decisions_add(struct decisions *d, enum decision_door door, struct mica_slice ns,
	const struct mica_policy_verdict *v, int64_t now);
/* One that was denied before any policy was asked; `reason` is a literal. */
void decisions_refused(struct decisions *d, enum decision_door door, const char *reason);

/* For /metrics. */
void decisions_write_metrics(struct decisions *d, struct mica_buf *out);
/* {"decisions": {"ext_authz": {"allowed", "denied", "refused"}, "rest": {...}}, "dry_run":
 * [{"policy", "would_deny", "would_allow", "last"}]}. A request that no rule of the ALLOW policies
 * in dry run lets in is no single policy's; it is told as the namespace of the workload and a star.
 */
void decisions_put_json(struct decisions *d, struct mica_buf *out);

#endif
