/* SPDX-License-Identifier: Apache-2.0 */
/* Envoy's questions: what is found lies in the message or in the request's own room, in no greater
 * number than there is room for; a path that is let through stays the same when it is normalised;
 * a refusal has a reason. */
#include "server/ext_authz.h"

#include <stdlib.h>

static struct ext_authz_request q;

static void inside(struct mica_slice all, struct mica_slice part)
{
	const uint8_t *end = part.p + part.len;

	if (part.len && (part.p < all.p || end > all.p + all.len) &&
		(part.p < q.scratch || end > q.scratch + q.used))
		abort();
}

static void pairs_inside(
	struct mica_slice all, const struct mica_policy_pair *v, unsigned n, unsigned most)
{
	if (n > most)
		abort();
	for (unsigned i = 0; i < n; i++) {
		inside(all, v[i].key);
		inside(all, v[i].value);
	}
}

/* RFC 3986 5.2.4 and 6.2.2.2 in the plainest way: nothing of it may be there to be done. */
static void path_is_normal(struct mica_slice path)
{
	struct mica_slice rest = path, segment;
	bool more = true;

	for (size_t i = 0; i < path.len && path.p[i] != '?'; i++)
		if (path.p[i] <= ' ' || path.p[i] > '~' || path.p[i] == '\\' || path.p[i] == '#')
			abort();
	mica_slice_cut(&rest, '?', &path);
	if (path.len < 2)
		return;
	rest = mica_slice_sub(path, 1, path.len);
	while (more) {
		more = mica_slice_cut(&rest, '/', &segment);
		if ((segment.len == 0 && more) || mica_slice_eq_str(segment, ".") ||
			mica_slice_eq_str(segment, ".."))
			abort();
	}
}

static void check_found(struct mica_slice s)
{
	const struct mica_policy_request *r = &q.r;
	const struct mica_slice found[] = {r->workload.ns, r->sni, r->host, r->method, r->path,
		r->jwt_issuer, r->jwt_subject, r->presenter, q.principal, q.certificate};

	for (size_t i = 0; i < MICA_ARRAY_LEN(found); i++)
		inside(s, found[i]);
	pairs_inside(s, r->workload.labels, r->workload.n_labels, EXT_AUTHZ_LABELS);
	pairs_inside(s, r->headers, r->n_headers, EXT_AUTHZ_HEADERS);
	pairs_inside(s, r->claims, r->n_claims, EXT_AUTHZ_CLAIMS);
	if (r->n_audiences > EXT_AUTHZ_AUDIENCES || r->workload.ns.len == 0 || r->peer.len)
		abort();
	for (unsigned i = 0; i < r->n_audiences; i++)
		inside(s, r->audiences[i]);
	path_is_normal(r->path);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct mica_slice s = mica_slice(p, len);
	struct mica_err e = MICA_ERR_INIT;
	uint8_t der[EXT_AUTHZ_DER_MAX];
	size_t der_len = 0;
	mica_rc rc = ext_authz_request_read(s, &q, &e);

	if (rc == MICA_OK) {
		check_found(s);
		if (ext_authz_certificate(q.certificate, der, &der_len, NULL) == MICA_OK &&
			(der_len == 0 || der_len > sizeof(der)))
			abort();
	} else if ((rc != MICA_INVALID && rc != MICA_LIMIT) || !e.reason ||
		!mica_slice_is_utf8(mica_slice_str(e.text))) {
		abort();
	}
	return 0;
}
