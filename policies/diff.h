/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the comparison of sets: the examples that stand for all requests to a workload. */
#ifndef MICA_POLICIES_DIFF_H
#define MICA_POLICIES_DIFF_H

#include "set_impl.h"

#include "mica/policy_diff.h"

#define DIFF_EXTRAS_MAX 512
#define DIFF_VALUES_MAX 16 /* of a test, each by itself */
#define DIFF_ASSIGNS    12 /* of an extra */

/* One value of a dimension: in words, and as requests have it; other: what no rule names. */
struct diff_atom {
	const char *word;
	struct mica_slice text;
	uint16_t port;
};
struct diff_atoms {
	struct diff_atom *v;
	unsigned n, room;
};

/* Values of all other attributes, which one rule asks for together. */
struct diff_assign {
	const struct ctest *test;
	struct mica_slice written; /* the value that it is an example of */
	struct mica_slice text;
	struct mica_ip ip;
};
struct diff_extra {
	const char *word;
	struct diff_assign v[DIFF_ASSIGNS];
	unsigned n;
	unsigned parts[2]; /* of which it is both; 0, 0 = of one rule */
};

struct diff_examples {
	struct arena *arena;
	struct mica_slice td;
	struct diff_atoms peers, methods, paths, ports; /* methods and paths: none = no rule asks */
	struct diff_extra *extras; /* the first is none */
	unsigned n_extras;
	bool complete;
};

void diff_atoms_add(struct diff_examples *x, struct diff_atoms *to, struct mica_slice word,
	struct mica_slice text, uint16_t port);
/* Takes the examples of a policy's rules. */
void diff_examples_of(
	struct diff_examples *x, const struct mica_policy_set *s, const struct mica_policy *p);
/* What no rule names, and order. `anyone`: peers, too. */
void diff_examples_end(struct diff_examples *x, bool anyone);
void diff_examples_init(struct diff_examples *x, struct arena *arena, struct mica_slice td);
void diff_examples_clear(struct diff_examples *x);

/* A request with what they say; `pairs` has room for 2 * DIFF_ASSIGNS. */
void diff_apply(const struct diff_extra *extra, struct mica_policy_request *r,
	struct mica_policy_pair *pairs, struct mica_slice *audience);

#endif
