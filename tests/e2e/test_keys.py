# SPDX-License-Identifier: Apache-2.0
"""An issuer's keys and its TokenReview, whatever the issuer does."""
import time

import pytest

import pki
from issuer import FAULTS, Issuer
from proc import SLOW, wait_until

JWKS = "/openid/v1/jwks"
DISCOVERY = "/.well-known/openid-configuration"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


@pytest.fixture
def own(tmp_path):
    """An issuer of this test alone."""
    with Issuer(tmp_path / "issuer") as i:
        yield i


@pytest.mark.parametrize("source", ["file", "uri", "discovery"])
def test_sources_of_keys(start, own, source):
    m = start([own.config(source)])
    m.fetch(own.token()).ok(201)
    assert bool(own.asked[JWKS]) == (source != "file")
    assert bool(own.asked[DISCOVERY]) == (source == "discovery")


def test_ec_keys(start, own):
    own.rotate(kind="p256")
    m = start([own.config("uri")])
    m.fetch(own.token()).ok(201)
    # the algorithm is the key's: RS256's header on it is refused
    m.fetch(own.token(header={"alg": "RS256"})).problem(401, "token_invalid")


def test_a_new_key_is_fetched_once(start, own):
    """An unknown kid asks the issuer, and a flood of them does not."""
    m = start([own.config("uri")])
    m.fetch(own.token()).ok(201)
    before = own.asked[JWKS]
    time.sleep(1.1)  # what was fetched within a second counts as fetched now
    own.rotate()
    m.fetch(own.token()).ok(201)
    assert own.asked[JWKS] == before + 1
    for _ in range(20):
        m.fetch(own.token()).ok(201)
    assert own.asked[JWKS] == before + 1
    for i in range(50):
        m.fetch(own.token(header={"kid": "made-up-%d" % i})).problem(401, "token_invalid")
    assert own.asked[JWKS] <= before + 3, "one refresh in a while, not one a token"
    m.fetch(own.token()).ok(201)


def test_a_withdrawn_key_ends(start, own):
    m = start([own.config("uri", keys={"jwks_uri": own.jwks_uri, "ca_file": own.ca_file,
                                       "refresh": "1s"})])
    old = own.token()
    m.fetch(old).ok(201)
    own.rotate(keep_old=False)
    wait_until("the old key is gone", lambda: m.fetch(old).status == 401, 15, 0.2)
    m.fetch(own.token()).ok(201)


def test_a_changed_file_is_read_again(start, own):
    m = start([own.config("file", keys={"jwks_file": own.jwks_file(), "refresh": "1s"})])
    m.fetch(own.token()).ok(201)
    own.rotate()
    own.jwks_file()
    wait_until("the file is read again", lambda: m.fetch(own.token()).status == 201, 15, 0.2)


def fast(own, source="uri"):
    c = own.config(source)
    c["keys"].update(refresh="1s", timeout="2s")
    return c


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_an_issuer_that_fails_later(start, own, fault):
    """The last good keys stay in force, and micad serves at full speed."""
    m = start([fast(own, "discovery")])
    m.fetch(own.token()).ok(201)
    seen = sum(own.asked.values())
    own.fault = fault
    wait_until("it was asked again", lambda: sum(own.asked.values()) > seen, 20, 0.1)
    begin = time.monotonic()
    for _ in range(10):
        m.fetch(own.token()).ok(201)
        time.sleep(0.1)
    assert time.monotonic() - begin < 3 * SLOW
    own.rotate()
    own.fault = None
    wait_until("the new key is there", lambda: m.fetch(own.token()).status == 201, 30, 0.3)


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_an_issuer_that_fails_from_the_start(start, own, fault):
    """micad is up, says whom it cannot serve and why, and recovers by itself."""
    own.fault = fault
    m = start([fast(own, "discovery")])
    r = m.fetch(own.token())
    r.problem(503, r.json()["reason"])
    assert r.json()["reason"] in ("issuer_keys_missing", "issuer_keys_stale")
    m.client().get("/v1/bundle").ok()
    own.fault = None
    wait_until("it recovers", lambda: m.fetch(own.token()).status == 201, 40, 0.3)


def test_the_last_good_copy_survives(start, own):
    """Down and restarted: pods go on while the issuer is away."""
    m = start([fast(own)])
    m.fetch(own.token()).ok(201)
    own.fault = "down"
    m.restart()
    m.fetch(own.token()).ok(201)


def test_keys_too_old_are_none(start, own):
    c = fast(own)
    c["keys"]["max_stale"] = "3s"
    m = start([c])
    m.fetch(own.token()).ok(201)
    own.fault = "error"
    r = wait_until("they are too old",
                   lambda: (lambda a: a.status == 503 and a)(m.fetch(own.token())), 20, 0.3)
    r.problem(503, "issuer_keys_stale")
    own.fault = None
    wait_until("it recovers", lambda: m.fetch(own.token()).status == 201, 30, 0.3)


def test_another_ca_is_not_believed(start, own, tmp_path):
    other = pki.write(str(tmp_path / "other.crt"), pki.Ca("other").pem())
    m = start([own.config("uri", keys={"jwks_uri": own.jwks_uri, "ca_file": other})])
    assert m.fetch(own.token()).status == 503
    assert not own.asked[JWKS]


def test_two_issuers_and_their_names(start, own, tmp_path):
    """One key set never vouches for the other's tokens."""
    with Issuer(tmp_path / "b", "staging") as b:
        m = start([own.config("uri"), b.config("uri", spiffe_path="/staging/{namespace}/"
                                               "{serviceaccount}")])
        assert m.fetch(own.token()).ok(201).json()["spiffe_id"].endswith("/ns/payments/sa/checkout")
        assert m.fetch(b.token()).ok(201).json()["spiffe_id"].endswith(
            "/staging/payments/checkout")
        forged = b.sign(own.claims(), {"kid": own.kid})
        m.fetch(forged).problem(401, "token_invalid")
        m.fetch(b.sign(own.claims())).problem(401, "token_invalid")


# ---- TokenReview -------------------------------------------------------------------------------


def test_review_off(start, own):
    m = start([own.config("uri", "never")])
    own.gone.add(own.uid("pod", "payments", "checkout-1"))
    m.fetch(own.token()).ok(201)
    assert not own.asked[REVIEWS]


def test_review_first_use(start, own):
    m = start([own.config("uri", "first-use")])
    for _ in range(5):
        m.fetch(own.token()).ok(201)
    assert own.asked[REVIEWS] == 1, "asked once for a pod"
    m.fetch(own.token(pod="checkout-2")).ok(201)
    assert own.asked[REVIEWS] == 2
    own.gone.add(own.uid("pod", "payments", "checkout-3"))
    m.fetch(own.token(pod="checkout-3")).problem(403, "pod_gone")
    # a no is remembered for a moment, too
    asked = own.asked[REVIEWS]
    assert m.fetch(own.token(pod="checkout-3")).status == 403
    assert own.asked[REVIEWS] == asked


def test_review_that_fails(start, own):
    """Our own trouble: try again, never "denied"; and nothing is remembered of it."""
    m = start([own.config("uri", "first-use")])
    faults = ((500, None), (401, None), (403, None), (201, "down"), (201, "garbage"), (201, "huge"))
    for n, (status, fault) in enumerate(faults):
        own.review_status, own.fault = status, fault
        m.fetch(own.token(pod="pod-%d" % n)).problem(503, "token_review_failed")
        own.review_status, own.fault = 201, None
        m.fetch(own.token(pod="pod-%d" % n)).ok(201)


def test_review_fail_policy(start, own):
    c = own.config("uri", "first-use")
    c["review"]["on_failure"] = "allow"
    m = start([c])
    own.review_status = 500
    m.fetch(own.token()).ok(201)
    own.review_status = 201
    own.gone.add(own.uid("pod", "payments", "checkout-2"))
    m.fetch(own.token(pod="checkout-2")).problem(403, "pod_gone")


def test_review_of_a_slow_server(start, own):
    """Who needs no review does not wait behind who does."""
    with Issuer(own.folder + "-fast", "fast") as quick:
        c = own.config("file", "always")
        c["review"]["timeout"] = "3s"
        m = start([c, quick.config("file", spiffe_path="/fast/{namespace}/{serviceaccount}")])
        own.fault = "hang"
        waiting = [m.client(timeout=30) for _ in range(8)]
        for i, w in enumerate(waiting):
            w.connect()
            w.c.request("POST", "/v1/x509-svids", '{"csr": "%s"}' % "\\n".join(
                pki.csr(pki.key()).splitlines()), {
                    "Content-Type": "application/json",
                    "Authorization": "Bearer " + own.token(pod="slow-%d" % i)})
        begin = time.monotonic()
        for _ in range(5):
            m.fetch(quick.token()).ok(201)
        assert time.monotonic() - begin < 2 * SLOW
        for w in waiting:
            assert w.c.getresponse().status == 503
        own.fault = None
