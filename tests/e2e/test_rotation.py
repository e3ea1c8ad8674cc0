# SPDX-License-Identifier: Apache-2.0
"""Authorities rotate by themselves, under load, and nobody notices: every certificate and token
verifies from its first second to its last with bundles as stale as they may be."""
import threading
import time

import jwt

import ledger_check
import pki
from micad import Client, certificates, openssl_verify, signed_by
from proc import SLOW, wait_until

# Lives of seconds; what is not said follows from them (micad.yaml).
HINT = 1
LIVES = {
    "x509": {"ttl": 5, "max_ttl": 6, "min_ttl": 1},
    "jwt": {"ttl": 5, "max_ttl": 6},
    "bundle": {"refresh_hint": HINT},
    "authorities": {"root_life": 75, "issuing_life": 25, "jwt_life": 30},
    "limits": {"requests_per_identity": 0},
}
# Before an observer is late itself, on a machine that is busy.
GRACE = 0.5


class Bundle:
    def __init__(self, pem, doc):
        self.pem = pem
        self.sequence = doc["spiffe_sequence"]
        self.roots = {c.subject.public_bytes(): c for c in certificates(pem)}
        self.keys = {k["kid"]: jwt.PyJWK(dict(k, alg="ES256")).key
                     for k in doc["keys"] if k["use"] == "jwt-svid"}


class Party(threading.Thread):
    """A workload and a relying party in one. Its bundle is `stale` seconds old at most; with it, it
    connects anew for each request, and judges all that it ever got and that has not ended."""

    def __init__(self, m, issuer, stale, name):
        super().__init__(name=name, daemon=True)
        self.m, self.issuer, self.stale = m, issuer, stale
        self.over, self.failed = threading.Event(), []
        self.svids, self.tokens, self.bundle = [], [], None
        self.only_last = False  # of a compromised authority nobody uses what it has renewed
        self.issued = self.judged = self.connections = 0
        self.roots, self.issuing, self.kids = set(), set(), set()
        self.sequence = 0

    def client(self):
        self.connections += 1
        return Client(self.m.ready["https"], pki.client_context(ca_pem=self.bundle.pem), timeout=10,
                      spec=self.m.spec)

    def refresh(self, first=None):
        c = first or self.client()
        pem, doc = c.get("/v1/bundle.pem").ok().body, c.get("/v1/bundle").ok().json()
        fresh = Bundle(pem.decode(), doc)
        assert fresh.sequence >= self.sequence, "the sequence went back"
        self.bundle, self.sequence, self.refreshed = fresh, fresh.sequence, time.monotonic()
        c.close()

    def get(self):
        c, token = self.client(), self.issuer.token(pod=self.name)
        a = c.post("/v1/x509-svids", {"csr": pki.csr(pki.key()), "ttl": 5}, token=token)
        if a.status == 503:  # between a taint and the step that follows: told to try again
            a.problem(503, "no_active_authority")
            return
        a.ok(201)
        chain = certificates(a.json()["certificate_chain"])
        if self.only_last:
            self.svids = []
        self.svids.append((chain, a.json()["certificate_chain"]))
        self.issuing.add(chain[1].serial_number)
        a = c.post("/v1/jwt-svids", {"audience": ["x"], "ttl": 5}, token=token).ok(201).json()
        self.tokens.append(a["token"])
        c.close()
        self.issued += 2

    def judge(self):
        now = time.time()
        self.svids = [s for s in self.svids if s[0][0].not_valid_after.timestamp() > now + 1]
        for chain, _ in self.svids:
            root = self.bundle.roots.get(chain[1].issuer.public_bytes())
            assert root is not None, "no root of mine signed %s" % chain[1].subject
            signed_by(chain[0], chain[1])
            signed_by(chain[1], root)
            assert chain[0].not_valid_after <= chain[1].not_valid_after <= root.not_valid_after
            self.roots.add(root.serial_number)
        if self.svids:
            good, said = openssl_verify(self.svids[0][1], self.bundle.pem)
            assert good or self.svids[0][0][0].not_valid_after.timestamp() < time.time(), said
        live = []
        for t in self.tokens:
            if jwt.decode(t, options={"verify_signature": False})["exp"] < now + 1:
                continue
            kid = jwt.get_unverified_header(t)["kid"]
            assert kid in self.bundle.keys, "the token's key is not in my bundle"
            jwt.decode(t, self.bundle.keys[kid], algorithms=["ES256"], audience="x")
            self.kids.add(kid)
            live.append(t)
        self.tokens = live
        self.judged += len(self.svids) + len(live)

    def round(self):
        if time.monotonic() - self.refreshed > self.stale - GRACE:
            self.refresh()
        self.get()
        self.judge()
        time.sleep(0.2)

    def run(self):
        try:
            self.refresh(self.m.client())
            while not self.over.is_set():
                self.round()
        except BaseException as e:  # pylint: disable=broad-except
            self.failed.append("%s: %r" % (self.name, e))

    def end(self):
        self.over.set()
        self.join(30 * SLOW)
        assert not self.failed, self.failed
        assert not self.is_alive()


def authorities(m, kind=None, state=None):
    return [a for a in m.admin().get("/v1/status").ok().json()["authorities"]
            if kind in (None, a["kind"]) and state in (None, a["state"])]


def active(m, kind):
    found = authorities(m, kind, "active")
    assert len(found) == 1, found
    return found[0]["id"]


def parties(m, issuer):
    """One that always has the newest bundle, and one that is as late as it may be."""
    out = [Party(m, issuer, HINT, "prompt"), Party(m, issuer, 3 * HINT, "stale")]
    for p in out:
        p.start()
    return out


def test_everything_rotates_and_nobody_notices(start, issuer):
    m = start([issuer.config("file")], LIVES)
    first = {kind: active(m, kind) for kind in ("root", "issuing", "jwt")}
    crowd = parties(m, issuer)
    wait_until("the first root is gone, and the keys of its time", lambda: not any(
        a["id"] in first.values() and a["state"] in ("active", "retired") for a in authorities(m))
        or any(p.failed for p in crowd), timeout=150, step=1)
    time.sleep(10)
    for p in crowd:
        p.end()
        assert p.issued > 100 and p.judged > 200
        assert len(p.roots) >= 2 and len(p.issuing) >= 3 and len(p.kids) >= 3
    for kind, id in first.items():
        assert active(m, kind) != id
    events = m.admin().get("/v1/events?type=authority&limit=1000").ok().json()["events"]
    done = {(e["action"], e["detail"]["kind"]) for e in events if e.get("detail")}
    for kind in ("root", "issuing", "jwt"):
        assert {("created", kind), ("activated", kind), ("retired", kind),
                ("removed", kind)} <= done, done
    assert not m.events("maintenance_failed") and not m.events("request_refused")
    log = m.log()
    ledger_check.verify_consistency(log.checkpoint(), log.verify(), log.leaves)


def test_a_compromise(start, issuer):
    """From the command on another root serves; what the stolen key could sign is refused as soon as
    all have renewed, and nobody who renews is refused."""
    m = start([issuer.config("file")],
              dict(LIVES, authorities={"root_life": 3600, "issuing_life": 900, "jwt_life": 900},
                   rotation={"deadline": "5m", "skew": "1s"}))
    root, issuing = active(m, "root"), active(m, "issuing")
    crowd = parties(m, issuer)
    wait_until("load", lambda: all(p.issued > 6 for p in crowd))
    for p in crowd:
        p.only_last = True
    watcher = m.watcher()
    etag = watcher.get("/v1/bundle").ok().headers["ETag"]
    begin = time.monotonic()
    told = []
    waits = threading.Thread(target=lambda: told.append(
        (watcher.get("/v1/bundle?wait=30", If_None_Match=etag), time.monotonic())))
    waits.start()
    time.sleep(0.3)
    m.mica("authority", "taint", issuing)
    assert active(m, "root") != root and active(m, "issuing") != issuing
    waits.join(30)
    assert told[0][0].status == 200 and told[0][1] - begin < 5 * SLOW
    wait_until("the root of what was stolen has left the bundle",
               lambda: not any(a["id"] == root and a["published"] for a in authorities(m)),
               timeout=40, step=0.5)
    assert time.monotonic() - begin > 1
    time.sleep(5)
    for p in crowd:
        p.end()
    assert m.events("authority_replaced")
    assert len(authorities(m, "root", "active")) == 1


def test_by_hand(start, issuer):
    m = start([issuer.config("file")], {"rotation": {"outlets": [{"name": "linkerd"}]}})
    first = active(m, "root")
    assert first in m.mica("authority", "list").stdout
    assert "BEGIN CERTIFICATE" in m.mica("authority", "show", first).stdout
    plan = m.mica("rotation", "plan", "--ahead", "30d", "--output", "json")
    assert '"create"' in plan.stdout and '"issuing"' in plan.stdout
    m.mica("rotation", "start", "root")
    status = m.mica("rotation", "status").stdout
    assert "propagation" in status and "linkerd" in status
    new = [a["id"] for a in authorities(m, "root", "published")]
    assert len(new) == 1
    refused = m.mica("authority", "activate", new[0], check=False)
    assert refused.returncode == 6 and "not_everywhere" in refused.stderr
    m.mica("rotation", "confirm", "linkerd")
    assert m.mica("rotation", "confirm", "istio", check=False).returncode == 5
    m.mica("authority", "activate", new[0], "--force")
    assert active(m, "root") == new[0]
    m.fetch(issuer.token()).ok(201)
    m.mica("rotation", "rollback", "root")
    assert active(m, "root") == first
    again = m.fetch(issuer.token()).ok(201).json()
    good, said = openssl_verify(again["certificate_chain"], m.roots().decode())
    assert good, said
    in_use = m.mica("authority", "revoke", new[0], check=False)
    assert in_use.returncode == 6 and "in_use" in in_use.stderr
    m.mica("authority", "revoke", new[0], "--force")
    assert new[0] not in [a["id"] for a in authorities(m) if a["published"]]
    m.mica("authority", "prepare", "jwt")
    m.mica("rotation", "start", "jwt")
    m.mica("rotation", "start", "issuing")
    assert "agrees" in m.mica("rotation", "clock").stdout
    m.mica("rotation", "clock", "--accept")
    bad = m.mica("authority", "prepare", "root", "--recover", check=False)
    assert bad.returncode == 6 and "root_usable" in bad.stderr
    events = m.admin().get("/v1/events?type=authority&limit=1000").ok().json()["events"]
    forced = [e for e in events if e.get("detail", {}).get("force")]
    assert {e["action"] for e in forced} >= {"activated", "removed"}
    assert any(e["detail"]["breaks"]["reason"] == "in_use" for e in forced)
