# SPDX-License-Identifier: Apache-2.0
"""A root whose key never comes near micad: made, kept and used by the openssl program."""
import json
import os

import pytest

from micad import certificates, verify_chain
from offline import Keeper, openssl
from proc import wait_until

OFFLINE = {"authorities": {"root": "offline", "issuing_life": "90d"}}


@pytest.fixture
def keeper(tmp_path):
    return Keeper(tmp_path / "keeper")


def authorities(m, kind=None, state=None):
    return [a for a in m.admin().get("/v1/authorities").ok().json()["authorities"]
            if kind in (None, a["kind"]) and state in (None, a["state"])]


def requests(m, name, *count):
    out = m.path(name)
    m.mica("authority", "csr", *count, "--out", out)
    return out


def wait_served(m):
    """The listeners open when there is a certificate to serve with."""
    m.ready.update(wait_until("https is open", lambda: next(
        (e for e in m.events("listening") if "https" in e), None)))
    with open(m.roots_file, "wb") as f:
        f.write(m.admin().get("/v1/bundle.pem").ok().body)


def bundle(m):
    return m.admin().get("/v1/bundle.pem").ok().body


def begin(m, keeper, how="x509"):
    certs = keeper.sign(requests(m, "requests"), how=how)
    m.mica("authority", "import", "--new-root", keeper.root, *certs)
    wait_served(m)


def actions(m):
    events = m.admin().get("/v1/events?type=authority&limit=1000").ok().json()["events"]
    return [(e["action"], e.get("detail", {}).get("kind")) for e in events]


def test_from_the_first_request_to_the_first_certificate(start, issuer, keeper):
    m = start([issuer.config("file")], OFFLINE)
    assert "https" not in m.ready
    m.metrics().get("/readyz").problem(503, "no_active_authority")
    assert m.admin().get("/v1/bundle.pem").ok().body == b""
    assert [a["state"] for a in authorities(m, "issuing")] == ["pending"] * 3
    wait_until("it says so", lambda: m.events("signature_needed"))
    certs = keeper.sign(requests(m, "requests"))
    # a root that nobody means is not taken, and nothing of what came with it
    r = m.mica("authority", "import", keeper.root, *certs, check=False)
    assert r.returncode == 2 and "root_unknown" in r.stderr
    assert not authorities(m, "root")
    m.mica("authority", "import", "--new-root", keeper.root, *certs)
    wait_served(m)
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    verify_chain(chain, m.roots())
    assert m.roots() == open(keeper.root, "rb").read()
    # leaves name the issuing authority by its id: the extensions of the request were used
    assert chain_id(chain) in [a["id"] for a in authorities(m, "issuing", "active")]
    status = json.loads(m.mica("rotation", "status", "--output", "json").stdout)["signatures"]
    assert status["ahead"] == 2 and not status["needed"] and status["pending"] == 0
    figures = m.metrics().get("/metrics").ok().body.decode()
    assert "\nmica_signatures_ahead 2\n" in figures
    assert "\nmica_signature_needed 0\n" in figures
    assert m.events("signatures_suffice")
    assert ("requested", "issuing") in actions(m) and ("imported", "root") in actions(m)
    # what is in the store is enough for another start
    m.restart()
    verify_chain(m.fetch(issuer.token()).ok(201).json()["certificate_chain"], m.roots())


def chain_id(chain):
    leaf = certificates(chain)[0]
    from cryptography import x509
    aki = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    return aki.key_identifier.hex()


def test_openssl_ca_is_a_keeper_too(start, issuer, keeper):
    m = start([issuer.config("file")], OFFLINE)
    begin(m, keeper, how="ca")
    verify_chain(m.fetch(issuer.token()).ok(201).json()["certificate_chain"], m.roots())


def test_its_crl_is_served(start, issuer, keeper):
    """With it, and those that micad signs, openssl checks the whole chain."""
    m = start([issuer.config("file")], OFFLINE)
    begin(m, keeper)
    root = authorities(m, "root", "active")[0]["id"]
    m.client().get("/v1/crl/%s.crl" % root).problem(404, "no_such_crl")
    m.mica("authority", "import", keeper.crl_file())
    assert m.client().get("/v1/crl/%s.crl" % root).ok().body
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    leaf, crls, roots = m.path("leaf.pem"), m.path("crls.pem"), m.path("all.pem")
    for name, data in ((leaf, chain.encode()), (crls, m.client().get("/v1/crl.pem").ok().body),
                       (roots, m.roots())):
        with open(name, "wb") as f:
            f.write(data)
    r = openssl("verify", "-crl_check_all", "-CRLfile", crls, "-CAfile", roots, "-untrusted", leaf,
                leaf)
    assert "OK" in r.stdout
    m.mica("authority", "import", keeper.path("root.crl"))
    newer = keeper.crl_file()
    m.mica("authority", "import", newer)
    stranger = Keeper(m.path("stranger"), "Stranger")
    r = m.mica("authority", "import", stranger.crl_file(), check=False)
    assert "crl_wrong_issuer" in r.stderr
    assert ("crl_imported", None) in actions(m)
    m.restart()
    served = m.client().get("/v1/crl.pem").ok().body
    with open(newer, "rb") as f:
        assert f.read() in served


def test_issuing_authorities_take_turns(start, issuer, keeper):
    m = start([issuer.config("file")], OFFLINE)
    begin(m, keeper)
    seen = set()
    for _ in range(3):
        chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
        verify_chain(chain, m.roots())
        seen.add(chain_id(chain))
        r = m.mica("rotation", "start", "issuing", check=False)
    assert len(seen) == 3 and r.returncode == 6 and "signature_needed" in r.stderr
    wait_until("somebody is asked for", lambda: "\nmica_signature_needed 1\n" in
               m.metrics().get("/metrics").ok().body.decode())
    # the keeper comes again: two more
    more = keeper.sign(requests(m, "more"), days=(200, 250))
    assert len(more) == 2
    m.mica("authority", "import", *more)
    assert len(authorities(m, "issuing", "ready")) == 2
    r = m.mica("authority", "import", *more, check=False)
    assert r.returncode == 6 and "imported_already" in r.stderr


def test_the_root_rotates(start, issuer, keeper, tmp_path):
    """A new root is published first, and used when everybody has it."""
    m = start([issuer.config("file")], dict(
        OFFLINE, x509={"ttl": 5, "max_ttl": 10, "min_ttl": 1}, bundle={"refresh_hint": 1},
        rotation={"ack_timeout": "1s", "skew": "1s"}))
    begin(m, keeper)
    old = authorities(m, "root", "active")[0]["id"]
    second = Keeper(tmp_path / "second", "Offline root 2", uri=False)
    certs = second.sign(requests(m, "second"))
    m.mica("authority", "import", "--new-root", second.root, *certs)
    # published beside the old one, which goes on
    assert len(certificates(bundle(m))) == 2
    assert authorities(m, "root", "active")[0]["id"] == old
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    assert certificates(chain)[-1].issuer == certificates(open(keeper.root, "rb").read())[0].subject
    wait_until("the new root is used",
               lambda: authorities(m, "root", "active")[0]["id"] != old, timeout=30)
    with open(m.roots_file, "wb") as f:
        f.write(bundle(m))
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    verify_chain(chain, bundle(m))
    assert certificates(chain)[-1].issuer == certificates(open(second.root, "rb").read())[0].subject
    # the publisher's certificate, of two days, still needs the old one
    assert [a["id"] for a in authorities(m, "root", "retired")] == [old]
    assert len(certificates(bundle(m))) == 2


def test_what_a_keeper_can_get_wrong(start, issuer, keeper, tmp_path):
    m = start([issuer.config("file")], OFFLINE)
    begin(m, keeper)
    folder = requests(m, "more", "1")
    csr = [os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(".csr")][0]
    cert = str(tmp_path / "cert.pem")
    sign = ["x509", "-req", "-in", csr, "-CA", keeper.root, "-CAkey", keeper.path("root.key"),
            "-out", cert]
    bad = m.path("bad.cnf")

    def refused(reason, *argv, ext=None):
        if ext is not None:
            with open(bad, "w", encoding="ascii") as f:
                f.write("[ x ]\n" + ext)
            argv += ("-extfile", bad, "-extensions", "x")
        openssl(*sign, *argv)
        r = m.mica("authority", "import", cert, check=False)
        assert r.returncode != 0 and reason in r.stderr, r.stderr

    good = ("basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
            "subjectAltName=URI:spiffe://example.org\n")
    refused("cert_malformed", "-days", "90")  # version 1, without extensions
    refused("ca_not_authority", ext="subjectAltName=URI:spiffe://example.org\n")
    refused("ca_too_short", "-days", "1", ext=good)
    refused("ca_outlives_issuer", "-days", "4000", ext=good)
    refused("ca_path_length", "-days", "90", ext=good.replace(",pathlen:0", ""))
    refused("ca_trust_domain", "-days", "90", ext=good.replace("example.org", "example.com"))
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", m.path("k"), "-out", cert,
            "-days", "365", "-subj", "/CN=stranger")
    r = m.mica("authority", "import", cert, check=False)
    assert "root_unknown" in r.stderr
    assert len(authorities(m, "issuing", "pending")) == 1
    # and right after all
    m.mica("authority", "import", *keeper.sign(folder))


def test_over_rest(start, issuer, keeper):
    """Admins by name may do it, auditors and workloads may not."""
    sa = "spiffe://example.org/ns/prod/sa/admin"
    m = start([issuer.config("file")], dict(OFFLINE, roles={"admins": [sa]}))
    begin(m, keeper)
    admin = issuer.token("prod", "admin")
    c = m.client(token=admin)
    a = c.post("/v1/authority-requests", {"count": 1}).ok().json()
    assert a["made"] == 1 and len(a["requests"]) == 1 and "BEGIN CERTIFICATE REQ" in a["requests"][0]["csr"]
    c.post("/v1/authority-requests", {"count": 9}).problem(400, "json_range")
    c.post("/v1/authority-certificates", {"pem": ""}).problem(400, "import_empty")
    c.post("/v1/authority-certificates", {"pem": "x", "standby": True}).problem(
        400, "standby_is_for_roots")
    w = m.client(token=issuer.token())
    w.post("/v1/authority-requests", {}).problem(403, "role_required")
    w.post("/v1/authority-certificates", {"pem": "x"}).problem(403, "role_required")
