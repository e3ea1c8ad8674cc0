/* SPDX-License-Identifier: Apache-2.0 */
#include "api_decode.h"

/* Nothing that the API takes is deeper than an array in an object. */
static const struct mica_json_limits body_limits = {.bytes = 64 * 1024, .depth = 4};
#define SEQUENCE_MAX ((int64_t)1 << 53) /* design 8.2; also what JSON numbers carry exactly */

static const char *const fronts[MICA_FRONT_COUNT + 1] = {"rest", "istio", "linkerd", "consul"};
static const char *const authority_kinds[] = {"root", "issuing", "jwt", NULL}; /* kind - 1 */
static const char *const rotation_actions[] = {
	"start", "rollback", "confirm", "withdraw", "clock", NULL};
static const char *const deny_kinds[] = {"spiffe_id", "pod_uid", "key", NULL};

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

	*out = v ? api_find_word(words, mica_json_str(v)) : 0;
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
		rc = body_word(doc, "channel", api_channel_words, &i, e);
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
	i = api_find_word(deny_kinds, kind);
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
