# SPDX-License-Identifier: Apache-2.0
"""Istio's proxies over time: their documented ways to retry and to refresh, against the real micad
that renews its own certificate, restarts, is killed, is flooded."""
import random
import signal
import threading
import time

import grpc
import pytest

import istioproto as ip
import pki
import proc
import rpcecho
from micad import Micad, certificates, verify_chain
from rpcecho import PREFACE, SETTINGS, Peer, frame, raw
from test_istio import AUDIENCES, EMPTY, EMPTY_ORGANIZATION, GRPC, ISTIO, go_csr

NO_LIMITS = {"failures_per_address": 0, "requests_per_identity": 0}


class Proxy(threading.Thread):
    """What pilot-agent and ztunnel have in common. `give_up` ends it."""

    def __init__(self, micad, issuer, n):
        super().__init__(daemon=True)
        self.micad, self.issuer, self.n = micad, issuer, n
        self.give_up = threading.Event()
        self.chains, self.errors, self.retries = [], [], 0
        self.ch = None

    def token(self):
        """The kubelet's file is read anew for each call."""
        return self.issuer.token("mesh", "sa-%d" % self.n, "pod-%d" % self.n, audience=ISTIO)

    def connect(self):
        self.ch = self.ch or ip.channel(self.micad)
        return self.ch

    def hang_up(self):
        if self.ch:
            self.ch.close()
        self.ch = None

    def check(self, chain, key):
        assert len(chain) > 1
        leaf = verify_chain("".join(chain[:-1]), chain[-1])[0]
        assert pki.spki(leaf.public_key()) == pki.spki(key.public_key())
        self.chains.append(chain)
        return leaf

    def run(self):
        try:
            while not self.give_up.is_set():
                self.give_up.wait(self.refresh())
        except Exception as e:  # told to the test
            self.errors.append(repr(e))
        finally:
            self.hang_up()

    def life(self, leaf):
        return leaf.not_valid_before.timestamp(), leaf.not_valid_after.timestamp()


class PilotAgent(Proxy):
    """I:pkg/security/retry.go: 5 attempts, 100 ms * 2^n, jitter 0.1, for these codes alone; any
    error behind that closes the connection (citadel/client.go). The certificate is replaced at half
    of its life, +-1 % (secretcache.go). A new RSA or EC key each time."""

    def refresh(self):
        key = pki.key("p256" if self.n % 4 else "rsa2048")
        q = ip.request(go_csr(key, EMPTY_ORGANIZATION, "spiffe://cluster.local/ns/x/sa/y"),
                       self.micad.ttl)
        for attempt in range(5):
            try:
                chain = ip.create(self.connect(), q, timeout=None, metadata=ip.bearer(
                    self.token(), clusterid="Kubernetes"))
                break
            except grpc.RpcError as e:
                if e.code() not in ip.RETRIED or attempt == 4:
                    self.hang_up()
                    raise
                self.retries += 1
                time.sleep(0.1 * 2 ** attempt * random.uniform(0.9, 1.1))
        created = time.time()
        end = self.life(self.check(chain, key))[1] - time.timezone
        return max(0, (end - (end - created) * random.uniform(0.49, 0.51)) - created)


class Ztunnel(Proxy):
    """Z:src/identity/manager.rs: every error is tried again, from 500 ms on and twice as long each
    time; refreshed at the middle of notBefore..notAfter. One connection for all of its calls."""

    def refresh(self):
        key = pki.key()
        q = ip.Request(csr=go_csr(key, EMPTY, "spiffe://example.org/ns/x/sa/y"),
                       validity_duration=self.micad.ttl)
        wait = 0.5
        while True:
            try:
                chain = ip.create(self.connect(), q, self.token(), timeout=None)
                break
            except grpc.RpcError as e:
                self.retries += 1
                if self.micad.ready and e.code() not in (
                        grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    raise
                if self.give_up.wait(wait * random.uniform(0.8, 1.2)):
                    return 0
                wait = min(150, 2 * wait)
        begin, end = (t - time.timezone for t in self.life(self.check(chain, key)))
        return max(0, begin + (end - begin) / 2 - time.time())


def mesh(m, issuer, n=8):
    proxies = [(Ztunnel if i % 2 else PilotAgent)(m, issuer, i) for i in range(n)]
    for p in proxies:
        p.start()
    return proxies


def end(proxies):
    for p in proxies:
        p.give_up.set()
    for p in proxies:
        p.join(30 * proc.SLOW)
        assert not p.is_alive(), "hangs"
        assert p.errors == [], p.errors


def recorded(m, proxies):
    """Each certificate that a proxy has is in the ledger, and no serial is there twice."""
    serials = [certificates(c[0])[0].serial_number for p in proxies for c in p.chains]
    assert len(set(serials)) == len(serials)
    admin = m.admin()
    for s in serials:
        admin.get("/v1/certificates/%032x" % s).ok()
    return len(serials)


def start_mesh(start, issuer, ttl, **over):
    m = start([issuer.config("uri", audiences=AUDIENCES)], dict(
        {"grpc": GRPC, "limits": NO_LIMITS,
         "x509": {"ttl": "%ds" % ttl, "min_ttl": "1s", "max_ttl": "1h"}}, **over))
    m.ttl = ttl
    return m


def test_many_refreshes(start, issuer):
    """Certificates of four seconds, and a server whose own is as short: it is replaced while calls
    are under way, and nobody sees an error or asks more often than it should."""
    m = start_mesh(start, issuer, 4)
    proxies = mesh(m, issuer)
    seconds = 20 * proc.SLOW
    time.sleep(seconds)
    end(proxies)
    assert [p.retries for p in proxies] == [0] * len(proxies)
    each = [len(p.chains) for p in proxies]
    assert min(each) >= seconds / 4 and max(each) <= seconds / 4 * 3, each
    assert recorded(m, proxies) == sum(each)
    assert len(m.events("serving_certificate_renewed")) >= 3


def test_restarts_and_kills(start, issuer):
    """Proxies go on by their own retries; what they were given is in the ledger."""
    m = start_mesh(start, issuer, 20)
    m.config["grpc"] = dict(m.config["grpc"], listen=m.ready["grpc"])  # the same port again
    proxies = [Ztunnel(m, issuer, i) for i in range(6)]
    for p in proxies:
        p.life = lambda leaf: (0, 0)  # asks again at once
        p.start()
    for how in ("kill", "stop", "kill"):
        time.sleep(0.7)
        m.kill() if how == "kill" else m.stop()
        m.start()
    time.sleep(1.5)
    end(proxies)
    assert recorded(m, proxies) > 20
    assert all(p.retries >= 1 for p in proxies), "they did not notice"


def test_stop_answers_what_it_took(start, issuer):
    """SIGTERM while calls come: each one is answered with a certificate, or it can be tried again."""
    m = start_mesh(start, issuer, 60)
    stop, seen = threading.Event(), []
    token = issuer.token(audience=ISTIO)

    def caller():
        with ip.channel(m) as c:
            while not stop.is_set():
                try:
                    ip.create(c, ip.request(pki.csr(pki.key())), token)
                    seen.append(None)
                except grpc.RpcError as e:
                    seen.append(e.code())
                    if m.process is None or not m.process.alive():
                        return
                    time.sleep(0.01)

    threads = [threading.Thread(target=caller) for _ in range(6)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    m.process.signal(signal.SIGTERM)
    assert m.process.wait(20) == 0
    stop.set()
    for t in threads:
        t.join()
    assert seen.count(None) > 20
    assert set(seen) - {None} <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}, set(seen)
    m.start()


# ---- floods, and odd clients ------------------------------------------------------------------

def connect(m, listener="grpc_plaintext"):
    import socket

    host, port = m.ready[listener].rsplit(":", 1)
    s = socket.create_connection((host, int(port)), 10 * proc.SLOW)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


@pytest.fixture(scope="module")
def flooded(tmp_path_factory, issuer):
    over = {"grpc": GRPC, "limits": NO_LIMITS}
    with Micad(tmp_path_factory.mktemp("flooded"), [issuer.config("uri", audiences=AUDIENCES)],
               over) as m:
        yield m


def headers(peer, token, **how):
    extra = [("authorization", "Bearer " + token)] if token else []
    return peer.headers(extra=extra, **dict({":path": ip.METHOD}, **how))


def message(**over):
    return ip.request(pki.csr(pki.key()), **over).SerializeToString()


def chain_of(peer, stream):
    head, octets, trailers, reset = peer.answer(stream)
    assert (head[":status"], trailers.get("grpc-status"), reset) == ("200", "0", None), (head, trailers)
    assert octets[0] == 0 and int.from_bytes(octets[1:5], "big") == len(octets) - 5
    return list(ip.Response.FromString(octets[5:]).cert_chain)


def status_of(peer, stream):
    head, octets, trailers, reset = peer.answer(stream)
    assert octets == b""
    return int(trailers["grpc-status"])


def test_odd_clients(flooded, issuer):
    token = issuer.token(audience=ISTIO)
    p = Peer(connect(flooded))
    stream = headers(p, token)  # octet by octet
    octets = frame(message())
    for i, octet in enumerate(octets):
        p.c.send_data(stream, bytes([octet]), end_stream=i == len(octets) - 1)
        p.flush()
    assert len(chain_of(p, stream)) == 3
    stream = headers(p, token, drop=("te",))  # ztunnel's proxies between may drop it
    p.data(stream, frame(message()), pad=200)
    p.data(stream, b"", end=True)
    assert len(chain_of(p, stream)) == 3
    stream = headers(p, token)  # two messages where one is allowed
    p.data(stream, frame(message()) * 2, end=True)
    assert status_of(p, stream) == 13
    stream = headers(p, token, end=True)  # none
    assert status_of(p, stream) == 13
    stream = headers(p, token)  # a prefix that promises more than is allowed
    p.data(stream, b"\0\xff\xff\xff\xff")
    assert status_of(p, stream) == 8
    stream = headers(p, token)  # compressed, which nobody agreed upon
    p.data(stream, frame(message(), 1), end=True)
    assert status_of(p, stream) in (12, 13)
    stream = headers(p, token)  # gives up
    p.c.reset_stream(stream, 8)
    p.flush()
    stream = headers(p, token)
    p.data(stream, frame(message()), end=True)
    assert len(chain_of(p, stream)) == 3
    p.close()


def test_half_a_call_ends(flooded, issuer):
    """A client that never ends its call is answered in bounded time, for it waits for ever."""
    p = Peer(connect(flooded))
    begun = time.monotonic()
    stream = headers(p, issuer.token(audience=ISTIO))
    p.data(stream, frame(message()))
    assert p.answer(stream, 30)[2]["grpc-status"] != "0"
    assert time.monotonic() - begun < 25 * proc.SLOW
    p.close()


def _floods(token, bad):
    import hpack

    def block(path, token):
        e = hpack.Encoder()
        e.header_table_size = 0
        return e.encode([(":method", "POST"), (":scheme", "http"), (":authority", "t"),
                         (":path", path), ("content-type", "application/grpc"),
                         ("authorization", "Bearer " + token)])

    n = 6000
    good, refused = block(ip.METHOD, token), block(ip.METHOD, bad)
    body = frame(message())
    reset = lambda s: raw(rpcecho.RST, 0, s, b"\0\0\0\x08")
    every = lambda make, k=n: b"".join(make(2 * i + 1) for i in range(k))
    return {
        "ping": every(lambda s: raw(rpcecho.PING, 0, 0, b"12345678"), 20000),
        "settings": every(lambda s: raw(SETTINGS, 0, 0), 20000),
        "rapid-reset": every(lambda s: raw(rpcecho.HEADERS, 5, s, good) + reset(s)),
        # each of these has made us verify, sign and record
        "reset-when-asked": every(lambda s: raw(rpcecho.HEADERS, 4, s, good) + raw(
            rpcecho.DATA, 1, s, body) + reset(s), 2000),
        "bad-tokens": every(lambda s: raw(rpcecho.HEADERS, 4, s, refused) + raw(
            rpcecho.DATA, 1, s, body), 2000),
        "continuation": raw(rpcecho.HEADERS, 0, 1, good) + raw(
            rpcecho.CONTINUATION, 0, 1, b"\x82" * 16000) * 200,
        "headers-alone": every(lambda s: raw(rpcecho.HEADERS, 4, s, good)),
    }


def attack(m, octets):
    """Sends all of it, reads what comes, until the connection ends."""
    s = connect(m)
    s.settimeout(5 * proc.SLOW)

    def read():
        try:
            while s.recv(65536):
                pass
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        s.sendall(PREFACE + raw(SETTINGS, 0, 0) + octets)
        s.shutdown(1)
    except OSError:
        pass
    reader.join()
    s.close()


def rss(m):
    with open("/proc/%d/status" % m.process.pid) as f:
        return next(int(x.split()[1]) for x in f if x.startswith("VmRSS")) * 1024


def test_good_callers_meanwhile(flooded, issuer):
    """Every flood at once from several connections: all good calls complete, memory stays bounded."""
    floods = list(_floods(issuer.token("bad", "b", "b-1", audience=ISTIO),
                          issuer.token(audience=ISTIO, key=pki.key("rsa2048"))).values())
    until = time.monotonic() + 8 * proc.SLOW
    token = issuer.token(audience=ISTIO)
    attacks = [0] * 4

    def attacker(k):
        while time.monotonic() < until:
            attack(flooded, floods[(k + attacks[k]) % len(floods)])
            attacks[k] += 1

    def calls(end):
        times = []
        with ip.channel(flooded) as c:
            while time.monotonic() < end:
                q = ip.request(pki.csr(pki.key()))
                begun = time.monotonic()
                assert len(ip.create(c, q, token)) == 3
                times.append(time.monotonic() - begun)
        return sorted(times)

    alone = calls(time.monotonic() + 1)
    before = rss(flooded)
    many = [threading.Thread(target=attacker, args=(k,)) for k in range(4)]
    for t in many:
        t.start()
    times = calls(until)
    for t in many:
        t.join()
    p99 = lambda x: 1000 * x[len(x) * 99 // 100]
    print("%d good calls, p99 %.1f ms (alone %.1f ms), %d attacks" % (
        len(times), p99(times), p99(alone), sum(attacks)))
    assert len(times) > 50 and sum(attacks) >= 8
    with open("/proc/%d/exe" % flooded.process.pid, "rb") as f:
        sanitized = b"__asan_init" in f.read()
    assert sanitized or rss(flooded) - before < 64 << 20
    text = flooded.metrics().get("/metrics").ok().body.decode()
    cuts = sum(float(x.rsplit(" ", 1)[1]) for x in text.splitlines()
               if x.startswith("mica_grpc_cuts_total"))
    assert cuts >= 4
    proc.wait_until("nothing is left", lambda: "\nmica_grpc_calls 0\n" in
                    flooded.metrics().get("/metrics").body.decode())
