noinst_LIBRARIES += libmica-base.a
libmica_base_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(CYAML_CFLAGS) $(YAML_CFLAGS)
libmica_base_a_SOURCES = base/err.c
BASE_LIBS = libmica-base.a $(CYAML_LIBS) $(YAML_LIBS) $(JANSSON_LIBS)
