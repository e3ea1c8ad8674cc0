# SPDX-License-Identifier: Apache-2.0
"""Under load: killed at any instant, tainted in the middle, flooded with what is worthless."""
import http.client
import os
import random
import threading
import time

from cryptography import x509

import entry
import ledger_check
import pki
from micad import Client, certificates
from proc import SLOW, wait_until

CYCLES = int(os.environ.get("MICA_CRASH_CYCLES", "10"))


class Load:
    """Callers that ask as fast as they can, each certificate with a token of its own."""

    def __init__(self, m, issuer, callers=6):
        self.m, self.issuer = m, issuer
        self.got, self.refused, self.checkpoints = [], [], []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(callers)]
        self.threads.append(threading.Thread(target=self.watch))

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *unused):
        self.stop.set()
        for t in self.threads:
            t.join()

    def until_cut(self, step):
        """Calls step() again and again until the connection breaks or the load ends."""
        while not self.stop.is_set():
            try:
                step()
            except (OSError, http.client.HTTPException):
                return

    def ask(self):
        client, key = self.m.client(), pki.key()

        def step():
            a = self.m.fetch(self.issuer.token(), key, client, bundle_sequence=2 ** 53 - 1)
            (self.got if a.status == 201 else self.refused).append(a)

        self.until_cut(step)

    def watch(self):
        """An outsider who remembers what he saw."""
        log = self.m.log()
        log.client = self.m.client()

        def step():
            self.checkpoints.append(log.checkpoint())
            time.sleep(0.005)

        self.until_cut(step)


def check(m, load):
    """What anybody got or saw is in the one tree; the number of certificates."""
    log = m.log()
    cp = log.verify(bundles=False)
    for old in {c.size: c for c in load.checkpoints}.values():
        ledger_check.verify_consistency(old, cp, log.leaves)
    bundles = {}
    for a in load.got:
        index = a.json()["ledger_index"]
        n = index // ledger_check.WIDTH
        if n not in bundles:
            bundles[n] = log.bundle(n, cp.size)
        data = bundles[n][index % ledger_check.WIDTH]
        assert ledger_check.leaf_hash(data) == log.leaves[index]
        leaf = certificates(a.json()["certificate_chain"])[0]
        assert entry.parse(data)["certificate"] == leaf.public_bytes(pki.DER)
    return len(load.got)


def test_killed_at_any_instant(start, issuer):
    m = start([issuer.config("file")])
    total = 0
    for cycle in range(CYCLES):
        with Load(m, issuer) as load:
            m.process.wait_until("load", lambda: len(load.got) > 3)
            time.sleep(random.random() * 0.3)
            m.kill()
        m.start()
        total += check(m, load)
    assert total > 5 * CYCLES
    size = m.log().verify().size
    print(f"{CYCLES} kills of micad under load, {total} certificates found in a ledger of {size}")


def test_taint_under_full_load(start, issuer):
    """After a taint no entry of a higher index names what is tainted; the standby serves, and
    who is refused in that moment is told to try again."""
    m = start([issuer.config("file")], {"limits": {"requests_per_identity": 0}})
    issuing = next(a["id"] for a in m.admin().get("/v1/status").ok().json()["authorities"]
                   if a["kind"] == "issuing" and a["state"] == "active")
    with Load(m, issuer) as load:
        wait_until("load", lambda: len(load.got) > 50)
        m.admin().post("/v1/authorities/%s/taint" % issuing).ok(204)
        tainted, before = m.log().checkpoint().size, len(load.got)
        wait_until("load goes on", lambda: len(load.got) > before + 50)
    check(m, load)
    for r in load.refused:
        assert r.status == 503, r
    # Until the step that follows the taint is recorded, and no longer.
    assert len(load.refused) < len(load.got), load.refused
    log = m.log()
    entries = [entry.parse(e) for e in log.entries(log.verify().size)]
    at = next(i for i, e in enumerate(entries) if e.get("action") == "tainted")
    assert at < tainted and entries[at]["authority"] == issuing
    assert any(e["type"] == "x509_issued" for e in entries[:at])
    for e in entries[at + 1 :]:
        if "certificate" in e:
            aki = x509.load_der_x509_certificate(e["certificate"]).extensions \
                .get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
            assert aki.hex() != issuing


def test_flood_of_bad_tokens(start, issuer):
    """The flood is cut; who was known at that address, and everybody elsewhere, is served."""
    m = start([issuer.config("file")], {"limits": {"failures_per_address": 100}})
    known, stop, seen = issuer.token(), threading.Event(), []

    def flood():
        client = m.client()
        body = {"csr": pki.csr(pki.key())}
        while not stop.is_set():
            seen.append(client.post("/v1/x509-svids", body,
                                    token=issuer.token(key=issuer_key)).status)

    issuer_key = pki.key("rsa2048")
    m.fetch(known).ok(201)
    threads = [threading.Thread(target=flood) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        wait_until("the flood is cut", lambda: 429 in seen)
        begin = time.monotonic()
        for _ in range(20):
            m.fetch(known).ok(201)
        assert time.monotonic() - begin < 10 * SLOW
        local = Client(unix=m.config["admin"]["socket"])
        m.fetch(issuer.token(), client=local).ok(201)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert set(seen) <= {401, 429} and seen.count(401) < 200
