/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands. What is said here is what help, completions and docs/man say. */
#include "client.h"
#include "policy_files.h"

#define AUDIT_OPTIONS                                                                              \
	(CLIENT_OPTIONS | CLI_BIT(OPT_VKEY) | CLI_BIT(OPT_STATE) | CLI_BIT(OPT_FROM) |             \
		CLI_BIT(OPT_FIRST_USE))

const struct cli_command cli_commands[] = {
	{.name = "init",
		.summary = "make a certificate authority",
		.about =
			"Makes the store that the configuration names, and in it a root, an issuing "
			"authority, the\nkeys of tokens, bundles and ledger, each encrypted under the "
			"configured passphrase. It is done\nonce: where a store is already, nothing is "
			"touched. The verifier key (vkey) that it prints is\nwhat auditors need.\n",
		.example = "  mica init --config /etc/mica/micad.yaml\n",
		.options = CLI_BIT(OPT_CONFIG),
		.run = cmd_init},
	{.name = "config check",
		.summary = "check a configuration",
		.args = "[FILE]",
		.max_args = 1,
		.about =
			"Reads it as micad would. Errors come with line, column and what is allowed; "
			"what is legal but\nprobably not meant is a warning.\n",
		.example = "  mica config check /etc/mica/micad.yaml\n",
		.options = CLI_BIT(OPT_CONFIG),
		.run = cmd_config_check},
	{.name = "store check",
		.summary = "read a whole store and prove that it is sound",
		.about =
			"Reads every page, entry, tile and index of a store while micad is stopped, and "
			"follows them to\nthe signed root. With --vkey the passphrase is not needed.\n",
		.example = "  systemctl stop micad\n  mica store check --config "
			   "/etc/mica/micad.yaml\n",
		.options = CLI_BIT(OPT_CONFIG) | CLI_BIT(OPT_VKEY),
		.run = cmd_store_check},
	{.name = "backup",
		.summary = "copy the store while micad runs",
		.args = "FILE",
		.min_args = 1,
		.max_args = 1,
		.about =
			"micad writes FILE, a consistent copy, and FILE.manifest, on its own machine. The "
			"keys in it are\nencrypted as they are in the store. Keep the passphrase elsewhere.\n",
		.example = "  mica backup /var/backups/mica/2026-11-24\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_backup},
	{.name = "restore",
		.summary = "make a store from a backup",
		.args = "FILE",
		.min_args = 1,
		.max_args = 1,
		.about =
			"Makes the store that the configuration names, which must not be there, from a "
			"backup. The log\ngoes on under a new origin, so that nobody can be shown two trees "
			"under one name; its next entry\nnames the old origin and the gap. With the last "
			"checkpoint that anybody has of the lost log\n(the file `checkpoint` of its "
			"directory, an auditor's state) it says which entries are lost:\ntheir certificates "
			"are valid and have no entry.\n",
		.example =
			"  mica restore /var/backups/mica/2026-11-24 --config /etc/mica/micad.yaml "
			"\\\n       --checkpoint /mnt/old/mica/checkpoint\n",
		.options = CLI_BIT(OPT_CONFIG) | CLI_BIT(OPT_CHECKPOINT),
		.run = cmd_restore},
	{.name = "svid fetch",
		.summary = "get a certificate for a token",
		.about =
			"Makes a key here, asks micad to certify it, and writes cert.pem (the chain), "
			"key.pem (mode 0600)\nand bundle.pem (the roots) to the --out directory, all three "
			"at once: a reader sees the old set\nor the new one. The key never leaves this "
			"machine; without --out it is thrown away.\n",
		.example =
			"  mica svid fetch --token-file /var/run/secrets/mica/token --out /run/svid\n"
			"  mica svid fetch --renew --out /run/svid\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_OUT) | CLI_BIT(OPT_TTL) |
			CLI_BIT(OPT_KEY_TYPE) | CLI_BIT(OPT_RENEW),
		.run = cmd_svid_fetch},
	{.name = "jwt fetch",
		.summary = "get a JWT-SVID",
		.about =
			"Prints the token alone, so that it can be used in a command line, or writes it to "
			"--out (mode\n0600).\n",
		.example =
			"  curl -H \"Authorization: Bearer $(mica jwt fetch --audience billing)\" "
			"https://billing\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_AUDIENCE) | CLI_BIT(OPT_TTL) |
			CLI_BIT(OPT_OUT),
		.run = cmd_jwt_fetch},
	{.name = "bundle show",
		.summary = "show whom to trust now",
		.args = "[TRUST-DOMAIN]",
		.max_args = 1,
		.about =
			"Without --format a summary. With it, the published document as it is; the signed "
			"form is shown\nonly when its signature leads to the roots (--roots, or those of "
			"--ca, or those that the same\nmicad publishes) and has not expired.\n",
		.example = "  mica bundle show\n  mica bundle show --format pem --out roots.pem\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_FORMAT) | CLI_BIT(OPT_CHANNEL) |
			CLI_BIT(OPT_ROOTS) | CLI_BIT(OPT_OUT),
		.run = cmd_bundle_show},
	{.name = "bundle watch",
		.summary = "show each new bundle as it comes",
		.args = "[TRUST-DOMAIN]",
		.max_args = 1,
		.about =
			"Waits for changes by long poll and shows each; with --out the newest one is always "
			"in that file.\nA sequence that goes back is an error.\n",
		.example = "  mica bundle watch --format pem --out /etc/ssl/mica/roots.pem\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_FORMAT) | CLI_BIT(OPT_CHANNEL) |
			CLI_BIT(OPT_ROOTS) | CLI_BIT(OPT_OUT) | CLI_BIT(OPT_ONCE),
		.run = cmd_bundle_watch},
	{.name = "certificate show",
		.summary = "explain a certificate",
		.args = "SERIAL|FILE",
		.min_args = 1,
		.max_args = 1,
		.about =
			"Of a file (PEM, leaf first), what it says. Of a serial number, what micad knows: "
			"also who asked\nfor it, and its ledger entry.\n",
		.example = "  mica certificate show /run/svid/cert.pem\n"
			   "  mica certificate show 019aa0b1c2d3e4f5061728394a5b6c7d\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_certificate_show},
	{.name = "certificate revoke",
		.summary = "trust a certificate no longer",
		.args = "SERIAL",
		.min_args = 1,
		.max_args = 1,
		.about =
			"It neither authenticates nor renews from then on, and the CRL of its authority "
			"names it. Relying\nparties that fetch no CRL accept it until it ends. Its holder can "
			"still get another one: `deny add`\nstops that.\n",
		.example = "  mica certificate revoke 019aa0b1c2d3e4f5061728394a5b6c7d --reason "
			   "key_compromise\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_REASON),
		.run = cmd_certificate_revoke},
	{.name = "certificate revoked",
		.summary = "what is revoked",
		.about =
			"Every certificate that a CRL names: until one life of a CRL after its end. For "
			"auditors and admins.\n",
		.example = "  mica certificate revoked\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_certificate_revoked},
	{.name = "status",
		.summary = "how micad is",
		.about =
			"Authorities and their states, the log, the store, issuers' keys, connections. For "
			"auditors and\nadmins.\n",
		.example = "  mica status\n  mica status --output json | jq .log.size\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_status},
	{.name = "token create",
		.summary = "make a join token for a machine that has no issuer",
		.about =
			"It gives one X.509-SVID, once: the machine renews with that (mica-agent does). "
			"Without\n--spiffe-id the name is made of the token's id; with it, it must be of "
			"join_tokens.spiffe_path.\nThe token is a secret that is told once; --out writes it "
			"to a file (mode 0600) and not to the\nterminal. For admins.\n",
		.example =
			"  mica token create --spiffe-id spiffe://example.org/vm/web-1 --ttl 15m\n"
			"  mica token create --spiffe-id spiffe://example.org/vm/web-1 --out join-token\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_SPIFFE_ID) | CLI_BIT(OPT_TTL) |
			CLI_BIT(OPT_OUT),
		.run = cmd_token_create},
	{.name = "token list",
		.summary = "the join tokens, and what became of them",
		.about =
			"By id, never the token itself; until a week after their end. For auditors and "
			"admins.\n",
		.example = "  mica token list\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_token_list},
	{.name = "token revoke",
		.summary = "a join token is not to be used any more",
		.args = "ID",
		.min_args = 1,
		.max_args = 1,
		.about =
			"One that was used is used: revoke the certificate that it gave, and deny its "
			"SPIFFE ID.\n",
		.example = "  mica token revoke 5f0c9f2b7a1d4e38\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_token_revoke},
	{.name = "token explain",
		.summary = "why a token would be accepted or refused",
		.about =
			"Asks micad (auditors and admins), or judges here with --config and --jwks-file. "
			"Neither the token\nnor its signature is shown. Ends with status 3 when it would be "
			"refused.\n",
		.example =
			"  mica token explain --token-file token\n"
			"  mica token explain --token-file token --config micad.yaml --jwks-file "
			"keys.json\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_FRONT) | CLI_BIT(OPT_CONFIG) |
			CLI_BIT(OPT_JWKS_FILE),
		.run = cmd_token_explain},
	{.name = "authority list",
		.summary = "the authorities and their states",
		.about = "Roots, issuing authorities and JWT keys. For auditors and admins.\n",
		.example = "  mica authority list\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_authority_list},
	{.name = "authority show",
		.summary = "one authority, with its times and its certificate",
		.args = "ID",
		.min_args = 1,
		.max_args = 1,
		.about = "Everything that is kept of it but its key. For auditors and admins.\n",
		.example = "  mica authority show 5f1c0e6d8b4a39271605f4e3d2c1b0a998877665\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_authority_show},
	{.name = "authority prepare",
		.summary = "make an authority that waits",
		.args = "root|issuing|jwt",
		.min_args = 1,
		.max_args = 1,
		.about =
			"It is made and published, and never used by plan: `authority activate` does. With "
			"--recover a root\nis made and active at once, which is allowed only when no other one "
			"is usable: relying parties have\nto be given the new bundle by hand.\n",
		.example =
			"  mica authority prepare root\n  mica authority prepare root --recover\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_RECOVER),
		.run = cmd_authority_prepare},
	{.name = "authority activate",
		.summary = "let an authority sign from now on",
		.args = "ID",
		.min_args = 1,
		.max_args = 1,
		.about =
			"The one that was active retires. Refused while somebody may not have the new one; "
			"--force does it\nall the same, and that is recorded.\n",
		.example = "  mica authority activate 5f1c0e6d8b4a39271605f4e3d2c1b0a998877665\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_FORCE),
		.run = cmd_authority_activate},
	{.name = "authority revoke",
		.summary = "take a root or JWT key out of the bundle now",
		.args = "ID",
		.min_args = 1,
		.max_args = 1,
		.about =
			"Refused while certificates or tokens need it, with their number and the last end; "
			"--force does it\nall the same, and what it breaks is recorded. One that signs has to be "
			"tainted first.\nWith --crl-only an issuing authority is tainted, its root's CRL "
			"names it, and the root stays: refused\nunless every outlet of the configuration "
			"is declared to consume CRLs.\n",
		.example = "  mica authority revoke 5f1c0e6d8b4a39271605f4e3d2c1b0a998877665\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_FORCE) | CLI_BIT(OPT_CRL_ONLY),
		.run = cmd_authority_revoke},
	{.name = "authority crl",
		.summary = "publish a CRL that was signed elsewhere",
		.args = "ID FILE",
		.min_args = 2,
		.max_args = 2,
		.about =
			"For an authority whose key is elsewhere, such as an offline root: the CRL (PEM or "
			"DER) is judged and\npublished. Its number must be greater than that of the last "
			"one.\n",
		.example =
			"  mica authority crl 5f1c0e6d8b4a39271605f4e3d2c1b0a998877665 root.crl\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_authority_crl},
	{.name = "authority taint",
		.summary = "trust an authority no longer",
		.args = "ID",
		.min_args = 1,
		.max_args = 1,
		.about =
			"The authority signs nothing more: no later entry of the ledger names it. The "
			"standby root takes over,\nand what was signed stays trusted until all who have something of "
			"it have renewed, or until\nrotation.deadline: `mica rotation status` says who has "
			"not. With --crl-only the root of an issuing\nauthority stays, and its CRL names "
			"the tainted one: see `authority revoke`. `mica authority list`\nshows the ids.\n",
		.example = "  mica authority taint 5f1c0e6d8b4a39271605f4e3d2c1b0a998877665\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_CRL_ONLY),
		.run = cmd_authority_taint},
	{.name = "authority csr",
		.summary = "ask the signer of an offline root for certificates",
		.args = "[COUNT]",
		.max_args = 1,
		.about =
			"With authorities.root: offline. Makes issuing keys until COUNT of them (2) wait for "
			"a signature, and\ntells their requests. With --out they are written to a directory, "
			"one ID.csr each, with\nextensions.cnf for openssl's -extfile, which has a section "
			"mica_ID for each. The keys never leave\nmicad, and the root's key never comes "
			"here. COUNT 0 makes none.\n",
		.example =
			"  mica authority csr --out requests\n"
			"  openssl x509 -req -in requests/ID.csr -CA root.pem -CAkey root.key -days 90 \\\n"
			"       -extfile requests/extensions.cnf -extensions mica_ID -out ID.pem\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_OUT),
		.run = cmd_authority_csr},
	{.name = "authority import",
		.summary = "bring back what the signer of an offline root has signed",
		.args = "FILE...",
		.min_args = 1,
		.max_args = CLI_LIST_MAX - 2,
		.about =
			"In PEM, in any order and any number of files: certificates of requests, roots, and "
			"CRLs of roots. All are\nchecked before anything changes, and all of them are taken or none. "
			"A root that is not known yet\nis refused unless --new-root says that it is meant: it is "
			"published, and used when everybody has it\nand it has signed a request.\n",
		.example = "  mica authority import ID.pem\n"
			   "  mica authority import --new-root root.pem ID.pem\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_NEW_ROOT) | CLI_BIT(OPT_STANDBY),
		.run = cmd_authority_import},
	{.name = "rotation status",
		.summary = "what each rotation waits for, and who is missing",
		.about =
			"Of each kind the next step, what it waits for and until when; holders that have not "
			"acknowledged\na new root, by SPIFFE ID; outlets that wait for confirmation; the clock. "
			"For auditors and admins.\n",
		.example = "  mica rotation status\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_rotation_status},
	{.name = "rotation plan",
		.summary = "every coming step, with its time",
		.about =
			"The machine that rotates, with a moved clock: nothing is changed. It supposes that "
			"holders\nacknowledge in time. For auditors and admins.\n",
		.example = "  mica rotation plan --ahead 30d\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_AHEAD),
		.run = cmd_rotation_plan},
	{.name = "rotation start",
		.summary = "begin a rotation now",
		.args = "root|issuing|jwt",
		.min_args = 1,
		.max_args = 1,
		.about =
			"A successor is made and published; it takes over by itself when everybody has it. "
			"One at a time of\neach kind.\n",
		.example = "  mica rotation start root\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_rotation_start},
	{.name = "rotation rollback",
		.summary = "go back to the authority that retired last",
		.args = "root|issuing|jwt",
		.min_args = 1,
		.max_args = 1,
		.about =
			"Possible while that one is published, unharmed, and its key is here. Refused when it "
			"ends too soon\nfor what it would sign; --force does it all the same.\n",
		.example = "  mica rotation rollback root\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_FORCE),
		.run = cmd_rotation_rollback},
	{.name = "rotation confirm",
		.summary = "say that an outlet has the new bundle",
		.args = "OUTLET",
		.min_args = 1,
		.max_args = 1,
		.about =
			"For an entry of rotation.outlets without a propagation, once whoever it reaches has "
			"the bundle that\nis published now. The outlet canary: what the canary channel has is "
			"right, and comes to\neverybody at once.\n",
		.example = "  mica rotation confirm linkerd\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_rotation_confirm},
	{.name = "rotation withdraw",
		.summary = "take back what the canary channel has before everybody",
		.args = "root|jwt",
		.min_args = 1,
		.max_args = 1,
		.about =
			"A successor that only the canary channel has is removed; one that only the canary "
			"channel has lost is\npublished there again. The same is tried again after "
			"rotation.canary.time, or by `mica rotation start`.\n",
		.example = "  mica rotation withdraw root\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_rotation_withdraw},
	{.name = "rotation clock",
		.summary = "whether the clock is believed",
		.about =
			"While it disagrees with what was seen before, nothing rotates by time. --accept says "
			"that it is\nright as it is now, and what was seen before was not.\n",
		.example = "  mica rotation clock --accept\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_ACCEPT),
		.run = cmd_rotation_clock},
	{.name = "deny add",
		.summary = "issue nothing more to an identity, a pod or a key",
		.args = "spiffe_id|pod_uid|key VALUE",
		.min_args = 2,
		.max_args = 2,
		.about =
			"A key is named by the SHA-256 of its SubjectPublicKeyInfo, in hex. What is denied "
			"gets no new\ncertificate and no renewal; what it has stays valid until it ends.\n",
		.example =
			"  mica deny add spiffe_id spiffe://example.org/ns/payments/sa/checkout\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_deny_add},
	{.name = "deny list",
		.summary = "show what is denied",
		.about =
			"The whole deny list: what `deny add` put there (source \"store\") and what the "
			"configuration\ndenies. For auditors and admins.\n",
		.example = "  mica deny list\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_deny_list},
	{.name = "deny remove",
		.summary = "take it back",
		.args = "spiffe_id|pod_uid|key VALUE",
		.min_args = 2,
		.max_args = 2,
		.about =
			"Takes one entry from the deny list of the store. (The configuration has one of its "
			"own.)\n",
		.example = "  mica deny remove pod_uid 7d0d4b0e-6a1a-4a0f-9b0a-000000000001\n",
		.options = CLIENT_OPTIONS,
		.run = cmd_deny_remove},
	{.name = "audit list",
		.summary = "who got what, and why",
		.about =
			"Entries of the ledger as micad tells them, newest first. An auditor sees all, a "
			"workload its own.\n",
		.example =
			"  mica audit list --spiffe-id spiffe://example.org/ns/payments/sa/checkout "
			"--since 2h\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_SPIFFE_ID) | CLI_BIT(OPT_POD_UID) |
			CLI_BIT(OPT_SERIAL) | CLI_BIT(OPT_TYPE) | CLI_BIT(OPT_SINCE) |
			CLI_BIT(OPT_UNTIL) | CLI_BIT(OPT_ORDER) | CLI_BIT(OPT_LIMIT) |
			CLI_BIT(OPT_CURSOR) | CLI_BIT(OPT_ALL),
		.run = cmd_audit_list},
	{.name = "audit show",
		.summary = "one entry, and the proof that it is in the tree",
		.args = "INDEX|SERIAL",
		.min_args = 1,
		.max_args = 1,
		.about =
			"Reads the entry's own bytes, hashes them here and follows them to the signed "
			"checkpoint. For\nauditors, and for anybody who has a full export (--from).\n",
		.example = "  mica audit show 17\n  mica audit show "
			   "019aa0b1c2d3e4f5061728394a5b6c7d\n",
		.options = AUDIT_OPTIONS,
		.run = cmd_audit_show},
	{.name = "audit verify",
		.summary = "prove that nothing in the log was altered",
		.args = "[CERT.pem|SERIAL|INDEX...]",
		.max_args = CLI_LIST_MAX - 2,
		.about =
			"Fetches the checkpoint, checks its signature, computes the root again from hash "
			"tiles, and proves\nthat the tree contains the one that was seen last time, which is "
			"remembered in a state file. All\nof that needs no rights. --deep reads every tile; "
			"with --full the entries, too (auditors).\nCertificates, serials and indices that are "
			"given are proved to be in the tree. Status 8 means that\nthe log broke a promise: the "
			"message says what to keep as evidence.\n",
		.example = "  mica audit verify\n  mica audit verify --from /srv/log --vkey "
			   "\"$MICA_LOG_VKEY\" --deep\n  mica audit verify /run/svid/cert.pem\n",
		.options = AUDIT_OPTIONS | CLI_BIT(OPT_DEEP) | CLI_BIT(OPT_FULL) |
			CLI_BIT(OPT_RECEIPT) | CLI_BIT(OPT_ENTRY),
		.run = cmd_audit_verify},
	{.name = "audit watch",
		.summary = "keep verifying, and look for identities",
		.rest = true,
		.about =
			"Looks at the log again and again, as `audit verify` does. With --match (auditors, "
			"or a full export)\nevery new entry is read, proved to be in the tree and compared; a "
			"hit is reported, and with --once\nthe status is 9. A command behind -- is run for "
			"each hit and for a broken promise, without a\nshell, with the report as JSON on its "
			"standard input. A broken promise ends the watch with\nstatus 8.\n",
		.example = "  mica audit watch --match 'spiffe://example.org/ns/prod/*' -- "
			   "/usr/local/bin/page-me\n"
			   "  mica audit watch --once --metrics "
			   "/var/lib/node_exporter/mica.prom\n",
		.options = AUDIT_OPTIONS | CLI_BIT(OPT_MATCH) | CLI_BIT(OPT_INTERVAL) |
			CLI_BIT(OPT_ONCE) | CLI_BIT(OPT_METRICS) | CLI_BIT(OPT_ALL),
		.run = cmd_audit_watch},
	{.name = "policy validate",
		.summary = "check files of authorization policies",
		.args = "FILE...",
		.min_args = 1,
		.max_args = CLI_LIST_MAX - 2,
		.about =
			"AuthorizationPolicy and PeerAuthentication in Istio's schema, in YAML or JSON, any "
			"number of documents\nin a file. What is wrong, can never match, or is wider than it looks "
			"is an error, with line and\ncolumn; what is probably not meant is a warning. Needs no "
			"micad. Status 2 when a file is refused.\n",
		.example = "  mica policy validate policies/*.yaml\n",
		.run = cmd_policy_validate},
	{.name = "policy test",
		.summary = "compare what policies decide with a table",
		.args = "FILE",
		.min_args = 1,
		.max_args = 1,
		.about =
			"FILE is a PolicyTest: it names files of policies, beside it, and has requests with "
			"the verdicts that\nare expected. Of each that comes out otherwise it is told why, rule "
			"by rule. Needs no micad. Status\n9 when one does. docs/POLICIES.md has the format.\n",
		.example = "  mica policy test policies/shop.test.yaml\n",
		.run = cmd_policy_test},
	{.name = "policy compile",
		.summary = "put policies in the form of a mesh",
		.args = "FILE...",
		.min_args = 1,
		.max_args = CLI_LIST_MAX - 2,
		.about =
			"Envoy's RBAC filters (of one workload: --namespace and its labels), Istio's own "
			"documents in one\norder, Linkerd's resources, Consul's intentions. What a mesh "
			"cannot express makes access narrower,\nnever wider; `--output json` says what, policy "
			"by policy, and with --strict it is refused with\nstatus 6. Needs no micad. "
			"docs/POLICIES.md says what each mesh can express.\n",
		.example = "  mica policy compile --target istio policies/*.yaml\n"
			   "  mica policy compile --target envoy-http --namespace shop "
			   "--label app=orders -O rbac.json shop.yaml\n"
			   "  mica policy compile --target linkerd --trust-domain example.org "
			   "--port 8080 policies/*.yaml\n"
			   "  mica policy compile --target consul --trust-domain example.org "
			   "policies/*.yaml\n",
		.options = CLI_BIT(OPT_CONSUL_DATACENTER) | CLI_BIT(OPT_CONSUL_NAMESPACE) |
			CLI_BIT(OPT_CONSUL_SERVICE_LABEL) | CLI_BIT(OPT_PORT) |
			CLI_BIT(OPT_LINKERD_NAMESPACE) | CLI_BIT(OPT_LINKERD_TRUST_DOMAIN) |
			CLI_BIT(OPT_TARGET) | CLI_BIT(OPT_AS) | CLI_BIT(OPT_STRICT) |
			CLI_BIT(OPT_PART) | CLI_BIT(OPT_OUT) | POLICY_MESH_OPTIONS |
			POLICY_WORKLOAD_OPTIONS,
		.run = cmd_policy_compile},
	{.name = "policy apply",
		.summary = "put policies in force",
		.args = "FILE...",
		.min_args = 1,
		.max_args = CLI_LIST_MAX - 2,
		.about =
			"All documents of all files in one change: all of them, or nothing when anything is "
			"wrong. What is as\nit was makes no revision. With --channel canary they come to the "
			"canary channel alone, until\n`mica policy promote`. --if-match takes the ETag "
			"default-CHANNEL-SEQUENCE of `mica policy get`.\n",
		.example = "  mica policy apply policies/*.yaml\n"
			   "  mica policy apply --channel canary policies/shop.yaml\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_CHANNEL) | CLI_BIT(OPT_IF_MATCH),
		.run = cmd_policy_apply},
	{.name = "policy get",
		.summary = "show the policies in force, or one",
		.args = "[NAMESPACE/NAME]",
		.max_args = 1,
		.about =
			"Of one the document, which may be edited and applied again; with `--output json` "
			"what is known of\nit, too. --revision shows what it was.\n",
		.example = "  mica policy get --namespace shop\n"
			   "  mica policy get shop/orders --revision 3\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_CHANNEL) | CLI_BIT(OPT_NAMESPACE) |
			CLI_BIT(OPT_KIND) | CLI_BIT(OPT_REVISION),
		.run = cmd_policy_get},
	{.name = "policy delete",
		.summary = "delete a policy",
		.args = "NAMESPACE/NAME",
		.min_args = 1,
		.max_args = 1,
		.about =
			"Its history stays for 90 days, and `mica policy rollback` brings it back.\n",
		.example = "  mica policy delete shop/orders --if-match 4\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_CHANNEL) | CLI_BIT(OPT_KIND) |
			CLI_BIT(OPT_IF_MATCH),
		.run = cmd_policy_delete},
	{.name = "policy history",
		.summary = "who changed a policy, and when",
		.args = "NAMESPACE/NAME",
		.min_args = 1,
		.max_args = 1,
		.about =
			"The last 100 revisions, and those in force. For auditors and administrators.\n",
		.example = "  mica policy history shop/orders\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_KIND),
		.run = cmd_policy_history},
	{.name = "policy rollback",
		.summary = "put a policy as it was",
		.args = "NAMESPACE/NAME REVISION",
		.min_args = 2,
		.max_args = 2,
		.about = "What the revision said becomes a new revision.\n",
		.example = "  mica policy rollback shop/orders 3\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_CHANNEL) | CLI_BIT(OPT_KIND) |
			CLI_BIT(OPT_IF_MATCH),
		.run = cmd_policy_rollback},
	{.name = "policy promote",
		.summary = "make live what the canary channel has",
		.args = "[NAMESPACE/NAME...]",
		.max_args = CLI_LIST_MAX - 2,
		.about = "Of these policies, or with --all of all that wait; in one change.\n",
		.example = "  mica policy promote shop/orders\n"
			   "  mica policy promote --all\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_KIND) | CLI_BIT(OPT_ALL),
		.run = cmd_policy_promote},
	{.name = "policy withdraw",
		.summary = "give up what the canary channel has",
		.args = "[NAMESPACE/NAME...]",
		.max_args = CLI_LIST_MAX - 2,
		.about =
			"Of these policies, or with --all of all: they are there as they are live.\n",
		.example = "  mica policy withdraw shop/orders\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_KIND) | CLI_BIT(OPT_ALL),
		.run = cmd_policy_withdraw},
	{.name = "policy explain",
		.summary = "tell what policies decide about a request, and why",
		.args = "FILE...",
		.min_args = 1,
		.max_args = CLI_LIST_MAX - 2,
		.about =
			"The request to a workload (--namespace and its labels) is given by options, or by "
			"--request as a case\nof a PolicyTest has it, with everything that a request can have. "
			"Told are the verdict, the rule that\ndecided, and of every other rule about the workload "
			"why it does not match. Needs no micad. Status\n9 when it is denied.\n",
		.example = "  mica policy explain --namespace shop --label app=orders "
			   "--peer spiffe://example.org/ns/web/sa/front \\\n"
			   "    --method GET --path /orders/17 policies/*.yaml\n",
		.options = CLI_BIT(OPT_PEER) | CLI_BIT(OPT_SOURCE_IP) | CLI_BIT(OPT_HOST) |
			CLI_BIT(OPT_METHOD) | CLI_BIT(OPT_PATH) | CLI_BIT(OPT_HEADER) |
			CLI_BIT(OPT_PORT) | CLI_BIT(OPT_REQUEST) | POLICY_MESH_OPTIONS |
			POLICY_WORKLOAD_OPTIONS,
		.run = cmd_policy_explain},
	{.name = "policy diff",
		.summary = "tell who gains and who loses access to what",
		.args = "OLD... -- NEW...",
		.min_args = 1,
		.max_args = CLI_LIST_MAX - 2,
		.rest = true,
		.about =
			"Two sets of policies, in files: the old ones, and behind `--` the new ones. Not their texts "
			"are\ncompared but what they decide about requests that stand for all: workload by workload it "
			"is told who\nmay do what that was denied before, and the other way. Policies in dry run "
			"and AUDIT policies change\nnothing. Needs no micad. Status 9 when something changes.\n",
		.example =
			"  mica policy diff old.yaml -- new.yaml\n"
			"  mica policy diff --root-namespace istio-system old/*.yaml -- new/*.yaml\n",
		.options = CLI_BIT(OPT_PEERS) | POLICY_MESH_OPTIONS,
		.run = cmd_policy_diff},
	{.name = "policy impact",
		.summary = "tell what a change does to who holds a certificate now",
		.args = "FILE... [-- NEW...]",
		.min_args = 1,
		.max_args = CLI_LIST_MAX - 2,
		.rest = true,
		.about =
			"As `policy diff`, for the SPIFFE IDs alone that have a live certificate in the ledger, "
			"those that no\nrule names among them. The files are compared as they would be applied to "
			"the policies in force; or,\nwith --, old files with new ones. For auditors. Status 9 "
			"when something changes for one of them.\n",
		.example = "  mica policy impact --trust-domain example.org new.yaml\n"
			   "  mica policy impact old.yaml -- new.yaml\n",
		.options = CLIENT_OPTIONS | POLICY_MESH_OPTIONS,
		.run = cmd_policy_impact},
	{.name = "ledger export",
		.summary = "copy the log as static files",
		.args = "DIR",
		.min_args = 1,
		.max_args = 1,
		.about =
			"Fetches what is new since the last export and writes it below DIR: checkpoint, hash "
			"tiles, and\nwith --full the entries (auditors). Any web server can serve them. What is "
			"written was proved to\nlead to the signed checkpoint.\n",
		.example = "  mica ledger export /srv/log --hashes\n",
		.options = CLIENT_OPTIONS | CLI_BIT(OPT_VKEY) | CLI_BIT(OPT_FIRST_USE) |
			CLI_BIT(OPT_HASHES) | CLI_BIT(OPT_FULL),
		.run = cmd_ledger_export},
	{.name = "completion",
		.summary = "print a completion script",
		.args = "bash|zsh|fish",
		.min_args = 1,
		.max_args = 1,
		.about = "For the shell to read when it starts.\n",
		.example = "  mica completion bash > /etc/bash_completion.d/mica\n"
			   "  mica completion zsh > \"${fpath[1]}/_mica\"\n"
			   "  mica completion fish > ~/.config/fish/completions/mica.fish\n",
		.run = cmd_completion},
	{.name = "help",
		.summary = "explain a command",
		.args = "[COMMAND]",
		.max_args = 2,
		.about = "The same as --help behind the command.\n",
		.example = "  mica help audit verify\n",
		.run = cmd_help},
	{.name = "version",
		.summary = "print the version",
		.about = "The version of this program.\n",
		.example = "  mica version\n",
		.run = cmd_version},
};
const size_t cli_n_commands = MICA_ARRAY_LEN(cli_commands);
