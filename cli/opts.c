/* SPDX-License-Identifier: Apache-2.0 */
/* The table of options, and the reading of a command line by it. */
#include "cli.h"

#include <stdio.h>

static const char *const outputs[] = {"text", "json", NULL};
static const char *const key_types[] = {
	"p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519", NULL};
static const char *const formats[] = {"json", "pem", "jws", NULL};
static const char *const channels[] = {"live", "canary", NULL};
static const char *const fronts[] = {"rest", "istio", "linkerd", "consul", NULL};
static const char *const reasons[] = {"unspecified", "key_compromise", "ca_compromise",
	"affiliation_changed", "superseded", "cessation_of_operation", "privilege_withdrawn", NULL};
static const char *const targets[] = {
	"envoy-http", "envoy-network", "istio", "linkerd", "consul", NULL};
static const char *const forms[] = {"json", "yaml", "protobuf", NULL};
static const char *const parts[] = {"audit", "deny", "allow", NULL};
static const char *const policy_kinds[] = {"AuthorizationPolicy", "PeerAuthentication", NULL};
static const char *const orders[] = {"newest", "oldest", NULL};

#define DAY 86400

const struct cli_option cli_options[OPT_COUNT] = {
	[OPT_HELP] = {"help", 'h', CLI_FLAG, NULL, "show this help", NULL, NULL, 0, 0},
	[OPT_OUTPUT] = {"output", 'o', CLI_CHOICE, "FORMAT", "text for people, json for programs",
		"MICA_OUTPUT", outputs, 0, 0},
	[OPT_URL] = {"url", 0, CLI_STRING, "URL", "micad's address: https://HOST[:PORT]",
		"MICA_URL", NULL, 0, 0},
	[OPT_CA] = {"ca", 0, CLI_FILE, "FILE", "roots that micad's certificate must lead to (PEM)",
		"MICA_CA", NULL, 0, 0},
	[OPT_SOCKET] = {"socket", 0, CLI_FILE, "PATH",
		"micad's admin socket (/run/mica/admin.sock)", "MICA_ADMIN_SOCKET", NULL, 0, 0},
	[OPT_TOKEN_FILE] = {"token-file", 't', CLI_FILE, "FILE",
		"file with the token that says who asks", "MICA_TOKEN_FILE", NULL, 0, 0},
	[OPT_SVID] = {"svid", 0, CLI_DIR, "DIR",
		"ask with the certificate DIR/cert.pem and its key DIR/key.pem", "MICA_SVID_DIR",
		NULL, 0, 0},
	[OPT_TIMEOUT] = {"timeout", 0, CLI_DURATION, "TIME",
		"give up on a request after this (30s)", NULL, NULL, 1, DAY},
	[OPT_CONFIG] = {"config", 'c', CLI_FILE, "FILE", "configuration of micad", "MICA_CONFIG",
		NULL, 0, 0},
	[OPT_OUT] = {"out", 'O', CLI_FILE, "PATH", "write there instead of to the terminal", NULL,
		NULL, 0, 0},
	[OPT_TTL] = {"ttl", 0, CLI_DURATION, "TIME",
		"how long it shall be valid: 3600, 90s, 15m, 1h", NULL, NULL, 1, 3650 * DAY},
	[OPT_KEY_TYPE] = {"key-type", 'k', CLI_CHOICE, "TYPE", "kind of key to make (p256)", NULL,
		key_types, 0, 0},
	[OPT_RENEW] = {"renew", 0, CLI_FLAG, NULL,
		"ask with the certificate that is in the --out directory already", NULL, NULL, 0,
		0},
	[OPT_AUDIENCE] = {"audience", 'a', CLI_LIST, "NAME",
		"whom the token is for; may be repeated", NULL, NULL, 0, 0},
	[OPT_FORMAT] = {"format", 'f', CLI_CHOICE, "FORM",
		"the published form itself: json, pem or jws (signed)", NULL, formats, 0, 0},
	[OPT_ROOTS] = {"roots", 0, CLI_FILE, "FILE",
		"roots that a signed bundle must lead to (those of --ca)", NULL, NULL, 0, 0},
	[OPT_CHANNEL] = {"channel", 0, CLI_CHOICE, "NAME", "live or canary", NULL, channels, 0, 0},
	[OPT_FRONT] = {"front", 0, CLI_CHOICE, "NAME", "the door a token is meant for (rest)", NULL,
		fronts, 0, 0},
	[OPT_JWKS_FILE] = {"jwks-file", 0, CLI_LIST, "[ISSUER=]FILE",
		"judge here, with an issuer's keys from a file", NULL, NULL, 0, 0},
	[OPT_SPIFFE_ID] = {"spiffe-id", 0, CLI_STRING, "ID", "of this SPIFFE ID alone", NULL, NULL,
		0, 0},
	[OPT_POD_UID] = {"pod-uid", 0, CLI_STRING, "UID", "only of this pod", NULL, NULL, 0, 0},
	[OPT_SERIAL] = {"serial", 0, CLI_STRING, "HEX", "only of this certificate", NULL, NULL, 0,
		0},
	[OPT_TYPE] = {"type", 0, CLI_STRING, "TYPE",
		"only of this type: x509_issued, jwt_issued, authority, bundle, revocation, deny ...",
		NULL, NULL, 0, 0},
	[OPT_SINCE] = {"since", 0, CLI_TIME, "TIME",
		"from then on: 2026-11-24T12:00:00Z, or 2h ago", NULL, NULL, 0, 0},
	[OPT_UNTIL] = {"until", 0, CLI_TIME, "TIME", "up to then", NULL, NULL, 0, 0},
	[OPT_ORDER] = {"order", 0, CLI_CHOICE, "ORDER", "newest or oldest first", NULL, orders, 0,
		0},
	[OPT_LIMIT] = {"limit", 'n', CLI_INT, "N", "at most so many (100)", NULL, NULL, 1, 1000},
	[OPT_CURSOR] = {"cursor", 0, CLI_STRING, "CURSOR", "go on where another list ended", NULL,
		NULL, 0, 0},
	[OPT_ALL] = {"all", 0, CLI_FLAG, NULL,
		"all of them: page on until the end, begin with entry 0, or whatever waits", NULL,
		NULL, 0, 0},
	[OPT_VKEY] = {"vkey", 0, CLI_STRING, "VKEY", "verifier key of the log: NAME+ID+KEY",
		"MICA_LOG_VKEY", NULL, 0, 0},
	[OPT_STATE] = {"state", 0, CLI_FILE, "FILE",
		"where the last checkpoint is remembered (below $XDG_STATE_HOME/mica)",
		"MICA_AUDIT_STATE", NULL, 0, 0},
	[OPT_FROM] = {"from", 0, CLI_DIR, "DIR|URL",
		"read an exported log there instead of asking micad", NULL, NULL, 0, 0},
	[OPT_DEEP] = {"deep", 0, CLI_FLAG, NULL, "read every tile and compute the whole tree again",
		NULL, NULL, 0, 0},
	[OPT_FIRST_USE] = {"first-use", 0, CLI_FLAG, NULL,
		"believe the key that micad names when none is known yet", NULL, NULL, 0, 0},
	[OPT_RECEIPT] = {"receipt", 0, CLI_FILE, "FILE", "check this receipt (with --entry)", NULL,
		NULL, 0, 0},
	[OPT_ENTRY] = {"entry", 0, CLI_FILE, "FILE", "the entry that a receipt is for", NULL, NULL,
		0, 0},
	[OPT_MATCH] = {"match", 'm', CLI_LIST, "GLOB",
		"report entries of SPIFFE IDs like this; may be repeated", NULL, NULL, 0, 0},
	[OPT_INTERVAL] = {"interval", 'i', CLI_DURATION, "TIME", "look so often (60s)", NULL, NULL,
		1, DAY},
	[OPT_ONCE] = {"once", '1', CLI_FLAG, NULL, "look once, then end", NULL, NULL, 0, 0},
	[OPT_METRICS] = {"metrics", 0, CLI_FILE, "FILE",
		"write figures there for node_exporter's textfile collector", NULL, NULL, 0, 0},
	[OPT_HASHES] = {"hashes", 0, CLI_FLAG, NULL, "checkpoint and hashes, fit for everybody",
		NULL, NULL, 0, 0},
	[OPT_FULL] = {"full", 0, CLI_FLAG, NULL, "the entries, too: for auditors", NULL, NULL, 0,
		0},
	[OPT_CHECKPOINT] = {"checkpoint", 0, CLI_FILE, "FILE",
		"the last checkpoint that is known of the lost log", NULL, NULL, 0, 0},
	[OPT_FORCE] = {"force", 0, CLI_FLAG, NULL,
		"do it although it breaks certificates; that is recorded", NULL, NULL, 0, 0},
	[OPT_RECOVER] = {"recover", 0, CLI_FLAG, NULL,
		"a new root, active at once, when none is usable", NULL, NULL, 0, 0},
	[OPT_ACCEPT] = {"accept", 0, CLI_FLAG, NULL, "the clock is right as it is now", NULL, NULL,
		0, 0},
	[OPT_AHEAD] = {"ahead", 0, CLI_DURATION, "TIME", "how far to look (366d)", NULL, NULL, 1,
		(int64_t)10 * 366 * 86400},
	[OPT_NEW_ROOT] = {"new-root", 0, CLI_FLAG, NULL,
		"a root among them is new and shall be trusted", NULL, NULL, 0, 0},
	[OPT_STANDBY] = {"standby", 0, CLI_FLAG, NULL,
		"the new root is kept for an emergency (with it: --new-root)", NULL, NULL, 0, 0},
	[OPT_REASON] = {"reason", 0, CLI_CHOICE, "REASON", "why, as the CRL says it (unspecified)",
		NULL, reasons, 0, 0},
	[OPT_CRL_ONLY] = {"crl-only", 0, CLI_FLAG, NULL,
		"let the root's CRL name it, and keep the root", NULL, NULL, 0, 0},
	[OPT_TARGET] = {"target", 0, CLI_CHOICE, "MESH",
		"whose form: envoy-http, envoy-network, istio, linkerd or consul", NULL, targets, 0,
		0},
	[OPT_AS] = {"as", 0, CLI_CHOICE, "FORM", "json, yaml or protobuf (the target's own)", NULL,
		forms, 0, 0},
	[OPT_STRICT] = {"strict", 0, CLI_FLAG, NULL,
		"refuse what the target cannot express, instead of narrowing it", NULL, NULL, 0, 0},
	[OPT_PART] = {"part", 0, CLI_CHOICE, "PART",
		"of Envoy's filters one, as Envoy reads it from a file: audit, deny or allow", NULL,
		parts, 0, 0},
	[OPT_NAMESPACE] = {"namespace", 0, CLI_STRING, "NAME",
		"of the workload, or of the policies", NULL, NULL, 0, 0},
	[OPT_LABEL] = {"label", 'l', CLI_LIST, "KEY=VALUE",
		"a label of the workload; may be repeated", NULL, NULL, 0, 0},
	[OPT_ROOT_NAMESPACE] = {"root-namespace", 0, CLI_STRING, "NAME",
		"whose policies are for all namespaces", NULL, NULL, 0, 0},
	[OPT_TRUST_DOMAIN] = {"trust-domain", 0, CLI_STRING, "NAME", "of the mesh, for aliases",
		NULL, NULL, 0, 0},
	[OPT_ALIAS] = {"alias", 0, CLI_LIST, "NAME",
		"another name of the trust domain; may be repeated", NULL, NULL, 0, 0},
	[OPT_PORT] = {"port", 0, CLI_LIST, "PORT",
		"a port of the workload; for linkerd those besides what policies name; may be repeated",
		NULL, NULL, 0, 0},
	[OPT_LINKERD_NAMESPACE] = {"linkerd-namespace", 0, CLI_STRING, "NAME",
		"linkerd: of its control plane (linkerd)", NULL, NULL, 0, 0},
	[OPT_LINKERD_TRUST_DOMAIN] = {"linkerd-trust-domain", 0, CLI_STRING, "NAME",
		"linkerd: of its identities (cluster.local)", NULL, NULL, 0, 0},
	[OPT_CONSUL_DATACENTER] = {"consul-datacenter", 0, CLI_STRING, "NAME",
		"consul: principals are TD/ns/NS/dc/NAME/svc/SERVICE (TD/ns/NS/sa/SERVICE)", NULL,
		NULL, 0, 0},
	[OPT_CONSUL_NAMESPACE] = {"consul-namespace", 0, CLI_STRING, "NAME",
		"consul: Community Edition; its services are those of this namespace", NULL, NULL,
		0, 0},
	[OPT_CONSUL_SERVICE_LABEL] = {"consul-service-label", 0, CLI_STRING, "KEY",
		"consul: the label that names a workload's service (app)", NULL, NULL, 0, 0},
	[OPT_KIND] = {"kind", 0, CLI_CHOICE, "KIND",
		"of two policies of one name which (AuthorizationPolicy)", NULL, policy_kinds, 0,
		0},
	[OPT_REVISION] = {"revision", 0, CLI_INT, "N", "as it was in this revision", NULL, NULL, 1,
		(int64_t)1 << 53},
	[OPT_IF_MATCH] = {"if-match", 0, CLI_STRING, "ETAG",
		"only while this revision, or of apply this sequence, is in force", NULL, NULL, 0,
		0},
	[OPT_PEER] = {"peer", 0, CLI_STRING, "ID", "the SPIFFE ID of who asks", NULL, NULL, 0, 0},
	[OPT_SOURCE_IP] = {"source-ip", 0, CLI_STRING, "ADDRESS", "of who is connected", NULL, NULL,
		0, 0},
	[OPT_HOST] = {"host", 0, CLI_STRING, "NAME", "HTTP: the request's host", NULL, NULL, 0, 0},
	[OPT_METHOD] = {"method", 0, CLI_STRING, "METHOD", "HTTP: the request's method", NULL, NULL,
		0, 0},
	[OPT_PATH] = {"path", 0, CLI_STRING, "PATH", "HTTP: the request's path", NULL, NULL, 0, 0},
	[OPT_HEADER] = {"header", 0, CLI_LIST, "NAME=VALUE",
		"HTTP: a header of the request; may be repeated", NULL, NULL, 0, 0},
	[OPT_PEERS] = {"peers", 0, CLI_FILE, "FILE",
		"what changes for these alone: a SPIFFE ID a line", NULL, NULL, 0, 0},
	[OPT_REQUEST] = {"request", 0, CLI_FILE, "FILE",
		"the request, as a case of `policy test` has it, instead of options", NULL, NULL, 0,
		0},
};

/* "<problem>: <what> (did you mean <near>?)" */
static mica_rc usage(struct mica_err *e, const char *reason, const char *problem, const char *what,
	const char *near)
{
	if (near)
		return mica_fail(e, MICA_INVALID, reason, "%s: %.60s (did you mean %s?)", problem,
			what, near);
	return mica_fail(e, MICA_INVALID, reason, "%s: %.60s", problem, what);
}

/* ---- what was probably meant ----------------------------------------------------------------- */

/* Edits (Damerau-Levenshtein without its transpositions) between two short words. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64], la = (unsigned)strlen(a), lb = (unsigned)strlen(b);

	if (la >= 64 || lb >= 64)
		return 64;
	for (unsigned j = 0; j <= lb; j++)
		row[j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = row[j] + 1 < change ? row[j] + 1 : change;
			row[j] = row[j - 1] + 1 < row[j] ? row[j - 1] + 1 : row[j];
		}
	}
	return row[lb];
}

static const char *nearest(const char *word, const char *best, const char *next, unsigned *d)
{
	unsigned n = distance(word, next);

	if (n >= *d || n > strlen(next) / 2)
		return best;
	*d = n;
	return next;
}

/* ---- commands ------------------------------------------------------------------------------ */

const struct cli_command *cli_command_find(const char *name)
{
	for (size_t i = 0; i < cli_n_commands; i++)
		if (strcmp(cli_commands[i].name, name) == 0)
			return &cli_commands[i];
	return NULL;
}

size_t cli_group(const char *group, const struct cli_command **first)
{
	size_t len = strlen(group), n = 0;

	for (size_t i = 0; i < cli_n_commands; i++) {
		const char *name = cli_commands[i].name;

		if (strncmp(name, group, len) != 0 || (name[len] != ' ' && name[len] != '\0'))
			continue;
		if (n++ == 0 && first)
			*first = &cli_commands[i];
	}
	return n;
}

static mica_rc unknown_command(const char *words, struct mica_err *e)
{
	const char *best = NULL;
	unsigned d = 4;

	for (size_t i = 0; i < cli_n_commands; i++) {
		const char *name = cli_commands[i].name;
		char group[64];

		best = nearest(words, best, name, &d);
		if (mica_slice_copy(mica_slice(name, strcspn(name, " ")), group, sizeof(group)) ==
				MICA_OK &&
			distance(words, group) < 3 && distance(words, group) < d) {
			best = name;
			d = distance(words, group);
		}
	}
	return usage(e, "unknown_command", "unknown command", words, best);
}

/* The command is one word or two: "status", "audit list". */
static mica_rc find_command(
	struct cli *c, const char *one, const char *two, unsigned *words, struct mica_err *e)
{
	char name[64] = "";

	*words = 1;
	if (strlen(one) > 30)
		return usage(e, "unknown_command", "unknown command", one, NULL);
	if (two && strlen(two) <= 30 && snprintf(name, sizeof(name), "%s %s", one, two) > 0 &&
		(c->cmd = cli_command_find(name))) {
		*words = 2;
		return MICA_OK;
	}
	c->cmd = cli_command_find(one);
	if (c->cmd)
		return MICA_OK;
	if (cli_group(one, NULL) == 0)
		return unknown_command(one, e);
	snprintf(c->topic, sizeof(c->topic), "%s", one);
	if (!two || c->help) {
		c->help = true;
		return MICA_OK;
	}
	return strlen(two) > 30 ? usage(e, "unknown_command", "unknown command", two, NULL)
				: unknown_command(name, e);
}

/* ---- values -------------------------------------------------------------------------------- */

static mica_rc bad_value(
	const struct cli_option *o, const char *text, const char *expected, struct mica_err *e)
{
	return mica_fail(
		e, MICA_INVALID, "bad_option", "--%s: '%.80s' is not %s", o->name, text, expected);
}

static mica_rc set_choice(
	const struct cli_option *o, const char *text, struct cli_value *v, struct mica_err *e)
{
	MICA_AUTO_BUF all;

	for (unsigned i = 0; o->choices[i]; i++)
		if (strcmp(o->choices[i], text) == 0) {
			v->i = i;
			return MICA_OK;
		}
	mica_buf_init(&all, 256);
	for (unsigned i = 0; o->choices[i]; i++)
		mica_buf_printf(&all, "%s%s", i ? ", " : "one of ", o->choices[i]);
	return bad_value(o, text, (const char *)all.p, e);
}

static mica_rc set_time(const struct cli *c, const struct cli_option *o, const char *text,
	struct cli_value *v, struct mica_err *e)
{
	int64_t ago;

	if (mica_time_parse(mica_slice_str(text), &v->i) == MICA_OK)
		return MICA_OK;
	if (mica_parse_duration(mica_slice_str(text), c->now, &ago) != MICA_OK)
		return bad_value(o, text,
			"a time such as 2026-11-24T12:00:00Z, or a duration before now such as 2h",
			e);
	v->i = c->now - ago;
	return MICA_OK;
}

static mica_rc set_number(
	const struct cli_option *o, const char *text, struct cli_value *v, struct mica_err *e)
{
	struct mica_slice s = mica_slice_str(text);
	char expected[96];
	mica_rc rc;

	if (o->kind == CLI_INT)
		rc = mica_parse_i64(s, o->min, o->max, &v->i);
	else
		rc = mica_parse_duration(s, o->max, &v->i);
	if (rc == MICA_OK && v->i >= o->min)
		return MICA_OK;
	snprintf(expected, sizeof(expected),
		o->kind == CLI_INT ? "a number from %lld to %lld"
				   : "a time such as 90s, 15m or 1h, from %lld to %lld seconds",
		(long long)o->min, (long long)o->max);
	return bad_value(o, text, expected, e);
}

static mica_rc set_value(
	struct cli *c, enum cli_opt which, const char *text, bool env, struct mica_err *e)
{
	const struct cli_option *o = &cli_options[which];
	struct cli_value *v = &c->v[which];
	mica_rc rc = MICA_OK;

	if (o->kind != CLI_FLAG && text[0] == '\0')
		return bad_value(o, text, "a value: it is empty", e);
	if (o->kind == CLI_LIST && v->n == CLI_LIST_MAX)
		return mica_fail(e, MICA_INVALID, "bad_option", "--%s: at most %d of them", o->name,
			CLI_LIST_MAX);
	if (o->kind == CLI_CHOICE)
		rc = set_choice(o, text, v, e);
	else if (o->kind == CLI_TIME)
		rc = set_time(c, o, text, v, e);
	else if (o->kind == CLI_INT || o->kind == CLI_DURATION)
		rc = set_number(o, text, v, e);
	else if (o->kind == CLI_LIST)
		v->list[v->n++] = text;
	if (rc != MICA_OK) {
		if (env)
			mica_err_context(e, "%s", o->env);
		return rc;
	}
	v->set = true;
	v->from_env = env;
	v->s = text;
	return MICA_OK;
}

/* ---- the command line ------------------------------------------------------------------------ */

static int find_option(const char *name, size_t len, char letter)
{
	for (int i = 0; i < OPT_COUNT; i++) {
		const struct cli_option *o = &cli_options[i];

		if (letter ? o->letter == letter
			   : strlen(o->name) == len && strncmp(o->name, name, len) == 0)
			return i;
	}
	return -1;
}

static mica_rc unknown_option(const char *arg, struct mica_err *e)
{
	const char *best = NULL;
	char word[64], near[64];
	unsigned d = 3;

	if (mica_slice_copy(mica_slice(arg + 2, strcspn(arg + 2, "=")), word, sizeof(word)) !=
		MICA_OK)
		word[0] = '\0';
	for (int i = 0; i < OPT_COUNT; i++)
		best = nearest(word, best, cli_options[i].name, &d);
	snprintf(near, sizeof(near), "--%s", best ? best : "");
	return usage(e, "unknown_option", "unknown option", arg, best ? near : NULL);
}

/* One option at argv[*i]; *i stays on the last argument that was used. */
static mica_rc read_option(struct cli *c, int argc, const char *const *argv, int *i, cli_mask *seen,
	struct mica_err *e)
{
	const char *arg = argv[*i], *value = NULL;
	bool is_long = arg[1] == '-';
	int which;

	if (is_long) {
		size_t len = strcspn(arg + 2, "=");

		which = find_option(arg + 2, len, 0);
		if (arg[2 + len] == '=')
			value = arg + 2 + len + 1;
	} else {
		which = find_option(NULL, 0, arg[1]);
		if (arg[2] != '\0')
			value = arg + 2;
	}
	if (which < 0)
		return is_long ? unknown_option(arg, e)
			       : usage(e, "unknown_option", "unknown option", arg, NULL);
	*seen |= CLI_BIT(which);
	if (cli_options[which].kind == CLI_FLAG) {
		if (value)
			return mica_fail(e, MICA_INVALID, "bad_option", "--%s takes no value",
				cli_options[which].name);
		return set_value(c, (enum cli_opt)which, "", false, e);
	}
	if (!value && *i + 1 >= argc)
		return mica_fail(e, MICA_INVALID, "bad_option", "--%s: %s is missing behind it",
			cli_options[which].name, cli_options[which].arg);
	if (!value)
		value = argv[++*i];
	return set_value(c, (enum cli_opt)which, value, false, e);
}

static mica_rc check_options(const struct cli *c, cli_mask seen, struct mica_err *e)
{
	cli_mask known = c->cmd->options | CLI_BIT(OPT_HELP) | CLI_BIT(OPT_OUTPUT);

	for (unsigned o = 0; o < OPT_COUNT; o++)
		if (seen & ~known & CLI_BIT(o))
			return mica_fail(e, MICA_INVALID, "unknown_option",
				"mica %s has no option --%s", c->cmd->name, cli_options[o].name);
	return MICA_OK;
}

static mica_rc read_env(
	struct cli *c, cli_mask seen, const char *(*env)(const char *name), struct mica_err *e)
{
	cli_mask wanted = (c->cmd ? c->cmd->options : 0) | CLI_BIT(OPT_OUTPUT);

	for (int i = 0; i < OPT_COUNT; i++) {
		const char *text = NULL;
		mica_rc rc;

		if (cli_options[i].env && (wanted & CLI_BIT(i)) && !(seen & CLI_BIT(i)))
			text = env(cli_options[i].env);
		if (!text)
			continue;
		rc = set_value(c, (enum cli_opt)i, text, true, e);
		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

/* Words, up to two, name the command; what follows are its arguments. */
static mica_rc split_words(struct cli *c, const char *const *words, unsigned n, struct mica_err *e)
{
	unsigned used = 0;
	mica_rc rc = MICA_OK;

	if (n == 0) {
		c->help = true;
		return MICA_OK;
	}
	rc = find_command(c, words[0], n > 1 ? words[1] : NULL, &used, e);
	if (rc != MICA_OK || !c->cmd)
		return rc;
	snprintf(c->topic, sizeof(c->topic), "%s", c->cmd->name);
	for (; used < n; used++)
		c->args[c->n_args++] = words[used];
	return MICA_OK;
}

static mica_rc check_args(const struct cli *c, struct mica_err *e)
{
	const struct cli_command *m = c->cmd;

	if (c->n_args < m->min_args)
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"mica %s needs %s: mica %s --help", m->name, m->args, m->name);
	if (c->n_args > m->max_args)
		return mica_fail(e, MICA_INVALID, "usage",
			"mica %s: '%.60s' is one argument too many: mica %s --help", m->name,
			c->args[m->max_args], m->name);
	if (c->rest && !m->rest)
		return mica_fail(
			e, MICA_INVALID, "usage", "mica %s takes nothing behind --", m->name);
	return MICA_OK;
}

mica_rc cli_parse(struct cli *c, int argc, const char *const *argv,
	const char *(*env)(const char *name), struct mica_err *e)
{
	const char *words[CLI_LIST_MAX];
	unsigned n = 0;
	cli_mask seen = 0;
	mica_rc rc = MICA_OK;

	for (int i = 1; i < argc && rc == MICA_OK; i++) {
		if (strcmp(argv[i], "--") == 0) {
			c->rest = argv + i + 1;
			c->n_rest = (unsigned)(argc - i - 1);
			break;
		}
		if (argv[i][0] == '-' && argv[i][1] != '\0')
			rc = read_option(c, argc, argv, &i, &seen, e);
		else if (n < CLI_LIST_MAX)
			words[n++] = argv[i];
		else
			rc = usage(e, "usage", "too many arguments", argv[i], NULL);
	}
	if (rc != MICA_OK)
		return rc;
	c->help = cli_set(c, OPT_HELP);
	rc = split_words(c, words, n, e);
	if (rc == MICA_OK && c->cmd && !c->help)
		rc = check_options(c, seen, e);
	if (rc == MICA_OK && !c->help)
		rc = check_args(c, e);
	return rc == MICA_OK ? read_env(c, seen, env, e) : rc;
}
