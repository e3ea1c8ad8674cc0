# mica: the admin's program.
noinst_LIBRARIES += libmica-cli.a
libmica_cli_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
libmica_cli_a_SOURCES =
libmica_cli_a_SOURCES += cli/cli.h
libmica_cli_a_SOURCES += cli/out.h
libmica_cli_a_SOURCES += cli/out.c
libmica_cli_a_SOURCES += cli/opts.c
libmica_cli_a_SOURCES += cli/help.c
libmica_cli_a_SOURCES += cli/completion.c
libmica_cli_a_SOURCES += cli/commands.c
libmica_cli_a_SOURCES += cli/run.c
libmica_cli_a_SOURCES += cli/client.h
libmica_cli_a_SOURCES += cli/client.c
libmica_cli_a_SOURCES += cli/progress.h
libmica_cli_a_SOURCES += cli/progress.c
libmica_cli_a_SOURCES += cli/pair.h
libmica_cli_a_SOURCES += cli/pair.c
libmica_cli_a_SOURCES += cli/roots.h
libmica_cli_a_SOURCES += cli/roots.c
libmica_cli_a_SOURCES += cli/cmd_init.c
libmica_cli_a_SOURCES += cli/cmd_svid.c
libmica_cli_a_SOURCES += cli/cmd_bundle.c
libmica_cli_a_SOURCES += cli/cmd_admin.c
libmica_cli_a_SOURCES += cli/cmd_rotation.c
libmica_cli_a_SOURCES += cli/cmd_offline.c
libmica_cli_a_SOURCES += cli/audit_verify.h
libmica_cli_a_SOURCES += cli/audit_verify.c
libmica_cli_a_SOURCES += cli/audit.h
libmica_cli_a_SOURCES += cli/audit.c
libmica_cli_a_SOURCES += cli/audit_source.c
libmica_cli_a_SOURCES += cli/cmd_audit.c
libmica_cli_a_SOURCES += cli/cmd_watch.c
libmica_cli_a_SOURCES += cli/cmd_ledger.c
libmica_cli_a_SOURCES += cli/policy_files.h
libmica_cli_a_SOURCES += cli/policy_files.c
libmica_cli_a_SOURCES += cli/cmd_policy_compile.c
libmica_cli_a_SOURCES += cli/cmd_policy_store.c
libmica_cli_a_SOURCES += cli/cmd_policy_explain.c
libmica_cli_a_SOURCES += cli/cmd_policy_diff.c

CLI_LIBS = libmica-cli.a $(RPC_LIBS) $(POLICIES_LIBS)

bin_PROGRAMS += mica
mica_SOURCES = cli/main.c
mica_LDADD = $(CLI_LIBS)

# Completions come from the program's own tables.
bashcompletiondir = $(datadir)/bash-completion/completions
zshcompletiondir = $(datadir)/zsh/site-functions
fishcompletiondir = $(datadir)/fish/vendor_completions.d
nodist_bashcompletion_DATA = cli/completion/bash/mica
nodist_zshcompletion_DATA = cli/completion/zsh/_mica
nodist_fishcompletion_DATA = cli/completion/fish/mica.fish
CLEANFILES += $(nodist_bashcompletion_DATA) $(nodist_zshcompletion_DATA) $(nodist_fishcompletion_DATA)
cli/completion/bash/mica cli/completion/zsh/_mica cli/completion/fish/mica.fish: mica$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && ./mica$(EXEEXT) completion $$(basename $(@D)) > $@.tmp && mv $@.tmp $@
libmica_cli_a_SOURCES += cli/cmd_certificate.c
libmica_cli_a_SOURCES += cli/cmd_token.c
libmica_cli_a_SOURCES += cli/cmd_policy.c
