# SPDX-License-Identifier: Apache-2.0
"""Starts the real micad on loopback and talks to it as its users do, with nothing of its own code.

    with Micad(folder, issuers=[issuer.config()]) as m:
        answer = m.anonymous().post("/v1/x509-svids", {"csr": ...}, token=token)
"""
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ledger_check
import pki
from proc import SLOW, Process

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives import serialization

# The folder with micad and mica: MICA_BIN, or the build that runs the tests.
BIN = os.environ.get("MICA_BIN") or os.environ.get("MICA_BUILDDIR") or os.getcwd()
MICAD = os.path.join(BIN, "micad")
MICA = os.path.join(BIN, "mica")
TRUST_DOMAIN = "example.org"


# ---- configuration -------------------------------------------------------------------------


def yaml(value, indent=0):
    """Block style with JSON's scalars: what YAML 1.1 and 1.2 both read."""
    pad = "  " * indent
    out = []
    if isinstance(value, dict):
        for k, v in value.items():
            if isinstance(v, (dict, list)) and v:
                out.append("%s%s:\n%s" % (pad, k, yaml(v, indent + 1)))
            else:
                out.append("%s%s: %s\n" % (pad, k, json.dumps(v)))
    elif isinstance(value, list):
        for v in value:
            if isinstance(v, (dict, list)) and v:
                out.append("%s- %s" % (pad, yaml(v, indent + 1).lstrip()))
            else:
                out.append("%s- %s\n" % (pad, json.dumps(v)))
    return "".join(out)


def merge(base, over):
    """Deep: objects are merged, all else is replaced; None takes away."""
    out = dict(base)
    for k, v in over.items():
        if v is None:
            out.pop(k, None)
        elif isinstance(v, dict) and isinstance(out.get(k), dict):
            out[k] = merge(out[k], v)
        else:
            out[k] = v
    return out


# ---- HTTP ------------------------------------------------------------------------------------


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def kind(self):
        return (self.headers.get("Content-Type") or "").split(";")[0]

    def json(self):
        return json.loads(self.body)

    def ok(self, status=200):
        assert self.status == status, "%d %s" % (self.status, self.body[:2000])
        return self

    def problem(self, status, reason):
        """The refusal that is meant, in the form of RFC 9457; the document."""
        assert self.status == status, "%d %s" % (self.status, self.body[:2000])
        assert self.kind == "application/problem+json", self.headers
        p = self.json()
        assert p["reason"] == reason, p
        assert p["status"] == status and p["type"] and p["title"] and p["detail"], p
        if status == 401:
            assert self.headers["WWW-Authenticate"].startswith("Bearer"), self.headers
        if status in (429, 503):
            assert int(self.headers["Retry-After"]) >= 1, self.headers
        return p

    def __repr__(self):
        return "<%d %r>" % (self.status, self.body[:500])


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Client:
    """One kept-alive connection to host:port (TLS unless context is None) or to a Unix socket."""

    def __init__(self, address=None, context=None, unix=None, token=None, timeout=15, name=None):
        self.address, self.context, self.unix, self.token = address, context, unix, token
        self.timeout = timeout * SLOW
        self.name = name  # of the server, in SNI and certificate, when it is not the address
        self.c = None

    def connect(self):
        if self.unix:
            self.c = _UnixConnection(self.unix, self.timeout)
        else:
            host, port = self.address.rsplit(":", 1)
            if self.context:
                self.c = http.client.HTTPSConnection(host, int(port), timeout=self.timeout,
                                                     context=self.context)
            else:
                self.c = http.client.HTTPConnection(host, int(port), timeout=self.timeout)
        self.c.connect()
        return self

    def close(self):
        if self.c:
            self.c.close()
            self.c = None

    def request(self, method, path, body=None, token=None, **headers):
        """Headers by keyword, `_` for `-`. A connection that the server has closed is made anew."""
        h = {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
        token = token or self.token
        if token:
            h["Authorization"] = "Bearer " + token
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            h.setdefault("Content-Type", "application/json")
        for last in (False, True):
            fresh = self.c is None
            if fresh:
                self.connect()
            try:
                self.c.request(method, path, body, h)
                return Answer(self.c.getresponse())
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.close()
                if fresh or last:
                    raise
            except BaseException:
                self.close()
                raise
        raise AssertionError("not reached")

    def get(self, path, **how):
        return self.request("GET", path, **how)

    def post(self, path, body=None, **how):
        return self.request("POST", path, {} if body is None else body, **how)


# ---- what a relying party checks ------------------------------------------------------------


def certificates(pem):
    """All of a PEM text, as cryptography reads them."""
    if isinstance(pem, str):
        pem = pem.encode()
    end = b"-----END CERTIFICATE-----"
    parts = [p + end for p in pem.split(end) if b"-----BEGIN CERTIFICATE-----" in p]
    return [x509.load_pem_x509_certificate(p.strip() + b"\n") for p in parts]


def openssl_verify(chain_pem, roots_pem, purpose="sslclient"):
    """openssl's own opinion, strict: the leaf through the rest of the chain to a root."""
    with tempfile.TemporaryDirectory() as tmp:
        certs = certificates(chain_pem)
        leaf = pki.write(os.path.join(tmp, "leaf"), certs[0].public_bytes(pki.PEM))
        rest = pki.write(os.path.join(tmp, "rest"),
                         b"".join(c.public_bytes(pki.PEM) for c in certs[1:]))
        roots = pki.write(os.path.join(tmp, "roots"),
                          roots_pem.encode() if isinstance(roots_pem, str) else roots_pem)
        r = subprocess.run(["openssl", "verify", "-x509_strict", "-no-CApath", "-no-CAstore",
                            "-purpose", purpose, "-CAfile", roots, "-untrusted", rest, leaf],
                           capture_output=True, text=True)
        return r.returncode == 0, r.stdout + r.stderr


def signed_by(cert, issuer):
    """InvalidSignature unless issuer's key signed cert."""
    k = issuer.public_key()
    if isinstance(k, ec.EllipticCurvePublicKey):
        k.verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(cert.signature_hash_algorithm))
    elif hasattr(k, "key_size"):
        k.verify(cert.signature, cert.tbs_certificate_bytes, padding.PKCS1v15(),
                 cert.signature_hash_algorithm)
    else:
        k.verify(cert.signature, cert.tbs_certificate_bytes)


def verify_chain(chain_pem, roots_pem):
    """Each certificate by the next one, the last by a root, twice over; the certificates."""
    chain, roots = certificates(chain_pem), certificates(roots_pem)
    for c, i in zip(chain, chain[1:]):
        assert c.issuer == i.subject
        signed_by(c, i)
    root = [r for r in roots if r.subject == chain[-1].issuer]
    assert root, "no root in the bundle signed the chain"
    signed_by(chain[-1], root[0])
    assert chain[-1] not in roots, "the root is in the chain"
    for purpose in ("sslclient", "sslserver"):
        good, said = openssl_verify(chain_pem, roots_pem, purpose)
        assert good, said
    return chain


def spiffe_id(cert):
    """The only URI SAN (X509-SVID 2)."""
    uris = cert.extensions.get_extension_for_class(
        x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)
    assert len(uris) == 1, uris
    return uris[0]


# ---- the server -----------------------------------------------------------------------------


def fields(line):
    """A logfmt line as a dictionary."""
    out = {}
    for word in shlex.split(line):
        k, sep, v = word.partition("=")
        if sep:
            out[k] = v
    return out


class Micad:
    """A store, a configuration and a running server in `folder`. As a context manager: init, start
    and stop; over changes the configuration (merge())."""

    def __init__(self, folder, issuers=(), over=None, env=None):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.env = dict(os.environ, **(env or {}))
        self.process = None
        self.ready = {}
        self.vkey = None
        # sun_path is short, and pytest's folders are not
        self.sockets = tempfile.TemporaryDirectory(prefix="mica-")
        self.roots_file = self.path("roots.pem")
        self.passphrase = pki.write(self.path("passphrase"), os.urandom(24).hex().encode() + b"\n")
        self.config = merge({
            "trust_domain": TRUST_DOMAIN,
            "store": {"path": self.path("store"), "max_disk_percent": 99},
            "passphrase": {"file": self.passphrase},
            "https": {"listen": "127.0.0.1:0", "watch": "127.0.0.1:0",
                      "dns_names": ["localhost"], "ip_addresses": ["127.0.0.1"]},
            "admin": {"socket": os.path.join(self.sockets.name, "admin.sock")},
            "metrics": {"listen": "127.0.0.1:0"},
            "log": {"level": "info", "format": "logfmt"},
            "issuers": list(issuers),
        }, over or {})

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        try:
            self.init()
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind, *unused):
        try:
            if kind:
                self.kill()
            else:
                assert self.stop() == 0, self.tail()
        finally:
            self.sockets.cleanup()

    @property
    def config_file(self):
        return self.path("micad.yaml")

    def write_config(self):
        pki.write(self.config_file, yaml(self.config).encode(), 0o644)

    def mica(self, *argv, check=True, stdin=None, **env):
        """Runs the CLI; the finished process."""
        e = dict(self.env, MICA_ADMIN_SOCKET=self.config["admin"]["socket"], **env)
        if self.ready.get("https"):
            e.setdefault("MICA_URL", "https://" + self.ready["https"])
            e.setdefault("MICA_CA", self.roots_file)
        r = subprocess.run([MICA, *map(str, argv)], env=e, input=stdin, capture_output=True,
                           text=True, timeout=60 * SLOW)
        assert not check or r.returncode == 0, "mica %s: %d\n%s%s" % (
            " ".join(map(str, argv)), r.returncode, r.stdout, r.stderr)
        return r

    def init(self):
        self.write_config()
        return self.mica("init", "--config", self.config_file)

    def start(self, wait=True, argv=()):
        self.write_config()
        self.process = Process([MICAD, "--config", self.config_file, *argv],
                               self.path("micad.log"), env=self.env)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        self.ready = self.process.wait_until(
            "event=ready", lambda: next(iter(self.events("ready")), None), timeout=20)
        pki.write(self.roots_file, self.admin().get("/v1/bundle.pem").ok().body, 0o644)
        if not self.vkey:
            self.vkey = self.admin().get("/v1/configuration").ok().json()["log"]["vkey"]

    def events(self, name=None):
        """What the log says happened, since the last start."""
        out = [fields(line) for line in self.process.text().splitlines() if "event=" in line]
        return [e for e in out if name is None or e.get("event") == name]

    def tail(self):
        return self.process.tail(40) if self.process else ""

    def stop(self, timeout=20):
        """SIGTERM as a supervisor does it; the exit status."""
        if not self.process:
            return 0
        status = self.process.stop(timeout)
        text = self.process.text()
        assert "AddressSanitizer" not in text and "runtime error:" not in text, self.tail()
        self.process = None
        return status

    def kill(self):
        if self.process:
            self.process.kill()
            self.process = None

    def restart(self):
        assert self.stop() == 0
        return self.start()

    def reload(self):
        before = len(self.events("reloaded"))
        self.write_config()
        self.process.signal(signal.SIGHUP)
        self.process.wait_until("reloaded", lambda: len(self.events("reloaded")) > before)

    # ---- clients ----------------------------------------------------------------------------

    def context(self, cert=None):
        return pki.client_context(ca_file=self.roots_file, cert=cert)

    def client(self, token=None, cert=None, timeout=15):
        """Over HTTPS; cert = (chain file, key file)."""
        return Client(self.ready["https"], self.context(cert), token=token, timeout=timeout)

    def watcher(self, token=None, timeout=80):
        return Client(self.ready["watch"], self.context(), token=token, timeout=timeout)

    def admin(self, token=None):
        return Client(unix=self.config["admin"]["socket"], token=token)

    def metrics(self):
        return Client(self.ready["metrics"])

    def roots(self):
        return self.client().get("/v1/bundle.pem").ok().body

    # ---- the main job --------------------------------------------------------------------------

    def fetch(self, token, key=None, client=None, **body):
        """POST /v1/x509-svids with a request of `key`; the answer."""
        body.setdefault("csr", pki.csr(key or pki.key()))
        return (client or self.client()).post("/v1/x509-svids", body, token=token)

    def svid_files(self, token, key=None, name="svid"):
        """A fresh SVID as (chain file, key file), for mTLS."""
        key = key or pki.key()
        a = self.fetch(token, key).ok(201).json()
        return (pki.write(self.path(name + ".pem"), a["certificate_chain"].encode(), 0o644),
                pki.write(self.path(name + ".key"), pki.key_pem(key)))

    def log(self):
        """The log as an auditor reads it through the admin's socket, for ledger_check."""
        return ServedLog(self.admin(), self.vkey)

    def receipt(self, index, client=None, token=None):
        """Proof of entry `index`, verified from hashlib up; (entry, checkpoint)."""
        r = (client or self.admin()).get("/v1/log/proof/%d" % index, token=token).ok()
        assert r.kind == "text/plain"
        entry = self.log().entry(index)
        at, cp = ledger_check.check_receipt(r.body, entry, self.vkey)
        assert at == index
        return entry, cp


class ServedLog(ledger_check.Log):
    """ledger_check.Log whose files come through a Client."""

    def __init__(self, client, vkey, token=None):
        super().__init__("/log", vkey)
        self.client, self.token = client, token

    def read(self, path):
        return self.client.get("/log/" + path, token=self.token).ok().body

    def entry(self, index):
        cp = self.checkpoint()
        n = index // ledger_check.WIDTH
        return self.bundle(n, cp.size)[index % ledger_check.WIDTH]


def load_private(path):
    with open(path, "rb") as f:
        return serialization.load_pem_private_key(f.read(), None)
