# SPDX-License-Identifier: Apache-2.0
"""Linkerd's identity service: what its proxies ask for and get, each refusal in Linkerd's own codes,
and proxies that live through many refreshes and a new root without an error."""
import datetime
import ipaddress
import signal
import socket
import ssl
import time

import grpc
import pytest

from cryptography import x509

import entry
import linkerdproto as lp
import pki
import rpcecho
from micad import certificates
from proc import SLOW, wait_until

CODE = grpc.StatusCode
AUDIENCES = {"rest": ["mica"], "linkerd": [lp.AUDIENCE]}
OVER = {"grpc": {"listen": "127.0.0.1:0", "plaintext": "127.0.0.1:0"},
        "linkerd": {"trust_domain": lp.TD}}


def configured(issuer, source="file", **over):
    return issuer.config(source, audiences=AUDIENCES, **over)


@pytest.fixture(scope="module")
def m(tmp_path_factory, issuer):
    from micad import Micad
    over = dict(OVER, x509={"ttl": "1h"}, limits={"requests_per_identity": 0})
    with Micad(tmp_path_factory.mktemp("linkerd"), [configured(issuer)], over) as server:
        yield server


@pytest.fixture(scope="module")
def ch(m):
    with lp.channel(m) as c:
        yield c


def tok(issuer, *names, **claims):
    """As kubelet projects it for linkerd-proxy: a day of life."""
    claims.setdefault("ttl", 86400)
    claims.setdefault("audience", [lp.AUDIENCE])
    return issuer.token(*names, **claims)


def refused(code, reason, ch, q):
    with pytest.raises(grpc.RpcError) as e:
        lp.certify(ch, q)
    assert e.value.code() == code, (e.value.code(), e.value.details())
    assert lp.reason(e.value) == reason, (lp.reason(e.value), e.value.details())
    assert e.value.details()
    return e.value


# ---- what a proxy gets ----------------------------------------------------------------------


@pytest.mark.smoke
def test_the_main_job(m, issuer, ch):
    key, token = pki.key(), tok(issuer)
    a = lp.certify(ch, lp.request(token, key=key))
    leaf = lp.accept(a, lp.identity(), key.public_key(), certificates(m.roots()))
    # peers know it by its first name; the SPIFFE ID stands behind it
    assert lp.names(leaf) == ["DNS:" + lp.identity(),
                              "URI:spiffe://example.org/ns/payments/sa/checkout"]
    assert len(a.intermediate_certificates) == 1
    # the root is not sent, and need not be
    roots = [r.public_bytes(pki.DER) for r in certificates(m.roots())]
    assert a.intermediate_certificates[0] not in roots
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.value.digital_signature and usage.critical
    # backdated by at most a minute, over in an hour
    now = datetime.datetime.utcnow()
    assert datetime.timedelta(0) <= now - leaf.not_valid_before < datetime.timedelta(seconds=75)
    end = (leaf.not_valid_after - datetime.datetime(1970, 1, 1)).total_seconds()
    assert abs(end - time.time() - 3600) < 15
    # asked for again between half of the life and 60 % of it
    wait = (a.valid_until.seconds - time.time()) * 0.7
    assert 1780 < wait < 2180 and a.valid_until.seconds < end
    # and on the record
    e = [x for x in m.admin().get("/v1/events?type=x509_issued&limit=20").ok().json()["events"]
         if x["serial"] == "%032x" % leaf.serial_number]
    assert len(e) == 1 and e[0]["evidence"]["front"] == "linkerd" and e[0]["outlet"] == "none"
    raw = entry.parse(m.receipt(e[0]["index"])[0])
    assert raw["certificate"] == a.leaf_certificate and raw["serviceaccount"] == "checkout"


def test_a_herd_is_spread(m, issuer, ch):
    """Proxies that were started together do not come back together: they have no jitter."""
    token = tok(issuer)
    until = {lp.certify(ch, lp.request(token)).valid_until.seconds for _ in range(24)}
    assert len(until) > 12 and max(until) - min(until) > 120


def test_an_equal_request_gets_the_same(m, issuer, ch):
    q = lp.request(tok(issuer))
    a, b = lp.certify(ch, q), lp.certify(ch, q)
    assert a == b
    q.token += b"\n"  # a file has a line end, and may have lost it
    assert lp.certify(ch, q) == a


def test_names_longer_than_x520_allows(m, issuer, ch):
    sa, ns = "s" * 63, "n" * 63
    name, key = lp.identity(sa, ns), pki.key()
    assert len(name) > 128
    a = lp.certify(ch, lp.request(tok(issuer, ns, sa, "p-1"), name, key))
    leaf = lp.accept(a, name, key.public_key(), certificates(m.roots()))
    assert lp.names(leaf)[0] == "DNS:" + name
    # the subject is not empty: over the Workload API a proxy refuses that
    assert leaf.subject.rfc4514_string() == "O=example.org"


def test_without_the_spiffe_id(start, issuer):
    m = start([configured(issuer)], dict(OVER, linkerd={"trust_domain": lp.TD, "spiffe": False,
                                                        "control_plane_namespace": "l5d"}))
    name, key = lp.identity(control="l5d"), pki.key()
    with lp.channel(m) as c:
        a = lp.certify(c, lp.request(tok(issuer), name, key))
    leaf = lp.accept(a, name, key.public_key(), certificates(m.roots()))
    assert lp.names(leaf) == ["DNS:" + name]
    # the ledger knows whose it is all the same
    found = m.admin().get("/v1/events?spiffe_id=spiffe://example.org/ns/payments/sa/checkout").ok()
    assert "%032x" % leaf.serial_number in [e["serial"] for e in found.json()["events"]]


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_ec_keys(m, issuer, ch, kind):
    key = pki.key(kind)
    a = lp.certify(ch, lp.request(tok(issuer), key=key))
    lp.accept(a, lp.identity(), key.public_key(), certificates(m.roots()))


def test_plaintext_on_loopback(m, issuer):
    """A proxy speaks so when its service is at localhost."""
    with lp.channel(m, listener="grpc_plaintext") as c:
        lp.certify(c, lp.request(tok(issuer)))


def test_the_server_is_who_proxies_look_for(m):
    """TLS 1.3, no ALPN, an EC key, and the name of Linkerd's service."""
    context = m.context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    host, port = m.ready["grpc"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), 5) as s:
        with context.wrap_socket(s, server_hostname=lp.SERVER_NAME) as t:
            assert t.selected_alpn_protocol() is None and t.version() == "TLSv1.3"
            cert = x509.load_der_x509_certificate(t.getpeercert(True))
    assert isinstance(cert.public_key(), pki.ec.EllipticCurvePublicKey)


# ---- Linkerd's table of refusals --------------------------------------------------------------


@pytest.mark.parametrize("field,reason,text", [
    ("identity", "identity_missing", "missing identity"),
    ("token", "token_missing", "missing token"),
    ("certificate_signing_request", "csr_empty", "missing certificate signing request")])
def test_what_is_missing(issuer, ch, field, reason, text):
    q = lp.request(tok(issuer))
    q.ClearField(field)
    e = refused(CODE.INVALID_ARGUMENT, reason, ch, q)
    assert text in e.details()


def test_a_token_of_white_space_is_none(issuer, ch):
    q = lp.request(tok(issuer))
    q.token = b"\r\n\n"
    refused(CODE.INVALID_ARGUMENT, "token_missing", ch, q)


def test_what_is_no_request(m, issuer, ch):
    name, token = lp.identity(), tok(issuer)
    good = lp.csr(pki.key(), name)
    pem = pki.csr(pki.key(), sans=[x509.DNSName(name)]).encode()
    for reason, octets in (("csr_malformed", b"x"), ("csr_malformed", pem),
                           ("csr_malformed", good[:-1]), ("csr_trailing_data", good + b"\0"),
                           ("csr_malformed", b"\x30\x80" + good), ("csr_too_large", b"\x30" * 20000)):
        q = lp.Request(identity=name, token=token.encode(), certificate_signing_request=octets)
        refused(CODE.INVALID_ARGUMENT, reason, ch, q)


def test_garbage(m):
    raw = lp.channel(m)
    with raw, pytest.raises(grpc.RpcError) as e:
        raw.unary_unary(lp.METHOD)(b"\x0a\xff", timeout=10)
    assert e.value.code() == CODE.INVALID_ARGUMENT and lp.reason(e.value) == "message_invalid"


DNS, URI = x509.DNSName, x509.UniformResourceIdentifier


@pytest.mark.parametrize("how", [
    {"sans": []},
    {"sans": [DNS("other." + lp.identity())]},
    {"sans": [DNS(lp.identity("cart"))]},
    {"sans": [DNS(lp.identity()), DNS(lp.identity("cart"))]},
    {"sans": [DNS(lp.identity()), DNS(lp.identity())]},
    {"sans": [DNS(lp.identity()), URI("spiffe://example.org/ns/payments/sa/checkout")]},
    {"sans": [URI("spiffe://example.org/ns/payments/sa/checkout")]},
    {"sans": [DNS(lp.identity()), x509.RFC822Name("a@b.example")]},
    {"sans": [DNS(lp.identity()), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]},
    {"cn": "other"},
    {"cn": lp.identity("cart")},
], ids=str)
def test_requests_for_something_else(issuer, ch, how):
    refused(CODE.FAILED_PRECONDITION, "csr_names_differ", ch, lp.request(tok(issuer), **how))


def test_no_common_name_is_fine(issuer, ch):
    lp.certify(ch, lp.request(tok(issuer), cn=None))


@pytest.mark.parametrize("case,reason", [
    ("garbage", "token_invalid"), ("signature", "token_invalid"), ("issuer", "token_invalid"),
    ("audience", "audience_mismatch"), ("rest", "audience_mismatch"), ("expired", "token_expired"),
    ("future", "token_not_yet_valid"), ("long", "lifetime_too_long"), ("no_pod", "pod_missing")])
def test_tokens_that_are_not_believed(issuer, ch, case, reason):
    good = tok(issuer)
    token = {"garbage": lambda: "not a token", "signature": lambda: good[:-8] + "AAAAAAAA",
             "issuer": lambda: tok(issuer, iss="https://other.example"),
             "audience": lambda: tok(issuer, audience=["other"]),
             "rest": lambda: issuer.token(), "expired": lambda: tok(issuer, ttl=-600),
             "future": lambda: tok(issuer, now=time.time() + 3600),
             "long": lambda: tok(issuer, ttl=86400 + 120),
             "no_pod": lambda: tok(issuer, "payments", "checkout", None)}[case]()
    e = refused(CODE.FAILED_PRECONDITION, reason, ch, lp.request(token))
    assert token not in e.details()
    if reason == "token_invalid":
        assert lp.AUDIENCE in e.details()


def test_the_token_of_linkerd_opens_no_other_door(m, issuer):
    m.fetch(tok(issuer, ttl=3600)).problem(401, "audience_mismatch")


@pytest.mark.parametrize("sa,ns", [("cart", "payments"), ("checkout", "shop"),
                                   ("checkout.payments", "x"), ("*", "payments")])
def test_another_name_than_the_token_has(issuer, ch, sa, ns):
    e = refused(CODE.FAILED_PRECONDITION, "identity_mismatch", ch,
                lp.request(tok(issuer), lp.identity(sa, ns)))
    assert "requested=" + lp.identity(sa, ns) in e.details()
    assert "found=" + lp.identity() in e.details()


@pytest.mark.parametrize("control,td", [("other", lp.TD), ("linkerd", "example.org")])
def test_another_control_plane(issuer, ch, control, td):
    refused(CODE.FAILED_PRECONDITION, "identity_mismatch", ch,
            lp.request(tok(issuer), lp.identity(control=control, td=td)))


def test_accounts_without_a_name(issuer, ch):
    """Kubernetes allows dots; Linkerd reads labels."""
    name = lp.identity("checkout.v2")
    refused(CODE.INVALID_ARGUMENT, "linkerd_name_invalid", ch,
            lp.request(tok(issuer, "payments", "checkout.v2", "p"), name))


@pytest.mark.parametrize("kind", ["rsa2048", "ed25519"])
def test_keys_that_are_not_ec(issuer, ch, kind):
    refused(CODE.INTERNAL, "key_type_not_allowed", ch,
            lp.request(tok(issuer), key=pki.key(kind)))


def test_somebody_elses_key(issuer, ch):
    """Linkerd itself does not look at the request's signature."""
    q = lp.request(tok(issuer))
    octets = bytearray(q.certificate_signing_request)
    octets[-5] ^= 1
    q.certificate_signing_request = bytes(octets)
    refused(CODE.INVALID_ARGUMENT, "csr_bad_signature", ch, q)


def test_micas_own_name(issuer, ch):
    refused(CODE.PERMISSION_DENIED, "name_not_allowed", ch,
            lp.request(tok(issuer, "linkerd", "linkerd-identity", "p"), lp.SERVER_NAME))


def test_the_deny_list(m, issuer, ch):
    name = lp.identity("bad")
    q = lp.request(tok(issuer, "payments", "bad", "bad-1"), name)
    lp.certify(ch, q)
    m.mica("deny", "add", "spiffe_id", "spiffe://example.org/ns/payments/sa/bad")
    refused(CODE.PERMISSION_DENIED, "denied_by_list", ch, q)


def test_nobody_to_sign(start, issuer):
    """"cert issuer not ready yet"."""
    m = start([configured(issuer)], dict(OVER, rotation={"issuing": {"automatic": False},
                                                         "root": {"automatic": False}}))
    ids = [a["id"] for a in m.admin().get("/v1/authorities").ok().json()["authorities"]
           if a["kind"] == "issuing"]
    for i in ids:
        m.mica("authority", "taint", i)
    with lp.channel(m) as c:
        e = refused(CODE.UNAVAILABLE, "no_active_authority", c, lp.request(tok(issuer)))
        assert e


def test_a_flood_of_bad_tokens(start, issuer):
    """The credential is in the message, so the address is judged behind it: who was good of late is
    served, whatever others at the same address do."""
    m = start([configured(issuer)], dict(OVER, limits={"failures_per_address": 40}))
    good, other = lp.request(tok(issuer)), lp.request(tok(issuer))
    bad, none = lp.request("not a token"), lp.request("")
    with lp.channel(m) as c:
        lp.certify(c, good)
        codes = []
        for _ in range(40):
            with pytest.raises(grpc.RpcError) as e:
                lp.certify(c, bad)
            codes.append(e.value.code())
        assert codes[0] == CODE.FAILED_PRECONDITION and codes[-1] == CODE.RESOURCE_EXHAUSTED
        assert 8 <= codes.count(CODE.FAILED_PRECONDITION) <= 14, codes
        for q in (bad, none, other):
            refused(CODE.RESOURCE_EXHAUSTED, "rate_limited", c, q)
        lp.certify(c, lp.Request(identity=good.identity, token=good.token,
                                 certificate_signing_request=lp.csr(pki.key(), good.identity)))


def test_reviews(start, tmp_path):
    from issuer import Issuer
    with Issuer(tmp_path / "issuer") as i:
        m = start([configured(i, review="always")], OVER)
        with lp.channel(m) as c:
            lp.certify(c, lp.request(tok(i)))
            i.gone.add(i.uid("pod", "payments", "gone-1"))
            refused(CODE.FAILED_PRECONDITION, "pod_gone", c,
                    lp.request(tok(i, "payments", "checkout", "gone-1")))
            i.review_status = 500
            refused(CODE.INTERNAL, "token_review_failed", c,
                    lp.request(tok(i, "payments", "checkout", "c-2")))


def test_an_answer_comes_in_bounded_time(start, tmp_path):
    """A proxy sets no deadline: a cluster that takes the question and says nothing must not strand
    it."""
    from issuer import Issuer
    with Issuer(tmp_path / "issuer") as i:
        config = configured(i, review="always")
        config["review"]["timeout"] = "2s"
        m = start([config], OVER)
        i.fault = "hang"
        p = lp.Proxy(m.ready["grpc"], lambda: tok(i).encode(), lp.identity(), m.roots().decode())
        begun = time.monotonic()
        with pytest.raises(lp.Refused) as e:
            p.attempt()
        assert "grpc-status 13" in str(e.value) and time.monotonic() - begun < 6 * SLOW
        i.fault = None
        wait_until("it is asked again", lambda: _works(p), timeout=15)


def _works(p):
    try:
        p.refresh()
        return True
    except lp.Refused:
        return False


def test_a_request_that_is_whole_after_the_end_began(start, issuer):
    """What was begun before SIGTERM may come whole behind it, when those who fetch keys and ask
    clusters have gone: it is answered all the same, and nothing breaks."""
    m = start([configured(issuer, review="always")], OVER)
    p = lp.Proxy(m.ready["grpc"], lambda: b"", lp.identity(), m.roots().decode())
    token = tok(issuer, header={"kid": "unknown"})
    peer = rpcecho.Peer(p.connect())
    bodies = [rpcecho.frame(lp.request(t).SerializeToString()) for t in (token, tok(issuer))]
    streams = [peer.headers(**{":path": lp.METHOD}) for _ in bodies]
    for s, b in zip(streams, bodies):
        peer.data(s, b[:20])
    wait_until("it has them", lambda: "mica_grpc_calls" in m.metrics().get("/metrics").body.decode())
    m.process.signal(signal.SIGTERM)
    time.sleep(1)
    for s, b in zip(streams, bodies):
        peer.data(s, b[20:], end=True)
    # python-h2 reads nothing behind a GOAWAY: by hand, frame by frame
    peer.s.settimeout(10 * SLOW)
    data, answered = b"", set()
    while answered != set(streams):
        more = peer.s.recv(65536)
        assert more, "the connection ended, answered: %s of %s" % (answered, streams)
        data += more
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            n, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
            if kind == rpcecho.HEADERS and flags & 1:
                answered.add(int.from_bytes(data[5:9], "big"))
            data = data[9 + n:]
    peer.close()


# ---- lives ------------------------------------------------------------------------------------


def test_certificates_that_are_over_hurt_nobody(start, issuer, tmp_path):
    """After an outage a proxy comes back with what it has."""
    # that of micad lives as long: it must have the time to renew it, on a busy machine too
    m = start([configured(issuer)], dict(OVER, x509={"ttl": 6, "max_ttl": 60, "min_ttl": 1}))
    p = lp.Proxy(m.ready["grpc"], lambda: tok(issuer).encode(), lp.identity(), m.roots().decode())
    p.refresh()
    wait_until("it is over", lambda: p.leaf.not_valid_after < datetime.datetime.utcnow(), 10)
    p.refresh()
    # nor does one that was never ours
    cert, key = pki.Ca().server("someone")
    p.files = (pki.write(tmp_path / "c.pem", cert), pki.write(tmp_path / "k.pem", key))
    p.refresh()
    assert p.refreshes == 3 and p.errors == []


LIVES = {"x509": {"ttl": 5, "max_ttl": 6, "min_ttl": 1},
         "bundle": {"refresh_hint": 1},
         "authorities": {"root_life": "1d", "issuing_life": 25, "jwt_life": "1d"},
         "rotation": {"root": {"automatic": False}, "standby": False},
         "limits": {"requests_per_identity": 0}}


def proxies(m, issuer, anchors, n, prefix):
    out = []
    for i in range(n):
        sa = "%s-%d" % (prefix, i)
        out.append(lp.Proxy(m.ready["grpc"], lambda sa=sa: tok(issuer, "life", sa, sa).encode(),
                            lp.identity(sa, "life"), anchors, min_refresh=0.3,
                            connect_timeout=5 * SLOW))
    for p in out:
        p.start()
    return out


def test_many_refreshes_and_a_new_root(start, issuer):
    """Proxies have their anchors from their start and nothing else: a new root is published, all are
    started again with both, that is confirmed, and only then does it sign. Nobody sees an error."""
    m = start([configured(issuer)], dict(OVER, **LIVES))

    def bundle():  # through the socket: the test has no anchors of its own to keep
        return m.admin().get("/v1/bundle.pem").ok().body.decode()

    old = bundle()
    first = proxies(m, issuer, old, 6, "first")
    wait_until("everybody has renewed", lambda: all(p.refreshes >= 3 for p in first), 30)
    m.mica("rotation", "start", "root")
    both = bundle()
    assert len(certificates(both)) == 2 and len(certificates(old)) == 1
    # without a confirmation it waits
    time.sleep(6)
    assert not any(p.errors for p in first), first[0].errors
    second = proxies(m, issuer, both, 6, "second")  # the same pods, started again
    for p in first:
        p.stop()
    control = proxies(m, issuer, old, 1, "forgotten")[0]
    wait_until("they are up", lambda: all(p.refreshes >= 1 for p in second), 15)
    m.mica("rotation", "confirm", "linkerd")
    roots = certificates(both)
    new = [r for r in roots if r.public_bytes(pki.DER) != certificates(old)[0].public_bytes(pki.DER)]

    def signed_by_new(p):
        return any(x509.load_der_x509_certificate(i).issuer == new[0].subject for i in p.issuers)

    wait_until("the new root signs", lambda: all(map(signed_by_new, second)), 60)
    wait_until("the old root is gone",
               lambda: [c.subject for c in certificates(bundle())] == [new[0].subject], 60)
    count = [p.refreshes for p in second]
    seen = len({i for p in second for i in p.issuers})
    wait_until("they go on under it, and under its next issuing authority",
               lambda: all(p.refreshes >= c + 5 for p, c in zip(second, count)) and
               len({i for p in second for i in p.issuers}) > seen, 60)
    for p in second:
        p.stop()
    control.stop()
    assert not any(p.errors for p in first + second), [p.errors for p in first + second]
    # who was not started again is the one that fails: the rest of this test could, too
    assert control.errors
    # nobody was ever near the end: half of the life is left when the next one comes
    spare = [s for p in first + second for s in p.spare]
    assert len(spare) > 60 and min(spare) > 0.3, (len(spare), min(spare))
    total = sum(p.refreshes for p in first + second)
    assert total > 80, total


def test_after_an_outage_they_come_back(start, issuer):
    """micad is away for longer than certificates last; proxies try again at their pace, and each of
    them has a good one soon after."""
    m = start([configured(issuer)], dict(OVER, x509={"ttl": 3, "max_ttl": 60, "min_ttl": 1},
                                         limits={"requests_per_identity": 0}))
    all_ = proxies(m, issuer, m.roots().decode(), 4, "outage")
    wait_until("everybody has one", lambda: all(p.refreshes >= 1 for p in all_), 15)
    port = m.ready["grpc"]
    assert m.stop() == 0
    time.sleep(4)
    m.config["grpc"]["listen"] = port
    m.start()
    before = [(p.refreshes, len(p.errors)) for p in all_]
    wait_until("everybody has one again",
               lambda: all(p.refreshes > b[0] for p, b in zip(all_, before)), 15)
    assert all(b[1] for b in before), "the outage was none"
    errors = [len(p.errors) for p in all_]
    time.sleep(3)
    assert [len(p.errors) for p in all_] == errors
    for p in all_:
        p.stop()
