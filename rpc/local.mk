# Talking to others over the network, free of domain words.
noinst_LIBRARIES += libmica-rpc.a
libmica_rpc_a_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS)
libmica_rpc_a_SOURCES =
RPC_LIBS = libmica-rpc.a $(CURL_LIBS)
libmica_rpc_a_SOURCES += rpc/http_client.c
