/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies in memory, one part of the view: heads, sorted by key, each of which points to the
 * revisions in force; and what is published of them. core_impl.h has the records.
 */
#ifndef MICA_CA_CORE_DOCS_H
#define MICA_CA_CORE_DOCS_H

#include "core_impl.h"

#include "mica/core_policies.h"

#define DOC_KEY_MAX   (63 + 1 + 63 + 1 + 253)
#define DOC_ACTOR_MAX (128 + 2 * MICA_SPIFFE_ID_MAX)
#define DOC_VALUE_MAX (32 + DOC_ACTOR_MAX + MICA_DOC_TEXT_MAX)
#define DOC_FORMS     2 /* JSON, JWS */

enum doc_action { DOC_PUT, DOC_DELETED, DOC_ROLLED_BACK };
const char *mica_doc_action_name(enum doc_action a); /* "put" ... */

/* One revision; immutable, shared by the views that have it. */
struct core_doc {
	struct core_part part;
	struct mica_slice key; /* kind 00 namespace 00 name */
	struct mica_doc_key name; /* its parts */
	uint64_t revision, from;
	enum doc_action action;
	bool dry_run;
	int64_t time_ms;
	struct mica_slice actor, text;
	uint8_t *mem;
};
static inline bool mica_core_doc_is(const struct core_doc *d)
{
	return d && d->action != DOC_DELETED;
}

struct core_doc_head {
	struct core_doc *live, *canary; /* canary NULL = as live; never both NULL */
	uint64_t last; /* greatest revision */
	enum mica_doc_owner owner;
	bool touched; /* while a change is made */
};
static inline struct mica_slice mica_core_head_key(const struct core_doc_head *h)
{
	return h->live ? h->live->key : h->canary->key;
}
static inline struct core_doc *mica_core_head_doc(
	const struct core_doc_head *h, enum mica_channel ch)
{
	return ch == MICA_CHANNEL_CANARY && h->canary ? h->canary : h->live;
}

struct core_docs {
	struct core_part part;
	uint64_t rev; /* of the record with the sequences; 0 = there is none */
	bool rev_known, numbered;
	uint64_t sequence[MICA_CHANNEL_COUNT];
	struct core_doc_head *v;
	size_t n;
	struct mica_docs_stats stats;
	/* What all forms have of the documents, shared by the channels while they are one. */
	const struct mica_snapshot *list[MICA_CHANNEL_COUNT];
	const struct mica_snapshot *snap[MICA_CHANNEL_COUNT][DOC_FORMS];
	int64_t signed_at; /* seconds; 0 = there is no signed form */
	char publisher[MICA_KEY_ID_SIZE];
	int64_t publisher_end;
};
/* Of its own: heads with references, room for `more`; what is published is the same. */
struct core_docs *mica_core_docs_copy(const struct core_docs *from, size_t more);
/* The head of a key among the first `n`, which are sorted; NULL = none. */
struct core_doc_head *mica_core_docs_find(
	const struct core_docs *d, size_t n, struct mica_slice key);
void mica_core_docs_sort(struct core_docs *d);
/* Counts, under the limits. LIMIT "too_many_policies", "policies_too_large". */
mica_rc mica_core_docs_count(struct core_docs *d, struct mica_err *e) MICA_MUST_CHECK;
/* Whether a channel has the same in both. */
bool mica_core_docs_same(
	const struct core_docs *a, const struct core_docs *b, enum mica_channel ch);

/* kind 00 namespace 00 name. INVALID "bad_policy_name". */
mica_rc mica_core_doc_key(
	const struct mica_doc_key *k, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* Keys of records; `out` is emptied first. */
struct mica_slice mica_core_head_record(struct mica_slice key, struct mica_buf *out);
struct mica_slice mica_core_revision_record(
	struct mica_slice key, uint64_t revision, struct mica_buf *out);
void mica_core_head_encode(const struct core_doc_head *h, struct mica_buf *out);
/* The value of a revision's record, and what it says; NULL when it is malformed. */
void mica_core_doc_encode(const struct core_doc *d, struct mica_buf *out);
struct core_doc *mica_core_doc_decode(
	struct mica_slice key, uint64_t revision, struct mica_slice value);
/* From the store. NOT_FOUND "no_such_record". */
mica_rc mica_core_doc_read(struct mica_store *s, struct mica_slice key, uint64_t revision,
	struct core_doc **out, struct mica_err *e) MICA_MUST_CHECK;
/* All of it, without what is published. */
mica_rc mica_core_docs_load(
	struct mica_store *s, struct core_docs **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_core_doc_fill(const struct core_doc_head *h, const struct core_doc *d,
	struct mica_doc *out); /* h NULL: of nobody */

/* Numbers for the channels that differ from `old` (NULL: all), their plain forms, and entries about
 * them, into a change; the record of the sequences, too. */
mica_rc mica_core_docs_publish(struct mica_core *c, const struct core_docs *old,
	struct core_docs *next, struct core_change *ch, bool note, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;
/* The signed forms of a part that nobody has yet; none when nobody can sign. */
mica_rc mica_core_docs_sign(struct mica_core *c, const struct core_view *v, struct core_docs *d,
	int64_t now, struct mica_err *e) MICA_MUST_CHECK;

#endif
