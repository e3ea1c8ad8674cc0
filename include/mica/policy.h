/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authorization policies as documents: what admins write in Istio's schema (security.istio.io/v1
 * AuthorizationPolicy, PeerAuthentication) becomes an immutable value, and goes back to text.
 *
 *	text -> mica_policies_parse -> struct mica_policy, one a document -> mica_policy_put_json
 *	                                     |                               mica_policy_put_yaml
 *	                                     v
 *	             mica/policy_set.h: many of them, compiled, decide about requests
 *
 * Istio has three ways to write a condition (a field of a source or of an operation, its "not"
 * form, a key of `when`). Here they are one: a *test* names an attribute of the request, the values
 * of which it must have one and those of which it must have none. All that is true of an attribute
 * (its names, its side, whether only HTTP has it) stands in one table: mica_policy_attr_of().
 *
 * Pure; any thread.
 */
#ifndef MICA_POLICY_H
#define MICA_POLICY_H

#include "mica/buf.h"
#include "mica/slice.h"

/* Bounds of what is read; beyond them a text is refused. */
#define MICA_POLICY_TEXT_MAX   (1024 * 1024) /* bytes of one text */
#define MICA_POLICY_DOCS_MAX   4096 /* documents in it */
#define MICA_POLICY_RULES_MAX  512 /* rules of a policy */
#define MICA_POLICY_PARTS_MAX  256 /* entries of from, to or when of a rule */
#define MICA_POLICY_VALUES_MAX 4096 /* entries of a list of values */
#define MICA_POLICY_VALUE_MAX  2048 /* bytes of one */
#define MICA_POLICY_PAIRS_MAX  128 /* labels, annotations, ports */

/* ---- values -------------------------------------------------------------------------------- */

struct mica_ip {
	uint8_t len; /* 4 or 16; 0 = none */
	uint8_t b[16];
};
struct mica_cidr {
	struct mica_ip ip; /* bits behind the prefix are 0 */
	uint8_t bits;
};
/* An address without zone; an IPv4 one inside of IPv6 (::ffff:a.b.c.d) is the IPv4 one. INVALID
 * "ip_invalid". */
mica_rc mica_ip_parse(struct mica_slice s, struct mica_ip *out, struct mica_err *e) MICA_MUST_CHECK;
/* "10.0.0.0/8", or an address alone, which is all of its bits. INVALID "cidr_invalid". *exact is
 * false when bits behind the prefix were not 0. */
mica_rc mica_cidr_parse(struct mica_slice s, struct mica_cidr *out, bool *exact,
	struct mica_err *e) MICA_MUST_CHECK;
bool mica_cidr_has(const struct mica_cidr *c, const struct mica_ip *ip);
#define MICA_IP_SIZE 50 /* the longest address, "/128" and NUL */
void mica_cidr_format(const struct mica_cidr *c, char out[MICA_IP_SIZE]);

enum mica_value_kind {
	MICA_VALUE_EXACT, /* "abc" */
	MICA_VALUE_PREFIX, /* "abc*" */
	MICA_VALUE_SUFFIX, /* "*abc" */
	MICA_VALUE_PRESENT, /* "*": there is one, and it is not empty */
	MICA_VALUE_GLOB, /* a namespace with a star elsewhere, "a*b" */
	MICA_VALUE_TEMPLATE, /* a path with {*} or {**} */
	MICA_VALUE_ACCOUNT, /* a service account of a namespace */
	MICA_VALUE_CIDR,
	MICA_VALUE_PORT
};
struct mica_policy_value {
	enum mica_value_kind kind;
	int line, column;
	struct mica_slice written; /* as in the document; followed by a NUL */
	/* EXACT, PREFIX, SUFFIX: `written` without its star; TEMPLATE, GLOB: all of it; ACCOUNT:
	 * its name; else empty. */
	struct mica_slice text;
	struct mica_slice
		ns; /* ACCOUNT: its namespace, which was the policy's if none was written */
	struct mica_cidr cidr;
	uint16_t port;
};
struct mica_policy_values {
	const struct mica_policy_value *v;
	unsigned n;
};

/* Whether `path` (without query) is of the form of a TEMPLATE: {*} is one segment, {**} any number
 * of octets; neither takes an octet outside of [A-Za-z0-9-._~%!$&'()+,;:@], as Envoy has it. */
bool mica_policy_template_matches(struct mica_slice template, struct mica_slice path);

/* ---- attributes of a request ---------------------------------------------------------------- */

enum mica_policy_attr {
	MICA_ATTR_PRINCIPAL, /* the peer's SPIFFE ID without "spiffe://" */
	MICA_ATTR_REQUEST_PRINCIPAL, /* issuer "/" subject of the request's JWT */
	MICA_ATTR_NAMESPACE, /* of the peer's SPIFFE ID: what follows its segment "ns" */
	MICA_ATTR_SERVICE_ACCOUNT, /* namespace, and what follows the segment "sa" behind it */
	MICA_ATTR_TRUST_DOMAIN, /* of the peer's SPIFFE ID */
	MICA_ATTR_SOURCE_IP, /* who is connected */
	MICA_ATTR_REMOTE_IP, /* who is behind trusted proxies */
	MICA_ATTR_HOST,
	MICA_ATTR_PORT, /* of the destination */
	MICA_ATTR_METHOD,
	MICA_ATTR_PATH,
	MICA_ATTR_HEADER, /* with a name */
	MICA_ATTR_AUDIENCE,
	MICA_ATTR_PRESENTER,
	MICA_ATTR_CLAIM, /* with a name: "[a][b]" */
	MICA_ATTR_DESTINATION_IP,
	MICA_ATTR_SNI,
	MICA_ATTR_COUNT
};
/* What belongs to whom; Envoy's RBAC and Istio make principals of sources and permissions of
 * operations. */
enum mica_policy_side { MICA_SIDE_SOURCE, MICA_SIDE_OPERATION };
struct mica_policy_attr_info {
	enum mica_policy_attr attr;
	enum mica_policy_side side;
	bool http; /* a request that is not HTTP has none */
	/* Fields of source or operation; NULL: only `when` knows it. */
	const char *field, *not_field;
	/* Key of `when`, up to its '[' when it has a name; NULL: `when` does not know it. */
	const char *key;
};
const struct mica_policy_attr_info *mica_policy_attr_of(enum mica_policy_attr attr);

/* ---- the model ------------------------------------------------------------------------------- */

/* Holds when the attribute has one of `is` (or that is empty), and none of `is_not`. */
struct mica_policy_test {
	enum mica_policy_attr attr;
	struct mica_slice name; /* HEADER (lower case), CLAIM ("[a][b]"); else empty */
	struct mica_policy_values is, is_not;
	int line, column;
};
/* Tests that must all hold: a source, an operation. Each attribute at most once. */
struct mica_policy_clause {
	const struct mica_policy_test *tests;
	unsigned n;
	int line, column;
};
/* One of `from` (or there is none) and one of `to` (or none) and all of `when`. */
struct mica_policy_rule {
	const struct mica_policy_clause *from, *to;
	unsigned n_from, n_to;
	struct mica_policy_clause when; /* an attribute may come several times */
	int line, column;
};

struct mica_policy_pair {
	struct mica_slice key, value; /* each followed by a NUL */
};
struct mica_policy_pairs {
	const struct mica_policy_pair *v;
	unsigned n;
};

enum mica_policy_kind { MICA_POLICY_AUTHORIZATION, MICA_POLICY_PEER };
enum mica_policy_action { MICA_POLICY_ALLOW, MICA_POLICY_DENY, MICA_POLICY_AUDIT };
enum mica_mtls_mode { MICA_MTLS_UNSET, MICA_MTLS_DISABLE, MICA_MTLS_PERMISSIVE, MICA_MTLS_STRICT };
struct mica_policy_port_mode {
	uint16_t port;
	enum mica_mtls_mode mode;
};

/* A document. Immutable and counted; everything in it lives as long as it does. */
struct mica_policy {
	enum mica_policy_kind kind;
	const char *ns, *name;
	int line, column; /* where its document begins */
	struct mica_policy_pairs labels, annotations; /* without what kubectl leaves there */
	int64_t created; /* metadata.creationTimestamp; 0 = unsaid */
	bool dry_run; /* annotation istio.io/dry-run: "true" */
	struct mica_policy_pairs selector; /* all of them; none = the whole namespace */

	/* AUTHORIZATION. Without rules it matches nothing; a rule without anything, all. */
	enum mica_policy_action action;
	const struct mica_policy_rule *rules;
	unsigned n_rules;

	/* PEER */
	enum mica_mtls_mode mtls;
	const struct mica_policy_port_mode *ports;
	unsigned n_ports;
};
const struct mica_policy *mica_policy_ref(const struct mica_policy *p);
void mica_policy_unref(const struct mica_policy *p); /* NULL is fine */

const char *mica_policy_kind_name(enum mica_policy_kind kind); /* "AuthorizationPolicy" ... */
const char *mica_policy_action_name(enum mica_policy_action action); /* "ALLOW" ... */
const char *mica_mtls_mode_name(enum mica_mtls_mode mode); /* "UNSET" ... */

/* ---- text -> policies ------------------------------------------------------------------------ */

/* What is accepted and yet probably not meant. */
struct mica_policy_warning {
	const char *reason; /* as of an error: a literal */
	int line, column;
	char text[256]; /* with "NAME:LINE:COLUMN: " before it */
};
#define MICA_POLICY_WARNINGS_MAX 32
struct mica_policies {
	const struct mica_policy **v; /* in the order of the text */
	unsigned n;
	struct mica_policy_warning warnings[MICA_POLICY_WARNINGS_MAX];
	unsigned n_warnings; /* how many there were: may be more than are kept */
};
#define MICA_POLICIES_INIT                                                                         \
	{                                                                                          \
		.v = NULL                                                                          \
	}

/*
 * Reads a text of any number of documents: YAML, JSON (which YAML contains), or a List of
 * Kubernetes. All of it is good, or *out is empty. `name` is for messages (a file), `default_ns` is
 * the namespace of documents that say none (NULL: "default").
 *
 * Errors have line and column, and "NAME:LINE:COLUMN: PATH: " before their text.
 * LIMIT "yaml_too_long"; INVALID
 *   "yaml_syntax"           not YAML; a key twice; anchors, aliases, tags
 *   "policy_empty"          no document at all
 *   "policy_kind"           another kind or apiVersion
 *   "policy_unknown_field"  a field that the schema does not have
 *   "policy_type"           a value of another type; a number where a string is meant
 *   "policy_missing_field"
 *   "policy_name"           a name, label or annotation that Kubernetes would refuse
 *   "policy_value"          a value that can never match, or not be what was meant
 *   "policy_empty_list"     nothing in a list or object, which is wider than it looks
 *   "policy_limit"          more of something than is read
 *   "policy_unsupported"    CUSTOM, targetRefs, keys of `when` that only Envoy knows
 *   "policy_duplicate"      two of a kind, namespace and name
 * Warnings: "policy_no_rules", "policy_contradiction", "policy_host_bits",
 * "policy_method_case", "policy_port_zero".
 */
mica_rc mica_policies_parse(struct mica_slice text, const char *name, const char *default_ns,
	struct mica_policies *out, struct mica_err *e) MICA_MUST_CHECK;
void mica_policies_clear(struct mica_policies *p);
#define MICA_AUTO_POLICIES __attribute__((cleanup(mica_policies_clear))) struct mica_policies

/* ---- policies -> text ------------------------------------------------------------------------ */

/* The canonical form: fields in one order, nothing that is a default but the action and the
 * namespace, labels and annotations by key. What it was parsed from may differ; parsed again it is
 * the same policy, and written again the same text. JSON is one line without its end; of YAML every
 * line is ended. LIMIT "too_long" comes from the buffer. */
void mica_policy_put_json(struct mica_buf *b, const struct mica_policy *p);
void mica_policy_put_yaml(struct mica_buf *b, const struct mica_policy *p);

#endif
