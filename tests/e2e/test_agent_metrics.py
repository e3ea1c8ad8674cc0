# SPDX-License-Identifier: Apache-2.0
"""What operators and probes see of mica-agent: figures while SVIDs are renewed and while micad is away,
and whether it is ready."""
import http.client
import os
import re
import socket
import stat
import subprocess
import time

import grpc
import pytest

from agent import AGENT, Agent
from micad import TRUST_DOMAIN
from proc import SLOW, wait_until
from test_agent_sds import Stream

SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="[^"]*",?)+\})? (-?[0-9]+(?:\.[0-9]+)?)')


class UnixHttp(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def get(address, path, method="GET"):
    c = UnixHttp(address) if address[0] == "/" else http.client.HTTPConnection(address)
    c.timeout = 10 * SLOW
    c.request(method, path)
    r = c.getresponse()
    body = r.read().decode()
    c.close()
    return r.status, r.headers, body


def scrape(address):
    """Name and labels -> value; every line is a comment or a sample of the family above it."""
    status, headers, body = get(address, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    out, family = {}, None
    for line in body.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            family = line.split()[2]
            continue
        m = SAMPLE.fullmatch(line)
        assert m and m.group(1) == family, line
        assert m.group(1) + (m.group(2) or "") not in out, line
        out[m.group(1) + (m.group(2) or "")] = float(m.group(3))
    assert "spiffe:" not in body and "BEGIN" not in body and TRUST_DOMAIN not in body
    return out


class Figures:
    def __init__(self, agent):
        self.address = agent.wait_for("ready")["metrics"]

    def __call__(self, name, **labels):
        text = ",".join('%s="%s"' % kv for kv in labels.items())
        return scrape(self.address).get("mica_agent_" + name + ("{%s}" % text if text else ""))

    def ready(self):
        status, _, body = get(self.address, "/readyz")
        return status, body


def started(folder, micad, token, **over):
    return Agent(folder, micad, token, over=dict({"metrics": {"listen": "127.0.0.1:0"}}, **over))


def test_while_it_renews_and_while_micad_is_away(tmp_path, start, issuer):
    m = start([issuer.config("file")], {"x509": {"ttl": "5s", "min_ttl": "1s"},
                                        "https": {"listen": "127.0.0.1:0"}})
    m.config["https"].update(listen=m.ready["https"], watch=m.ready["watch"])
    with started(tmp_path / "a", m, issuer.token(ttl=600)) as a:
        f = Figures(a)
        assert get(f.address, "/healthz")[0] == 200
        wait_until("it is ready", lambda: f.ready() == (200, "ready\n"))
        wait_until("both connections have been used", lambda: all(
            f("micad_reachable", connection=c) == 1 for c in ("requests", "watch")))
        assert f("ready") == f("identities") == f("svids", kind="x509") == 1
        assert f("svids", kind="jwt") == 0 and f("svid_left_seconds", kind="jwt") is None
        assert f("bundle_sequence") == int(a.wait_for("bundle_taken")["sequence"])
        assert 0 <= f("bundle_age_seconds") < 60 and f("bundle_roots") >= 1

        # renewals are counted, and there is never one too late
        before = f("results_total", kind="x509", outcome="ok")
        assert before >= 1
        wait_until("two more renewals", lambda: (
            f("svid_left_seconds", kind="x509") > 0 and
            f("results_total", kind="x509", outcome="ok") >= before + 2), timeout=30)
        assert f("results_total", kind="x509", outcome="failed") == 0
        assert f("failed_seconds", kind="x509") == 0

        m.kill()
        wait_until("it sees that micad is away", lambda: all(
            f("micad_reachable", connection=c) == 0 for c in ("requests", "watch")), timeout=30)
        assert f("results_total", kind="x509", outcome="failed") >= 1
        assert abs(f("failed_seconds", kind="x509") - time.time()) < 30 * SLOW
        assert abs(f("failed_seconds", kind="bundle") - time.time()) < 60 * SLOW
        wait_until("the certificate has ended", lambda: f.ready() == (
            503, "no valid certificate for the identity app\n"), timeout=20)
        assert f("ready") == f("svids", kind="x509") == f("svid_left_seconds", kind="x509") == 0
        # the bundle is what it was, and its age tells that nobody has confirmed it
        assert f("bundle_sequence") > 0 and f("bundle_age_seconds") >= 1

        m.start()
        wait_until("it is ready again", lambda: f.ready()[0] == 200, timeout=60)
        assert f("micad_reachable", connection="requests") == 1
        assert f("failed_seconds", kind="x509") > 0


def test_streams_tokens_and_refusals(tmp_path, micad, issuer):
    with started(tmp_path / "a", micad, issuer.token()) as a:
        f = Figures(a)
        a.wait_for("svid_issued")
        a.wait_for("bundle_taken")
        apis = ("x509_svid", "x509_bundles", "jwt_bundles", "sds", "sds_delta")
        assert [f("streams", api=x) for x in apis] == [0] * 5
        w = a.workload()
        calls = [w.call(method, timeout=60) for method in (
            "FetchX509SVID", "FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles")]
        for c in calls:
            next(c)
        with grpc.insecure_channel("unix://" + a.socket) as channel:
            plain, delta = Stream(channel), Stream(channel, delta=True)
            plain.ask("ROOTCA")
            answer = plain.next()
            delta.send(resource_names_subscribe=["default"])
            delta.next()
            assert [f("streams", api=x) for x in apis] == [2, 1, 1, 1, 1]
            assert f("connections") >= 1 and f("calls_total") >= 6
            plain.nack(answer, "ROOTCA")
            wait_until("the refusal is counted", lambda: f("sds_nacks_total") == 1)
            plain.close()
            delta.close()
        assert f("svids", kind="jwt") == 0
        w.call("FetchJWTSVID", audience=["db"])
        w.call("FetchJWTSVID", audience=["db"])
        w.call("FetchJWTSVID", audience=["cache"])
        assert f("svids", kind="jwt") == f("results_total", kind="jwt", outcome="ok") == 2
        assert f("svid_left_seconds", kind="jwt") > 0
        for c in calls:
            c.cancel()
        w.close()
        wait_until("no stream is left", lambda: [f("streams", api=x) for x in apis] == [0] * 5)


def test_files_that_cannot_be_written(tmp_path, micad, issuer):
    with open(tmp_path / "blocked", "w") as f:
        f.write("not a directory")
    a = started(tmp_path / "a", micad, None)
    a.set_token(issuer.token())
    good = {"directory": str(tmp_path / "out"), "command": ["/bin/false"]}
    bad = {"directory": str(tmp_path / "blocked" / "out")}
    a.config["identities"] = [a.identity("good", files=good), a.identity("bad", files=bad)]
    with a:
        f = Figures(a)
        wait_until("one set is written, the other is not", lambda: (
            f("results_total", kind="files", outcome="ok") >= 1 and
            f("results_total", kind="files", outcome="failed") >= 1 and
            f("results_total", kind="program", outcome="failed") >= 1))
        assert f("results_total", kind="program", outcome="ok") == 0
        assert f("failed_seconds", kind="files") > 0
        assert f("identities") == 2


def test_on_a_unix_socket_before_micad_is_there(tmp_path, micad, issuer):
    a = started(tmp_path / "a", micad, issuer.token())
    a.config["metrics"]["listen"] = path = os.path.join(a.sockets.name, "metrics.sock")
    a.config["micad"]["url"] = a.config["micad"]["watch_url"] = "https://127.0.0.1:1"
    with a:
        f = Figures(a)
        assert f.address == path and stat.S_IMODE(os.stat(path).st_mode) == 0o660
        status, body = f.ready()
        assert status == 503 and "no trust bundle" in body and "identity app" in body
        assert f("bundle_age_seconds") == -1 and f("bundle_sequence") == 0
        assert f("micad_reachable", connection="watch") == 0
        assert get(path, "/metrics", "POST")[0] == 405 and get(path, "/")[0] == 404
        status, headers, body = get(path, "/metrics", "HEAD")
        assert status == 200 and int(headers["Content-Length"]) > 1000 and body == ""
    assert not os.path.exists(path)


def test_where_it_listens(tmp_path, micad, issuer):
    with Agent(tmp_path / "off", micad, issuer.token()) as a:
        assert a.wait_for("ready")["metrics"] == ""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        a = started(tmp_path / "taken", micad, issuer.token())
        a.config["metrics"]["listen"] = "127.0.0.1:%d" % taken.getsockname()[1]
        a.start(wait=False)
        assert a.process.child.wait(timeout=20 * SLOW) == 6
        assert a.events("not_started")[0]["reason"] == "address_in_use"
        a.kill()
        a.sockets.cleanup()


@pytest.mark.parametrize("listen", ["localhost:9465", "127.0.0.1", "127.0.0.1:70000", "::1:1"])
def test_an_address_that_is_none(tmp_path, micad, listen):
    a = started(tmp_path, micad, "token")
    a.config["metrics"]["listen"] = listen
    a.write_config()
    r = subprocess.run([AGENT, "--check-config", "--config", a.config_file], capture_output=True,
                       text=True)
    assert r.returncode == 2 and "metrics.listen" in r.stderr, r
    a.sockets.cleanup()
