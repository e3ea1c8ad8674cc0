# SPDX-License-Identifier: Apache-2.0
"""Issuers that are no clusters, names that are one issuer's alone, and what a caller leaves behind."""
import json
import ssl
import urllib.request

import jwt
import pytest

import entry
from issuer import Issuer
from micad import MICAD, TRUST_DOMAIN, Micad, verify_chain
from proc import Process, free_ports

PREFIX = "spiffe://%s" % TRUST_DOMAIN

# What their tokens say, as their documentation has it, and what is made of it.
KINDS = {
    "nomad": (
        {"spiffe_path": "/nomad/{namespace}/{job}/{task}",
         "claims": {"namespace": "nomad_namespace", "job": "nomad_job_id", "task": "nomad_task"},
         "require": {"nomad_namespace": "prod"}},
        {"sub": "global:prod:web:frontend:httpd:default", "nomad_namespace": "prod",
         "nomad_job_id": "web", "nomad_task": "httpd",
         "nomad_allocation_id": "4c6cf0b5-5a7a-4f1c-a3e6-a4a6a8b5b0aa"},
        "/nomad/prod/web/httpd",
        {"nomad_namespace": "prod2"}),
    "gitlab": (
        {"spiffe_path": "/ci/{project|escape}/{ref}",
         "claims": {"project": "project_path", "ref": "ref"},
         "require": {"project_path": "acme/[a-z0-9_-]+", "ref_protected": "true",
                     "ref_type": "branch"}},
        {"sub": "project_path:acme/shop:ref_type:branch:ref:main", "project_path": "acme/shop",
         "ref": "main", "ref_type": "branch", "ref_protected": "true"},
        None,
        {"ref_type": "tag"}),
    "cloud": (
        {"spiffe_path": "/vm/{project}/{zone}/{instance}",
         "claims": {"project": "/google/compute_engine/project_id",
                    "zone": "/google/compute_engine/zone",
                    "instance": "/google/compute_engine/instance_id"},
         "require": {"/google/compute_engine/project_id": "acme-prod"}},
        {"sub": "113774264463038321964", "email_verified": True, "google": {"compute_engine": {
            "project_id": "acme-prod", "zone": "europe-west1-b",
            "instance_id": "152986662232938449", "instance_name": "front-1"}}},
        "/vm/acme-prod/europe-west1-b/152986662232938449",
        {"google": {"compute_engine": {"project_id": "acme-prod-2", "zone": "z",
                                       "instance_id": "1"}}}),
}


def oidc(issuer, settings, **over):
    c = {"name": issuer.name, "kind": "oidc", "issuer": issuer.url,
         "keys": {"jwks_file": issuer.jwks_file()}, "audiences": {"rest": ["mica"]}}
    return dict(c, **settings, **over)


def token(issuer, claims, **over):
    c = dict({"kubernetes.io": None}, **claims)
    c.update(over)
    return issuer.token(ttl=300, **c)


@pytest.mark.parametrize("kind", KINDS)
def test_an_issuer_that_is_no_cluster(start, issuer, kind):
    settings, claims, path, wrong = KINDS[kind]
    m = start([oidc(issuer, settings)])
    a = m.fetch(token(issuer, claims)).ok(201).json()
    if path:
        assert a["spiffe_id"] == PREFIX + path
    verify_chain(a["certificate_chain"], a["bundle"])
    e = entry.parse(m.receipt(a["ledger_index"])[0])
    assert e["subject"] == claims["sub"] and e["issuer"] == issuer.name
    m.fetch(token(issuer, claims, **wrong)).problem(401, "claim_mismatch")
    for name in wrong:
        m.fetch(token(issuer, claims, **{name: None})).problem(401, "claim_missing")
    # a cluster's token of the same key is no token of this issuer's kind
    assert m.fetch(issuer.token()).status in (401, 403)


def refused_config(m):
    m.write_config()
    p = Process([MICAD, "--check-config", "--config", m.config_file], m.path("log"))
    assert p.wait() == 2, p.text()
    return p.text()


@pytest.mark.parametrize("other", [
    "/ns/{namespace}/sa/{job}", "/ns/{job}/sa/x", "/{namespace}/{a}/{b}/{job}", "/ns/prod/sa/{job}",
    "/ns/payments/sa/checkout"])
def test_nobody_speaks_for_anothers_names(issuer, tmp_path, other):
    """Neither by intent nor by accident: such a configuration is not loaded, nor reloaded."""
    with Issuer(tmp_path / "ci", "ci") as ci:
        claims = {x: x for x in ("namespace", "job", "a", "b") if "{%s}" % x in other}
        settings = dict({"spiffe_path": other}, **({"claims": claims} if claims else {}))
        m = Micad(tmp_path / "m", [issuer.config("file"), oidc(ci, settings)])
        text = refused_config(m)
        assert "ci" in text and issuer.name in text, text
        assert "same_names_as" in text or "literal" in text, text
        m.sockets.cleanup()


def test_mica_names_are_mica_s(issuer, tmp_path):
    for path in ("/mica/{namespace}", "/mica/server"):
        m = Micad(tmp_path / path.strip("/").replace("/", "-"),
                  [issuer.config("file", spiffe_path=path)])
        assert "mica" in refused_config(m)
        m.sockets.cleanup()


def test_a_shared_name_must_be_said(start, issuer, tmp_path):
    """Two clusters with the same namespaces: allowed when the configuration says so."""
    with Issuer(tmp_path / "b", "staging") as b:
        m = start([issuer.config("file"), b.config("file", same_names_as=[issuer.name])])
        names = {m.fetch(i.token()).ok(201).json()["spiffe_id"] for i in (issuer, b)}
        assert names == {PREFIX + "/ns/payments/sa/checkout"}


def test_the_callers_address_can_be_left_out(start, issuer):
    m = start([issuer.config("file")], {"log": {"caller_address": False}})
    a = m.fetch(issuer.token()).ok(201).json()
    m.fetch("nonsense").problem(401, "token_invalid")
    e = entry.parse(m.receipt(a["ledger_index"])[0])
    assert "127.0.0.1" not in repr(e), e
    d = m.admin().get("/v1/certificates/" + a["serial"]).ok().json()
    assert "address" not in d["event"], d["event"]
    for name in ("x509_issued", "refused"):
        assert m.events(name) and all("address" not in x for x in m.events(name)), m.events(name)
    # and by default it is there
    n = start([issuer.config("file")])
    a = n.fetch(issuer.token()).ok(201).json()
    assert "127.0.0.1" in repr(entry.parse(n.receipt(a["ledger_index"])[0]))


def test_a_jwt_svid_by_discovery_alone(start, issuer, monkeypatch):
    """As a service that knows OpenID Connect and nothing of SPIFFE: PyJWT finds the keys itself."""
    port = free_ports(1)[0]
    m = start([issuer.config("file")], {
        "jwt": {"oidc_discovery": True},
        "https": {"listen": "127.0.0.1:%d" % port, "public_host": "localhost:%d" % port}})
    roots = ssl.create_default_context(cafile=m.roots_file)
    monkeypatch.setattr(ssl, "_create_default_https_context", lambda: roots)
    t = m.client().post("/v1/jwt-svids", {"audience": ["db"]}, token=issuer.token()).ok(
        201).json()["token"]
    iss = jwt.decode(t, options={"verify_signature": False})["iss"]
    with urllib.request.urlopen(iss + "/.well-known/openid-configuration") as r:
        d = json.load(r)
    assert d["issuer"] == iss
    key = jwt.PyJWKClient(d["jwks_uri"]).get_signing_key_from_jwt(t).key
    c = jwt.decode(t, key, algorithms=d["id_token_signing_alg_values_supported"], audience="db",
                   issuer=iss)
    assert c["sub"] == PREFIX + "/ns/payments/sa/checkout"
    head, body, signature = t.split(".")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(".".join((head, body, signature[:-8] + "AAAAAAAA")), key,
                   algorithms=["ES256"], audience="db", issuer=iss)
