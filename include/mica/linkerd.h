/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linkerd's identity scheme over a principal: the DNS name by which its proxies know each other,
 *
 *	{service account}.{namespace}.serviceaccount.identity.{control plane's namespace}.{trust
 *domain}
 *
 * and what Linkerd demands of a request for it. Pure; any thread.
 */
#ifndef MICA_LINKERD_H
#define MICA_LINKERD_H

#include "mica/principal.h"
#include "mica/slice.h"

#define MICA_LINKERD_NAME_MAX 253 /* of a DNS name, RFC 1123 */

/* As configured; checked at load. */
struct mica_linkerd {
	char control_ns[MICA_K8S_NS_MAX + 1]; /* one label */
	char trust_domain[MICA_TD_MAX + 1]; /* a DNS name; need not be that of SPIFFE IDs */
	bool spiffe; /* certificates have the SPIFFE ID, too, behind the name */
};
/* INVALID "linkerd_namespace_invalid", "linkerd_trust_domain_invalid". */
mica_rc mica_linkerd_check(const struct mica_linkerd *l, struct mica_err *e) MICA_MUST_CHECK;

/* The name of an account. Both are single labels there, though Kubernetes allows dots in a service
 * account's name. DENIED "linkerd_name_invalid": no such label, or the whole is longer than 253. */
mica_rc mica_linkerd_name(const struct mica_linkerd *l, const char *ns, const char *sa,
	char out[MICA_LINKERD_NAME_MAX + 1], struct mica_err *e) MICA_MUST_CHECK;

/* Whether `name` is one that Linkerd knows somebody by, other than this account. */
bool mica_linkerd_is_others(
	const struct mica_linkerd *l, const char *name, const char *ns, const char *sa);

/* Whether a CSR (DER alone) asks for `identity` and for nothing else: one DNS name, which is it, no
 * other name of any kind, and no common name but it. Its signature is not looked at here. INVALID
 * or LIMIT "csr_*" for what is no request; INVALID "csr_names_differ" for one that asks for
 * something else. */
mica_rc mica_linkerd_check_csr(
	struct mica_slice csr, struct mica_slice identity, struct mica_err *e) MICA_MUST_CHECK;

/* When its holder should believe that the certificate ends. A proxy asks again at 70 % of the time
 * until then (proxy/identity-client of linkerd2-proxy), whatever notAfter says: so this makes it
 * ask at `renew_after`. Behind `now`, never behind `not_after`. */
int64_t mica_linkerd_valid_until(int64_t now, int64_t renew_after, int64_t not_after);

#endif
