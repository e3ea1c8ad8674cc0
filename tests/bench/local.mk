# Benchmarks are built by `make check` and run by hand or by `make bench`.
check_PROGRAMS += tests/bench/micro
tests_bench_micro_SOURCES = tests/bench/micro.c
tests_bench_micro_CPPFLAGS = $(AM_CPPFLAGS) $(CRYPTO_CFLAGS)
tests_bench_micro_LDADD = $(CA_LIBS)
