BASE_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(JANSSON_CFLAGS) $(CYAML_CFLAGS) $(YAML_CFLAGS)
BASE_TEST_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_codec
TESTS += tests/unit/test_codec
tests_unit_test_codec_SOURCES = tests/unit/test_codec.c
tests_unit_test_codec_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_codec_LDADD = $(BASE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_json
TESTS += tests/unit/test_json
tests_unit_test_json_SOURCES = tests/unit/test_json.c
tests_unit_test_json_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_json_LDADD = $(BASE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_yaml
TESTS += tests/unit/test_yaml
tests_unit_test_yaml_SOURCES = tests/unit/test_yaml.c
tests_unit_test_yaml_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_yaml_LDADD = $(BASE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_err
TESTS += tests/unit/test_err
tests_unit_test_err_SOURCES = tests/unit/test_err.c
tests_unit_test_err_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_err_LDADD = $(BASE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_slice
TESTS += tests/unit/test_slice
tests_unit_test_slice_SOURCES = tests/unit/test_slice.c
tests_unit_test_slice_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_slice_LDADD = $(BASE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_buf
TESTS += tests/unit/test_buf
tests_unit_test_buf_SOURCES = tests/unit/test_buf.c
tests_unit_test_buf_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_buf_LDADD = $(BASE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_secret
TESTS += tests/unit/test_secret
tests_unit_test_secret_SOURCES = tests/unit/test_secret.c
tests_unit_test_secret_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_secret_LDADD = $(BASE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_log
TESTS += tests/unit/test_log
tests_unit_test_log_SOURCES = tests/unit/test_log.c
tests_unit_test_log_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_log_LDADD = $(BASE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_file
TESTS += tests/unit/test_file
tests_unit_test_file_SOURCES = tests/unit/test_file.c
tests_unit_test_file_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_file_LDADD = $(BASE_TEST_LDADD)
X509_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
X509_TEST_LDADD = $(CA_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_der
TESTS += tests/unit/test_der
tests_unit_test_der_SOURCES = tests/unit/test_der.c
tests_unit_test_der_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_der_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_key
TESTS += tests/unit/test_key
tests_unit_test_key_SOURCES = tests/unit/test_key.c tests/unit/pki.h
tests_unit_test_key_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_key_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_keystore
TESTS += tests/unit/test_keystore
tests_unit_test_keystore_SOURCES = tests/unit/test_keystore.c tests/unit/pki.h
tests_unit_test_keystore_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_keystore_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_csr
TESTS += tests/unit/test_csr
tests_unit_test_csr_SOURCES = tests/unit/test_csr.c tests/unit/pki.h
tests_unit_test_csr_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_csr_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_cert
TESTS += tests/unit/test_cert
tests_unit_test_cert_SOURCES = tests/unit/test_cert.c tests/unit/pki.h
tests_unit_test_cert_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_cert_LDADD = $(X509_TEST_LDADD)
EXTRA_DIST += tests/data/profile/root.txt
EXTRA_DIST += tests/data/profile/issuing.txt
EXTRA_DIST += tests/data/profile/leaf.txt
EXTRA_DIST += tests/data/profile/leaf-empty-subject.txt
EXTRA_DIST += tests/data/profile/leaf-linkerd.txt
EXTRA_DIST += tests/data/policy
EXTRA_DIST += tests/data/profile/leaf-serving.txt

check_PROGRAMS += tests/unit/test_verify
TESTS += tests/unit/test_verify
tests_unit_test_verify_SOURCES = tests/unit/test_verify.c tests/unit/pki.h
tests_unit_test_verify_CPPFLAGS = $(X509_TEST_CPPFLAGS) $(JOSE_CFLAGS)
tests_unit_test_verify_LDADD = $(X509_TEST_LDADD) $(JOSE_LIBS) $(JANSSON_LIBS)

check_PROGRAMS += tests/unit/test_jwt
TESTS += tests/unit/test_jwt
tests_unit_test_jwt_SOURCES = tests/unit/test_jwt.c tests/unit/pki.h
tests_unit_test_jwt_CPPFLAGS = $(X509_TEST_CPPFLAGS) $(JOSE_CFLAGS)
tests_unit_test_jwt_LDADD = $(X509_TEST_LDADD) $(JOSE_LIBS) $(JANSSON_LIBS)

check_PROGRAMS += tests/unit/test_authority
TESTS += tests/unit/test_authority
tests_unit_test_authority_SOURCES = tests/unit/test_authority.c tests/unit/pki.h
tests_unit_test_authority_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_authority_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_replay
TESTS += tests/unit/test_replay
tests_unit_test_replay_SOURCES = tests/unit/test_replay.c tests/unit/pki.h
tests_unit_test_replay_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_replay_LDADD = $(X509_TEST_LDADD)
TOKEN_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
TOKEN_TEST_LDADD = $(CA_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_spiffeid
TESTS += tests/unit/test_spiffeid
tests_unit_test_spiffeid_SOURCES = tests/unit/test_spiffeid.c
tests_unit_test_spiffeid_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_spiffeid_LDADD = $(TOKEN_TEST_LDADD)

check_PROGRAMS += tests/unit/test_template
TESTS += tests/unit/test_template
tests_unit_test_template_SOURCES = tests/unit/test_template.c
tests_unit_test_template_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_template_LDADD = $(TOKEN_TEST_LDADD)

check_PROGRAMS += tests/unit/test_merkle
TESTS += tests/unit/test_merkle
tests_unit_test_merkle_SOURCES = tests/unit/test_merkle.c tests/unit/pki.h
tests_unit_test_merkle_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_merkle_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_note
TESTS += tests/unit/test_note
tests_unit_test_note_SOURCES = tests/unit/test_note.c tests/unit/pki.h
tests_unit_test_note_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_note_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_entry
TESTS += tests/unit/test_entry
tests_unit_test_entry_SOURCES = tests/unit/test_entry.c tests/unit/pki.h
tests_unit_test_entry_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_entry_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_store
TESTS += tests/unit/test_store
tests_unit_test_store_SOURCES = tests/unit/test_store.c tests/unit/pki.h
tests_unit_test_store_CPPFLAGS = $(X509_TEST_CPPFLAGS) $(LMDB_CFLAGS)
tests_unit_test_store_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_ledger
TESTS += tests/unit/test_ledger
tests_unit_test_ledger_SOURCES = tests/unit/test_ledger.c tests/unit/fill.h tests/unit/pki.h
tests_unit_test_ledger_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_ledger_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_backup
TESTS += tests/unit/test_backup
tests_unit_test_backup_SOURCES = tests/unit/test_backup.c tests/unit/fill.h tests/unit/pki.h
tests_unit_test_backup_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_backup_LDADD = $(X509_TEST_LDADD)


check_PROGRAMS += tests/unit/test_durable
TESTS += tests/unit/test_durable
tests_unit_test_durable_SOURCES = tests/unit/test_durable.c tests/unit/fill.h tests/unit/pki.h
tests_unit_test_durable_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_durable_LDADD = $(X509_TEST_LDADD)
PEER_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) -D_GNU_SOURCE

check_PROGRAMS += tests/unit/test_http_client
TESTS += tests/unit/test_http_client
tests_unit_test_http_client_SOURCES = tests/unit/test_http_client.c tests/unit/peer.h
tests_unit_test_http_client_CPPFLAGS = $(PEER_TEST_CPPFLAGS)
tests_unit_test_http_client_LDADD = $(RPC_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lssl $(CRYPTO_LIBS)

CORE_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) $(LMDB_CFLAGS)
CORE_TEST_LDADD = $(CA_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_core
TESTS += tests/unit/test_core
tests_unit_test_core_SOURCES = tests/unit/test_core.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_kube_fixtures
TESTS += tests/unit/test_kube_fixtures
tests_unit_test_kube_fixtures_SOURCES = tests/unit/test_kube_fixtures.c tests/unit/tokens.h
tests_unit_test_kube_fixtures_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_kube_fixtures_LDADD = $(TOKEN_TEST_LDADD)
EXTRA_DIST += tests/data/kube/discovery.json tests/data/kube/jwks.json
EXTRA_DIST += tests/data/kube/jwks-rotated.json tests/data/kube/reviews.json
EXTRA_DIST += tests/data/kube/tokens.json
check_PROGRAMS += tests/unit/test_committer
TESTS += tests/unit/test_committer
tests_unit_test_committer_SOURCES = tests/unit/test_committer.c
tests_unit_test_committer_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_committer_LDADD = libmica-server.a $(X509_TEST_LDADD)

check_PROGRAMS += tests/unit/test_core_issue
TESTS += tests/unit/test_core_issue
tests_unit_test_core_issue_SOURCES = tests/unit/test_core_issue.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_issue_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_issue_LDADD = $(CORE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_core_commit
TESTS += tests/unit/test_core_commit
tests_unit_test_core_commit_SOURCES = tests/unit/test_core_commit.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_commit_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_commit_LDADD = $(CORE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_core_publish
TESTS += tests/unit/test_core_publish
tests_unit_test_core_publish_SOURCES = tests/unit/test_core_publish.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_publish_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_publish_LDADD = $(CORE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_core_read
TESTS += tests/unit/test_core_read
tests_unit_test_core_read_SOURCES = tests/unit/test_core_read.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_read_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_read_LDADD = $(CORE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_core_auth
TESTS += tests/unit/test_core_auth
tests_unit_test_core_auth_SOURCES = tests/unit/test_core_auth.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_auth_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_auth_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_config
TESTS += tests/unit/test_config
tests_unit_test_config_SOURCES = tests/unit/test_config.c
tests_unit_test_config_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS) $(CYAML_CFLAGS)
tests_unit_test_config_LDADD = $(TOKEN_TEST_LDADD)
SERVER_TEST_CPPFLAGS = $(X509_TEST_CPPFLAGS) $(MHD_CFLAGS) $(GNUTLS_CFLAGS) -I$(srcdir)
SERVER_TEST_LDADD = $(SERVER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_http
TESTS += tests/unit/test_http
HTTP_TEST_SOURCES = tests/unit/http_app.h tests/unit/http_peer.h tests/unit/pki.h
tests_unit_test_http_SOURCES = tests/unit/test_http.c $(HTTP_TEST_SOURCES)
tests_unit_test_http_CPPFLAGS = $(SERVER_TEST_CPPFLAGS)
tests_unit_test_http_LDADD = $(SERVER_TEST_LDADD) -lssl

check_PROGRAMS += tests/unit/test_guard
TESTS += tests/unit/test_guard
tests_unit_test_guard_SOURCES = tests/unit/test_guard.c tests/unit/lenient.h tests/unit/pki.h
tests_unit_test_guard_CPPFLAGS = $(SERVER_TEST_CPPFLAGS)
tests_unit_test_guard_LDADD = $(SERVER_TEST_LDADD)

check_PROGRAMS += tests/unit/test_limits
TESTS += tests/unit/test_limits
tests_unit_test_limits_SOURCES = tests/unit/test_limits.c tests/unit/pki.h
tests_unit_test_limits_CPPFLAGS = $(SERVER_TEST_CPPFLAGS)
tests_unit_test_limits_LDADD = $(SERVER_TEST_LDADD)

check_PROGRAMS += tests/unit/test_http_time
tests_unit_test_http_time_SOURCES = tests/unit/test_http_time.c $(HTTP_TEST_SOURCES)
tests_unit_test_http_time_CPPFLAGS = $(SERVER_TEST_CPPFLAGS)
tests_unit_test_http_time_LDADD = $(SERVER_TEST_LDADD) -lssl

check_PROGRAMS += tests/unit/test_http_tls
TESTS += tests/unit/test_http_tls
tests_unit_test_http_tls_SOURCES = tests/unit/test_http_tls.c $(HTTP_TEST_SOURCES)
tests_unit_test_http_tls_CPPFLAGS = $(SERVER_TEST_CPPFLAGS)
tests_unit_test_http_tls_LDADD = $(SERVER_TEST_LDADD) -lssl
FETCH_TEST_CPPFLAGS = $(PEER_TEST_CPPFLAGS) -I$(srcdir)
FETCH_TEST_LDADD = libmica-server.a libmica-ca.a $(RPC_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lssl $(CRYPTO_LIBS)

check_PROGRAMS += tests/unit/test_keys
TESTS += tests/unit/test_keys
tests_unit_test_keys_SOURCES = tests/unit/test_keys.c tests/unit/peer.h tests/unit/fake_core.h
tests_unit_test_keys_CPPFLAGS = $(FETCH_TEST_CPPFLAGS)
tests_unit_test_keys_LDADD = $(FETCH_TEST_LDADD)
API_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) $(LMDB_CFLAGS) -I$(srcdir)
API_TEST_LDADD = $(SERVER_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_api
TESTS += tests/unit/test_api
tests_unit_test_api_SOURCES = tests/unit/test_api.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_api_CPPFLAGS = $(API_TEST_CPPFLAGS)
tests_unit_test_api_LDADD = $(API_TEST_LDADD)

check_PROGRAMS += tests/unit/test_api_query
TESTS += tests/unit/test_api_query
tests_unit_test_api_query_SOURCES = tests/unit/test_api_query.c tests/unit/tokens.h
tests_unit_test_api_query_CPPFLAGS = $(API_TEST_CPPFLAGS)
tests_unit_test_api_query_LDADD = $(API_TEST_LDADD)

check_PROGRAMS += tests/unit/test_metrics
TESTS += tests/unit/test_metrics
tests_unit_test_metrics_SOURCES = tests/unit/test_metrics.c tests/unit/tokens.h
tests_unit_test_metrics_CPPFLAGS = $(API_TEST_CPPFLAGS)
tests_unit_test_metrics_LDADD = $(API_TEST_LDADD)

check_PROGRAMS += tests/unit/test_openapi
TESTS += tests/unit/test_openapi
tests_unit_test_openapi_SOURCES = tests/unit/test_openapi.c tests/unit/tokens.h
tests_unit_test_openapi_CPPFLAGS = $(API_TEST_CPPFLAGS)
tests_unit_test_openapi_LDADD = $(API_TEST_LDADD)

check_PROGRAMS += tests/unit/test_watch
TESTS += tests/unit/test_watch
tests_unit_test_watch_SOURCES = tests/unit/test_watch.c tests/unit/tokens.h
tests_unit_test_watch_CPPFLAGS = $(API_TEST_CPPFLAGS)
tests_unit_test_watch_LDADD = $(API_TEST_LDADD)

check_PROGRAMS += tests/unit/test_jwks
TESTS += tests/unit/test_jwks
tests_unit_test_jwks_SOURCES = tests/unit/test_jwks.c tests/unit/tokens.h
tests_unit_test_jwks_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_jwks_LDADD = $(TOKEN_TEST_LDADD)

check_PROGRAMS += tests/unit/test_issuers
TESTS += tests/unit/test_issuers
tests_unit_test_issuers_SOURCES = tests/unit/test_issuers.c tests/unit/tokens.h
tests_unit_test_issuers_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_issuers_LDADD = $(TOKEN_TEST_LDADD)

check_PROGRAMS += tests/unit/test_token
TESTS += tests/unit/test_token
tests_unit_test_token_SOURCES = tests/unit/test_token.c tests/unit/token_world.h tests/unit/tokens.h
tests_unit_test_token_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_token_LDADD = $(TOKEN_TEST_LDADD)

check_PROGRAMS += tests/unit/test_token_claims
TESTS += tests/unit/test_token_claims
tests_unit_test_token_claims_SOURCES = tests/unit/test_token_claims.c tests/unit/token_world.h tests/unit/tokens.h
tests_unit_test_token_claims_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_token_claims_LDADD = $(TOKEN_TEST_LDADD)

check_PROGRAMS += tests/unit/test_token_said
TESTS += tests/unit/test_token_said
tests_unit_test_token_said_SOURCES = tests/unit/test_token_said.c tests/unit/token_world.h tests/unit/tokens.h
tests_unit_test_token_said_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_token_said_LDADD = $(TOKEN_TEST_LDADD)

check_PROGRAMS += tests/unit/test_tokenreview
TESTS += tests/unit/test_tokenreview
tests_unit_test_tokenreview_SOURCES = tests/unit/test_tokenreview.c tests/unit/tokens.h
tests_unit_test_tokenreview_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_unit_test_tokenreview_LDADD = $(TOKEN_TEST_LDADD)
check_PROGRAMS += tests/unit/test_kube
TESTS += tests/unit/test_kube
tests_unit_test_kube_SOURCES = tests/unit/test_kube.c tests/unit/peer.h tests/unit/fake_core.h
tests_unit_test_kube_CPPFLAGS = $(FETCH_TEST_CPPFLAGS)
tests_unit_test_kube_LDADD = $(FETCH_TEST_LDADD)

CLI_TEST_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir) $(CMOCKA_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS)
CLI_TEST_LDADD = $(CLI_LIBS) $(CMOCKA_LIBS) $(JANSSON_LIBS) $(CRYPTO_LIBS)
check_PROGRAMS += tests/unit/test_cli
TESTS += tests/unit/test_cli
tests_unit_test_cli_SOURCES = tests/unit/test_cli.c
tests_unit_test_cli_CPPFLAGS = $(CLI_TEST_CPPFLAGS)
tests_unit_test_cli_LDADD = $(CLI_TEST_LDADD)

check_PROGRAMS += tests/unit/test_audit
TESTS += tests/unit/test_audit
tests_unit_test_audit_SOURCES = tests/unit/test_audit.c tests/unit/pki.h
tests_unit_test_audit_CPPFLAGS = $(CLI_TEST_CPPFLAGS)
tests_unit_test_audit_LDADD = $(CLI_TEST_LDADD)

check_PROGRAMS += tests/unit/test_cli_wire
TESTS += tests/unit/test_cli_wire
tests_unit_test_cli_wire_SOURCES = tests/unit/test_cli_wire.c tests/unit/pki.h
tests_unit_test_cli_wire_CPPFLAGS = $(CLI_TEST_CPPFLAGS)
tests_unit_test_cli_wire_LDADD = $(CLI_TEST_LDADD)
RPC_TEST_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir) $(CMOCKA_CFLAGS) $(NGHTTP2_CFLAGS)
check_PROGRAMS += tests/unit/test_rpc
TESTS += tests/unit/test_rpc
tests_unit_test_rpc_SOURCES = tests/unit/test_rpc.c
tests_unit_test_rpc_CPPFLAGS = $(RPC_TEST_CPPFLAGS)
tests_unit_test_rpc_LDADD = $(RPC_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_rpc_turns
TESTS += tests/unit/test_rpc_turns
tests_unit_test_rpc_turns_SOURCES = tests/unit/test_rpc_turns.c
tests_unit_test_rpc_turns_CPPFLAGS = $(RPC_TEST_CPPFLAGS)
tests_unit_test_rpc_turns_LDADD = $(RPC_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_rpc_session
TESTS += tests/unit/test_rpc_session
tests_unit_test_rpc_session_SOURCES = tests/unit/test_rpc_session.c tests/unit/rpc_session.h
tests_unit_test_rpc_session_CPPFLAGS = $(RPC_TEST_CPPFLAGS)
tests_unit_test_rpc_session_LDADD = $(RPC_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_core_rotate
TESTS += tests/unit/test_core_rotate
tests_unit_test_core_rotate_SOURCES = tests/unit/test_core_rotate.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_rotate_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_rotate_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_token_plain
TESTS += tests/unit/test_token_plain
tests_unit_test_token_plain_SOURCES = tests/unit/test_token_plain.c tests/unit/tokens.h
tests_unit_test_token_plain_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS) -I$(srcdir)/ca
tests_unit_test_token_plain_LDADD = $(TOKEN_TEST_LDADD)

AGENT_TEST_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir) $(CMOCKA_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) $(CYAML_CFLAGS)
check_PROGRAMS += tests/unit/test_agent_renew
TESTS += tests/unit/test_agent_renew
tests_unit_test_agent_renew_SOURCES = tests/unit/test_agent_renew.c
tests_unit_test_agent_renew_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_renew_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_agent_wire
TESTS += tests/unit/test_agent_wire
tests_unit_test_agent_wire_SOURCES = tests/unit/test_agent_wire.c
tests_unit_test_agent_wire_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_wire_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_agent_config
TESTS += tests/unit/test_agent_config
tests_unit_test_agent_config_SOURCES = tests/unit/test_agent_config.c
tests_unit_test_agent_config_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_config_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_core_lineage
TESTS += tests/unit/test_core_lineage
tests_unit_test_core_lineage_SOURCES = tests/unit/test_core_lineage.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_lineage_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_lineage_LDADD = $(CORE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_core_canary
TESTS += tests/unit/test_core_canary
tests_unit_test_core_canary_SOURCES = tests/unit/test_core_canary.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_canary_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_canary_LDADD = $(CORE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_rotation
TESTS += tests/unit/test_rotation
tests_unit_test_rotation_SOURCES = tests/unit/test_rotation.c
tests_unit_test_rotation_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_rotation_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_renewal
TESTS += tests/unit/test_renewal
tests_unit_test_renewal_SOURCES = tests/unit/test_renewal.c
tests_unit_test_renewal_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_renewal_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_core_offline
TESTS += tests/unit/test_core_offline
tests_unit_test_core_offline_SOURCES = tests/unit/test_core_offline.c tests/unit/coretest.h tests/unit/tokens.h tests/unit/otherca.h
tests_unit_test_core_offline_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_offline_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_nodepods
TESTS += tests/unit/test_nodepods
tests_unit_test_nodepods_SOURCES = tests/unit/test_nodepods.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_nodepods_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_nodepods_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_linkerd
TESTS += tests/unit/test_linkerd
tests_unit_test_linkerd_SOURCES = tests/unit/test_linkerd.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_linkerd_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_linkerd_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_kube_pods
TESTS += tests/unit/test_kube_pods
tests_unit_test_kube_pods_SOURCES = tests/unit/test_kube_pods.c tests/unit/peer.h tests/unit/fake_core.h
tests_unit_test_kube_pods_CPPFLAGS = $(FETCH_TEST_CPPFLAGS)
tests_unit_test_kube_pods_LDADD = $(FETCH_TEST_LDADD)

check_PROGRAMS += tests/unit/test_late
TESTS += tests/unit/test_late
tests_unit_test_late_SOURCES = tests/unit/test_late.c
tests_unit_test_late_CPPFLAGS = $(API_TEST_CPPFLAGS)
tests_unit_test_late_LDADD = $(API_TEST_LDADD)

check_PROGRAMS += tests/unit/test_ask
TESTS += tests/unit/test_ask
tests_unit_test_ask_SOURCES = tests/unit/test_ask.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_ask_CPPFLAGS = $(API_TEST_CPPFLAGS)
tests_unit_test_ask_LDADD = $(API_TEST_LDADD)

check_PROGRAMS += tests/unit/test_wire
TESTS += tests/unit/test_wire
tests_unit_test_wire_SOURCES = tests/unit/test_wire.c
tests_unit_test_wire_CPPFLAGS = $(RPC_TEST_CPPFLAGS)
tests_unit_test_wire_LDADD = $(RPC_LIBS) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_crl
TESTS += tests/unit/test_crl
tests_unit_test_crl_SOURCES = tests/unit/test_crl.c tests/unit/pki.h
tests_unit_test_crl_CPPFLAGS = $(X509_TEST_CPPFLAGS)
tests_unit_test_crl_LDADD = $(X509_TEST_LDADD)
check_PROGRAMS += tests/unit/test_core_crl
TESTS += tests/unit/test_core_crl
tests_unit_test_core_crl_SOURCES = tests/unit/test_core_crl.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_crl_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_crl_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_core_renewed
TESTS += tests/unit/test_core_renewed
tests_unit_test_core_renewed_SOURCES = tests/unit/test_core_renewed.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_renewed_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_renewed_LDADD = $(CORE_TEST_LDADD)

check_PROGRAMS += tests/unit/test_agent_trust
TESTS += tests/unit/test_agent_trust
tests_unit_test_agent_trust_SOURCES = tests/unit/test_agent_trust.c tests/unit/pki.h
tests_unit_test_agent_trust_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_trust_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)
check_PROGRAMS += tests/unit/test_core_plug
TESTS += tests/unit/test_core_plug
tests_unit_test_core_plug_SOURCES = tests/unit/test_core_plug.c tests/unit/coretest.h tests/unit/tokens.h tests/unit/otherca.h
tests_unit_test_core_plug_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_plug_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_core_join
TESTS += tests/unit/test_core_join
tests_unit_test_core_join_SOURCES = tests/unit/test_core_join.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_join_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_join_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_core_policies
TESTS += tests/unit/test_core_policies
tests_unit_test_core_policies_SOURCES = tests/unit/test_core_policies.c tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_core_policies_CPPFLAGS = $(CORE_TEST_CPPFLAGS)
tests_unit_test_core_policies_LDADD = $(CORE_TEST_LDADD)
check_PROGRAMS += tests/unit/test_agent_join
TESTS += tests/unit/test_agent_join
tests_unit_test_agent_join_SOURCES = tests/unit/test_agent_join.c tests/unit/pki.h
tests_unit_test_agent_join_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_join_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)
POLICY_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
POLICY_TEST_LDADD = $(POLICIES_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_policy_parse
TESTS += tests/unit/test_policy_parse
tests_unit_test_policy_parse_SOURCES = tests/unit/test_policy_parse.c
tests_unit_test_policy_parse_CPPFLAGS = $(POLICY_TEST_CPPFLAGS)
tests_unit_test_policy_parse_LDADD = $(POLICY_TEST_LDADD)

check_PROGRAMS += tests/unit/test_policy_prop
TESTS += tests/unit/test_policy_prop
tests_unit_test_policy_prop_SOURCES = tests/unit/test_policy_prop.c tests/unit/policyref.h
tests_unit_test_policy_prop_CPPFLAGS = $(POLICY_TEST_CPPFLAGS)
tests_unit_test_policy_prop_LDADD = $(POLICY_TEST_LDADD)

check_PROGRAMS += tests/unit/test_policy_target
TESTS += tests/unit/test_policy_target
tests_unit_test_policy_target_SOURCES = tests/unit/test_policy_target.c
tests_unit_test_policy_target_CPPFLAGS = $(POLICY_TEST_CPPFLAGS)
tests_unit_test_policy_target_LDADD = $(POLICY_TEST_LDADD)

check_PROGRAMS += tests/unit/test_policy_diff
TESTS += tests/unit/test_policy_diff
tests_unit_test_policy_diff_SOURCES = tests/unit/test_policy_diff.c
tests_unit_test_policy_diff_CPPFLAGS = $(POLICY_TEST_CPPFLAGS)
tests_unit_test_policy_diff_LDADD = $(POLICY_TEST_LDADD)

check_PROGRAMS += tests/unit/test_policy_set
TESTS += tests/unit/test_policy_set
tests_unit_test_policy_set_SOURCES = tests/unit/test_policy_set.c
tests_unit_test_policy_set_CPPFLAGS = $(POLICY_TEST_CPPFLAGS)
tests_unit_test_policy_set_LDADD = $(POLICY_TEST_LDADD)

check_PROGRAMS += tests/unit/test_http_plain
TESTS += tests/unit/test_http_plain
tests_unit_test_http_plain_SOURCES = tests/unit/test_http_plain.c
tests_unit_test_http_plain_CPPFLAGS = $(RPC_TEST_CPPFLAGS)
tests_unit_test_http_plain_LDADD = $(RPC_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_agent_jwt_cache
TESTS += tests/unit/test_agent_jwt_cache
tests_unit_test_agent_jwt_cache_SOURCES = tests/unit/test_agent_jwt_cache.c
tests_unit_test_agent_jwt_cache_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_jwt_cache_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_agent_anchor
TESTS += tests/unit/test_agent_anchor
tests_unit_test_agent_anchor_SOURCES = tests/unit/test_agent_anchor.c tests/unit/pki.h tests/unit/agentpki.h
tests_unit_test_agent_anchor_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_anchor_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_agent_sds
TESTS += tests/unit/test_agent_sds
tests_unit_test_agent_sds_SOURCES = tests/unit/test_agent_sds.c tests/unit/pki.h tests/unit/agentpki.h
tests_unit_test_agent_sds_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_sds_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_agent_figures
TESTS += tests/unit/test_agent_figures
tests_unit_test_agent_figures_SOURCES = tests/unit/test_agent_figures.c tests/unit/pki.h tests/unit/agentpki.h
tests_unit_test_agent_figures_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_figures_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_agent_peers
TESTS += tests/unit/test_agent_peers
tests_unit_test_agent_peers_SOURCES = tests/unit/test_agent_peers.c tests/unit/pki.h
tests_unit_test_agent_peers_CPPFLAGS = $(AGENT_TEST_CPPFLAGS)
tests_unit_test_agent_peers_LDADD = $(AGENT_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_ext_authz
TESTS += tests/unit/test_ext_authz
tests_unit_test_ext_authz_SOURCES = tests/unit/test_ext_authz.c tests/unit/ext_authz_message.h tests/unit/coretest.h tests/unit/tokens.h
tests_unit_test_ext_authz_CPPFLAGS = $(API_TEST_CPPFLAGS)
tests_unit_test_ext_authz_LDADD = $(API_TEST_LDADD)
check_PROGRAMS += tests/unit/test_policy_linkerd
TESTS += tests/unit/test_policy_linkerd
tests_unit_test_policy_linkerd_SOURCES = tests/unit/test_policy_linkerd.c
tests_unit_test_policy_linkerd_CPPFLAGS = $(POLICY_TEST_CPPFLAGS)
tests_unit_test_policy_linkerd_LDADD = $(POLICY_TEST_LDADD)

check_PROGRAMS += tests/unit/test_policy_envoy
TESTS += tests/unit/test_policy_envoy
tests_unit_test_policy_envoy_SOURCES = tests/unit/test_policy_envoy.c
tests_unit_test_policy_envoy_CPPFLAGS = $(POLICY_TEST_CPPFLAGS)
tests_unit_test_policy_envoy_LDADD = $(POLICY_TEST_LDADD)
