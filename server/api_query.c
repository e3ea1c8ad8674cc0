/* SPDX-License-Identifier: Apache-2.0 */
/* Queries, paths and headers; api_decode.c has the bodies. */
#include "api_decode.h"

static const char *const orders[] = {"newest", "oldest", NULL};

const char *const api_channel_words[MICA_CHANNEL_COUNT + 1] = {"live", "canary"};

int api_find_word(const char *const *names, struct mica_slice s)
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
	i = api_find_word(names, name);
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
	*out = api_find_word(words, p->v[i]);
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
	mica_rc rc = param_word(p, 0, "channel", api_channel_words, &channel, e);

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

const char *const api_plan_params[] = {"ahead", NULL};
mica_rc api_decode_plan_query(const struct api_params *p, int64_t *ahead, struct mica_err *e)
{
	*ahead = (int64_t)366 * 86400;
	if (p->has[0] && mica_parse_duration(p->v[0], API_TTL_MAX, ahead) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "bad_parameter",
			"ahead: expected a duration like 90d, or seconds");
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

/* RFC 9512, and what was in use before it. */
bool api_is_yaml(struct mica_slice content_type)
{
	static const char *const types[] = {"application/yaml", "application/x-yaml", "text/yaml",
		"text/x-yaml", "text/vnd.yaml"};
	struct mica_slice type;

	mica_slice_cut(&content_type, ';', &type);
	for (size_t i = 0; i < MICA_ARRAY_LEN(types); i++)
		if (eq_nocase(trim(type), types[i]))
			return true;
	return false;
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
