# SPDX-License-Identifier: Apache-2.0
"""Floods of HTTP/2: each connection is cut after a counted number of frames, memory stays what it
was, and all good calls complete meanwhile."""
import subprocess
import threading
import time

import hpack
import pytest

import proc
import rpcecho
from rpcecho import (CONTINUATION, DATA, HEADERS, PING, PREFACE, PRIORITY, RST, SETTINGS, WINDOW,
                     block, frame, raw, unary)

N = 20000  # what an attacker would send
BLOCK = block()
SLEEP = block("Sleep")


def each(make):
    """make(i) for stream 1, 3, 5 ..."""
    return lambda: b"".join(make(2 * i + 1) for i in range(N))


def bomb():
    """One long header in the dynamic table, and then references of one octet to it."""
    e = hpack.Encoder()
    first = e.encode([(":method", "POST"), (":scheme", "http"), (":path", "/"), ("x", "v" * 4000)])
    return first + b"\xbe" * 12000


def bad(name, value):
    e = hpack.Encoder()
    e.header_table_size = 0
    return e.encode([(":method", "POST"), (":scheme", "http"), (":path", "/test.Echo/Unary"),
                     (":authority", "t"), (name, value)])


UPPER, NO_PATH = bad("Upper", "x"), bad("connection", "close")

# name: (octets, why it is cut)
FLOODS = {
    "ping": (each(lambda s: raw(PING, 0, 0, b"12345678")), "frames"),
    "ping-ack": (each(lambda s: raw(PING, 1, 0, b"12345678")), "frames"),
    "settings": (each(lambda s: raw(SETTINGS, 0, 0)), "frames"),
    "settings-filled": (each(lambda s: raw(SETTINGS, 0, 0, b"\0\4\0\1\0\0" * 20)), "frames"),
    "settings-long": (each(lambda s: raw(SETTINGS, 0, 0, b"\0\4\0\1\0\0" * 40)), "protocol"),
    "priority": (each(lambda s: raw(PRIORITY, 0, s, b"\0\0\0\0\x10")), "frames"),
    "priority-itself": (each(lambda s: raw(PRIORITY, 0, s, s.to_bytes(4, "big") + b"\x10")),
                        ("frames", "resets", "protocol")),
    "window": (each(lambda s: raw(WINDOW, 0, 0, b"\0\0\0\1")), "frames"),
    "unknown": (each(lambda s: raw(0xfa, 0, 0, b"")), "frames"),
    "unknown-on-streams": (each(lambda s: raw(0xfa, 0, s, b"x")), "frames"),
    "empty-data": (lambda: raw(HEADERS, 4, 1, BLOCK) + raw(DATA, 0, 1) * N, "frames"),
    "padding-alone": (lambda: raw(HEADERS, 4, 1, BLOCK) + raw(DATA, 8, 1, b"\3\0\0\0") * N,
                      "frames"),
    "rapid-reset": (each(lambda s: raw(HEADERS, 5, s, BLOCK) + raw(RST, 0, s, b"\0\0\0\x08")),
                    "resets"),
    "rapid-reset-at-work": (each(lambda s: raw(HEADERS, 4, s, SLEEP) + raw(
        DATA, 1, s, frame(b"500")) + raw(RST, 0, s, b"\0\0\0\x08")), "resets"),
    "made-you-reset-header": (each(lambda s: raw(HEADERS, 5, s, UPPER)), "resets"),
    "made-you-reset-connection": (each(lambda s: raw(HEADERS, 5, s, NO_PATH)), "resets"),
    "made-you-reset-window": (each(lambda s: raw(HEADERS, 4, s, BLOCK) + raw(
        WINDOW, 0, s, b"\x7f\xff\xff\xff")), "resets"),
    "made-you-reset-zero-window": (each(lambda s: raw(HEADERS, 4, s, BLOCK) + raw(
        WINDOW, 0, s, b"\0\0\0\0")), ("resets", "protocol")),
    "made-you-reset-data": (each(lambda s: raw(HEADERS, 5, s, SLEEP) + raw(
        DATA, 0, s, b"x")), ("resets", "protocol")),
    "made-you-reset-length": (each(lambda s: raw(HEADERS, 4, s, bad("content-length", "1")) + raw(
        DATA, 1, s, b"12")), "resets"),
    "continuation": (lambda: raw(HEADERS, 0, 1, BLOCK) + raw(CONTINUATION, 0, 1, b"") * N,
                     ("protocol", "frames")),
    "continuation-filled": (lambda: raw(HEADERS, 0, 1, BLOCK) + raw(
        CONTINUATION, 0, 1, b"\x82" * 16000) * 200, ("protocol", "frames")),
    "more-streams": (each(lambda s: raw(HEADERS, 4, s, SLEEP)), ("protocol", "frames")),
    "push": (each(lambda s: raw(5, 4, s, b"\0\0\0\2" + BLOCK)), "protocol"),
    "bomb": (lambda: b"".join(raw(HEADERS, 5, 2 * i + 1, bomb()) for i in range(300)), "resets"),
}


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    with rpcecho.Echo(tmp_path_factory.mktemp("flood"), plain=True, grace_ms=2000) as e:
        yield e


def attack(echo, octets, how="plain"):
    """Sends until the connection is cut; what came back."""
    s = echo.connect(how)
    got = []

    def read():
        try:
            while True:
                data = s.recv(65536)
                if not data:
                    break
                got.append(data)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        s.sendall(PREFACE + raw(SETTINGS, 0, 0) + octets)
    except OSError:
        pass
    reader.join(10 * proc.SLOW)
    alive = reader.is_alive()
    s.close()
    reader.join()
    return alive, b"".join(got)


@pytest.mark.parametrize("name", sorted(FLOODS))
def test_flood_is_cut(echo, name):
    make, why = FLOODS[name]
    octets = make()
    before, rss = echo.stats(), echo.rss()
    out = []
    many = [threading.Thread(target=lambda: out.append(attack(echo, octets))) for _ in range(4)]
    for t in many:
        t.start()
    for t in many:
        t.join()
    after = echo.stats()
    assert [alive for alive, _ in out] == [False] * 4, "a flood went on"
    cuts = {k[4:]: after[k] - before[k] for k in after if k.startswith("cut_")}
    assert sum(cuts[w] for w in ((why,) if isinstance(why, str) else why)) == 4, cuts
    # what was read of each before the cut: far from all of it
    used = (after["bytes_in"] - before["bytes_in"]) / 4
    assert used < 300000, "%d octets of %d" % (used, len(octets))
    assert echo.bounded(rss, 8 << 20)


def test_ping_flood_that_is_not_read(echo):
    """Its acknowledgements pile up in the socket, and then nowhere."""
    s = echo.connect("plain")
    s.settimeout(5)
    rss = echo.rss()
    with pytest.raises(OSError):
        s.sendall(PREFACE + raw(SETTINGS, 0, 0))
        for _ in range(1000):
            s.sendall(raw(PING, 0, 0, b"12345678") * 1000)
    assert echo.bounded(rss, 8 << 20)
    s.close()


def test_honest_windows_are_not_a_flood(echo):
    """A client that acknowledges each octet that it is sent may do so for long."""
    p = rpcecho.Peer(echo.connect("plain"))
    for _ in range(1500):
        stream = p.call(b"m" * 100)
        assert p.answer(stream)[2]["grpc-status"] == "0"
        p.c.increment_flow_control_window(1)
        p.c.ping(b"12345678")
        p.flush()
    p.close()


@pytest.mark.parametrize("how", ["tls", "plain"])
def test_h2load(tmp_path, how):
    """A client that cares for speed alone: each call is answered, and well."""
    body = str(tmp_path / "frame")
    with open(body, "wb") as f:
        f.write(frame(b"m" * 1500))
    with rpcecho.Echo(tmp_path, plain=True) as e:
        scheme = "https" if how == "tls" else "http"
        for method in ("Unary", "Later"):
            before = e.stats()["code_0"]
            said = subprocess.run(
                ["h2load", "-n", "20000", "-c", "20", "-m", "20", "-d", body,
                 "-H", "content-type: application/grpc", "-H", "te: trailers",
                 "%s://%s/test.Echo/%s" % (scheme, e.address[how], method)],
                capture_output=True, text=True, check=True, timeout=60 * proc.SLOW).stdout
            assert "20000 succeeded" in said
            # it looks at :status alone
            assert e.stats()["code_0"] - before == 20000 + 1


def test_good_callers_meanwhile(echo):
    """All floods at once, from several connections: every good call completes."""
    floods = [make() for make, _ in FLOODS.values()]
    end = time.monotonic() + 6
    rss = echo.rss()
    attacks = [0]

    def attacker(k):
        while time.monotonic() < end:
            attack(echo, floods[(k + attacks[0]) % len(floods)])
            attacks[0] += 1

    def calls(until):
        times = []
        with echo.channel(options=[("grpc.use_local_subchannel_pool", 1)]) as c:
            ask = unary(c, "Later")
            while time.monotonic() < until:
                begun = time.monotonic()
                assert ask(b"good", timeout=20) == b"good"
                times.append(time.monotonic() - begun)
        return sorted(times)

    alone = calls(time.monotonic() + 1)
    many = [threading.Thread(target=attacker, args=(k,)) for k in range(4)]
    for t in many:
        t.start()
    times = calls(end)
    for t in many:
        t.join()
    print("%d good calls, p99 %.1f ms (alone %.1f ms), %d attacks" % (
        len(times), 1000 * times[len(times) * 99 // 100], 1000 * alone[len(alone) * 99 // 100],
        attacks[0]))
    assert attacks[0] >= 8 and len(times) > 100
    assert echo.bounded(rss, 16 << 20)
    proc.wait_until("nothing is left", lambda: echo.stats()["connections_now"] <= 1)
