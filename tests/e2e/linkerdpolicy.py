# SPDX-License-Identifier: Apache-2.0
"""Linkerd's inbound policy protocol as its proxies read it: messages by Google's protobuf with the
names and numbers of linkerd2-proxy-api, and what a proxy does with a Server."""
import ipaddress
import re

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2

try:
    from google.protobuf.message_factory import GetMessageClass as _message
except ImportError:
    from google.protobuf.message_factory import MessageFactory as _factory

    _message = _factory().GetPrototype

PACKAGE = "io.linkerd.proxy.inbound"
SERVICE = PACKAGE + ".InboundServerPolicies"

# message: fields as "name=number:type", `*` repeated, `|` of a oneof; all in one package, which the
# wire does not know.
SCHEMA = {
    "PortSpec": "workload=1:string port=2:uint32",
    "Server": "protocol=1:ProxyProtocol *server_ips=2:IPAddress *authorizations=3:Authz *labels=4:Label",
    "Label": "key=1:string value=2:string",
    "ProxyProtocol": "|detect=1:Detect |opaque=2:Empty |tls=3:Empty",
    "Detect": "timeout=1:.google.protobuf.Duration *http_routes=3:HttpRoute",
    "Empty": "",
    "Authz": "*networks=1:Network authentication=2:Authn *labels=3:Label metadata=4:Metadata",
    "Network": "net=1:IPNetwork *except=2:IPNetwork",
    "Authn": "|unauthenticated=1:Empty |meshTLS=2:PermitMeshTLS",
    "PermitMeshTLS": "|unauthenticated=1:Empty |identities=2:PermitClientIdentities",
    "PermitClientIdentities": "*identities=1:Identity *suffixes=2:IdentitySuffix",
    "Identity": "name=1:string",
    "IdentitySuffix": "*parts=1:string",
    "HttpRoute": "metadata=1:Metadata *hosts=2:Empty *authorizations=3:Authz *rules=4:Rule",
    "Rule": "*matches=1:HttpRouteMatch",
    "HttpRouteMatch": "path=1:PathMatch method=4:HttpMethod",
    "PathMatch": "|exact=1:string |prefix=2:string |regex=3:string",
    "HttpMethod": "|registered=1:uint32 |unregistered=2:string",
    "Metadata": "|default=1:string |resource=2:Resource",
    "Resource": "group=1:string kind=2:string name=3:string namespace=4:string section=5:string port=6:uint32",
    "IPAddress": "|ipv4=1:fixed32 |ipv6=2:IPv6",
    "IPv6": "first=1:fixed64 last=2:fixed64",
    "IPNetwork": "ip=1:IPAddress prefix_len=2:uint32",
}
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "HEAD", "TRACE"]


def _messages():
    F = descriptor_pb2.FieldDescriptorProto
    f = descriptor_pb2.FileDescriptorProto(name="test/inbound.proto", package=PACKAGE, syntax="proto3",
                                           dependency=["google/protobuf/duration.proto"])
    scalars = {"string": F.TYPE_STRING, "uint32": F.TYPE_UINT32, "fixed32": F.TYPE_FIXED32,
               "fixed64": F.TYPE_FIXED64}
    for name, fields in SCHEMA.items():
        m = f.message_type.add(name=name)
        if "|" in fields:
            m.oneof_decl.add(name="kind")
        for spec in fields.split():
            field, kind = spec.lstrip("*|").split(":")
            x = m.field.add(name=field.split("=")[0], number=int(field.split("=")[1]),
                            label=F.LABEL_REPEATED if spec[0] == "*" else F.LABEL_OPTIONAL)
            if kind in scalars:
                x.type = scalars[kind]
            else:
                x.type = F.TYPE_MESSAGE
                x.type_name = kind if kind[0] == "." else ".%s.%s" % (PACKAGE, kind)
            if spec[0] == "|":
                x.oneof_index = 0
    assert duration_pb2.Duration  # the file it depends on
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(f.SerializeToString())
    return [_message(pool.FindMessageTypeByName("%s.%s" % (PACKAGE, n))) for n in ("PortSpec", "Server")]


PortSpec, Server = _messages()


class Misconfigured(Exception):
    """The proxy takes the Server for an invalid one and denies all."""


def _known(m, path):
    """No field that the proxy does not know: it would be a rule that it does not see."""
    try:
        unknown = len(m.UnknownFields())
    except NotImplementedError:
        unknown = 0
    if unknown:
        raise Misconfigured("unknown fields in " + path)
    for d, v in m.ListFields():
        if d.type == d.TYPE_MESSAGE:
            for x in (v if d.label == d.LABEL_REPEATED else [v]):
                _known(x, path + "." + d.name)


def _network(n):
    kind = n.ip.WhichOneof("kind")
    if kind is None:
        raise Misconfigured("an address without octets")
    ip = (ipaddress.IPv4Address(n.ip.ipv4) if kind == "ipv4"
          else ipaddress.IPv6Address(n.ip.ipv6.first << 64 | n.ip.ipv6.last))
    return ipaddress.ip_network((ip, n.prefix_len))


class Policy:
    """A Server as linkerd2-proxy has it (its server-policy and http/route)."""

    def __init__(self, octets):
        s = Server.FromString(octets)
        _known(s, "Server")
        if s.protocol.WhichOneof("kind") != "detect" or not s.protocol.detect.HasField("timeout"):
            raise Misconfigured("protocol")
        labels = {x.key: x.value for x in s.labels}
        if "name" not in labels:
            raise Misconfigured("labels")
        self.tcp = [self._authz(a) for a in s.authorizations]
        self.routes = []
        for r in s.protocol.detect.http_routes:
            if r.metadata.WhichOneof("kind") is None:
                raise Misconfigured("metadata of a route")
            authz = [self._authz(a) for a in r.authorizations] + self.tcp
            self.routes += [(m, authz) for rule in r.rules for m in rule.matches]

    @staticmethod
    def _authz(a):
        if not a.networks or a.authentication.WhichOneof("kind") is None or \
                a.metadata.WhichOneof("kind") is None:
            raise Misconfigured("an authorization")
        nets = [(_network(n.net), [_network(x) for x in getattr(n, "except")]) for n in a.networks]
        if a.authentication.WhichOneof("kind") == "unauthenticated":
            return nets, None
        tls = a.authentication.meshTLS
        if tls.WhichOneof("kind") != "identities":
            raise Misconfigured("clients")
        return nets, ({i.name for i in tls.identities.identities},
                      ["".join("." + p for p in s.parts) for s in tls.identities.suffixes])

    @staticmethod
    def _path(m, path):
        kind = m.path.WhichOneof("kind")
        if kind == "exact":
            return len(path) if m.path.exact == path else None
        if kind == "regex":
            return len(path) if re.fullmatch(m.path.regex, path) else None
        if kind == "prefix" and m.path.prefix == "/":
            return 1
        raise Misconfigured("a match of a path")

    @staticmethod
    def _method(m):
        if not m.HasField("method"):
            return None
        if m.method.WhichOneof("kind") != "registered":
            raise Misconfigured("a method")
        return METHODS[m.method.registered]

    def _best(self, q):
        """The first of the best matches, as a proxy takes it; two that differ are a fault."""
        best, authz = None, None
        for m, a in self.routes:
            length, method = self._path(m, q.path), self._method(m)
            if length is None or method not in (None, q.method):
                continue
            rank = (length, method is not None)
            if best is None or rank > best:
                best, authz = rank, a
            elif rank == best and a != authz:
                raise Misconfigured("two routes are as good")
        return authz

    def allows(self, q):
        if q.ip.is_loopback:
            return True
        authz = self.tcp
        if self.routes and q.method is not None:
            authz = self._best(q) or []
        return any(self._lets_in(a, q) for a in authz)

    @staticmethod
    def _lets_in(authz, q):
        nets, clients = authz
        if not any(q.ip in n and not any(q.ip in x for x in no) for n, no in nets):
            return False
        if clients is None:
            return True
        names, suffixes = clients
        return q.identity is not None and (
            q.identity in names or any(q.identity.endswith(s) for s in suffixes))
