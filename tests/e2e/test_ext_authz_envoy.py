# SPDX-License-Identifier: Apache-2.0
"""The real Envoy asks micad over mTLS about each request and each connection: what passes, what is
denied, changes, revocation, dry runs, and what happens while micad does not run. It is
deploy/examples/envoy-ext-authz.yaml, on loopback, with certificates from files."""
import json
import os
import socket
import ssl
import subprocess
import time

import jwt
import pytest
import yaml

import authzproto as ap
import pki
from agent import SOURCE
from proc import SLOW, wait_until
from test_agent_envoy import Envoy, address, envoy, port  # pylint: disable=unused-import

EXAMPLE = os.path.join(SOURCE, "deploy", "examples", "envoy-ext-authz.yaml")
TD = "spiffe://example.org/ns/"

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: %s, namespace: shop%s}
spec:
  selector: {matchLabels: {app: orders}}
  action: %s
  rules: %s
"""


def policy(name, action, rules, dry=False):
    more = ', annotations: {"istio.io/dry-run": "true"}' if dry else ""
    return POLICY % (name, more, action, json.dumps(rules))


def of(*names, **operation):
    rule = {"from": [{"source": {"principals": ["example.org/ns/" + n for n in names]}}]}
    if operation:
        rule["to"] = [{"operation": operation}]
    return [rule]


def to(**operation):
    return [{"to": [{"operation": operation}]}]


def test_the_example(envoy):
    r = subprocess.run([envoy, "--mode", "validate", "--service-node", "n", "--service-cluster", "c",
                        "-c", EXAMPLE], capture_output=True, text=True, timeout=60 * SLOW)
    assert r.returncode == 0 and "OK" in r.stdout + r.stderr, r


def files_for_sds(node, own, roots):
    """The same with certificates from files."""
    if isinstance(node, list):
        return [files_for_sds(n, own, roots) for n in node]
    if not isinstance(node, dict):
        return node
    out = {k: files_for_sds(v, own, roots) for k, v in node.items()}
    if out.pop("tls_certificate_sds_secret_configs", None):
        out["tls_certificates"] = [{"certificate_chain": {"filename": own[0]},
                                    "private_key": {"filename": own[1]}}]
    if out.pop("validation_context_sds_secret_config", None):
        combined = out.pop("default_validation_context", {})
        if combined:  # of a combined one, which is replaced above
            return dict(combined, trusted_ca={"filename": roots})
        out["validation_context"] = {"trusted_ca": {"filename": roots}}
    if "combined_validation_context" in out:
        out["validation_context"] = out.pop("combined_validation_context")
    return out


class World:
    """micad, an Envoy as in the example, and clients with certificates of micad."""

    def __init__(self, envoy, folder, m, issuer):
        self.m, self.issuer, self.folder = m, issuer, str(folder)
        self.http, self.tcp, self.admin = port(), port(), port()
        with open(EXAMPLE) as f:
            c = yaml.safe_load(f)
        own = m.svid_files(issuer.token("shop", "orders", "orders-1"), name="orders")
        c = files_for_sds(c, own, m.roots_file)
        c["admin"] = {"address": address(self.admin)}
        http, tcp = c["static_resources"]["listeners"]
        http["address"], tcp["address"] = address(self.http), address(self.tcp)
        hcm = http["filter_chains"][0]["filters"][0]["typed_config"]
        hcm["route_config"]["virtual_hosts"][0]["routes"] = [{
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": {"inline_string": "hello"}}}]
        hcm["http_filters"].insert(0, self.jwt_filter())
        # a direct response does not pass the router, but filters before it are asked
        tcp["filter_chains"][0]["filters"][1] = {
            "name": "envoy.filters.network.echo", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}
        mica = c["static_resources"]["clusters"][0]
        mica["type"] = "STATIC"
        host, p = m.ready["grpc"].rsplit(":", 1)
        assert host == "127.0.0.1"
        mica["load_assignment"]["endpoints"] = [{"lb_endpoints": [
            {"endpoint": {"address": address(int(p))}}]}]
        c["static_resources"]["clusters"] = [mica]
        self.config = c
        self.envoy = Envoy(envoy, folder, "orders", c, os.getpid() % 30000 + 7)

    def jwt_filter(self):
        """Verifies tokens that are there, and keeps their payload for the filters behind it."""
        self.idp = pki.key()
        jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.idp.public_key()))
        name = "envoy.filters.http.jwt_authn"
        return {"name": name, "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3."
                     "JwtAuthentication",
            "providers": {"idp": {
                "issuer": "https://idp.example.org", "payload_in_metadata": "payload",
                "local_jwks": {"inline_string": json.dumps({"keys": [dict(jwk, alg="ES256")]})}}},
            "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
                {"provider_name": "idp"}, {"allow_missing": {}}]}}}]}}

    def bearer(self, **claims):
        claims = dict({"iss": "https://idp.example.org", "exp": int(time.time()) + 600}, **claims)
        return "Authorization: Bearer " + jwt.encode(claims, self.idp, algorithm="ES256")

    def __enter__(self):
        def up():
            try:
                return self.get(self.files("probe"), "/")[0] in (200, 403)
            except OSError:
                return False

        self.probe = self.m.svid_files(self.issuer.token("web", "probe", "probe-1"), name="probe")
        wait_until("Envoy is there", up, timeout=30)
        return self

    def __exit__(self, kind, *unused):
        if kind:
            print(self.envoy.process.tail(15))
        self.envoy.process.kill()

    def files(self, name):
        return os.path.join(self.m.folder, name + ".pem"), os.path.join(self.m.folder, name + ".key")

    def connect(self, files, p):
        raw = socket.create_connection(("127.0.0.1", p), timeout=10 * SLOW)
        context = pki.client_context(ca_file=self.m.roots_file, cert=files)
        context.check_hostname = False  # SVIDs have no such name
        return context.wrap_socket(raw, server_hostname="orders.shop")

    def get(self, files, path, method="GET", headers=()):
        """Status and body; the request as it is, with nothing normalised here."""
        with self.connect(files, self.http) as s:
            lines = ["%s %s HTTP/1.1" % (method, path), "Host: orders.shop", "Connection: close"]
            s.sendall("\r\n".join([*lines, *headers, "", ""]).encode())
            answer = b""
            while True:
                part = s.recv(65536)
                if not part:
                    break
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def echo(self, files):
        """Whether a connection is let in: it says what it hears, or is closed."""
        try:
            with self.connect(files, self.tcp) as s:
                s.sendall(b"hello")
                return s.recv(5) == b"hello"
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return False


@pytest.fixture(scope="module")
def w(tmp_path_factory, envoy, issuer):
    from micad import Micad
    folder = tmp_path_factory.mktemp("envoy")
    over = {"grpc": {"listen": "127.0.0.1:0"}, "limits": {"requests_per_identity": 0}}
    with Micad(folder / "micad", [issuer.config("file")], over) as m:
        m.config["grpc"]["listen"] = m.ready["grpc"]
        for who in ("front", "other"):
            m.svid_files(issuer.token("web", who, who + "-1"), name=who)
        with World(envoy, folder, m, issuer) as world:
            yield world


def takes_effect(what, f):
    """A second or two."""
    wait_until(what, f, timeout=2)


@pytest.fixture(autouse=True)
def clean(w):
    ap.replace_policies(w.m, "")
    takes_effect("no policy", lambda: w.get(w.files("front"), "/")[0] == 200)


def test_http(w):
    front, other = w.files("front"), w.files("other")
    assert w.get(front, "/orders/1") == (200, b"hello")
    ap.replace_policies(w.m, policy("orders", "ALLOW", of("web/sa/front", methods=["GET"],
                                                          paths=["/orders/*"])))
    takes_effect("the policy", lambda: w.get(other, "/orders/1")[0] == 403)
    assert w.get(other, "/orders/1") == (403, b"denied: no_rule\n")
    assert w.get(front, "/orders/1?x=/../") == (200, b"hello")
    assert w.get(front, "/orders/1", method="POST")[0] == 403
    # Envoy normalises, and then both see the same
    assert w.get(front, "/orders/../admin") == (403, b"denied: no_rule\n")
    assert w.get(front, "/x/../orders//1") == (200, b"hello")
    assert w.get(front, "/x/%2e%2e/orders/1") == (200, b"hello")
    assert w.get(front, "/orders%2f1")[0] == 307
    assert w.get(front, "/order%73/1") == (200, b"hello")
    # what it leaves is denied
    assert w.get(front, "/orders/%7f") == (403, b"denied: path_ambiguous\n")
    assert w.get(front, "/orders/..;/1")[0] == 403
    # who asks how is in Envoy's own figures
    assert sum(w.envoy.stats("ext_authz.denied").values()) >= 4


def test_connections(w):
    front, other = w.files("front"), w.files("other")
    assert w.echo(front) and w.echo(other)
    ap.replace_policies(w.m, policy("orders", "ALLOW", of("web/sa/front")))
    takes_effect("the policy", lambda: not w.echo(other))
    assert w.echo(front)
    # of a connection nothing of HTTP is known: an ALLOW rule that asks for it lets nobody in
    ap.replace_policies(w.m, policy("orders", "ALLOW", of("web/sa/front", methods=["GET"])))
    takes_effect("the policy", lambda: not w.echo(front))


def test_who_is_meant(w):
    """The selector is fulfilled by the labels of Envoy's node; sni and port are known."""
    front = w.files("front")
    ap.replace_policies(w.m, policy("orders", "DENY", [{"when": [
        {"key": "connection.sni", "values": ["orders.shop"]},
        {"key": "destination.port", "values": [str(w.http)]},
        {"key": "source.ip", "values": ["127.0.0.1"]}]}]))
    takes_effect("the policy", lambda: w.get(front, "/")[0] == 403)
    # whatever a client says of itself
    assert w.get(front, "/", headers=["X-Forwarded-For: 10.9.9.9"]) == (403, b"denied: deny_rule\n")
    assert w.echo(front)
    ap.replace_policies(w.m, policy("orders", "DENY", [{}]).replace("app: orders", "app: x"))
    takes_effect("the policy", lambda: w.get(front, "/")[0] == 200)


def test_a_jwt(w):
    front = w.files("front")
    ap.replace_policies(w.m, policy("orders", "ALLOW", [{
        "from": [{"source": {"requestPrincipals": ["https://idp.example.org/me"]}}],
        "when": [{"key": "request.auth.claims[realm][roles]", "values": ["ops"]},
                 {"key": "request.auth.audiences", "values": ["shop"]}]}]))
    takes_effect("the policy", lambda: w.get(front, "/")[0] == 403)
    good = {"sub": "me", "aud": ["other", "shop"], "realm": {"roles": ["dev", "ops"]}}
    assert w.get(front, "/", headers=[w.bearer(**good)]) == (200, b"hello")
    for change in ({"sub": "you"}, {"aud": "other"}, {"realm": {"roles": ["dev"]}}, {"realm": "ops"}):
        assert w.get(front, "/", headers=[w.bearer(**dict(good, **change))]) == (
            403, b"denied: no_rule\n"), change
    # of a connection there is none
    assert not w.echo(front)


def test_a_revoked_certificate(w):
    key = pki.key()
    a = w.m.fetch(w.issuer.token("web", "front", "front-9"), key).ok(201).json()
    files = (pki.write(w.m.path("bad.pem"), a["certificate_chain"].encode(), 0o644),
             pki.write(w.m.path("bad.key"), pki.key_pem(key)))
    assert w.get(files, "/")[0] == 200 and w.echo(files)
    w.m.mica("certificate", "revoke", a["serial"])
    assert w.get(files, "/") == (403, b"denied: svid_revoked\n")
    assert not w.echo(files)
    assert w.get(w.files("front"), "/")[0] == 200


def test_a_dry_run_changes_nothing(w):
    front = w.files("front")

    def would_deny():
        doc = w.m.admin().get("/v1/authorize/dry-run").ok().json()
        return sum(p["would_deny"] for p in doc["dry_run"] if p["policy"] == "shop/shut")

    ap.replace_policies(w.m, policy("shut", "DENY", [{}], dry=True))
    takes_effect("the policy", lambda: w.get(front, "/")[0] == 200 and would_deny() > 0)
    before = would_deny()
    assert [w.get(front, "/")[0] for _ in range(5)] == [200] * 5
    assert would_deny() == before + 5
    ap.replace_policies(w.m, policy("shut", "DENY", [{}]))
    takes_effect("the policy", lambda: w.get(front, "/")[0] == 403)


def test_while_micad_does_not_run(w):
    """failure_mode_allow: false, as in the example: nobody is let in, and it is told from a denial."""
    front = w.files("front")
    assert w.get(front, "/")[0] == 200 and w.echo(front)
    w.m.kill()
    assert w.get(front, "/")[0] == 503
    assert not w.echo(front)
    w.m.start()
    wait_until("traffic flows again", lambda: w.get(front, "/")[0] == 200, timeout=15)
    wait_until("connections too", lambda: w.echo(front), timeout=15)
