# End-to-end tests (run.sh says how to run them); what others must find in a tarball.
EXTRA_DIST += tests/e2e/conftest.py
EXTRA_DIST += tests/e2e/entry.py
EXTRA_DIST += tests/e2e/issuer.py
EXTRA_DIST += tests/e2e/kube/apiserver/go.mod
EXTRA_DIST += tests/e2e/kube/apiserver/go.sum
EXTRA_DIST += tests/e2e/kube/apiserver/main.go
EXTRA_DIST += tests/e2e/kube/build.sh
EXTRA_DIST += tests/e2e/kube/etcd/go.mod
EXTRA_DIST += tests/e2e/kube/etcd/go.sum
EXTRA_DIST += tests/e2e/kube/etcd/main.go
EXTRA_DIST += tests/e2e/kube/record.py
EXTRA_DIST += tests/e2e/kubeapi.py
EXTRA_DIST += tests/e2e/ledger_check.py
EXTRA_DIST += tests/e2e/micad.py
EXTRA_DIST += tests/e2e/openapi.py
EXTRA_DIST += tests/e2e/pki.py
EXTRA_DIST += tests/e2e/proc.py
EXTRA_DIST += tests/e2e/run.sh
EXTRA_DIST += tests/e2e/test_crash.py
EXTRA_DIST += tests/e2e/test_issue.py
EXTRA_DIST += tests/e2e/test_refused.py
EXTRA_DIST += tests/e2e/test_read.py
EXTRA_DIST += tests/e2e/test_keys.py
EXTRA_DIST += tests/e2e/test_life.py
EXTRA_DIST += tests/e2e/test_kube.py
EXTRA_DIST += tests/e2e/test_kubeapi.py
EXTRA_DIST += tests/e2e/test_ledger_export.py

# The main job in `make check`; all of them are a stage of `make check-full`.
TESTS += tests/e2e/run.sh
EXTRA_DIST += tests/e2e/test_cli.py
check_PROGRAMS += tests/e2e/rpc_echo
tests_e2e_rpc_echo_SOURCES = tests/e2e/rpc_echo.c
tests_e2e_rpc_echo_CPPFLAGS = $(AM_CPPFLAGS)
tests_e2e_rpc_echo_LDADD = $(RPC_LIBS)
EXTRA_DIST += tests/e2e/rpcecho.py
EXTRA_DIST += tests/e2e/test_rpc.py
