EXTRA_DIST += deploy/examples/micad.yaml
# What an installation needs besides the programs.
edit_paths = $(SED) -e 's|@sysconfdir[@]|$(sysconfdir)|g' -e 's|@sbindir[@]|$(sbindir)|g' \
	-e 's|@bindir[@]|$(bindir)|g' -e 's|@@|@|g'
systemdsystemunit_DATA = deploy/systemd/micad.service
sysusersdir = $(prefix)/lib/sysusers.d
dist_sysusers_DATA = deploy/systemd/mica.conf
CLEANFILES += deploy/systemd/micad.service
EXTRA_DIST += deploy/systemd/micad.service.in deploy/demo/issuer.py quickstart.sh LICENSE
deploy/systemd/micad.service: $(srcdir)/deploy/systemd/micad.service.in Makefile
	@$(MKDIR_P) deploy/systemd
	$(AM_V_GEN)$(edit_paths) $(srcdir)/deploy/systemd/micad.service.in >$@
EXTRA_DIST += deploy/examples/mica-agent.yaml
EXTRA_DIST += deploy/examples/mica-agent-sidecar.yaml
EXTRA_DIST += deploy/examples/envoy-ext-authz.yaml
EXTRA_DIST += deploy/examples/envoy-rbac.yaml
EXTRA_DIST += deploy/examples/mica-agent-envoy.yaml deploy/examples/mica-agent-nginx.conf
systemdsystemunit_DATA += deploy/systemd/mica-agent.service
CLEANFILES += deploy/systemd/mica-agent.service
EXTRA_DIST += deploy/systemd/mica-agent.service.in
deploy/systemd/mica-agent.service: $(srcdir)/deploy/systemd/mica-agent.service.in Makefile
	@$(MKDIR_P) deploy/systemd
	$(AM_V_GEN)$(edit_paths) $(srcdir)/deploy/systemd/mica-agent.service.in >$@
