# SPDX-License-Identifier: Apache-2.0
"""Files mode: what programs without SPIFFE get, and how they are told."""
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time

import pytest
from cryptography.hazmat.primitives import serialization

import pki
from agent import SOURCE, Agent
from micad import TRUST_DOMAIN, certificates, spiffe_id, verify_chain
from proc import SLOW, Process, wait_until

ID = "spiffe://%s/ns/payments/sa/checkout" % TRUST_DOMAIN


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def files_agent(folder, micad, token, **files):
    a = Agent(folder, micad, token)
    a.config["identities"][0]["files"] = dict({"directory": a.path("out")}, **files)
    return a


def check_set(folder):
    """The leaf; everything belongs together, by one reading of the link that is replaced."""
    now = os.path.join(folder, os.readlink(os.path.join(folder, ".current")))
    leaf = verify_chain(read(now, "cert.pem").decode(), read(now, "bundle.pem").decode())[0]
    key = serialization.load_pem_private_key(read(now, "key.pem"), None)
    assert pki.spki(key.public_key()) == pki.spki(leaf.public_key())
    assert spiffe_id(leaf) == ID
    return leaf


def load_pair(context, folder):
    """Both of one generation, whatever is being replaced meanwhile."""
    for _ in range(10):
        now = os.path.join(folder, os.readlink(os.path.join(folder, ".current")))
        try:
            context.load_cert_chain(os.path.join(now, "cert.pem"), os.path.join(now, "key.pem"))
            return
        except FileNotFoundError:
            continue
    raise AssertionError("no generation stays long enough to be read")


def test_the_files(tmp_path, micad, issuer):
    with files_agent(tmp_path, micad, issuer.token()) as a:
        a.wait_for("files_written")
        out = a.path("out")
        check_set(out)
        mode = {n: stat.S_IMODE(os.stat(os.path.join(out, n)).st_mode)
                for n in ("cert.pem", "key.pem", "bundle.pem", "bundle.json")}
        assert mode == {"cert.pem": 0o644, "key.pem": 0o600, "bundle.pem": 0o644,
                        "bundle.json": 0o644}
        m = json.loads(read(out, "bundle.json"))
        assert list(m) == ["trust_domains"] and list(m["trust_domains"]) == [TRUST_DOMAIN]
        assert m["trust_domains"][TRUST_DOMAIN] == micad.client().get("/v1/bundle").ok().json()
        # the socket has the same certificate
        w = a.workload()
        s = w.first("FetchX509SVID").svids[0]
        assert serialization.load_der_private_key(s.x509_svid_key, None).private_numbers() == \
            serialization.load_pem_private_key(read(out, "key.pem"), None).private_numbers()
        w.close()


def test_every_change_is_told(tmp_path, start, issuer):
    """By a command and by a signal, after the files are there; one set at a time, never a mixture."""
    m = start([issuer.config("file")], {"x509": {"ttl": "6s", "min_ttl": "1s"}})
    got = []
    old = signal.signal(signal.SIGUSR1, lambda *unused: got.append(time.monotonic()))
    try:
        pid_file = pki.write(str(tmp_path / "pid"), b"%d\n" % os.getpid())
        seen = str(tmp_path / "seen")
        a = files_agent(tmp_path / "a", m, issuer.token(), cert_mode="0640", key_mode="0640",
                        cert="tls.crt", key="tls.key", signal="USR1", pid_file=pid_file,
                        command=["/bin/sh", "-c", "cat %s/a/out/tls.crt >> %s" % (tmp_path, seen)])
        with a:
            a.wait_for("files_written", 4, timeout=40)
            wait_until("the signals", lambda: len(got) >= 3)
            wait_until("the command", lambda: read(seen).count(b"BEGIN") >= 6)
            serials = [c.serial_number for c in certificates(read(seen))]
            # a renewal or the bundle: each written set was told of, in order
            assert len(set(serials)) >= 3
            assert stat.S_IMODE(os.stat(a.path("out/tls.key")).st_mode) == 0o640
            assert len([n for n in os.listdir(a.path("out")) if n.startswith(".gen-")]) <= 2
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_a_command_that_fails_or_hangs(tmp_path, start, issuer):
    """It is logged; renewals go on, and the agent ends when it is told to."""
    m = start([issuer.config("file")], {"x509": {"ttl": "6s", "min_ttl": "1s"}})
    with files_agent(tmp_path / "a", m, issuer.token(), command=["/bin/false"]) as a:
        assert a.wait_for("program_not_told")["reason"] == "command_failed"
        a.wait_for("files_written", 2, timeout=20)
    with files_agent(tmp_path / "b", m, issuer.token(), command=["/bin/sleep", "60"]) as a:
        a.wait_for("files_written")
        a.wait_for("svid_issued", 2, timeout=20)


def test_a_directory_that_cannot_be(tmp_path, micad, issuer):
    with files_agent(tmp_path, micad, issuer.token(), directory="/proc/none/x") as a:
        a.wait_for("files_not_written")
        w = a.workload()
        assert w.first("FetchX509SVID").svids[0].spiffe_id == ID
        w.close()


NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin")
needs_nginx = pytest.mark.skipif(not NGINX, reason="nginx is not installed")


@needs_nginx
def test_the_example_for_nginx(tmp_path, micad, issuer):
    """nginx takes it as it stands, but for where the files are."""
    with files_agent(tmp_path / "a", micad, issuer.token()) as a:
        a.wait_for("files_written")
        with open(os.path.join(SOURCE, "deploy", "examples", "mica-agent-nginx.conf")) as f:
            example = f.read()
        assert example.count("/run/mica-agent/web/") == 3
        conf = pki.write(str(tmp_path / "nginx.conf"), (
            "pid %s/pid; error_log stderr;\nevents {}\nhttp {\naccess_log off;\n%s}\n" % (
                tmp_path, example.replace("/run/mica-agent/web/", a.path("out") + "/"))
        ).encode(), 0o644)
        r = subprocess.run([NGINX, "-t", "-c", conf], capture_output=True, text=True)
        assert r.returncode == 0 and "successful" in r.stderr, r


@needs_nginx
def test_nginx(tmp_path, start, issuer):
    """nginx serves with it, with the DNS name that a rule gives, and asks clients for theirs; each
    renewal is in effect without a failed request."""
    m = start([issuer.config("file")], {
        "x509": {"ttl": "8s", "min_ttl": "1s"},
        "rules": [{"issuer": issuer.name, "dns": ["{serviceaccount}.{namespace}.svc"]}]})
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    out = str(tmp_path / "a" / "out")
    conf = pki.write(str(tmp_path / "nginx.conf"), ("""
daemon off; pid %(tmp)s/nginx.pid; error_log %(tmp)s/nginx.err;
events {}
http {
  access_log off; client_body_temp_path %(tmp)s/t1; proxy_temp_path %(tmp)s/t2;
  fastcgi_temp_path %(tmp)s/t3; uwsgi_temp_path %(tmp)s/t4; scgi_temp_path %(tmp)s/t5;
  server {
    listen 127.0.0.1:%(port)d ssl;
    ssl_certificate %(out)s/cert.pem; ssl_certificate_key %(out)s/key.pem;
    ssl_client_certificate %(out)s/bundle.pem; ssl_verify_client on; ssl_verify_depth 3;
    location / { return 200 "$ssl_client_serial\n"; }
  }
}
""" % {"tmp": tmp_path, "port": port, "out": out}).encode(), 0o644)
    a = files_agent(tmp_path / "a", m, issuer.token(), signal="HUP",
                    pid_file=str(tmp_path / "nginx.pid"))
    with a:
        a.wait_for("files_written")
        nginx = Process([NGINX, "-c", conf], tmp_path / "nginx.log")
        try:
            served = set()

            def request():
                c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                c.load_verify_locations(cafile=os.path.join(out, "bundle.pem"))
                load_pair(c, out)
                with socket.create_connection(("127.0.0.1", port), timeout=5 * SLOW) as s, \
                        c.wrap_socket(s, server_hostname="checkout.payments.svc") as t:
                    served.add(t.getpeercert()["serialNumber"])
                    t.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    data = b""
                    while True:
                        more = t.recv(4096)
                        if not more:
                            return data
                        data += more

            def up():
                try:
                    return b"200 OK" in request()
                except OSError:
                    return False

            nginx.wait_until("it serves", up)
            end = time.monotonic() + 20 * SLOW
            while len(served) < 3 and time.monotonic() < end:
                assert b"200 OK" in request()
                time.sleep(0.05)
            assert len(served) >= 3, served
        finally:
            nginx.stop()
