# SPDX-License-Identifier: Apache-2.0
"""Odd HTTP/2 clients: what gRPC allows, and what it does not, octet by octet."""
import time

import pytest
from h2.events import DataReceived, PingAckReceived, ResponseReceived

import proc
import rpcecho
from rpcecho import Peer, frame


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    with rpcecho.Echo(tmp_path_factory.mktemp("odd"), plain=True) as e:
        yield e


@pytest.fixture
def peer(echo):
    p = Peer(echo.connect("plain"))
    yield p
    p.close()


def ok(peer, stream, message=b"x"):
    head, octets, trailers, reset = peer.answer(stream)
    assert (head[":status"], head["content-type"]) == ("200", "application/grpc")
    assert (octets, trailers["grpc-status"], reset) == (frame(message), "0", None)


def refused(peer, stream, status, text=None, reset=None):
    head, octets, trailers, code = peer.answer(stream)
    assert head[":status"] == "200", "gRPC errors are not HTTP errors"
    assert trailers is head, "an error without messages is trailers alone"
    assert trailers["grpc-status"] == str(status), trailers
    assert octets == b"" and code == reset
    assert text is None or text in trailers["grpc-message"]


# ---- allowed ---------------------------------------------------------------------------------

def test_one_octet_frames(peer):
    stream = peer.headers()
    message = b"m" * 3000
    for i, octet in enumerate(frame(message)):
        peer.c.send_data(stream, bytes([octet]), end_stream=i == len(message) + 4)
        peer.flush()
    ok(peer, stream, message)


@pytest.mark.parametrize("pad", [0, 1, 255])
def test_padding(peer, pad):
    for _ in range(50):
        stream = peer.headers()
        peer.data(stream, frame(b"padded"), end=True, pad=pad)
        ok(peer, stream, b"padded")


def test_empty_data_that_ends(peer):
    stream = peer.headers()
    peer.data(stream, frame(b"x"))
    peer.data(stream, b"", end=True)
    ok(peer, stream)


def test_without_te(peer):
    ok(peer, peer.call(drop=("te",)))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_scheme(peer, scheme):
    ok(peer, peer.call(extra=(), **{":scheme": scheme}))


@pytest.mark.parametrize("kind", [
    "application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8",
    "application/grpc+proto; x=y", "Application/GRPC"])
def test_content_types(peer, kind):
    ok(peer, peer.call(content_type=kind))


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_encoding_that_is_not_used(peer, encoding):
    ok(peer, peer.call(extra=[("grpc-encoding", encoding)]))


def test_message_across_frames(peer):
    octets = frame(b"m" * 1000)
    for cut in (1, 4, 5, 6, 900):
        stream = peer.headers()
        peer.data(stream, octets[:cut])
        peer.data(stream, octets[cut:], end=True)
        ok(peer, stream, b"m" * 1000)


def test_request_with_trailers(peer):
    stream = peer.headers()
    peer.data(stream, frame(b"x"))
    peer.c.send_headers(stream, [("x-trailer", "1")], end_stream=True)
    peer.flush()
    ok(peer, stream)


@pytest.mark.parametrize("alpn", [("h2",), (), ("transport.l5d.io/v1",), ("http/1.1", "h2")])
def test_alpn(tmp_path, alpn):
    with rpcecho.Echo(tmp_path) as e:
        s = e.connect(alpn=alpn)
        assert s.selected_alpn_protocol() == ("h2" if "h2" in alpn else None)
        p = Peer(s)
        ok(p, p.call())
        p.close()


def test_http1_is_told_so_in_the_handshake(tmp_path):
    with rpcecho.Echo(tmp_path) as e:
        with pytest.raises(OSError):
            e.connect(alpn=("http/1.1",))


def test_healthz(peer):
    for method, end in (("GET", True), ("POST", True), ("POST", False)):
        stream = peer.headers(end=end, drop=("content-type", "te"), **{
            ":method": method, ":path": "/healthz"})
        if not end:
            peer.data(stream, b"whatever", end=True)
        head, octets, _, _ = peer.answer(stream)
        assert (head[":status"], octets) == ("200", b"ok\n")


# ---- refused, as gRPC says --------------------------------------------------------------------

def test_not_grpc(peer):
    for over, status in (({":method": "GET"}, "405"), ({"content-type": "text/plain"}, "415"),
                         ({"content-type": "application/grpc-web"}, "415"),
                         ({"content-type": "application/grp"}, "415")):
        head, _, _, _ = peer.answer(peer.headers(end=True, **over))
        assert head[":status"] == status
    head, _, _, _ = peer.answer(peer.headers(end=True, drop=("content-type",)))
    assert head[":status"] == "415"


def test_codec(peer):
    refused(peer, peer.call(content_type="application/grpc+json"), 12, "codec_unsupported")


def test_two_messages_on_a_unary_call(peer):
    stream = peer.headers()
    peer.data(stream, frame(b"1") + frame(b"2"), end=True)
    refused(peer, stream, 13, "too_many_messages")


def test_second_message_later(peer):
    """It is refused at once: the answer ends the stream before the client does."""
    stream = peer.headers()
    peer.data(stream, frame(b"1"))
    peer.data(stream, frame(b"2"))
    refused(peer, stream, 13, "too_many_messages", reset=0)
    ok(peer, peer.call())


def test_no_message(peer):
    refused(peer, peer.headers(end=True), 13, "message_missing")


@pytest.mark.parametrize("cut", [1, 4, 5, 9])
def test_half_a_message(peer, cut):
    stream = peer.headers()
    peer.data(stream, frame(b"12345")[:cut], end=True)
    refused(peer, stream, 13, "message_incomplete")


def test_compressed_flag(peer):
    stream = peer.headers()
    peer.data(stream, frame(b"x", flag=1), end=True)
    refused(peer, stream, 13, "compression_unnamed")
    stream = peer.headers(extra=[("grpc-encoding", "gzip")])
    peer.data(stream, frame(b"x", flag=1), end=True)
    head, _, _, _ = peer.answer(stream)
    assert head["grpc-status"] == "12" and head["grpc-accept-encoding"] == "identity"
    stream = peer.headers()
    peer.data(stream, frame(b"x", flag=2), end=True)
    refused(peer, stream, 13, "bad_message_flag")


def test_oversized_prefix_is_refused_before_its_octets(peer):
    stream = peer.headers("Later")
    peer.data(stream, b"\0" + (65537).to_bytes(4, "big"))
    refused(peer, stream, 8, "message_too_long", reset=0)
    stream = peer.headers("Later")
    peer.data(stream, b"\0\xff\xff\xff\xff" + b"x" * 1000, end=True)
    refused(peer, stream, 8, "message_too_long")


@pytest.mark.parametrize("value,code", [
    ("1H", 0), ("99999999H", 0), ("1M", 0), ("5S", 0), ("5000m", 0), ("5000000u", 0),
    ("99999999n", 0), ("100000000n", 3), ("S", 3), ("5", 3), ("5s", 3), ("-5S", 3), ("5 S", 3),
    ("0x5S", 3), ("+5S", 3)])
def test_grpc_timeout(peer, value, code):
    stream = peer.call(extra=[("grpc-timeout", value)])
    if code == 0:
        ok(peer, stream)
    else:
        refused(peer, stream, code, "bad_timeout")


@pytest.mark.parametrize("value", ["0n", "1n", "20m", "20000u"])
def test_grpc_timeout_that_is_over(peer, value):
    refused(peer, peer.call(b"5000", "Sleep", extra=[("grpc-timeout", value)]), 4)


def test_bin_metadata(peer):
    """base64 with and without padding."""
    for coded in ("AAE", "AAE=", "AAEC", "AA==", "AA"):
        stream = peer.call(extra=[("x-grpc-test-echo-trailing-bin", coded)])
        _, _, trailers, _ = peer.answer(stream)
        assert trailers["x-grpc-test-echo-trailing-bin"] == coded.rstrip("=")


def test_grpc_message_is_percent_encoded(peer):
    stream = peer.call("2 0 r 100% ☺".encode(), "Fail")
    head, _, _, _ = peer.answer(stream)
    assert head["grpc-message"] == "test_reason: 100%25 %E2%98%BA"


@pytest.mark.parametrize("n,size", [(70, 10), (10, 2000)])
def test_too_many_headers(peer, n, size):
    stream = peer.call(extra=[("x-%d" % i, "v" * size) for i in range(n)])
    refused(peer, stream, 8, "headers_too_long")
    ok(peer, peer.call())


def test_header_bomb(echo):
    """Far above the limits: the stream is reset, and the connection pays for it."""
    p = Peer(echo.connect("plain"))
    stream = p.call(extra=[("x", "v" * 4000)] * 30)
    assert p.answer(stream)[3] not in (None, 0)
    ok(p, p.call())
    p.close()


@pytest.mark.parametrize("name,value", [
    ("Upper", "1"), ("x y", "1"), ("x", "a\0b"), ("x", "a\rb"), ("x", "a\nb"),
    ("connection", "close"), ("te", "gzip"), ("transfer-encoding", "chunked"), (":no", "1")])
def test_malformed_headers(peer, name, value):
    stream = peer.headers(extra=[(name, value)], drop=("te",) if name == "te" else (), end=True)
    head, _, _, reset = peer.answer(stream)
    assert head == {} and reset in (1, 2)  # PROTOCOL_ERROR, INTERNAL_ERROR
    ok(peer, peer.call())


def test_content_length_that_lies(peer):
    stream = peer.headers(extra=[("content-length", "3")])
    peer.data(stream, frame(b"more than that"), end=True)
    assert peer.answer(stream)[3] == 1
    ok(peer, peer.call())


# ---- limits ----------------------------------------------------------------------------------

def test_more_streams_than_allowed(tmp_path):
    """Before it has heard of the limit, a client may well open more: those may be tried again."""
    with rpcecho.Echo(tmp_path, plain=True, max_streams=5) as e:
        p = Peer(e.connect("plain"))
        streams = [p.call(b"500", "Sleep") for _ in range(8)]
        answers = [p.answer(s) for s in streams]
        assert [a[3] for a in answers] == [None] * 5 + [7] * 3  # REFUSED_STREAM
        ok(p, p.call())
        p.close()


def test_abandoned_calls_still_count(tmp_path):
    """Work goes on for streams that were reset: their number is bounded all the same."""
    with rpcecho.Echo(tmp_path, plain=True, max_streams=5) as e:
        p = Peer(e.connect("plain"))
        for _ in range(5):
            stream = p.call(b"1500", "Sleep")
            p.c.reset_stream(stream, 8)
        p.flush()
        stream = p.call()
        refused(p, stream, 8, "too_many_calls")
        assert e.stats()["calls_now"] == 6

        def again():
            return p.answer(p.call())[2].get("grpc-status") == "0"

        proc.wait_until("there is room again", again, step=0.2)
        p.close()


def test_all_calls_are_bounded(tmp_path):
    with rpcecho.Echo(tmp_path, plain=True, max_calls=3) as e:
        p, q = Peer(e.connect("plain")), Peer(e.connect("plain"))
        busy = [p.call(b"700", "Sleep") for _ in range(3)]
        time.sleep(0.2)
        refused(q, q.call(), 8, "overloaded")
        for s in busy:
            ok(p, s, b"700")
        ok(q, q.call())


def test_connections_are_bounded(tmp_path):
    with rpcecho.Echo(tmp_path, plain=True, max_connections=8, max_per_address=5) as e:
        peers = [Peer(e.connect("plain")) for _ in range(4)]
        for p in peers:
            ok(p, p.call())
        more = [e.connect("plain") for _ in range(3)]
        time.sleep(0.2)
        gone = 0
        for s in more:
            s.settimeout(0.3)
            try:
                gone += s.recv(1) == b""
            except ConnectionError:
                gone += 1
            except OSError:
                pass
        assert gone == 2
        for s in more:
            s.close()
        peers[0].close()
        proc.wait_until("there is room", lambda: e.stats()["refused"] >= 2)


def test_request_buffers_are_bounded(tmp_path):
    """Requests that are never completed fill so much of a connection, and no more."""
    with rpcecho.Echo(tmp_path, plain=True, max_buffered=200000) as e:
        p = Peer(e.connect("plain"))
        seen = []
        for _ in range(8):
            stream = p.headers("Later")
            for _ in range(4):
                if p.of(stream):
                    break
                p.data(stream, (b"\0" + (65000).to_bytes(4, "big") + b"m" * 15000)[:15000])
                p.pump(0.02)
            seen.append(p.of(stream, ResponseReceived))
        assert sum(1 for s in seen if s) >= 4
        refusal = dict([s for s in seen if s][0][0].headers)
        assert refusal["grpc-status"] == "8"
        p.close()
        # and all of it is given back
        q = Peer(e.connect("plain"))
        stream = q.headers("Later")
        q.data(stream, frame(b"m" * 60000), end=True)
        ok(q, stream, b"m" * 60000)


# ---- time ------------------------------------------------------------------------------------

def test_half_close_that_never_comes(tmp_path):
    with rpcecho.Echo(tmp_path, plain=True, request_ms=300) as e:
        p = Peer(e.connect("plain"))
        stream = p.headers()
        p.data(stream, frame(b"x"))
        refused(p, stream, 4, "request_timeout", reset=0)
        ok(p, p.call())


def test_body_that_drips(tmp_path):
    with rpcecho.Echo(tmp_path, plain=True, request_ms=500) as e:
        p = Peer(e.connect("plain"))
        stream = p.headers()
        begun = time.monotonic()
        for octet in frame(b"m" * 1000):
            if p.of(stream):
                break
            p.data(stream, bytes([octet]))
            p.pump(0.05)
        refused(p, stream, 4, "request_timeout", reset=0)
        assert 0.4 < time.monotonic() - begun < 5 * proc.SLOW


@pytest.mark.parametrize("sent", [b"", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\6\4\0\0\0\0\0\0"])
def test_preface_that_does_not_come(tmp_path, sent):
    with rpcecho.Echo(tmp_path, plain=True, handshake_ms=300) as e:
        s = e.connect("plain")
        s.sendall(sent)
        begun = time.monotonic()
        while s.recv(1000):
            pass
        assert 0.25 < time.monotonic() - begun < 5 * proc.SLOW
        assert e.stats()["cut_handshake"] == 1


def test_tls_that_does_not_come(tmp_path):
    import socket
    with rpcecho.Echo(tmp_path, handshake_ms=300) as e:
        host, port = e.address["tls"].split(":")
        s = socket.create_connection((host, int(port)), 10)
        s.sendall(b"\x16\x03\x01\x02")
        assert s.recv(100) == b""
        assert e.stats()["cut_handshake"] == 1


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\0" * 40,
                                  b"\x16\x03\x01\x02\x00\x01"])
def test_not_http2(echo, sent):
    before = echo.stats()["cut_protocol"]
    s = echo.connect("plain")
    s.sendall(sent)
    try:
        while s.recv(1000):
            pass
    except ConnectionError:
        pass
    if len(sent) >= 24:
        assert echo.stats()["cut_protocol"] == before + 1


def test_headers_that_drip(tmp_path):
    with rpcecho.Echo(tmp_path, plain=True, headers_ms=400) as e:
        p = Peer(e.connect("plain"))
        p.pump(0.2)
        p.c.send_headers(1, [(":method", "POST"), (":path", "/test.Echo/Unary"),
                             (":scheme", "http"), ("x", "v" * 300)])
        octets = p.c.data_to_send()
        begun = time.monotonic()
        for octet in octets:
            try:
                p.s.sendall(bytes([octet]))
            except OSError:
                break
            if not p.pump(0.02):
                break
        assert p.ended() == 11  # ENHANCE_YOUR_CALM
        assert time.monotonic() - begun < 5 * proc.SLOW
        assert e.stats()["cut_headers"] == 1


def test_idle_connection_ends_in_order(tmp_path):
    with rpcecho.Echo(tmp_path, plain=True, idle_ms=300) as e:
        p = Peer(e.connect("plain"))
        ok(p, p.call())
        begun = time.monotonic()
        assert p.ended() == 0
        assert time.monotonic() - begun > 0.25
        assert sum(v for k, v in e.stats().items() if k.startswith("cut_")) == 0


def test_pings_do_not_keep_an_idle_connection(tmp_path):
    with rpcecho.Echo(tmp_path, plain=True, idle_ms=500) as e:
        p = Peer(e.connect("plain"))
        end = time.monotonic() + 10 * proc.SLOW
        while not p.closed and time.monotonic() < end:
            try:
                p.c.ping(b"12345678")
                p.flush()
            except rpcecho.h2.exceptions.ProtocolError:
                break
            time.sleep(0.05)
            p.pump(0.05)
        assert [x for x in p.events if isinstance(x, PingAckReceived)]
        assert p.ended() == 0


def test_zero_window(tmp_path):
    """A client that never lets the answer through loses its stream."""
    with rpcecho.Echo(tmp_path, plain=True, stall_ms=400) as e:
        p = Peer(e.connect("plain"), settings={4: 0})  # INITIAL_WINDOW_SIZE
        stream = p.call()
        head, octets, trailers, reset = p.answer(stream)
        assert octets == b"" and reset == 8 and "grpc-status" not in trailers
        assert e.stats()["cut_stall"] == 1


def test_window_that_drips(tmp_path):
    """One octet at a time is no progress."""
    with rpcecho.Echo(tmp_path, plain=True, stall_ms=600) as e:
        p = Peer(e.connect("plain"), settings={4: 0})
        p.auto_window = False
        stream = p.call(b"m" * 30000)
        end = time.monotonic() + 10 * proc.SLOW
        while not p.of(stream, rpcecho.h2.events.StreamReset) and time.monotonic() < end:
            try:
                p.c.increment_flow_control_window(1, stream)
                p.flush()
            except rpcecho.h2.exceptions.ProtocolError:
                break
            p.pump(0.05)
        assert p.answer(stream)[3] == 8


def test_client_that_does_not_read(tmp_path):
    """The socket is full: the connection ends, and memory stays what it was."""
    import socket
    with rpcecho.Echo(tmp_path, plain=True, stall_ms=500) as e:
        rss = e.rss()
        host, port = e.address["plain"].split(":")
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect((host, int(port)))
        p = Peer(s, settings={4: 2**31 - 1})
        p.c.increment_flow_control_window(2**31 - 1 - 65535)
        p.auto_window = False
        for _ in range(20):
            p.call(b"100000 10000", "Count")
        proc.wait_until("it is cut", lambda: e.stats()["cut_stall"] > 0)
        proc.wait_until("its calls are over", lambda: e.stats()["calls_now"] == 1)
        assert e.bounded(rss, 16 << 20)


def test_bidi_client_that_does_not_read(tmp_path):
    """We read no more from a stream whose answers nobody takes: its window closes."""
    with rpcecho.Echo(tmp_path, plain=True) as e:
        p = Peer(e.connect("plain"))
        p.auto_window = False
        stream = p.headers("Chat")
        sent = 0
        message = frame(b"m" * 1000)
        idle = 0
        while idle < 20:
            window = p.c.local_flow_control_window(stream)
            if window >= len(message):
                p.data(stream, message)
                sent += len(message)
                idle = 0
            else:
                idle += 1
                p.pump(0.02)
        # one window there, one queue, one window of what is held, one window back
        assert sent < 4 * 65536 + 32768, sent
        # and once it reads, all of it comes
        p.auto_window = True
        got = sum(len(x.data) for x in p.of(stream, DataReceived))
        p.c.acknowledge_received_data(got, stream)
        p.flush()

        def all_there():
            return sum(len(x.data) for x in p.of(stream, DataReceived)) == sent

        p.until(all_there, what="all %d octets" % sent)
        p.c.end_stream(stream)
        p.flush()
        assert p.answer(stream)[2]["grpc-status"] == "0"


def test_slow_call_does_not_hold_up_others(tmp_path):
    """Streams that we do not read leave the window of the connection to the others."""
    with rpcecho.Echo(tmp_path, plain=True) as e:
        p = Peer(e.connect("plain"), settings={4: 0})
        stuck = p.headers("Chat")
        for _ in range(4):
            while p.c.local_flow_control_window(stuck) > 1100:
                p.data(stuck, frame(b"m" * 1000))
            p.pump(0.1)
        stream = p.headers("Unary")
        p.c.increment_flow_control_window(65536, stream)
        p.data(stream, frame(b"m" * 10000), end=True)
        ok(p, stream, b"m" * 10000)


def test_goaway_in_two_steps(tmp_path):
    """Calls that were on their way when it was sent are answered."""
    import signal
    with rpcecho.Echo(tmp_path, plain=True) as e:
        p = Peer(e.connect("plain"))
        ok(p, p.call())
        slow = p.call(b"900", "Sleep")
        e.p.signal(signal.SIGUSR1)
        p.until(lambda: p.goaway == 0, what="GOAWAY")
        # h2 takes the notice for the end; what it would still send is made by hand
        p.s.sendall(rpcecho.raw(rpcecho.HEADERS, 4, slow + 2, rpcecho.block())
                    + rpcecho.raw(rpcecho.DATA, 1, slow + 2, frame(b"late")))
        data = b""
        p.s.settimeout(10 * proc.SLOW)
        while got := p.s.recv(65536):
            data += got
        assert frame(b"late") in data and frame(b"900") in data
