/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Join tokens without their records: the names that they give, and their text
 *
 *	mica-join-<handle, 16 hex digits>-<secret, 64 hex digits>
 *
 * The handle is public, and the evidence in the ledger. Of the rest only the SHA-256 of the whole
 * text is kept.
 */
#ifndef MICA_CA_JOIN_H
#define MICA_CA_JOIN_H

#include "issuer.h"

#include "mica/config.h"

#define JOIN_PREFIX      "mica-join-"
#define JOIN_HANDLE_LEN  16
#define JOIN_SECRET_LEN  64
#define JOIN_HANDLE_SIZE (JOIN_HANDLE_LEN + 1)
#define JOIN_TEXT_SIZE   (sizeof(JOIN_PREFIX) + JOIN_HANDLE_LEN + 1 + JOIN_SECRET_LEN)

/* What the configuration says of them, compiled. Immutable. */
struct mica_join {
	char name[MICA_NAME_MAX + 1]; /* as an issuer, in rules and in the ledger */
	struct mica_template *path; /* with {name} alone */
	int64_t ttl, max_ttl, renewal_max_age;
	char td_prefix[MICA_SPIFFE_ID_MAX + 1]; /* "spiffe://<trust domain>" */
};
/* *out is NULL when they are off. INVALID "config_value", "template_*", "names_overlap" (an issuer
 * can make one of their names), "issuer_name_*"; *setting (optional) is the setting to blame. */
mica_rc mica_join_new(const struct mica_config *config, const struct mica_issuers *issuers,
	struct mica_join **out, const char **setting, struct mica_err *e) MICA_MUST_CHECK;
void mica_join_free(struct mica_join *j); /* NULL is fine */

bool mica_join_may_name(const struct mica_join *j, struct mica_slice spiffe_id);
/* The name of a token that is given none: of its handle. Errors as mica_template_expand. */
mica_rc mica_join_name(const struct mica_join *j, const char *handle,
	char out[MICA_SPIFFE_ID_MAX + 1], struct mica_err *e) MICA_MUST_CHECK;

bool mica_join_is_token(struct mica_slice token); /* by its beginning */
/* False for what no token can be. */
bool mica_join_handle(struct mica_slice token, char out[JOIN_HANDLE_SIZE]);
void mica_join_make(char text[JOIN_TEXT_SIZE]); /* the caller wipes it */

#endif
