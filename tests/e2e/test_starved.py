# SPDX-License-Identifier: Apache-2.0
"""Starts that cannot issue: no space, no authority. Reading goes on, and issuing comes back alone."""
import json
import shutil
import subprocess

import pytest

import ledger_check
from micad import Client, Micad, certificates, verify_chain
from proc import wait_until


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 48 MiB; fill(percent) leaves that much of it in use."""
    where = tmp_path / "disk"
    where.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(where)],
                      capture_output=True).returncode:
        pytest.skip("only root may make a small file system")

    def fill(percent):
        ballast = where / "ballast"
        if ballast.exists():
            ballast.unlink()
        u = shutil.disk_usage(where)
        more = int(u.total * percent / 100) - u.used
        if more > 0:
            with open(ballast, "wb", buffering=0) as f:
                try:
                    for _ in range(more // 4096 + 1):
                        f.write(b"\0" * 4096)
                except OSError:
                    pass

    fill.where = where
    yield fill
    subprocess.run(["umount", "-l", str(where)], check=True)


def on(disk, tmp_path, issuer, **over):
    over["store"] = {"path": str(disk.where / "store"), "max_disk_percent": 90}
    return Micad(tmp_path / "m", [issuer.config("file")], over)


def reads_are_served(m, client):
    client.get("/v1/bundle").ok()
    client.get("/v1/configuration").ok()
    assert m.log().verify().size > 0
    m.admin().get("/v1/status").ok()
    m.metrics().get("/healthz").ok()


def goes_on(m, issuer):
    wait_until("it goes on", lambda: m.metrics().get("/readyz").status == 200, 30, 0.1)
    a = m.fetch(issuer.token()).ok(201).json()
    verify_chain(a["certificate_chain"], m.roots())


@pytest.mark.parametrize("percent", [93, 100])
def test_a_start_on_a_full_disk(issuer, small_disk, tmp_path, percent):
    """With the certificate of before; a changed configuration must not keep it from starting."""
    m = on(small_disk, tmp_path, issuer)
    with m:
        m.fetch(issuer.token()).ok(201)
        before = m.log().verify()
        m.kill()
        small_disk(percent)
        m.config["x509"] = {"ttl": "10m"}
        m.start()
        assert m.events("serving_with_the_last_certificate"), m.tail()
        reads_are_served(m, m.client())
        r = m.fetch(issuer.token())
        r.problem(503, r.json()["reason"])
        assert r.json()["reason"] in ("store_full", "disk_full")
        m.metrics().get("/readyz").problem(503, "store_full")
        small_disk(0)
        goes_on(m, issuer)
        log = m.log()
        ledger_check.verify_consistency(before, log.verify(), log.leaves)
        leaf = certificates(m.fetch(issuer.token("a", "b")).ok(201).json()["certificate_chain"])[0]
        assert (leaf.not_valid_after - leaf.not_valid_before).total_seconds() == 660
        recorded = m.admin().get("/v1/events?type=admin&limit=1000").ok().json()["events"]
        assert "rules_changed" in json.dumps(recorded[:5]), "what it issues by is recorded"


def test_a_first_start_on_a_full_disk(issuer, small_disk, tmp_path):
    """There is no certificate to serve with yet: the socket is open, HTTPS follows by itself."""
    m = on(small_disk, tmp_path, issuer)
    m.init()
    small_disk(100)
    try:
        m.start()
        assert "https" not in m.ready and m.events("not_serving_https"), m.tail()
        reads_are_served(m, Client(unix=m.config["admin"]["socket"]))
        m.metrics().get("/readyz").problem(503, "store_full")
        small_disk(0)
        wait_until("HTTPS", lambda: m.events("listening"), 30, 0.1)
        m.ready = dict(m.ready, **{k: v for k, v in m.events("listening")[0].items()
                                   if k in ("https", "watch")})
        goes_on(m, issuer)
        m.watcher().get("/v1/bundle").ok()
        assert m.stop() == 0
    finally:
        m.kill()
        m.sockets.cleanup()


@pytest.mark.parametrize("kinds", [["issuing"], ["issuing", "root"]])
def test_a_start_without_an_authority(start, issuer, kinds):
    """Design 8.4, recovery: reads are served, readiness says why, nobody is called denied."""
    off = {"automatic": False}
    m = start([issuer.config("file")], {"rotation": {"root": off, "issuing": off}})
    a = m.fetch(issuer.token()).ok(201).json()
    for kind in kinds:
        for one in m.admin().get("/v1/status").ok().json()["authorities"]:
            if one["kind"] == kind and one["state"] == "active":
                m.admin().post("/v1/authorities/%s/taint" % one["id"]).ok(204)
    m.restart()
    assert m.events("serving_with_the_last_certificate"), m.tail()
    reads_are_served(m, Client(unix=m.config["admin"]["socket"]))
    m.fetch(issuer.token()).problem(503, "no_active_authority")
    m.metrics().get("/readyz").problem(503, "no_active_authority")
    m.client(issuer.token()).get("/v1/certificates/" + a["serial"]).ok()
