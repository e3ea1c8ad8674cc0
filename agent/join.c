/* SPDX-License-Identifier: Apache-2.0 */
#include "join.h"

#include "mica/file.h"
#include "mica/json.h"
#include "mica/log.h"
#include "mica/secret.h"

#include <stdio.h>
#include <unistd.h>

#define STATE_MAX ((size_t)1 << 20)
#define PATH_SIZE 4200
#define KEK_MAX   256
#define SEAL_MAX  16384

struct one {
	bool has_used, has_asked;
	uint8_t used[32], asked[32]; /* SHA-256 of tokens */
	char id[MICA_SPIFFE_ID_MAX + 1]; /* of its last SVID; "" = none */
	int64_t end; /* of that, seconds */
	struct join_question question;
};

struct join {
	const struct agent_config *config;
	struct mica_secret *passphrase;
	struct mica_kek *kek; /* of `record`; NULL until it is needed */
	struct mica_buf record;
	struct one one[AGENT_IDENTITIES_MAX];
};

static const struct agent_identity *identity(const struct join *j, unsigned i)
{
	return &j->config->identities[i];
}

mica_rc join_new(const struct agent_config *config, struct join **out, struct mica_err *e)
{
	const struct mica_secret_source source = {
		.file = config->state_passphrase_file, .credential = config->state_credential};
	struct join *j = MICA_NEW(struct join);
	mica_rc rc = MICA_OK;

	j->config = config;
	mica_buf_init(&j->record, KEK_MAX);
	for (unsigned i = 0; i < config->n_identities; i++)
		mica_buf_init(&j->one[i].question.body, STATE_MAX);
	if (source.file || source.credential)
		rc = mica_secret_load(&source, &j->passphrase, e);
	*out = rc == MICA_OK ? j : NULL;
	if (rc != MICA_OK)
		join_free(j);
	return rc;
}

static void forget_question(struct one *o)
{
	mica_signer_free(o->question.key);
	o->question.key = NULL;
	mica_buf_reset(&o->question.body);
	o->has_asked = false;
}

void join_free(struct join *j)
{
	if (!j)
		return;
	for (unsigned i = 0; i < j->config->n_identities; i++) {
		forget_question(&j->one[i]);
		mica_buf_clear(&j->one[i].question.body);
	}
	mica_kek_free(j->kek);
	mica_buf_clear(&j->record);
	mica_secret_free(j->passphrase);
	mica_free(j);
}

/* ---- what is kept -------------------------------------------------------------------------- */

static const char *path_of(const struct join *j, unsigned i, char out[PATH_SIZE])
{
	snprintf(out, PATH_SIZE, "%s/%s.svid", j->config->state_directory, identity(j, i)->name);
	return out;
}

struct state {
	int64_t version, sequence;
	struct mica_slice td, kek, key, used, chain, renew_after;
};

/* The name under which the key is sealed holds all that stands beside it. */
#define SEAL_NAME_SIZE (MICA_NAME_MAX + 1 + 64 + 1)
static mica_rc seal_name(const struct join *j, unsigned i, const struct state *s,
	char out[SEAL_NAME_SIZE], struct mica_err *e)
{
	uint8_t hash[32];
	char hex[65];
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, STATE_MAX);
	mica_buf_printf(&b, "mica-agent svid 1\n%.*s\n%.*s\n%.*s\n%lld\n", MICA_FMT(s->td),
		MICA_FMT(s->used), MICA_FMT(s->renew_after), (long long)s->sequence);
	mica_buf_put_slice(&b, s->chain);
	rc = mica_buf_rc(&b, e);
	if (rc != MICA_OK)
		return rc;
	mica_sha256(mica_buf_slice(&b), hash);
	mica_hex_encode(hash, sizeof(hash), hex);
	snprintf(out, SEAL_NAME_SIZE, "%.*s/%s", MICA_NAME_MAX, identity(j, i)->name, hex);
	return MICA_OK;
}

static mica_rc malformed(struct mica_err *e, const char *why)
{
	return mica_fail(
		e, MICA_INVALID, "state_malformed", "it is not what an agent keeps: %s", why);
}

static mica_rc read_state(struct mica_json *d, struct state *s, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "version", .type = MICA_JSON_INT, .required = true, .out = &s->version},
		{.name = "trust_domain", .type = MICA_JSON_STRING, .required = true, .out = &s->td},
		{.name = "kek", .type = MICA_JSON_STRING, .required = true, .out = &s->kek},
		{.name = "key", .type = MICA_JSON_STRING, .required = true, .out = &s->key},
		{.name = "used", .type = MICA_JSON_STRING, .required = true, .out = &s->used},
		{.name = "renew_after",
			.type = MICA_JSON_STRING,
			.required = true,
			.out = &s->renew_after},
		{.name = "bundle_sequence",
			.type = MICA_JSON_INT,
			.required = true,
			.max = (int64_t)1 << 53,
			.out = &s->sequence},
		{.name = "certificate_chain",
			.type = MICA_JSON_STRING,
			.required = true,
			.out = &s->chain}};
	struct mica_err why = MICA_ERR_INIT;

	if (!json_is_object(d->root) ||
		mica_json_read(d, d->root, "", members, MICA_ARRAY_LEN(members), false, &why) !=
			MICA_OK)
		return malformed(e, why.text);
	return s->version == 1 ? MICA_OK : malformed(e, "another version");
}

/* As micad's answer has them: svid_read looks at both alike. */
static void put_svid(struct mica_buf *b, const struct state *s)
{
	mica_buf_put_str(b, "\"renew_after\":");
	mica_buf_put_json_string(b, s->renew_after);
	mica_buf_printf(
		b, ",\"bundle_sequence\":%lld,\"certificate_chain\":", (long long)s->sequence);
	mica_buf_put_json_string(b, s->chain);
	mica_buf_put_str(b, "}");
}

static mica_rc unhex(struct mica_slice hex, struct mica_buf *out, struct mica_err *e)
{
	size_t len = hex.len / 2;
	uint8_t *room = mica_buf_room(out, len + 1);

	if (!room || mica_hex_decode(hex, room, &len) != MICA_OK)
		return malformed(e, "a value is not hex");
	mica_buf_added(out, len);
	return MICA_OK;
}

/* Of all files of one passphrase it is derived once: that is dear on purpose. */
static mica_rc unlock(struct join *j, struct mica_slice hex, struct mica_err *e)
{
	MICA_AUTO_BUF record;
	mica_rc rc;

	mica_buf_init(&record, KEK_MAX);
	rc = unhex(hex, &record, e);
	if (rc != MICA_OK)
		return rc;
	if (j->kek && mica_slice_eq(mica_buf_slice(&record), mica_buf_slice(&j->record)))
		return MICA_OK;
	mica_kek_free(MICA_STEAL(j->kek));
	rc = mica_kek_unlock(j->passphrase, mica_buf_slice(&record), &j->kek, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_reset(&j->record);
	mica_buf_put_slice(&j->record, mica_buf_slice(&record));
	return mica_buf_rc(&j->record, e);
}

static mica_rc open_key(struct join *j, unsigned i, const struct state *s, struct mica_signer **key,
	struct mica_err *e)
{
	char name[SEAL_NAME_SIZE];
	MICA_AUTO_BUF envelope;
	mica_rc rc = seal_name(j, i, s, name, e);

	mica_buf_init(&envelope, SEAL_MAX);
	if (rc == MICA_OK)
		rc = unlock(j, s->kek, e);
	if (rc == MICA_OK)
		rc = unhex(s->key, &envelope, e);
	return rc == MICA_OK
		? mica_kek_open(j->kek, MICA_KEY_AGENT, name, mica_buf_slice(&envelope), key, e)
		: rc;
}

static void remember(struct one *o, const struct svid *s)
{
	snprintf(o->id, sizeof(o->id), "%s", s->id);
	o->end = s->times.not_after / 1000;
}

static mica_rc parse(struct join *j, unsigned i, struct mica_slice text, const struct svid **out,
	struct mica_err *e)
{
	const struct mica_json_limits limits = {.bytes = STATE_MAX};
	struct one *o = &j->one[i];
	struct mica_err why = MICA_ERR_INIT;
	struct state s = {.version = 0};
	MICA_AUTO_SIGNER key = NULL;
	MICA_AUTO_JSON d = {0};
	MICA_AUTO_BUF answer;
	size_t len = sizeof(o->used);
	mica_rc rc;

	mica_buf_init(&answer, STATE_MAX);
	if (mica_json_parse(text, &limits, &d, &why) != MICA_OK)
		return malformed(e, why.text);
	rc = read_state(&d, &s, e);
	if (rc == MICA_OK && !mica_slice_eq_str(s.td, j->config->trust_domain))
		rc = mica_fail(e, MICA_NOT_FOUND, "no_state",
			"what is kept belongs to another trust domain");
	if (rc == MICA_OK)
		rc = open_key(j, i, &s, &key, e);
	if (rc != MICA_OK)
		return rc;
	o->has_used = mica_hex_decode(s.used, o->used, &len) == MICA_OK && len == sizeof(o->used);
	mica_buf_put_u8(&answer, '{');
	put_svid(&answer, &s);
	rc = svid_read(j->config->trust_domain, mica_buf_slice(&answer), key, out, e);
	if (rc == MICA_OK)
		remember(o, *out);
	return rc;
}

mica_rc join_load(struct join *j, unsigned i, const struct svid **out, struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT;
	char path[PATH_SIZE];
	MICA_AUTO_BUF text;
	mica_rc rc;

	*out = NULL;
	if (!identity(j, i)->join_token_file)
		return mica_fail(e, MICA_NOT_FOUND, "no_state", "this identity does not join");
	mica_buf_init(&text, STATE_MAX);
	rc = mica_file_read(path_of(j, i, path), &text, &why);
	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_NOT_FOUND, "no_state", "%s", why.text);
	if (rc == MICA_OK)
		rc = parse(j, i, mica_buf_slice(&text), out, &why);
	if (rc == MICA_OK)
		return MICA_OK;
	rc = mica_fail(e, rc, why.reason, "%s", why.text);
	mica_err_context(e, "%s", path);
	return rc;
}

static mica_rc seal(struct join *j, unsigned i, const struct state *s, const struct svid *svid,
	struct mica_buf *envelope, struct mica_err *e)
{
	char name[SEAL_NAME_SIZE];
	MICA_AUTO_SIGNER key = NULL;
	mica_rc rc = seal_name(j, i, s, name, e);

	if (rc == MICA_OK && !j->kek) {
		mica_buf_reset(&j->record);
		rc = mica_kek_create(j->passphrase, &j->record, &j->kek, e);
	}
	if (rc == MICA_OK)
		rc = mica_signer_from_pkcs8(mica_secret_view(svid->pkcs8), &key, e);
	return rc == MICA_OK ? mica_kek_seal(j->kek, MICA_KEY_AGENT, name, key, envelope, e) : rc;
}

mica_rc join_save(struct join *j, unsigned i, const struct svid *svid, struct mica_err *e)
{
	char renew[MICA_TIME_SIZE], used[65] = "", path[PATH_SIZE];
	struct one *o = &j->one[i];
	struct state s = {.td = mica_slice_str(j->config->trust_domain),
		.chain = mica_buf_slice(&svid->pem),
		.sequence = (int64_t)svid->bundle_sequence};
	MICA_AUTO_BUF b, envelope;
	mica_rc rc;

	remember(o, svid);
	mica_time_format(svid->times.renew_after / 1000, renew);
	if (o->has_used)
		mica_hex_encode(o->used, sizeof(o->used), used);
	s.renew_after = mica_slice_str(renew);
	s.used = mica_slice_str(used);
	mica_buf_init(&b, STATE_MAX);
	mica_buf_init(&envelope, SEAL_MAX);
	rc = seal(j, i, &s, svid, &envelope, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_put_str(&b, "{\"version\":1,\"trust_domain\":");
	mica_buf_put_json_string(&b, s.td);
	mica_buf_put_str(&b, ",\"kek\":\"");
	mica_buf_put_hex(&b, j->record.p, j->record.len);
	mica_buf_put_str(&b, "\",\"key\":\"");
	mica_buf_put_hex(&b, envelope.p, envelope.len);
	mica_buf_printf(&b, "\",\"used\":\"%s\",", used);
	put_svid(&b, &s);
	mica_buf_put_str(&b, "\n");
	rc = mica_buf_rc(&b, e);
	if (rc == MICA_OK)
		rc = mica_mkdir_p(j->config->state_directory, 0700, e);
	return rc == MICA_OK
		? mica_file_write_atomic(path_of(j, i, path), mica_buf_slice(&b), 0600, e)
		: rc;
}

/* ---- tokens -------------------------------------------------------------------------------- */

/* What an operator has to do, when nothing else helps. */
static void put_advice(const struct join *j, unsigned i, char *out, size_t size)
{
	const struct one *o = &j->one[i];

	snprintf(out, size,
		"make another join token with `mica token create%s%.300s` and write it to %.200s",
		o->id[0] ? " --spiffe-id " : "", o->id, identity(j, i)->join_token_file);
}

static mica_rc needed(const struct join *j, unsigned i, const char *file, struct mica_err *e)
{
	const struct one *o = &j->one[i];
	char end[MICA_TIME_SIZE], advice[640];

	put_advice(j, i, advice, sizeof(advice));
	mica_time_format(o->end, end);
	return mica_fail(e, MICA_NOT_FOUND, "join_needed", "%s%s, and %s: %s",
		o->id[0] ? "the last certificate ended at " : "there is no certificate yet",
		o->id[0] ? end : "", file, advice);
}

mica_rc join_token(struct join *j, unsigned i, struct mica_buf *out, struct mica_err *e)
{
	struct one *o = &j->one[i];
	uint8_t hash[32];

	if (mica_file_read_token(identity(j, i)->join_token_file, out, NULL) != MICA_OK)
		return needed(j, i, "no token can be read", e);
	mica_sha256(mica_buf_slice(out), hash);
	if (o->has_used && memcmp(hash, o->used, sizeof(hash)) == 0)
		return needed(j, i, "the token was used, or refused", e);
	return MICA_OK;
}

struct join_question *join_question(struct join *j, unsigned i, struct mica_slice token)
{
	struct one *o = &j->one[i];
	uint8_t hash[32];

	mica_sha256(token, hash);
	if (!o->has_asked || memcmp(hash, o->asked, sizeof(hash)) != 0)
		forget_question(o);
	memcpy(o->asked, hash, sizeof(hash));
	o->has_asked = true;
	return &o->question;
}

void join_spent(struct join *j, unsigned i, struct mica_slice token)
{
	struct one *o = &j->one[i];

	mica_sha256(token, o->used);
	o->has_used = true;
	forget_question(o);
}

void join_remove_token(struct join *j, unsigned i)
{
	const char *path = identity(j, i)->join_token_file;

	if (unlink(path) != 0)
		MICA_LOG(MICA_WARN, "join_token_not_removed", MICA_S("file", path),
			MICA_S("next", "it was used and is worth nothing; remove it"));
}

void join_advise(const struct join *j, unsigned i, struct mica_err *e)
{
	char advice[640];

	put_advice(j, i, advice, sizeof(advice));
	mica_err_context(e, "%s", advice);
}
