# SPDX-License-Identifier: Apache-2.0
"""Istio's certificate service of the real micad: every case of its protocol, by gRPC's C core and
Google's protobuf on the other side. docs/ISTIO.md has the table."""
import base64
import datetime
import json
import ssl
import threading
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

import istioproto as ip
import pki
import proc
from issuer import Issuer
from micad import certificates, spiffe_id, verify_chain

ISTIO = ["istio-ca"]
CODE = grpc.StatusCode
HOUR = 3600
AUDIENCES = {"rest": ["mica"], "istio": ISTIO}
GRPC = {"listen": "127.0.0.1:0", "plaintext": "127.0.0.1:0",
        "dns_names": ["istiod.istio-system.svc", "istiod-canary.istio-system.svc"]}


def configured(issuer, source="uri", **over):
    return issuer.config(source, audiences=AUDIENCES, **over)


@pytest.fixture(scope="module")
def micad(tmp_path_factory, issuer):
    from micad import Micad

    folder = tmp_path_factory.mktemp("istio")
    with Issuer(folder / "east", "east") as east:
        over = {"grpc": dict(GRPC, socket=str(folder / "s")),
                "limits": {"failures_per_address": 0, "requests_per_identity": 0},
                "x509": {"ttl": "1h", "max_ttl": "24h", "min_ttl": "10s"},
                "deny": {"spiffe_ids": ["spiffe://example.org/ns/banned"]}}
        with Micad(folder / "m", [configured(issuer), configured(
                east, spiffe_path="/east/{namespace}/{serviceaccount}")], over) as m:
            m.east = east
            yield m


@pytest.fixture
def ch(micad):
    with ip.channel(micad) as c:
        yield c


@pytest.fixture
def token(issuer):
    return issuer.token(audience=ISTIO)


def refused(code, reason, call, *args, **how):
    """The RpcError, which has this code and reason and a text that says more."""
    with pytest.raises(grpc.RpcError) as e:
        call(*args, **how)
    assert (e.value.code(), ip.reason(e.value)) == (code, reason), e.value.details()
    assert e.value.details().startswith(reason + ": ") and len(e.value.details()) > len(reason) + 20
    return e.value


# ---- requests as Istio's proxies make them -----------------------------------------------------

def der(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    size = bytes([n]) if n < 128 else bytes([0x82, n >> 8, n & 255]) if n > 255 else bytes([0x81, n])
    return bytes([tag]) + size + body


ORGANIZATION = bytes.fromhex("060355040a")
EXTENSION_REQUEST = bytes.fromhex("06092a864886f70d01090e")
SAN = bytes.fromhex("0603551d11")
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")


def go_csr(key, subject, uri=None):
    """PKCS #10 as Go's x509.CreateCertificateRequest writes it; a subject that others refuse."""
    attributes = b""
    if uri:
        san = der(0x30, SAN, der(0x01, b"\xff"), der(0x04, der(0x30, der(0x86, uri.encode()))))
        attributes = der(0x30, EXTENSION_REQUEST, der(0x31, der(0x30, san)))
    info = der(0x30, b"\x02\x01\x00", subject, pki.spki(key.public_key()), der(0xA0, attributes))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithm, signature = ECDSA_SHA256, key.sign(info, ec.ECDSA(hashes.SHA256()))
    else:
        algorithm, signature = RSA_SHA256, key.sign(info, padding.PKCS1v15(), hashes.SHA256())
    text = base64.encodebytes(der(0x30, info, algorithm, der(0x03, b"\0", signature))).decode()
    return "-----BEGIN CERTIFICATE REQUEST-----\n%s-----END CERTIFICATE REQUEST-----\n" % text


EMPTY = der(0x30)
EMPTY_ORGANIZATION = der(0x30, der(0x31, der(0x30, ORGANIZATION, der(0x13))))  # O=


def the_chain(answer):
    """What pilot-agent and ztunnel do with it; the leaf."""
    assert len(answer) >= 2, "pilot-agent: invalid empty CertChain"
    for element in answer[:-1]:  # ztunnel reads the first block of each
        assert element.count("BEGIN CERTIFICATE") == 1
    assert all(e.endswith("-----END CERTIFICATE-----\n") for e in answer)
    assert len(certificates(answer[-1])) >= 1
    return verify_chain("".join(answer[:-1]), answer[-1])[0]


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "rsa4096", "p256", "p384"])
@pytest.mark.parametrize("subject", [EMPTY, EMPTY_ORGANIZATION], ids=["ztunnel", "pilot-agent"])
def test_issue(ch, token, kind, subject):
    key = pki.key(kind)
    uri = "spiffe://example.org/ns/payments/sa/checkout"
    leaf = the_chain(ip.create(ch, ip.request(go_csr(key, subject, uri), 24 * HOUR), token))
    assert spiffe_id(leaf) == uri
    assert pki.spki(leaf.public_key()) == pki.spki(key.public_key())
    life = (leaf.not_valid_after - leaf.not_valid_before).total_seconds()
    assert 24 * HOUR <= life <= 24 * HOUR + 60


@pytest.mark.smoke
def test_the_identity_is_the_tokens(ch, issuer):
    """Whatever the request names."""
    token = issuer.token("shop", "cart", "cart-7", audience=ISTIO)
    csr = pki.csr(pki.key(), ["admin"], [
        x509.UniformResourceIdentifier("spiffe://example.org/ns/kube-system/sa/admin"),
        x509.DNSName("kubernetes.default.svc")])
    leaf = the_chain(ip.create(ch, ip.request(csr), token))
    assert spiffe_id(leaf) == "spiffe://example.org/ns/shop/sa/cart"
    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(sans) == 1
    assert "admin" not in leaf.subject.rfc4514_string()


def test_all_roots_are_in_the_last_element(micad, ch, token):
    """The standby too, which is published ahead: proxies have it before it is needed."""
    answer = proc.wait_until("the standby is published", lambda: [
        a for a in [ip.create(ch, ip.request(pki.csr(pki.key())), token)]
        if len(certificates(a[-1])) == 2])[0]
    assert answer[-1].encode() == micad.roots()
    assert len(answer) == 3


def test_any_door(micad, token):
    for listener in ("grpc", "grpc_plaintext", "grpc_socket"):
        with ip.channel(micad, listener=listener) as c:
            the_chain(ip.create(c, ip.request(pki.csr(pki.key())), token))


# ---- lifetimes -------------------------------------------------------------------------------

@pytest.mark.parametrize("asked,got", [
    (0, HOUR), (-1, HOUR), (-2 ** 63, HOUR), (10, 10), (600, 600), (24 * HOUR, 24 * HOUR),
    (24 * HOUR + 1, 24 * HOUR), (90 * 24 * HOUR, 24 * HOUR), (2 ** 63 - 1, 24 * HOUR)])
def test_ttl(ch, token, asked, got):
    """What is too long is clamped: refused, pilot-agent would ask for ever. Backdated by a tenth at
    most, since ztunnel renews at the middle of notBefore..notAfter."""
    now = time.time()
    leaf = the_chain(ip.create(ch, ip.request(pki.csr(pki.key()), asked), token))
    begin, end = (t.replace(tzinfo=datetime.timezone.utc).timestamp()
                  for t in (leaf.not_valid_before, leaf.not_valid_after))
    assert abs(end - now - got) <= 3
    # nor before its authority, which is a few seconds old here
    assert now - min(60, got / 10) - 3 <= begin <= now + 1


def test_ttl_too_short(ch, token):
    e = refused(CODE.INVALID_ARGUMENT, "ttl_too_short", ip.create, ch,
                ip.request(pki.csr(pki.key()), 9), token)
    assert "at least 10 s" in e.details()


# ---- who --------------------------------------------------------------------------------------

def test_no_credential(ch):
    for metadata in ([], [("clusterid", "prod")]):
        refused(CODE.UNAUTHENTICATED, "credential_missing", ip.create, ch,
                ip.request(pki.csr(pki.key())), metadata=metadata)


@pytest.mark.parametrize("value", ["Basic eDp5", "Bearer", "", "x"])
def test_not_a_bearer(ch, value):
    refused(CODE.UNAUTHENTICATED, "credential_malformed", ip.create, ch,
            ip.request(pki.csr(pki.key())), metadata=[("authorization", value)])


def test_the_first_bearer_counts(ch, issuer, token):
    q = ip.request(pki.csr(pki.key()))
    other = issuer.token("other", "o", "o-1", audience=ISTIO)
    leaf = the_chain(ip.create(ch, q, metadata=[
        ("authorization", "Basic eDp5"), ("authorization", "Bearer " + other),
        ("authorization", "Bearer " + token)]))
    assert spiffe_id(leaf).endswith("/ns/other/sa/o")
    refused(CODE.UNAUTHENTICATED, "token_invalid", ip.create, ch, q, metadata=[
        ("authorization", "Bearer x.y.z"), ("authorization", "Bearer " + token)])


def test_bad_tokens(ch, issuer):
    def no(reason, text, **claims):
        e = refused(CODE.UNAUTHENTICATED, reason, ip.create, ch,
                    ip.request(pki.csr(pki.key())), issuer.token(**dict({"audience": ISTIO}, **claims)))
        assert text in e.details()

    no("token_invalid", "istio-ca", key=pki.key("rsa2048"))
    no("token_invalid", "istio-ca", iss="https://elsewhere.example")
    no("token_expired", "", ttl=-600)
    no("audience_mismatch", "expected istio-ca", audience=["mica"])
    no("audience_mismatch", "expected istio-ca", audience=["identity.l5d.io"])
    no("lifetime_too_long", "", ttl=43200 + 61)
    no("pod_missing", "", pod=None)


def test_audiences_and_lifetimes_are_the_fronts(micad, ch, issuer):
    """A token counts on the front that it is made for; only there may it live so long."""
    q = ip.request(pki.csr(pki.key()))
    the_chain(ip.create(ch, q, issuer.token(audience=ISTIO, ttl=43200)))
    micad.fetch(issuer.token(audience=ISTIO)).problem(401, "audience_mismatch")
    both = issuer.token(audience=ISTIO + ["mica"], ttl=43200)
    the_chain(ip.create(ch, q, both))
    micad.fetch(both).problem(401, "lifetime_too_long")


def test_denied(ch, issuer):
    refused(CODE.PERMISSION_DENIED, "denied_by_list", ip.create, ch,
            ip.request(pki.csr(pki.key())), issuer.token("banned", "b", "b-1", audience=ISTIO))


@pytest.mark.parametrize("ids", [
    [], ["prod"], ["Kubernetes"], [""], ["east", "prod"], ["\x7f" * 300]],
    ids=["none", "own", "default", "empty", "two", "odd"])
def test_cluster_id_proves_nothing(ch, token, ids):
    """It is used when there is exactly one, and then only to tell of a wrong token."""
    metadata = ip.bearer(token) + [("clusterid", i) for i in ids if i.isprintable()]
    leaf = the_chain(ip.create(ch, ip.request(pki.csr(pki.key())), metadata=metadata))
    assert spiffe_id(leaf).endswith("/ns/payments/sa/checkout")


def test_cluster_id_of_another_cluster(micad, ch, token):
    e = refused(CODE.UNAUTHENTICATED, "cluster_mismatch", ip.create, ch,
                ip.request(pki.csr(pki.key())), metadata=ip.bearer(token, clusterid="east"))
    assert '"prod"' in e.details()
    east = micad.east.token(audience=ISTIO)
    leaf = the_chain(ip.create(ch, ip.request(pki.csr(pki.key())),
                               metadata=ip.bearer(east, clusterid="east")))
    assert spiffe_id(leaf) == "spiffe://example.org/east/payments/checkout"


def test_impersonation_is_not_for_everybody(ch, token):
    refused(CODE.UNAUTHENTICATED, "impersonation_not_allowed", ip.create, ch,
            ip.request(pki.csr(pki.key()), impersonated="spiffe://example.org/ns/a/sa/b"), token)


# ---- renewal by an SVID -----------------------------------------------------------------------

def svid(m, token, ttl=0):
    """(chain, key) in octets, by Istio's own service."""
    key = pki.key()
    with ip.channel(m) as c:
        chain = ip.create(c, ip.request(pki.csr(key), ttl), token)
    return "".join(chain[:-1]).encode(), pki.key_pem(key)


def test_clusters_renew_with_tokens(micad, token):
    with ip.channel(micad, svid(micad, token)) as c:
        refused(CODE.PERMISSION_DENIED, "fresh_evidence_needed", ip.create, c,
                ip.request(pki.csr(pki.key())))
        # a token goes before the certificate
        the_chain(ip.create(c, ip.request(pki.csr(pki.key())), token))


def test_renewal(start, issuer):
    """Where it is configured, as for virtual machines; only of what is ours, and in force."""
    m = start([configured(issuer, renewal_max_age="1h")], {
        "grpc": GRPC, "x509": {"min_ttl": "1s"}, "limits": {"failures_per_address": 0}})
    token = issuer.token(audience=ISTIO)
    mine = svid(m, token)
    with ip.channel(m, mine) as c:
        leaf = the_chain(ip.create(c, ip.request(pki.csr(pki.key()))))
        assert spiffe_id(leaf).endswith("/ns/payments/sa/checkout")
        assert leaf.serial_number != certificates(mine[0])[0].serial_number
        evidence = events(m)[0]["evidence"]
        assert (evidence["kind"], evidence["front"]) == ("renewal", "istio"), evidence
    short = svid(m, token, 1)
    time.sleep(2.2)
    with ip.channel(m, short) as c:  # expired: the handshake holds, and a token still counts
        refused(CODE.UNAUTHENTICATED, "svid_expired", ip.create, c, ip.request(pki.csr(pki.key())))
        the_chain(ip.create(c, ip.request(pki.csr(pki.key())), token))
    ca = pki.Ca()
    foreign, key = ca.server("localhost")
    with ip.channel(m, (foreign, key)) as c:
        with pytest.raises(grpc.RpcError) as e:
            ip.create(c, ip.request(pki.csr(pki.key())))
        assert e.value.code() == CODE.UNAUTHENTICATED and ip.reason(e.value).startswith("svid_")


def events(m, n=1):
    return m.admin().get("/v1/events?limit=%d&type=x509_issued" % n).ok().json()["events"]


# ---- requests ---------------------------------------------------------------------------------

BAD_CSRS = {
    "empty": ("", "csr_empty"),
    "text": ("hello", "csr_not_pem"),
    "label": (pki.csr(pki.key()).replace("CERTIFICATE REQUEST", "CERTIFICATE"), None),
    "twice": (pki.csr(pki.key()) * 2, None),
    "behind": (pki.csr(pki.key()) + "x", None),
    "base64": (pki.csr(pki.key()).replace("MI", "M!", 1), None),
    "unicode": ("\u00e9" * 100, None),
    "nul": (pki.csr(pki.key()) + "\0", None),
    "rsa1024": (go_csr(pki.key("rsa1024"), EMPTY), "key_weak"),
    "p521": (pki.csr(pki.key("p521")), None),
    "long": ("-----BEGIN CERTIFICATE REQUEST-----\n" + "A" * 50000, None),
}


@pytest.mark.parametrize("name", sorted(BAD_CSRS))
def test_bad_csr(ch, token, name):
    csr, reason = BAD_CSRS[name]
    with pytest.raises(grpc.RpcError) as e:
        ip.create(ch, ip.request(csr), token)
    assert e.value.code() == CODE.INVALID_ARGUMENT, e.value
    assert reason in (None, ip.reason(e.value)), e.value.details()


def test_csr_of_another_key(ch, token):
    a, b = pki.key(), pki.key()
    good = base64.b64decode("".join(go_csr(a, EMPTY).splitlines()[1:-1]))
    forged = good.replace(pki.spki(a.public_key()), pki.spki(b.public_key()))
    assert forged != good
    csr = "-----BEGIN CERTIFICATE REQUEST-----\n%s-----END CERTIFICATE REQUEST-----\n" % (
        base64.encodebytes(forged).decode())
    refused(CODE.INVALID_ARGUMENT, "csr_bad_signature", ip.create, ch, ip.request(csr), token)


def test_cert_signer(ch, token):
    the_chain(ip.create(ch, ip.request(pki.csr(pki.key()), signer=""), token))
    e = refused(CODE.INVALID_ARGUMENT, "signer_unknown", ip.create, ch,
                ip.request(pki.csr(pki.key()), signer="clusterissuers.istio-system"), token)
    assert "clusterissuers.istio-system" in e.details()


def raw(ch):
    return ch.unary_unary(ip.METHOD)


def test_metadata_that_says_nothing(ch, token):
    """Other keys and other types are passed over; depth costs nothing."""
    q = ip.request(pki.csr(pki.key()), a=1, b=True, c=None, d={"CertSigner": "x"}, e=["y", {"z": 1}])
    q.metadata["CertSigner"] = 7  # not a string
    the_chain(ip.create(ch, q, token))
    deep = b""
    while len(deep) < 40000:  # Struct in Value in Struct ...
        for number in (5, 1):
            n = len(deep)
            size = b""
            while n > 127:
                size, n = size + bytes([n & 127 | 128]), n >> 7
            deep = bytes([number << 3 | 2]) + size + bytes([n]) + deep
    plain = ip.Request(csr=pki.csr(pki.key())).SerializeToString()
    n = len(deep)
    octets = plain + b"\x22" + bytes([n & 127 | 128, n >> 7 & 127 | 128, n >> 14]) + deep
    answer = ip.Response.FromString(raw(ch)(octets, metadata=ip.bearer(token)))
    the_chain(list(answer.cert_chain))


def test_unknown_fields(ch, token):
    q = ip.Request(csr=pki.csr(pki.key())).SerializeToString()
    for more in (b"\x12\x03abc", b"\x28\x05", b"\x31" + b"8" * 8, b"\xfd\x01" + b"4" * 4):
        answer = ip.Response.FromString(raw(ch)(q + more, metadata=ip.bearer(token)))
        the_chain(list(answer.cert_chain))
    # a field that is there twice: the last one counts
    twice = ip.Request(csr="nothing").SerializeToString() + q
    ip.Response.FromString(raw(ch)(twice, metadata=ip.bearer(token)))


@pytest.mark.parametrize("octets", [
    b"\x0a", b"\x0a\x05abc", b"\x00\x00", b"\x0b", b"\x0f\x00", b"\x18" + b"\xff" * 10 + b"\x01",
    b"\x22\x02\x0a\x05", b"\x22\x04\x0a\x02\x0a\x05", b"\xff" * 100])
def test_not_protobuf(ch, token, octets):
    refused(CODE.INVALID_ARGUMENT, "message_invalid", raw(ch), octets, metadata=ip.bearer(token))


def test_too_long(ch, token):
    with pytest.raises(grpc.RpcError) as e:
        raw(ch)(b"\x0a" + b"x" * 70000, metadata=ip.bearer(token))
    assert e.value.code() == CODE.RESOURCE_EXHAUSTED


def test_other_methods(ch):
    for path in ("/istio.v1.auth.IstioCertificateService/Delete", "/istio.v1.auth.Other/X"):
        with pytest.raises(grpc.RpcError) as e:
            ch.unary_unary(path)(b"", timeout=10)
        assert e.value.code() == CODE.UNIMPLEMENTED


# ---- records ----------------------------------------------------------------------------------

def test_equals_share_one_certificate(ch, token):
    """A client that repeats what it sent gets what it would have got."""
    q = ip.request(pki.csr(pki.key()), 600)
    chains, threads = [], []
    for _ in range(8):
        threads.append(threading.Thread(target=lambda: chains.append(ip.create(ch, q, token))))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(chains) == 8 and len({c[0] for c in chains}) == 1
    assert ip.create(ch, q, token) == chains[0]
    q.validity_duration = 601
    assert ip.create(ch, q, token)[0] != chains[0][0]


def test_record(micad, ch, issuer):
    """From the certificate to the pod that asked."""
    token = issuer.token("shop", "cart", "cart-9", audience=ISTIO)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    leaf = the_chain(ip.create(ch, ip.request(pki.csr(pki.key()), 300), token))
    serial = "%032x" % leaf.serial_number
    c = micad.admin().get("/v1/certificates/" + serial).ok().json()
    e = c["event"]
    said = e["evidence"]
    assert (said["kind"], said["front"], said["id"]) == ("token", "istio", claims["jti"]), e
    assert e["outlet"] == "carried" and '"cart-9"' in json.dumps(e)
    assert certificates(c["certificate"])[0] == leaf
    line = [x for x in micad.events("x509_issued") if x["serial"] == serial]
    assert line and line[0]["front"] == "istio" and line[0]["pod"] == "cart-9"


def test_refusals_are_logged_and_counted(micad, ch, issuer):
    def count(name):
        text = micad.metrics().get("/metrics").ok().body.decode()
        return sum(float(x.rsplit(" ", 1)[1]) for x in text.splitlines() if x.startswith(name))

    name = ('mica_grpc_calls_total{method="istio.v1.auth.IstioCertificateService/'
            'CreateCertificate",code="UNAUTHENTICATED"}')
    reasons = 'mica_refusals_total{reason="token_expired"}'
    before = count(name), count(reasons)
    refused(CODE.UNAUTHENTICATED, "token_expired", ip.create, ch, ip.request(pki.csr(pki.key())),
            issuer.token(audience=ISTIO, ttl=-600))
    proc.wait_until("it is counted", lambda: (count(name), count(reasons)) == (
        before[0] + 1, before[1] + 1))
    line = micad.events("refused")[-1]
    assert (line["front"], line["code"], line["reason"]) == ("istio", "16", "token_expired")
    assert line["path"] == ip.METHOD


# ---- the door ---------------------------------------------------------------------------------

def handshake(micad, alpn, version, name):
    host, port = micad.ready["grpc"].rsplit(":", 1)
    c = micad.context()
    c.minimum_version = c.maximum_version = version
    if alpn:
        c.set_alpn_protocols(alpn)
    import socket

    with socket.create_connection((host, int(port)), 10) as s:
        with c.wrap_socket(s, server_hostname=name) as t:
            return (t.version(), t.selected_alpn_protocol(),
                    x509.load_der_x509_certificate(t.getpeercert(True)))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["istiod.istio-system.svc", "istiod-canary.istio-system.svc",
                                  "localhost", "127.0.0.1"])
def test_handshake(micad, version, name):
    """The names that proxies look for; a P-256 certificate that is no CA's; ALPN or not."""
    for alpn in (["h2"], ["h2", "http/1.1"], None):
        said, chosen, cert = handshake(micad, alpn, version, name)
        assert chosen == ("h2" if alpn else None)
    assert isinstance(cert.public_key().curve, ec.SECP256R1)
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_health_and_reflection(micad):
    def fields(b):
        return list(ip._fields(b))

    with ip.channel(micad) as c:
        check = c.unary_unary("/grpc.health.v1.Health/Check")
        for service in (b"", ip.SERVICE.encode()):
            assert check(b"\x0a" + bytes([len(service)]) + service, timeout=10) == b"\x08\x01"
        for version in ("v1", "v1alpha"):
            info = c.stream_stream("/grpc.reflection.%s.ServerReflection/ServerReflectionInfo" % version)
            symbol = ip.METHOD[1:].replace("/", ".").encode()
            answers = list(info(iter([b"\x3a\x00", b"\x22" + bytes([len(symbol)]) + symbol]), timeout=10))
            assert ip.SERVICE.encode() in answers[0]
            for part in (b"IstioCertificateRequest", b"validity_duration", b"cert_chain", b"google.protobuf.Value"):
                assert part in answers[1], part


# ---- our own trouble --------------------------------------------------------------------------

def test_keys_that_are_missing(start, tmp_path):
    """The caller is told to try again, which pilot-agent does by itself: never "denied"."""
    with Issuer(tmp_path / "i") as i:
        i.fault = "error"
        m = start([configured(i)], {"grpc": GRPC})
        with ip.channel(m) as c:
            e = refused(CODE.UNAVAILABLE, "issuer_keys_missing", ip.create, c,
                        ip.request(pki.csr(pki.key())), i.token(audience=ISTIO))
            assert e.code() in ip.RETRIED
            i.fault = None
            proc.wait_until("the keys are there", lambda: _works(c, i), 20)


def _works(c, i):
    try:
        return ip.create(c, ip.request(pki.csr(pki.key())), i.token(audience=ISTIO))
    except grpc.RpcError:
        return None


def test_reviewed_tokens(start, tmp_path):
    with Issuer(tmp_path / "i") as i:
        m = start([configured(i, review="always")], {"grpc": GRPC})
        with ip.channel(m) as c:
            the_chain(ip.create(c, ip.request(pki.csr(pki.key())), i.token(audience=ISTIO)))
            i.gone.add(i.uid("pod", "payments", "gone-1"))
            refused(CODE.PERMISSION_DENIED, "pod_gone", ip.create, c,
                    ip.request(pki.csr(pki.key())), i.token(pod="gone-1", audience=ISTIO))
            i.review_status = 500
            e = refused(CODE.UNAVAILABLE, "token_review_failed", ip.create, c,
                        ip.request(pki.csr(pki.key())), i.token(pod="new-1", audience=ISTIO))
            assert e.code() in ip.RETRIED


def test_full_disk(tmp_path, issuer):
    """Nothing can be recorded, so nothing is issued; health checks say so."""
    from micad import Micad

    m = Micad(tmp_path / "m", [configured(issuer)], {"grpc": GRPC})
    with m:
        assert m.stop() == 0
        m.config["store"]["max_disk_percent"] = 1
        m.start()
        with ip.channel(m) as c:
            e = refused(CODE.UNAVAILABLE, "store_full", ip.create, c,
                        ip.request(pki.csr(pki.key())), issuer.token(audience=ISTIO))
            assert e.code() in ip.RETRIED
            check = c.unary_unary("/grpc.health.v1.Health/Check")
            proc.wait_until("health says so", lambda: check(b"", timeout=10) == b"\x08\x02")


def test_limits(start, issuer):
    """An address that fails, and an identity that asks too much; who was good goes on."""
    m = start([configured(issuer)], {"grpc": GRPC, "limits": {
        "failures_per_address": 40, "requests_per_identity": 40}})
    good = issuer.token(audience=ISTIO)
    bad = issuer.token(audience=ISTIO, key=pki.key("rsa2048"))
    q = ip.request(pki.csr(pki.key()))
    with ip.channel(m) as c:
        the_chain(ip.create(c, q, good))
        seen = []
        for _ in range(30):
            with pytest.raises(grpc.RpcError) as e:
                ip.create(c, q, bad)
            seen.append(ip.reason(e.value))
        assert seen[0] == "token_invalid" and seen[-1] == "rate_limited"
        assert seen.count("token_invalid") == 10, "a quarter of a minute's at once"
        assert e.value.code() == CODE.RESOURCE_EXHAUSTED
        assert any(k == "grpc-status-details-bin" and b"google.rpc.RetryInfo" in v
                   for k, v in e.value.trailing_metadata())
        the_chain(ip.create(c, q, good))
        seen = []
        for i in range(20):
            try:
                ip.create(c, ip.request(pki.csr(pki.key())), good)
                seen.append(None)
            except grpc.RpcError as e:
                assert e.code() == CODE.RESOURCE_EXHAUSTED
                seen.append(ip.reason(e))
        assert seen[0] is None and seen[-1] == "identity_rate_limited"


# ---- the guide ----------------------------------------------------------------------------------

def test_the_guides_configuration_is_correct(tmp_path):
    """docs/ISTIO.md: what it tells to write is taken as it stands."""
    import os
    import re
    import subprocess

    from micad import MICAD

    guide = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/ISTIO.md")
    with open(guide, encoding="utf-8") as f:
        blocks = re.findall(r"```yaml\n(.*?)```", f.read(), re.S)
    ours = [b for b in blocks if re.match(r"trust_domain:|rotation:", b)]
    assert len(ours) == 2
    path = pki.write(tmp_path / "micad.yaml", (
        "".join(ours) + "passphrase: {file: /etc/mica/passphrase}\n").encode(), 0o644)
    r = subprocess.run([MICAD, "--check-config", "--config", path], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stdout + r.stderr
