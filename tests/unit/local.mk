BASE_TEST_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(JANSSON_CFLAGS) $(CYAML_CFLAGS) $(YAML_CFLAGS)
BASE_TEST_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_codec
TESTS += tests/unit/test_codec
tests_unit_test_codec_SOURCES = tests/unit/test_codec.c
tests_unit_test_codec_CPPFLAGS = $(BASE_TEST_CPPFLAGS)
tests_unit_test_codec_LDADD = $(BASE_TEST_LDADD)
