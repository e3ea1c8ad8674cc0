/* SPDX-License-Identifier: Apache-2.0 */
/* What requests say: the first octet chooses the decoder, the rest is the input. */
#include "server/api_decode.h"

#include <stdlib.h>

static void check(mica_rc rc, const struct mica_err *e)
{
	if (rc != MICA_OK && (!e->reason || !mica_slice_is_utf8(mica_slice_str(e->text))))
		abort();
}

static void query(struct mica_slice s, const char *const *names, bool events)
{
	struct mica_err e = MICA_ERR_INIT;
	struct api_bundle_query b;
	struct mica_event_query q;
	struct api_params p;
	mica_rc rc = api_params_parse(s, names, &p, &e);

	if (rc == MICA_OK)
		rc = events ? api_decode_event_query(&p, &q, &e)
			    : api_decode_bundle_query(&p, &b, &e);
	check(rc, &e);
	if (rc == MICA_OK && !events && (b.wait < 0 || b.wait > API_WAIT_MAX))
		abort();
	if (rc == MICA_OK && events && (q.limit > 1000 || q.since < 0 || q.until < 0))
		abort();
	api_params_clear(&p);
}

/* The quick reader takes nothing that the other refuses, and finds the same in it. */
static void plain(struct mica_slice s)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_err e = MICA_ERR_INIT;
	struct api_x509_body quick, x;
	MICA_AUTO_BUF mem;

	mica_buf_init(&mem, API_CSR_MAX + 64);
	if (!api_plain_x509(s, &mem, &quick))
		return;
	if (api_body(s, &doc, &e) != MICA_OK || api_decode_x509(&doc, &x, &e) != MICA_OK ||
		!mica_slice_eq(quick.csr, x.csr) || quick.ttl != x.ttl ||
		quick.has_sequence != x.has_sequence || quick.bundle_sequence != x.bundle_sequence)
		abort();
}

static void body(struct mica_slice s, unsigned kind)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_err e = MICA_ERR_INIT;
	struct api_x509_body x = {.ttl = 1};
	struct api_jwt_body j = {.n_audience = 1};
	struct api_ack_body a;
	struct api_explain_body ex;
	struct api_deny_body d;
	struct mica_slice path;
	mica_rc rc = api_body(s, &doc, &e);

	if (rc == MICA_OK)
		switch (kind % 6) {
		case 0: rc = api_decode_x509(&doc, &x, &e); break;
		case 1: rc = api_decode_jwt(&doc, &j, &e); break;
		case 2: rc = api_decode_ack(&doc, &a, &e); break;
		case 3: rc = api_decode_explain(&doc, &ex, &e); break;
		case 4: rc = api_decode_deny(&doc, &d, &e); break;
		default: rc = api_decode_backup(&doc, &path, &e); break;
		}
	check(rc, &e);
	if (rc == MICA_OK &&
		(j.n_audience < 1 || j.n_audience > API_AUDIENCE_MAX || x.csr.len > API_CSR_MAX ||
			x.ttl < 0))
		abort();
}

static void header(struct mica_slice s)
{
	struct mica_slice token;

	(void)api_is_json(s);
	(void)api_etag_matches(s, "\"default-live-1795521600000\"");
	if (api_bearer(s, &token) && token.len &&
		(token.p < s.p || token.p + token.len > s.p + s.len))
		abort();
}

static void tile(struct mica_slice s, bool entries)
{
	unsigned level, width;
	uint64_t n;

	if (api_decode_tile(s, entries, &level, &n, &width) &&
		(level > 63 || width < 1 || width > 256))
		abort();
}

static bool within(struct mica_slice part, struct mica_slice all)
{
	return part.len == 0 || (part.p >= all.p && part.p + part.len <= all.p + all.len);
}

static void policy_query(struct mica_slice s, unsigned kind)
{
	const char *const *const all[] = {api_policies_params, api_compiled_params,
		api_policy_params, api_policy_change_params, api_policy_kind_params};
	const char *const *names = all[kind % MICA_ARRAY_LEN(all)];
	struct mica_err e = MICA_ERR_INIT;
	struct api_policy_query q;
	struct api_params p;
	mica_rc rc = api_params_parse(s, names, &p, &e);

	if (rc == MICA_OK)
		rc = api_decode_policy_query(&p, names, &q, &e);
	check(rc, &e);
	if (rc == MICA_OK && q.has_workload) {
		const struct mica_slice mem = mica_slice(p.mem, s.len);

		if (q.workload.n_labels > API_LABELS_MAX || q.workload.ns.len == 0)
			abort();
		for (unsigned i = 0; i < q.workload.n_labels; i++)
			if (q.labels[i].key.len == 0 || !within(q.labels[i].key, mem) ||
				!within(q.labels[i].value, mem))
				abort();
	}
	api_params_clear(&p);
}

static void policy_body(struct mica_slice s)
{
	static struct mica_doc_key keys[API_POLICY_KEYS_MAX];
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_err e = MICA_ERR_INIT, again = MICA_ERR_INIT;
	uint64_t revision = 0;
	size_t n = 0;
	mica_rc rc = api_body(s, &doc, &e);

	check(rc, &e);
	if (rc != MICA_OK)
		return;
	rc = api_decode_policy_rollback(&doc, &revision, &e);
	check(rc, &e);
	if (rc == MICA_OK && revision == 0)
		abort();
	rc = api_decode_policy_keys(&doc, keys, &n, &again);
	check(rc, &again);
	for (size_t i = 0; rc == MICA_OK && i < n; i++)
		if (keys[i].kind.len == 0 || keys[i].ns.len == 0 || keys[i].name.len == 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct mica_slice s = mica_slice(p, len);
	unsigned kind = len ? p[0] % 16 : 0;

	s = mica_slice_sub(s, 1, s.len);
	if (len && p[0] >= 0xf0) {
		if (kind < 8)
			policy_query(s, kind);
		else
			policy_body(s);
		return 0;
	}
	switch (kind) {
	case 0: query(s, api_bundle_params, false); break;
	case 1: query(s, api_event_params, true); break;
	case 2: header(s); break;
	case 3: tile(s, false); break;
	case 4: tile(s, true); break;
	default:
		body(s, kind - 5);
		plain(s);
		break;
	}
	return 0;
}
