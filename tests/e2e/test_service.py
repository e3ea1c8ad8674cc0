# SPDX-License-Identifier: Apache-2.0
"""Under a supervisor: what it is told, what it may do about an end, and how a drain goes."""
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

import entry
import pki
from micad import BIN, MICAD, Micad
from proc import Process, wait_until
from test_crash import Load

UNIT = os.path.join(BIN, "deploy/systemd/micad.service")


class Supervisor:
    """The socket of sd_notify(3)."""

    def __init__(self, path):
        self.path, self.heard = path, []
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.s.bind(path)
        self.s.setblocking(False)

    def listen(self):
        while True:
            try:
                self.heard += self.s.recv(65536).decode().splitlines()
            except BlockingIOError:
                return self.heard

    def hears(self, line, times=1):
        wait_until(line, lambda: self.listen().count(line) >= times)


def test_the_supervisor_is_told(start, issuer, tmp_path):
    with Micad(tmp_path / "unused") as m:  # only for a short path
        s = Supervisor(os.path.join(m.sockets.name, "notify"))
        n = start([issuer.config("file")], env={"NOTIFY_SOCKET": s.path, "WATCHDOG_USEC": "5000000"})
        s.hears("READY=1")
        assert any(x.startswith("STATUS=Serving example.org on 127.0.0.1:") for x in s.listen())
        s.hears("WATCHDOG=1", 2)
        n.reload()
        s.hears("RELOADING=1")
        s.hears("READY=1", 2)
        assert s.heard.index("RELOADING=1") > s.heard.index("READY=1")
        assert "STOPPING=1" not in s.heard
        assert n.stop() == 0
        s.hears("STOPPING=1")
        s.s.close()


def test_a_start_that_fails_is_never_ready(issuer, tmp_path):
    with Micad(tmp_path / "unused") as other:
        s = Supervisor(os.path.join(other.sockets.name, "notify"))
        m = Micad(tmp_path / "m", [issuer.config("file")], env={"NOTIFY_SOCKET": s.path})
        m.write_config()
        p = Process([MICAD, "--config", m.config_file], m.path("log"), env=m.env)
        assert p.wait(20) != 0
        assert "READY=1" not in s.listen()
        assert any(x.startswith("STATUS=") and "mica init" in x for x in s.heard)
        s.s.close()
        m.sockets.cleanup()


def settings():
    with open(UNIT) as f:
        return dict(line.split("=", 1) for line in f.read().splitlines()
                    if "=" in line and not line.startswith("#"))


def ends_with(m, change):
    change(m)
    p = Process([MICAD, "--config", m.config_file], m.path("refused.log"), env=m.env)
    return p.wait(20), p.text()


def test_what_a_restart_cannot_mend_is_not_restarted(issuer, tmp_path):
    """The unit's list against what micad really ends with."""
    prevented = set(map(int, settings()["RestartPreventExitStatus"].split()))
    m = Micad(tmp_path / "m", [issuer.config("file")])
    m.init()

    def config(m):
        m.config["nonsense"] = 1
        m.write_config()

    def passphrase(m):
        del m.config["nonsense"]
        m.write_config()
        os.rename(m.passphrase, m.passphrase + ".good")
        pki.write(m.passphrase, b"wrong\n")

    def exposed(m):
        os.replace(m.passphrase + ".good", m.passphrase)
        os.chmod(m.passphrase, 0o644)

    def damaged(m):
        os.chmod(m.passphrase, 0o600)
        with open(m.path("store/store.lmdb"), "r+b") as f:
            f.write(b"\xff" * 8192)

    def gone(m):
        shutil.rmtree(m.path("store"))

    for change, reason in ((config, "nonsense"), (passphrase, "wrong_passphrase"),
                           (exposed, "secret_exposed"), (damaged, "store"),
                           (gone, "store_missing")):
        status, text = ends_with(m, change)
        assert reason in text and status in prevented, (change.__name__, status, text)
    # a store that another process has for a moment, and a failed one, are worth another try
    assert not prevented & {0, 6, 75}
    assert settings()["Restart"] == "on-failure" and settings()["Type"] == "notify"
    m.sockets.cleanup()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
@pytest.mark.parametrize("name", ["micad", "mica-agent"])
def test_the_unit(tmp_path, name):
    """It is correct, and its sandbox is tight."""
    unit = os.path.join(os.path.dirname(UNIT), name + ".service")
    with open(unit) as f:
        text = f.read()
    # what is not installed here
    text = re.sub(r"/\S*/%s( |$)" % name, r"/bin/true\1", text)
    text = re.sub(r"^(User|Group)=mica$", r"\1=root", text, flags=re.M)
    text = re.sub(r"^Documentation=.*$", "", text, flags=re.M)
    path = pki.write(str(tmp_path / (name + ".service")), text.encode(), 0o644)
    r = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True,
                       text=True)
    said = [x for x in (r.stdout + r.stderr).splitlines() if name + ".service" in x]
    assert r.returncode == 0 and not said, said
    r = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", unit],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stdout[-300:]


def test_a_drain_cuts_nobody(start, issuer):
    """SIGTERM under load: what was recorded was answered, what was not answered was not recorded."""
    m = start([issuer.config("file")])
    with Load(m, issuer, 8) as load:
        wait_until("load", lambda: len(load.got) > 60)
        m.process.signal(signal.SIGTERM)
        assert m.process.wait(20) == 0
    m.start()
    log = m.log()
    entries = [entry.parse(e) for e in log.entries(log.verify().size)]
    for r in load.refused:
        assert r.status == 503, r
    own = sum(e["type"] == "x509_issued" and e.get("issuer") == "prod" for e in entries)
    assert own == len(load.got), (own, len(load.got))
