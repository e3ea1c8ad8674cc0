/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd's names. */
#include "mica/linkerd.h"

#include "mica/csr.h"
#include "mica/spiffeid.h"

#include <stdio.h>

#define MIDDLE ".serviceaccount.identity."

mica_rc mica_linkerd_check(const struct mica_linkerd *l, struct mica_err *e)
{
	if (!mica_k8s_label_ok(mica_slice_str(l->control_ns)))
		return mica_fail(e, MICA_INVALID, "linkerd_namespace_invalid",
			"\"%s\" is not a namespace; expected one label of [a-z0-9-]",
			l->control_ns);
	if (mica_dns_name_check(mica_slice_str(l->trust_domain), NULL) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "linkerd_trust_domain_invalid",
			"\"%.255s\" is not a DNS name, as Linkerd's trust domain has to be",
			l->trust_domain);
	return MICA_OK;
}

mica_rc mica_linkerd_name(const struct mica_linkerd *l, const char *ns, const char *sa,
	char out[MICA_LINKERD_NAME_MAX + 1], struct mica_err *e)
{
	int len;

	out[0] = '\0';
	if (!mica_k8s_label_ok(mica_slice_str(sa)) || !mica_k8s_label_ok(mica_slice_str(ns)))
		return mica_fail(e, MICA_DENIED, "linkerd_name_invalid",
			"\"%.253s\" in namespace \"%.63s\" has no name in Linkerd; expected a service account without dots, of at most 63 octets",
			sa, ns);
	len = snprintf(out, MICA_LINKERD_NAME_MAX + 1, "%s.%s" MIDDLE "%s.%s", sa, ns,
		l->control_ns, l->trust_domain);
	if (len > 0 && len <= MICA_LINKERD_NAME_MAX)
		return MICA_OK;
	out[0] = '\0';
	return mica_fail(e, MICA_DENIED, "linkerd_name_invalid",
		"the name of \"%.63s\" in namespace \"%.63s\" is longer than %d octets", sa, ns,
		MICA_LINKERD_NAME_MAX);
}

bool mica_linkerd_is_others(
	const struct mica_linkerd *l, const char *name, const char *ns, const char *sa)
{
	char own[MICA_LINKERD_NAME_MAX + 1], suffix[sizeof(MIDDLE) + sizeof(*l) + 8];

	snprintf(suffix, sizeof(suffix), MIDDLE "%s.%s", l->control_ns, l->trust_domain);
	if (!mica_slice_has_suffix(mica_slice_str(name), mica_slice_str(suffix)))
		return false;
	return mica_linkerd_name(l, ns, sa, own, NULL) != MICA_OK || strcmp(name, own) != 0;
}

static mica_rc differs(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "csr_names_differ",
		"certificate request: %s; expected one DNS name, the identity that is asked for, and nothing else",
		what);
}

/* linkerd2 pkg/identity/service.go checkCSR. */
mica_rc mica_linkerd_check_csr(
	struct mica_slice csr, struct mica_slice identity, struct mica_err *e)
{
	struct mica_csr_names n;
	mica_rc rc = mica_csr_names(csr, &n, e);

	if (rc != MICA_OK)
		return rc;
	if (n.n_dns != 1)
		return differs(
			e, n.n_dns ? "it asks for several DNS names" : "it asks for no DNS name");
	if (!mica_slice_eq(n.dns, identity))
		return differs(e, "it asks for another DNS name");
	if (n.n_others > 0)
		return differs(e, "it asks for names of other kinds");
	if (n.n_cn > 1 || (n.cn.len > 0 && !mica_slice_eq(n.cn, identity)))
		return differs(e, "it has another common name");
	return MICA_OK;
}

int64_t mica_linkerd_valid_until(int64_t now, int64_t renew_after, int64_t not_after)
{
	int64_t until = now + (renew_after - now) * 10 / 7;

	if (until <= now)
		until = now + 1;
	return until < not_after ? until : not_after;
}
