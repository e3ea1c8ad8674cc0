noinst_LIBRARIES += libmica-server.a
libmica_server_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(CRYPTO_CFLAGS) $(MHD_CFLAGS) $(GNUTLS_CFLAGS) $(SYSTEMD_CFLAGS) $(CYAML_CFLAGS)
libmica_server_a_SOURCES =
SERVER_LIBS = libmica-server.a $(CA_LIBS) $(RPC_LIBS) $(MHD_LIBS) $(GNUTLS_LIBS) $(SYSTEMD_LIBS)
libmica_server_a_SOURCES += server/http.h
libmica_server_a_SOURCES += server/committer.h
libmica_server_a_SOURCES += server/api.h
libmica_server_a_SOURCES += server/committer.c
