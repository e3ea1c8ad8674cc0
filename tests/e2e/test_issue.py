# SPDX-License-Identifier: Apache-2.0
"""The main job: a token and a CSR in, an SVID out, recorded and provable."""
import base64
import datetime

import jwt
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

import entry
import ledger_check
import pki
from micad import TRUST_DOMAIN, certificates, openssl_verify, spiffe_id, verify_chain

ID = "spiffe://%s/ns/payments/sa/checkout" % TRUST_DOMAIN
REQUIRED = {"spiffe_id", "serial", "certificate_chain", "not_before", "not_after", "renew_after",
            "ttl_clamped", "bundle_channel", "bundle_sequence",
            "ledger_index"}


def when(text):
    """RFC 3339 in UTC, to the second."""
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")


def lifetime(answer):
    """From now on, as the caller gets it: backdating does not count."""
    return (when(answer["not_after"]) - datetime.datetime.utcnow()).total_seconds()


@pytest.mark.smoke
def test_the_main_job(micad, issuer):
    """In one line from the token to the proof."""
    key, claims = pki.key(), issuer.claims()
    token = issuer.sign(claims)
    client = micad.client()
    r = micad.fetch(token, key, client).ok(201)
    assert r.kind == "application/json" and "no-store" in r.headers["Cache-Control"]
    a = r.json()
    assert set(a) == REQUIRED | {"bundle"}

    # the certificate: by openssl, by cryptography, against what the bundle says
    assert a["bundle"].encode() == client.get("/v1/bundle.pem").ok().body
    leaf = verify_chain(a["certificate_chain"], a["bundle"])[0]
    assert a["spiffe_id"] == spiffe_id(leaf) == ID
    assert pki.spki(leaf.public_key()) == pki.spki(key.public_key())
    assert int(a["serial"], 16) == leaf.serial_number and len(a["serial"]) == 32
    assert when(a["not_before"]) == leaf.not_valid_before
    assert when(a["not_after"]) == leaf.not_valid_after
    assert when(a["not_before"]) < when(a["renew_after"]) < when(a["not_after"])

    # the record: hashlib from the entry up to the signed root, then what the entry says
    data, cp = micad.receipt(a["ledger_index"])
    e = entry.parse(data)
    assert e["type"] == "x509_issued" and e["certificate"] == leaf.public_bytes(pki.DER)
    k = claims["kubernetes.io"]
    assert (e["namespace"], e["serviceaccount"], e["pod"], e["node"]) == (
        "payments", "checkout", "checkout-1", "node-1")
    for what in ("serviceaccount", "pod", "node"):
        assert e[what + "_uid"] == k[what]["uid"]
    assert e["evidence"] == ("token", "rest", claims["jti"])
    assert e["issuer"] == issuer.name and e["evidence_expires"] == claims["exp"]
    assert abs(e["time_ms"] / 1000 - claims["iat"]) < 60

    # the holder gets the same proof with the token or with the certificate
    assert ledger_check.check_receipt(
        client.get("/v1/log/proof/%d" % a["ledger_index"], token=token).ok().body, data,
        micad.vkey)[0] == a["ledger_index"]
    assert cp.size > a["ledger_index"]


def test_the_log_is_one_tree(micad, issuer):
    """Every entry, every tile, and what was seen before."""
    old = micad.log().checkpoint()
    for i in range(20):
        micad.fetch(issuer.token("shop", "cart", "cart-%d" % i)).ok(201)
    log = micad.log()
    cp = log.verify()
    assert cp.size >= old.size + 20
    ledger_check.verify_consistency(old, cp, log.leaves)
    kinds = {entry.parse(e)["type"] for e in log.entries(cp.size)}
    assert {"log", "authority", "bundle", "key", "x509_issued"} <= kinds


def test_leaf_profile(micad, issuer):
    """X509-SVID, and what design promises besides."""
    a = micad.fetch(issuer.token()).ok(201).json()
    chain = certificates(a["certificate_chain"])
    leaf, ca = chain[0], chain[1]
    ext = leaf.extensions
    usage = ext.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value == x509.KeyUsage(
        True, False, False, False, False, False, False, False, False)
    constraints = ext.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and not constraints.value.ca
    assert set(ext.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert ext.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == \
        ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert leaf.subject.rfc4514_string() == "O=" + TRUST_DOMAIN
    assert leaf.version == x509.Version.v3
    # 48 bits of time in front: an index by serial grows at its end
    ms = leaf.serial_number >> 80
    assert abs(ms / 1000 - datetime.datetime.now().timestamp()) < 60
    life = leaf.not_valid_after - leaf.not_valid_before
    assert life.total_seconds() == 3600 + 60, "an hour, backdated by a minute"

    assert spiffe_id(ca) == "spiffe://" + TRUST_DOMAIN
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value == x509.BasicConstraints(True, 0)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign and usage.crl_sign and not usage.digital_signature


def test_only_the_key_of_a_csr_counts(micad, issuer):
    key = pki.key()
    greedy = pki.csr(key, ["root"], [
        x509.DNSName("admin.example.org"),
        x509.UniformResourceIdentifier("spiffe://%s/ns/kube-system/sa/admin" % TRUST_DOMAIN)])
    leaf = certificates(micad.fetch(issuer.token(), csr=greedy).ok(201).json()
                        ["certificate_chain"])[0]
    assert spiffe_id(leaf) == ID
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert len(list(san)) == 1
    assert "root" not in leaf.subject.rfc4514_string()


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048", "rsa3072", "rsa4096", "ed25519"])
def test_key_types(micad, issuer, kind):
    key = pki.key(kind)
    a = micad.fetch(issuer.token(), key).ok(201).json()
    leaf = verify_chain(a["certificate_chain"], a["bundle"])[0]
    assert pki.spki(leaf.public_key()) == pki.spki(key.public_key())


def test_ttl(micad, issuer):
    def ask(ttl):
        return micad.fetch(issuer.token(), ttl=ttl).ok(201).json()

    a = ask(600)
    assert not a["ttl_clamped"] and 540 < lifetime(a) <= 600
    leaf = certificates(a["certificate_chain"])[0]
    assert (leaf.not_valid_after - leaf.not_valid_before).total_seconds() == 660
    # backdated by a tenth when that is less than a minute
    a = ask(120)
    leaf = certificates(a["certificate_chain"])[0]
    assert (leaf.not_valid_after - leaf.not_valid_before).total_seconds() == 132
    # more than there is: less, and said so, never a refusal
    a = ask(10 * 86400)
    assert a["ttl_clamped"] and 86300 < lifetime(a) <= 86400
    assert entry.parse(micad.receipt(a["ledger_index"])[0])["requested_ttl"] == 10 * 86400
    micad.fetch(issuer.token(), ttl=5).problem(400, "ttl_too_short")


def test_bundle_only_for_who_lacks_it(micad, issuer):
    a = micad.fetch(issuer.token()).ok(201).json()
    held = a["bundle_sequence"]
    assert "bundle" not in micad.fetch(issuer.token(), bundle_sequence=held).ok(201).json()
    older = micad.fetch(issuer.token(), bundle_sequence=held - 1).ok(201).json()
    assert older["bundle"] == a["bundle"] and older["bundle_sequence"] == held
    assert len(certificates(a["bundle"])) >= 1


def test_the_same_request_has_one_answer(micad, issuer):
    """A retry after a lost answer makes no second certificate (design 8.2)."""
    token, csr = issuer.token(), pki.csr(pki.key())
    first = micad.fetch(token, csr=csr).ok(201)
    again = micad.fetch(token, csr=csr).ok(201)
    assert first.body == again.body
    for other in (micad.fetch(token, csr=csr, ttl=1200), micad.fetch(issuer.token(), csr=csr),
                  micad.fetch(token)):
        assert other.ok(201).json()["serial"] != first.json()["serial"]


def test_everybody_gets_his_own_name(micad, issuer):
    for ns, sa in (("a", "b"), ("a-b", "c"), ("kube-system", "d.e"), ("n" * 63, "s" * 253)):
        a = micad.fetch(issuer.token(ns, sa)).ok(201).json()
        assert a["spiffe_id"] == "spiffe://%s/ns/%s/sa/%s" % (TRUST_DOMAIN, ns, sa)


def test_kept_alive_and_anew(micad, issuer):
    client = micad.client()
    for _ in range(10):
        micad.fetch(issuer.token(), client=client).ok(201)
    port = client.c.sock.getsockname()
    micad.fetch(issuer.token(), client=client).ok(201)
    assert client.c.sock.getsockname() == port, "the connection was kept"


# ---- renewal ---------------------------------------------------------------------------------


def test_renewal_needs_a_token_in_a_cluster(micad, issuer):
    """Pods always have a token, so a stolen certificate does not live on (renewal_max_age 0)."""
    client = micad.client(cert=micad.svid_files(issuer.token()))
    micad.fetch(None, client=client).problem(403, "fresh_evidence_needed")
    # with a token on the same connection all is well: Authorization counts first
    micad.fetch(issuer.token(), client=client).ok(201)


def test_renewal_by_certificate(start, issuer):
    m = start([issuer.config("file", renewal_max_age="1h")])
    key = pki.key()
    files = m.svid_files(issuer.token(), key)
    old = certificates(open(files[0]).read())[0]
    a = m.fetch(None, client=m.client(cert=files)).ok(201).json()
    assert a["spiffe_id"] == ID
    verify_chain(a["certificate_chain"], m.roots())
    e = entry.parse(m.receipt(a["ledger_index"])[0])
    assert e["evidence"] == ("renewal", "rest", "%032x" % old.serial_number)
    first = next(i for i, x in enumerate(m.log().entries(a["ledger_index"]))
                 if entry.parse(x).get("certificate") == old.public_bytes(pki.DER))
    assert e["origin"][0] == first, "counted from the token"
    assert e["pod_uid"] == issuer.uid("pod", "payments", "checkout-1")
    # what a renewal gave renews again, and still knows its origin
    key = pki.key()
    chain = m.fetch(None, key, m.client(cert=files)).ok(201).json()["certificate_chain"]
    files = (pki.write(m.path("second.pem"), chain.encode()),
             pki.write(m.path("second.key"), pki.key_pem(key)))
    a = m.fetch(None, client=m.client(cert=files)).ok(201).json()
    assert entry.parse(m.receipt(a["ledger_index"])[0])["origin"][0] == first


def test_foreign_certificates_are_nobody(micad, issuer, tmp_path):
    other = pki.Ca("other")
    files = other.server_files(str(tmp_path), "localhost")
    r = micad.fetch(None, client=micad.client(cert=files))
    assert r.status == 401 and r.json()["reason"].startswith("svid_")


# ---- JWT-SVIDs ------------------------------------------------------------------------------


def jwt_keys(bundle):
    return {k["kid"]: jwt.PyJWK(dict(k, alg="ES256")).key
            for k in bundle["keys"] if k["use"] == "jwt-svid"}


@pytest.mark.smoke
def test_jwt_svid(micad, issuer):
    client, claims = micad.client(), issuer.claims()
    a = client.post("/v1/jwt-svids", {"audience": ["db", "queue"], "ttl": 120},
                    token=issuer.sign(claims)).ok(201).json()
    assert set(a) == {"spiffe_id", "token", "not_after", "renew_after", "ledger_index"}
    header = jwt.get_unverified_header(a["token"])
    assert header["alg"] == "ES256" and header["typ"] == "JWT"
    key = jwt_keys(client.get("/v1/bundle").ok().json())[header["kid"]]
    c = jwt.decode(a["token"], key, algorithms=["ES256"], audience="queue")
    assert c["sub"] == a["spiffe_id"] == ID and c["aud"] == ["db", "queue"]
    assert c["exp"] - c["iat"] == 120 and c["jti"]
    assert when(a["not_after"]) == datetime.datetime.utcfromtimestamp(c["exp"])
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(a["token"], key, algorithms=["ES256"], audience="mica")

    e = entry.parse(micad.receipt(a["ledger_index"])[0])
    assert e["type"] == "jwt_issued" and e["sub"] == ID and e["jti"] == c["jti"]
    assert e["audience"] == ["db", "queue"] and (e["iat"], e["exp"]) == (c["iat"], c["exp"])
    assert e["evidence"] == ("token", "rest", claims["jti"]) and e["kid"] == header["kid"]
    # the token itself is in no entry
    signature = base64.urlsafe_b64decode(a["token"].split(".")[2] + "==")
    assert not any(signature in x for x in micad.log().entries(micad.log().checkpoint().size))


def test_jwt_svid_shapes(micad, issuer):
    def ask(**body):
        return micad.client().post("/v1/jwt-svids", body, token=issuer.token())

    a = ask(audience=["db"]).ok(201).json()
    assert jwt.decode(a["token"], options={"verify_signature": False})["aud"] in ("db", ["db"])
    assert 200 < lifetime(a) <= 300
    assert 3500 < lifetime(ask(audience=["db"], ttl=10 ** 6).ok(201).json()) <= 3600
    ask(audience=[]).problem(400, "json_range")
    ask(audience="db").problem(400, "json_type")
    ask(audience=["a%d" % i for i in range(17)]).problem(400, "json_range")
    ask().problem(400, "json_missing_member")
    # nobody talks himself into a caller of Mica
    r = micad.client().post("/v1/x509-svids", {"csr": pki.csr(pki.key())}, token=a["token"])
    assert r.status == 401


def test_jwt_audiences_by_configuration(start, issuer):
    m = start([issuer.config("file")], {"jwt": {"audiences": ["db"]}})
    m.client().post("/v1/jwt-svids", {"audience": ["db"]}, token=issuer.token()).ok(201)
    m.client().post("/v1/jwt-svids", {"audience": ["db", "x"]}, token=issuer.token()).problem(
        400, "audience_not_allowed")


# ---- rules ------------------------------------------------------------------------------------


def test_rules(start, issuer):
    m = start([issuer.config("file")], {"rules": [
        {"namespace": "payments", "serviceaccount": "checkout", "ttl": "10m", "max_ttl": "20m",
         "dns": ["{serviceaccount}.{namespace}.svc"]},
        {"namespace": "legacy", "key_types": ["rsa2048"]}]})
    a = m.fetch(issuer.token()).ok(201).json()
    leaf = verify_chain(a["certificate_chain"], a["bundle"])[0]
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["checkout.payments.svc"]
    assert spiffe_id(leaf) == ID and 500 < lifetime(a) <= 600
    a = m.fetch(issuer.token(), ttl=7200).ok(201).json()
    assert a["ttl_clamped"] and 1100 < lifetime(a) <= 1200
    # others are as always
    a = m.fetch(issuer.token("shop", "cart")).ok(201).json()
    assert 3500 < lifetime(a) <= 3600
    m.fetch(issuer.token("legacy", "old")).problem(400, "key_type_not_allowed")
    m.fetch(issuer.token("legacy", "old"), pki.key("rsa2048")).ok(201)


def test_deny_list(start, issuer):
    m = start([issuer.config("file")], {"deny": {
        "spiffe_ids": [ID], "pod_uids": [issuer.uid("pod", "shop", "bad-pod")]}})
    m.fetch(issuer.token()).problem(403, "denied_by_list")
    m.fetch(issuer.token("shop", "cart", "bad-pod")).problem(403, "denied_by_list")
    m.fetch(issuer.token("shop", "cart", "good-pod")).ok(201)
    # and while it runs
    admin = m.admin()
    cart = "spiffe://%s/ns/shop/sa/cart" % TRUST_DOMAIN
    body = {"kind": "spiffe_id", "value": cart}
    admin.post("/v1/deny", body).ok(204)
    m.fetch(issuer.token("shop", "cart", "good-pod")).problem(403, "denied_by_list")
    admin.request("DELETE", "/v1/deny", body).ok(204)
    m.fetch(issuer.token("shop", "cart", "good-pod")).ok(201)
    kinds = [entry.parse(e)["type"] for e in m.log().entries(m.log().checkpoint().size)]
    assert kinds.count("deny") == 2


# ---- other issuers ----------------------------------------------------------------------------


def test_oidc_issuer(start, issuer):
    """A CI system: claims are mapped, some are required, and names stay below its own prefix."""
    ci = issuer.config("file", kind="oidc", cluster=None, spiffe_path="/ci/{project|escape}/{ref}",
                       claims={"project": "project_path", "ref": "ref"},
                       require={"project_path": "acme/[a-z0-9_-]+", "ref_protected": "true"})
    ci = {k: v for k, v in ci.items() if v is not None}
    m = start([ci])

    def ask(**claims):
        c = {"project_path": "acme/shop", "ref": "main", "ref_protected": True,
             "sub": "project_path:acme/shop:ref:main", "kubernetes.io": None}
        c.update(claims)
        return m.fetch(issuer.token(ttl=300, **c))

    a = ask().ok(201).json()
    assert a["spiffe_id"].startswith("spiffe://%s/ci/" % TRUST_DOMAIN)
    assert a["spiffe_id"].endswith("/main")
    verify_chain(a["certificate_chain"], a["bundle"])
    assert entry.parse(m.receipt(a["ledger_index"])[0])["subject"].startswith("project_path:")
    ask(ref_protected=False).problem(401, "claim_mismatch")
    ask(project_path="evil/shop").problem(401, "claim_mismatch")
    ask(ref=None).problem(401, "claim_missing")
    ask(ref="..").problem(403, "name_value_invalid")


def test_openssl_disagrees_with_a_foreign_root(micad, issuer):
    """The check that the others lean on can fail."""
    a = micad.fetch(issuer.token()).ok(201).json()
    good, said = openssl_verify(a["certificate_chain"], pki.Ca("other").pem())
    assert not good and "unable to get" in said
