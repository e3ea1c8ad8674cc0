# Talking to others over the network, free of domain words.
noinst_LIBRARIES += libmica-rpc.a
libmica_rpc_a_CPPFLAGS = $(AM_CPPFLAGS) -Irpc/proto $(JANSSON_CFLAGS) $(CURL_CFLAGS) $(NGHTTP2_CFLAGS) $(EVENT_CFLAGS) $(SSL_CFLAGS) $(PROTOBUF_C_CFLAGS)
libmica_rpc_a_SOURCES =
RPC_LIBS = libmica-rpc.a libmica-proto.a $(BASE_LIBS) $(CURL_LIBS) $(NGHTTP2_LIBS) $(EVENT_LIBS) $(PROTOBUF_C_LIBS) $(SSL_LIBS) $(CRYPTO_LIBS)
libmica_rpc_a_SOURCES += rpc/http_client.c
libmica_rpc_a_SOURCES += rpc/rpc_impl.h
libmica_rpc_a_SOURCES += rpc/loop_impl.h
libmica_rpc_a_SOURCES += rpc/core.c
libmica_rpc_a_SOURCES += rpc/grpc.c
libmica_rpc_a_SOURCES += rpc/request.c
libmica_rpc_a_SOURCES += rpc/call.c
libmica_rpc_a_SOURCES += rpc/answer.c
libmica_rpc_a_SOURCES += rpc/h2.c
libmica_rpc_a_SOURCES += rpc/health.c
libmica_rpc_a_SOURCES += rpc/reflect.c
libmica_rpc_a_SOURCES += rpc/tls.c
libmica_rpc_a_SOURCES += rpc/listen.c
libmica_rpc_a_SOURCES += rpc/conn.c
libmica_rpc_a_SOURCES += rpc/turns.h
libmica_rpc_a_SOURCES += rpc/turns.c
libmica_rpc_a_SOURCES += rpc/loop.c
libmica_rpc_a_SOURCES += rpc/http_plain.c

# Messages: one list of .proto files; below rpc/proto they stand under their import names. protoc-c writes their
# code, which is nobody's to format or to warn about, into a library of its own.
PROTO_FILES =
PROTO_FILES += rpc/proto/descriptor.proto
PROTO_FILES += rpc/proto/google/protobuf/any.proto
PROTO_FILES += rpc/proto/google/protobuf/duration.proto
PROTO_FILES += rpc/proto/google/rpc/error_details.proto
PROTO_FILES += rpc/proto/google/rpc/status.proto
PROTO_FILES += rpc/proto/grpc/health/v1/health.proto
PROTO_FILES += rpc/proto/grpc/reflection/v1/reflection.proto
PROTO_FILES += rpc/proto/grpc/reflection/v1alpha/reflection.proto
PROTO_C = $(PROTO_FILES:.proto=.pb-c.c)
PROTO_H = $(PROTO_FILES:.proto=.pb-c.h)
EXTRA_DIST += $(PROTO_FILES)
BUILT_SOURCES += $(PROTO_C) $(PROTO_H) rpc/descriptors_data.c
CLEANFILES += $(PROTO_C) $(PROTO_H) rpc/proto/stamp rpc/proto/own.desc rpc/descriptors_data.c
rpc/proto/stamp: $(PROTO_FILES)
	$(AM_V_GEN)$(MKDIR_P) rpc/proto && $(PROTOC_C) -I$(srcdir)/rpc/proto --c_out=rpc/proto $(PROTO_FILES:%=$(srcdir)/%) && touch $@
$(PROTO_C) $(PROTO_H): rpc/proto/stamp
	@test -f $@ || { rm -f rpc/proto/stamp && $(MAKE) $(AM_MAKEFLAGS) rpc/proto/stamp; }
$(libmica_rpc_a_OBJECTS): rpc/proto/stamp

noinst_LIBRARIES += libmica-proto.a
libmica_proto_a_CPPFLAGS = -Irpc/proto $(PROTOBUF_C_CFLAGS)
libmica_proto_a_CFLAGS = -std=gnu11 -fvisibility=hidden -w $(HARDEN_CFLAGS) $(SAN_FLAGS)
libmica_proto_a_SOURCES =
nodist_libmica_proto_a_SOURCES = $(PROTO_C)

# The descriptors of our own services, for reflection.
OWN_PROTOS = $(srcdir)/rpc/proto/grpc/health/v1/health.proto $(srcdir)/rpc/proto/grpc/reflection/v1/reflection.proto $(srcdir)/rpc/proto/grpc/reflection/v1alpha/reflection.proto
rpc/descriptors_data.c: $(OWN_PROTOS) $(srcdir)/server/embed.py
	$(AM_V_GEN)$(MKDIR_P) rpc/proto && $(PROTOC_C) -I$(srcdir)/rpc/proto --include_imports --descriptor_set_out=rpc/proto/own.desc $(OWN_PROTOS) && $(PYTHON3) $(srcdir)/server/embed.py rpc/proto/own.desc rpc_descriptors > $@.tmp && mv $@.tmp $@
nodist_libmica_rpc_a_SOURCES = rpc/descriptors_data.c
libmica_rpc_a_SOURCES += rpc/wire.c
