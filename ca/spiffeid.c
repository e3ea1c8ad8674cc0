/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/spiffeid.h"

#define MAX_LABEL 63

static bool is_lower_alnum(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_td_char(uint8_t c)
{
	return is_lower_alnum(c) || c == '.' || c == '-' || c == '_';
}

static bool is_path_char(uint8_t c)
{
	return is_td_char(c) || (c >= 'A' && c <= 'Z');
}

/* What is wrong with a trust domain, or NULL. SPIFFE-ID 2.1; that it looks like an address or
 * breaks DNS's rules is no reason to treat it differently. */
static const char *td_fault(struct mica_slice td)
{
	if (td.len == 0)
		return "the trust domain is empty";
	if (td.len > MICA_TD_MAX)
		return "the trust domain is longer than 255 octets";
	for (size_t i = 0; i < td.len; i++) {
		if (td.p[i] >= 'A' && td.p[i] <= 'Z')
			return "the trust domain has an upper-case letter";
		if (!is_td_char(td.p[i]))
			return "the trust domain has a character outside [a-z0-9._-]";
	}
	return NULL;
}

mica_rc mica_trust_domain_check(struct mica_slice td, struct mica_err *e)
{
	const char *fault = td_fault(td);

	return fault ? mica_fail(e, MICA_INVALID, "trust_domain_invalid",
			       "%s; expected 1 to 255 of a-z 0-9 . - _", fault)
		     : MICA_OK;
}

bool mica_spiffe_segment_ok(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_path_char(s.p[i]))
			return false;
	return s.len > 0 && !mica_slice_eq(s, MICA_LIT(".")) && !mica_slice_eq(s, MICA_LIT(".."));
}

bool mica_spiffe_next_segment(struct mica_slice *rest, struct mica_slice *segment)
{
	if (rest->len == 0)
		return false;
	const uint8_t *from = rest->p + 1; /* behind the '/' */
	size_t len = rest->len - 1;
	const uint8_t *slash = len ? memchr(from, '/', len) : NULL;
	size_t n = slash ? (size_t)(slash - from) : len;
	*segment = mica_slice(from, n);
	*rest = mica_slice(from + n, len - n);
	return true;
}

/* SPIFFE-ID 2.2 */
static const char *path_fault(struct mica_slice path)
{
	struct mica_slice segment;

	if (path.len && path.p[0] != '/')
		return "the path does not begin with '/'";
	while (mica_spiffe_next_segment(&path, &segment)) {
		if (segment.len == 0)
			return "the path has an empty segment, or ends with '/'";
		if (memchr(segment.p, '%', segment.len))
			return "the path has percent-encoding";
		if (!mica_spiffe_segment_ok(segment))
			return "a segment of the path is '.' or '..' or has a character outside "
			       "[A-Za-z0-9._-]";
	}
	return NULL;
}

mica_rc mica_spiffe_path_check(struct mica_slice path, struct mica_err *e)
{
	const char *fault = path_fault(path);

	return fault ? mica_fail(e, MICA_INVALID, "spiffe_id_path",
			       "SPIFFE ID: %s; expected /segment/segment", fault)
		     : MICA_OK;
}

static mica_rc fail_id(struct mica_err *e, const char *reason, const char *what)
{
	return mica_fail(e, MICA_INVALID, reason,
		"SPIFFE ID: %s; expected spiffe://<trust domain>/<path>", what);
}

mica_rc mica_spiffe_id_parse(struct mica_slice text, struct mica_spiffe_id *out, struct mica_err *e)
{
	static const struct mica_slice scheme = {
		(const uint8_t *)MICA_SPIFFE_SCHEME, sizeof(MICA_SPIFFE_SCHEME) - 1};
	struct mica_spiffe_id id = {.text = text};

	if (text.len > MICA_SPIFFE_ID_MAX)
		return fail_id(e, "spiffe_id_too_long", "longer than 2048 octets");
	/* SPIFFE-ID 2.4 calls the scheme case-insensitive; certificates and tokens hold the one
	 * form that everybody emits, and one form leaves nothing to compare loosely. */
	if (!mica_slice_has_prefix(text, scheme))
		return fail_id(e, "spiffe_id_scheme", "does not begin with spiffe://");
	if (text.len && memchr(text.p, '?', text.len))
		return fail_id(e, "spiffe_id_query", "has a query");
	if (text.len && memchr(text.p, '#', text.len))
		return fail_id(e, "spiffe_id_fragment", "has a fragment");
	struct mica_slice rest = mica_slice_sub(text, scheme.len, text.len);
	const uint8_t *slash = rest.len ? memchr(rest.p, '/', rest.len) : NULL;
	size_t td_len = slash ? (size_t)(slash - rest.p) : rest.len;
	id.td = mica_slice(rest.p, td_len);
	id.path = mica_slice(rest.p + td_len, rest.len - td_len);
	const char *fault = td_fault(id.td);
	if (fault)
		return fail_id(e, "spiffe_id_trust_domain", fault);
	fault = path_fault(id.path);
	if (fault)
		return fail_id(e, "spiffe_id_path", fault);
	*out = id;
	return MICA_OK;
}

mica_rc mica_spiffe_id_parse_workload(
	struct mica_slice text, struct mica_spiffe_id *out, struct mica_err *e)
{
	struct mica_spiffe_id id;
	mica_rc rc = mica_spiffe_id_parse(text, &id, e);

	if (rc)
		return rc;
	if (id.path.len == 0)
		return fail_id(e, "spiffe_id_no_path", "a workload's ID has a path");
	*out = id;
	return MICA_OK;
}

mica_rc mica_spiffe_id_make(struct mica_slice td, struct mica_slice path,
	char out[MICA_SPIFFE_ID_MAX + 1], struct mica_err *e)
{
	static const size_t scheme = sizeof(MICA_SPIFFE_SCHEME) - 1;
	const char *fault = td_fault(td);

	if (fault)
		return fail_id(e, "spiffe_id_trust_domain", fault);
	fault = path_fault(path);
	if (fault)
		return fail_id(e, "spiffe_id_path", fault);
	if (path.len > MICA_SPIFFE_ID_MAX - scheme - td.len)
		return fail_id(e, "spiffe_id_too_long", "longer than 2048 octets");
	memcpy(out, MICA_SPIFFE_SCHEME, scheme);
	memcpy(out + scheme, td.p, td.len);
	if (path.len)
		memcpy(out + scheme + td.len, path.p, path.len);
	out[scheme + td.len + path.len] = '\0';
	return MICA_OK;
}

bool mica_spiffe_id_member_of(const struct mica_spiffe_id *id, struct mica_slice td)
{
	return mica_slice_eq(id->td, td);
}

bool mica_spiffe_path_is_reserved(struct mica_slice path)
{
	struct mica_slice first;

	return path.len && path.p[0] == '/' && mica_spiffe_next_segment(&path, &first) &&
		mica_slice_eq_str(first, MICA_RESERVED_SEGMENT);
}

bool mica_spiffe_id_under(struct mica_slice id, struct mica_slice prefix)
{
	if (prefix.len && prefix.p[prefix.len - 1] == '/')
		prefix.len--;
	return prefix.len && mica_slice_has_prefix(id, prefix) &&
		(id.len == prefix.len || id.p[prefix.len] == '/');
}

/* ---- DNS and Kubernetes names ------------------------------------------------------------- */

bool mica_dns_label_ok(struct mica_slice s)
{
	if (s.len == 0 || s.len > MAX_LABEL || s.p[0] == '-' || s.p[s.len - 1] == '-')
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!is_lower_alnum(s.p[i]) && s.p[i] != '-')
			return false;
	return true;
}

static bool all_digits(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return true;
}

mica_rc mica_dns_name_check(struct mica_slice name, struct mica_err *e)
{
	static const char expected[] = "labels of a-z 0-9 - parted by dots, at most 253 octets, "
				       "no wildcard, no address";
	struct mica_slice rest = name, label = MICA_SLICE_NULL;
	bool more = true, ok = name.len > 0 && name.len <= MICA_K8S_NAME_MAX;

	while (ok && more) {
		more = mica_slice_cut(&rest, '.', &label);
		ok = mica_dns_label_ok(label);
	}
	/* RFC 1123 2.1: a last label of digits alone would be read as an address. */
	if (ok && !all_digits(label))
		return MICA_OK;
	return mica_fail(
		e, MICA_INVALID, "dns_name_invalid", "not a DNS name; expected %s", expected);
}

bool mica_k8s_label_ok(struct mica_slice s)
{
	return mica_dns_label_ok(s);
}

/* RFC 1123 subdomain as Kubernetes has it: its labels are bounded by the whole alone. */
bool mica_k8s_subdomain_ok(struct mica_slice s)
{
	if (s.len == 0 || s.len > MICA_K8S_NAME_MAX)
		return false;
	uint8_t before = '.';
	for (size_t i = 0; i < s.len; before = s.p[i++]) {
		bool inner = s.p[i] == '.' || s.p[i] == '-';
		if (!is_lower_alnum(s.p[i]) && !inner)
			return false;
		/* a label neither begins nor ends with '-', and is not empty */
		if ((inner && before == '.') || (s.p[i] == '.' && before == '-'))
			return false;
	}
	return before != '.' && before != '-';
}
