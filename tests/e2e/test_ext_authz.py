# SPDX-License-Identifier: Apache-2.0
"""Who may talk to whom, asked over Envoy's protocol by grpcio, and over REST: verdicts, who the peer is,
what cannot be read in one way only, who may ask."""
import datetime

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

import authzproto as ap
import pki
from micad import certificates
from proc import wait_until

TD = "spiffe://example.org/ns/"
FRONT = TD + "web/sa/front"
CODE = grpc.StatusCode
OVER = {"grpc": {"listen": "127.0.0.1:0", "plaintext": "127.0.0.1:0"},
        "limits": {"requests_per_identity": 0}}

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
  - from: [{source: {principals: [example.org/ns/web/sa/front]}}]
    to: [{operation: {methods: [GET], paths: [/orders/*]}}]
  - from: [{source: {namespaces: [batch]}}]
  - to: [{operation: {paths: [/login]}}]
    when: [{key: "request.auth.claims[role]", values: [admin]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-secrets, namespace: shop}
spec:
  action: DENY
  rules:
  - to: [{operation: {paths: [/orders/secret*]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-night, namespace: shop, annotations: {istio.io/dry-run: "true"}}
spec:
  action: DENY
  rules:
  - when: [{key: "request.headers[x-time]", values: [night]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: look, namespace: shop}
spec:
  action: AUDIT
  rules:
  - to: [{operation: {methods: [DELETE]}}]
"""


@pytest.fixture(scope="module")
def m(tmp_path_factory, issuer):
    from micad import Micad
    folder = tmp_path_factory.mktemp("authz")
    over = dict(OVER, grpc=dict(OVER["grpc"], socket=str(folder / "s")))
    over["policies"] = {"trust_domain_aliases": ["old.example"]}
    over["roles"] = {"auditors": [TD + "ops/sa/audit"]}
    with Micad(folder, [issuer.config("file")], over) as server:
        ap.put_policies(server, POLICIES)
        yield server


@pytest.fixture(scope="module", params=["grpc_socket", "grpc_plaintext"])
def ch(request, m):
    with ap.channel(m, listener=request.param) as c:
        yield c


@pytest.fixture(scope="module")
def socket(m):
    with ap.channel(m, listener="grpc_socket") as c:
        yield c


def orders(principal="", **how):
    return ap.request(principal, label__app="orders", **how)


# ---- verdicts --------------------------------------------------------------------------------


@pytest.mark.smoke
def test_http_requests(ch):
    a = ap.allowed(ap.check(ch, orders(FRONT, method="GET", path="/orders/17?x=//..")), "allow_rule")
    assert a.dynamic_metadata["policy"] == "shop/orders" and a.dynamic_metadata["rule"] == "1"
    ap.denied(ap.check(ch, orders(FRONT, method="POST", path="/orders/17")), "no_rule")
    ap.denied(ap.check(ch, orders(TD + "web/sa/other", method="GET", path="/orders/1")), "no_rule")
    ap.denied(ap.check(ch, orders("", method="GET", path="/orders/1")), "no_rule")
    a = ap.denied(ap.check(ch, orders(FRONT, method="GET", path="/orders/secret")), "deny_rule")
    assert a.dynamic_metadata["policy"] == "shop/no-secrets"
    # no policy allows what is not selected, and none denies it
    ap.allowed(ap.check(ch, ap.request(FRONT, method="POST", path="/")), "no_allow_policy")
    ap.allowed(ap.check(ch, ap.request(FRONT, workload=TD + "x/sa/y", method="GET")),
               "no_allow_policy")


def test_connections(ch):
    # what DENY asks of HTTP alone is not looked at, and denies
    ap.denied(ap.check(ch, orders(TD + "batch/sa/night")), "deny_rule")
    ap.allowed(ap.check(ch, ap.request(TD + "batch/sa/night", namespace="other")),
               "no_allow_policy")


def test_a_jwt(ch):
    claims = {"iss": "https://idp", "sub": "me", "role": ["user", "admin"], "level": 7}
    ap.allowed(ap.check(ch, orders(method="POST", path="/login", jwt=claims)), "allow_rule")
    claims["role"] = "user"
    ap.denied(ap.check(ch, orders(method="POST", path="/login", jwt=claims)), "no_rule")


def test_the_audited_and_the_dry_run(m, ch):
    def changes():
        shadow = m.admin().get("/v1/authorize/dry-run").ok().json()
        return {p["policy"]: p["would_deny"] for p in shadow["dry_run"]}

    before = changes().get("shop/no-night", 0)
    q = orders(FRONT, method="GET", path="/orders/1", headers={"x-time": "night"})
    a = ap.allowed(ap.check(ch, q))
    assert a.dynamic_metadata["dry_run"] == "deny"
    assert a.dynamic_metadata["dry_run_policy"] == "shop/no-night"
    assert changes()["shop/no-night"] == before + 1
    text = m.metrics().get("/metrics").ok().body.decode()
    assert 'mica_policy_dry_run_changes_total{policy="shop/no-night",verdict="deny"} %d' % (
        before + 1) in text
    a = ap.denied(ap.check(ch, orders(FRONT, method="DELETE", path="/orders/1")), "no_rule")
    assert a.dynamic_metadata["audit"] == "shop/look"


def test_what_could_be_read_in_two_ways(ch):
    for path in ("/orders/../admin", "//orders/1", "/orders/%2e%2e/x", "/order%73/1", "/orders%2f1",
                 "/orders/..;/x", "/orders\\1", "orders"):
        ap.denied(ap.check(ch, orders(FRONT, method="GET", path=path)), "path_ambiguous")
    q = orders(FRONT, method="GET", path="/orders/1")
    for v in (b"a", b"b"):
        q.attributes.request.http.header_map.headers.add(key="X-Role", raw_value=v)
    ap.denied(ap.check(ch, q), "header_invalid")
    q = ap.request(FRONT, workload="", method="GET")
    ap.denied(ap.check(ch, q), "workload_unknown")
    q.attributes.context_extensions["mica.namespaces"] = "shop"
    ap.denied(ap.check(ch, q), "extension_unknown")


def test_what_is_no_question(ch):
    call = ch.unary_unary(ap.METHOD, response_deserializer=ap.Response.FromString)
    ap.denied(call(b"\x0a\x05abc", timeout=20), "message_invalid")
    ap.denied(call(b"", timeout=20), "workload_unknown")
    headers = {"x-%d" % i: "v" for i in range(200)}
    ap.denied(ap.check(ch, orders(FRONT, method="GET", headers=headers)), "request_too_large")
    # as long as Envoy lets requests be, and longer than anything is read
    ap.allowed(ap.check(ch, orders(FRONT, method="GET", path="/orders/1",
                                   headers={"x-long": "v" * 60000})), "allow_rule")
    with pytest.raises(grpc.RpcError) as e:
        ap.check(ch, orders(FRONT, method="GET", headers={"x-long": "v" * 300000}))
    assert e.value.code() == CODE.RESOURCE_EXHAUSTED


# ---- who the peer is ---------------------------------------------------------------------------


def svid(m, issuer, *names):
    key = pki.key()
    a = m.fetch(issuer.token(*names), key).ok(201).json()
    chain = a["certificate_chain"].encode()
    return a, certificates(chain)[0].public_bytes(pki.PEM), (chain, pki.key_pem(key))


def foreign(name):
    """An SVID that somebody else has made."""
    key = pki.key()
    now = datetime.datetime.utcnow()
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "example.org")])
    b = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(),
                                now - datetime.timedelta(hours=1),
                                now + datetime.timedelta(hours=1))
    for e, critical in (
            (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)]), False),
            (x509.BasicConstraints(False, None), True),
            (x509.KeyUsage(True, *[False] * 8), True)):
        b = b.add_extension(e, critical)
    return b.sign(key, hashes.SHA256()).public_bytes(pki.PEM)


def test_the_peers_certificate(m, issuer, socket):
    a, leaf, _ = svid(m, issuer, "web", "front", "front-1")
    q = orders(FRONT, method="GET", path="/orders/1", certificate=leaf)
    ap.allowed(ap.check(socket, q), "allow_rule")
    # whatever Envoy takes for its name
    q.attributes.source.principal = TD + "web/sa/other"
    ap.denied(ap.check(socket, q), "svid_mismatch")
    q.attributes.source.principal = ""
    ap.allowed(ap.check(socket, q), "allow_rule")
    m.mica("certificate", "revoke", a["serial"])
    ap.denied(ap.check(socket, q), "svid_revoked")
    ap.denied(ap.check(socket, q), "svid_revoked")
    _, other, _ = svid(m, issuer, "web", "front", "front-2")
    ap.allowed(ap.check(socket, orders(FRONT, method="GET", path="/orders/1", certificate=other)))
    # of another authority
    ap.denied(ap.check(socket, orders(FRONT, certificate=foreign(FRONT))), "svid_untrusted")
    ap.denied(ap.check(socket, orders(FRONT, certificate=b"-----BEGIN")), "svid_malformed")


def test_a_certificate_is_looked_at_once(m, issuer, socket):
    def verified():
        text = m.metrics().get("/metrics").ok().body.decode()
        return int(text.split("\nmica_policy_peers_verified_total ")[1].split()[0])

    _, leaf, _ = svid(m, issuer, "web", "front", "front-3")
    before = verified()
    for _ in range(20):
        ap.allowed(ap.check(socket, orders(FRONT, method="GET", path="/orders/1",
                                           certificate=leaf)))
    assert verified() == before + 1


def test_the_peers_name_alone(m, socket):
    q = orders("spiffe://evil.example/ns/web/sa/front", method="GET", path="/orders/1")
    ap.denied(ap.check(socket, q), "svid_wrong_trust_domain")
    ap.denied(ap.check(socket, orders("CN=front", method="GET")), "peer_not_spiffe")
    q = ap.request(TD + "denied/sa/x", method="GET")
    ap.allowed(ap.check(socket, q))
    m.admin().post("/v1/deny", {"kind": "spiffe_id", "value": TD + "denied/sa/x"}).ok(204)
    ap.denied(ap.check(socket, q), "denied_by_list")
    m.admin().request("DELETE", "/v1/deny", {"kind": "spiffe_id", "value": TD + "denied/sa/x"}).ok(204)
    ap.allowed(ap.check(socket, q))


# ---- who may ask -------------------------------------------------------------------------------


def test_over_tls_an_svid_asks_about_its_namespace(m, issuer):
    own = ap.request(FRONT, method="GET", namespace="ops")
    other = ap.request(FRONT, method="GET", namespace="shop")
    with ap.channel(m) as ch:
        with pytest.raises(grpc.RpcError) as e:
            ap.check(ch, own)
        assert e.value.code() == CODE.UNAUTHENTICATED
        assert ap.reason(e.value) == "credential_missing"
    a, _, cert = svid(m, issuer, "ops", "proxy", "proxy-1")
    with ap.channel(m, cert=cert) as ch:
        ap.allowed(ap.check(ch, own))
        ap.denied(ap.check(ch, other), "workload_not_yours")
        m.admin().post("/v1/deny", {"kind": "spiffe_id", "value": TD + "ops/sa/proxy"}).ok(204)
        with pytest.raises(grpc.RpcError) as e:
            ap.check(ch, own)
        assert e.value.code() == CODE.PERMISSION_DENIED and ap.reason(e.value) == "denied_by_list"
        m.admin().request("DELETE", "/v1/deny",
                          {"kind": "spiffe_id", "value": TD + "ops/sa/proxy"}).ok(204)
        ap.allowed(ap.check(ch, own))
        # seen on a connection that is open
        m.mica("certificate", "revoke", a["serial"])
        with pytest.raises(grpc.RpcError) as e:
            ap.check(ch, own)
        assert e.value.code() == CODE.UNAUTHENTICATED and ap.reason(e.value) == "svid_revoked"
    _, _, cert = svid(m, issuer, "ops", "audit", "audit-1")
    with ap.channel(m, cert=cert) as ch:
        ap.allowed(ap.check(ch, other))


# ---- REST ----------------------------------------------------------------------------------------


def ask(m, body, client=None, status=200, **how):
    return (client or m.admin()).post("/v1/authorize", body, **how).ok(status).json()


def test_rest_explains(m):
    body = {"workload": {"namespace": "shop", "labels": {"app": "orders"}}, "peer": FRONT,
            "method": "GET", "path": "/orders/1", "headers": {"X-Time": "night"},
            "port": 8080, "sourceIp": "10.0.0.1"}
    a = ask(m, body)
    assert a["allowed"] and a["why"] == "allow_rule"
    assert a["policy"] == "shop/orders" and a["rule"] == 1
    assert a["dryRun"] == {"allowed": False, "why": "deny_rule", "policy": "shop/no-night", "rule": 1}
    assert a["audited"] is False and a["channel"] == "live" and a["sequence"] > 0
    said = {(f["policy"], f.get("rule")): f for f in a["explanation"]}
    assert len(said) == 6 and said[("shop/orders", 1)]["matches"]
    assert said[("shop/no-night", 1)]["dryRun"] and said[("shop/no-night", 1)]["matches"]
    assert said[("shop/orders", 2)]["text"] == (
        "ALLOW shop/orders rule 2 does not match: from 1: namespaces: has none of \"batch\"")
    a = ask(m, dict(body, method="DELETE"))
    assert not a["allowed"] and a["why"] == "no_rule" and "policy" not in a
    assert a["audited"] and a["auditedBy"] == "shop/look"
    assert ask(m, {"workload": {"namespace": "elsewhere"}})["why"] == "no_allow_policy"
    canary = m.admin().post("/v1/authorize?channel=canary", body).ok().json()
    assert canary["channel"] == "canary"


def test_rest_is_strict(m):
    c = m.admin()
    for body, reason in (({}, "policy_missing_field"), ({"workload": {}}, "policy_missing_field"),
                         ({"workload": {"namespace": "a"}, "pear": "x"}, "policy_unknown_field"),
                         ({"workload": {"namespace": "a"}, "port": 0}, "policy_value"),
                         ({"workload": {"namespace": "a"}, "peer": "front"}, "policy_value")):
        p = c.post("/v1/authorize", body)
        assert p.status == 400, (body, p)
        assert p.json()["reason"] == reason, (body, p)
    c.request("POST", "/v1/authorize", "workload: {namespace: a}",
              **{"Content-Type": "application/json"}).problem(400, "json_syntax")
    c.post("/v1/authorize?channel=x", {"workload": {"namespace": "a"}}).problem(
        400, "bad_parameter")


def test_rest_who_may_ask(m, issuer):
    token = issuer.token("web", "front", "front-1")
    body = {"workload": {"namespace": "shop", "labels": {"app": "orders"}}, "peer": FRONT,
            "method": "GET", "path": "/orders/1"}
    # as the peer: the verdict alone
    a = ask(m, body, m.client(), token=token)
    assert set(a) == {"allowed", "dryRun", "channel", "sequence"} and a["allowed"] is True
    assert set(a["dryRun"]) == {"allowed"}
    m.client().post("/v1/authorize", dict(body, peer=TD + "web/sa/other"), token=token).problem(
        403, "workload_not_yours")
    # as the workload, all of it
    a = ask(m, body, m.client(), token=issuer.token("shop", "orders", "orders-1"))
    assert a["explanation"]
    m.client().post("/v1/authorize", body).problem(401, "credential_missing")
    m.client().get("/v1/authorize/dry-run", token=token).problem(403, "role_required")


# ---- channels, other names of the mesh ------------------------------------------------------------


def test_the_canary_channel(m, socket):
    text = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: early, namespace: channels}
spec: {}
"""
    ap.put_policies(m, text, channel="canary")
    live = ap.request(FRONT, workload=TD + "channels/sa/x", method="GET")
    canary = ap.request(FRONT, workload=TD + "channels/sa/x", method="GET", channel="canary")
    ap.denied(ap.check(socket, canary), "no_rule")
    ap.allowed(ap.check(socket, live), "no_allow_policy")
    body = {"workload": {"namespace": "channels"}}
    assert ask(m, body)["allowed"] is True
    assert m.admin().post("/v1/authorize?channel=canary", body).ok().json()["allowed"] is False
    ap.denied(ap.check(socket, ap.request(FRONT, method="GET", channel="other")),
              "extension_unknown")


def test_another_name_of_the_trust_domain(m, socket):
    q = orders("spiffe://old.example/ns/web/sa/front", method="GET", path="/orders/1")
    ap.allowed(ap.check(socket, q), "allow_rule")


# ---- afterwards ----------------------------------------------------------------------------------


def test_a_change_holds_at_once(m, socket):
    q = ap.request(FRONT, workload=TD + "late/sa/x", method="GET")
    ap.allowed(ap.check(socket, q), "no_allow_policy")
    ap.put_policies(m, "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
                       "metadata: {name: nothing, namespace: late}\nspec: {}\n")
    wait_until("the change", lambda: ap.check(socket, q).status.code == 7, timeout=2)
