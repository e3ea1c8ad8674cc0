/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include "mica/file.h"
#include "mica/json.h"

#include <stdio.h>

#define STATE_MAX (2 * (size_t)MICA_BUNDLE_MAX)
#define FILE_NAME "bundle.json"
#define PATH_SIZE 4200

static const char *path_of(const struct agent_config *c, char out[PATH_SIZE])
{
	snprintf(out, PATH_SIZE, "%s/" FILE_NAME, c->state_directory);
	return out;
}

static mica_rc malformed(struct mica_err *e, const char *why)
{
	return mica_fail(
		e, MICA_INVALID, "state_malformed", "it is not what an agent keeps: %s", why);
}

static int put_dumped(const char *text, size_t len, void *ctx)
{
	mica_buf_put(ctx, text, len);
	return 0;
}

struct state {
	int64_t version;
	struct mica_slice td, channel, mark;
	json_t *bundle;
};

static mica_rc read_state(struct mica_json *d, struct state *s, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "version", .type = MICA_JSON_INT, .required = true, .out = &s->version},
		{.name = "trust_domain", .type = MICA_JSON_STRING, .required = true, .out = &s->td},
		{.name = "channel", .type = MICA_JSON_STRING, .required = true, .out = &s->channel},
		{.name = "bootstrap", .type = MICA_JSON_STRING, .required = true, .out = &s->mark},
		{.name = "bundle", .type = MICA_JSON_OBJECT, .required = true, .out = &s->bundle}};
	struct mica_err why = MICA_ERR_INIT;

	if (!json_is_object(d->root) ||
		mica_json_read(d, d->root, "", members, MICA_ARRAY_LEN(members), false, &why) !=
			MICA_OK)
		return malformed(e, why.text);
	return s->version == 1 ? MICA_OK : malformed(e, "another version");
}

mica_rc store_parse(const struct agent_config *c, struct mica_slice text, const struct trust **out,
	uint8_t mark[32], struct mica_err *e)
{
	const struct mica_json_limits limits = {.bytes = STATE_MAX};
	struct mica_err why = MICA_ERR_INIT;
	struct state s = {.version = 0};
	MICA_AUTO_JSON d = {0};
	MICA_AUTO_BUF bundle;
	size_t len = 32;
	mica_rc rc;

	*out = NULL;
	mica_buf_init(&bundle, MICA_BUNDLE_MAX);
	if (mica_json_parse(text, &limits, &d, &why) != MICA_OK)
		return malformed(e, why.text);
	rc = read_state(&d, &s, e);
	if (rc != MICA_OK)
		return rc;
	if (!mica_slice_eq_str(s.td, c->trust_domain) ||
		!mica_slice_eq_str(s.channel, mica_channel_name(c->micad.channel)))
		return mica_fail(e, MICA_NOT_FOUND, "no_state",
			"what is kept belongs to another trust domain or channel");
	if (mica_hex_decode(s.mark, mark, &len) != MICA_OK || len != 32)
		return malformed(e, "bootstrap: expected 64 hex digits");
	json_dump_callback(s.bundle, put_dumped, &bundle, JSON_COMPACT);
	rc = trust_read(c->trust_domain, mica_buf_slice(&bundle), out, &why);
	return rc == MICA_OK ? rc : malformed(e, why.text);
}

mica_rc store_load(const struct agent_config *c, const struct trust **out, uint8_t mark[32],
	struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT;
	char path[PATH_SIZE];
	MICA_AUTO_BUF text;
	mica_rc rc;

	*out = NULL;
	mica_buf_init(&text, STATE_MAX);
	if (!c->state_directory[0])
		return mica_fail(e, MICA_NOT_FOUND, "no_state", "no directory for it is given");
	rc = mica_file_read(path_of(c, path), &text, &why);
	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_NOT_FOUND, "no_state", "%s", why.text);
	if (rc != MICA_OK)
		return mica_fail(e, rc, why.reason, "%s", why.text);
	rc = store_parse(c, mica_buf_slice(&text), out, mark, e);
	if (rc != MICA_OK)
		mica_err_context(e, "%s", path);
	return rc;
}

mica_rc store_save(const struct agent_config *c, const struct trust *t, const uint8_t mark[32],
	struct mica_err *e)
{
	char path[PATH_SIZE];
	MICA_AUTO_BUF b;
	mica_rc rc;

	if (!c->state_directory[0])
		return MICA_OK;
	mica_buf_init(&b, STATE_MAX);
	mica_buf_put_str(&b, "{\"version\":1,\"trust_domain\":");
	mica_buf_put_json_string(&b, mica_slice_str(c->trust_domain));
	mica_buf_printf(
		&b, ",\"channel\":\"%s\",\"bootstrap\":\"", mica_channel_name(c->micad.channel));
	mica_buf_put_hex(&b, mark, 32);
	mica_buf_put_str(&b, "\",\"bundle\":");
	mica_buf_put_slice(&b, mica_buf_slice(&t->json));
	mica_buf_put_str(&b, "}\n");
	rc = mica_buf_rc(&b, e);
	if (rc == MICA_OK)
		rc = mica_mkdir_p(c->state_directory, 0700, e);
	return rc == MICA_OK ? mica_file_write_atomic(path_of(c, path), mica_buf_slice(&b), 0600, e)
			     : rc;
}
