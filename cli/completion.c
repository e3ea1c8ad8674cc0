/* SPDX-License-Identifier: Apache-2.0 */
/* Completion for three shells, from the tables of commands and options. */
#include "cli.h"

/* Text inside of single quotes, for every one of the shells. */
static void put_quoted(struct mica_buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\'')
			mica_buf_put_str(out, "'\\''");
		else
			mica_buf_put_u8(out, (uint8_t)*text);
	}
}

static cli_mask options_of(const struct cli_command *m)
{
	return m->options | CLI_BIT(OPT_OUTPUT) | CLI_BIT(OPT_HELP);
}

/* Words that a command takes as its argument: "bash|zsh|fish" and the like, all lower case. */
static bool is_choice(const char *args)
{
	return args && strspn(args, "abcdefghijklmnopqrstuvwxyz_|") > 0 && strchr(args, '|') &&
		args[0] >= 'a';
}

static void put_choices(struct mica_buf *out, const char *args)
{
	for (; *args && *args != ' '; args++)
		mica_buf_put_u8(out, *args == '|' ? ' ' : (uint8_t)*args);
}

/* First words of commands, each once. */
static bool first_of_group(size_t i, struct mica_slice *word)
{
	const char *name = cli_commands[i].name;

	*word = mica_slice(name, strcspn(name, " "));
	for (size_t j = 0; j < i; j++) {
		const char *other = cli_commands[j].name;

		if (mica_slice_eq(*word, mica_slice(other, strcspn(other, " "))))
			return false;
	}
	return true;
}

static const char *second_word(const struct cli_command *m)
{
	const char *space = strchr(m->name, ' ');

	return space ? space + 1 : NULL;
}

/* ---- bash ---------------------------------------------------------------------------------- */

static void bash_values(struct mica_buf *out)
{
	mica_buf_put_str(out, "    case $prev in\n");
	for (int i = 0; i < OPT_COUNT; i++) {
		const struct cli_option *o = &cli_options[i];

		if (o->kind == CLI_FLAG)
			continue;
		if (o->letter)
			mica_buf_printf(out, "    -%c|--%s) ", o->letter, o->name);
		else
			mica_buf_printf(out, "    --%s) ", o->name);
		if (o->kind == CLI_CHOICE) {
			mica_buf_put_str(out, "COMPREPLY=($(compgen -W '");
			for (unsigned c = 0; o->choices[c]; c++)
				mica_buf_printf(out, "%s%s", c ? " " : "", o->choices[c]);
			mica_buf_put_str(out, "' -- \"$cur\")); return ;;\n");
		} else if (o->kind == CLI_FILE) {
			mica_buf_put_str(out, "COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n");
		} else if (o->kind == CLI_DIR) {
			mica_buf_put_str(out, "COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n");
		} else {
			mica_buf_put_str(out, "return ;;\n");
		}
	}
	mica_buf_put_str(out, "    esac\n");
}

static void bash_commands(struct mica_buf *out)
{
	mica_buf_put_str(out, "    case \"$command\" in\n");
	for (size_t i = 0; i < cli_n_commands; i++) {
		const struct cli_command *m = &cli_commands[i];
		cli_mask options = options_of(m);

		mica_buf_printf(out, "    '%s') words='", m->name);
		for (int o = 0; o < OPT_COUNT; o++)
			if (options & CLI_BIT(o))
				mica_buf_printf(out, "--%s ", cli_options[o].name);
		if (is_choice(m->args))
			put_choices(out, m->args);
		mica_buf_put_str(out, "' ;;\n");
	}
	for (size_t i = 0; i < cli_n_commands; i++) {
		struct mica_slice word;

		if (!first_of_group(i, &word) || !second_word(&cli_commands[i]))
			continue;
		mica_buf_printf(out, "    '%.*s') words='", MICA_FMT(word));
		for (size_t j = 0; j < cli_n_commands; j++)
			if (strncmp(cli_commands[j].name, (const char *)word.p, word.len) == 0 &&
				cli_commands[j].name[word.len] == ' ')
				mica_buf_printf(out, "%s ", second_word(&cli_commands[j]));
		mica_buf_put_str(out, "' ;;\n");
	}
	mica_buf_put_str(out, "    '') words='");
	for (size_t i = 0; i < cli_n_commands; i++) {
		struct mica_slice word;

		if (first_of_group(i, &word))
			mica_buf_printf(out, "%.*s ", MICA_FMT(word));
	}
	mica_buf_put_str(out, "' ;;\n    esac\n");
}

static void bash(struct mica_buf *out)
{
	mica_buf_put_str(out,
		"# bash completion for mica; made by `mica completion bash`\n"
		"_mica() {\n"
		"    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		"    local command= words= i w skip=\n"
		"    COMPREPLY=()\n");
	bash_values(out);
	mica_buf_put_str(out,
		"    for ((i = 1; i < COMP_CWORD; i++)); do\n"
		"        w=${COMP_WORDS[i]}\n"
		"        if [[ -n $skip ]]; then skip=; continue; fi\n"
		"        case $w in\n"
		"        --) return ;;\n");
	mica_buf_put_str(out, "        ");
	for (int i = 0, n = 0; i < OPT_COUNT; i++)
		if (cli_options[i].kind != CLI_FLAG)
			mica_buf_printf(out, "%s--%s", n++ ? "|" : "", cli_options[i].name);
	mica_buf_put_str(out,
		") skip=1 ;;\n"
		"        -*) ;;\n"
		"        *) case $command in\n"
		"           '') command=$w ;;\n"
		"           *' '*) ;;\n"
		"           *) command=\"$command $w\" ;;\n"
		"           esac ;;\n"
		"        esac\n"
		"    done\n");
	bash_commands(out);
	mica_buf_put_str(out,
		"    [[ -z $words && $command == *' '* ]] && return\n"
		"    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
		"    [[ ${#COMPREPLY[@]} -eq 0 && $cur != -* ]] && "
		"COMPREPLY=($(compgen -f -- \"$cur\"))\n"
		"    return 0\n"
		"}\n"
		"complete -o filenames -F _mica mica\n");
}

/* ---- zsh ----------------------------------------------------------------------------------- */

/* A description inside of '...[...]': brackets and colons mean something to _arguments. */
static void zsh_text(struct mica_buf *out, const char *text)
{
	for (; *text; text++) {
		if (strchr("[]:\\", *text))
			mica_buf_put_u8(out, '\\');
		if (*text == '\'')
			mica_buf_put_str(out, "'\\''");
		else
			mica_buf_put_u8(out, (uint8_t)*text);
	}
}

static void zsh_option(struct mica_buf *out, const struct cli_option *o)
{
	mica_buf_printf(out, "                '%s--%s%s[", o->kind == CLI_LIST ? "*" : "", o->name,
		o->kind == CLI_FLAG ? "" : "=");
	zsh_text(out, o->help);
	mica_buf_put_u8(out, ']');
	if (o->kind == CLI_CHOICE) {
		mica_buf_put_str(out, ":value:(");
		for (unsigned c = 0; o->choices[c]; c++)
			mica_buf_printf(out, "%s%s", c ? " " : "", o->choices[c]);
		mica_buf_put_u8(out, ')');
	} else if (o->kind == CLI_FILE) {
		mica_buf_put_str(out, ":file:_files");
	} else if (o->kind == CLI_DIR) {
		mica_buf_put_str(out, ":directory:_files -/");
	} else if (o->kind != CLI_FLAG) {
		mica_buf_put_str(out, ":value:");
	}
	mica_buf_put_str(out, "' \\\n");
}

static void zsh_describe(struct mica_buf *out, const char *group)
{
	size_t len = strlen(group);

	for (size_t i = 0; i < cli_n_commands; i++) {
		const struct cli_command *m = &cli_commands[i];
		struct mica_slice word;

		if (len > 0 && (strncmp(m->name, group, len) != 0 || m->name[len] != ' '))
			continue;
		if (len == 0 && !first_of_group(i, &word))
			continue;
		if (len > 0)
			word = mica_slice_str(second_word(m));
		mica_buf_printf(out, " '%.*s:", MICA_FMT(word));
		zsh_text(out, len == 0 && second_word(m) ? "..." : m->summary);
		mica_buf_put_u8(out, '\'');
	}
}

static void zsh(struct mica_buf *out)
{
	mica_buf_put_str(out,
		"#compdef mica\n# made by `mica completion zsh`\n_mica() {\n"
		"    local -a commands\n"
		"    if ((CURRENT == 2)); then\n        commands=(");
	zsh_describe(out, "");
	mica_buf_put_str(out, ")\n        _describe command commands\n        return\n    fi\n");
	mica_buf_put_str(out, "    case ${words[2]} in\n");
	for (size_t i = 0; i < cli_n_commands; i++) {
		struct mica_slice word;
		char group[64];

		if (!first_of_group(i, &word) || !second_word(&cli_commands[i]) ||
			mica_slice_copy(word, group, sizeof(group)) != MICA_OK)
			continue;
		mica_buf_printf(out, "    %s) if ((CURRENT == 3)); then commands=(", group);
		zsh_describe(out, group);
		mica_buf_put_str(out, "); _describe command commands; return; fi ;;\n");
	}
	mica_buf_put_str(out, "    esac\n    case \"${words[2]} ${words[3]}\" in\n");
	for (size_t i = 0; i < cli_n_commands; i++) {
		const struct cli_command *m = &cli_commands[i];
		cli_mask options = options_of(m);

		mica_buf_printf(
			out, "    '%s'%s) _arguments \\\n", m->name, second_word(m) ? "" : "*");
		for (int o = 0; o < OPT_COUNT; o++)
			if (options & CLI_BIT(o))
				zsh_option(out, &cli_options[o]);
		if (is_choice(m->args)) {
			mica_buf_put_str(out, "                '*:value:(");
			put_choices(out, m->args);
			mica_buf_put_str(out, ")' ;;\n");
		} else {
			mica_buf_put_str(out, "                '*:file:_files' ;;\n");
		}
	}
	mica_buf_put_str(out, "    esac\n}\n_mica \"$@\"\n");
}

/* ---- fish ---------------------------------------------------------------------------------- */

static void fish_condition(struct mica_buf *out, const struct cli_command *m)
{
	struct mica_slice first = mica_slice(m->name, strcspn(m->name, " "));

	mica_buf_printf(out, " -n '__fish_seen_subcommand_from %.*s", MICA_FMT(first));
	if (second_word(m))
		mica_buf_printf(out, "; and __fish_seen_subcommand_from %s", second_word(m));
	mica_buf_put_u8(out, '\'');
}

static void fish_option(
	struct mica_buf *out, const struct cli_command *m, const struct cli_option *o)
{
	mica_buf_put_str(out, "complete -c mica");
	fish_condition(out, m);
	mica_buf_printf(out, " -l %s", o->name);
	if (o->letter)
		mica_buf_printf(out, " -s %c", o->letter);
	if (o->kind == CLI_CHOICE) {
		mica_buf_put_str(out, " -x -a '");
		for (unsigned c = 0; o->choices[c]; c++)
			mica_buf_printf(out, "%s%s", c ? " " : "", o->choices[c]);
		mica_buf_put_u8(out, '\'');
	} else if (o->kind == CLI_FILE) {
		mica_buf_put_str(out, " -r -F");
	} else if (o->kind == CLI_DIR) {
		mica_buf_put_str(out, " -x -a '(__fish_complete_directories)'");
	} else if (o->kind != CLI_FLAG) {
		mica_buf_put_str(out, " -x");
	}
	mica_buf_put_str(out, " -d '");
	put_quoted(out, o->help);
	mica_buf_put_str(out, "'\n");
}

static void fish(struct mica_buf *out)
{
	mica_buf_put_str(out, "# fish completion for mica; made by `mica completion fish`\n");
	for (size_t i = 0; i < cli_n_commands; i++) {
		const struct cli_command *m = &cli_commands[i];
		struct mica_slice word;
		cli_mask options = options_of(m);

		if (first_of_group(i, &word)) {
			mica_buf_printf(out, "complete -c mica -f -n __fish_use_subcommand -a %.*s",
				MICA_FMT(word));
			mica_buf_put_str(out, " -d '");
			put_quoted(out, second_word(m) ? "..." : m->summary);
			mica_buf_put_str(out, "'\n");
		}
		word = mica_slice(m->name, strcspn(m->name, " "));
		if (second_word(m)) {
			mica_buf_printf(out,
				"complete -c mica -f -n '__fish_seen_subcommand_from %.*s' -a %s -d '",
				MICA_FMT(word), second_word(m));
			put_quoted(out, m->summary);
			mica_buf_put_str(out, "'\n");
		}
		if (is_choice(m->args)) {
			mica_buf_put_str(out, "complete -c mica -f");
			fish_condition(out, m);
			mica_buf_put_str(out, " -a '");
			put_choices(out, m->args);
			mica_buf_put_str(out, "'\n");
		}
		for (int o = 0; o < OPT_COUNT; o++)
			if (options & CLI_BIT(o))
				fish_option(out, m, &cli_options[o]);
	}
}

/* ---- all ----------------------------------------------------------------------------------- */

mica_rc cli_completion(struct mica_buf *out, const char *shell, struct mica_err *e)
{
	static const struct {
		const char *name;
		void (*put)(struct mica_buf *out);
	} shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};

	for (size_t i = 0; i < MICA_ARRAY_LEN(shells); i++)
		if (strcmp(shells[i].name, shell) == 0) {
			shells[i].put(out);
			return MICA_OK;
		}
	return mica_fail(
		e, MICA_INVALID, "unknown_shell", "'%.40s': expected bash, zsh or fish", shell);
}
