# SPDX-License-Identifier: Apache-2.0
"""The main job on real input: tokens that a real kube-apiserver made."""
import time

import pytest

import entry
import kubeapi
import pki
from micad import TRUST_DOMAIN, verify_chain


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """Of this file alone: its issuer is its own address, so that discovery begins there."""
    try:
        with kubeapi.KubeApi(tmp_path_factory.mktemp("api"), issuer=None) as a:
            yield a
    except kubeapi.Skip as why:
        pytest.skip(str(why))


def config(api, source="discovery", review=None):
    """As micad in the cluster has it: its own token file and the cluster's CA."""
    token = pki.write(api.path("reviewer"), api.reviewer().encode())
    keys = {"ca_file": api.ca_file, "token_file": token}
    if source == "discovery":
        keys["discovery"] = True
    else:
        keys["jwks_uri"] = api.url + "/openid/v1/jwks"
    c = {"name": "prod", "kind": "kubernetes", "issuer": api.issuer, "cluster": "prod",
         "keys": keys, "audiences": {"rest": ["mica"]}}
    if review:
        c["review"] = {"mode": review, "url": api.review_url, "ca_file": api.ca_file,
                       "token_file": token}
    return c


@pytest.mark.parametrize("source", ["discovery", "uri"])
@pytest.mark.parametrize("review", ["never", "first-use", "always"])
def test_the_main_job(start, api, source, review):
    ns = "main-%s-%s" % (source, review)
    pod = api.pod(ns, "checkout", "checkout-1")
    m = start([config(api, source, review)])
    key, token = pki.key(), api.token(ns, "checkout", pod="checkout-1")
    a = m.fetch(token, key).ok(201).json()
    leaf = verify_chain(a["certificate_chain"], m.roots())[0]
    assert pki.spki(leaf.public_key()) == pki.spki(key.public_key())
    assert a["spiffe_id"] == "spiffe://%s/ns/%s/sa/checkout" % (TRUST_DOMAIN, ns)
    e = entry.parse(m.receipt(a["ledger_index"])[0])
    c = kubeapi.claims(token)
    assert e["certificate"] == leaf.public_bytes(pki.DER)
    assert e["pod_uid"] == pod["metadata"]["uid"] and e["pod"] == "checkout-1"
    assert e["node_uid"] == c["kubernetes.io"]["node"]["uid"]
    assert e["evidence"] == ("token", "rest", c["jti"])
    # and a JWT
    m.client().post("/v1/jwt-svids", {"audience": ["db"]}, token=token).ok(201)


def test_refused(start, api):
    api.pod("refused", "checkout", "checkout-1")
    m = start([config(api)])
    m.fetch(api.token("refused", "checkout")).problem(401, "pod_missing")
    m.fetch(api.token("refused", "checkout", pod="checkout-1", audiences=["other"])).problem(
        401, "audience_mismatch")
    m.fetch(api.token("refused", "checkout", pod="checkout-1", audiences=[api.issuer])).problem(
        401, "audience_mismatch")
    m.fetch(api.token("refused", "checkout", pod="checkout-1", ttl=7200)).problem(
        401, "lifetime_too_long")


@pytest.mark.parametrize("review", ["never", "first-use", "always"])
def test_a_deleted_pod(start, api, review):
    """The signature stays good for an hour; only the API server knows better."""
    ns = "deleted-" + review
    api.pod(ns, "sa", "pod-1")
    token = api.token(ns, "sa", pod="pod-1")
    m = start([config(api, "discovery", review)])
    api.delete_pod(ns, "pod-1")
    time.sleep(1)
    if review == "never":
        m.fetch(token).ok(201)
        return
    m.fetch(token).problem(403, "pod_gone")
    # another pod of the same name is another pod
    api.pod(ns, "sa", "pod-1")
    time.sleep(1)
    m.fetch(token).problem(403, m.fetch(token).json()["reason"])
    m.fetch(api.token(ns, "sa", pod="pod-1")).ok(201)


def test_a_pod_deleted_later(start, api):
    """`always`: within 10 s of micad's memory and 10 s of the API server's."""
    api.pod("later", "sa", "pod-1")
    m = start([config(api, "discovery", "always")])
    token = api.token("later", "sa", pod="pod-1")
    m.fetch(token).ok(201)
    api.delete_pod("later", "pod-1")
    end = time.monotonic() + 25
    while m.fetch(token).status == 201:
        assert time.monotonic() < end
        time.sleep(1)
    m.fetch(token).problem(403, m.fetch(token).json()["reason"])


def test_a_rotated_signing_key(start, api):
    """The first token with the new key makes micad ask once, and is served."""
    api.pod("rotated", "sa", "pod-1")
    m = start([config(api)])
    old = api.token("rotated", "sa", pod="pod-1")
    m.fetch(old).ok(201)
    api.rotate_signing_key()
    new = api.token("rotated", "sa", pod="pod-1")
    m.fetch(new).ok(201)
    m.fetch(old).ok(201)


def test_the_api_server_is_away(start, api):
    """Pods go on with the keys that are known; reviews say "try again"."""
    api.pod("away", "sa", "pod-1")
    plain = start([config(api)])
    strict = start([config(api, "discovery", "always")])
    token = api.token("away", "sa", pod="pod-1")
    plain.fetch(token).ok(201)
    api.stop_server()
    try:
        plain.fetch(token).ok(201)
        strict.fetch(token).problem(503, "token_review_failed")
    finally:
        api.start_server()
    strict.fetch(token).ok(201)
