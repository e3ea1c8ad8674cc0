# The CA itself: no socket, no clock, no thread, no log of its own.
noinst_LIBRARIES += libmica-ca.a
libmica_ca_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(CRYPTO_CFLAGS) $(LMDB_CFLAGS) $(JOSE_CFLAGS) $(CYAML_CFLAGS)
libmica_ca_a_SOURCES =
CA_LIBS = libmica-ca.a $(BASE_LIBS) $(JOSE_LIBS) $(LMDB_LIBS) $(CRYPTO_LIBS)
