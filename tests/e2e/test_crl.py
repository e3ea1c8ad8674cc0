# SPDX-License-Identifier: Apache-2.0
"""Certificates are revoked, and CRLs say so to whoever asks: openssl verify and cryptography."""
import os
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import ledger_check
import pki
from micad import certificates
from offline import Keeper
from proc import SLOW, wait_until


def verify(m, chain_pem, *flags):
    """openssl's opinion with the one file that holds every CRL; (good, what it said)."""
    certs = certificates(chain_pem)
    leaf = pki.write(m.path("leaf"), certs[0].public_bytes(pki.PEM))
    rest = pki.write(m.path("rest"), certs[1].public_bytes(pki.PEM))
    roots = pki.write(m.path("trust"), m.client().get("/v1/bundle.pem").ok().body)
    lists = pki.write(m.path("crls"), m.client().get("/v1/crl.pem").ok().body)
    r = subprocess.run(["openssl", "verify", "-x509_strict", "-no-CApath", "-no-CAstore",
                        *flags, "-CAfile", roots, "-CRLfile", lists, "-untrusted", rest, leaf],
                       capture_output=True, text=True)
    return r.returncode == 0, r.stdout + r.stderr


def serial(answer):
    return answer["serial"]


def crl_of(m, authority):
    a = m.client().get("/v1/crl/%s.crl" % authority).ok()
    assert a.kind == "application/pkix-crl"
    assert "max-age" in a.headers["Cache-Control"]
    return x509.load_der_x509_crl(a.body), a


def number(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


@pytest.mark.smoke
def test_a_revoked_certificate(start, issuer):
    m = start([issuer.config("file")])
    bad, good = (m.fetch(issuer.token()).ok(201).json() for _ in range(2))
    files = m.svid_files(issuer.token())
    for a in (bad, good):
        for flag in ("-crl_check", "-crl_check_all"):
            ok, said = verify(m, a["certificate_chain"], flag)
            assert ok, said
    shown = m.mica("certificate", "show", serial(bad), "--output", "json").stdout
    assert '"revoked": null' in shown or '"revoked":null' in shown, shown
    authority = certificates(bad["certificate_chain"])[1]
    id = authority.extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier).value.digest.hex()
    before, answer = crl_of(m, id)
    assert len(before) == 0 and before.is_signature_valid(authority.public_key())
    again = m.client().get("/v1/crl/%s.crl" % id, If_None_Match=answer.headers["ETag"])
    assert again.status == 304 and not again.body

    begin = time.time()
    m.mica("certificate", "revoke", serial(bad), "--reason", "key_compromise")
    # at once, for who asks again with the tag of before
    after = m.client().get("/v1/crl/%s.crl" % id, If_None_Match=answer.headers["ETag"]).ok()
    crl = x509.load_der_x509_crl(after.body)
    assert crl.is_signature_valid(authority.public_key()) and crl.issuer == authority.subject
    assert number(crl) > number(before) and abs(number(crl) / 1000 - begin) < 60
    entry = crl.get_revoked_certificate_by_serial_number(int(serial(bad), 16))
    assert entry is not None and len(crl) == 1
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == \
        x509.ReasonFlags.key_compromise
    pem = m.client().get("/v1/crl/%s.pem" % id).ok()
    assert x509.load_pem_x509_crl(pem.body).public_bytes(Encoding.DER) == after.body
    for flag in ("-crl_check", "-crl_check_all"):
        ok, said = verify(m, bad["certificate_chain"], flag)
        assert not ok and "certificate revoked" in said
        ok, said = verify(m, good["certificate_chain"], flag)
        assert ok, said

    # who it is, is known; it is not let in
    with open(files[0], encoding="ascii") as f:
        own = "%032x" % certificates(f.read())[0].serial_number
    m.client(cert=files).get("/v1/events").ok()
    m.mica("certificate", "revoke", own)
    m.client(cert=files).get("/v1/events").problem(401, "svid_revoked")
    m.client(cert=files).post("/v1/x509-svids", {"csr": pki.csr(pki.key())}) \
        .problem(401, "svid_revoked")

    listed = m.mica("certificate", "revoked").stdout
    assert serial(bad) in listed and own in listed and "key_compromise" in listed
    assert serial(good) not in listed
    assert "key_compromise" in m.mica("certificate", "show", serial(bad)).stdout
    events = m.admin().get("/v1/events?type=revocation").ok().json()["events"]
    assert [e["detail"]["serial"] for e in events] == [own, serial(bad)]
    assert events[0]["actor"]["kind"] == "local", events[0]
    assert [e["serial"] for e in m.events("certificate_revoked")] == [serial(bad), own]
    text = m.metrics().get("/metrics").ok().body.decode()
    assert "\nmica_revoked_certificates 2\n" in text and "\nmica_crls_late 0\n" in text

    m.restart()
    assert m.client().get("/v1/crl/%s.crl" % id).ok().headers["ETag"] != after.headers["ETag"]
    ok, said = verify(m, bad["certificate_chain"], "-crl_check")
    assert not ok and "certificate revoked" in said
    log = m.log()
    ledger_check.verify_consistency(log.checkpoint(), log.verify(), log.leaves)


def test_refusals(start, issuer):
    m = start([issuer.config("file")], {"x509": {"min_ttl": 1}})
    a = m.fetch(issuer.token()).ok(201).json()
    short = m.fetch(issuer.token(), ttl=1).ok(201).json()
    admin = m.admin()

    def revoke(number, body, client=admin, token=None):
        return client.post("/v1/certificates/%s/revoke" % number, body, token=token)
    revoke("12", {}).problem(400, "bad_serial")
    revoke(serial(a), {"reason": "certificate_hold"}).problem(400, "bad_reason")
    revoke("0" * 31 + "1", {}).problem(404, "no_such_certificate")
    revoke(serial(a), {}, m.client(), issuer.token()).problem(403, "role_required")
    revoke(serial(a), {}, m.client()).problem(401, "credential_missing")
    time.sleep(2.1)
    revoke(serial(short), {}).problem(409, "certificate_expired")
    revoke(serial(a), {"reason": "superseded"}).ok(204)
    revoke(serial(a), {}).problem(409, "revoked_already")
    m.client().get("/v1/crl/%s.crl" % ("0" * 40)).problem(404, "no_such_crl")
    m.client().get("/v1/revocations", token=issuer.token()).problem(403, "role_required")
    # micad signs those of authorities whose keys it has
    root = [x["id"] for x in authorities(m, "root", "active")][0]
    own = pki.write(m.path("root.crl"), crl_of(m, root)[1].body)
    refused = m.mica("authority", "crl", root, own, check=False)
    assert refused.returncode == 6 and "crl_signed_here" in refused.stderr
    admin.post("/v1/authorities/%s/crl" % root, {"crl": "x"}).problem(400, "pem_malformed")
    admin.post("/v1/authorities/%s/crl" % ("0" * 40), {
        "crl": m.client().get("/v1/crl/%s.pem" % root).ok().body.decode()}) \
        .problem(404, "no_such_authority")
    refused = m.mica("certificate", "revoke", serial(a), check=False)
    assert refused.returncode == 6 and "revoked_already" in refused.stderr


def test_leaves_name_a_crl_when_asked_to(start, issuer):
    url = "http://crl.example.org/v1/crl/{authority}.crl"
    m = start([issuer.config("file")])

    def points(pem):
        leaf, ca = certificates(pem)[:2]
        id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
        try:
            p = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        except x509.ExtensionNotFound:
            return None, id
        return [n.value for d in p for n in d.full_name], id
    assert points(m.fetch(issuer.token()).ok(201).json()["certificate_chain"])[0] is None
    m.config["crl"] = {"distribution_url": url}
    m.reload()
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    found, id = points(chain)
    assert found == [url.replace("{authority}", id)]
    ok, said = verify(m, chain, "-crl_check_all")
    assert ok, said


def test_lists_are_signed_anew_in_time(start, issuer):
    """With a life of seconds: nobody who checks ever meets one that has ended."""
    m = start([issuer.config("file")], {"crl": {"validity": "4s"}})
    a = m.fetch(issuer.token()).ok(201).json()
    seen, end = set(), time.monotonic() + 9
    while time.monotonic() < end:
        ok, said = verify(m, a["certificate_chain"], "-crl_check_all")
        assert ok, said
        seen.add(m.client().get("/v1/crl.pem").ok().headers["ETag"])
        time.sleep(0.4)
    assert len(seen) >= 4
    assert not m.events("crl_late")
    # a clock that stands, in the core: nobody signs while the process is stopped
    os.kill(m.process.pid, 19)
    time.sleep(3)
    os.kill(m.process.pid, 18)
    wait_until("signed again", lambda: verify(m, a["certificate_chain"], "-crl_check_all")[0])


# ---- a compromise ------------------------------------------------------------------------------

LIVES = {
    "x509": {"ttl": 60, "max_ttl": 120, "min_ttl": 1},
    "jwt": {"ttl": 5, "max_ttl": 6},
    "bundle": {"refresh_hint": 1},
    "authorities": {"root_life": 36000, "issuing_life": 9000, "jwt_life": 9000},
    "rotation": {"deadline": "10m", "skew": "1s"},
}


def authorities(m, kind=None, state=None):
    return [a for a in m.admin().get("/v1/status").ok().json()["authorities"]
            if kind in (None, a["kind"]) and state in (None, a["state"])]


def active(m, kind):
    found = authorities(m, kind, "active")
    assert len(found) == 1, found
    return found[0]["id"]


def pod(issuer, n):
    """A token of a pod of its own."""
    return issuer.token(pod="pod-%d" % n)


def rotation(m):
    return m.admin().get("/v1/rotation").ok().json()


def ready(m):
    """The standby may be used, and the second look after the start is over."""
    wait_until("a standby", lambda: any(a["standby"] for a in authorities(m, "root", "ready")),
               timeout=30)
    time.sleep(5)


def test_the_root_goes_as_soon_as_all_have_renewed(start, issuer):
    m = start([issuer.config("file")], LIVES)
    ready(m)
    root, issuing = active(m, "root"), active(m, "issuing")
    for n in range(3):
        m.fetch(pod(issuer, n)).ok(201)
    plan = m.admin().get("/v1/rotation/plan").ok().json()
    assert plan["exposed"] == [] and plan["if_compromised"]["removes"] == root
    assert rotation(m)["compromise"] is None
    begin = time.monotonic()
    m.mica("authority", "taint", issuing)
    wait_until("it is read", lambda: (rotation(m)["compromise"] or {}).get("exposed") == 3,
               timeout=20)
    status = m.mica("rotation", "status").stdout
    assert issuing in status and "spiffe://" in status
    exposed = rotation(m)["exposed"]
    assert [(e["authority"], e["way"], e["removes"]) for e in exposed] == \
        [(issuing, "removal", root)]
    for n in range(3):
        time.sleep(1)
        assert [a for a in authorities(m) if a["id"] == root][0]["published"]
        m.fetch(pod(issuer, n)).ok(201)
    took = time.monotonic() - begin
    wait_until("the root is gone", lambda: not any(
        a["id"] == root and a["published"] for a in authorities(m)), timeout=20)
    assert time.monotonic() - begin < 60 * SLOW, "the deadline is ten minutes"
    event = [e for e in m.admin().get("/v1/events?type=authority&limit=100").ok().json()["events"]
             if e["action"] == "removed" and e["authority"] == root][0]
    # and the two of micad itself
    assert event["detail"]["why"] == "renewed" and event["detail"]["renewed"] == 5
    assert event["detail"]["seconds"] <= took + 1
    told = m.events("compromise_renewed")
    assert len(told) == 1 and int(told[0]["seconds"]) == event["detail"]["seconds"]
    text = m.metrics().get("/metrics").ok().body.decode()
    assert "\nmica_compromise_exposed_holders 0\n" in text
    assert "\nmica_compromise_renewal_seconds %s\n" % told[0]["seconds"] in text
    m.client().get("/v1/configuration").ok()  # its own certificate is one of the new root


def test_a_crl_instead_of_the_root(start, issuer):
    m = start([issuer.config("file")], dict(LIVES, rotation={
        "deadline": "10s", "skew": "1s",
        "outlets": [{"name": "envoy", "propagation": "2s", "crl": True},
                    {"name": "linkerd", "propagation": "1s"}]}))
    ready(m)
    root, issuing = active(m, "root"), active(m, "issuing")
    old = m.fetch(pod(issuer, 1)).ok(201).json()["certificate_chain"]
    refused = m.mica("authority", "taint", issuing, "--crl-only", check=False)
    assert refused.returncode == 6 and "outlets_ignore_crls" in refused.stderr
    assert "linkerd" in refused.stderr and "envoy" not in refused.stderr
    assert m.mica("authority", "revoke", issuing, "--crl-only", "--force",
                  check=False).returncode == 2
    plan = m.admin().get("/v1/rotation/plan").ok().json()["if_compromised"]["crl_only"]
    assert not plan["allowed"] and plan["refused_by"] == ["linkerd"]

    m.config["rotation"]["outlets"][1]["crl"] = True
    m.reload()
    assert m.admin().get("/v1/rotation/plan").ok().json()["if_compromised"]["crl_only"]["allowed"]
    before, _ = crl_of(m, root)
    assert len(before) == 0
    m.mica("authority", "taint", issuing, "--crl-only")
    crl, _ = crl_of(m, root)
    named = crl.get_revoked_certificate_by_serial_number(certificates(old)[1].serial_number)
    assert named.extensions.get_extension_for_class(x509.CRLReason).value.reason == \
        x509.ReasonFlags.ca_compromise
    ok, said = verify(m, old, "-crl_check_all")
    assert not ok and "certificate revoked" in said
    assert active(m, "root") == root and active(m, "issuing") != issuing
    assert authorities(m, "issuing", "revoked")[0]["id"] == issuing
    new = m.fetch(pod(issuer, 1)).ok(201).json()["certificate_chain"]
    ok, said = verify(m, new, "-crl_check_all")
    assert ok, said
    exposed = rotation(m)["exposed"]
    assert [(e["authority"], e["way"]) for e in exposed] == [(issuing, "crl")]
    assert {w["outlet"] for w in exposed[0]["who"]} == {"envoy", "linkerd"}
    wait_until("who has renewed", lambda: rotation(m)["compromise"]["exposed"] == 0, timeout=20)
    assert m.events("authority_replaced") and m.events("authority_revoked_by_crl")
    time.sleep(12)  # the deadline of a root that has to go
    assert active(m, "root") == root
    again = m.admin().post("/v1/authorities/%s/revoke" % issuing, {"crl_only": True})
    again.problem(409, "revoked_already")
    m.admin().post("/v1/authorities/%s/revoke" % issuing, {"crl_only": True, "force": True}) \
        .problem(400, "bad_rotation")
    events = m.admin().get("/v1/events?type=authority&limit=100").ok().json()["events"]
    assert [e["action"] for e in events if e["authority"] == issuing][:2] == ["revoked", "tainted"]


def test_the_crl_of_an_offline_root(start, issuer, tmp_path):
    """Signed by openssl ca where the key is; whole chains can be checked with it."""
    keeper = Keeper(tmp_path / "keeper")
    m = start([issuer.config("file")], {"authorities": {"root": "offline", "issuing_life": "90d"}})
    m.mica("authority", "csr", "--out", m.path("requests"))
    m.mica("authority", "import", "--new-root", keeper.root, *keeper.sign(m.path("requests")))
    m.ready.update(wait_until("https is open", lambda: next(
        (e for e in m.events("listening") if "https" in e), None)))
    pki.write(m.roots_file, m.admin().get("/v1/bundle.pem").ok().body, 0o644)
    root = authorities(m, "root")[0]["id"]
    m.client().get("/v1/crl/%s.crl" % root).problem(404, "no_such_crl")
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    ok, said = verify(m, chain, "-crl_check")
    assert ok, said
    ok, said = verify(m, chain, "-crl_check_all")
    assert not ok and "unable to get certificate CRL" in said
    keeper.crl()
    m.mica("authority", "crl", root, keeper.path("root.crl"))
    ok, said = verify(m, chain, "-crl_check_all")
    assert ok, said
    m.restart()
    ok, said = verify(m, chain, "-crl_check_all")
    assert ok, said
    # an older one brings nothing back
    old = pki.write(m.path("old.crl"), keeper.crl().encode())
    keeper.crl()
    m.mica("authority", "crl", root, keeper.path("root.crl"))
    refused = m.mica("authority", "crl", root, old, check=False)
    assert refused.returncode == 6 and "crl_not_newer" in refused.stderr
    assert len(m.events("crl_imported")) == 1, "since the last start"
