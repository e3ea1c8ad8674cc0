# SPDX-License-Identifier: Apache-2.0
"""Linkerd's proxies ask micad for their policy: who may ask, what they get, and that a change comes
over the open stream. The other side is gRPC's C core and Google's protobuf."""
import json
import queue
import re
import threading
import time

import grpc
import pytest

import linkerdpolicy as policy
import linkerdproto as lp
import pki
from linkerd_eval import Linkerd, Request
from micad import Micad
from proc import SLOW, wait_until

CODE = grpc.StatusCode
TD = "example.org"
AUDIENCES = {"rest": ["mica"], "linkerd": [lp.AUDIENCE]}
WORKLOADS = [{"namespace": "payments", "serviceaccount": "checkout", "labels": ["app=checkout", "tier=web"]},
             {"namespace": "shop", "labels": []}]
OVER = {"trust_domain": TD, "grpc": {"listen": "127.0.0.1:0", "plaintext": "127.0.0.1:0"},
        "linkerd": {"trust_domain": lp.TD, "workloads": WORKLOADS},
        "limits": {"requests_per_identity": 0}}
WORKLOAD = '{"ns":"payments", "pod":"checkout-1"}'
FRONT = "front.web.serviceaccount.identity.linkerd." + lp.TD


def document(name, spec, ns="payments"):
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": ns}, "spec": spec}


@pytest.fixture(scope="module")
def m(tmp_path_factory, issuer):
    with Micad(tmp_path_factory.mktemp("l5d-policy"), [issuer.config("file", audiences=AUDIENCES)], OVER) as server:
        yield server


@pytest.fixture(scope="module")
def ch(m):
    with lp.channel(m) as c:
        yield c


def tok(issuer, *names, **claims):
    return issuer.token(*names, audience=[lp.AUDIENCE], ttl=86400, **claims)


def get(ch, token, workload=WORKLOAD, port=8080):
    call = ch.unary_unary("/%s/GetPort" % policy.SERVICE, request_serializer=policy.PortSpec.SerializeToString)
    return policy.Policy(call(policy.PortSpec(workload=workload, port=port), timeout=20,
                              metadata=lp.istioproto.bearer(token)))


def refused(code, reason, *args, **how):
    with pytest.raises(grpc.RpcError) as e:
        get(*args, **how)
    assert (e.value.code(), lp.reason(e.value)) == (code, reason), e.value.details()
    assert e.value.details()
    return e.value


class Watch:
    """A stream whose messages come into a queue."""

    def __init__(self, ch, token, workload=WORKLOAD, port=8080):
        call = ch.unary_stream("/%s/WatchPort" % policy.SERVICE,
                               request_serializer=policy.PortSpec.SerializeToString)
        self.call = call(policy.PortSpec(workload=workload, port=port), metadata=lp.istioproto.bearer(token))
        self.q, self.error = queue.Queue(), None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            for octets in self.call:
                self.q.put(policy.Policy(octets))
        except grpc.RpcError as e:
            self.error = e

    def next(self, timeout=10):
        return self.q.get(timeout=timeout * SLOW)

    def quiet(self, seconds=0.5):
        time.sleep(seconds)
        return self.q.empty()

    def end(self):
        self.call.cancel()
        self.thread.join(10 * SLOW)
        assert not self.thread.is_alive()


def watched(m):
    text = m.metrics().get("/metrics").ok().body.decode()
    return int(re.search(r"^mica_linkerd_ports_watched (\d+)$", text, re.M)[1])


def ask(p, identity=None, ip="10.0.0.9", method="GET", path="/", port=8080):
    return p.allows(Request("payments", {}, port, ip, identity, method, path))


@pytest.fixture
def put(m):
    """Puts policies that the end of the test takes away."""
    names = []

    def go(name, spec, ns="payments"):
        names.append((ns, name))
        m.admin().request("PUT", "/v1/policies/%s/%s" % (ns, name), document(name, spec, ns)).ok()

    yield go
    for ns, name in set(names):
        m.admin().request("DELETE", "/v1/policies/%s/%s" % (ns, name))


def principals(*accounts):
    return {"rules": [{"from": [{"source": {"principals": [
        "%s/ns/%s/sa/%s" % (TD, *a.split("/")) for a in accounts]}}]}]}


@pytest.mark.smoke
def test_without_policies_everybody_is_let_in(ch, issuer):
    p = get(ch, tok(issuer))
    assert ask(p) and ask(p, FRONT) and ask(p, "spiffe://other.org/x", method=None)


def test_both_forms_of_a_workload(ch, issuer):
    assert ask(get(ch, tok(issuer), "payments:checkout-1"))
    assert ask(get(ch, tok(issuer), '{"pod":"checkout-1","ns":"payments","more":[1]}'))


def test_a_pod_asks_about_itself(ch, issuer):
    t = tok(issuer)
    refused(CODE.PERMISSION_DENIED, "workload_not_yours", ch, t, "payments:other-1")
    refused(CODE.PERMISSION_DENIED, "workload_not_yours", ch, t, "shop:checkout-1")
    refused(CODE.UNAUTHENTICATED, "credential_missing", ch, None)
    refused(CODE.UNAUTHENTICATED, "token_invalid", ch, t[:-4] + "AAAA")
    # the audience of another door
    refused(CODE.UNAUTHENTICATED, "audience_mismatch", ch, issuer.token())


@pytest.mark.parametrize("workload,port,reason", [
    ("", 80, "workload_invalid"), ("payments", 80, "workload_invalid"), ("a:b:c", 80, "workload_invalid"),
    ("{", 80, "workload_invalid"), ('{"ns":"payments"}', 80, "workload_invalid"),
    ('{"ns":"payments","pod":"x/y"}', 80, "workload_invalid"), ("p" * 2000, 80, "workload_invalid"),
    ('{"ns":"payments","external_workload":"vm"}', 80, "workload_external"),
    (WORKLOAD, 0, "port_invalid"), (WORKLOAD, 65536, "port_invalid")])
def test_what_is_no_question(ch, issuer, workload, port, reason):
    refused(CODE.INVALID_ARGUMENT, reason, ch, tok(issuer), workload, port)


def test_labels_are_not_guessed(ch, issuer):
    """Of a pod without known labels other policies would count."""
    e = refused(CODE.UNAVAILABLE, "labels_unknown", ch, tok(issuer, "payments", "ledger", "ledger-1"),
                "payments:ledger-1")
    assert "linkerd.workloads" in e.details()
    assert ask(get(ch, tok(issuer, "shop", "any", "any-1"), "shop:any-1"))


def test_a_certificate_says_who_asks(m, issuer):
    key = pki.key()
    with lp.channel(m) as c:
        a = lp.certify(c, lp.request(tok(issuer), key=key))
    chain = b"".join(lp.x509.load_der_x509_certificate(x).public_bytes(pki.PEM)
                     for x in [a.leaf_certificate, *a.intermediate_certificates])
    with lp.channel(m, cert=(chain, pki.key_pem(key))) as c:
        assert ask(get(c, None))
        refused(CODE.PERMISSION_DENIED, "workload_not_yours", c, None, "payments:checkout-2")


def test_a_stream_stays_open_and_is_counted(m, ch, issuer):
    w = Watch(ch, tok(issuer))
    assert ask(w.next())
    assert w.quiet()
    w.end()
    # the next one is served as well, and many at a time
    some = [Watch(ch, tok(issuer), port=8000 + i) for i in range(50)]
    assert all(ask(x.next()) for x in some)
    assert watched(m) == 50
    for x in some:
        x.end()
    wait_until("nobody watches", lambda: watched(m) == 0)


def test_one_pod_does_not_take_all(m, issuer):
    """On two connections, since one has 256 streams at most."""
    with lp.channel(m) as one, lp.channel(m) as two:
        some = [Watch(one if i % 2 else two, tok(issuer), port=1000 + i) for i in range(256)]
        for x in some:
            x.next()
        more = Watch(two, tok(issuer), port=9999)
        wait_until("it is refused", lambda: more.error)
        assert (more.error.code(), lp.reason(more.error)) == (CODE.RESOURCE_EXHAUSTED, "too_many_watchers")
        assert ask(get(one, tok(issuer, "shop", "any", "any-1"), "shop:any-1"))
        for x in some:
            x.end()


def test_a_change_comes_over_the_stream(ch, issuer, put):
    front, back = FRONT, FRONT.replace("front", "back")
    w, other = Watch(ch, tok(issuer)), Watch(ch, tok(issuer, "shop", "any", "any-1"), "shop:any-1")
    assert ask(w.next(), back) and ask(other.next(), back)
    put("a", principals("web/front"))
    p = w.next(2)
    assert ask(p, front) and ask(p, front, method=None)
    assert not ask(p, back) and not ask(p) and not ask(p, "spiffe://other.org/x")
    put("a", principals("web/back"))
    p = w.next(2)
    assert ask(p, back) and not ask(p, front)
    # what changes nothing for a port is not sent
    put("b", {"rules": [{"to": [{"operation": {"ports": ["9999"]}}]}]})
    put("c", principals("web/front"), "elsewhere")
    assert w.quiet() and other.quiet()
    put("d", {"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["DELETE"], "paths": ["/x/*"]}}]}]})
    p = w.next(2)
    assert ask(p, back, method="DELETE") and ask(p, back, path="/x/1")
    assert not ask(p, back, method="DELETE", path="/x/1")
    assert not ask(p, back, method=None)  # what is not HTTP is denied, as in the engine
    assert ask(get(ch, tok(issuer)), back)
    w.end()
    other.end()


def test_the_same_as_objects_over_rest(m, issuer, put):
    """With the names of this mesh, for the ports that are asked for; the message of one port as well."""
    put("a", principals("web/front"))
    path = "/v1/policies/compiled?target=linkerd&workload=payments/app=checkout"
    c = m.admin()
    o = Linkerd(json.loads(c.get(path + "&form=json&port=8080,9090").ok().body)["items"])
    octets = c.get(path + "&form=protobuf&port=8080").ok().body
    for identity, allowed in ((FRONT, True), ("spiffe://%s/ns/web/sa/front" % TD, True), (None, False)):
        for port in (8080, 9090):
            assert o.allows(Request("payments", {"app": "checkout"}, port, "10.0.0.9", identity)) == allowed
        assert ask(policy.Policy(octets), identity) == allowed
    assert json.loads(c.get(path + "&form=json").ok().body)["items"] == []
    for bad in ("0", "65536", "x", "80,", ",".join(["80"] * 65)):
        c.get(path + "&port=" + bad).problem(400, "bad_parameter")


def test_labels_select(ch, issuer, put):
    """As configured for the account; the policy of another label is somebody else's."""
    put("nobody", {"selector": {"matchLabels": {"app": "ledger"}}, "rules": []})
    assert ask(get(ch, tok(issuer)), FRONT)
    put("some", dict(principals("web/front"), selector={"matchLabels": {"app": "checkout", "tier": "web"}}))
    p = get(ch, tok(issuer))
    assert ask(p, FRONT) and not ask(p)


def test_many_streams_change_at_once(ch, issuer, put):
    some = [Watch(ch, tok(issuer), port=7000 + i) for i in range(200)]
    assert all(ask(x.next()) for x in some)
    began = time.monotonic()
    put("a", principals("web/front"))
    assert not any(ask(x.next(5)) for x in some)
    assert time.monotonic() - began < 3 * SLOW
    for x in some:
        x.end()


def test_labels_of_the_cluster(start, kube):
    """A real API server says which labels the pod has; nothing is configured."""
    c = {"name": "prod", "kind": "kubernetes", "issuer": kube.issuer, "cluster": "prod",
         "keys": {"jwks_uri": kube.url + "/openid/v1/jwks", "ca_file": kube.ca_file,
                  "token_file": pki.write(kube.path("l5d-reviewer"), kube.reviewer().encode())},
         "audiences": AUDIENCES,
         "impersonation": {"accounts": ["istio-system/ztunnel"], "url": kube.url, "ca_file": kube.ca_file,
                           "token_file": pki.write(kube.path("l5d-lister"), kube.lister().encode())}}
    over = dict(OVER, linkerd={"trust_domain": lp.TD})
    m = start([c], over)
    for name, app in (("pay-1", "pay"), ("book-1", "book")):
        kube.pod("payments", "checkout", name, "l5d-node", labels={"app": app})
    m.admin().request("PUT", "/v1/policies/payments/pay", document("pay", dict(
        principals("web/front"), selector={"matchLabels": {"app": "pay"}}))).ok()
    with lp.channel(m) as c:
        for name, open_to_all in (("pay-1", False), ("book-1", True)):
            token = kube.token("payments", "checkout", pod=name, audiences=[lp.AUDIENCE])
            p = get(c, token, "payments:" + name)
            assert ask(p, FRONT) and ask(p) == open_to_all


def test_the_end_of_micad_ends_streams(start, issuer):
    m = start([issuer.config("file", audiences=AUDIENCES)], OVER)
    with lp.channel(m) as c:
        w = Watch(c, tok(issuer))
        w.next()
        assert m.stop() == 0
        wait_until("the stream ends", lambda: w.error)
        assert w.error.code() == CODE.UNAVAILABLE
