/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin's program: one table of commands and one of options. Parsing, help, the man page's
 * test and the completions of three shells all read these tables, so that none can say another
 * thing than the others. A command is a function from parsed options to a writer; it never prints.
 *
 *	argv -> cli_parse -> struct cli -> command->run(cli, e) -> exit status
 */
#ifndef MICA_CLI_H
#define MICA_CLI_H

#include "out.h"

#include "mica/mem.h"
#include "mica/slice.h"

/* Every option of the program; an option means the same wherever it is taken. */
enum cli_opt {
	OPT_HELP,
	OPT_OUTPUT,
	OPT_URL,
	OPT_CA,
	OPT_SOCKET,
	OPT_TOKEN_FILE,
	OPT_SVID,
	OPT_TIMEOUT,
	OPT_CONFIG,
	OPT_OUT,
	OPT_TTL,
	OPT_KEY_TYPE,
	OPT_RENEW,
	OPT_AUDIENCE,
	OPT_FORMAT,
	OPT_ROOTS,
	OPT_CHANNEL,
	OPT_FRONT,
	OPT_JWKS_FILE,
	OPT_SPIFFE_ID,
	OPT_POD_UID,
	OPT_SERIAL,
	OPT_TYPE,
	OPT_SINCE,
	OPT_UNTIL,
	OPT_ORDER,
	OPT_LIMIT,
	OPT_CURSOR,
	OPT_ALL,
	OPT_VKEY,
	OPT_STATE,
	OPT_FROM,
	OPT_DEEP,
	OPT_FIRST_USE,
	OPT_RECEIPT,
	OPT_ENTRY,
	OPT_MATCH,
	OPT_INTERVAL,
	OPT_ONCE,
	OPT_METRICS,
	OPT_HASHES,
	OPT_FULL,
	OPT_CHECKPOINT,
	OPT_FORCE,
	OPT_RECOVER,
	OPT_ACCEPT,
	OPT_AHEAD,
	OPT_NEW_ROOT,
	OPT_STANDBY,
	OPT_REASON,
	OPT_CRL_ONLY,
	OPT_TARGET,
	OPT_AS,
	OPT_STRICT,
	OPT_PART,
	OPT_NAMESPACE,
	OPT_LABEL,
	OPT_ROOT_NAMESPACE,
	OPT_TRUST_DOMAIN,
	OPT_ALIAS,
	OPT_PORT,
	OPT_LINKERD_NAMESPACE,
	OPT_LINKERD_TRUST_DOMAIN,
	OPT_CONSUL_DATACENTER,
	OPT_CONSUL_NAMESPACE,
	OPT_CONSUL_SERVICE_LABEL,
	OPT_KIND,
	OPT_REVISION,
	OPT_IF_MATCH,
	OPT_PEER,
	OPT_SOURCE_IP,
	OPT_HOST,
	OPT_METHOD,
	OPT_PATH,
	OPT_HEADER,
	OPT_REQUEST,
	OPT_PEERS,
	OPT_COUNT
};

enum cli_kind {
	CLI_FLAG,
	CLI_STRING,
	CLI_FILE, /* the same; completed with names of files */
	CLI_DIR,
	CLI_INT,
	CLI_DURATION, /* seconds, or 90s 15m 1h 30d */
	CLI_TIME, /* RFC 3339, or a duration that is subtracted from now: 2h */
	CLI_CHOICE,
	CLI_LIST /* may be given several times */
};

struct cli_option {
	const char *name; /* without its dashes */
	char letter; /* 0 = none */
	enum cli_kind kind;
	const char *arg; /* as help shows it: "FILE" */
	const char *help;
	const char *env; /* variable that gives it when the command line does not */
	const char *const *choices; /* CHOICE; ends in NULL */
	int64_t min, max; /* INT, DURATION */
};
extern const struct cli_option cli_options[OPT_COUNT];

/* A set of options: more than 64 of them are to come. */
__extension__ typedef unsigned __int128 cli_mask;
#define CLI_BIT(o)   ((cli_mask)1 << (o))
#define CLI_LIST_MAX 32

struct cli_value {
	bool set;
	bool from_env;
	const char *s; /* borrowed: of argv or the environment */
	int64_t i;
	const char *list[CLI_LIST_MAX];
	unsigned n;
};

struct cli;
struct cli_command {
	const char *name; /* "audit list" */
	const char *summary; /* one line, lower case, no full stop */
	const char *args; /* "SERIAL|FILE"; NULL = none */
	unsigned min_args, max_args;
	bool rest; /* what stands behind "--" is an argument list of its own */
	const char *about; /* paragraphs, ended by a newline each */
	const char *example; /* lines, ended by a newline each */
	cli_mask options; /* CLI_BIT of each */
	mica_rc (*run)(struct cli *c, struct mica_err *e);
};
extern const struct cli_command cli_commands[];
extern const size_t cli_n_commands;

/* A parsed command line. `args` and values are borrowed from argv and the environment. */
struct cli {
	const struct cli_command *cmd;
	struct cli_value v[OPT_COUNT];
	const char *args[CLI_LIST_MAX];
	unsigned n_args;
	const char *const *rest; /* behind "--"; NULL-terminated as argv is */
	unsigned n_rest;
	bool help; /* help was asked for, of `topic` */
	char topic[64];
	int64_t now; /* seconds; for relative times */
	struct writer *w;
	int exit_status; /* of a command that ended well, when not 0 */
};

/* Exit status besides those of mica_rc_exit(): something was found that `audit watch` looks for, or
 * a case of `policy test` fails, or `policy diff` finds a difference. */
#define CLI_EXIT_MATCHED 9

/* INVALID "usage" | "unknown_command" | "unknown_option" | "bad_option" | "missing_argument". The
 * text says what was expected and, where one is near, what was probably meant. `argv[0]` is the
 * program. `env` answers for a variable's name (mica_env; tests have their own). */
mica_rc cli_parse(struct cli *c, int argc, const char *const *argv,
	const char *(*env)(const char *name), struct mica_err *e) MICA_MUST_CHECK;
/* Commands whose name is `group` or begins with it and a space; how many. */
size_t cli_group(const char *group, const struct cli_command **first);
const struct cli_command *cli_command_find(const char *name);

/* "" = the program; a group; or a command. */
void cli_help(struct mica_buf *out, const char *topic);
/* bash, zsh, fish. INVALID "unknown_shell". */
mica_rc cli_completion(struct mica_buf *out, const char *shell, struct mica_err *e) MICA_MUST_CHECK;
/* What to do about an error, "" when there is nothing to say. */
const char *cli_hint(const char *reason);

/* Everything: argv to exit status. */
int cli_main(int argc, const char *const *argv);

static inline const char *cli_str(const struct cli *c, enum cli_opt o)
{
	return c->v[o].s;
}
static inline bool cli_set(const struct cli *c, enum cli_opt o)
{
	return c->v[o].set;
}
static inline int64_t cli_int(const struct cli *c, enum cli_opt o, int64_t unset)
{
	return c->v[o].set ? c->v[o].i : unset;
}

/* Whether SIGINT or SIGTERM came: long work ends soon after. */
bool cli_stopped(void);
/* Sleeps `ms`, less when stopped; false when stopped. */
bool cli_sleep(int64_t ms);

/* ---- commands, one file a group ------------------------------------------------------------- */

typedef mica_rc cli_run(struct cli *c, struct mica_err *e);
cli_run cmd_help, cmd_version, cmd_completion;
cli_run cmd_init, cmd_config_check, cmd_store_check, cmd_backup, cmd_restore;
cli_run cmd_svid_fetch, cmd_jwt_fetch, cmd_bundle_show, cmd_bundle_watch, cmd_certificate_show;
cli_run cmd_status, cmd_token_explain, cmd_authority_taint, cmd_deny_add, cmd_deny_remove;
cli_run cmd_deny_list;
cli_run cmd_policy_validate, cmd_policy_test, cmd_policy_compile;
cli_run cmd_policy_apply, cmd_policy_get, cmd_policy_delete, cmd_policy_history;
cli_run cmd_policy_rollback, cmd_policy_promote, cmd_policy_withdraw;
cli_run cmd_policy_explain, cmd_policy_diff, cmd_policy_impact;
cli_run cmd_token_create, cmd_token_list, cmd_token_revoke;
cli_run cmd_authority_list, cmd_authority_show, cmd_authority_prepare, cmd_authority_activate;
cli_run cmd_authority_crl;
cli_run cmd_authority_csr, cmd_authority_import;
cli_run cmd_certificate_revoke, cmd_certificate_revoked, cli_revoke_by_crl;
cli_run cmd_authority_revoke, cmd_rotation_status, cmd_rotation_plan, cmd_rotation_start;
cli_run cmd_rotation_rollback, cmd_rotation_confirm, cmd_rotation_withdraw, cmd_rotation_clock;
cli_run cmd_audit_list, cmd_audit_show, cmd_audit_verify, cmd_audit_watch, cmd_ledger_export;

#endif
