# SPDX-License-Identifier: Apache-2.0
"""What is refused, each with its reason; and nothing of it changes anything."""
import base64
import json
import socket
import ssl
import time

import pytest
from cryptography.hazmat.primitives import hashes

import pki
from issuer import b64, jws


@pytest.fixture(autouse=True)
def nothing_changes(micad):
    """No refusal makes an entry (a flood of them would fill the ledger)."""
    before = micad.log().checkpoint()
    yield
    after = micad.log().checkpoint()
    assert (after.size, after.root) == (before.size, before.root)


def ask(micad, token, **how):
    return micad.fetch(token, **how)


# ---- credentials -----------------------------------------------------------------------------


def test_nobody(micad):
    p = ask(micad, None).problem(401, "credential_missing")
    assert "Bearer" in p["expected"]
    r = micad.client().post("/v1/x509-svids", {"csr": "x"}, Authorization="Basic YTpi")
    r.problem(401, "credential_malformed")


def flip(token, part, at=5):
    parts = token.split(".")
    p = parts[part]
    parts[part] = p[:at] + ("A" if p[at] != "A" else "B") + p[at + 1 :]
    return ".".join(parts)


def with_header(issuer, **header):
    return issuer.token(header=header)


FORGED = {
    "not a token": lambda i: "hello",
    "two parts": lambda i: i.token().rpartition(".")[0],
    "no signature": lambda i: i.token().rpartition(".")[0] + ".",
    "another signature": lambda i: flip(i.token(), 2),
    "another payload": lambda i: flip(i.token(), 1, 40),
    "alg none": lambda i: b64(b'{"alg":"none"}') + "." + i.token().split(".")[1] + ".",
    "alg HS256": lambda i: with_header(i, alg="HS256"),
    "alg PS256": lambda i: with_header(i, alg="PS256"),
    "own key in the header": lambda i: jws(
        pki.key("rsa2048"), {"alg": "RS256", "kid": i.kid, "jwk": i.jwk(i.kid)}, i.claims()),
    "key to be fetched": lambda i: with_header(i, jku="https://evil.example/keys"),
    "crit": lambda i: with_header(i, crit=["exp"]),
    "unknown kid": lambda i: with_header(i, kid="nobody"),
    "signed by somebody else": lambda i: i.token(key=pki.key("rsa2048")),
    "another issuer": lambda i: i.token(iss="https://evil.example"),
    "no issuer": lambda i: i.token(iss=None),
    "duplicate claim": lambda i: i.sign(
        json.dumps(i.claims())[:-1].encode() + b',"sub":"system:serviceaccount:a:b"}'),
    "expired and forged": lambda i: flip(i.token(ttl=-3600), 2),
    "a token in a token": lambda i: i.token() + "." + i.token(),
    "too long": lambda i: "a" * 7000 + "." + "b" * 7000 + ".c",
}


@pytest.mark.parametrize("what", sorted(FORGED))
def test_forged(micad, issuer, what):
    """Who has not proved a thing learns one thing: what would be accepted."""
    r = ask(micad, FORGED[what](issuer))
    p = r.problem(401, "token_invalid")
    assert "mica" in p["detail"], "the audience that is expected"
    assert r.body == ask(micad, "x.y.z").body, "they cannot be told apart"


REFUSED = {
    "expired": ("token_expired", lambda i: i.token(ttl=-3600)),
    "future": ("token_not_yet_valid", lambda i: i.token(now=time.time() + 3600)),
    "audience": ("audience_mismatch", lambda i: i.token(audience=["istio-ca"])),
    "no audience": ("audience_mismatch", lambda i: i.token(aud=[])),
    "too long a life": ("lifetime_too_long", lambda i: i.token(ttl=86400)),
    "no pod": ("pod_missing", lambda i: i.token(pod=None)),
    "no expiry": ("time_claim_malformed", lambda i: i.token(exp=None)),
    "text as expiry": ("time_claim_malformed", lambda i: i.token(exp="tomorrow")),
    "another subject": ("subject_mismatch", lambda i: i.token(sub="system:serviceaccount:a:b")),
    "no claims of Kubernetes": (
        "kubernetes_claims_missing", lambda i: i.token(**{"kubernetes.io": None})),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused(micad, issuer, what):
    """Behind a good signature the reason is exact."""
    reason, make = REFUSED[what]
    r = ask(micad, make(issuer))
    if what == "no audience" and r.status == 401:
        assert r.json()["reason"] in ("audience_mismatch", "audience_malformed")
    else:
        r.problem(401, reason)


@pytest.mark.parametrize("ns", ["..", ".", "a/b", "a%2fb", "A B", "ä", ""])
def test_names_that_are_none(micad, issuer, ns):
    r = ask(micad, issuer.token(ns, "checkout"))
    assert r.status in (401, 403), r
    assert r.json()["reason"] in ("kubernetes_claims_malformed", "subject_malformed",
                                  "name_value_invalid", "subject_mismatch")


# ---- requests for certificates ------------------------------------------------------------------


def csr_with_foreign_signature():
    lines = pki.csr(pki.key()).strip().split("\n")
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-3] ^= 1
    return "%s\n%s%s\n" % (lines[0], base64.encodebytes(bytes(der)).decode(), lines[-1])


CSRS = {
    "empty": ("csr_empty", lambda: ""),
    "text": ("csr_not_pem", lambda: "please"),
    "a certificate": ("csr_not_pem", lambda: pki.Ca().pem().decode()),
    "a private key": ("csr_not_pem", lambda: pki.key_pem(pki.key()).decode()),
    "two": ("csr_trailing_data", lambda: pki.csr(pki.key()) * 2),
    "half": ("csr_", lambda: pki.csr(pki.key())[:150]),
    "P-521": ("key_type_not_allowed", lambda: pki.csr(pki.key("p521"))),
    "secp256k1": ("key_", lambda: pki.csr(pki.key("secp256k1"))),
    "RSA 1024": ("key_weak", lambda: pki.csr(pki.key("rsa1024"))),
    "SHA-1": ("signature_algorithm_weak",
              lambda: pki.csr(pki.key("rsa2048"), digest=hashes.SHA1())),
    "not the holder": ("csr_bad_signature", csr_with_foreign_signature),
}


@pytest.mark.filterwarnings("ignore:SHA1")
@pytest.mark.parametrize("what", sorted(CSRS))
def test_csr(micad, issuer, what):
    reason, make = CSRS[what]
    r = ask(micad, issuer.token(), csr=make())
    assert r.status == 400 and r.kind == "application/problem+json", r
    got = r.json()["reason"]
    assert got == reason or (reason.endswith("_") and got.startswith(reason)) or (
        what == "empty" and got == "json_range"), got


# ---- documents ----------------------------------------------------------------------------------


@pytest.mark.parametrize("body, reason", [
    (b"", "json_syntax"),
    (b"{", "json_syntax"),
    (b'{"csr": "a", "csr": "b"}', "json_syntax"),
    (b'{"csr": "a"} {}', "json_syntax"),
    (b'\xef\xbb\xbf{"csr": "a"}', "json_syntax"),
    (b'{"csr": "\xff"}', "json_syntax"),
    (b"[" * 100 + b"]" * 100, "json_syntax"),
    (b"[]", "json_type"),
    (b'"csr"', "json_type"),
    (b"{}", "json_missing_member"),
    (b'{"csr": 1}', "json_type"),
    (b'{"csr": null}', "json_type"),
    (b'{"csr": "a", "ttl": "1h"}', "json_type"),
    (b'{"csr": "a", "ttl": 1.5}', "json_type"),
    (b'{"csr": "a", "ttl": -1}', "json_range"),
    (b'{"csr": "a", "ttl": 99999999999999999999}', "json_syntax"),
    (b'{"csr": "a", "spiffe_id": "spiffe://example.org/admin"}', "json_unknown_member"),
    (b'{"csr": "a", "bundle_sequence": -1}', "json_range"),
])
def test_documents(micad, issuer, body, reason):
    p = micad.client().post("/v1/x509-svids", body, token=issuer.token(),
                            Content_Type="application/json").problem(400, reason)
    if body.startswith(b'{"csr": "a", "ttl"'):
        assert p["line"] == 1 and p["column"] > 10, "where it is wrong"


def test_content_types(micad, issuer):
    body = json.dumps({"csr": pki.csr(pki.key())})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        micad.client().post("/v1/x509-svids", body, token=issuer.token(),
                            Content_Type=kind).problem(415, "content_type")


def test_too_large(micad, issuer):
    big = json.dumps({"csr": "x" * 70000})
    micad.client().post("/v1/x509-svids", big, token=issuer.token(),
                        Content_Type="application/json").problem(413, "body_too_long")


def test_paths(micad):
    c = micad.client()
    for path in ("/", "/v1", "/v2/bundle", "/v1/bundle/", "/V1/bundle", "/metrics",
                 "/etc/passwd"):
        c.get(path).problem(404, "no_such_path")
    r = c.get("/v1/x509-svids")
    r.problem(405, "method_not_allowed")
    assert "POST" in r.headers["Allow"]
    r = c.post("/v1/bundle")
    r.problem(405, "method_not_allowed")
    assert "GET" in r.headers["Allow"]
    for path in ("/v1/bundle%2ejson", "//v1/bundle", "/v1/../v1/bundle", "/v1/./bundle"):
        assert micad.client().get(path).status in (400, 404), path
    c.get("/v1/bundle?what=1").problem(400, "unknown_parameter")
    c.get("/v1/bundle?wait=1&wait=2").problem(400, "repeated_parameter")
    for bad in ("wait=61", "wait=-1", "wait=x", "wait=", "channel=test"):
        c.get("/v1/bundle?" + bad).problem(400, "bad_parameter")
    c.get("/v1/bundle?wait=%zz").problem(400, "target_invalid")
    c.get("/v1/bundles/other.example").problem(404, "no_such_trust_domain")


# ---- roles --------------------------------------------------------------------------------------


def test_workloads_are_no_auditors(micad, issuer):
    token = issuer.token()
    c = micad.client()
    for path in ("/v1/status", "/log/tile/entries/000.p/1"):
        c.get(path, token=token).problem(403, "role_required")
        c.get(path).problem(401, "credential_missing")
    c.post("/v1/tokens/explain", {"token": "x"}, token=token).problem(403, "role_required")
    c.post("/v1/deny", {"kind": "pod_uid", "value": issuer.uid("pod", "a")}, token=token).problem(
        403, "role_required")
    c.post("/v1/authorities/%s/taint" % ("0" * 40), token=token).problem(403, "role_required")
    r = c.post("/v1/backups", {"path": "/tmp/never"}, token=token)
    assert r.status in (403, 404, 405), r
    # a token on the admin's socket makes the caller the token's, not root
    micad.admin().get("/v1/status", token=token).problem(403, "role_required")


# ---- what is not even HTTP ------------------------------------------------------------------------


def raw(micad, data, wait=10):
    """Sends octets over TLS; what comes back until the server closes (or says nothing more)."""
    host, port = micad.ready["https"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), wait) as plain:
        with micad.context().wrap_socket(plain, server_hostname=host) as s:
            s.sendall(data)
            out = b""
            try:
                while True:
                    more = s.recv(65536)
                    if not more:
                        return out
                    out += more
                    if b"HTTP/1.1 2" in out and b"\r\n\r\n" in out:
                        return out
            except (socket.timeout, ssl.SSLError, ConnectionResetError):
                return out


@pytest.mark.parametrize("head", [
    "POST /v1/x509-svids HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST /v1/x509-svids HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "POST /v1/x509-svids HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "GET /v1/bundle HTTP/1.1\r\n\r\n",
    "GET /v1/bundle HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET /v1/bundle HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
    "GET /v1/bundle HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET  /v1/bundle HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /v1/bundle\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://evil.example/v1/bundle HTTP/1.1\r\nHost: a\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00",
])
def test_smuggling(micad, head):
    """Framing that two readers could read in two ways is refused and the connection ends."""
    out = raw(micad, head.encode("latin-1"), 15)
    assert not out.startswith(b"HTTP/1.1 2"), out[:200]


def test_the_server_is_still_there(micad, issuer):
    """After all of the above."""
    assert micad.process.alive()
    micad.client().get("/v1/bundle").ok()
    micad.metrics().get("/readyz").ok()
