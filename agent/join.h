/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Identities of machines without an issuer: a join token gives the first SVID, and each SVID the
 * next one. So that a restart needs no other token, key and chain are kept in the state directory:
 * one file for each identity, replaced as a whole, the key sealed under a key from a passphrase
 * (mica/key.h), and all the rest bound to that seal. What was altered, or belongs to another
 * identity, is not taken.
 *
 * A token that was used, or refused, is never shown again; another one in its file is used at once
 * when there is something to ask for. The thread that talks to micad alone.
 */
#ifndef MICA_AGENT_JOIN_H
#define MICA_AGENT_JOIN_H

#include "config.h"
#include "svid.h"

struct join; /* opaque */
/* Reads the passphrase, when the configuration names one; errors as mica_secret_load. */
mica_rc join_new(
	const struct agent_config *config, struct join **out, struct mica_err *e) MICA_MUST_CHECK;
void join_free(struct join *j); /* NULL is fine */

/* What was kept of identity i, expired or not. NOT_FOUND "no_state"; UNAUTHENTICATED
 * "wrong_passphrase"; INVALID "state_malformed"; CORRUPT "key_envelope_*"; else as mica_file_read.
 */
mica_rc join_load(
	struct join *j, unsigned i, const struct svid **out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc join_save(
	struct join *j, unsigned i, const struct svid *s, struct mica_err *e) MICA_MUST_CHECK;

/* The token in the file of identity i, into a secret buffer, when it was not used yet; NOT_FOUND
 * "join_needed": there is none, and what to do. */
mica_rc join_token(
	struct join *j, unsigned i, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* What is asked for with a token, kept until that is through: a request that is repeated, because
 * its answer was lost, is then the same one to micad, which gives the same answer. */
struct join_question {
	struct mica_signer *key; /* NULL = none yet */
	struct mica_buf body;
};
struct join_question *join_question(struct join *j, unsigned i, struct mica_slice token);
/* It is through: used, or refused for good. */
void join_spent(struct join *j, unsigned i, struct mica_slice token);
/* After what it gave was kept: its file goes, where that is allowed. */
void join_remove_token(struct join *j, unsigned i);
/* Appends to an error what an operator has to do. */
void join_advise(const struct join *j, unsigned i, struct mica_err *e);

static inline void auto_join_(struct join **j)
{
	join_free(*j);
}

#endif
