/* SPDX-License-Identifier: Apache-2.0 */
#include "config_impl.h"

#include "mica/file.h"
#include "mica/http_client.h"
#include "mica/spiffeid.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>

#define FILE_MAX ((size_t)256 * 1024)
#define PLACE    160 /* octets of "identities[3].files.pid_file" and its NUL */
#define DAY      ((int64_t)24 * 3600)

/* What is being read, for messages. */
struct source {
	struct mica_slice yaml;
	const char *name;
	struct mica_err *e;
};

static mica_rc refuse(const struct source *s, const char *path, const char *fmt, ...)
	MICA_PRINTF(3, 4);

/* At the value itself, or at the nearest thing around it. */
static void place(const struct source *s, const char *path, int *line, int *column)
{
	char at[PLACE];

	*line = *column = 1;
	snprintf(at, sizeof(at), "%s", path);
	while (at[0] && !mica_yaml_locate(s->yaml, at, line, column)) {
		size_t len = strlen(at);

		do
			len--;
		while (len > 0 && at[len] != '.' && at[len] != '[');
		at[len] = '\0';
	}
}

static mica_rc refuse(const struct source *s, const char *path, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	int line, column;
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	place(s, path, &line, &column);
	return mica_fail_at(s->e, MICA_INVALID, "config_value", line, column, "%s%s%d:%d: %s: %s",
		s->name ? s->name : "", s->name ? ":" : "", line, column, path, text);
}

/* ---- values -------------------------------------------------------------------------------- */

static void or_default(char **text, const char *otherwise)
{
	if (!*text)
		*text = mica_strdup(otherwise);
}

static mica_rc duration(const struct source *s, const char *path, const char *text, int64_t low,
	int64_t otherwise, int64_t *out)
{
	*out = otherwise;
	if (text &&
		(mica_parse_duration(mica_slice_str(text), 400 * DAY, out) != MICA_OK ||
			*out < low))
		return refuse(s, path,
			"expected a duration of at least %llds, as 90s, 15m, 1h, 30d or seconds, "
			"found \"%.64s\"",
			(long long)low, text);
	return MICA_OK;
}

/* Octal, as chmod(1) takes it; never more than read and write for all. */
static mica_rc mode(const struct source *s, const char *path, const char *text, unsigned otherwise,
	unsigned *out)
{
	unsigned v = 0;

	*out = otherwise;
	if (!text)
		return MICA_OK;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '7' || v > 0777)
			return refuse(s, path, "\"%.8s\" is no mode; expected one such as \"0640\"",
				text);
		v = v * 8 + (unsigned)(*p - '0');
	}
	if ((v & ~0666u) || (v & 0600) != 0600)
		return refuse(s, path,
			"\"%.8s\" is no mode for this; expected read and write bits, of the owner "
			"both, such as \"0640\"",
			text);
	*out = v;
	return MICA_OK;
}

static mica_rc absolute(const struct source *s, const char *path, const char *value)
{
	return !value || value[0] == '/' || value[0] == '\0'
		? MICA_OK
		: refuse(s, path, "\"%.200s\" is not a path; expected one that begins with /",
			  value);
}

static mica_rc https(const struct source *s, const char *path, char *value)
{
	struct mica_http_url url;
	struct mica_err why = MICA_ERR_INIT;
	size_t len = strlen(value);

	if (len == 0)
		return MICA_OK;
	if (mica_http_url_parse(value, &url, &why) != MICA_OK)
		return refuse(s, path, "%s", why.text);
	if (!url.https || strchr(value, '?'))
		return refuse(s, path, "\"%.200s\": expected https://HOST[:PORT]", value);
	while (len > 0 && value[len - 1] == '/')
		value[--len] = '\0';
	return MICA_OK;
}

static mica_rc file_name(const struct source *s, const char *path, const char *value)
{
	return value[0] != '.' && !strchr(value, '/')
		? MICA_OK
		: refuse(s, path, "\"%.64s\" is not the name of a file in `directory`", value);
}

/* ---- sections ------------------------------------------------------------------------------ */

static mica_rc check_pin(const struct source *s, struct agent_config *c)
{
	struct mica_slice text = mica_slice_str(c->micad.pin);
	size_t len = sizeof(c->micad.pin_hash);

	if (mica_slice_has_prefix(text, MICA_LIT("sha256:")))
		text = mica_slice_sub(text, 7, text.len);
	else
		text = MICA_SLICE_NULL;
	if (mica_hex_decode(text, c->micad.pin_hash, &len) != MICA_OK ||
		len != sizeof(c->micad.pin_hash))
		return refuse(s, "micad.pin",
			"expected sha256: and 64 hex digits, the hash of a root's public key");
	return MICA_OK;
}

static mica_rc check_micad(const struct source *s, struct agent_config *c)
{
	int64_t seconds = 0;
	mica_rc rc = https(s, "micad.url", c->micad.url);

	or_default(&c->micad.watch_url, "");
	if (rc == MICA_OK)
		rc = https(s, "micad.watch_url", c->micad.watch_url);
	if (rc == MICA_OK)
		rc = duration(s, "micad.timeout", c->micad.timeout_text, 1, 10, &seconds);
	c->micad.timeout_ms = seconds * 1000;
	if (rc == MICA_OK)
		rc = absolute(s, "micad.bootstrap_file", c->micad.bootstrap_file);
	if (rc == MICA_OK && (!c->micad.bootstrap_file) == (!c->micad.pin))
		rc = refuse(s, "micad",
			"expected exactly one of bootstrap_file (roots in PEM) and pin: "
			"without one, any server could be micad");
	return rc == MICA_OK && c->micad.pin ? check_pin(s, c) : rc;
}

static mica_rc check_places(const struct source *s, struct agent_config *c)
{
	mica_rc rc;

	or_default(&c->state_directory, "");
	or_default(&c->socket.path, "/run/mica-agent/agent.sock");
	or_default(&c->sds.default_svid, "default");
	or_default(&c->sds.default_bundle, "ROOTCA");
	or_default(&c->sds.all_bundles, "ALL");
	rc = absolute(s, "state.directory", c->state_directory);
	if (rc == MICA_OK)
		rc = absolute(s, "state.passphrase_file", c->state_passphrase_file);
	if (rc == MICA_OK && c->state_passphrase_file && c->state_credential)
		rc = refuse(s, "state", "expected at most one of passphrase_file and credential");
	if (rc == MICA_OK)
		rc = absolute(s, "socket.path", c->socket.path);
	return rc == MICA_OK ? mode(s, "socket.mode", c->socket.mode_text, 0666, &c->socket.mode)
			     : rc;
}

/* "127.0.0.1:9465", "[::1]:9465" */
static bool read_address(struct agent_config *c, const char *text)
{
	const char *colon = strrchr(text, ':');
	struct mica_slice host = mica_slice(text, colon ? (size_t)(colon - text) : 0);
	const bool v6 = host.len > 1 && host.p[0] == '[' && host.p[host.len - 1] == ']';
	uint8_t octets[16];
	uint64_t port = 0;

	if (v6)
		host = mica_slice_sub(host, 1, host.len - 2);
	if (!colon || mica_parse_u64(mica_slice_str(colon + 1), 65535, &port) != MICA_OK ||
		mica_slice_copy(host, c->metrics.host, sizeof(c->metrics.host)) != MICA_OK)
		return false;
	c->metrics.port = (uint16_t)port;
	return inet_pton(v6 ? AF_INET6 : AF_INET, c->metrics.host, octets) == 1;
}

static mica_rc check_metrics(const struct source *s, struct agent_config *c)
{
	or_default(&c->metrics.listen, "");
	if (strcmp(c->metrics.listen, "off") == 0)
		c->metrics.listen[0] = '\0';
	if (c->metrics.listen[0] == '\0' || c->metrics.listen[0] == '/' ||
		read_address(c, c->metrics.listen))
		return MICA_OK;
	return refuse(s, "metrics.listen",
		"\"%.64s\" is not an address to listen on; expected ADDRESS:PORT with a numeric "
		"address (127.0.0.1:9465, \"[::1]:9465\"), the path of a Unix socket, or off",
		c->metrics.listen);
}

static mica_rc check_names(const struct source *s, const struct agent_config *c)
{
	for (unsigned i = 0; i < c->sds.n_names; i++)
		for (unsigned k = 0; k < i; k++)
			if (strcmp(c->sds.names[i].name, c->sds.names[k].name) == 0) {
				char path[PLACE];

				snprintf(path, sizeof(path), "sds.names[%u].name", i);
				return refuse(s, path, "\"%.200s\" has a meaning already",
					c->sds.names[i].name);
			}
	return MICA_OK;
}

/* ---- identities ---------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int number;
} signals[] = {{"HUP", SIGHUP}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"WINCH", SIGWINCH}};

static mica_rc check_notice(const struct source *s, const char *path, struct agent_files *f)
{
	char at[PLACE];

	snprintf(at, sizeof(at), "%.140s.signal", path);
	for (size_t i = 0; f->signal_text && i < MICA_ARRAY_LEN(signals); i++)
		if (strcmp(f->signal_text, signals[i].name) == 0)
			f->signal = signals[i].number;
	if (f->signal_text && !f->signal)
		return refuse(
			s, at, "\"%.8s\" is not one of HUP, USR1, USR2, WINCH", f->signal_text);
	if ((!f->signal_text) != (!f->pid_file))
		return refuse(s, path, "signal and pid_file belong together: what to whom");
	if (f->n_command > 0 && f->command[0][0] != '/')
		return refuse(
			s, path, "command: expected a list that begins with the path of a program");
	return MICA_OK;
}

static mica_rc check_files(const struct source *s, const char *outer, struct agent_files *f)
{
	char path[PLACE];
	const struct {
		char **name;
		const char *otherwise;
	} names[] = {{&f->cert, "cert.pem"}, {&f->key, "key.pem"}, {&f->bundle, "bundle.pem"},
		{&f->bundle_map, "bundle.json"}};
	mica_rc rc = MICA_OK;

	snprintf(path, sizeof(path), "%.140s.files", outer);
	if (!f->directory)
		return MICA_OK;
	rc = absolute(s, path, f->directory);
	for (size_t i = 0; i < MICA_ARRAY_LEN(names) && rc == MICA_OK; i++) {
		or_default(names[i].name, names[i].otherwise);
		rc = file_name(s, path, *names[i].name);
		for (size_t k = 0; k < i && rc == MICA_OK; k++)
			if (strcmp(*names[i].name, *names[k].name) == 0)
				rc = refuse(
					s, path, "two files are named \"%.64s\"", *names[i].name);
	}
	if (rc == MICA_OK)
		rc = mode(s, path, f->cert_mode_text, 0644, &f->cert_mode);
	if (rc == MICA_OK)
		rc = mode(s, path, f->key_mode_text, 0600, &f->key_mode);
	if (rc == MICA_OK && (f->key_mode & 0007))
		rc = refuse(s, path, "key_mode: others may do nothing with a key");
	return rc == MICA_OK ? check_notice(s, path, f) : rc;
}

static bool plain_word(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') &&
			!(*p >= '0' && *p <= '9') && !strchr("._-", *p))
			return false;
	return true;
}

/* What joins is kept, and what is kept is sealed: without, each restart would need another token.
 */
static mica_rc check_token(const struct source *s, const struct agent_config *c, const char *path,
	const struct agent_identity *id)
{
	mica_rc rc;

	if ((!id->token_file) == (!id->join_token_file))
		return refuse(s, path,
			"expected exactly one of token_file (a token that is renewed in its file) and "
			"join (one that is used once)");
	rc = absolute(s, path, id->token_file ? id->token_file : id->join_token_file);
	if (rc != MICA_OK || id->token_file)
		return rc;
	if (c->state_directory[0] == '\0')
		return refuse(
			s, path, "join: needs state.directory, where its certificate is kept");
	if (!c->state_passphrase_file && !c->state_credential)
		return refuse(s, path,
			"join: needs state.passphrase_file or state.credential, under which its key is "
			"sealed");
	return MICA_OK;
}

static mica_rc check_identity(const struct source *s, struct agent_config *c, unsigned i)
{
	struct agent_identity *id = &c->identities[i];
	char path[PLACE], at[PLACE + 16];
	mica_rc rc;

	snprintf(path, sizeof(path), "identities[%u]", i);
	or_default(&id->hint, "");
	if (!plain_word(id->name))
		return refuse(s, path, "name: expected letters, digits, '.', '_' and '-'");
	for (unsigned k = 0; k < i; k++)
		if (strcmp(c->identities[k].name, id->name) == 0)
			return refuse(s, path, "name: there is one named \"%s\" already", id->name);
		else if (id->hint[0] && strcmp(c->identities[k].hint, id->hint) == 0)
			return refuse(s, path, "hint: another identity has the same");
	if (!id->any && id->n_uids == 0 && id->n_gids == 0)
		return refuse(s, path,
			"allow: who may use it? expected any: true, or lists of uids or gids");
	if (id->any && (id->n_uids > 0 || id->n_gids > 0))
		return refuse(s, path, "allow: any: true leaves nothing for uids and gids to say");
	rc = check_token(s, c, path, id);
	snprintf(at, sizeof(at), "%s.ttl", path);
	if (rc == MICA_OK)
		rc = duration(s, at, id->ttl_text, 1, 0, &id->ttl);
	return rc == MICA_OK ? check_files(s, path, &id->files) : rc;
}

/* Two identities that write to one place would overwrite each other's files. */
static mica_rc check_directories(const struct source *s, const struct agent_config *c)
{
	for (unsigned i = 0; i < c->n_identities; i++)
		for (unsigned k = 0; k < i; k++) {
			const char *a = c->identities[i].files.directory,
				   *b = c->identities[k].files.directory;
			char path[PLACE];

			snprintf(path, sizeof(path), "identities[%u].files.directory", i);
			if (a && b && strcmp(a, b) == 0)
				return refuse(s, path, "the identity \"%s\" has its files there",
					c->identities[k].name);
		}
	return MICA_OK;
}

static mica_rc check(const struct source *s, struct agent_config *c)
{
	struct mica_err why = MICA_ERR_INIT;
	mica_rc rc = mica_trust_domain_check(mica_slice_str(c->trust_domain), &why);

	c->log.level = (enum mica_log_level)CONFIG_LEVEL(c->log.level);
	if (rc != MICA_OK)
		return refuse(s, "trust_domain", "%s", why.text);
	rc = check_micad(s, c);
	if (rc == MICA_OK)
		rc = check_places(s, c);
	if (rc == MICA_OK)
		rc = check_metrics(s, c);
	if (rc == MICA_OK)
		rc = check_names(s, c);
	for (unsigned i = 0; i < c->n_identities && rc == MICA_OK; i++)
		rc = check_identity(s, c, i);
	return rc == MICA_OK ? check_directories(s, c) : rc;
}

/* ---- the public face ----------------------------------------------------------------------- */

mica_rc agent_config_parse(
	struct mica_slice yaml, const char *name, struct agent_config **out, struct mica_err *e)
{
	const struct source s = {.yaml = yaml, .name = name, .e = e};
	void *value = NULL;
	mica_rc rc = mica_yaml_load(yaml, name, &agent_config_schema, &value, e);
	AUTO_AGENT_CONFIG c = value;

	*out = NULL;
	if (rc == MICA_OK)
		rc = check(&s, c);
	if (rc == MICA_OK)
		*out = MICA_STEAL(c);
	return rc;
}

mica_rc agent_config_load(const char *path, struct agent_config **out, struct mica_err *e)
{
	MICA_AUTO_BUF text;
	mica_rc rc;

	*out = NULL;
	mica_buf_init(&text, FILE_MAX);
	rc = mica_file_read(path, &text, e);
	return rc == MICA_OK ? agent_config_parse(mica_buf_slice(&text), path, out, e) : rc;
}

void agent_config_free(struct agent_config *c)
{
	mica_yaml_free(&agent_config_schema, c);
}
