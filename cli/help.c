/* SPDX-License-Identifier: Apache-2.0 */
/* Help, from the tables of commands and options. */
#include "cli.h"

#define COLUMN 28

static const char about_program[] =
	"mica works a Mica certificate authority: it makes one, asks it for identities, reads its\n"
	"ledger and proves that nothing in it was altered.\n";

static const char about_environment[] =
	"Environment:\n"
	"  MICA_URL            micad's address (--url)\n"
	"  MICA_CA             roots of its certificate (--ca)\n"
	"  MICA_ADMIN_SOCKET   its admin socket (--socket)\n"
	"  MICA_TOKEN_FILE     the token that says who asks (--token-file)\n"
	"  MICA_LOG_VKEY       verifier key of the log (--vkey)\n"
	"  NO_COLOR            no colours, ever\n";

static const char about_exit[] =
	"Exit status:\n"
	"  0 done   1 internal error   2 wrong input   3 not authenticated   4 denied   5 not found\n"
	"  6 conflict   7 over a limit   8 CORRUPT: data or a log is not what was promised\n"
	"  9 audit watch found what it looks for, or a case of policy test fails\n"
	"  75 not available now, try again\n";

static void pad(struct mica_buf *out, size_t from, size_t to)
{
	if (from >= to) {
		mica_buf_put_u8(out, '\n');
		from = 0;
	}
	for (; from < to; from++)
		mica_buf_put_u8(out, ' ');
}

static void put_option(struct mica_buf *out, enum cli_opt which)
{
	const struct cli_option *o = &cli_options[which];
	size_t start = out->len;

	if (o->letter)
		mica_buf_printf(out, "  -%c, --%s", o->letter, o->name);
	else
		mica_buf_printf(out, "      --%s", o->name);
	if (o->arg)
		mica_buf_printf(out, " %s", o->arg);
	pad(out, out->len - start + 1, COLUMN);
	mica_buf_put_str(out, o->help);
	if (o->env)
		mica_buf_printf(out, " [%s]", o->env);
	if (o->kind == CLI_CHOICE && which == OPT_KEY_TYPE)
		for (unsigned i = 0; o->choices[i]; i++)
			mica_buf_printf(out, "%s%s", i ? ", " : ": ", o->choices[i]);
	mica_buf_put_u8(out, '\n');
}

static void put_options(struct mica_buf *out, cli_mask options)
{
	mica_buf_put_str(out, "\nOptions:\n");
	for (int i = 0; i < OPT_COUNT; i++)
		if (options & CLI_BIT(i))
			put_option(out, (enum cli_opt)i);
	put_option(out, OPT_OUTPUT);
	put_option(out, OPT_HELP);
}

static void put_usage(struct mica_buf *out, const struct cli_command *m)
{
	mica_buf_printf(out, "Usage: mica %s%s%s%s%s\n", m->name, m->options ? " [options]" : "",
		m->args ? " " : "", m->args ? m->args : "",
		m->rest && !strchr(m->args ? m->args : "", '-') ? " [-- COMMAND ARG...]" : "");
}

static void help_command(struct mica_buf *out, const struct cli_command *m)
{
	put_usage(out, m);
	mica_buf_printf(out, "\n%s", m->about);
	mica_buf_put_str(out, "\nExample:\n");
	mica_buf_put_str(out, m->example);
	put_options(out, m->options);
}

static void list_commands(struct mica_buf *out, const char *group)
{
	size_t len = strlen(group);

	for (size_t i = 0; i < cli_n_commands; i++) {
		const struct cli_command *m = &cli_commands[i];
		size_t start = out->len;

		if (len > 0 && (strncmp(m->name, group, len) != 0 || m->name[len] != ' '))
			continue;
		mica_buf_printf(out, "  %s", m->name);
		if (m->args)
			mica_buf_printf(out, " %s", m->args);
		pad(out, out->len - start + 1, COLUMN);
		mica_buf_printf(out, "%s\n", m->summary);
	}
}

void cli_help(struct mica_buf *out, const char *topic)
{
	const struct cli_command *m = cli_command_find(topic);

	if (m) {
		help_command(out, m);
		return;
	}
	if (topic[0] != '\0') {
		mica_buf_printf(out, "Usage: mica %s COMMAND\n\nCommands:\n", topic);
		list_commands(out, topic);
		mica_buf_printf(out, "\nMore about one: mica %s COMMAND --help\n", topic);
		return;
	}
	mica_buf_printf(out, "Usage: mica COMMAND [options]\n\n%s\nCommands:\n", about_program);
	list_commands(out, "");
	mica_buf_printf(out, "\n%s\n%s\nMore about one: mica COMMAND --help, mica(1)\n",
		about_environment, about_exit);
}

static const struct {
	const char *reason, *hint;
} hints[] = {
	{"connect_failed",
		"is micad running? `systemctl status micad`; the address comes from --url or "
		"--socket (MICA_URL, MICA_ADMIN_SOCKET); the socket is for root and the configured "
		"groups"},
	{"tls_failed",
		"the roots that micad's certificate must lead to come from --ca (MICA_CA); "
		"`mica bundle show --format pem` on micad's machine prints them"},
	{"timeout", "micad is slow or cut off; --timeout waits longer"},
	{"no_server",
		"say where micad is: --url https://HOST:PORT, or --socket PATH on its machine"},
	{"no_credential", "say who asks: --token-file FILE (MICA_TOKEN_FILE), or --svid DIR"},
	{"store_exists",
		"a store is never made twice; remove its directory only if nobody needs its "
		"keys any more"},
	{"store_locked", "micad has it open: stop it first, `systemctl stop micad`"},
	{"store_missing",
		"make it with `mica init --config FILE`, or bring a backup with "
		"`mica restore`"},
	{"store_partial",
		"`mica init` or a restore did not end: remove the directory and begin "
		"again"},
	{"wrong_passphrase", "the passphrase is the one that `mica init` was given"},
	{"secret_exposed", "chmod 600 the file"},
	{"token_invalid", "`mica token explain` says why, to auditors and admins"},
	{"token_expired",
		"take a fresh token: projected ones are renewed in their file by the "
		"kubelet"},
	{"fresh_evidence_needed",
		"the certificate was renewed for too long: ask with a token again"},
	{"join_token_spent", "it works once: `mica token create` makes another one"},
	{"join_token_expired", "`mica token create` makes another one"},
	{"join_tokens_off", "join_tokens.spiffe_path: /vm/{name} in micad's configuration"},
	{"log_key_unknown",
		"get the key from the operator (`mica status`, or `mica init` printed "
		"it) and give it as --vkey or MICA_LOG_VKEY; --first-use believes the "
		"one that micad names now"},
	{"note_unsigned",
		"a log that was restored from a backup goes on under another name: ask the operator "
		"for the new key and for what was lost"},
	{"log_shrunk",
		"a copy that lags behind looks the same: give each copy a --state of its own, and ask "
		"micad itself"},
	{"log_forked",
		"whoever holds the log's key signed two histories: show both files to the other "
		"auditors, and trust none of its certificates"},
	{"role_required",
		"on the admin socket, root, micad's own user and the admin group may "
		"act; group audit_group may read"},
	{"unknown_command", "`mica --help` lists the commands"},
	{"yaml_syntax", "deploy/examples/micad.yaml shows every setting"},
	{"yaml_schema", "deploy/examples/micad.yaml shows every setting"},
};

const char *cli_hint(const char *reason)
{
	for (size_t i = 0; reason && i < MICA_ARRAY_LEN(hints); i++)
		if (strcmp(hints[i].reason, reason) == 0)
			return hints[i].hint;
	return "";
}
