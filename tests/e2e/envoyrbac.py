# SPDX-License-Identifier: Apache-2.0
"""A real Envoy that asks RBAC filters compiled by Mica about requests of our making.

One Envoy holds many sets of filters: for HTTP as routes, chosen by the header x-set, for connections
as filter chains, chosen by ALPN. Everything that a policy can ask for is real: a TLS client with the
peer's certificate from an address of its own, PROXY protocol for what a proxy before Envoy would say
(the client's address, the destination), a signed JWT that Envoy verifies.

What cannot be had on a loopback is made so before anybody is asked: see real().
"""
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import tempfile

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

import pki
from policygen import MICA
from proc import SLOW
from test_agent_envoy import Envoy, address, port

PREFIX = "type.googleapis.com/envoy."
TLS = PREFIX + "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
HCM = PREFIX + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
RBAC = PREFIX + "extensions.filters.http.rbac.v3.RBAC"
PER_ROUTE = PREFIX + "extensions.filters.http.rbac.v3.RBACPerRoute"
PARTS = ("audit", "deny", "allow")


# ---- mica ------------------------------------------------------------------------------------------


class Refused(Exception):
    """With --strict."""


def compile_(files, workload, target, flags=(), form="json", part=None, strict=False):
    """What Mica writes; with its report."""
    argv = [MICA, "policy", "compile", "--target", target, "--namespace", workload["namespace"], "--as", form]
    for k, v in workload.get("labels", {}).items():
        argv += ["--label", "%s=%s" % (k, v)]
    argv += [*flags, *(["--part", part] if part else []), *(["--strict"] if strict else [])]
    with tempfile.NamedTemporaryFile() as out:
        r = subprocess.run([*argv, "--out", out.name, "--output", "json", *map(str, files)],
                           capture_output=True, text=True, timeout=60 * SLOW)
        if strict and r.returncode == 6:
            raise Refused(r.stderr)
        assert r.returncode == 0, (argv, r.stderr)
        with open(out.name, "rb") as f:
            data = f.read()
    return (data if form == "protobuf" else json.loads(data)), json.loads(r.stdout)


# ---- what a request is on this machine ------------------------------------------------------------------


def here(text):
    """An address or block within 127.0.0.0/8, or ::1: the second octet says which it was."""
    net = ipaddress.ip_network(text, strict=False)
    if isinstance(net, ipaddress.IPv6Network):
        mapped = net.network_address.ipv4_mapped
        if mapped:
            return here("%s/%d" % (mapped, max(0, net.prefixlen - 96)))
        return "::1" if net.prefixlen > 16 else "::/%d" % min(net.prefixlen, 8)
    if net.prefixlen == 0:
        return "0.0.0.0/0"
    a = net.network_address.packed
    bits = 32 if net.prefixlen == 32 else min(net.prefixlen + 8, 24)
    moved = "127.%d.%d.%d" % (a[0], a[1], a[3])
    return moved if bits == 32 else str(ipaddress.ip_network("%s/%d" % (moved, bits), strict=False))


def localise(policy):
    """The policy with its blocks of source addresses moved."""
    policy = json.loads(json.dumps(policy))
    for rule in policy["spec"].get("rules") or []:
        for clause in rule.get("from", []):
            for f in ("ipBlocks", "notIpBlocks"):
                if f in clause["source"]:
                    clause["source"][f] = [here(v) for v in clause["source"][f]]
        for c in rule.get("when", []):
            for f in ("values", "notValues"):
                if c["key"] == "source.ip" and f in c:
                    c[f] = [here(v) for v in c[f]]
    return policy


def is_http(q):
    return any(f in q for f in ("method", "path", "host", "headers", "jwt"))


def real(q):
    """The nearest request that can really be made: it has addresses, and what HTTP must have."""
    q = json.loads(json.dumps(q))
    q["sourceIp"] = here(q.get("sourceIp", "192.0.2.1"))
    q.setdefault("remoteIp", "198.51.100.9")
    q.setdefault("destinationIp", "10.9.9.9")
    q.setdefault("port", 7000)
    q["remoteIp"] = str(ipaddress.ip_address(q["remoteIp"]))
    if ":" in q["remoteIp"]:  # PROXY protocol has both of one family
        q["destinationIp"] = "2001:db8::%x" % (q["port"] % 7)
    if is_http(q):
        q.setdefault("method", "GET")
        q.setdefault("path", "/")
        q.setdefault("host", "no.such.host")
        if q.get("jwt"):
            payload = claims_of(q["jwt"])
            q["jwt"] = dict(q["jwt"], issuer=payload["iss"], subject=payload["sub"])
    return q


def claims_of(token):
    payload = {"iss": token["issuer"], "sub": token["subject"]}
    if token.get("audiences"):
        payload["aud"] = token["audiences"]
    if token.get("presenter"):
        payload["azp"] = token["presenter"]
    payload.update(token.get("claims", {}))
    return payload


def whole(s):
    """An answer of HTTP with the length that it says."""
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        if end:
            said = [h for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")]
            if not said or len(body) >= int(said[0].split(b":")[1]):
                return answer
        got = s.recv(4096)
        if not got:
            return answer
        answer += got


# ---- the Envoy ------------------------------------------------------------------------------------------


class Oracle:
    """Filters are added first; ask() is for when it runs. As a context manager."""

    def __init__(self, binary, folder, name="oracle", joined=True):
        """`joined`: values of a header that came several times are one, as the engine has it."""
        self.joined = joined
        self.binary, self.folder, self.name = binary, str(folder), name
        self.ca = pki.Ca()
        self.server = self.leaf("spiffe://example.org/server")
        self.contexts = {}
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.tokens = {}
        self.routes, self.chains = [], []
        self.log = os.path.join(self.folder, name + ".access")
        self.number = 0
        self.ports = {"http": port(), "tcp": port()}
        self.envoy = None

    def leaf(self, uri):
        k = pki.key()
        cert = self.ca._base(x509.Name([]), k.public_key()).add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), True).sign(
            self.ca.key, pki.digest_for(self.ca.key))
        return cert.public_bytes(pki.PEM) + pki.key_pem(k)

    def tls(self, alpn=None):
        pem = {"inline_string": self.server.decode()}
        common = {"tls_certificates": [{"certificate_chain": pem, "private_key": pem}],
                  "validation_context": {"trusted_ca": {"inline_string": self.ca.pem().decode()}}}
        if alpn:
            common["alpn_protocols"] = [alpn]
        return {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": TLS, "require_client_certificate": False, "common_tls_context": common}}

    def add_http(self, name, filters):
        """`filters` as the compiler wrote them."""
        assert [f["name"] for f in filters] == ["mica." + p for p in PARTS]
        self.routes.append({
            "match": {"prefix": "/", "headers": [{"name": "x-set", "string_match": {"exact": name}}]},
            "direct_response": {"status": 200, "body": {"inline_string": "passed"}},
            "typed_per_filter_config": {f["name"]: {
                "@type": PER_ROUTE, "rbac": {k: v for k, v in f["typed_config"].items() if k != "@type"}}
                for f in filters}})

    def add_tcp(self, name, filters):
        echo = {"name": "envoy.filters.network.echo", "typed_config": {
            "@type": PREFIX + "extensions.filters.network.echo.v3.Echo"}}
        self.chains.append({"filter_chain_match": {"application_protocols": [name]},
                            "filters": filters + [echo], "transport_socket": self.tls(name)})

    def listener(self, name, chains):
        p = PREFIX + "extensions.filters.listener."
        return {"name": name, "filter_chains": chains, "listener_filters": [
            {"name": "proxy", "typed_config": {"@type": p + "proxy_protocol.v3.ProxyProtocol"}},
            {"name": "tls", "typed_config": {"@type": p + "tls_inspector.v3.TlsInspector"}}],
                "address": {"socket_address": {"address": "::", "ipv4_compat": True,
                                               "port_value": self.ports[name]}}}

    def http_chain(self):
        jwks = {"keys": [json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))]}
        provider = {"payload_in_metadata": "payload",
                    "local_jwks": {"inline_string": json.dumps(jwks)}}
        authn = {"name": "envoy.filters.http.jwt_authn", "typed_config": {
            "@type": PREFIX + "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"test": provider}, "rules": [{"match": {"prefix": "/"}, "requires": {
                "requires_any": {"requirements": [{"provider_name": "test"}, {"allow_missing": {}}]}}}]}}
        # figures of shadow rules are the filter's, whatever the route says
        rbac = [{"name": "mica." + p, "typed_config": {"@type": RBAC}} for p in PARTS]
        log = {"name": "log", "typed_config": {
            "@type": PREFIX + "extensions.access_loggers.file.v3.FileAccessLog", "path": self.log,
            "log_format": {"text_format_source": {"inline_string": "%REQ(x-number)% "
                           "%DYNAMIC_METADATA(envoy.common:access_log_hint)%\n"}}}}
        router = {"name": "envoy.filters.http.router", "typed_config": {
            "@type": PREFIX + "extensions.filters.http.router.v3.Router"}}
        return {"transport_socket": self.tls(), "filters": [{"name": "http", "typed_config": {
            "@type": HCM, "stat_prefix": "oracle", "access_log": [log], "http_filters": [authn, *rbac, router],
            "route_config": {"virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": self.routes}]}}}]}

    def __enter__(self):
        config = {"admin": {"address": address(port())}, "static_resources": {"listeners": [
            self.listener("http", [self.http_chain()])]}}
        if self.joined:
            config["layered_runtime"] = {"layers": [{"name": "mica", "static_layer": {
                "envoy.reloadable_features.rbac_match_headers_individually": False}}]}
        if self.chains:
            config["static_resources"]["listeners"].append(self.listener("tcp", self.chains))
        self.envoy = Envoy(self.binary, self.folder, self.name, config, os.getpid() % 30000 + 2)
        self.envoy.process.wait_until("Envoy listens", self.listens, timeout=60)
        return self

    def __exit__(self, kind, *unused):
        if kind:
            print(self.envoy.process.tail(15))
        self.envoy.process.kill()

    def listens(self):
        try:
            for p in self.ports.values() if self.chains else [self.ports["http"]]:
                socket.create_connection(("127.0.0.1", p), 1).close()
            return True
        except OSError:
            return False

    # ---- asking

    def context(self, peer, alpn):
        if (peer, alpn) not in self.contexts:
            c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            c.check_hostname = False
            c.verify_mode = ssl.CERT_NONE
            if peer:
                if peer not in self.tokens:
                    self.tokens[peer] = pki.write(os.path.join(
                        self.folder, "%s-peer%d.pem" % (self.name, len(self.tokens))), self.leaf(peer))
                c.load_cert_chain(self.tokens[peer])
            if alpn:
                c.set_alpn_protocols([alpn])
            self.contexts[peer, alpn] = c
        return self.contexts[peer, alpn]

    def connect(self, q, kind, alpn=None):
        v6 = ":" in q["sourceIp"]
        s = socket.create_connection(("::1" if v6 else "127.0.0.1", self.ports[kind]), 10 * SLOW,
                                     (q["sourceIp"], 0))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(("PROXY TCP%d %s %s 4711 %d\r\n" % (6 if ":" in q["remoteIp"] else 4, q["remoteIp"],
                                                      q["destinationIp"], q["port"])).encode())
        return self.context(q.get("peer"), alpn).wrap_socket(s, server_hostname=q.get("sni"))

    def token(self, claims):
        return jwt.encode(claims, self.key, algorithm="ES256")

    def text(self, q, name):
        lines = ["%s %s HTTP/1.1" % (q["method"], q["path"]), "host: " + q["host"], "x-set: " + name,
                 "connection: close"]
        for field, value in q.get("headers", {}).items():
            lines += ["%s: %s" % (field, v) for v in value.split(",")]
        self.number += 1
        lines.append("x-number: %d" % self.number)
        if q.get("jwt"):
            lines.append("authorization: Bearer " + self.token(claims_of(q["jwt"])))
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def ask_http(self, name, q):
        """True, False; None: Envoy did not come to ask (it does not like the request itself)."""
        with self.connect(q, "http") as s:
            s.sendall(self.text(q, name))
            answer = whole(s)
        status = int(answer.split(b" ", 2)[1])
        if status == 200:
            return True
        if status == 403:
            assert b"RBAC: access denied" in answer or q["method"] == "HEAD", answer
            return False
        assert status in (400, 404, 501), answer
        return None

    def hints(self):
        """Number of a request -> whether the AUDIT filter found a policy; None: there is none."""
        out = {}
        with open(self.log, encoding="utf-8") as f:
            for line in f:
                number, _, hint = line.strip().partition(" ")
                if number != "-":  # a request that Envoy refused itself
                    out[int(number)] = {"true": True, "false": False, "-": None}[hint]
        return out

    def shadow_denied(self):
        return sum(self.envoy.stats("shadow_denied").values())

    def ask_tcp(self, name, q):
        try:
            with self.connect(q, "tcp", name) as s:
                s.sendall(b"x")
                return s.recv(1) == b"x"
        except (ConnectionResetError, ssl.SSLEOFError):
            return False

    def ask(self, name, q):
        return self.ask_http(name, q) if is_http(q) else self.ask_tcp(name, q)
