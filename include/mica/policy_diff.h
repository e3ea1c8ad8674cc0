/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a change of policies means: who gains and who loses access to what.
 *
 * Not the texts are compared but the verdicts. From both sets come workloads (each selector, two
 * of them together, and what has none), peers (each that a rule names, one that each pattern
 * matches, and whoever none names) and requests (each method, path, port and other value that a
 * rule asks for, and one that none does); all combinations are decided by both sets. So a
 * difference that is told is one: there is such a request. None is overlooked but where several
 * patterns of one attribute meet in a value that none of them has for its example, where more than
 * two selectors meet, or where there are too many combinations, which is said (`complete`).
 *
 * Pure; any thread.
 */
#ifndef MICA_POLICY_DIFF_H
#define MICA_POLICY_DIFF_H

#include "mica/policy_set.h"

#define MICA_POLICY_DIFF_REQUESTS 2000000 /* that are decided, at most */

/* Of one workload, one group of peers, one direction. */
struct mica_policy_change {
	const char *ns; /* of the workload; "*" = namespaces without policies of their own */
	const struct mica_policy_pair *labels; /* of the workload; none = no label is selected */
	unsigned n_labels;
	bool gains; /* else loses */
	const char *const *who; /* principals or words: "everybody", "namespace web" */
	unsigned n_who;
	const char *const *what; /* "GET on /a, /b*", "everything" */
	unsigned n_what;
};
struct mica_policy_diff {
	struct mica_policy_change *v; /* workload by workload, gains first */
	unsigned n;
	unsigned workloads; /* that were looked at, since policies about them differ */
	uint64_t requests; /* that were decided */
	bool complete;
	void *memory; /* private */
};

struct mica_policy_diff_options {
	/* Only these peers (SPIFFE IDs), as they are; 0 = all that matter. */
	const char *const *peers;
	unsigned n_peers;
};
/* `o` may be NULL. Both sets are of one mesh. */
void mica_policy_diff(const struct mica_policy_set *before, const struct mica_policy_set *after,
	const struct mica_policy_diff_options *o, struct mica_policy_diff *out);
void mica_policy_diff_clear(struct mica_policy_diff *d);
#define MICA_AUTO_POLICY_DIFF                                                                      \
	__attribute__((cleanup(mica_policy_diff_clear))) struct mica_policy_diff
/* "shop, workloads with app=orders: NAME, NAME gain: GET on /a" */
void mica_policy_change_put(struct mica_buf *b, const struct mica_policy_change *c);

#endif
