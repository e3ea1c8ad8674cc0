# SPDX-License-Identifier: Apache-2.0
"""The gRPC server library against grpcio (C-core): the behaviours of gRPC's interop tests, and
what our own services say."""
import os
import queue
import subprocess
import threading
import time

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import pki
import proc
import rpcecho
from rpcecho import unary

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "rpc", "proto")


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    with rpcecho.Echo(tmp_path_factory.mktemp("rpc"), plain=True, unix=True) as e:
        yield e


@pytest.fixture(scope="module")
def channel(echo):
    with echo.channel() as c:
        yield c


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """Messages by name, from our .proto files."""
    out = str(tmp_path_factory.mktemp("desc") / "all")
    subprocess.run(["protoc-c", "-I", PROTO, "--include_imports", "--descriptor_set_out=" + out,
                    "grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto",
                    "google/rpc/status.proto", "google/rpc/error_details.proto"],
                   check=True, cwd=PROTO)
    pool = descriptor_pool.DescriptorPool()
    with open(out, "rb") as f:
        for one in descriptor_pb2.FileDescriptorSet.FromString(f.read()).file:
            pool.AddSerializedFile(one.SerializeToString())
    factory = message_factory.MessageFactory(pool)
    return lambda name: factory.GetPrototype(pool.FindMessageTypeByName(name))


def refused(call, *args, **how):
    how.setdefault("timeout", 10)
    with pytest.raises(grpc.RpcError) as e:
        call(*args, **how)
    return e.value


# ---- calls -----------------------------------------------------------------------------------

@pytest.mark.smoke
@pytest.mark.parametrize("how", ["tls", "plain", "unix"])
def test_unary(echo, how):
    with echo.channel(how) as c:
        for n in (0, 1, 5, 60000):
            assert unary(c, "Unary")(b"m" * n, timeout=10) == b"m" * n
            assert unary(c, "Later")(b"m" * n, timeout=10) == b"m" * n


def test_large_unary(channel):
    message = os.urandom(3 << 20)
    assert unary(channel, "Unary")(message, timeout=20) == message


def test_many_at_once_from_another_thread(channel):
    calls = [unary(channel, "Later").future(b"%d" % i, timeout=20) for i in range(500)]
    assert [c.result() for c in calls] == [b"%d" % i for i in range(500)]


def test_server_streaming(channel):
    count = channel.unary_stream("/test.Echo/Count")
    assert [len(m) for m in count(b"5 10", timeout=10)] == [10] * 5
    assert list(count(b"0 0", timeout=10)) == []
    # far more than one window and one queue hold
    assert sum(len(m) for m in count(b"3000 1000", timeout=20)) == 3000000


def test_ping_pong(channel):
    ask = queue.Queue()
    answers = channel.stream_stream("/test.Echo/Chat")(iter(ask.get, None), timeout=20)
    for n in (0, 1, 31415, 60000):
        ask.put(b"p" * n)
        assert next(answers) == b"p" * n
    ask.put(None)
    with pytest.raises(StopIteration):
        next(answers)
    assert answers.code() == grpc.StatusCode.OK


def test_empty_stream_and_client_stream(channel):
    chat = channel.stream_stream("/test.Echo/Chat")
    assert list(chat(iter(()), timeout=10)) == []
    sent = [b"%d" % i * 1000 for i in range(300)]
    assert list(chat(iter(sent), timeout=20)) == sent


def test_stream_that_fails_midway(channel):
    answers = channel.stream_stream("/test.Echo/Chat")(iter([b"a", b"fail", b"b"]), timeout=10)
    assert next(answers) == b"a"
    with pytest.raises(grpc.RpcError) as e:
        next(answers)
    assert e.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert e.value.details() == "test_reason: as asked"


def test_custom_metadata(channel):
    octets = bytes(range(256))
    sent = (("x-grpc-test-echo-initial", "test initial"),
            ("x-grpc-test-echo-trailing-bin", octets))
    message, call = unary(channel, "Unary").with_call(b"m", timeout=10, metadata=sent)
    assert message == b"m"
    assert ("x-grpc-test-echo-initial", "test initial") in call.initial_metadata()
    assert ("x-grpc-test-echo-trailing-bin", octets) in call.trailing_metadata()
    chat = channel.stream_stream("/test.Echo/Chat")(iter([b"1"]), timeout=10, metadata=sent)
    assert ("x-grpc-test-echo-initial", "test initial") in chat.initial_metadata()
    assert list(chat) == [b"1"]
    assert ("x-grpc-test-echo-trailing-bin", octets) in chat.trailing_metadata()


def test_metadata_as_seen(channel):
    text = unary(channel, "Headers")(b"", timeout=10, metadata=(
        ("authorization", "Bearer t"), ("clusterid", "one"), ("clusterid", "two")))
    lines = text.decode().splitlines()
    assert "authorization=Bearer t" in lines
    assert [l for l in lines if l.startswith("clusterid")] == ["clusterid=one", "clusterid=two"]
    assert not [l for l in lines if l.startswith(":")]


# ---- status ----------------------------------------------------------------------------------

@pytest.mark.parametrize("code", range(1, 17))
def test_status_code_and_message(channel, code):
    e = refused(unary(channel, "Fail"), b"%d 0 r test status message" % code)
    assert e.code().value[0] == code
    assert e.details() == "test_reason: test status message"


def test_special_status_message(channel):
    text = "\ttest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈% %41\t"
    e = refused(unary(channel, "Fail"), b"2 0 r " + text.encode())
    # struct mica_err keeps one line: control characters are '?'
    want = text.replace("\t", "?").replace("\r", "?").replace("\n", "?")
    assert e.details() == "test_reason: " + want


def test_status_without_error(channel):
    e = refused(unary(channel, "Fail"), b"9 0 none x")
    assert e.code() == grpc.StatusCode.FAILED_PRECONDITION and e.details() == ""


def test_details(channel, messages):
    e = refused(unary(channel, "Fail"), b"8 30 r so it is")
    raw = dict(e.trailing_metadata())["grpc-status-details-bin"]
    status = messages("google.rpc.Status").FromString(raw)
    assert (status.code, status.message) == (8, "so it is")
    types = [d.type_url for d in status.details]
    assert types == ["type.googleapis.com/google.rpc.ErrorInfo",
                     "type.googleapis.com/google.rpc.RetryInfo"]
    info = messages("google.rpc.ErrorInfo").FromString(status.details[0].value)
    assert (info.reason, info.domain) == ("TEST_REASON", "test.example")
    retry = messages("google.rpc.RetryInfo").FromString(status.details[1].value)
    assert retry.retry_delay.seconds == 30
    e = refused(unary(channel, "Fail"), b"8 0 r so it is")
    raw = dict(e.trailing_metadata())["grpc-status-details-bin"]
    assert len(messages("google.rpc.Status").FromString(raw).details) == 1


@pytest.mark.parametrize("rc,code", enumerate([3, 16, 7, 5, 10, 8, 14, 15, 13], 1))
def test_class_of_error(channel, rc, code):
    assert refused(unary(channel, "Class"), b"%d" % rc).code().value[0] == code


def test_method_without_an_answer(channel):
    e = refused(unary(channel, "Silent"), b"")
    assert e.code() == grpc.StatusCode.INTERNAL and "answer_missing" in e.details()


def test_unimplemented(channel):
    e = refused(unary(channel, "Nothing"), b"")
    assert e.code() == grpc.StatusCode.UNIMPLEMENTED and "method_unknown" in e.details()
    e = refused(unary(channel, "Unary", service="test.Nothing"), b"")
    assert e.code() == grpc.StatusCode.UNIMPLEMENTED and "service_unknown" in e.details()


def test_too_long_message(channel):
    e = refused(unary(channel, "Later"), b"m" * (65536 + 1))
    assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "65537" in e.details()
    assert unary(channel, "Later")(b"m" * 65536, timeout=10) == b"m" * 65536


def test_admission(channel, messages):
    e = refused(unary(channel, "Unary"), b"", metadata=(("x-refuse", "1"),))
    assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert e.details() == "rate_limited: too many of late"
    raw = dict(e.trailing_metadata())["grpc-status-details-bin"]
    assert len(messages("google.rpc.Status").FromString(raw).details) == 2


# ---- time and cancellation -------------------------------------------------------------------

def calls_now(e):
    return e.stats()["calls_now"] - 1  # the one that asks


def test_timeout_on_sleeping_server(echo, channel):
    begun = time.monotonic()
    e = refused(unary(channel, "Sleep"), b"2000", timeout=0.2)
    assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 1.5 * proc.SLOW
    # its method answers in its own time, and nothing is left
    proc.wait_until("no call is left", lambda: calls_now(echo) == 0)


def test_cancel_after_begin(echo, channel):
    call = unary(channel, "Sleep").future(b"500", timeout=20)
    time.sleep(0.05)
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED
    proc.wait_until("no call is left", lambda: calls_now(echo) == 0)


def test_cancel_after_first_response(echo, channel):
    answers = channel.unary_stream("/test.Echo/Forever")(b"m")
    assert next(answers) == b"m"
    answers.cancel()
    with pytest.raises(grpc.RpcError):
        next(answers)
    proc.wait_until("no call is left", lambda: calls_now(echo) == 0)


def test_channel_that_goes_away(echo):
    c = echo.channel(options=[("grpc.use_local_subchannel_pool", 1)])
    streams = [c.unary_stream("/test.Echo/Forever")(b"m") for _ in range(20)]
    assert [next(s) for s in streams] == [b"m"] * 20
    c.close()
    proc.wait_until("no call is left", lambda: calls_now(echo) == 0)


def test_bound_on_every_answer(tmp_path):
    """A method that forgets about its call: the client hears of it all the same."""
    with rpcecho.Echo(tmp_path, call_ms=300) as e, e.channel() as c:
        begun = time.monotonic()
        error = refused(unary(c, "Stuck"), b"", timeout=20)
        assert error.code() == grpc.StatusCode.UNAVAILABLE and "overdue" in error.details()
        assert 0.25 < time.monotonic() - begun < 5 * proc.SLOW
        # a client that waits less long is told that it was its own deadline
        assert refused(unary(c, "Stuck"), b"", timeout=0.1).code() == \
            grpc.StatusCode.DEADLINE_EXCEEDED


# ---- our own services ------------------------------------------------------------------------

def test_health(echo, channel, messages):
    ask, answer = (messages("grpc.health.v1.HealthCheck" + n) for n in ("Request", "Response"))
    check = channel.unary_unary("/grpc.health.v1.Health/Check", ask.SerializeToString,
                                answer.FromString)
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch", ask.SerializeToString,
                                 answer.FromString)
    assert check(ask(), timeout=10).status == 1
    assert check(ask(service="test.Echo"), timeout=10).status == 1
    assert refused(check, ask(service="test.No")).code() == grpc.StatusCode.NOT_FOUND
    unknown = watch(ask(service="test.No"), timeout=20)
    assert next(unknown).status == 3
    unknown.cancel()
    seen = watch(ask(service="test.Echo"), timeout=20)
    assert next(seen).status == 1
    unary(channel, "Serving")(b"0 test.Echo", timeout=10)
    assert next(seen).status == 2
    assert check(ask(service="test.Echo"), timeout=10).status == 2
    assert check(ask(), timeout=10).status == 1
    unary(channel, "Serving")(b"1 test.Echo", timeout=10)
    assert next(seen).status == 1
    seen.cancel()
    proc.wait_until("no call is left", lambda: calls_now(echo) == 0)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(channel, messages, version):
    ask, answer = (messages("grpc.reflection.v1.ServerReflection" + n)
                   for n in ("Request", "Response"))
    service = "grpc.reflection.%s.ServerReflection" % version
    reflect = channel.stream_stream("/%s/ServerReflectionInfo" % service, ask.SerializeToString,
                                    answer.FromString)
    asked = [ask(list_services=""), ask(file_containing_symbol="grpc.health.v1.Health"),
             ask(file_containing_symbol="grpc.health.v1.Health.Watch"),
             ask(file_containing_symbol="grpc.health.v1.HealthCheckResponse.ServingStatus"),
             ask(file_by_filename="grpc/reflection/%s/reflection.proto" % version),
             ask(file_containing_symbol="no.such.Thing"), ask(file_by_filename="no/such.proto"),
             ask(all_extension_numbers_of_type="x"), ask()]
    said = list(reflect(iter(asked), timeout=10))
    assert [s.original_request for s in said] == asked
    names = [s.name for s in said[0].list_services_response.service]
    assert set(names) == {"test.Echo", "grpc.health.v1.Health",
                          "grpc.reflection.v1.ServerReflection",
                          "grpc.reflection.v1alpha.ServerReflection"}
    for s in said[1:5]:
        files = [descriptor_pb2.FileDescriptorProto.FromString(f)
                 for f in s.file_descriptor_response.file_descriptor_proto]
        assert len(files) == 1
    assert files[0].service[0].name == "ServerReflection"
    assert [s.error_response.error_code for s in said[5:]] == [5, 5, 5, 3]


# ---- TLS -------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    with rpcecho.Echo(tmp_path_factory.mktemp("certs"), want_cert=True) as e:
        yield e


def client_cert(ca, folder, days=30):
    """(chain, key) in PEM of a client; days < 0 is expired."""
    k = pki.key()
    now = pki.datetime.datetime.utcnow()
    b = ca._base(pki.x509.Name([]), k.public_key())
    b._not_valid_before = now - pki.datetime.timedelta(days=60)
    b._not_valid_after = now + pki.datetime.timedelta(days=days)
    cert = b.sign(ca.key, pki.hashes.SHA256())
    return cert, cert.public_bytes(pki.PEM) + ca.pem(), pki.key_pem(k)


@pytest.mark.parametrize("days", [30, -1])
def test_client_certificate(certs, tmp_path, days):
    """Whoever signed it, and expired too: the chain comes through as presented."""
    other = pki.Ca("nobody knows me")
    cert, chain, key = client_cert(other, tmp_path, days)
    with certs.channel(cert=(chain, key)) as c:
        want = cert.public_bytes(pki.DER) + other.cert.public_bytes(pki.DER)
        assert unary(c, "Chain")(b"", timeout=10) == want
        assert b"certs=2" in unary(c, "Who")(b"", timeout=10)


def test_no_client_certificate(certs):
    with certs.channel() as c:
        assert unary(c, "Chain")(b"", timeout=10) == b""


def test_connection_state_is_shared_by_its_calls(echo):
    with echo.channel(options=[("grpc.use_local_subchannel_pool", 1)]) as c:
        seen = [unary(c, "Who")(b"", timeout=10).decode() for _ in range(3)]
    assert [s.split("before=")[1].split()[0] for s in seen] == ["0", "1", "2"]


def test_unix_peer(echo):
    with echo.channel("unix") as c:
        who = unary(c, "Who")(b"", timeout=10).decode()
    assert "local=1 uid=%d gid=%d pid=%d" % (os.getuid(), os.getgid(), os.getpid()) in who
    assert "address= tls=0" in who


def test_key_swap(tmp_path):
    """New handshakes get the new key; what is connected goes on."""
    with rpcecho.Echo(tmp_path) as e, e.channel() as c:
        first = e.connect().getpeercert(True)
        assert unary(c, "Unary")(b"1", timeout=10) == b"1"
        e.write_key(*e.ca.server("localhost", "127.0.0.1"))
        rpcecho.hup(e)
        proc.wait_until("the new key", lambda: e.connect().getpeercert(True) != first)
        assert unary(c, "Unary")(b"2", timeout=10) == b"2"
        pki.write(e.path("chain.pem"), b"junk")
        rpcecho.hup(e)
        time.sleep(0.2)
        assert e.connect().getpeercert(True) != first


# ---- the end ---------------------------------------------------------------------------------

def test_drain(tmp_path):
    """Calls under way are answered, new ones go elsewhere, the program ends in time."""
    e = rpcecho.Echo(tmp_path)
    with e.channel() as c:
        slow = [unary(c, "Sleep").future(b"800", timeout=20) for _ in range(10)]
        stream = c.unary_stream("/test.Echo/Forever")(b"m")
        assert next(stream) == b"m"
        time.sleep(0.1)
        ended = []
        stopper = threading.Thread(target=lambda: ended.append(e.p.stop(timeout=20)))
        stopper.start()
        assert [s.result() for s in slow] == [b"800"] * 10
        stopper.join()
    assert ended == [0], e.p.tail()


def test_max_age_is_invisible(tmp_path):
    """Connections end of old age all the time, and no call fails."""
    with rpcecho.Echo(tmp_path, max_age_ms=300, grace_ms=2000) as e:
        with e.channel() as c:
            end = time.monotonic() + 4
            n = 0
            while time.monotonic() < end:
                assert unary(c, "Later")(b"m", timeout=10) == b"m"
                n += 1
        s = e.stats()
        assert s["connections"] > 5 and s["code_0"] >= n
        assert s["cut_protocol"] == 0


def test_one_idle_server_costs_nothing(echo, channel):
    unary(channel, "Unary")(b"", timeout=10)
    before = echo.cpu()
    time.sleep(1)
    assert echo.cpu() - before < 0.05
