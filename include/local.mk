# The contracts: the only headers that cross a folder.
noinst_HEADERS += include/mica/err.h
noinst_HEADERS += include/mica/mem.h
noinst_HEADERS += include/mica/slice.h
noinst_HEADERS += include/mica/buf.h
noinst_HEADERS += include/mica/secret.h
noinst_HEADERS += include/mica/clock.h
noinst_HEADERS += include/mica/log.h
noinst_HEADERS += include/mica/json.h
noinst_HEADERS += include/mica/yaml.h
noinst_HEADERS += include/mica/file.h
noinst_HEADERS += include/mica/principal.h
noinst_HEADERS += include/mica/config.h
noinst_HEADERS += include/mica/http_client.h
noinst_HEADERS += include/mica/core.h
