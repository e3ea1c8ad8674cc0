/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies as the core keeps them: documents whose text it does not read. Whoever brings one has
 * validated it and written it in one canonical form.
 *
 * A document is known by kind, namespace and name. Each change of it has a revision, 1, 2, 3 ...,
 * which is its for ever: a document that was deleted and comes back goes on counting. What is in
 * force is a pointer to a revision, one for each channel. The canary channel has what the live one
 * has, but for the documents that were changed there alone; *promote* makes those live, *withdraw*
 * gives them up, and so does a change of the document in the live channel.
 *
 * A change is any number of edits: all of them happen or none, for everybody at once. It is one
 * transaction, with an entry of type `policy` for each document, and a sequence, which one counter
 * gives to both channels (bundle.h: mica_sequence_next). While both have the same content they have
 * the same sequence. Snapshots of a channel come by mica_core_snapshot, in the forms
 * MICA_FMT_POLICIES_JSON and _JWS.
 *
 * Of each document the last MICA_DOC_HISTORY revisions are kept, and those in force; of one that
 * was deleted, for MICA_DOC_KEEP. The ledger keeps all of them, with their text up to
 * MICA_DOC_ENTRY_TEXT octets of it and its SHA-256.
 *
 * Any thread; durable and in the ledger after OK.
 */
#ifndef MICA_CORE_POLICIES_H
#define MICA_CORE_POLICIES_H

#include "mica/core.h"

#define MICA_DOCS_MAX       20000 /* documents, deleted ones included */
#define MICA_DOC_TEXT_MAX   (256 << 10) /* octets of one */
#define MICA_DOCS_TEXT_MAX  (32 << 20) /* octets of all that are in force in a channel */
#define MICA_DOC_HISTORY    100
#define MICA_DOC_KEEP       (90 * 86400) /* seconds */
#define MICA_DOC_ENTRY_TEXT (24 << 10)
#define MICA_REVISION_ANY   UINT64_MAX

struct mica_doc_key {
	struct mica_slice kind, ns, name; /* up to 63, 63 and 253 octets of printable ASCII */
};

/* Whose a document is: what comes from the directory of policies is changed there alone. */
enum mica_doc_owner { MICA_DOC_API, MICA_DOC_DIRECTORY };
const char *mica_doc_owner_name(enum mica_doc_owner owner); /* "api" "directory" */

/* One revision. Slices are borrowed: see who gives it. */
struct mica_doc {
	struct mica_doc_key key;
	uint64_t revision;
	enum mica_doc_owner owner; /* of the document, as it is now */
	bool deleted; /* this revision says that there is none */
	bool dry_run;
	bool canary; /* in force in the canary channel alone */
	int64_t time_ms;
	struct mica_slice text; /* empty when deleted */
};

/* ---- changes --------------------------------------------------------------------------------- */

enum mica_doc_op {
	MICA_DOC_PUT, /* `text` */
	MICA_DOC_DELETE, /* NOT_FOUND "no_such_policy" */
	MICA_DOC_ROLLBACK /* as it was in revision `to`: a new revision with that text */
};
struct mica_doc_edit {
	enum mica_doc_op op;
	struct mica_doc_key key;
	struct mica_slice text; /* a JSON object in one line */
	bool dry_run;
	/* The revision that is replaced: MICA_REVISION_ANY, or 0 = there is none. */
	uint64_t expect;
	uint64_t to;
	/* out, on OK */
	uint64_t revision;
	bool changed; /* false: it was so already, and nothing was written of it */
};
struct mica_docs_change {
	enum mica_channel channel;
	struct mica_doc_edit *edits; /* each document at most once */
	size_t n;
	/* DIRECTORY: edits are all that the directory has; what it had besides is deleted. What has
	 * another owner becomes its own. API: documents of the directory are refused, if there is
	 * one. */
	enum mica_doc_owner owner;
	bool directory_on;
	uint64_t expect_sequence; /* of the channel; 0 = any */
	const struct mica_caller *actor; /* NULL = micad itself */
	/* out */
	uint64_t sequence; /* of the channel */
	size_t changed, deleted; /* documents; `deleted` are those that no edit named */
	size_t failed; /* index of the edit that an error is about; SIZE_MAX = none */
};
/* INVALID "bad_policy_name", "policy_twice", "bad_policy_text", "no_such_channel"; NOT_FOUND
 * "no_such_policy", "no_such_revision"; CONFLICT "revision_mismatch" (`expect`),
 * "sequence_mismatch" (`expect_sequence`), "policy_of_directory"; LIMIT "too_many_policies",
 * "policy_too_large", "policies_too_large"; others as a commit. OK with `changed` 0 when everything
 * was so already. */
mica_rc mica_core_policies_change(struct mica_core *c, struct mica_docs_change *ch, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;

/* Makes what these documents (n = 0: all) have in the canary channel alone live, or gives it up.
 * *sequence: of the live channel; *n_done: how many. CONFLICT "nothing_in_canary" (of one of them);
 * NOT_FOUND "no_such_policy"; others as a commit. */
mica_rc mica_core_policies_promote(struct mica_core *c, const struct mica_doc_key *keys, size_t n,
	bool withdraw, const struct mica_caller *actor, int64_t now_ms, uint64_t *sequence,
	size_t *n_done, struct mica_err *e) MICA_MUST_CHECK;

/* ---- reading --------------------------------------------------------------------------------- */

/* Calls `fn` with each document in force in a channel, in the order of kind, namespace, name (each
 * by its octets), all of one moment, until it says false. Slices live during the call. The sequence
 * of that moment. */
typedef bool mica_doc_fn(void *ctx, const struct mica_doc *d);
uint64_t mica_core_policies_visit(
	struct mica_core *c, enum mica_channel ch, mica_doc_fn *fn, void *ctx);
/* What is in force, or (revision not 0) what was. `fn` is called once, unless NOT_FOUND
 * "no_such_policy" | "no_such_revision" (not kept, or never made). */
mica_rc mica_core_policy(struct mica_core *c, enum mica_channel ch, const struct mica_doc_key *key,
	uint64_t revision, mica_doc_fn *fn, void *ctx, struct mica_err *e) MICA_MUST_CHECK;
/* {"kind", "namespace", "name", "owner", "revisions": [{"revision", "action": "put" | "deleted" |
 * "rolled_back", "from": of a rollback, "time", "actor", "dry_run", "sha256", "channels"}, ...]},
 * newest first. NOT_FOUND "no_such_policy". */
mica_rc mica_core_policy_history(struct mica_core *c, const struct mica_doc_key *key,
	struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;

struct mica_docs_stats {
	uint64_t sequence[MICA_CHANNEL_COUNT];
	size_t documents[MICA_CHANNEL_COUNT], bytes[MICA_CHANNEL_COUNT];
	size_t waiting; /* documents with something in the canary channel alone */
	size_t dry_run; /* live documents that only say what would be */
};
void mica_core_policies_stats(struct mica_core *c, struct mica_docs_stats *out);

#endif
