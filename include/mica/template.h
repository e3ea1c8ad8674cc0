/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names from templates: "/ns/{namespace}/sa/{serviceaccount}" makes the path of a SPIFFE ID,
 * "{serviceaccount}.{namespace}.svc" a DNS name. Compiled and judged once, when a configuration is
 * loaded; then immutable, any thread.
 *
 * A template is a list of segments, parted by '/' (path) or '.' (DNS). A segment is made of
 * literals and placeholders {field} or {field|encoding}. A placeholder fills its whole segment, or
 * each neighbour of it is a literal whose adjacent character no value of the placeholder can hold.
 * So every name is read back in exactly one way: equal names come from equal values. A value is
 * never replaced and never cut; what does not fit is refused.
 *
 * Encodings, both injective, for values outside [A-Za-z0-9._-]:
 *	hex	each octet as two lower-case hex digits: [0-9a-f]
 *	escape	[A-Za-z0-9.-] stand for themselves, '_' becomes "__", any other octet, and a dot
 *		at the beginning, becomes '_' and two lower-case hex digits ("a/b_c" -> "a_2fb__c")
 * In a DNS template a value must be one label, so only `hex` is offered.
 */
#ifndef MICA_TEMPLATE_H
#define MICA_TEMPLATE_H

#include "mica/principal.h"
#include "mica/slice.h"

/* ---- patterns --------------------------------------------------------------------------- */

/*
 * What a claim must look like; always of the whole value, octet by octet:
 *	*	any run of octets, also none, '/' included
 *	?	any one octet
 *	[a-z_]	one of a set; [^/] one of all others; '+' behind it: one or more, '*': any number
 *	\x	x itself, where x is one of * ? [ ] \ +
 *	else	the octet itself
 * Matching takes time in proportion to the value's length, whatever the pattern: no backtracking.
 */
struct mica_pattern; /* opaque, immutable */
#define MICA_PATTERN_MAX 256 /* octets of text; at most 63 atoms */
/* INVALID "pattern_invalid". */
mica_rc mica_pattern_compile(
	struct mica_slice text, struct mica_pattern **out, struct mica_err *e) MICA_MUST_CHECK;
bool mica_pattern_match(const struct mica_pattern *p, struct mica_slice value);
void mica_pattern_free(struct mica_pattern *p); /* NULL is fine */

/* ---- templates -------------------------------------------------------------------------- */

enum mica_template_kind { MICA_TEMPLATE_PATH, MICA_TEMPLATE_DNS };
struct mica_template; /* opaque */

#define MICA_TEMPLATE_MAX          512 /* octets of text */
#define MICA_TEMPLATE_SEGMENTS_MAX 32
#define MICA_TEMPLATE_FIELDS_MAX   32
#define MICA_TEMPLATE_VALUE_MAX    1024 /* octets of a value before its encoding */

/* What a placeholder may name. Its index is its place in the `values` of an expansion. */
struct mica_template_field {
	const char *name; /* [a-z][a-z0-9_]* */
	/* Which octets a value may hold; NULL = [A-Za-z0-9._-]. A subset is a stronger promise: a
	 * value that breaks it is refused, and a literal outside it may bound the placeholder. */
	const char *charset; /* as in a pattern, without brackets: "a-z0-9-" */
	/* Known already (the name of a cluster): becomes a literal when compiled. "" is refused
	 * where a placeholder names it. NULL = known at expansion only. */
	const char *constant;
};

/* INVALID: "template_syntax" (with the column in e->column), "template_unknown_field" (names the
 * known ones), "template_unknown_encoding", "template_ambiguous" (a placeholder that is not
 * bounded), "template_reserved" (below /mica), "template_too_long". */
mica_rc mica_template_compile(enum mica_template_kind kind, struct mica_slice text,
	const struct mica_template_field *fields, size_t n_fields, struct mica_template **out,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_template_free(struct mica_template *t); /* NULL is fine */

/* Writes the name and a NUL into out[size]; *len (optional) without it. `values` has an entry for
 * each field. The result was checked against the template itself. DENIED: "name_value_missing" (an
 * empty value), "name_value_invalid" (outside its charset, or "." or ".."; for DNS: not a label),
 * "name_too_long" (over `size`, or 253 for DNS), "name_reserved" (below /mica). */
mica_rc mica_template_expand(const struct mica_template *t, const struct mica_slice *values,
	size_t n_values, char *out, size_t size, size_t *len, struct mica_err *e) MICA_MUST_CHECK;
/* Whether some values make this name. */
bool mica_template_matches(const struct mica_template *t, struct mica_slice name);

/* Whether a literal segment keeps all names of a and b apart: at one position both templates have
 * literal segments, and they differ. INVALID "names_overlap" else; its text says at which segment
 * they could meet. (A different number of segments alone does not count: the shorter one's names
 * would be prefixes in policies.) */
mica_rc mica_template_disjoint(const struct mica_template *a, const struct mica_template *b,
	struct mica_err *e) MICA_MUST_CHECK;
/* The same literals, and the same fields in the same places: equal values make equal names. */
bool mica_template_same(const struct mica_template *a, const struct mica_template *b);

/* The literal segments at its beginning, up to the border before the first placeholder's segment:
 * "/ns/". The whole text when there is no placeholder. Borrowed. */
struct mica_slice mica_template_prefix(const struct mica_template *t);
const char *mica_template_text(const struct mica_template *t); /* as compiled from; borrowed */
/* Whether a placeholder names field `index` (constants do not count). */
bool mica_template_uses(const struct mica_template *t, size_t index);

/* ---- the fields of a principal ---------------------------------------------------------- */

enum mica_principal_field {
	MICA_PF_NAMESPACE, /* {namespace} */
	MICA_PF_SERVICEACCOUNT, /* {serviceaccount} */
	MICA_PF_POD, /* {pod} */
	MICA_PF_NODE, /* {node} */
	MICA_PF_CLUSTER, /* {cluster} */
	MICA_PF_ISSUER, /* {issuer}: the name it has in the configuration */
	MICA_PF_COUNT
};
/* For rules (DNS names), which hold for several issuers: no constants. */
extern const struct mica_template_field mica_principal_fields[MICA_PF_COUNT];
/* Borrowed from *p; what is unknown is empty. */
void mica_principal_values(const struct mica_principal *p, struct mica_slice values[MICA_PF_COUNT]);

/* ---- encodings, for those who read names back (the CLI, tests) --------------------------- */

enum mica_template_encoding { MICA_ENC_NONE, MICA_ENC_HEX, MICA_ENC_ESCAPE, MICA_ENC_COUNT };
/* *len in: room, out: octets written; LIMIT when it does not fit. */
mica_rc mica_template_encode(enum mica_template_encoding enc, struct mica_slice value, char *out,
	size_t *len) MICA_MUST_CHECK;
/* INVALID for what mica_template_encode never writes. */
mica_rc mica_template_decode(enum mica_template_encoding enc, struct mica_slice text, uint8_t *out,
	size_t *len) MICA_MUST_CHECK;

static inline void mica_auto_template_(struct mica_template **p)
{
	mica_template_free(*p);
}
static inline void mica_auto_pattern_(struct mica_pattern **p)
{
	mica_pattern_free(*p);
}
#define MICA_AUTO_TEMPLATE __attribute__((cleanup(mica_auto_template_))) struct mica_template *
#define MICA_AUTO_PATTERN  __attribute__((cleanup(mica_auto_pattern_))) struct mica_pattern *

#endif
