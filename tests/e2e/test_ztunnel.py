# SPDX-License-Identifier: Apache-2.0
"""ztunnel asks for the pods beside it, on a real API server: what it gets, each refusal, and that
nothing is given away when the cluster says nothing."""
import datetime
import threading
import time

import grpc
import pytest

from cryptography import x509

import entry
import istioproto as ip
import kubeapi
import pki
from micad import TRUST_DOMAIN, certificates, signed_by
from proc import SLOW, wait_until

CODE = grpc.StatusCode
ZTUNNEL = ("istio-system", "ztunnel")


def spiffe(ns, sa, td=TRUST_DOMAIN):
    return "spiffe://%s/ns/%s/sa/%s" % (td, ns, sa)


def config(api, lister=None, **over):
    """As micad in the cluster has it."""
    def file(name, content):
        return pki.write(api.path(name), content.encode())

    c = {"name": "prod", "kind": "kubernetes", "issuer": api.issuer, "cluster": "prod",
         "keys": {"jwks_uri": api.url + "/openid/v1/jwks", "ca_file": api.ca_file,
                  "token_file": file("reviewer", api.reviewer())},
         "audiences": {"rest": ["mica"], "istio": ["istio-ca"]},
         "impersonation": {"accounts": ["istio-system/ztunnel"], "url": api.url,
                           "ca_file": api.ca_file,
                           "token_file": file("lister", lister or api.lister())}}
    c["impersonation"].update(over)
    return c


OVER = {"grpc": {"listen": "127.0.0.1:0"}, "limits": {"requests_per_identity": 0}}


@pytest.fixture(scope="module")
def m(tmp_path_factory, kube):
    from micad import Micad
    with Micad(tmp_path_factory.mktemp("ztunnel"), [config(kube)], OVER) as server:
        yield server


@pytest.fixture(scope="module")
def ch(m):
    with ip.channel(m) as c:
        yield c


class Node:
    """A node of its own for one test, with a ztunnel on it."""

    count = 0

    def __init__(self, api):
        Node.count += 1
        self.api = api
        self.name = "zt-node-%d" % Node.count
        self.agent = "ztunnel-%d" % Node.count
        self.uid = api.pod(*ZTUNNEL, self.agent, self.name)["metadata"]["uid"]
        self.token = self.fresh()

    def fresh(self, ttl=3600):
        return self.api.token(*ZTUNNEL, pod=self.agent, audiences=["istio-ca"], ttl=ttl)

    def pod(self, ns, sa, name, **how):
        return self.api.pod(ns, sa, name, self.name, **how)


@pytest.fixture
def node(kube):
    return Node(kube)


def ask(ch, token, identity, key=None, ttl=0):
    return ip.create(ch, ip.request(pki.csr(key or pki.key()), ttl, impersonated=identity), token)


def refused(code, reason, *call):
    with pytest.raises(grpc.RpcError) as e:
        ask(*call)
    assert e.value.code() == code, (e.value.code(), e.value.details())
    assert ip.reason(e.value) == reason, (ip.reason(e.value), e.value.details())
    return e.value


def no(reason, *call):
    return refused(CODE.UNAUTHENTICATED, reason, *call)


# ---- what it gets ---------------------------------------------------------------------------


def test_the_pod_beside_it(m, ch, node):
    pod = node.pod("payments", "checkout", "checkout-" + node.name)
    identity, key = spiffe("payments", "checkout"), pki.key()
    chain = ask(ch, node.token, identity, key)
    leaf = certificates(chain[0])[0]
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [n.value for n in san] == [identity]
    assert pki.spki(leaf.public_key()) == pki.spki(key.public_key())
    # the ledger: the pod is who, the token says why, and whose that was
    found = m.admin().get("/v1/events?pod_uid=" + pod["metadata"]["uid"]).ok().json()["events"]
    e = [e for e in found if e["serial"] == "%032x" % leaf.serial_number]
    assert len(e) == 1 and e[0]["spiffe_id"] == identity
    assert e[0]["principal"]["pod"] == pod["metadata"]["name"]
    assert e[0]["principal"]["node"] == node.name
    claims = kubeapi.claims(node.token)
    assert e[0]["evidence"]["id"] == claims["jti"] and e[0]["evidence"]["front"] == "istio"
    assert e[0]["evidence"]["asked_by"] == {
        "namespace": "istio-system", "service_account": "ztunnel", "pod": node.agent,
        "pod_uid": node.uid}
    raw = entry.parse(m.receipt(e[0]["index"])[0])
    assert raw["asker_pod_uid"] == node.uid and raw["serviceaccount"] == "checkout"
    assert "serviceaccount_uid" not in raw
    line = [x for x in m.events("x509_issued") if x["serial"] == e[0]["serial"]]
    assert line[0]["asked_by"] == node.agent and line[0]["pod"] == pod["metadata"]["name"]


def test_pods_that_are_about_to_start_or_end(ch, node, kube):
    """Pending from the API's view is what a pod is while its first packets already need mTLS."""
    node.pod("payments", "early", "early-1")
    for phase in ("Pending", "Running"):
        kube.phase("payments", "early-1", phase)
        ask(ch, node.token, spiffe("payments", "early"))
    kube.phase("payments", "early-1", "Succeeded")
    time.sleep(11)
    no("impersonation_not_here", ch, node.token, spiffe("payments", "early"))


def test_itself(ch, node):
    """As a workload, and as anybody who asks for no other identity."""
    ask(ch, node.token, spiffe(*ZTUNNEL))
    chain = ip.create(ch, ip.request(pki.csr(pki.key())), node.token)
    assert spiffe(*ZTUNNEL) in str(certificates(chain[0])[0].extensions)


# ---- each refusal ---------------------------------------------------------------------------


def test_accounts_that_are_not_trusted(ch, node, kube):
    node.pod("payments", "checkout", "checkout-" + node.name)
    for ns, sa in (("istio-system", "other"), ("payments", "ztunnel"), ("payments", "checkout")):
        name = "%s-%s-%s" % (ns, sa, node.name)
        kube.pod(ns, sa, name, node.name)
        token = kube.token(ns, sa, pod=name, audiences=["istio-ca"])
        no("impersonation_not_trusted", ch, token, spiffe("payments", "checkout"))


@pytest.mark.parametrize("identity,reason", [
    (spiffe("payments", "checkout", "example.com"), "impersonation_trust_domain"),
    (spiffe("payments", "checkout", "cluster.local"), "impersonation_trust_domain"),
    ("payments/checkout", "impersonation_bad_identity"),
    ("spiffe://example.org", "impersonation_bad_identity"),
    ("spiffe://example.org/ns/payments/sa/checkout/", "impersonation_bad_identity"),
    ("spiffe://example.org/ns/payments/sa/*", "impersonation_bad_identity"),
    ("spiffe://example.org/ns/payments/sa/checkout/x", "impersonation_name"),
    ("spiffe://example.org/mica/server", "impersonation_name"),
    ("x" * 3000, "impersonation_bad_identity")])
def test_identities_that_nobody_has(ch, node, identity, reason):
    node.pod("payments", "checkout", "checkout-" + node.name)
    no(reason, ch, node.token, identity)


def test_pods_elsewhere(ch, node, kube):
    """The point of it: an agent that was taken over has its own node's identities, no others."""
    other = Node(kube)
    other.pod("payments", "elsewhere", "elsewhere-1")
    node.pod("shop", "elsewhere", "elsewhere-2")  # the name alone is not the account
    no("impersonation_not_here", ch, node.token, spiffe("payments", "elsewhere"))
    no("impersonation_not_here", ch, node.token, spiffe("payments", "nobody"))
    ask(ch, other.token, spiffe("payments", "elsewhere"))


def test_an_agent_that_has_a_successor(ch, node, kube):
    node.pod("payments", "checkout", "checkout-" + node.name)
    identity = spiffe("payments", "checkout")
    ask(ch, node.token, identity)
    kube.delete_pod("istio-system", node.agent)
    wait_until("it is noticed", lambda: _gone(ch, node, identity, "impersonation_pod_gone"), 20)
    node.pod(*ZTUNNEL, node.agent)  # by the same name
    time.sleep(1.2)
    no("impersonation_pod_replaced", ch, node.token, identity)
    ask(ch, node.fresh(), identity)


def _gone(ch, node, identity, reason):
    try:
        ask(ch, node.token, identity)
        return False
    except grpc.RpcError as e:
        assert (e.code(), ip.reason(e)) == (CODE.UNAUTHENTICATED, reason)
        return True


def test_an_agent_that_has_ended(ch, node, kube):
    node.pod("payments", "checkout", "checkout-" + node.name)
    kube.phase("istio-system", node.agent, "Failed")
    no("impersonation_pod_ended", ch, node.token, spiffe("payments", "checkout"))


def test_a_token_of_no_pod(start, kube):
    m = start([config(kube)], OVER)
    with ip.channel(m) as c, pytest.raises(grpc.RpcError) as e:
        ask(c, kube.token(*ZTUNNEL, audiences=["istio-ca"]), spiffe("payments", "checkout"))
    assert ip.reason(e.value) == "pod_missing"


def test_nobody_is_trusted_by_default(start, kube, node):
    c = config(kube)
    del c["impersonation"]
    m = start([c], OVER)
    node.pod("payments", "checkout", "checkout-" + node.name)
    with ip.channel(m) as ch:
        no("impersonation_not_allowed", ch, node.token, spiffe("payments", "checkout"))


def test_the_deny_list(m, ch, node):
    pod = node.pod("payments", "denied", "denied-1")
    identity = spiffe("payments", "denied")
    ask(ch, node.token, identity)
    m.mica("deny", "add", "pod_uid", pod["metadata"]["uid"])
    refused(CODE.PERMISSION_DENIED, "denied_by_list", ch, node.token, identity)
    node.pod("payments", "denied", "denied-2")  # another one is no worse for it
    time.sleep(1.2)
    wait_until("it is seen", lambda: _works(ch, node, identity), 15)
    m.mica("deny", "add", "pod_uid", node.uid)
    refused(CODE.PERMISSION_DENIED, "denied_by_list", ch, node.token, identity)


def _works(ch, node, identity):
    try:
        return ask(ch, node.token, identity)
    except grpc.RpcError:
        return False


# ---- when, and how often, the cluster is asked --------------------------------------------------


def figures(m):
    """Counters of lists, from /metrics."""
    out = {}
    for line in m.metrics().get("/metrics").ok().body.decode().splitlines():
        if line.startswith("mica_node_pods_"):
            name, value = line.rsplit(" ", 1)
            out[name.split("{")[0]] = int(value)
    return out


def test_one_list_for_a_node(m, ch, node):
    for i in range(20):
        node.pod("crowd", "sa-%d" % i, "pod-%d" % i)
    before = figures(m)
    calls = [ip.method(ch).future(
        ip.request(pki.csr(pki.key()), impersonated=spiffe("crowd", "sa-%d" % (i % 20))),
        timeout=30, metadata=ip.bearer(node.token)) for i in range(60)]
    for c in calls:
        assert len(c.result().cert_chain) == 3
    after = figures(m)
    # whoever did not wait for it found it remembered; test_kube_pods holds them apart
    assert after["mica_node_pods_asked_total"] - before["mica_node_pods_asked_total"] == 1


def test_a_new_pod_is_seen_at_once(m, ch, node):
    node.pod("payments", "checkout", "checkout-" + node.name)
    ask(ch, node.token, spiffe("payments", "checkout"))
    node.pod("payments", "late", "late-1")
    time.sleep(1.1)  # lists are not asked for more often, whoever misses something
    ask(ch, node.token, spiffe("payments", "late"))
    # and a flood of questions for what is not there costs one list a second
    before, begun = figures(m)["mica_node_pods_asked_total"], time.monotonic()
    for i in range(80):
        no("impersonation_not_here", ch, node.token, spiffe("payments", "none-%d" % i))
    asked = figures(m)["mica_node_pods_asked_total"] - before
    assert asked <= (time.monotonic() - begun) + 1.5, asked


def test_large_pods(ch, node):
    """Thirty pods of 250 kB: more than one answer may hold."""
    for i in range(30):
        node.pod("large", "sa-%d" % i, "pod-%d" % i, annotations={"x/y": "z" * 250000})
    for i in (0, 14, 29):
        ask(ch, node.token, spiffe("large", "sa-%d" % i))
    no("impersonation_not_here", ch, node.token, spiffe("large", "sa-30"))


def test_without_the_right_to_list(start, kube, node):
    """Nothing is granted, the log says what is missing, and it works as soon as it is there."""
    m = start([config(kube, lister=kube.token("mica-system", "nobody", audiences=[kube.issuer]))],
              OVER)
    node.pod("payments", "checkout", "checkout-" + node.name)
    with ip.channel(m) as ch:
        e = refused(CODE.UNAVAILABLE, "pods_unavailable", ch, node.token,
                    spiffe("payments", "checkout"))
        assert kube.url not in e.details()
        line = m.events("node_pods_failing")[0]
        assert line["issuer"] == "prod" and line["reason"] == "http_status"
        assert "may we list pods?" in m.process.text()
        pki.write(kube.path("lister"), kube.lister().encode())
        wait_until("it works", lambda: _works(ch, node, spiffe("payments", "checkout")), 20)
        assert len(m.events("node_pods_recovered")) == 1


def test_while_the_cluster_is_down(start, tmp_path):
    """What is remembered counts for ten seconds, and then nothing does."""
    try:
        api = kubeapi.KubeApi(tmp_path / "kube")
    except kubeapi.Skip as why:
        pytest.skip(str(why))
    with api:
        m = start([config(api, timeout="2s")], OVER)
        node = Node(api)
        node.pod("payments", "checkout", "checkout-1")
        with ip.channel(m) as ch:
            ask(ch, node.token, spiffe("payments", "checkout"))
            api.stop_server()
            ask(ch, node.token, spiffe("payments", "checkout"))
            time.sleep(1.1)
            # who is not in it would have to be looked for
            refused(CODE.UNAVAILABLE, "pods_unavailable", ch, node.token,
                    spiffe("payments", "cart"))
            time.sleep(10)
            refused(CODE.UNAVAILABLE, "pods_unavailable", ch, node.token,
                    spiffe("payments", "checkout"))
            # who asks for itself is not concerned
            ip.create(ch, ip.request(pki.csr(pki.key())), node.token)
            api.start_server()
            wait_until("it works", lambda: _works(ch, node, spiffe("payments", "checkout")), 30)


# ---- its life -------------------------------------------------------------------------------


class Ztunnel:
    """src/identity/manager.rs of ztunnel: one connection for all; at most eight calls at a time; an
    identity is fetched again at the middle of its validity; after an error with growing pauses."""

    def __init__(self, m, node, identities):
        self.ch, self.node = ip.channel(m), node
        self.slots = threading.Semaphore(8)
        self.over = threading.Event()
        self.fetched, self.errors, self.begun = {i: [] for i in identities}, [], time.time()
        self.roots = None
        self.threads = [threading.Thread(target=self.keep, args=(i,), daemon=True)
                        for i in identities]
        for t in self.threads:
            t.start()

    def fetch(self, identity):
        key = pki.key()
        with self.slots:
            chain = ask(self.ch, self.node.token, identity, key, 86400)
        # src/identity/caclient.rs: the first is the leaf, each one between is one certificate, the
        # last is the store of roots
        assert len(chain) >= 2
        one = [certificates(c) for c in chain[:-1]]
        assert all(len(c) == 1 for c in one)
        leaf, issuer, roots = one[0][0], one[-1][0], certificates(chain[-1])
        assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value \
            .get_values_for_type(x509.UniformResourceIdentifier)[0] == identity
        assert pki.spki(leaf.public_key()) == pki.spki(key.public_key())
        signed_by(leaf, issuer)
        signed_by(issuer, [r for r in roots if r.subject == issuer.issuer][0])
        return leaf

    def keep(self, identity):
        pause = 0.5
        while not self.over.is_set():
            try:
                leaf = self.fetch(identity)
            except Exception as e:  # pylint: disable=broad-except
                self.errors.append("%s: %r" % (identity, e))
                self.over.wait(pause)
                pause = min(pause * 2, 150)
                continue
            pause = 0.5
            self.fetched[identity].append(time.time())
            middle = leaf.not_valid_before + (leaf.not_valid_after - leaf.not_valid_before) / 2
            self.over.wait(max(0, (middle - datetime.datetime.utcnow()).total_seconds()))

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join(30)
        self.ch.close()


def test_many_renewals(start, kube, node):
    """A short life, and issuing authorities that change: no error, and no frenzy. (Backdating as long
    as the life makes ztunnel renew without a pause.)"""
    m = start([config(kube)], dict(OVER, x509={"ttl": 6, "max_ttl": 6, "min_ttl": 1},
                                   bundle={"refresh_hint": 1},
                                   authorities={"root_life": "1d", "issuing_life": 25,
                                                "jwt_life": "1d"}))
    identities = [spiffe("renew", "sa-%d" % i) for i in range(12)]
    for i in range(12):
        node.pod("renew", "sa-%d" % i, "pod-%d" % i)
    z = Ztunnel(m, node, identities)
    time.sleep(32)
    z.stop()
    assert z.errors == []
    seconds = time.time() - z.begun
    counts = [len(f) for f in z.fetched.values()]
    # every 2.7 s: the middle of a life of 6 s that began 0.6 s ago
    assert min(counts) >= seconds / 4 / SLOW and max(counts) <= seconds / 2 + 2, counts
    # what it asks of the cluster does not grow with that
    assert figures(m)["mica_node_pods_asked_total"] <= seconds / 10 + 2
