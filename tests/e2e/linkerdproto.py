# SPDX-License-Identifier: Apache-2.0
"""Linkerd's certificate protocol as its own proxies speak it: messages by Google's protobuf, with
the names and numbers of identity.proto of linkerd2-proxy-api; calls by gRPC's C core, and by a
proxy that does what linkerd2-proxy does (reference: its linkerd/app/core, meshtls, identity-client).
"""
import datetime
import os
import socket
import ssl
import tempfile
import threading
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.protobuf import descriptor_pb2, descriptor_pool, timestamp_pb2

try:
    from google.protobuf.message_factory import GetMessageClass as _message
except ImportError:
    from google.protobuf.message_factory import MessageFactory as _factory

    _message = _factory().GetPrototype

import istioproto
import pki
import rpcecho
from micad import certificates, signed_by

SERVICE = "io.linkerd.proxy.identity.Identity"
METHOD = "/%s/Certify" % SERVICE
AUDIENCE = "identity.l5d.io"
TD = "cluster.local"
SERVER_NAME = "linkerd-identity.linkerd.serviceaccount.identity.linkerd." + TD


def _messages():
    F = descriptor_pb2.FieldDescriptorProto
    f = descriptor_pb2.FileDescriptorProto(
        name="test/identity.proto", package="io.linkerd.proxy.identity", syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"])
    q = f.message_type.add(name="CertifyRequest")
    q.field.add(name="identity", number=1, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL)
    q.field.add(name="token", number=2, type=F.TYPE_BYTES, label=F.LABEL_OPTIONAL)
    q.field.add(name="certificate_signing_request", number=3, type=F.TYPE_BYTES,
                label=F.LABEL_OPTIONAL)
    a = f.message_type.add(name="CertifyResponse")
    a.field.add(name="leaf_certificate", number=1, type=F.TYPE_BYTES, label=F.LABEL_OPTIONAL)
    a.field.add(name="intermediate_certificates", number=2, type=F.TYPE_BYTES,
                label=F.LABEL_REPEATED)
    a.field.add(name="valid_until", number=3, type=F.TYPE_MESSAGE, label=F.LABEL_OPTIONAL,
                type_name=".google.protobuf.Timestamp")
    pool = descriptor_pool.Default()
    assert timestamp_pb2.Timestamp  # the file it depends on
    pool.AddSerializedFile(f.SerializeToString())
    return [_message(pool.FindMessageTypeByName("io.linkerd.proxy.identity." + n))
            for n in ("CertifyRequest", "CertifyResponse")]


Request, Response = _messages()


def identity(sa="checkout", ns="payments", control="linkerd", td=TD):
    return "%s.%s.serviceaccount.identity.%s.%s" % (sa, ns, control, td)


def csr(key, name, cn="same", sans=None):
    """DER as proxy-identity writes it: CN, of any length, and the only DNS SAN are the identity."""
    cn = name if cn == "same" else cn
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, cn, _validate=False)] if cn else []
    sans = [x509.DNSName(name)] if sans is None else sans
    b = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if sans:
        b = b.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return b.sign(key, pki.digest_for(key)).public_bytes(pki.DER)


def request(token, name=None, key=None, **how):
    name = name or identity()
    return Request(identity=name, token=token.encode() if isinstance(token, str) else token,
                   certificate_signing_request=csr(key or pki.key(), name, **how))


def method(ch):
    return ch.unary_unary(METHOD, request_serializer=Request.SerializeToString,
                          response_deserializer=Response.FromString)


def certify(ch, q, timeout=20):
    """The answer, or grpc.RpcError."""
    return method(ch)(q, timeout=timeout)


channel, reason = istioproto.channel, istioproto.reason


def names(cert):
    """SANs in their order, as text."""
    san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [("DNS:" if isinstance(n, x509.DNSName) else "URI:") + n.value for n in san]


class Refused(Exception):
    """The proxy takes no part in it: what it would log or count."""


def accept(answer, name, public_key, anchors, now=None):
    """meshtls creds/store.rs validate, as far as it matters; the leaf. Refused otherwise."""
    now = now or datetime.datetime.utcnow()
    if not answer.HasField("valid_until"):
        raise Refused("identity certification missing expiration")
    if answer.valid_until.seconds <= time.time():
        raise Refused("certificate already expired")
    leaf = x509.load_der_x509_certificate(answer.leaf_certificate)
    chain = [x509.load_der_x509_certificate(i) for i in answer.intermediate_certificates]
    ext = leaf.extensions
    if ext.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise Refused("CaUsedAsEndEntity")
    eku = ext.get_extension_for_class(x509.ExtendedKeyUsage).value
    for usage in (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH):
        if usage not in eku:
            raise Refused("RequiredEkuNotFound")
    if name not in ext.get_extension_for_class(x509.SubjectAlternativeName).value \
            .get_values_for_type(x509.DNSName):
        raise Refused("NotValidForName")
    if names(leaf)[0] != "DNS:" + name:
        raise Refused("peers would know it by another name")
    if pki.spki(leaf.public_key()) != pki.spki(public_key):
        raise Refused("KeyMismatch")
    if not 0 < leaf.serial_number < 1 << 159:
        raise Refused("serial number")
    known = {a.subject.public_bytes(): a for a in anchors}
    path = [leaf, *chain]
    for c in path:
        if not c.not_valid_before <= now <= c.not_valid_after:
            raise Refused("CertNotValidYet or CertExpired")
    for c, i in zip(path, path[1:]):
        if c.issuer != i.subject:
            raise Refused("the issuers are not in their order")
        signed_by(c, i)
    anchor = known.get(path[-1].issuer.public_bytes())
    if not anchor:
        raise Refused("UnknownIssuer")
    signed_by(path[-1], anchor)
    return leaf


class Proxy(threading.Thread):
    """linkerd2-proxy's life: one key, anchors from its start, a new connection for each attempt, and
    the next one after 70 % of the time to valid_until. `errors` has what went wrong."""

    def __init__(self, address, token, name, anchors_pem, min_refresh=10.0, max_refresh=86400.0,
                 connect_timeout=1.0, server_name=SERVER_NAME):
        super().__init__(daemon=True, name=name)
        self.host, port = address.rsplit(":", 1)
        self.port = int(port)
        self.token = token  # a function: the file is read again each time
        self.id, self.server_name = name, server_name
        self.anchors_pem, self.anchors = anchors_pem, certificates(anchors_pem)
        self.key = pki.key()
        self.csr = csr(self.key, name)
        self.min, self.max, self.connect_timeout = min_refresh, max_refresh, connect_timeout
        self.leaf, self.files, self.until = None, None, None
        self.refreshes, self.errors, self.waits, self.issuers = 0, [], [], set()
        self.spare = []  # life left of the leaf when the next one came
        self.over = threading.Event()

    def connect(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.anchors_pem)
        context.check_hostname = False  # python would look at the host; _identity does it
        if self.files:  # whatever became of it
            context.load_cert_chain(*self.files)
        s = socket.create_connection((self.host, self.port), timeout=self.connect_timeout)
        s = context.wrap_socket(s, server_hostname=self.server_name)
        self._identity(s)
        s.settimeout(None)  # there is no deadline
        return s

    def _identity(self, s):
        assert s.selected_alpn_protocol() is None
        cert = x509.load_der_x509_certificate(s.getpeercert(True))
        assert isinstance(cert.public_key(), ec.EllipticCurvePublicKey)
        sans = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if self.server_name not in sans.get_values_for_type(x509.DNSName):
            raise Refused("the server is not %s" % self.server_name)

    def attempt(self):
        """One call; the answer."""
        q = Request(identity=self.id, token=self.token(), certificate_signing_request=self.csr)
        peer = rpcecho.Peer(self.connect())
        try:
            stream = peer.headers(**{":scheme": "http", ":path": METHOD,
                                     ":authority": "%s:%d" % (self.host, self.port)})
            peer.data(stream, rpcecho.frame(q.SerializeToString()), end=True)
            head, octets, trailers, reset = peer.answer(stream, timeout=60)
        finally:
            peer.close()
        if trailers.get("grpc-status") != "0" or reset is not None:
            raise Refused("grpc-status %s %s" % (trailers.get("grpc-status"),
                                                 trailers.get("grpc-message")))
        return Response.FromString(octets[5:])

    def refresh(self):
        answer = self.attempt()
        leaf = accept(answer, self.id, self.key.public_key(), self.anchors)
        if self.leaf:
            self.spare.append((self.leaf.not_valid_after - datetime.datetime.utcnow())
                              .total_seconds())
        self.leaf, self.until = leaf, answer.valid_until.seconds + answer.valid_until.nanos / 1e9
        self.refreshes += 1
        self.issuers.add(answer.intermediate_certificates[0])
        self._keep(answer)

    def _keep(self, answer):
        folder = self.files and os.path.dirname(self.files[0]) or tempfile.mkdtemp(prefix="l5d-")
        pem = b"".join(x509.load_der_x509_certificate(c).public_bytes(pki.PEM)
                       for c in [answer.leaf_certificate, *answer.intermediate_certificates])
        self.files = (pki.write(os.path.join(folder, "chain.pem"), pem),
                      pki.write(os.path.join(folder, "key.pem"), pki.key_pem(self.key)))

    def pause(self):
        """refresh_in of certify.rs."""
        left = (self.until or 0) - time.time()
        return min(max(left * 0.7, self.min), self.max) if left > 0 else self.min

    def run(self):
        while not self.over.is_set():
            try:
                self.refresh()
            except Exception as e:  # pylint: disable=broad-except
                self.errors.append("%s: %r" % (time.strftime("%H:%M:%S"), e))
            wait = self.pause()
            self.waits.append(wait)
            self.over.wait(wait)

    def stop(self):
        self.over.set()
        self.join(30)
        assert not self.is_alive(), "the proxy hangs"
