# SPDX-License-Identifier: Apache-2.0
"""The canary channel: a step of a rotation goes to listed identities first, to everybody later, or
nowhere. And what a compromise tells those whose certificates are out already."""
import json
import threading
import time

import jwt
from cryptography.x509.oid import ExtensionOID

import pki
from micad import certificates
from proc import SLOW, wait_until

TD = "example.org"
CANARY = "spiffe://%s/ns/payments/sa/canary" % TD
LIVES = {
    "x509": {"ttl": 20, "max_ttl": 30, "min_ttl": 1},
    "jwt": {"ttl": 5, "max_ttl": 6},
    "bundle": {"refresh_hint": 1},
    "authorities": {"root_life": "1h", "issuing_life": "10m", "jwt_life": "10m"},
    "rotation": {"standby": False, "skew": 1, "canary": {"spiffe_ids": [CANARY + "/"], "time": 4}},
}


def roots(pem):
    return {c.public_bytes(pki.DER) for c in certificates(pem)}


def bundle(m, channel):
    return m.client().get("/v1/bundle.pem?channel=" + channel).ok().body.decode()


def sequence(m, channel):
    return m.client().get("/v1/bundle?channel=" + channel).ok().json()["spiffe_sequence"]


def test_a_new_root_goes_to_the_canaries_first(start, issuer):
    m = start([issuer.config("file")], LIVES)
    before = roots(bundle(m, "live"))
    assert roots(bundle(m, "canary")) == before
    watcher = m.watcher()
    etag = watcher.get("/v1/bundle?channel=canary").ok().headers["ETag"]
    told = []
    waits = threading.Thread(target=lambda: told.append(
        watcher.get("/v1/bundle?channel=canary&wait=20", If_None_Match=etag)))
    waits.start()
    time.sleep(0.3)
    begin = time.monotonic()
    m.mica("rotation", "start", "root")
    waits.join(10 * SLOW)
    assert told and told[0].status == 200, "who waits for canary bundles is told"
    assert len(roots(bundle(m, "canary")) - before) == 1
    # each identity has its channel, in its answers
    canary = m.fetch(issuer.token("payments", "canary", "canary-1")).ok(201).json()
    other = m.fetch(issuer.token("payments", "checkout", "checkout-1")).ok(201).json()
    assert (canary["bundle_channel"], other["bundle_channel"]) == ("canary", "live")
    assert canary["bundle_sequence"] == sequence(m, "canary")
    assert roots(canary["bundle"]) == roots(bundle(m, "canary"))
    if time.monotonic() - begin < 3:
        assert other["bundle_sequence"] < canary["bundle_sequence"]
        assert roots(other["bundle"]) == before
        status = json.loads(m.mica("rotation", "status", "--output", "json").stdout)
        assert [s["step"] for s in status["canary"]["steps"]] == ["publish"]
        assert "canary" in m.mica("rotation", "status").stdout
    wait_until("everybody has it", lambda: len(roots(bundle(m, "live")) - before) == 1, timeout=20)
    assert time.monotonic() - begin > 3.5
    assert sequence(m, "live") == sequence(m, "canary") > canary["bundle_sequence"]
    actions = [e["action"] for e in m.admin().get(
        "/v1/events?type=authority&order=oldest&limit=1000").ok().json()["events"]]
    assert actions.index("published") > actions.index("created")
    plan = m.mica("rotation", "plan", "--ahead", "2h").stdout
    assert "canary" in plan and "publish" in plan


def test_it_is_withdrawn_or_confirmed_by_hand(start, issuer):
    over = dict(LIVES, rotation={"standby": False, "skew": 1,
                                 "canary": {"spiffe_ids": [CANARY], "time": 0}})
    m = start([issuer.config("file")], over)
    before = roots(bundle(m, "live"))
    m.mica("rotation", "start", "root")
    assert len(roots(bundle(m, "canary"))) == 2
    new = json.loads(m.mica("rotation", "status", "--output", "json").stdout)
    new = new["canary"]["steps"][0]["authority"]
    refused = m.mica("authority", "activate", new, "--force", check=False)
    assert refused.returncode == 6 and "in_canary" in refused.stderr
    m.mica("rotation", "withdraw", "root")
    assert roots(bundle(m, "canary")) == roots(bundle(m, "live")) == before
    nothing = m.mica("rotation", "withdraw", "root", check=False)
    assert nothing.returncode == 6 and "nothing_in_canary" in nothing.stderr
    m.mica("rotation", "start", "root")
    time.sleep(2)
    assert roots(bundle(m, "live")) == before
    m.mica("rotation", "confirm", "canary")
    assert len(roots(bundle(m, "live"))) == 2
    events = m.admin().get("/v1/events?type=authority&limit=1000").ok().json()["events"]
    assert [e["action"] for e in events if e.get("detail", {}).get("withdrawn")] == ["removed"]


def test_acknowledgements_are_of_a_channel(start, issuer):
    m = start([issuer.config("file")], LIVES)
    for pod, channel in (("canary", "canary"), ("checkout", "live")):
        token = issuer.token("payments", pod, pod + "-1")
        a = m.fetch(token, bundle_sequence=0).ok(201).json()
        assert a["bundle_channel"] == channel
        r = m.client(token=token).post("/v1/bundle/acks", {
            "channel": channel, "sequence": a["bundle_sequence"]})
        assert r.status == 204
    wait_until("both are holders", lambda: json.loads(m.mica(
        "rotation", "status", "--output", "json").stdout)["holders"] == 2, timeout=10)


def test_a_compromise_says_who_must_renew(start, issuer):
    over = dict(LIVES, rotation={"deadline": 6, "skew": 1, "canary": {"spiffe_ids": [CANARY], "time": 4}})
    m = start([issuer.config("file")], over)
    a = m.fetch(issuer.token()).ok(201).json()
    leaf = certificates(a["certificate_chain"])[0]
    aki = leaf.extensions.get_extension_for_oid(
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER).value.key_identifier.hex()
    first = m.client().get("/v1/bundle").ok().json()
    assert "mica_renew" not in first
    m.mica("authority", "taint", aki)
    b = m.client().get("/v1/bundle").ok().json()
    assert b["mica_renew"]["authorities"] == [aki]
    assert b["spiffe_sequence"] > first["spiffe_sequence"]
    jws = m.client().get("/v1/bundle.jws").ok().body.decode()
    signed = jwt.decode(jws, options={"verify_signature": False})
    assert signed["bundle"]["mica_renew"] == b["mica_renew"]
    # by then it has left, and there is nothing to be said any more
    wait_until("the root has left", lambda: "mica_renew" not in
               m.client().get("/v1/bundle").ok().json(), timeout=40, step=0.5)
    end = time.strptime(b["mica_renew"]["before"], "%Y-%m-%dT%H:%M:%SZ")
    assert time.gmtime() >= end
