# mica-agent: identities beside workloads.
noinst_LIBRARIES += libmica-agent.a
libmica_agent_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(CYAML_CFLAGS) $(SYSTEMD_CFLAGS) -DMICA_VERSION='"$(PACKAGE_VERSION)"'
libmica_agent_a_SOURCES =
AGENT_LIBS = libmica-agent.a $(RPC_LIBS) $(CA_LIBS) $(SYSTEMD_LIBS)
libmica_agent_a_SOURCES += agent/renew.h
libmica_agent_a_SOURCES += agent/renew.c
libmica_agent_a_SOURCES += agent/wire.h
libmica_agent_a_SOURCES += agent/wire.c
libmica_agent_a_SOURCES += agent/config.h
libmica_agent_a_SOURCES += agent/config_impl.h
libmica_agent_a_SOURCES += agent/config_schema.c
libmica_agent_a_SOURCES += agent/config.c
libmica_agent_a_SOURCES += agent/trust.h
libmica_agent_a_SOURCES += agent/trust.c
libmica_agent_a_SOURCES += agent/svid.h
libmica_agent_a_SOURCES += agent/svid.c
libmica_agent_a_SOURCES += agent/keep.h
libmica_agent_a_SOURCES += agent/keep.c
libmica_agent_a_SOURCES += agent/anchor.h
libmica_agent_a_SOURCES += agent/anchor.c
libmica_agent_a_SOURCES += agent/store.h
libmica_agent_a_SOURCES += agent/store.c
libmica_agent_a_SOURCES += agent/ask.h
libmica_agent_a_SOURCES += agent/ask.c
libmica_agent_a_SOURCES += agent/jwt_cache.h
libmica_agent_a_SOURCES += agent/jwt_cache.c
libmica_agent_a_SOURCES += agent/talk.h
libmica_agent_a_SOURCES += agent/talk.c
libmica_agent_a_SOURCES += agent/watch.h
libmica_agent_a_SOURCES += agent/watch.c
libmica_agent_a_SOURCES += agent/peers.h
libmica_agent_a_SOURCES += agent/peers.c
libmica_agent_a_SOURCES += agent/validate.h
libmica_agent_a_SOURCES += agent/validate.c
libmica_agent_a_SOURCES += agent/workload.h
libmica_agent_a_SOURCES += agent/workload.c
libmica_agent_a_SOURCES += agent/files.h
libmica_agent_a_SOURCES += agent/files.c
libmica_agent_a_SOURCES += agent/sds_secret.h
libmica_agent_a_SOURCES += agent/sds_secret.c
libmica_agent_a_SOURCES += agent/sds_request.h
libmica_agent_a_SOURCES += agent/sds_request.c
libmica_agent_a_SOURCES += agent/sds.h
libmica_agent_a_SOURCES += agent/sds.c
libmica_agent_a_SOURCES += agent/embed.h
libmica_agent_a_SOURCES += agent/agent.h
libmica_agent_a_SOURCES += agent/agent.c
libmica_agent_a_SOURCES += agent/join.h
libmica_agent_a_SOURCES += agent/join.c
libmica_agent_a_SOURCES += agent/figures.h
libmica_agent_a_SOURCES += agent/figures.c
libmica_agent_a_SOURCES += agent/metrics.h
libmica_agent_a_SOURCES += agent/metrics.c

sbin_PROGRAMS += mica-agent
mica_agent_SOURCES = agent/main.c
mica_agent_CPPFLAGS = $(AM_CPPFLAGS) -DMICA_VERSION='"$(PACKAGE_VERSION)"'
mica_agent_LDADD = $(AGENT_LIBS)

# What the socket speaks: no code is made from it, its descriptors serve reflection (wire.h).
AGENT_PROTOS =
AGENT_PROTOS += agent/proto/workload.proto
AGENT_PROTOS += agent/proto/google/protobuf/struct.proto
AGENT_PROTOS += agent/proto/envoy/config/core/v3/base.proto
AGENT_PROTOS += agent/proto/envoy/config/core/v3/extension.proto
AGENT_PROTOS += agent/proto/envoy/service/discovery/v3/discovery.proto
AGENT_PROTOS += agent/proto/envoy/service/secret/v3/sds.proto
AGENT_PROTOS += agent/proto/envoy/extensions/transport_sockets/tls/v3/common.proto
AGENT_PROTOS += agent/proto/envoy/extensions/transport_sockets/tls/v3/secret.proto
AGENT_PROTOS += agent/proto/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto
EXTRA_DIST += $(AGENT_PROTOS)
BUILT_SOURCES += agent/descriptors_data.c
CLEANFILES += agent/descriptors_data.c agent/agent.desc
agent/descriptors_data.c: $(AGENT_PROTOS) $(srcdir)/server/embed.py
	$(AM_V_GEN)$(MKDIR_P) agent && $(PROTOC_C) -I$(srcdir)/agent/proto -I$(srcdir)/rpc/proto --include_imports --descriptor_set_out=agent/agent.desc $(AGENT_PROTOS:%=$(srcdir)/%) && $(PYTHON3) $(srcdir)/server/embed.py agent/agent.desc agent_descriptors > $@.tmp && mv $@.tmp $@
nodist_libmica_agent_a_SOURCES = agent/descriptors_data.c
