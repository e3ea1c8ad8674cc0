# SPDX-License-Identifier: Apache-2.0
"""What Mica relies on in Kubernetes, shown on the real API server: when one of these fails with a
new version, the cluster has changed, not Mica."""
import json
import time

import jwt
import pytest

import kubeapi


def verify(api, token):
    """The signature by PyJWT and the published keys; the claims."""
    kid = jwt.get_unverified_header(token)["kid"]
    key = next(k for k in api.jwks()["keys"] if k["kid"] == kid)
    return jwt.decode(token, jwt.PyJWK(key).key, algorithms=["RS256"], audience="mica",
                      issuer=api.issuer)


def test_a_bound_token_names_its_pod(kube):
    pod = kube.pod("shape", "checkout", "checkout-1")
    token = kube.token("shape", "checkout", pod="checkout-1")
    c = verify(kube, token)
    assert c["sub"] == "system:serviceaccount:shape:checkout" and c["aud"] == ["mica"]
    assert c["kubernetes.io"]["pod"] == {"name": "checkout-1", "uid": pod["metadata"]["uid"]}
    assert set(c["kubernetes.io"]["node"]) == {"name", "uid"}
    assert c["jti"] and c["exp"] - c["iat"] == 3600


def test_discovery_leads_to_the_keys(kube):
    status, answer = kube.raw("GET", "/.well-known/openid-configuration")
    assert status == 200 and json.loads(answer)["jwks_uri"] == kube.url + "/openid/v1/jwks"
    # nobody who asks for plain JSON gets them
    assert kube.raw("GET", "/openid/v1/jwks", accept="application/json")[0] == 406
    for accept in ("application/jwk-set+json", "application/jwk-set+json, application/json;q=0.9"):
        assert kube.raw("GET", "/openid/v1/jwks", accept=accept)[0] == 200
    # service accounts may read both, the anonymous may not
    sa = kube.token("shape", "reader", audiences=[kube.issuer])
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        assert kube.raw("GET", path, token=sa)[0] == 200
        assert kube.raw("GET", path, token=None)[0] == 403


def test_review_ends_with_the_pod_and_signatures_do_not(kube):
    kube.pod("shape", "gone", "gone-1")
    asked, fresh = (kube.token("shape", "gone", pod="gone-1") for _ in range(2))
    reviewer = kube.reviewer()
    status = kube.review(asked, by=reviewer)[1]["status"]
    assert status["authenticated"] and status["audiences"] == ["mica"]
    kube.delete_pod("shape", "gone-1")
    time.sleep(1)
    status = kube.review(fresh, by=reviewer)[1]["status"]
    assert not status.get("authenticated") and "invalidated" in status["error"]
    verify(kube, fresh)


def test_review_needs_the_delegator_role(kube):
    token = kube.token("shape", "checkout")
    with pytest.raises(kubeapi.ApiError) as e:
        kube.review(token, by=kube.token("shape", "nobody", audiences=[kube.issuer]))
    assert e.value.status == 403


def test_nothing_survives(tmp_path):
    try:
        with kubeapi.KubeApi(tmp_path / "kube") as api:
            processes = [api.server, api.etcd]
            assert all(p.alive() for p in processes)
    except kubeapi.Skip as why:
        pytest.skip(str(why))
    assert not any(p.alive() for p in processes)
