check_PROGRAMS += tests/scenario/rotation
TESTS += tests/scenario/rotation
tests_scenario_rotation_SOURCES = tests/scenario/rotation.c
tests_scenario_rotation_CPPFLAGS = $(TOKEN_TEST_CPPFLAGS)
tests_scenario_rotation_LDADD = $(TOKEN_TEST_LDADD)
