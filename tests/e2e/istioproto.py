# SPDX-License-Identifier: Apache-2.0
"""Istio's certificate protocol as its own proxies speak it: messages by Google's protobuf, with the
names and numbers of security/v1alpha1/ca.proto of istio/api, calls by gRPC's C core."""
import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, struct_pb2

try:
    from google.protobuf.message_factory import GetMessageClass as _message
except ImportError:
    from google.protobuf.message_factory import MessageFactory as _factory

    _message = _factory().GetPrototype

SERVICE = "istio.v1.auth.IstioCertificateService"
METHOD = "/%s/CreateCertificate" % SERVICE
# I:pkg/security/retry.go: what pilot-agent's gRPC layer tries again
RETRIED = {grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED,
           grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL,
           grpc.StatusCode.UNAVAILABLE}


def _messages():
    F = descriptor_pb2.FieldDescriptorProto
    f = descriptor_pb2.FileDescriptorProto(
        name="test/ca.proto", package="istio.v1.auth", syntax="proto3",
        dependency=["google/protobuf/struct.proto"])
    q = f.message_type.add(name="IstioCertificateRequest")
    q.field.add(name="csr", number=1, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL)
    q.field.add(name="validity_duration", number=3, type=F.TYPE_INT64, label=F.LABEL_OPTIONAL)
    q.field.add(name="metadata", number=4, type=F.TYPE_MESSAGE, label=F.LABEL_OPTIONAL,
                type_name=".google.protobuf.Struct")
    a = f.message_type.add(name="IstioCertificateResponse")
    a.field.add(name="cert_chain", number=1, type=F.TYPE_STRING, label=F.LABEL_REPEATED)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(f.SerializeToString())
    assert struct_pb2.Struct  # the file it depends on
    return [_message(pool.FindMessageTypeByName("istio.v1.auth." + n))
            for n in ("IstioCertificateRequest", "IstioCertificateResponse")]


Request, Response = _messages()


def request(csr, ttl=0, signer="", impersonated=None, **metadata):
    """As pilot-agent makes it: CertSigner is always there."""
    q = Request(csr=csr, validity_duration=ttl)
    q.metadata["CertSigner"] = signer
    if impersonated is not None:
        q.metadata["ImpersonatedIdentity"] = impersonated
    for k, v in metadata.items():
        q.metadata[k] = v
    return q


def channel(micad, cert=None, roots=None, listener="grpc", options=()):
    """cert = (chain PEM, key PEM) in octets."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), *options]
    if listener == "grpc_socket":
        return grpc.insecure_channel("unix:" + micad.ready[listener], options)
    if listener == "grpc_plaintext":
        return grpc.insecure_channel(micad.ready[listener], options)
    with open(micad.roots_file, "rb") as f:
        roots = roots or f.read()
    creds = grpc.ssl_channel_credentials(roots, *((cert[1], cert[0]) if cert else ()))
    return grpc.secure_channel(micad.ready["grpc"], creds, options)


def method(ch):
    return ch.unary_unary(METHOD, request_serializer=Request.SerializeToString,
                          response_deserializer=Response.FromString)


def bearer(token, **more):
    return [("authorization", "Bearer " + token), *more.items()] if token else list(more.items())


def create(ch, q, token=None, timeout=20, metadata=None):
    """The certificate chain, or grpc.RpcError."""
    if metadata is None:
        metadata = bearer(token)
    return list(method(ch)(q, timeout=timeout, metadata=metadata).cert_chain)


def reason(error):
    """The reason of ErrorInfo in the status details, in lower case; None without."""
    from google.protobuf import any_pb2

    for k, v in error.trailing_metadata() or ():
        if k != "grpc-status-details-bin":
            continue
        # google.rpc.Status: details = 3; ErrorInfo: reason = 1
        at, out = v, None
        for number, octets in _fields(at):
            if number == 3:
                a = any_pb2.Any.FromString(octets)
                if a.type_url.endswith("google.rpc.ErrorInfo"):
                    out = dict(_fields(a.value))[1].decode().lower()
        return out
    return None


def _varint(b, i):
    n = shift = 0
    while True:
        n |= (b[i] & 0x7F) << shift
        shift += 7
        i += 1
        if b[i - 1] < 0x80:
            return n, i


def _fields(b):
    i = 0
    while i < len(b):
        tag, i = _varint(b, i)
        if tag & 7 == 2:
            n, i = _varint(b, i)
            yield tag >> 3, b[i:i + n]
            i += n
        else:
            assert tag & 7 == 0, tag
            n, i = _varint(b, i)
            yield tag >> 3, n
