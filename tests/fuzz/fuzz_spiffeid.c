/* SPDX-License-Identifier: Apache-2.0 */
/* SPIFFE IDs and names: what is taken apart is put together again, octet by octet, and no two
 * checks disagree. */
#include "mica/mem.h"
#include "mica/spiffeid.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void check_segments(struct mica_slice path)
{
	struct mica_slice rest = path, segment;
	size_t len = 0;

	while (mica_spiffe_next_segment(&rest, &segment)) {
		require(mica_spiffe_segment_ok(segment));
		require(segment.p == path.p + len + 1 && path.p[len] == '/');
		len += 1 + segment.len;
	}
	require(len == path.len && rest.len == 0);
}

static void check_id(struct mica_slice text, const struct mica_spiffe_id *id)
{
	char made[MICA_SPIFFE_ID_MAX + 1];
	struct mica_spiffe_id again;
	size_t scheme = sizeof(MICA_SPIFFE_SCHEME) - 1;

	require(mica_slice_eq(id->text, text) && text.len <= MICA_SPIFFE_ID_MAX);
	require(text.len == scheme + id->td.len + id->path.len);
	require(mica_trust_domain_check(id->td, NULL) == MICA_OK);
	require(mica_spiffe_path_check(id->path, NULL) == MICA_OK);
	require(mica_spiffe_id_make(id->td, id->path, made, NULL) == MICA_OK);
	require(mica_slice_eq_str(text, made));
	require(mica_spiffe_id_member_of(id, id->td));
	require(mica_spiffe_id_under(text, text));
	require(mica_spiffe_id_under(text, mica_slice_sub(text, 0, scheme + id->td.len)));
	require((mica_spiffe_id_parse_workload(text, &again, NULL) == MICA_OK) ==
		(id->path.len > 0));
	require(mica_spiffe_path_is_reserved(id->path) ==
		(mica_slice_eq_str(id->path, "/mica") ||
			mica_slice_has_prefix(id->path, MICA_LIT("/mica/"))));
	check_segments(id->path);
	/* one more segment is below, one more octet is not */
	if (id->path.len && text.len + 2 <= MICA_SPIFFE_ID_MAX) {
		made[text.len] = '/';
		made[text.len + 1] = 'x';
		require(mica_spiffe_id_under(mica_slice(made, text.len + 2), text));
		require(mica_spiffe_id_parse(mica_slice(made, text.len + 2), &again, NULL) ==
			MICA_OK);
		made[text.len] = 'x';
		require(!mica_spiffe_id_under(mica_slice(made, text.len + 1), text));
	}
}

static void check_parse(struct mica_slice text)
{
	struct mica_spiffe_id id = {.text = MICA_SLICE_NULL};
	struct mica_err e = MICA_ERR_INIT;

	if (mica_spiffe_id_parse(text, &id, &e) == MICA_OK) {
		check_id(text, &id);
		return;
	}
	require(e.rc == MICA_INVALID && strncmp(e.reason, "spiffe_id_", 10) == 0);
	require(id.text.p == NULL);
	require(mica_spiffe_id_parse_workload(text, &id, NULL) != MICA_OK);
}

/* Making and reading agree on what an ID is. */
static void check_make(struct mica_slice in)
{
	char made[MICA_SPIFFE_ID_MAX + 1], joined[MICA_SPIFFE_ID_MAX + 1];
	struct mica_spiffe_id id;
	const uint8_t *slash = in.len ? memchr(in.p, '/', in.len) : NULL;
	size_t at = slash ? (size_t)(slash - in.p) : in.len;
	struct mica_slice td = mica_slice_sub(in, 0, at), path = mica_slice_sub(in, at, in.len);
	bool ok = mica_spiffe_id_make(td, path, made, NULL) == MICA_OK;

	if (in.len + 9 > MICA_SPIFFE_ID_MAX) {
		require(!ok);
		return;
	}
	memcpy(joined, MICA_SPIFFE_SCHEME, 9);
	if (in.len)
		memcpy(joined + 9, in.p, in.len);
	require(ok == (mica_spiffe_id_parse(mica_slice(joined, in.len + 9), &id, NULL) == MICA_OK));
	if (ok)
		require(strlen(made) == in.len + 9 && !memcmp(made, joined, in.len + 9));
}

static void check_names(struct mica_slice in)
{
	char path[1024];
	struct mica_slice rest = in, label;
	bool dns = mica_dns_name_check(in, NULL) == MICA_OK;

	/* each kind of name is one segment of a path, so that none can leave its own */
	if (mica_k8s_label_ok(in))
		require(in.len <= MICA_K8S_NS_MAX && mica_k8s_subdomain_ok(in));
	if (mica_k8s_subdomain_ok(in))
		require(in.len <= MICA_K8S_NAME_MAX && mica_spiffe_segment_ok(in));
	while (dns && rest.len) {
		mica_slice_cut(&rest, '.', &label);
		require(mica_dns_label_ok(label));
	}
	if (dns)
		require(in.len <= 253 && mica_spiffe_segment_ok(in));
	if (in.len < sizeof(path) - 1 && (in.len == 0 || !memchr(in.p, '/', in.len))) {
		path[0] = '/';
		if (in.len)
			memcpy(path + 1, in.p, in.len);
		require(mica_spiffe_segment_ok(in) ==
			(mica_spiffe_path_check(mica_slice(path, in.len + 1), NULL) == MICA_OK));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_slice in = mica_slice(data, size);

	check_parse(in);
	check_make(in);
	check_names(in);
	if (size == 0)
		return 0;
	/* two of them are below each other when they are the same */
	struct mica_slice a = mica_slice_sub(in, 1, data[0]),
			  b = mica_slice_sub(in, 1 + a.len, in.len);
	struct mica_spiffe_id x, y;
	if (mica_spiffe_id_parse(a, &x, NULL) == MICA_OK &&
		mica_spiffe_id_parse(b, &y, NULL) == MICA_OK)
		require((mica_spiffe_id_under(a, b) && mica_spiffe_id_under(b, a)) ==
			mica_slice_eq(a, b));
	check_parse(b);
	return 0;
}
