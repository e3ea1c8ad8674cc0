# SPDX-License-Identifier: Apache-2.0
"""Envoy's external authorization as Envoy speaks it: messages by Google's protobuf, with the names and
numbers of envoy/service/auth/v3/{external_auth,attribute_context}.proto, calls by gRPC's C core."""
import os
import urllib.parse

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

from istioproto import channel, reason  # pylint: disable=unused-import

METHOD = "/envoy.service.auth.v3.Authorization/Check"
F = descriptor_pb2.FieldDescriptorProto
KINDS = {"string": F.TYPE_STRING, "bytes": F.TYPE_BYTES, "uint32": F.TYPE_UINT32,
         "int32": F.TYPE_INT32}

# message: fields as number: (name, type); "[]": repeated, "{}": a map from strings
MESSAGES = {
    "SocketAddress": {2: ("address", "string"), 3: ("port_value", "uint32")},
    "Address": {1: ("socket_address", "SocketAddress")},
    "Peer": {1: ("address", "Address"), 3: ("labels", "{}string"), 4: ("principal", "string"),
             5: ("certificate", "string")},
    "HeaderValue": {1: ("key", "string"), 3: ("raw_value", "bytes")},
    "HeaderMap": {1: ("headers", "[]HeaderValue")},
    "HttpRequest": {2: ("method", "string"), 3: ("headers", "{}string"), 4: ("path", "string"),
                    5: ("host", "string"), 6: ("scheme", "string"), 13: ("header_map", "HeaderMap")},
    "HttpCall": {2: ("http", "HttpRequest")},
    "TLSSession": {1: ("sni", "string")},
    "Metadata": {1: ("filter_metadata", "{}.google.protobuf.Struct")},
    "AttributeContext": {1: ("source", "Peer"), 2: ("destination", "Peer"),
                         4: ("request", "HttpCall"), 10: ("context_extensions", "{}string"),
                         11: ("metadata_context", "Metadata"), 12: ("tls_session", "TLSSession")},
    "CheckRequest": {1: ("attributes", "AttributeContext")},
    "Status": {1: ("code", "int32"), 2: ("message", "string")},
    "HttpStatus": {1: ("code", "int32")},
    "Denied": {1: ("status", "HttpStatus"), 3: ("body", "string")},
    "CheckResponse": {1: ("status", "Status"), 2: ("denied_response", "Denied"),
                      4: ("dynamic_metadata", ".google.protobuf.Struct")},
}


def _add(message, number, name, kind):
    repeated = kind[:2] in ("[]", "{}")
    f = message.field.add(name=name, number=number,
                          label=F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL)
    value = kind[2:] if repeated else kind
    if kind.startswith("{}"):
        entry = "".join(w.capitalize() for w in name.split("_")) + "Entry"
        pair = message.nested_type.add(name=entry)
        pair.options.map_entry = True
        _add(pair, 1, "key", "string")
        _add(pair, 2, "value", value)
        value = message.name + "." + entry
    if value in KINDS:
        f.type = KINDS[value]
    else:
        f.type = F.TYPE_MESSAGE
        f.type_name = value if value.startswith(".") else ".test.authz." + value


def _messages(*names):
    file = descriptor_pb2.FileDescriptorProto(
        name="test/authz.proto", package="test.authz", syntax="proto3",
        dependency=["google/protobuf/struct.proto"])
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in fields.items():
            _add(message, number, field, kind)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    assert struct_pb2.Struct  # the file it depends on
    found = [pool.FindMessageTypeByName("test.authz." + n) for n in names]
    if hasattr(message_factory, "GetMessageClass"):
        return [message_factory.GetMessageClass(d) for d in found]
    return [message_factory.MessageFactory(pool).GetPrototype(d) for d in found]


Request, Response = _messages("CheckRequest", "CheckResponse")


def request(principal="", workload="spiffe://example.org/ns/shop/sa/orders", method=None, path="/",
            host="orders.shop", headers=(), certificate=None, jwt=None, labels=(), **extensions):
    """Without a method it is a connection. `certificate` in PEM, as octets; extensions are context
    extensions, their names with "mica." before and `__` for further dots."""
    q = Request()
    a = q.attributes
    a.source.principal = principal
    a.source.address.socket_address.address = "10.1.2.3"
    a.source.address.socket_address.port_value = 40000
    a.destination.principal = workload
    a.destination.address.socket_address.address = "10.9.9.9"
    a.destination.address.socket_address.port_value = 8080
    for k, v in dict(labels).items():
        a.destination.labels[k] = v
    if certificate:
        a.source.certificate = urllib.parse.quote(certificate, safe="")
    if method:
        http = a.request.http
        http.method, http.path, http.host, http.scheme = method, path, host, "https"
        for k, v in {":path": path, ":method": method, **dict(headers)}.items():
            http.headers[k] = v
    if jwt:
        a.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"].update({"payload": jwt})
    for k, v in extensions.items():
        a.context_extensions["mica." + k.replace("__", ".")] = v
    return q


def put_policies(m, text, channel="live"):
    """Each document of a YAML text, by the REST API; their (namespace, name)."""
    documents = [d for d in yaml.safe_load_all(text) if d]
    for d in documents:
        meta = d["metadata"]
        a = m.admin().request("PUT", "/v1/policies/%s/%s?channel=%s" % (
            meta["namespace"], meta["name"], channel), d)
        assert a.status in (200, 201, 204), a
    return {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in documents}


def replace_policies(m, text):
    """What this put before, and is not in the text, is deleted."""
    before = getattr(m, "put_by_tests", set())
    m.put_by_tests = put_policies(m, text)
    for ns, name in before - m.put_by_tests:
        m.admin().request("DELETE", "/v1/policies/%s/%s" % (ns, name)).ok(204)


def check(ch, q, timeout=20):
    """CheckResponse, or grpc.RpcError."""
    call = ch.unary_unary(METHOD, request_serializer=Request.SerializeToString,
                          response_deserializer=Response.FromString)
    return call(q, timeout=timeout)


def allowed(answer, why=None):
    assert answer.status.code == grpc.StatusCode.OK.value[0], answer
    assert not answer.HasField("denied_response")
    if why:
        assert answer.dynamic_metadata["why"] == why, answer
    return answer


def denied(answer, why, status=403):
    assert answer.status.code == grpc.StatusCode.PERMISSION_DENIED.value[0], answer
    assert answer.denied_response.status.code == status, answer
    assert answer.denied_response.body == "denied: %s\n" % why, answer
    assert answer.status.message == why and answer.dynamic_metadata["why"] == why, answer
    return answer
