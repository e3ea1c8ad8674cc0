# The CA itself: no socket, no clock, no thread, no log of its own.
noinst_LIBRARIES += libmica-ca.a
libmica_ca_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(CRYPTO_CFLAGS) $(LMDB_CFLAGS) $(JOSE_CFLAGS) $(CYAML_CFLAGS)
libmica_ca_a_SOURCES =
CA_LIBS = libmica-ca.a $(BASE_LIBS) $(JOSE_LIBS) $(LMDB_LIBS) $(CRYPTO_LIBS)
libmica_ca_a_SOURCES += ca/der.c
libmica_ca_a_SOURCES += ca/pem.c
libmica_ca_a_SOURCES += ca/ossl.h
libmica_ca_a_SOURCES += ca/sigalg.c
libmica_ca_a_SOURCES += ca/key.c
libmica_ca_a_SOURCES += ca/signer.c
libmica_ca_a_SOURCES += ca/keystore.c
libmica_ca_a_SOURCES += ca/x509.h
libmica_ca_a_SOURCES += ca/csr.c
libmica_ca_a_SOURCES += ca/cert.c
libmica_ca_a_SOURCES += ca/verify.c
libmica_ca_a_SOURCES += ca/jwt.c
