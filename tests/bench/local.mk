# Benchmarks are built by `make check` and run by hand or by `make bench`.
check_PROGRAMS += tests/bench/micro
tests_bench_micro_SOURCES = tests/bench/micro.c
tests_bench_micro_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
tests_bench_micro_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/bench/fill
tests_bench_fill_SOURCES = tests/bench/fill.c tests/unit/fill.h tests/unit/pki.h
tests_bench_fill_CPPFLAGS = $(X509_TEST_CPPFLAGS) -I$(srcdir)/tests/unit
tests_bench_fill_LDADD = $(X509_TEST_LDADD)

check_PROGRAMS += tests/bench/load
tests_bench_load_SOURCES = tests/bench/load.c
tests_bench_load_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS) $(SSL_CFLAGS)
tests_bench_load_LDADD = libmica-rpc.a $(BASE_LIBS) $(SSL_LIBS) $(CRYPTO_LIBS)

check_PROGRAMS += tests/bench/grow
tests_bench_grow_SOURCES = tests/bench/grow.c
tests_bench_grow_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
tests_bench_grow_LDADD = $(CA_LIBS)

check_PROGRAMS += tests/bench/policy
tests_bench_policy_SOURCES = tests/bench/policy.c
tests_bench_policy_CPPFLAGS = $(AM_CPPFLAGS)
tests_bench_policy_LDADD = $(POLICIES_LIBS)
EXTRA_DIST += tests/bench/bench.py

# Takes some minutes and both cores; docs/PERFORMANCE.md says what the figures mean.
.PHONY: bench
bench: all tests/bench/micro tests/bench/policy tests/bench/load tests/bench/grow tests/e2e/rpc_echo
	$(PYTHON3) $(srcdir)/tests/bench/bench.py --build . --out bench.json $(BENCH_FLAGS)
check_PROGRAMS += tests/bench/core
tests_bench_core_SOURCES = tests/bench/core.c tests/unit/coretest.h tests/unit/tokens.h
tests_bench_core_CPPFLAGS = $(CORE_TEST_CPPFLAGS) -I$(srcdir)/tests/unit
tests_bench_core_LDADD = $(CORE_TEST_LDADD)
EXTRA_DIST += tests/bench/rpc.py
EXTRA_DIST += tests/bench/agent_bench.py
EXTRA_DIST += tests/bench/authz_bench.py
