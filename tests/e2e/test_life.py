# SPDX-License-Identifier: Apache-2.0
"""From `mica init` to the end: starting, reloading, draining, being killed."""
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

import ledger_check
import pki
from micad import MICAD, TRUST_DOMAIN, Client, Micad, certificates, verify_chain
from proc import Process, wait_until


def refused_start(m, reason, argv=()):
    """micad does not start, says why, and touches nothing."""
    m.write_config()
    p = Process([MICAD, "--config", m.config_file, *argv], m.path("refused.log"), env=m.env)
    assert p.wait(20) not in (0, None)
    assert reason in p.text(), p.tail()


def snapshot(folder):
    out = {}
    for base, _, names in os.walk(folder):
        for n in names:
            path = os.path.join(base, n)
            with open(path, "rb") as f:
                out[os.path.relpath(path, folder)] = f.read()
    return out


def test_init_is_explicit_and_once(tmp_path, issuer):
    m = Micad(tmp_path, [issuer.config("file")])
    refused_start(m, "store_missing")
    assert not os.path.exists(m.path("store")), "no root is ever made by starting"
    m.init()
    before = snapshot(m.path("store"))
    again = m.mica("init", "--config", m.config_file, check=False)
    assert again.returncode == 6 and "store_exists" in again.stderr
    assert snapshot(m.path("store")) == before
    pki.write(m.path("passphrase"), b"wrong\n")
    refused_start(m, "wrong_passphrase")
    m.sockets.cleanup()


def test_half_a_store_is_none(tmp_path, issuer):
    m = Micad(tmp_path, [issuer.config("file")])
    os.makedirs(m.path("store"))
    pki.write(m.path("store/data.mdb"), b"\0" * 8192)
    refused_start(m, "store")
    assert m.mica("init", "--config", m.config_file, check=False).returncode != 0
    assert os.path.getsize(m.path("store/data.mdb")) == 8192
    m.sockets.cleanup()


def test_no_secret_at_rest(start, issuer):
    m = start([issuer.config("file")])
    token = issuer.token()
    m.fetch(token).ok(201)
    with open(m.passphrase, "rb") as f:
        passphrase = f.read().strip()
    for data in list(snapshot(m.path("store")).values()) + [m.process.text().encode()]:
        assert passphrase not in data
        assert token.split(".")[2].encode() not in data and token.split(".")[1].encode() not in data
        assert b"-----BEGIN PRIVATE KEY-----" not in data


def test_one_store_one_server(start, issuer):
    m = start([issuer.config("file")])
    config = dict(m.config, admin={"socket": m.path("s")})
    other = Micad(m.path("other"), over=config)
    other.config["passphrase"] = m.config["passphrase"]
    refused_start(other, "store_locked")
    m.fetch(issuer.token()).ok(201)
    other.sockets.cleanup()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_everything_is_there_after_a_restart(start, issuer, how):
    m = start([issuer.config("file")])
    got = [m.fetch(issuer.token(pod="p-%d" % i)).ok(201).json() for i in range(20)]
    old, roots = m.log().checkpoint(), m.roots()
    if how == "stop":
        m.restart()
    else:
        m.kill()
        m.start()
    log = m.log()
    cp = log.verify()
    ledger_check.verify_consistency(old, cp, log.leaves)
    assert m.roots() == roots
    for a in got:
        d = m.admin().get("/v1/certificates/" + a["serial"]).ok().json()
        assert d["ledger_index"] == a["ledger_index"]
        verify_chain(a["certificate_chain"], m.roots())
        m.receipt(a["ledger_index"])
    m.fetch(issuer.token()).ok(201)


def test_drain(start, issuer):
    """SIGTERM: who waits is told at once, nobody's request is cut, the exit is 0."""
    m = start([issuer.config("file")])
    etag = m.client().get("/v1/bundle").ok().headers["ETag"]
    waiters = []

    def wait():
        waiters.append(m.watcher().get("/v1/bundle?wait=50", If_None_Match=etag))

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for t in threads:
        t.start()
    time.sleep(1)
    begin = time.monotonic()
    assert m.stop() == 0
    for t in threads:
        t.join()
    assert time.monotonic() - begin < 15
    for w in waiters:
        w.problem(503, "draining")
    assert not os.path.exists(m.config["admin"]["socket"])
    m.start()


def test_reload(start, issuer):
    m = start([issuer.config("file")])
    a = m.fetch(issuer.token()).ok(201).json()
    m.config["deny"] = {"spiffe_ids": [a["spiffe_id"]]}
    m.config["x509"] = {"ttl": "10m"}
    m.config["store"] = dict(m.config["store"], max_disk_percent=95)
    m.reload()
    m.fetch(issuer.token()).problem(403, "denied_by_list")
    leaf = certificates(m.fetch(issuer.token("a", "b")).ok(201).json()["certificate_chain"])[0]
    assert (leaf.not_valid_after - leaf.not_valid_before).total_seconds() == 660
    assert "store.max_disk_percent" in m.process.text(), "it says what needs a restart"
    # a broken file changes nothing
    with open(m.config_file, "a") as f:
        f.write("nonsense: 1\n")
    m.process.signal(signal.SIGHUP)
    m.process.wait_until("the refusal", lambda: "nonsense" in m.process.text())
    m.fetch(issuer.token("a", "b")).ok(201)


def test_check_config(tmp_path, issuer):
    m = Micad(tmp_path, [issuer.config("file")])
    m.write_config()
    assert Process([MICAD, "--check-config", "--config", m.config_file],
                   m.path("log")).wait() == 0
    m.config["x509"] = {"ttl": "an hour"}
    m.write_config()
    p = Process([MICAD, "--check-config", "--config", m.config_file], m.path("log"))
    assert p.wait() != 0
    line = next(i for i, x in enumerate(open(m.config_file), 1) if "an hour" in x)
    assert "%s:%d:" % (os.path.basename(m.config_file), line) in p.text() or (
        "line %d" % line) in p.text() or ":%d:" % line in p.text(), p.text()
    m.sockets.cleanup()


def test_backup(start, issuer, tmp_path):
    m = start([issuer.config("file")])
    for _ in range(5):
        m.fetch(issuer.token()).ok(201)
    path = str(tmp_path / "backup.mica")
    m.admin().post("/v1/backups", {"path": path}).ok(201)
    assert os.path.getsize(path) > 0 and os.stat(path).st_mode & 0o077 == 0
    m.admin().post("/v1/backups", {"path": "relative"}).problem(400, "bad_path")
    r = m.admin().post("/v1/backups", {"path": path})
    assert r.status == 409, "an older backup is never overwritten"
    m.fetch(issuer.token()).ok(201)


BY_HAND = {"rotation": {k: {"automatic": False} for k in ("root", "issuing", "jwt")}}


def test_taint(start, issuer):
    """Nothing more is signed by what is tainted, at once; by hand, nothing else steps in."""
    m = start([issuer.config("file")], BY_HAND)
    m.fetch(issuer.token()).ok(201)
    status = m.admin().get("/v1/status").ok().json()
    ids = [a["id"] for a in status["authorities"]
           if a["kind"] == "issuing" and a["state"] == "active"]
    m.admin().post("/v1/authorities/%s/taint" % ids[0]).ok(204)
    m.fetch(issuer.token()).problem(503, "no_active_authority")
    m.admin().post("/v1/authorities/%s/taint" % ids[0]).problem(409, "tainted_already")
    m.admin().post("/v1/authorities/%s/taint" % ("0" * 40)).problem(404, "no_such_authority")
    m.client().get("/v1/bundle").ok()
    m.metrics().get("/readyz").problem(503, m.metrics().get("/readyz").json()["reason"])


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
            with open(ballast, "wb") as f:
                try:
                    for _ in range(more // 4096):
                        f.write(b"\0" * 4096)
                except OSError:
                    pass

    fill.where = where
    yield fill
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.parametrize("percent, reason", [(93, "store_full"), (100, None)])
def test_the_disk_is_full(issuer, small_disk, tmp_path, percent, reason):
    """Above the configured mark it stops before the store can fail; a disk that is really full is
    no worse. Reading goes on, and with room everything does."""
    limit = 90 if reason else 99
    with Micad(tmp_path / "m", [issuer.config("file")], {"store": {
            "path": str(small_disk.where / "store"), "max_disk_percent": limit}}) as m:
        m.fetch(issuer.token()).ok(201)
        small_disk(percent)

        def refused():
            r = m.fetch(issuer.token())
            return r if r.status != 201 else None

        r = wait_until("it is refused", refused, 20, 0.01)
        r.problem(503, reason or r.json()["reason"])
        m.client().get("/v1/bundle").ok()
        before = m.log().verify()
        m.metrics().get("/readyz").problem(503, m.metrics().get("/readyz").json()["reason"])
        small_disk(0)
        wait_until("it goes on", lambda: m.fetch(issuer.token()).status == 201, 20, 0.1)
        log = m.log()
        ledger_check.verify_consistency(before, log.verify(), log.leaves)


def test_limits_of_one_identity(start, issuer):
    """Who asks too often is slowed, the others are not."""
    m = start([issuer.config("file")], {"limits": {"requests_per_identity": 20}})
    client = m.client()
    seen = [m.fetch(issuer.token(), client=client).status for _ in range(60)]
    assert seen[0] == 201 and seen[-1] == 429
    m.fetch(issuer.token()).problem(429, "identity_rate_limited")
    m.fetch(issuer.token("other", "sa", "pod")).ok(201)


def test_limits_of_failures(start, issuer):
    m = start([issuer.config("file")], {"limits": {"failures_per_address": 20}})
    client = m.client()
    seen = [m.fetch("bad", client=client).status for _ in range(60)]
    assert seen[0] == 401 and seen[-1] == 429
    Client(unix=m.config["admin"]["socket"]).get("/v1/status").ok()


def test_trust_domain_of_the_store(start, issuer):
    m = start([issuer.config("file")])
    assert m.stop() == 0
    m.config["trust_domain"] = "other.example"
    refused_start(m, "trust_domain_mismatch")
    m.config["trust_domain"] = TRUST_DOMAIN
    m.start()
