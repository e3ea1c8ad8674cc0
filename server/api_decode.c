/* SPDX-License-Identifier: Apache-2.0 */
#include "api_decode.h"

/* Nothing that the API takes is deeper than an array in an object. */
static const struct mica_json_limits body_limits = {.bytes = 64 * 1024, .depth = 4};
#define SEQUENCE_MAX ((int64_t)1 << 53) /* design 8.2; also what JSON numbers carry exactly */

static const char *const channels[MICA_CHANNEL_COUNT + 1] = {"live", "canary"};
static const char *const fronts[MICA_FRONT_COUNT + 1] = {"rest", "istio", "linkerd", "consul"};
static const char *const orders[] = {"newest", "oldest", NULL};
static const char *const authority_kinds[] = {"root", "issuing", "jwt", NULL}; /* kind - 1 */
static const char *const rotation_actions[] = {
	"start", "rollback", "confirm", "withdraw", "clock", NULL};
static const char *const deny_kinds[] = {"spiffe_id", "pod_uid", "key", NULL};

/* The place of `s` in a list that ends with NULL; -1 when it is not there. */
static int find_name(const char *const *names, struct mica_slice s)
{
	for (int i = 0; names && names[i]; i++)
		if (mica_slice_eq_str(s, names[i]))
			return i;
	return -1;
}

/* ---- queries ------------------------------------------------------------------------------- */

void api_params_clear(struct api_params *p)
{
	mica_free(p->mem);
	*p = (struct api_params){.mem = NULL};
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes into `to`, which is as long as `s`. False when an escape is broken. */
static bool unescape(struct mica_slice s, uint8_t *to, size_t *len)
{
	*len = 0;
	for (size_t i = 0; i < s.len; i++) {
		int hi, lo;
		if (s.p[i] != '%') {
			to[(*len)++] = s.p[i];
			continue;
		}
		hi = s.len - i > 2 ? hex_digit(s.p[i + 1]) : -1;
		lo = s.len - i > 2 ? hex_digit(s.p[i + 2]) : -1;
		if (hi < 0 || lo < 0)
			return false;
		to[(*len)++] = (uint8_t)(hi << 4 | lo);
		i += 2;
	}
	return true;
}

/* One "name=value"; `mem` is where decoded bytes go, moved on. */
static mica_rc take_param(struct mica_slice pair, const char *const *names, struct api_params *out,
	uint8_t **mem, struct mica_err *e)
{
	struct mica_slice name, value = pair;
	size_t len;
	int i;

	mica_slice_cut(&value, '=', &name);
	i = find_name(names, name);
	if (i < 0)
		return mica_fail(e, MICA_INVALID, "unknown_parameter",
			"this path has no query parameter \"%.*s\"",
			(int)(name.len < 64 ? name.len : 64), (const char *)name.p);
	if (out->has[i])
		return mica_fail(e, MICA_INVALID, "repeated_parameter",
			"the query parameter %s appears twice, expected it once", names[i]);
	if (!unescape(value, *mem, &len) || !mica_slice_is_utf8(mica_slice(*mem, len)) ||
		memchr(*mem, '\0', len) != NULL)
		return mica_fail(e, MICA_INVALID, "bad_parameter",
			"the query parameter %s is not percent-encoded UTF-8", names[i]);
	out->has[i] = true;
	out->v[i] = mica_slice(*mem, len);
	*mem += len;
	return MICA_OK;
}

mica_rc api_params_parse(struct mica_slice query, const char *const *names, struct api_params *out,
	struct mica_err *e)
{
	struct mica_slice pair;
	uint8_t *mem;
	bool more;

	*out = (struct api_params){.mem = NULL};
	if (query.len == 0)
		return MICA_OK;
	mem = out->mem = mica_alloc(query.len + 1);
	do {
		more = mica_slice_cut(&query, '&', &pair);
		mica_rc rc = take_param(pair, names, out, &mem, e);
		if (rc != MICA_OK)
			return rc;
	} while (more);
	return MICA_OK;
}

/* A word of a list; absent = the first one. */
static mica_rc param_word(const struct api_params *p, int i, const char *name,
	const char *const *words, int *out, struct mica_err *e)
{
	*out = 0;
	if (!p->has[i])
		return MICA_OK;
	*out = find_name(words, p->v[i]);
	if (*out >= 0)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_parameter", "%s: expected \"%s\" or \"%s\"", name,
		words[0], words[1]);
}

const char *const api_bundle_params[] = {"channel", "wait", NULL};

mica_rc api_decode_bundle_query(
	const struct api_params *p, struct api_bundle_query *out, struct mica_err *e)
{
	int channel;
	mica_rc rc = param_word(p, 0, "channel", channels, &channel, e);

	*out = (struct api_bundle_query){.channel = (enum mica_channel)channel};
	if (rc != MICA_OK)
		return rc;
	if (p->has[1] && mica_parse_duration(p->v[1], API_WAIT_MAX, &out->wait) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "bad_parameter",
			"wait: expected seconds from 0 to %d, like 60 or 60s", API_WAIT_MAX);
	return MICA_OK;
}

enum event_param {
	EV_SPIFFE_ID,
	EV_POD_UID,
	EV_SERIAL,
	EV_TYPE,
	EV_SINCE,
	EV_UNTIL,
	EV_ORDER,
	EV_LIMIT,
	EV_CURSOR
};
const char *const api_event_params[] = {"spiffe_id", "pod_uid", "serial", "type", "since", "until",
	"order", "limit", "cursor", NULL};

static mica_rc param_time(
	const struct api_params *p, int i, const char *name, int64_t *out, struct mica_err *e)
{
	if (!p->has[i] || mica_time_parse(p->v[i], out) == MICA_OK)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_parameter",
		"%s: expected a time like 2026-11-24T12:00:00Z", name);
}

/* Filters must say something: an empty one would silently mean "any". */
static mica_rc check_filters(const struct api_params *p, struct mica_err *e)
{
	uint8_t b[16];
	size_t len = sizeof(b);

	for (int i = 0; api_event_params[i]; i++)
		if (p->has[i] && p->v[i].len == 0)
			return mica_fail(e, MICA_INVALID, "bad_parameter",
				"%s: expected a value, found none", api_event_params[i]);
	if (p->has[EV_SPIFFE_ID] &&
		(p->v[EV_SPIFFE_ID].len > MICA_SPIFFE_ID_MAX ||
			!mica_slice_has_prefix(p->v[EV_SPIFFE_ID], MICA_LIT("spiffe://"))))
		return mica_fail(e, MICA_INVALID, "bad_parameter",
			"spiffe_id: expected a whole SPIFFE ID, spiffe://...");
	if (p->has[EV_POD_UID] && mica_uuid_parse(p->v[EV_POD_UID], b) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "bad_parameter",
			"pod_uid: expected a UID of the form 8-4-4-4-12 in lower-case hex digits");
	if (p->has[EV_SERIAL] &&
		(mica_hex_decode(p->v[EV_SERIAL], b, &len) != MICA_OK || len != sizeof(b)))
		return mica_fail(
			e, MICA_INVALID, "bad_parameter", "serial: expected 32 hex digits");
	return MICA_OK;
}

mica_rc api_decode_event_query(
	const struct api_params *p, struct mica_event_query *out, struct mica_err *e)
{
	uint64_t limit = 0;
	int order;
	mica_rc rc = check_filters(p, e);

	*out = (struct mica_event_query){.spiffe_id = p->v[EV_SPIFFE_ID],
		.pod_uid = p->v[EV_POD_UID],
		.serial = p->v[EV_SERIAL],
		.type = p->v[EV_TYPE],
		.cursor = p->v[EV_CURSOR]};
	if (rc == MICA_OK)
		rc = param_time(p, EV_SINCE, "since", &out->since, e);
	if (rc == MICA_OK)
		rc = param_time(p, EV_UNTIL, "until", &out->until, e);
	if (rc == MICA_OK)
		rc = param_word(p, EV_ORDER, "order", orders, &order, e);
	if (rc != MICA_OK)
		return rc;
	out->oldest_first = order == 1;
	if (p->has[EV_LIMIT] &&
		(mica_parse_u64(p->v[EV_LIMIT], 1000, &limit) != MICA_OK || limit == 0))
		return mica_fail(e, MICA_INVALID, "bad_parameter",
			"limit: expected a number from 1 to 1000");
	out->limit = (unsigned)limit;
	return MICA_OK;
}

/* ---- paths and headers --------------------------------------------------------------------- */

/* C2SP tlog-tiles: N in groups of three digits, all but the last with an 'x' before, no group of
 * zeros in front. */
static bool tile_number(struct mica_slice s, uint64_t *n)
{
	struct mica_slice group;
	uint64_t all = 0, v;
	bool more, first = true;

	do {
		more = mica_slice_cut(&s, '/', &group);
		if (more) {
			if (group.len != 4 || group.p[0] != 'x')
				return false;
			group = mica_slice_sub(group, 1, 3);
		}
		if (group.len != 3)
			return false;
		v = 0;
		for (size_t i = 0; i < 3; i++) {
			if (group.p[i] < '0' || group.p[i] > '9')
				return false;
			v = v * 10 + (group.p[i] - '0');
		}
		if ((first && more && v == 0) || all > (UINT64_MAX - v) / 1000)
			return false;
		all = all * 1000 + v;
		first = false;
	} while (more);
	*n = all;
	return true;
}

bool api_decode_tile(
	struct mica_slice path, bool entries, unsigned *level, uint64_t *n, unsigned *width)
{
	static const struct mica_slice mark = {(const uint8_t *)".p/", 3};
	struct mica_slice head;
	uint64_t v;

	*level = 0;
	*width = 256;
	if (!entries) {
		if (!mica_slice_cut(&path, '/', &head) || mica_parse_u64(head, 63, &v) != MICA_OK)
			return false;
		*level = (unsigned)v;
	}
	for (size_t i = 0; i + mark.len <= path.len; i++) {
		if (!mica_slice_has_prefix(mica_slice_sub(path, i, path.len), mark))
			continue;
		if (mica_parse_u64(mica_slice_sub(path, i + mark.len, path.len), 255, &v) !=
				MICA_OK ||
			v == 0)
			return false;
		*width = (unsigned)v;
		path.len = i;
		break;
	}
	return tile_number(path, n);
}

static struct mica_slice trim(struct mica_slice s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = mica_slice_sub(s, 1, s.len);
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool api_etag_matches(struct mica_slice list, const char *etag)
{
	struct mica_slice one;
	bool more;

	if (mica_slice_eq_str(trim(list), "*"))
		return true;
	do {
		/* our tags hold no comma, so that one that does is not ours */
		more = mica_slice_cut(&list, ',', &one);
		one = trim(one);
		if (mica_slice_has_prefix(one, MICA_LIT("W/")))
			one = mica_slice_sub(one, 2, one.len);
		if (mica_slice_eq_str(one, etag))
			return true;
	} while (more);
	return false;
}

static bool eq_nocase(struct mica_slice s, const char *lower)
{
	size_t i;
	for (i = 0; i < s.len && lower[i]; i++) {
		uint8_t c = s.p[i];
		if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != (uint8_t)lower[i])
			return false;
	}
	return i == s.len && lower[i] == '\0';
}

bool api_is_json(struct mica_slice content_type)
{
	struct mica_slice type;
	mica_slice_cut(&content_type, ';', &type);
	return eq_nocase(trim(type), "application/json");
}

bool api_bearer(struct mica_slice authorization, struct mica_slice *token)
{
	struct mica_slice scheme;
	/* RFC 9110 11.4: one or more spaces; the scheme in any case */
	if (!mica_slice_cut(&authorization, ' ', &scheme) || !eq_nocase(scheme, "bearer"))
		return false;
	while (authorization.len && authorization.p[0] == ' ')
		authorization = mica_slice_sub(authorization, 1, authorization.len);
	*token = authorization;
	return true;
}

/* ---- bodies -------------------------------------------------------------------------------- */

mica_rc api_body(struct mica_slice body, struct mica_json *doc, struct mica_err *e)
{
	mica_rc rc = mica_json_parse(body, &body_limits, doc, e);
	if (rc == MICA_OK && !json_is_object(doc->root))
		rc = mica_json_fail(doc, doc->root, e, "json_type", "expected an object");
	return rc;
}

mica_rc api_decode_x509(const struct mica_json *doc, struct api_x509_body *out, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "csr",
			.type = MICA_JSON_STRING,
			.required = true,
			.min = 1,
			.max = API_CSR_MAX,
			.out = &out->csr},
		{.name = "ttl",
			.type = MICA_JSON_INT,
			.min = 1,
			.max = API_TTL_MAX,
			.out = &out->ttl},
		{.name = "bundle_sequence",
			.type = MICA_JSON_INT,
			.max = SEQUENCE_MAX,
			.out = &out->bundle_sequence,
			.present = &out->has_sequence},
		{.name = "instance",
			.type = MICA_JSON_STRING,
			.min = 1,
			.max = MICA_INSTANCE_MAX,
			.out = &out->instance},
	};
	*out = (struct api_x509_body){.ttl = 0};
	return mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
}

/* ---- ordinary documents -------------------------------------------------------------------- */

static uint8_t next_byte(struct mica_slice *s)
{
	while (s->len && memchr(" \t\r\n", *s->p, 4))
		*s = mica_slice(s->p + 1, s->len - 1);
	return s->len ? *s->p : 0;
}

static bool take_byte(struct mica_slice *s, uint8_t c)
{
	if (next_byte(s) != c)
		return false;
	*s = mica_slice(s->p + 1, s->len - 1);
	return true;
}

/* What stands behind a backslash, as far as it is taken here; 0 = it is not. */
static uint8_t plain_escape(uint8_t c)
{
	return c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c == '/' ? '/' : 0;
}

static bool plain_string(struct mica_slice *s, struct mica_buf *out)
{
	size_t i = 0, run;

	if (!take_byte(s, '"'))
		return false;
	for (;;) {
		run = i;
		while (i < s->len && s->p[i] >= 0x20 && s->p[i] < 0x7f && s->p[i] != '"' &&
			s->p[i] != '\\')
			i++;
		mica_buf_put(out, s->p + run, i - run);
		if (i < s->len && s->p[i] == '"')
			break;
		if (s->len - i < 2 || s->p[i] != '\\' || !plain_escape(s->p[i + 1]))
			return false;
		mica_buf_put_u8(out, plain_escape(s->p[i + 1]));
		i += 2;
	}
	*s = mica_slice(s->p + i + 1, s->len - i - 1);
	return !out->over;
}

static bool plain_number(struct mica_slice *s, int64_t min, int64_t max, int64_t *out)
{
	size_t n = 0;
	struct mica_slice digits;

	(void)next_byte(s);
	while (n < s->len && s->p[n] >= '0' && s->p[n] <= '9')
		n++;
	/* no fraction and no exponent: what follows is looked at by the caller */
	digits = mica_slice(s->p, n);
	*s = mica_slice(s->p + n, s->len - n);
	return n > 0 && mica_parse_i64(digits, min, max, out) == MICA_OK;
}

/* "name": as it stands; one with an escape in it is none of ours. */
static bool plain_name(struct mica_slice *s, struct mica_slice *name)
{
	if (!take_byte(s, '"') || !mica_slice_cut(s, '"', name))
		return false;
	return take_byte(s, ':');
}

static bool plain_member(struct mica_slice *s, struct mica_buf *mem, struct api_x509_body *out)
{
	struct mica_slice name;

	if (!plain_name(s, &name))
		return false;
	if (mica_slice_eq_str(name, "csr") && mem->len == 0)
		return plain_string(s, mem) && mem->len >= 1 && mem->len <= API_CSR_MAX;
	if (mica_slice_eq_str(name, "ttl") && out->ttl == 0)
		return plain_number(s, 1, API_TTL_MAX, &out->ttl);
	if (mica_slice_eq_str(name, "bundle_sequence") && !out->has_sequence) {
		out->has_sequence = true;
		return plain_number(s, 0, SEQUENCE_MAX, &out->bundle_sequence);
	}
	return false;
}

bool api_plain_x509(struct mica_slice s, struct mica_buf *mem, struct api_x509_body *out)
{
	*out = (struct api_x509_body){.ttl = 0};
	(void)mica_buf_room(mem, s.len < API_CSR_MAX ? s.len : API_CSR_MAX);
	if (!take_byte(&s, '{'))
		return false;
	do {
		if (!plain_member(&s, mem, out))
			return false;
	} while (take_byte(&s, ','));
	out->csr = mica_buf_slice(mem);
	return take_byte(&s, '}') && next_byte(&s) == 0 && s.len == 0 && mem->len > 0;
}

/* ---- the other ones ------------------------------------------------------------------------ */

mica_rc api_decode_jwt(const struct mica_json *doc, struct api_jwt_body *out, struct mica_err *e)
{
	json_t *audience = NULL;
	const struct mica_json_member members[] = {
		{.name = "audience",
			.type = MICA_JSON_ARRAY,
			.required = true,
			.min = 1,
			.max = API_AUDIENCE_MAX,
			.out = &audience},
		{.name = "ttl",
			.type = MICA_JSON_INT,
			.min = 1,
			.max = API_TTL_MAX,
			.out = &out->ttl},
	};
	mica_rc rc;

	*out = (struct api_jwt_body){.ttl = 0};
	rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	if (rc != MICA_OK)
		return rc;
	for (size_t i = 0; i < json_array_size(audience); i++) {
		const json_t *v = json_array_get(audience, i);
		if (!json_is_string(v))
			return mica_json_fail(
				doc, v, e, "json_type", "audience[%zu]: expected a string", i);
		if (json_string_length(v) == 0 || json_string_length(v) > 255)
			return mica_json_fail(doc, v, e, "json_range",
				"audience[%zu]: expected 1 to 255 bytes", i);
		out->audience[out->n_audience++] = mica_json_str(v);
	}
	return MICA_OK;
}

/* A member that is a word of a list; absent = the first one. */
static mica_rc body_word(const struct mica_json *doc, const char *name, const char *const *words,
	int *out, struct mica_err *e)
{
	const json_t *v = json_object_get(doc->root, name);
	char all[96] = "";
	size_t n = 0;

	*out = v ? find_name(words, mica_json_str(v)) : 0;
	if (*out >= 0)
		return MICA_OK;
	for (size_t i = 0; words[i] && n < sizeof(all); i++)
		n += (size_t)snprintf(
			all + n, sizeof(all) - n, "%s\"%s\"", i ? ", " : "", words[i]);
	return mica_json_fail(doc, v, e, "json_range", "%s: expected one of %s", name, all);
}

mica_rc api_decode_ack(const struct mica_json *doc, struct api_ack_body *out, struct mica_err *e)
{
	struct mica_slice channel;
	const struct mica_json_member members[] = {
		{.name = "channel", .type = MICA_JSON_STRING, .out = &channel},
		{.name = "sequence",
			.type = MICA_JSON_INT,
			.required = true,
			.min = 1,
			.max = SEQUENCE_MAX,
			.out = &out->sequence},
	};
	mica_rc rc;
	int i = 0;

	*out = (struct api_ack_body){.sequence = 0};
	rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	if (rc == MICA_OK)
		rc = body_word(doc, "channel", channels, &i, e);
	out->channel = (enum mica_channel)i;
	return rc;
}

mica_rc api_decode_explain(
	const struct mica_json *doc, struct api_explain_body *out, struct mica_err *e)
{
	struct mica_slice front;
	const struct mica_json_member members[] = {
		/* how long a token may be is the core's to explain */
		{.name = "token", .type = MICA_JSON_STRING, .required = true, .out = &out->token},
		{.name = "front", .type = MICA_JSON_STRING, .out = &front},
	};
	mica_rc rc;
	int i = 0;

	*out = (struct api_explain_body){.front = MICA_FRONT_REST};
	rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	if (rc == MICA_OK)
		rc = body_word(doc, "front", fronts, &i, e);
	out->front = (enum mica_front)i;
	return rc;
}

mica_rc api_decode_deny(const struct mica_json *doc, struct api_deny_body *out, struct mica_err *e)
{
	struct mica_slice kind;
	const struct mica_json_member members[] = {
		{.name = "kind", .type = MICA_JSON_STRING, .required = true, .out = &kind},
		{.name = "value",
			.type = MICA_JSON_STRING,
			.required = true,
			.min = 1,
			.max = MICA_SPIFFE_ID_MAX,
			.out = &out->value},
	};
	mica_rc rc;
	int i = 0;

	*out = (struct api_deny_body){.kind = NULL};
	rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	if (rc != MICA_OK)
		return rc;
	i = find_name(deny_kinds, kind);
	if (i < 0)
		return mica_json_fail(doc, json_object_get(doc->root, "kind"), e, "bad_deny_entry",
			"kind: expected one of \"spiffe_id\", \"pod_uid\", \"key\"");
	out->kind = deny_kinds[i];
	return MICA_OK;
}

mica_rc api_decode_join(const struct mica_json *doc, struct api_join_body *out, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "spiffe_id",
			.type = MICA_JSON_STRING,
			.min = 1,
			.max = MICA_SPIFFE_ID_MAX,
			.out = &out->spiffe_id},
		{.name = "ttl",
			.type = MICA_JSON_INT,
			.min = 1,
			.max = API_TTL_MAX,
			.out = &out->ttl},
	};

	*out = (struct api_join_body){.ttl = 0};
	return mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
}

mica_rc api_decode_authority(
	const struct mica_json *doc, struct api_authority_body *out, struct mica_err *e)
{
	struct mica_slice kind;
	const struct mica_json_member members[] = {
		{.name = "kind", .type = MICA_JSON_STRING, .required = true, .out = &kind},
		{.name = "recover", .type = MICA_JSON_BOOL, .out = &out->recover},
	};
	mica_rc rc;
	int i = 0;

	*out = (struct api_authority_body){.recover = false};
	rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	if (rc == MICA_OK)
		rc = body_word(doc, "kind", authority_kinds, &i, e);
	out->kind = (enum mica_authority_kind)(i + 1);
	return rc;
}

mica_rc api_decode_force(const struct mica_json *doc, bool *force, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "force", .type = MICA_JSON_BOOL, .out = force},
	};

	*force = false;
	return mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
}

mica_rc api_decode_revoke(
	const struct mica_json *doc, struct api_revoke_body *out, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "force", .type = MICA_JSON_BOOL, .out = &out->force},
		{.name = "crl_only", .type = MICA_JSON_BOOL, .out = &out->crl_only},
	};
	mica_rc rc;

	*out = (struct api_revoke_body){.force = false};
	rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	if (rc == MICA_OK && out->force && out->crl_only)
		rc = mica_fail(e, MICA_INVALID, "bad_rotation", "crl_only: cannot be forced");
	return rc;
}

mica_rc api_decode_crl(const struct mica_json *doc, struct mica_slice *pem, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "crl", .type = MICA_JSON_STRING, .required = true, .min = 1, .out = pem},
	};

	return mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
}

mica_rc api_decode_revocation(
	const struct mica_json *doc, struct mica_slice *reason, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "reason", .type = MICA_JSON_STRING, .min = 1, .max = 64, .out = reason},
	};

	*reason = MICA_SLICE_NULL;
	return mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
}

/* What an action is about, and nothing else. */
static mica_rc check_rotation(const struct api_rotation_body *b, bool has_force, struct mica_err *e)
{
	bool about_kind = b->action == API_ROTATION_START || b->action == API_ROTATION_ROLLBACK ||
		b->action == API_ROTATION_WITHDRAW;

	if (about_kind != (b->kind != 0))
		return mica_fail(e, MICA_INVALID, "bad_rotation",
			about_kind ? "expected kind: which one, \"root\", \"issuing\" or \"jwt\""
				   : "kind: this action is about no kind");
	if ((b->action == API_ROTATION_CONFIRM) != (b->outlet.len > 0))
		return mica_fail(e, MICA_INVALID, "bad_rotation",
			b->action == API_ROTATION_CONFIRM
				? "expected outlet: the name of one of rotation.outlets, or canary"
				: "outlet: this action is about no outlet");
	if (has_force && b->action != API_ROTATION_ROLLBACK)
		return mica_fail(
			e, MICA_INVALID, "bad_rotation", "force: only a rollback can be forced");
	return MICA_OK;
}

mica_rc api_decode_rotation(
	const struct mica_json *doc, struct api_rotation_body *out, struct mica_err *e)
{
	bool has_kind = false, has_force = false;
	struct mica_slice action, kind;
	const struct mica_json_member members[] = {
		{.name = "action", .type = MICA_JSON_STRING, .required = true, .out = &action},
		{.name = "kind", .type = MICA_JSON_STRING, .out = &kind, .present = &has_kind},
		{.name = "outlet",
			.type = MICA_JSON_STRING,
			.min = 1,
			.max = MICA_NAME_MAX,
			.out = &out->outlet},
		{.name = "force",
			.type = MICA_JSON_BOOL,
			.out = &out->force,
			.present = &has_force},
	};
	mica_rc rc;
	int i = 0;

	*out = (struct api_rotation_body){.force = false};
	rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	if (rc == MICA_OK)
		rc = body_word(doc, "action", rotation_actions, &i, e);
	out->action = (enum api_rotation_action)i;
	if (rc == MICA_OK && has_kind)
		rc = body_word(doc, "kind", authority_kinds, &i, e);
	if (rc == MICA_OK && has_kind)
		out->kind = (enum mica_authority_kind)(i + 1);
	return rc == MICA_OK ? check_rotation(out, has_force, e) : rc;
}

const char *const api_plan_params[] = {"ahead", NULL};

mica_rc api_decode_plan_query(const struct api_params *p, int64_t *ahead, struct mica_err *e)
{
	*ahead = (int64_t)366 * 86400;
	if (p->has[0] && mica_parse_duration(p->v[0], API_TTL_MAX, ahead) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "bad_parameter",
			"ahead: expected a duration like 90d, or seconds");
	return MICA_OK;
}

mica_rc api_decode_backup(const struct mica_json *doc, struct mica_slice *path, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "path",
			.type = MICA_JSON_STRING,
			.required = true,
			.min = 1,
			.max = 4096,
			.out = path},
	};
	mica_rc rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	if (rc == MICA_OK && path->p[0] != '/')
		rc = mica_json_fail(doc, json_object_get(doc->root, "path"), e, "bad_path",
			"path: expected an absolute path, since micad has a folder of its own");
	return rc;
}
