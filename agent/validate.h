/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ValidateJWTSVID: whether a JWT-SVID of another workload is good for an audience (JWT-SVID 5,
 * Workload API 6.2.3), by the keys of its subject's trust domain.
 */
#ifndef MICA_AGENT_VALIDATE_H
#define MICA_AGENT_VALIDATE_H

#include "trust.h"

#include "mica/json.h"

#define VALIDATE_TOKEN_MAX ((size_t)16 << 10)
#define VALIDATE_SKEW      30 /* seconds that clocks may differ */

struct validated {
	struct mica_slice spiffe_id; /* in `claims` */
	struct mica_json claims;
	struct mica_buf payload; /* what `claims` was read from */
};
void validated_clear(struct validated *v);
#define AUTO_VALIDATED __attribute__((cleanup(validated_clear))) struct validated

/*
 * INVALID, each with the fine reason: "jwt_svid_invalid":
 *	form		too long, not three parts of base64url, not JSON
 *	header		another member than alg, kid and typ; no kid; typ not JWT or JOSE
 *	algorithm	not one of the nine of JWT-SVID 2.1
 *	claims		sub, aud or exp missing or of another type; sub no workload's ID
 *	audience	`audience` is not in aud
 *	expired, not_yet_valid
 *	untrusted	no bundle of its trust domain here
 *	key		no key with its kid and algorithm
 *	signature
 */
mica_rc validate_jwt(const struct trust *const *bundles, size_t n, struct mica_slice token,
	struct mica_slice audience, int64_t now, struct validated *out,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
