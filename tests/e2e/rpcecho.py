# SPDX-License-Identifier: Apache-2.0
"""rpc_echo as a process, gRPC channels to it, and a client that speaks HTTP/2 as it likes."""
import os
import re
import signal
import socket
import ssl
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack

import pki
import proc

BUILD = os.environ.get("MICA_BIN") or os.environ.get("MICA_BUILDDIR") or "."
PROGRAM = os.path.join(BUILD, "tests", "e2e", "rpc_echo")


def pkcs8(pem):
    return pki.serialization.load_pem_private_key(pem, None).private_bytes(
        pki.DER, pki.serialization.PrivateFormat.PKCS8, pki.serialization.NoEncryption())


class Echo:
    """The server; settings are those of struct mica_rpc_options."""

    def __init__(self, folder, tls=True, plain=False, unix=False, want_cert=False, env=None,
                 wrap=(), **settings):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.ca = pki.Ca()
        self.names = []
        argv = [*wrap, PROGRAM]
        if tls:
            self.write_key(*self.ca.server("localhost", "127.0.0.1"))
            argv += ["--tls", self.path("chain.pem"), self.path("key.der")]
            self.names.append("tls")
        if plain:
            argv.append("--plain")
            self.names.append("plain")
        if unix:
            argv += ["--unix", self.path("s")]
            self.names.append("unix")
        if want_cert:
            argv.append("--want-cert")
        for name, value in settings.items():
            argv += ["--set", "%s=%d" % (name, value)]
        env = dict(env or os.environ)
        # a sanitizer keeps what was freed: tests look at memory
        env["ASAN_OPTIONS"] = "quarantine_size_mb=1:thread_local_quarantine_size_kb=64:" + \
            env.get("ASAN_OPTIONS", "")
        self.p = proc.Process(argv, self.path("log"), env=env)
        lines = self.p.wait_until("it listens", lambda: self._listening())
        self.address = dict(zip(self.names, lines))

    def _listening(self):
        lines = [l.split(" ", 1)[1] for l in self.p.text().splitlines()
                 if l.startswith("listening ")]
        return lines if len(lines) == len(self.names) else None

    def path(self, name):
        return os.path.join(self.folder, name)

    def write_key(self, cert, key):
        pki.write(self.path("chain.pem"), cert)
        pki.write(self.path("key.der"), pkcs8(key))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        assert self.p.stop() == 0, self.p.tail()

    # ---- grpcio ----
    def channel(self, how="tls", cert=None, options=()):
        options = [("grpc.enable_http_proxy", 0), *options]
        if how == "tls":
            creds = grpc.ssl_channel_credentials(self.ca.pem(), *(reversed(cert) if cert else ()))
            return grpc.secure_channel(self.address["tls"], creds, options)
        target = self.address[how]
        return grpc.insecure_channel("unix:" + target if how == "unix" else target, options)

    def stats(self):
        how = "tls" if "tls" in self.address else self.names[0]
        with self.channel(how, options=[("grpc.use_local_subchannel_pool", 1)]) as c:
            text = unary(c, "Stats")(b"", timeout=10).decode()
        return {k: int(v) for k, v in (pair.split("=") for pair in text.split())}

    def rss(self):
        with open("/proc/%d/status" % self.p.pid) as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def bounded(self, before, growth):
        """Whether its memory grew by less than that since `before`. A sanitizer keeps what was freed
        for a while, so only a build without one can tell (make check-full runs both)."""
        with open("/proc/%d/exe" % self.p.pid, "rb") as f:
            if re.search(rb"__(asan|tsan|msan)_init", f.read()):
                return True
        return self.rss() - before < growth

    def cpu(self):
        with open("/proc/%d/stat" % self.p.pid) as f:
            parts = f.read().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    # ---- sockets ----
    def connect(self, how="tls", alpn=("h2",), cert=None):
        if how == "unix":
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(10 * proc.SLOW)
            s.connect(self.address["unix"])
            return s
        host, port = self.address[how].rsplit(":", 1)
        s = socket.create_connection((host, int(port)), 10 * proc.SLOW)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if how != "tls":
            return s
        c = pki.client_context(ca_pem=self.ca.pem().decode(), cert=cert)
        if alpn:
            c.set_alpn_protocols(list(alpn))
        return c.wrap_socket(s, server_hostname="localhost")


def unary(channel, method, service="test.Echo"):
    return channel.unary_unary("/%s/%s" % (service, method))


def frame(message, flag=0):
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)


def raw(kind, flags, stream, payload=b""):
    """An HTTP/2 frame."""
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags])
            + stream.to_bytes(4, "big") + payload)


def block(method="Unary", **over):
    """A block of headers that leaves the dynamic table alone."""
    fields = {":method": "POST", ":scheme": "http", ":authority": "t",
              ":path": "/test.Echo/" + method, "content-type": "application/grpc"}
    fields.update(over)
    e = hpack.Encoder()
    e.header_table_size = 0
    return e.encode(list(fields.items()))


class Peer:
    """One HTTP/2 connection by python-h2, without opinions on what may be sent."""

    def __init__(self, sock, settings=None, window=None):
        self.s = sock
        self.c = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False))
        if settings:
            self.c.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.c.initiate_connection()
        self.events = []
        self.closed = False
        self.goaway = None
        self.auto_window = True
        self.flush()

    def flush(self):
        data = self.c.data_to_send()
        if data:
            self.s.sendall(data)

    def headers(self, method="Unary", end=False, extra=(), drop=(), **over):
        """Begins a call; returns its stream."""
        fields = {":method": "POST", ":scheme": "http", ":authority": "test",
                  ":path": "/test.Echo/" + method, "content-type": "application/grpc",
                  "te": "trailers"}
        fields.update({k.replace("_", "-"): v for k, v in over.items()})
        stream = self.c.get_next_available_stream_id()
        self.c.send_headers(stream, [(k, v) for k, v in fields.items() if k not in drop]
                            + list(extra), end_stream=end)
        self.flush()
        return stream

    def data(self, stream, octets, end=False, pad=None):
        while len(octets) > 16000:
            self.c.send_data(stream, octets[:16000], pad_length=pad)
            octets = octets[16000:]
        self.c.send_data(stream, octets, end_stream=end, pad_length=pad)
        self.flush()

    def call(self, message=b"x", method="Unary", **how):
        stream = self.headers(method, **how)
        self.data(stream, frame(message), end=True)
        return stream

    def pump(self, timeout=None):
        """Reads once; False when the connection has ended."""
        if timeout is not None:
            self.s.settimeout(timeout)
        try:
            data = self.s.recv(65536)
        except (socket.timeout, ssl.SSLWantReadError):
            return True
        except (ConnectionError, ssl.SSLError, OSError):
            data = b""
        if not data:
            self.closed = True
            return False
        try:
            events = self.c.receive_data(data)
        except h2.exceptions.ProtocolError as e:
            raise AssertionError("the server broke the protocol: %r" % e)
        for e in events:
            self.events.append(e)
            if isinstance(e, h2.events.DataReceived) and self.auto_window:
                self.c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            if isinstance(e, h2.events.ConnectionTerminated):
                self.goaway = e.error_code
        try:
            self.flush()
        except (ConnectionError, ssl.SSLError, OSError):
            pass
        return True

    def until(self, check, timeout=10.0, what="it happens"):
        end = time.monotonic() + timeout * proc.SLOW
        while not check():
            left = end - time.monotonic()
            assert left > 0, "not in time: " + what
            if not self.pump(min(left, 0.5)):
                assert check(), "the connection ended before: " + what
        return True

    def of(self, stream, kind=None):
        return [e for e in self.events if getattr(e, "stream_id", None) == stream
                and (kind is None or isinstance(e, kind))]

    def answer(self, stream, timeout=10.0):
        """(status, headers, octets, trailers, reset code or None) once the stream has ended."""
        over = (h2.events.StreamEnded, h2.events.StreamReset)
        self.until(lambda: self.of(stream, over), timeout, "stream %d ends" % stream)
        head, trailers = {}, {}
        for e in self.of(stream):
            if isinstance(e, h2.events.ResponseReceived):
                head = dict(e.headers)
            elif isinstance(e, h2.events.TrailersReceived):
                trailers = dict(e.headers)
        if "grpc-status" in head:
            trailers = head
        octets = b"".join(e.data for e in self.of(stream, h2.events.DataReceived))
        reset = self.of(stream, h2.events.StreamReset)
        return head, octets, trailers, int(reset[0].error_code) if reset else None

    def ended(self, timeout=10.0):
        """Waits for the server to end the connection; the code of its GOAWAY (None = none)."""
        end = time.monotonic() + timeout * proc.SLOW
        while not self.closed and time.monotonic() < end:
            self.pump(0.5)
        assert self.closed, "the server keeps the connection"
        return self.goaway

    def close(self):
        self.s.close()


def hup(echo):
    echo.p.signal(signal.SIGHUP)
