# SPDX-License-Identifier: Apache-2.0
"""mica-agent as a process, and what its socket speaks as grpcio clients know it: message types come
from the agent's own .proto files, compiled here by protoc-c and read by Google's library."""
import os
import subprocess
import tempfile
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import pki
from micad import BIN, merge, yaml, fields
from proc import Process, SLOW

AGENT = os.path.join(BIN, "mica-agent")
SOURCE = os.environ.get("MICA_SRCDIR") or os.path.join(os.path.dirname(__file__), "..", "..")
HEADER = (("workload.spiffe.io", "true"),)
TLS = "envoy.extensions.transport_sockets.tls.v3."
SECRET_URL = "type.googleapis.com/" + TLS + "Secret"


class _Types:
    """Message classes by full name."""

    def __init__(self):
        protos = os.path.join(SOURCE, "agent", "proto")
        files = [os.path.join(at, n) for at, _, names in os.walk(protos) for n in names
                 if n.endswith(".proto")]
        with tempfile.TemporaryDirectory() as tmp:
            out = os.path.join(tmp, "set")
            subprocess.run(["protoc-c", "-I", protos, "-I", os.path.join(SOURCE, "rpc", "proto"),
                            "--include_imports", "--descriptor_set_out", out, *files], check=True)
            with open(out, "rb") as f:
                found = descriptor_pb2.FileDescriptorSet.FromString(f.read())
        self.pool = descriptor_pool.DescriptorPool()
        for one in found.file:
            self.pool.Add(one)

    def __call__(self, name):
        d = self.pool.FindMessageTypeByName(name)
        if hasattr(message_factory, "GetMessageClass"):
            return message_factory.GetMessageClass(d)
        return message_factory.MessageFactory(self.pool).GetPrototype(d)


_types = None


def types(name):
    global _types
    if _types is None:
        _types = _Types()
    return _types(name)


class Workload:
    """The Workload API over one channel."""

    KINDS = {"FetchX509SVID": ("X509SVID", True), "FetchX509Bundles": ("X509Bundles", True),
             "FetchJWTBundles": ("JWTBundles", True), "FetchJWTSVID": ("JWTSVID", False),
             "ValidateJWTSVID": ("ValidateJWTSVID", False)}

    def __init__(self, path):
        self.channel = grpc.insecure_channel("unix://" + path)

    def close(self):
        self.channel.close()

    def call(self, method, metadata=HEADER, timeout=10, **request):
        kind, stream = self.KINDS[method]
        make = self.channel.unary_stream if stream else self.channel.unary_unary
        go = make("/SpiffeWorkloadAPI/" + method,
                  request_serializer=lambda m: m.SerializeToString(),
                  response_deserializer=types(kind + "Response").FromString)
        return go(types(kind + "Request")(**request), metadata=metadata, timeout=timeout * SLOW)

    def first(self, method, **how):
        """The first message of a stream."""
        s = self.call(method, **how)
        try:
            return next(s)
        finally:
            s.cancel()


class Agent:
    """A configuration and a running agent in `folder`; over changes the configuration."""

    def __init__(self, folder, micad, token, over=None, env=None, identities=None, url=None):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.env = dict(os.environ, **(env or {}))
        self.process = None
        self.sockets = tempfile.TemporaryDirectory(prefix="mica-agent-")
        os.chmod(self.sockets.name, 0o755)
        self.socket = os.path.join(self.sockets.name, "agent.sock")
        self.token_file = self.path("token")
        self.bootstrap = self.path("roots.pem")
        if token is not None:
            self.set_token(token)
        if micad:
            with open(micad.roots_file, "rb") as f:
                pki.write(self.bootstrap, f.read(), 0o644)
        self.config = merge({
            "trust_domain": "example.org",
            "micad": {"url": url or "https://" + micad.ready["https"],
                      "watch_url": None if url else "https://" + micad.ready["watch"],
                      "bootstrap_file": self.bootstrap, "timeout": "5s"},
            "state": {"directory": self.path("state")},
            "socket": {"path": self.socket},
            "log": {"level": "debug"},
            "identities": identities or [self.identity()],
        }, over or {})
        self.config["micad"] = {k: v for k, v in self.config["micad"].items() if v is not None}

    def identity(self, name="app", **over):
        return merge({"name": name, "token_file": self.token_file, "allow": {"any": True}}, over)

    def path(self, name):
        return os.path.join(self.folder, name)

    def set_token(self, token):
        pki.write(self.token_file, token.encode())

    @property
    def config_file(self):
        return self.path("mica-agent.yaml")

    def write_config(self):
        pki.write(self.config_file, yaml(self.config).encode(), 0o644)

    def start(self, wait=True):
        self.write_config()
        self.process = Process([AGENT, "--config", self.config_file], self.path("agent.log"),
                               env=self.env)
        if wait:
            self.wait_for("ready")
        return self

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, kind, *unused):
        try:
            if kind:
                print(self.process.tail(30) if self.process else "")
                self.kill()
            else:
                assert self.stop() == 0, self.process.tail() if self.process else ""
        finally:
            self.sockets.cleanup()

    def stop(self, timeout=20):
        if not self.process:
            return 0
        status = self.process.stop(timeout)
        text = self.process.text()
        for word in ("AddressSanitizer", "LeakSanitizer", "runtime error:"):
            assert word not in text, text[-4000:]
        self.process = None
        return status

    def kill(self):
        if self.process:
            self.process.kill()
            self.process = None

    def restart(self):
        assert self.stop() == 0
        return self.start()

    def events(self, name=None):
        out = [fields(line) for line in self.process.text().splitlines() if "event=" in line]
        return [e for e in out if name is None or e.get("event") == name]

    def wait_for(self, event, n=1, timeout=15):
        """The n-th event of this name."""
        return self.process.wait_until(
            event, lambda: (self.events(event)[n - 1:] or [None])[0], timeout=timeout)

    def workload(self):
        return Workload(self.socket)


def chain(der):
    """The certificates of a concatenation, as the Workload API has them."""
    from cryptography import x509
    out = []
    while der:
        assert der[0] == 0x30 and der[1] == 0x82, der[:4]
        size = 4 + int.from_bytes(der[2:4], "big")
        out.append(x509.load_der_x509_certificate(der[:size]))
        der = der[size:]
    return out
