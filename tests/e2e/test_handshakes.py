# SPDX-License-Identifier: Apache-2.0
"""Rotation as workloads see it: they shake hands all the time, some with bundles as stale as they
may be, through rotations of all kinds, a roll-back, a compromise, and kills of micad. Not one
handshake fails."""
import json
import os
import random
import subprocess
import time

from cryptography import x509

import entry
import ledger_check
import pki
from mesh import Mesh, Refused, shake
from micad import MICA
from proc import SLOW, wait_until

HINT = 1
# Lives of seconds: a root serves about 10, a JWT key 9, an issuing authority 6.
LIVES = {
    "x509": {"ttl": 4, "max_ttl": 4, "min_ttl": 1},
    "jwt": {"ttl": 4, "max_ttl": 4},
    "bundle": {"refresh_hint": HINT},
    "authorities": {"root_life": 60, "issuing_life": 17, "jwt_life": 30},
    "rotation": {"root": {"rotate_at": 10}, "issuing": {"rotate_at": 40}, "jwt": {"rotate_at": 10},
                 "propagation": "3s", "skew": "1s", "trash": "2s", "ack_timeout": "3s",
                 "deadline": "8s"},
    "limits": {"requests_per_identity": 0, "failures_per_address": 0},
}
# The same without rotations by time: what happens is what an administrator asks for.
BY_HAND = dict(LIVES, authorities={"root_life": 3600, "issuing_life": 900, "jwt_life": 900},
               rotation=dict(LIVES["rotation"], root={"rotate_at": 50}, issuing={"rotate_at": 50},
                             jwt={"rotate_at": 50}))


def authorities(m, kind=None, state=None):
    return [a for a in m.admin().get("/v1/status").ok().json()["authorities"]
            if kind in (None, a["kind"]) and state in (None, a["state"])]


def active(m, kind):
    found = authorities(m, kind, "active")
    assert len(found) == 1, found
    return found[0]["id"]


def standby_is_ready(m):
    wait_until("the standby root is known to everybody",
               lambda: authorities(m, "root", "ready"), timeout=20, step=0.2)


class Steps:
    """What the ledger says that authorities did, in its order."""

    def __init__(self, m):
        log = m.log()
        self.size = log.verify().size
        self.leaves = log.leaves
        self.entries = [entry.parse(e) for e in log.entries(self.size)]
        self.log = log

    def of(self, *actions):
        return [e for e in self.entries if e["type"] == "authority" and e["action"] in actions]

    def activated(self, kind):
        """How often one of a kind took over."""
        return sum('"kind":"%s"' % kind in e.get("detail", "") for e in self.of("activated"))

    def check(self, mesh):
        """At most one signs, in each moment that the ledger knows; each certificate that anybody got
        is an entry; nothing is signed by what is not active."""
        signs = {}
        for e in self.entries:
            if e["type"] == "authority":
                self.follow(signs, e)
            elif e["type"] == "x509_issued":
                aki = of_aki(e["certificate"])
                assert signs.get("issuing") in (None, aki), "signed by one that is not active"
        for held in mesh.issued():
            e = self.entries[held.answer["ledger_index"]]
            assert e["certificate"] == held.leaf.public_bytes(pki.DER)

    @staticmethod
    def follow(signs, e):
        kind = next((k for k in ("root", "issuing", "jwt")
                     if '"kind":"%s"' % k in e.get("detail", "")), None)
        if not kind and e["action"] != "tainted":
            return  # by `mica init`
        if e["action"] == "retired":
            assert signs.get(kind) in (None, e["authority"])
            signs[kind] = "-"
        elif e["action"] == "tainted":
            for k in signs:
                if signs[k] == e["authority"]:
                    signs[k] = "-"
        elif e["action"] == "activated":
            assert signs.get(kind) in (None, "-"), "%s: two are active" % kind
            signs[kind] = e["authority"]


def of_aki(der):
    return x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.AuthorityKeyIdentifier).value.key_identifier.hex()


def report(mesh, **more):
    print("%d handshakes, 0 failed, %d tokens judged, %d certificates, %d left out; %s" % (
        mesh.handshakes, mesh.judged, len(mesh.issued()), mesh.left_out,
        ", ".join("%s %s" % (v, k.replace("_", " ")) for k, v in more.items())))


def test_three_rotations_and_a_roll_back(start, issuer):
    m = start([issuer.config("file")], LIVES)
    with Mesh(m, issuer, HINT) as mesh:
        def rotated(n):
            s = Steps(m)
            return mesh.failed or mesh.trouble() or all(
                s.activated(k) >= n for k in ("root", "issuing", "jwt"))
        wait_until("three rotations of each kind", lambda: rotated(3), timeout=60, step=1)
        # the older one is not held for long here: it has to be there still
        wait_until("a way back", lambda: authorities(m, "root", "retired") and
                   m.mica("rotation", "rollback", "root", "--force", check=False).returncode == 0,
                   timeout=40, step=0.1)
        count = Steps(m).activated("root")
        wait_until("rotation goes on after it", lambda: mesh.failed or
                   Steps(m).activated("root") > count, timeout=40, step=0.5)
        time.sleep(4)
    assert mesh.handshakes > 300 and mesh.left_out < mesh.handshakes
    assert len(mesh.authorities) >= 5 and len(mesh.kids) >= 3
    s = Steps(m)
    s.check(mesh)
    assert not m.events("maintenance_failed") and not m.events("request_refused")
    assert len(s.of("removed")) >= 6 and len(s.of("destroyed")) >= 3
    report(mesh, roots=s.activated("root"), issuing=s.activated("issuing"),
           jwt_keys=s.activated("jwt"))


def accepted(thief, workloads):
    """How many of the workloads believe it."""
    n = 0
    for w in workloads:
        try:
            shake(w.held.with_bundle(w.held.bundle), thief.with_bundle(w.held.bundle))
            n += 1
        except Refused:
            pass
    return n


def test_a_compromise(start, issuer):
    """From the command on the stolen key signs nothing of ours; everybody renews, and nobody is
    refused meanwhile; whoever has the key is believed until the deadline, and no longer."""
    over = dict(BY_HAND, x509={"ttl": 4, "max_ttl": 30, "min_ttl": 1})
    m = start([issuer.config("file")], over)
    standby_is_ready(m)
    with Mesh(m, issuer, HINT) as mesh:
        wait_until("everybody has a certificate", lambda: all(w.held for w in mesh.workloads))
        first = mesh.workloads[0]
        stolen = active(m, "issuing")
        # what whoever has the key can make for himself
        thief = mesh.hold("thief", m.fetch(issuer.token(), first.key, ttl=30).ok(201).json(),
                          first.key, first.held.bundle)
        assert accepted(thief, mesh.workloads) == 4
        began = time.monotonic()
        m.mica("authority", "taint", stolen)
        told = time.monotonic() - began
        assert active(m, "issuing") != stolen
        wait_until("everybody has renewed", lambda: mesh.failed or mesh.trouble() or not any(
            w.held.authority == thief.authority for w in mesh.workloads), timeout=20)
        renewed = time.monotonic() - began
        wait_until("nobody believes the thief", lambda: mesh.failed or mesh.trouble() or
                   accepted(thief, mesh.workloads) == 0, timeout=30)
        exposed = time.monotonic() - began
        time.sleep(2)
    assert thief.end > time.time(), "it has not just expired"
    assert renewed < 4 + 2 * SLOW and exposed < 8 + 3 * HINT + 2 * SLOW
    s = Steps(m)
    s.check(mesh)
    at = next(i for i, e in enumerate(s.entries) if e.get("action") == "tainted")
    assert not any(of_aki(e["certificate"]) == stolen for e in s.entries[at:]
                   if "certificate" in e)
    report(mesh, exposed_s="%.1f" % exposed, renewed_s="%.1f" % renewed, told_s="%.2f" % told)


def test_what_is_broken_is_seen(start, issuer):
    """The control: a root that nobody has, activated by force."""
    m = start([issuer.config("file")], BY_HAND)
    with Mesh(m, issuer, HINT) as mesh:
        wait_until("handshakes", lambda: mesh.handshakes > 20)
        new = m.mica("authority", "prepare", "root", "--output", "json").stdout
        new = json.loads(new)["id"]
        m.mica("authority", "activate", new, "--force")
        try:
            wait_until("a failure", lambda: mesh.failed or mesh.trouble(), timeout=10)
        finally:
            seen = mesh.failed + mesh.trouble()
            mesh.failed.clear()
            for w in mesh.workloads:
                w.failed.clear()
            mesh.over.set()
    assert seen


class Killer:
    """micad dies at once, again and again: any time, and in the middle of what it is asked to do."""

    def __init__(self, m, mesh, chance):
        self.m, self.mesh, self.chance = m, mesh, chance
        self.kills, self.asked, self.checkpoints = 0, 0, []
        self.tainted = {}

    def command(self, *argv):
        env = dict(self.m.env, MICA_ADMIN_SOCKET=self.m.config["admin"]["socket"])
        self.asked += 1
        return subprocess.Popen([MICA, *argv], env=env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(self):
        kind = self.chance.choice(("root", "issuing", "jwt"))
        return self.command("rotation", *self.chance.choice(
            (("start", kind), ("rollback", kind, "--force"), ("clock", "--accept"))))

    def kill(self, child=None):
        self.mesh.down = True
        self.m.kill()
        self.kills += 1
        if child:
            child.wait(10 * SLOW)
        self.m.start()
        self.mesh.up_since, self.mesh.down = time.monotonic(), False
        self.checkpoints.append(self.m.log().checkpoint())
        now = authorities(self.m)
        for kind in ("root", "issuing", "jwt"):
            n = sum(a["kind"] == kind and a["state"] == "active" for a in now)
            assert n == 1, (kind, n)

    def burst(self, n):
        for _ in range(n):
            if self.chance.random() < 0.6:
                child = self.ask()
                time.sleep(self.chance.random() * 0.04)
                self.kill(child)
            else:
                time.sleep(self.chance.random() * 0.6)
                self.kill()

    def taint(self):
        """Until it is on the disk: a command that was cut off is given again."""
        standby_is_ready(self.m)
        stolen = next(a for a in authorities(self.m, "issuing", "active"))["id"]
        while not any(a["id"] == stolen and a["state"] in ("tainted", "removed")
                      for a in authorities(self.m, "issuing")):
            child = self.command("authority", "taint", stolen)
            time.sleep(self.chance.random() * 0.04)
            self.tainted.setdefault(stolen, time.monotonic())
            self.kill(child)
        return stolen


def test_killed_all_the_time(start, issuer):
    rounds = int(os.environ.get("MICA_KILL_ROUNDS", "5"))
    over = dict(LIVES, x509={"ttl": 6, "max_ttl": 6, "min_ttl": 1},
                authorities={"root_life": 120, "issuing_life": 30, "jwt_life": 40})
    m = start([issuer.config("file")], over)
    seed = int(os.environ.get("MICA_SEED", random.SystemRandom().randrange(1 << 31)))
    print("seed", seed)
    with Mesh(m, issuer, HINT) as mesh:
        mesh.killing = True
        k = Killer(m, mesh, random.Random(seed))
        # who has not renewed at the deadline is refused: that is what it is for
        mesh.exempt = lambda held: time.monotonic() > k.tainted.get(held.authority, 1e18) + 7
        for i in range(rounds):
            k.burst(7)
            time.sleep(7)
            if i == 1:
                stolen = k.taint()
            assert not mesh.failed and not mesh.trouble(), (mesh.failed + mesh.trouble())[:3]
        time.sleep(6)
    s = Steps(m)
    s.check(mesh)
    final = s.log.checkpoint()
    s.log.verify()
    for old in k.checkpoints:
        ledger_check.verify_consistency(old, final, s.log.leaves)
    at = next(i for i, e in enumerate(s.entries) if e.get("action") == "tainted")
    assert not any(of_aki(e["certificate"]) == stolen for e in s.entries[at:]
                   if "certificate" in e)
    assert mesh.handshakes > 300 and k.kills >= 7 * rounds
    report(mesh, kills=k.kills, commands_cut_off=k.asked, roots=s.activated("root"),
           issuing=s.activated("issuing"), jwt_keys=s.activated("jwt"))
