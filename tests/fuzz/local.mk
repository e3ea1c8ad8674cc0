# Each target is a fuzz_x.c with its corpus; without --enable-fuzzers it replays the corpus.
FUZZ_TARGETS =
EXTRA_DIST += tests/fuzz/corpus
if FUZZERS
FUZZ_MAIN =
else
FUZZ_MAIN = tests/fuzz/replay.c
TESTS += $(FUZZ_TARGETS)
endif

check_PROGRAMS += tests/fuzz/fuzz_codec
FUZZ_TARGETS += tests/fuzz/fuzz_codec
tests_fuzz_fuzz_codec_SOURCES = tests/fuzz/fuzz_codec.c $(FUZZ_MAIN)
tests_fuzz_fuzz_codec_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_fuzz_fuzz_codec_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_codec_LDADD = $(BASE_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_json
FUZZ_TARGETS += tests/fuzz/fuzz_json
tests_fuzz_fuzz_json_SOURCES = tests/fuzz/fuzz_json.c $(FUZZ_MAIN)
tests_fuzz_fuzz_json_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_fuzz_fuzz_json_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_json_LDADD = $(BASE_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_yaml
FUZZ_TARGETS += tests/fuzz/fuzz_yaml
tests_fuzz_fuzz_yaml_SOURCES = tests/fuzz/fuzz_yaml.c $(FUZZ_MAIN)
tests_fuzz_fuzz_yaml_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_fuzz_fuzz_yaml_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_yaml_LDADD = $(BASE_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_csr
FUZZ_TARGETS += tests/fuzz/fuzz_csr
tests_fuzz_fuzz_csr_SOURCES = tests/fuzz/fuzz_csr.c $(FUZZ_MAIN)
tests_fuzz_fuzz_csr_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
tests_fuzz_fuzz_csr_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_csr_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_cert
FUZZ_TARGETS += tests/fuzz/fuzz_cert
tests_fuzz_fuzz_cert_SOURCES = tests/fuzz/fuzz_cert.c $(FUZZ_MAIN)
tests_fuzz_fuzz_cert_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
tests_fuzz_fuzz_cert_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_cert_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_pem
FUZZ_TARGETS += tests/fuzz/fuzz_pem
tests_fuzz_fuzz_pem_SOURCES = tests/fuzz/fuzz_pem.c $(FUZZ_MAIN)
tests_fuzz_fuzz_pem_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
tests_fuzz_fuzz_pem_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_pem_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_entry
FUZZ_TARGETS += tests/fuzz/fuzz_entry
tests_fuzz_fuzz_entry_SOURCES = tests/fuzz/fuzz_entry.c $(FUZZ_MAIN)
tests_fuzz_fuzz_entry_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_entry_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_entry_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_note
FUZZ_TARGETS += tests/fuzz/fuzz_note
tests_fuzz_fuzz_note_SOURCES = tests/fuzz/fuzz_note.c $(FUZZ_MAIN)
tests_fuzz_fuzz_note_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_note_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_note_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_store
FUZZ_TARGETS += tests/fuzz/fuzz_store
tests_fuzz_fuzz_store_SOURCES = tests/fuzz/fuzz_store.c $(FUZZ_MAIN)
tests_fuzz_fuzz_store_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_store_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_store_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_config
FUZZ_TARGETS += tests/fuzz/fuzz_config
tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c $(FUZZ_MAIN)
tests_fuzz_fuzz_config_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_config_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_config_LDADD = $(CA_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_guard
FUZZ_TARGETS += tests/fuzz/fuzz_guard
tests_fuzz_fuzz_guard_SOURCES = tests/fuzz/fuzz_guard.c tests/unit/lenient.h $(FUZZ_MAIN)
tests_fuzz_fuzz_guard_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)
tests_fuzz_fuzz_guard_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_guard_LDADD = libmica-server.a $(BASE_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_token
FUZZ_TARGETS += tests/fuzz/fuzz_token
tests_fuzz_fuzz_token_SOURCES = tests/fuzz/fuzz_token.c $(FUZZ_MAIN)
tests_fuzz_fuzz_token_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) -I$(srcdir)/ca
tests_fuzz_fuzz_token_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_token_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_jwks
FUZZ_TARGETS += tests/fuzz/fuzz_jwks
tests_fuzz_fuzz_jwks_SOURCES = tests/fuzz/fuzz_jwks.c $(FUZZ_MAIN)
tests_fuzz_fuzz_jwks_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_jwks_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_jwks_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_spiffeid
FUZZ_TARGETS += tests/fuzz/fuzz_spiffeid
tests_fuzz_fuzz_spiffeid_SOURCES = tests/fuzz/fuzz_spiffeid.c $(FUZZ_MAIN)
tests_fuzz_fuzz_spiffeid_CPPFLAGS = $(AM_CPPFLAGS)
tests_fuzz_fuzz_spiffeid_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_spiffeid_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_template
FUZZ_TARGETS += tests/fuzz/fuzz_template
tests_fuzz_fuzz_template_SOURCES = tests/fuzz/fuzz_template.c $(FUZZ_MAIN)
tests_fuzz_fuzz_template_CPPFLAGS = $(AM_CPPFLAGS)
tests_fuzz_fuzz_template_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_template_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_review
FUZZ_TARGETS += tests/fuzz/fuzz_review
tests_fuzz_fuzz_review_SOURCES = tests/fuzz/fuzz_review.c $(FUZZ_MAIN)
tests_fuzz_fuzz_review_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_review_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_review_LDADD = $(CA_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_body
FUZZ_TARGETS += tests/fuzz/fuzz_body
tests_fuzz_fuzz_body_SOURCES = tests/fuzz/fuzz_body.c $(FUZZ_MAIN)
tests_fuzz_fuzz_body_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) -I$(srcdir)
tests_fuzz_fuzz_body_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_body_LDADD = libmica-server.a $(POLICIES_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_cli
FUZZ_TARGETS += tests/fuzz/fuzz_cli
tests_fuzz_fuzz_cli_SOURCES = tests/fuzz/fuzz_cli.c $(FUZZ_MAIN)
tests_fuzz_fuzz_cli_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_cli_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_cli_LDADD = $(CLI_LIBS) $(JANSSON_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_grpc_frame
FUZZ_TARGETS += tests/fuzz/fuzz_grpc_frame
tests_fuzz_fuzz_grpc_frame_SOURCES = tests/fuzz/fuzz_grpc_frame.c $(FUZZ_MAIN)
tests_fuzz_fuzz_grpc_frame_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)
tests_fuzz_fuzz_grpc_frame_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_grpc_frame_LDADD = $(RPC_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_h2_session
FUZZ_TARGETS += tests/fuzz/fuzz_h2_session
tests_fuzz_fuzz_h2_session_SOURCES = tests/fuzz/fuzz_h2_session.c tests/unit/rpc_session.h $(FUZZ_MAIN)
tests_fuzz_fuzz_h2_session_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir) -I$(srcdir)/tests $(NGHTTP2_CFLAGS)
tests_fuzz_fuzz_h2_session_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_h2_session_LDADD = $(RPC_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_agentwire
FUZZ_TARGETS += tests/fuzz/fuzz_agentwire
tests_fuzz_fuzz_agentwire_SOURCES = tests/fuzz/fuzz_agentwire.c $(FUZZ_MAIN)
tests_fuzz_fuzz_agentwire_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) $(CYAML_CFLAGS)
tests_fuzz_fuzz_agentwire_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_agentwire_LDADD = $(AGENT_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_agenttrust
FUZZ_TARGETS += tests/fuzz/fuzz_agenttrust
tests_fuzz_fuzz_agenttrust_SOURCES = tests/fuzz/fuzz_agenttrust.c $(FUZZ_MAIN)
tests_fuzz_fuzz_agenttrust_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) $(CYAML_CFLAGS)
tests_fuzz_fuzz_agenttrust_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_agenttrust_LDADD = $(AGENT_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_agentconfig
FUZZ_TARGETS += tests/fuzz/fuzz_agentconfig
tests_fuzz_fuzz_agentconfig_SOURCES = tests/fuzz/fuzz_agentconfig.c $(FUZZ_MAIN)
tests_fuzz_fuzz_agentconfig_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) $(CYAML_CFLAGS)
tests_fuzz_fuzz_agentconfig_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_agentconfig_LDADD = $(AGENT_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_ca_files
FUZZ_TARGETS += tests/fuzz/fuzz_ca_files
tests_fuzz_fuzz_ca_files_SOURCES = tests/fuzz/fuzz_ca_files.c $(FUZZ_MAIN)
tests_fuzz_fuzz_ca_files_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_ca_files_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_ca_files_LDADD = $(CA_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_crl
FUZZ_TARGETS += tests/fuzz/fuzz_crl
tests_fuzz_fuzz_crl_SOURCES = tests/fuzz/fuzz_crl.c $(FUZZ_MAIN)
tests_fuzz_fuzz_crl_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
tests_fuzz_fuzz_crl_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_crl_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_istio
FUZZ_TARGETS += tests/fuzz/fuzz_istio
tests_fuzz_fuzz_istio_SOURCES = tests/fuzz/fuzz_istio.c $(FUZZ_MAIN)
tests_fuzz_fuzz_istio_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)
tests_fuzz_fuzz_istio_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_istio_LDADD = libmica-server.a $(RPC_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_linkerd
FUZZ_TARGETS += tests/fuzz/fuzz_linkerd
tests_fuzz_fuzz_linkerd_SOURCES = tests/fuzz/fuzz_linkerd.c $(FUZZ_MAIN)
tests_fuzz_fuzz_linkerd_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) -I$(srcdir)
tests_fuzz_fuzz_linkerd_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_linkerd_LDADD = libmica-server.a libmica-rpc.a $(CA_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_linkerdport
FUZZ_TARGETS += tests/fuzz/fuzz_linkerdport
tests_fuzz_fuzz_linkerdport_SOURCES = tests/fuzz/fuzz_linkerdport.c $(FUZZ_MAIN)
tests_fuzz_fuzz_linkerdport_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) -I$(srcdir)
tests_fuzz_fuzz_linkerdport_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_linkerdport_LDADD = libmica-server.a libmica-rpc.a $(CA_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_pods
FUZZ_TARGETS += tests/fuzz/fuzz_pods
tests_fuzz_fuzz_pods_SOURCES = tests/fuzz/fuzz_pods.c $(FUZZ_MAIN)
tests_fuzz_fuzz_pods_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
tests_fuzz_fuzz_pods_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_pods_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_policy
FUZZ_TARGETS += tests/fuzz/fuzz_policy
tests_fuzz_fuzz_policy_SOURCES = tests/fuzz/fuzz_policy.c $(FUZZ_MAIN)
tests_fuzz_fuzz_policy_CPPFLAGS = $(AM_CPPFLAGS)
tests_fuzz_fuzz_policy_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_policy_LDADD = $(POLICIES_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_ext_authz
FUZZ_TARGETS += tests/fuzz/fuzz_ext_authz
tests_fuzz_fuzz_ext_authz_SOURCES = tests/fuzz/fuzz_ext_authz.c $(FUZZ_MAIN)
tests_fuzz_fuzz_ext_authz_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) -I$(srcdir)
tests_fuzz_fuzz_ext_authz_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_ENGINE)
tests_fuzz_fuzz_ext_authz_LDADD = libmica-server.a libmica-rpc.a $(POLICIES_LIBS)
