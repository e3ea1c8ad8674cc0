/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What requests say, decoded strictly: paths, queries and bodies. Pure; each refusal has its reason
 * and says what was expected. Results borrow from the input, from the parsed document or from the
 * struct api_params, whichever is named.
 */
#ifndef MICA_SERVER_API_DECODE_H
#define MICA_SERVER_API_DECODE_H

#include "mica/buf.h"
#include "mica/core.h"
#include "mica/core_policies.h"
#include "mica/json.h"
#include "mica/policy_compile.h"

#define API_PARAMS_MAX   14
#define API_AUDIENCE_MAX 16
#define API_CSR_MAX      (16 * 1024)
#define API_WAIT_MAX     60
#define API_TTL_MAX      ((int64_t)10 * 366 * 86400) /* nothing lives that long; the core clamps */

/* ---- words ------------------------------------------------------------------------------- */

extern const char *const api_channel_words[MICA_CHANNEL_COUNT + 1];
/* The place of `s` in a list that ends with NULL; -1 when it is not there. */
int api_find_word(const char *const *words, struct mica_slice s);

/* ---- queries: api_query.c ---------------------------------------------------------------- */

/* Decoded values in the order of the names that were asked for. */
struct api_params {
	struct mica_slice v[API_PARAMS_MAX];
	bool has[API_PARAMS_MAX];
	uint8_t *mem; /* of values that were percent-encoded */
};
void api_params_clear(struct api_params *p);
/* `names` ends with NULL; NULL = the route knows none. INVALID "unknown_parameter",
 * "repeated_parameter", "bad_parameter" (a broken percent-encoding, not UTF-8, a NUL). A '+' stands
 * for itself (RFC 3986). */
mica_rc api_params_parse(struct mica_slice query, const char *const *names, struct api_params *out,
	struct mica_err *e) MICA_MUST_CHECK;

struct api_bundle_query {
	enum mica_channel channel;
	int64_t wait; /* seconds; 0 = answer at once */
};
extern const char *const api_bundle_params[], *const api_event_params[], *const api_plan_params[];
/* INVALID "bad_parameter". */
mica_rc api_decode_bundle_query(const struct api_params *p, struct api_bundle_query *out,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc api_decode_event_query(const struct api_params *p, struct mica_event_query *out,
	struct mica_err *e) MICA_MUST_CHECK;

#define API_LABELS_MAX 64
#define API_PORTS_MAX  64
struct api_policy_query {
	enum mica_channel channel;
	enum mica_policy_kind kind; /* AuthorizationPolicy unless said */
	struct mica_slice ns; /* empty = all */
	uint64_t revision; /* 0 = what is in force */
	enum mica_policy_target target;
	enum mica_policy_form form;
	const char *part; /* of Envoy's filters; NULL = all */
	uint16_t ports[API_PORTS_MAX]; /* Linkerd: that get a Server */
	unsigned n_ports;
	char datacenter[64], consul_namespace[64], service_label[320]; /* Consul; "" = unsaid */
	struct mica_policy_workload workload; /* labels are here: not to be copied */
	bool has_kind, has_form, has_target, has_workload, strict, report;
	struct mica_policy_pair labels[API_LABELS_MAX];
};
extern const char *const api_policies_params[],
	*const api_compiled_params[], *const api_policy_params[],
					      *const api_policy_change_params[],
						      *const api_policies_change_params[],
							      *const api_policy_kind_params[];
/* `names` is one of those; "wait" is api_decode_bundle_query's to read. INVALID "bad_parameter". */
mica_rc api_decode_policy_query(const struct api_params *p, const char *const *names,
	struct api_policy_query *out, struct mica_err *e) MICA_MUST_CHECK;

/* ---- paths --------------------------------------------------------------------------------- */

/* "{L}/{N}[.p/W]" of C2SP tlog-tiles, canonical only: L 0 to 63, N in groups of three digits, W 1
 * to 255. `entries` reads "{N}[.p/W]". Width 256 = full. */
bool api_decode_tile(
	struct mica_slice path, bool entries, unsigned *level, uint64_t *n, unsigned *width);
/* Whether an If-None-Match (RFC 9110 13.1.2: a list, weak comparison, or "*") names `etag`. */
bool api_etag_matches(struct mica_slice if_none_match, const char *etag);
/* application/json with or without parameters. */
bool api_is_json(struct mica_slice content_type);
bool api_is_yaml(struct mica_slice content_type); /* the same of YAML */
/* The token of "Bearer <token>"; false when it is something else. */
bool api_bearer(struct mica_slice authorization, struct mica_slice *token);

/* ---- bodies: INVALID "json_*" or LIMIT "json_too_long" as mica/json.h -------------------- */

/* The root must be an object; `doc` is cleared by the caller in every case. */
mica_rc api_body(struct mica_slice body, struct mica_json *doc, struct mica_err *e) MICA_MUST_CHECK;

struct api_x509_body {
	struct mica_slice csr;
	int64_t ttl; /* 0 = unsaid */
	int64_t bundle_sequence;
	bool has_sequence;
	struct mica_slice instance; /* empty = unsaid */
};
mica_rc api_decode_x509(
	const struct mica_json *doc, struct api_x509_body *out, struct mica_err *e) MICA_MUST_CHECK;
/* The same from the bytes of an ordinary document, in a tenth of the time: true when it is one (no
 * nesting, plain ASCII, no escapes but \n, \r, \t and \/, all values in range), with out->csr in
 * `mem` (initialised by the caller). False says nothing: then the document must be parsed, which
 * finds the same, or what is wrong with it. */
bool api_plain_x509(struct mica_slice body, struct mica_buf *mem, struct api_x509_body *out);
struct api_jwt_body {
	struct mica_slice audience[API_AUDIENCE_MAX];
	size_t n_audience;
	int64_t ttl;
};
mica_rc api_decode_jwt(
	const struct mica_json *doc, struct api_jwt_body *out, struct mica_err *e) MICA_MUST_CHECK;
struct api_ack_body {
	enum mica_channel channel;
	int64_t sequence;
};
mica_rc api_decode_ack(
	const struct mica_json *doc, struct api_ack_body *out, struct mica_err *e) MICA_MUST_CHECK;
struct api_explain_body {
	struct mica_slice token;
	enum mica_front front;
};
mica_rc api_decode_explain(const struct mica_json *doc, struct api_explain_body *out,
	struct mica_err *e) MICA_MUST_CHECK;
struct api_deny_body {
	const char *kind; /* literal: "spiffe_id", "pod_uid", "key" */
	struct mica_slice value;
};
mica_rc api_decode_deny(
	const struct mica_json *doc, struct api_deny_body *out, struct mica_err *e) MICA_MUST_CHECK;
struct api_join_body {
	struct mica_slice spiffe_id; /* empty = unsaid */
	int64_t ttl; /* 0 = unsaid */
};
mica_rc api_decode_join(
	const struct mica_json *doc, struct api_join_body *out, struct mica_err *e) MICA_MUST_CHECK;
struct api_authority_body {
	enum mica_authority_kind kind;
	bool recover;
};
mica_rc api_decode_authority(const struct mica_json *doc, struct api_authority_body *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* {"force": true} or {"crl_only": true}, or nothing. INVALID "bad_rotation" for both. */
struct api_revoke_body {
	bool force, crl_only;
};
mica_rc api_decode_revoke(const struct mica_json *doc, struct api_revoke_body *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* {"force": true}, or nothing. */
mica_rc api_decode_force(
	const struct mica_json *doc, bool *force, struct mica_err *e) MICA_MUST_CHECK;
/* {"crl": PEM} */
mica_rc api_decode_crl(
	const struct mica_json *doc, struct mica_slice *pem, struct mica_err *e) MICA_MUST_CHECK;
/* {"reason": ...}, or nothing; the names are crl.h's. */
mica_rc api_decode_revocation(
	const struct mica_json *doc, struct mica_slice *reason, struct mica_err *e) MICA_MUST_CHECK;
enum api_rotation_action {
	API_ROTATION_START,
	API_ROTATION_ROLLBACK,
	API_ROTATION_CONFIRM,
	API_ROTATION_WITHDRAW,
	API_ROTATION_CLOCK
};
/* INVALID "bad_rotation" when what an action needs is missing. */
struct api_rotation_body {
	enum api_rotation_action action;
	enum mica_authority_kind kind; /* 0 = unsaid */
	struct mica_slice outlet;
	bool force;
};
mica_rc api_decode_rotation(const struct mica_json *doc, struct api_rotation_body *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* Seconds from now; a year when unsaid. INVALID "bad_parameter". */
mica_rc api_decode_plan_query(
	const struct api_params *p, int64_t *ahead, struct mica_err *e) MICA_MUST_CHECK;
/* An absolute path without NUL. INVALID "bad_path". */
mica_rc api_decode_backup(
	const struct mica_json *doc, struct mica_slice *path, struct mica_err *e) MICA_MUST_CHECK;

/* {"revision": n} */
mica_rc api_decode_policy_rollback(
	const struct mica_json *doc, uint64_t *revision, struct mica_err *e) MICA_MUST_CHECK;
#define API_POLICY_KEYS_MAX 1000
/* {"policies": [{"kind", "namespace", "name"}]}, or nothing (*n is 0). */
mica_rc api_decode_policy_keys(const struct mica_json *doc, struct mica_doc_key *keys, size_t *n,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
