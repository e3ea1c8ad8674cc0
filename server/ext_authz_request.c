/* SPDX-License-Identifier: Apache-2.0 */
#include "ext_authz.h"

#include "mica/spiffeid.h"
#include "mica/wire.h"

#define JWT_FILTER "envoy.filters.http.jwt_authn"
#define OURS       "mica."
#define OUR_LABEL  "mica.label."

typedef struct ext_authz_request request_t;

/* What stands in the message in any order, and is needed for the rest of it. */
struct reading {
	request_t *q;
	struct mica_slice metadata; /* of the request: what filters before have found out */
	struct mica_slice jwt; /* the key of the JWT's payload in the metadata of its filter */
	struct mica_slice destination; /* principal of the workload's own certificate */
	struct mica_err *e;
};

static mica_rc too_large(const struct reading *r, const char *what, unsigned most)
{
	return mica_fail(r->e, MICA_LIMIT, "request_too_large",
		"the request has more %s than %u, which are read", what, most);
}

/* ---- messages -------------------------------------------------------------------------------- */

typedef mica_rc field_fn(struct reading *r, const struct mica_wire_field *f, void *to);

static mica_rc each(struct reading *r, struct mica_slice m, field_fn *fn, void *to)
{
	struct mica_wire_field f;
	mica_rc rc;

	while ((rc = mica_wire_next(&m, &f, r->e)) == MICA_OK) {
		rc = fn(r, &f, to);
		if (rc != MICA_OK)
			return rc;
	}
	return rc == MICA_NOT_FOUND ? MICA_OK : rc;
}

static bool is(const struct mica_wire_field *f, uint32_t number)
{
	return f->number == number && f->type == MICA_WIRE_BYTES;
}

/* An entry of a map whose values are strings or messages: {key = 1; value = 2}. */
static mica_rc pair_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct mica_policy_pair *p = to;

	(void)r;
	if (is(f, 1))
		p->key = f->bytes;
	if (is(f, 2))
		p->value = f->bytes;
	return MICA_OK;
}

static mica_rc read_pair(struct reading *r, struct mica_slice m, struct mica_policy_pair *p)
{
	*p = (struct mica_policy_pair){.key = MICA_SLICE_NULL};
	return each(r, m, pair_field, p);
}

/* ---- scratch room ---------------------------------------------------------------------------- */

/* Two parts in one piece; when the first is the last piece already, it grows. */
static mica_rc join(
	const struct reading *r, struct mica_slice a, struct mica_slice b, struct mica_slice *out)
{
	request_t *q = r->q;
	bool last = a.len && a.p + a.len == q->scratch + q->used;

	if ((last ? 0 : a.len) + b.len > sizeof(q->scratch) - q->used)
		return mica_fail(r->e, MICA_LIMIT, "request_too_large",
			"the names and repeated values of the request are longer than %d octets",
			EXT_AUTHZ_SCRATCH);
	if (!last) {
		if (a.len)
			memcpy(q->scratch + q->used, a.p, a.len);
		a.p = q->scratch + q->used;
		q->used += a.len;
	}
	if (b.len)
		memcpy(q->scratch + q->used, b.p, b.len);
	q->used += b.len;
	*out = mica_slice(a.p, a.len + b.len);
	return MICA_OK;
}

static bool is_upper(uint8_t c)
{
	return c >= 'A' && c <= 'Z';
}

static bool has_upper(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (is_upper(s.p[i]))
			return true;
	return false;
}

static mica_rc in_lower_case(const struct reading *r, struct mica_slice s, struct mica_slice *out)
{
	uint8_t *copy = r->q->scratch + r->q->used;
	mica_rc rc;

	*out = s;
	if (!has_upper(s))
		return MICA_OK;
	rc = join(r, MICA_SLICE_NULL, s, out);
	for (size_t i = 0; rc == MICA_OK && i < s.len; i++)
		if (is_upper(copy[i]))
			copy[i] |= 0x20;
	return rc;
}

/* ---- what the configuration of Envoy says ---------------------------------------------------- */

static mica_rc add_label(const struct reading *r, struct mica_slice key, struct mica_slice value)
{
	request_t *q = r->q;
	unsigned n = q->r.workload.n_labels;

	/* what the filter's configuration says stands first, and counts */
	for (unsigned i = 0; i < n; i++)
		if (mica_slice_eq(q->labels[i].key, key))
			return MICA_OK;
	if (n == EXT_AUTHZ_LABELS)
		return too_large(r, "labels", EXT_AUTHZ_LABELS);
	q->labels[n] = (struct mica_policy_pair){.key = key, .value = value};
	q->r.workload.n_labels = n + 1;
	return MICA_OK;
}

/* A key that is misspelt would leave the workload without the policies that are meant for it. */
static mica_rc our_extension(struct reading *r, const struct mica_policy_pair *p)
{
	struct mica_slice name = mica_slice_sub(p->key, sizeof(OURS) - 1, p->key.len);

	if (mica_slice_has_prefix(p->key, MICA_LIT(OUR_LABEL)))
		return add_label(
			r, mica_slice_sub(p->key, sizeof(OUR_LABEL) - 1, p->key.len), p->value);
	if (mica_slice_eq_str(name, "namespace")) {
		r->q->r.workload.ns = p->value;
		return MICA_OK;
	}
	if (mica_slice_eq_str(name, "jwt")) {
		r->jwt = p->value;
		return MICA_OK;
	}
	r->q->canary = mica_slice_eq_str(p->value, "canary");
	if (mica_slice_eq_str(name, "channel") &&
		(r->q->canary || mica_slice_eq_str(p->value, "live")))
		return MICA_OK;
	return mica_fail(r->e, MICA_INVALID, "extension_unknown",
		"the context extension %.*s=%.*s is not known; expected mica.namespace, "
		"mica.label.NAME, mica.jwt, or mica.channel with live or canary",
		MICA_FMT(p->key), MICA_FMT(p->value));
}

/* First the context extensions, whatever stands before them. */
static mica_rc first_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct mica_policy_pair p;
	mica_rc rc;

	(void)to;
	if (!is(f, 10))
		return MICA_OK;
	rc = read_pair(r, f->bytes, &p);
	if (rc == MICA_OK && mica_slice_has_prefix(p.key, MICA_LIT(OURS)))
		rc = our_extension(r, &p);
	return rc;
}

/* ---- peers ----------------------------------------------------------------------------------- */

struct end {
	struct mica_ip ip;
	uint16_t port;
	struct mica_slice principal, certificate;
	bool labels; /* are those of the workload that is asked about */
};

/* core.v3.SocketAddress {string address = 2; uint32 port_value = 3} */
static mica_rc socket_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct end *end = to;

	if (is(f, 2)) {
		struct mica_slice zone = f->bytes, ip;

		/* the zone of a link-local one is this machine's affair */
		mica_slice_cut(&zone, '%', &ip);
		if (mica_ip_parse(ip, &end->ip, NULL) != MICA_OK)
			return mica_fail(r->e, MICA_INVALID, "address_invalid",
				"\"%.*s\" is no address", MICA_FMT(f->bytes));
	}
	if (f->number == 3 && f->type == MICA_WIRE_VARINT) {
		if (f->value > UINT16_MAX)
			return mica_fail(
				r->e, MICA_INVALID, "address_invalid", "a port is above 65535");
		end->port = (uint16_t)f->value;
	}
	return MICA_OK;
}

/* core.v3.Address {SocketAddress socket_address = 1}; a pipe has no address. */
static mica_rc address_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	return is(f, 1) ? each(r, f->bytes, socket_field, to) : MICA_OK;
}

static mica_rc label_entry(struct reading *r, struct mica_slice m)
{
	struct mica_policy_pair p;
	mica_rc rc = read_pair(r, m, &p);

	if (rc != MICA_OK)
		return rc;
	if (!mica_slice_eq_str(p.key, OURS "namespace"))
		return add_label(r, p.key, p.value);
	if (r->q->r.workload.ns.len == 0)
		r->q->r.workload.ns = p.value;
	return MICA_OK;
}

static mica_rc peer_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct end *end = to;

	if (is(f, 1))
		return each(r, f->bytes, address_field, end);
	if (is(f, 3) && end->labels)
		return label_entry(r, f->bytes);
	if (is(f, 4))
		end->principal = f->bytes;
	if (is(f, 5))
		end->certificate = f->bytes;
	return MICA_OK;
}

static mica_rc read_source(struct reading *r, struct mica_slice m)
{
	request_t *q = r->q;
	struct end end = {.labels = false};
	mica_rc rc = each(r, m, peer_field, &end);

	q->r.source_ip = q->r.remote_ip = end.ip;
	q->principal = end.principal;
	q->certificate = end.certificate;
	return rc;
}

static mica_rc read_destination(struct reading *r, struct mica_slice m)
{
	struct end end = {.labels = true};
	mica_rc rc = each(r, m, peer_field, &end);

	r->q->r.destination_ip = end.ip;
	r->q->r.port = end.port;
	r->destination = end.principal;
	return rc;
}

struct mica_slice ext_authz_namespace(struct mica_slice spiffe_id)
{
	struct mica_spiffe_id id;
	struct mica_slice rest, segment, ns;

	if (mica_spiffe_id_parse_workload(spiffe_id, &id, NULL) != MICA_OK)
		return MICA_SLICE_NULL;
	rest = id.path;
	while (mica_spiffe_next_segment(&rest, &segment))
		if (mica_slice_eq_str(segment, "ns"))
			return mica_spiffe_next_segment(&rest, &ns) && rest.len ? ns
										: MICA_SLICE_NULL;
	return MICA_SLICE_NULL;
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static mica_rc add_header(
	const struct reading *r, const struct mica_policy_pair *p, bool again, unsigned *n)
{
	request_t *q = r->q;
	unsigned i = 0;

	if (p->key.len == 0 || p->key.p[0] == ':') /* pseudo-headers have fields of their own */
		return MICA_OK;
	while (i < *n && !mica_slice_eq(q->headers[i].key, p->key))
		i++;
	if (has_upper(p->key) || (i < *n && !again))
		return mica_fail(r->e, MICA_INVALID, "header_invalid",
			"the header %.*s is there twice, or not in lower case", MICA_FMT(p->key));
	if (i == EXT_AUTHZ_HEADERS)
		return too_large(r, "headers", EXT_AUTHZ_HEADERS);
	if (i == *n) {
		q->headers[(*n)++] = *p;
		return MICA_OK;
	}
	/* RFC 9110 5.3 */
	return join(r, q->headers[i].value, MICA_LIT(","), &q->headers[i].value) == MICA_OK
		? join(r, q->headers[i].value, p->value, &q->headers[i].value)
		: MICA_LIMIT;
}

/* core.v3.HeaderValue {string key = 1, value = 2; bytes raw_value = 3} */
static mica_rc header_value_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct mica_policy_pair *p = to;

	(void)r;
	if (is(f, 1))
		p->key = f->bytes;
	if (is(f, 2) || is(f, 3))
		p->value = f->bytes;
	return MICA_OK;
}

/* core.v3.HeaderMap {repeated HeaderValue headers = 1} */
static mica_rc header_map_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct mica_policy_pair p = {.key = MICA_SLICE_NULL};
	mica_rc rc;

	if (!is(f, 1))
		return MICA_OK;
	rc = each(r, f->bytes, header_value_field, &p);
	return rc == MICA_OK ? add_header(r, &p, true, to) : rc;
}

static mica_rc http_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct mica_policy_request *q = &r->q->r;
	struct mica_policy_pair p;
	mica_rc rc;

	(void)to;
	if (is(f, 2))
		q->method = f->bytes;
	if (is(f, 4))
		q->path = f->bytes;
	if (is(f, 5))
		q->host = f->bytes;
	if (is(f, 13))
		return each(r, f->bytes, header_map_field, &q->n_headers);
	if (!is(f, 3))
		return MICA_OK;
	rc = read_pair(r, f->bytes, &p);
	return rc == MICA_OK ? add_header(r, &p, false, &q->n_headers) : rc;
}

/* Request {HttpRequest http = 2} */
static mica_rc request_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	if (!is(f, 2))
		return MICA_OK;
	r->q->r.http = true;
	return each(r, f->bytes, http_field, to);
}

/* TLSSession {string sni = 1} */
static mica_rc tls_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	(void)to;
	return is(f, 1) ? in_lower_case(r, f->bytes, &r->q->r.sni) : MICA_OK;
}

/* ---- the JWT that a filter has verified -------------------------------------------------------
 */

struct claim {
	struct mica_slice name; /* "[a][b]" */
	unsigned depth;
};

static field_fn value_field;

static mica_rc add_claim(const struct reading *r, struct mica_slice name, struct mica_slice value)
{
	struct mica_policy_request *q = &r->q->r;

	if (q->n_claims == EXT_AUTHZ_CLAIMS)
		return too_large(r, "claims", EXT_AUTHZ_CLAIMS);
	r->q->claims[q->n_claims++] = (struct mica_policy_pair){.key = name, .value = value};
	return MICA_OK;
}

/* "[a]" and a key -> "[a][key]" */
static mica_rc name_of(const struct reading *r, struct mica_slice prefix, struct mica_slice key,
	struct mica_slice *out)
{
	mica_rc rc;

	if ((key.len && (memchr(key.p, '[', key.len) || memchr(key.p, ']', key.len))))
		return mica_fail(r->e, MICA_INVALID, "jwt_ambiguous",
			"the claim %.*s has brackets in its name", MICA_FMT(key));
	rc = join(r, prefix, MICA_LIT("["), out);
	if (rc == MICA_OK)
		rc = join(r, *out, key, out);
	return rc == MICA_OK ? join(r, *out, MICA_LIT("]"), out) : rc;
}

/* google.protobuf.Struct {map<string, Value> fields = 1} */
static mica_rc struct_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	const struct claim *above = to;
	struct claim c = {.depth = above->depth + 1};
	struct mica_policy_pair p;
	mica_rc rc;

	if (!is(f, 1))
		return MICA_OK;
	if (c.depth > EXT_AUTHZ_DEPTH)
		return too_large(r, "levels of claims", EXT_AUTHZ_DEPTH);
	rc = read_pair(r, f->bytes, &p);
	if (rc == MICA_OK)
		rc = name_of(r, above->name, p.key, &c.name);
	return rc == MICA_OK ? each(r, p.value, value_field, &c) : rc;
}

/* google.protobuf.ListValue {repeated Value values = 1}: each entry has the list's name. */
static mica_rc list_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	const struct claim *above = to;
	struct claim c = {.name = above->name, .depth = above->depth + 1};

	if (!is(f, 1))
		return MICA_OK;
	if (c.depth > EXT_AUTHZ_DEPTH)
		return too_large(r, "levels of claims", EXT_AUTHZ_DEPTH);
	return each(r, f->bytes, value_field, &c);
}

/* google.protobuf.Value {string_value = 3; Struct struct_value = 5; ListValue list_value = 6}: a
 * claim that is a number or a truth value has no string to be compared. */
static mica_rc value_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	const struct claim *c = to;

	if (is(f, 3))
		return add_claim(r, c->name, f->bytes);
	if (is(f, 5))
		return each(r, f->bytes, struct_field, to);
	return is(f, 6) ? each(r, f->bytes, list_field, to) : MICA_OK;
}

/* The registered claims (RFC 7519 4.1), which are found as "[iss]" too. */
static mica_rc pick_claims(const struct reading *r)
{
	struct mica_policy_request *q = &r->q->r;

	for (unsigned i = 0; i < q->n_claims; i++) {
		const struct mica_policy_pair *p = &q->claims[i];

		if (mica_slice_eq_str(p->key, "[iss]"))
			q->jwt_issuer = p->value;
		if (mica_slice_eq_str(p->key, "[sub]"))
			q->jwt_subject = p->value;
		if (mica_slice_eq_str(p->key, "[azp]"))
			q->presenter = p->value;
		if (!mica_slice_eq_str(p->key, "[aud]"))
			continue;
		if (q->n_audiences == EXT_AUTHZ_AUDIENCES)
			return too_large(r, "audiences", EXT_AUTHZ_AUDIENCES);
		r->q->audiences[q->n_audiences++] = p->value;
	}
	return MICA_OK;
}

/* Of the filter's Struct, the member that is the payload. */
static mica_rc payload_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct claim top = {.depth = 0};
	struct mica_policy_pair p;
	mica_rc rc = is(f, 1) ? read_pair(r, f->bytes, &p) : MICA_NOT_FOUND;
	struct mica_slice value;
	struct mica_wire_field v;

	(void)to;
	if (rc != MICA_OK || !mica_slice_eq(p.key, r->jwt))
		return rc == MICA_NOT_FOUND ? MICA_OK : rc;
	for (value = p.value; (rc = mica_wire_next(&value, &v, r->e)) == MICA_OK;)
		if (is(&v, 5)) {
			rc = each(r, v.bytes, struct_field, &top);
			if (rc != MICA_OK)
				return rc;
		}
	return rc == MICA_NOT_FOUND ? MICA_OK : rc;
}

/* core.v3.Metadata {map<string, Struct> filter_metadata = 1} */
static mica_rc metadata_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	struct mica_policy_pair p;
	mica_rc rc;

	if (!is(f, 1))
		return MICA_OK;
	rc = read_pair(r, f->bytes, &p);
	if (rc == MICA_OK && mica_slice_eq_str(p.key, JWT_FILTER))
		rc = each(r, p.value, payload_field, to);
	return rc;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static mica_rc context_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	switch (f->type == MICA_WIRE_BYTES ? f->number : 0) {
	case 1: return read_source(r, f->bytes);
	case 2: return read_destination(r, f->bytes);
	case 4: return each(r, f->bytes, request_field, to);
	case 11: return each(r, f->bytes, metadata_field, to);
	case 12: return each(r, f->bytes, tls_field, to);
	default: return MICA_OK;
	}
}

static mica_rc attributes_field(struct reading *r, const struct mica_wire_field *f, void *to)
{
	mica_rc rc;

	if (!is(f, 1))
		return MICA_OK;
	rc = each(r, f->bytes, first_field, to);
	return rc == MICA_OK ? each(r, f->bytes, context_field, to) : rc;
}

static mica_rc check(const struct reading *r)
{
	struct mica_policy_request *q = &r->q->r;

	if (q->workload.ns.len == 0)
		q->workload.ns = ext_authz_namespace(r->destination);
	/* in a namespace that cannot be there are no policies, and everything would be allowed */
	if (!mica_k8s_label_ok(q->workload.ns))
		return mica_fail(r->e, MICA_INVALID, "workload_unknown",
			"nothing says which workload is asked about; expected a certificate of the "
			"workload with /ns/NAMESPACE/ in its SPIFFE ID, or the context extension "
			"mica.namespace");
	if (!ext_authz_path_is_plain(q->path))
		return mica_fail(r->e, MICA_INVALID, "path_ambiguous",
			"servers may read this path in different ways; expected a normalised one");
	return pick_claims(r);
}

mica_rc ext_authz_request_read(
	struct mica_slice message, struct ext_authz_request *out, struct mica_err *e)
{
	struct reading r = {.q = out, .jwt = MICA_LIT("payload"), .e = e};
	mica_rc rc;

	/* not the arrays, which are long */
	out->r = (struct mica_policy_request){.headers = out->headers,
		.workload = {.labels = out->labels},
		.claims = out->claims,
		.audiences = out->audiences};
	out->principal = out->certificate = MICA_SLICE_NULL;
	out->canary = false;
	out->used = 0;
	rc = each(&r, message, attributes_field, NULL);
	return rc == MICA_OK ? check(&r) : rc;
}
