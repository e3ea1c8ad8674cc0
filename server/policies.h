/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policies in force: those that the core keeps (mica/core_policies.h), read and compiled to one
 * set for each channel, once for each change. Whoever changes them does it here, so that the sets
 * are those of the change when it is answered, and so that who waits is woken.
 *
 * Any thread.
 */
#ifndef MICA_SERVER_POLICIES_H
#define MICA_SERVER_POLICIES_H

#include "mica/config.h"
#include "mica/core_policies.h"
#include "mica/linkerd.h"
#include "mica/policy_set.h"

struct policies; /* opaque */

/* `core` is borrowed until policies_free; what counts of the configuration is copied. CORRUPT
 * "policy_unreadable": the store has a document that this program does not read. Without it more
 * might be allowed than was meant, so nothing is served. */
mica_rc policies_new(struct mica_core *core, const struct mica_config *config,
	struct policies **out, struct mica_err *e) MICA_MUST_CHECK;
void policies_free(struct policies *p); /* NULL is fine */

/* The set of a channel, never NULL: a new reference (mica_policy_set_unref). *sequence (optional)
 * is that of its snapshot: what was decided or compiled by the set is known by it. */
struct mica_policy_set *policies_get(struct policies *p, enum mica_channel ch, int64_t *sequence);

/* How Linkerd names whom policies mean, as configured; as long as `p`. */
const struct mica_linkerd *policies_linkerd(const struct policies *p);

/* Whether the sets are older than what the core has: a change could not be followed, which is a
 * bug.
 */
bool policies_behind(struct policies *p);

/* `fn` is called behind each change, when policies_get has the new sets; on the thread of who
 * changed them, without a lock. At most 8, for ever. */
void policies_subscribe(struct policies *p, void (*fn)(void *ctx), void *ctx);

/* ---- changes --------------------------------------------------------------------------------- */

/* Edits that put what was read, in canonical form. */
struct policies_edits {
	struct mica_doc_edit *v;
	size_t n;
	struct mica_buf *texts; /* of each */
};
/* Borrows the policies. LIMIT "policy_too_large". */
mica_rc policies_edits_of(const struct mica_policies *read, struct policies_edits *out,
	struct mica_err *e) MICA_MUST_CHECK;
void policies_edits_clear(struct policies_edits *e);
#define POLICIES_AUTO_EDITS __attribute__((cleanup(policies_edits_clear))) struct policies_edits

/* As mica_core_policies_change and _promote, with what follows; `directory_on` is filled in.
 * Besides INVALID "policy_*" for a revision that is rolled back to and that this program reads no
 * longer. */
mica_rc policies_change(struct policies *p, struct mica_docs_change *ch, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc policies_promote(struct policies *p, const struct mica_doc_key *keys, size_t n,
	bool withdraw, const struct mica_caller *actor, int64_t now_ms, uint64_t *sequence,
	size_t *n_done, struct mica_err *e) MICA_MUST_CHECK;

#endif
