# Authorization policies: pure as ca/ is.
noinst_LIBRARIES += libmica-policies.a
libmica_policies_a_CPPFLAGS = $(AM_CPPFLAGS) $(CYAML_CFLAGS)
libmica_policies_a_SOURCES = policies/impl.h
POLICIES_LIBS = libmica-policies.a $(CA_LIBS)
libmica_policies_a_SOURCES += policies/arena.c
libmica_policies_a_SOURCES += policies/attr.c
libmica_policies_a_SOURCES += policies/ip.c
libmica_policies_a_SOURCES += policies/parse.c
libmica_policies_a_SOURCES += policies/read.c
libmica_policies_a_SOURCES += policies/rules.c
libmica_policies_a_SOURCES += policies/template.c
libmica_policies_a_SOURCES += policies/value.c
libmica_policies_a_SOURCES += policies/write.c
