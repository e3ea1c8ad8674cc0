# SPDX-License-Identifier: Apache-2.0
"""SDS v3 as an Envoy speaks it (reference: the xDS protocol), with grpcio against a real agent and a
real micad."""
import os
import queue
import threading
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import pki
from agent import SECRET_URL, TLS, Agent, types
from micad import TRUST_DOMAIN, certificates, spiffe_id, verify_chain
from proc import SLOW, wait_until

ID = "spiffe://%s/ns/payments/sa/checkout" % TRUST_DOMAIN
TD = "spiffe://" + TRUST_DOMAIN
SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService/"
DISCOVERY = "envoy.service.discovery.v3."


class Stream:
    """StreamSecrets or DeltaSecrets: send() requests, next() answers."""

    def __init__(self, channel, delta=False):
        kind = "Delta" if delta else ""
        self.request = types(DISCOVERY + kind + "DiscoveryRequest")
        self.sent = queue.Queue()
        go = channel.stream_stream(
            SERVICE + ("DeltaSecrets" if delta else "StreamSecrets"),
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=types(DISCOVERY + kind + "DiscoveryResponse").FromString)
        self.call = go(iter(self.sent.get, None), timeout=60 * SLOW)
        self.answers = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for m in self.call:
                self.answers.put(m)
        except grpc.RpcError as e:
            self.answers.put(e)

    def send(self, **fields):
        self.sent.put(self.request(**fields))

    def ask(self, *names, metadata=None, **fields):
        r = self.request(resource_names=names, type_url=SECRET_URL, **fields)
        r.node.id = "envoy-1"
        for k, v in (metadata or {}).items():
            if isinstance(v, bool):
                r.node.metadata.fields[k].bool_value = v
            else:
                r.node.metadata.fields[k].string_value = v
        self.sent.put(r)

    def ack(self, answer, *names):
        self.send(version_info=answer.version_info, response_nonce=answer.nonce,
                  resource_names=names, type_url=SECRET_URL)

    def nack(self, answer, *names, message="refused", version=""):
        r = self.request(version_info=version, response_nonce=answer.nonce, resource_names=names,
                         type_url=SECRET_URL)
        r.error_detail.code = 13
        r.error_detail.message = message
        self.sent.put(r)

    def next(self, timeout=10):
        m = self.answers.get(timeout=timeout * SLOW)
        if isinstance(m, Exception):
            raise m
        return m

    def quiet(self, seconds=0.4):
        """Nothing comes."""
        with pytest.raises(queue.Empty):
            m = self.answers.get(timeout=seconds * SLOW)
            raise AssertionError("an answer of %s" % list(secrets(m)))

    def close(self):
        self.sent.put(None)
        self.call.cancel()


def secrets(answer):
    out = {}
    for any_ in answer.resources:
        assert any_.type_url == SECRET_URL
        s = types(TLS + "Secret").FromString(any_.value)
        assert s.name not in out
        out[s.name] = s
    return out


def check_certificate(secret, roots, name=ID):
    """Chain and key together, and of one another."""
    t = secret.tls_certificate
    leaf = verify_chain(t.certificate_chain.inline_bytes.decode(), roots)[0]
    assert spiffe_id(leaf) == name
    key = serialization.load_pem_private_key(t.private_key.inline_bytes, None)
    assert t.private_key.inline_bytes.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert pki.spki(key.public_key()) == pki.spki(leaf.public_key())
    return leaf


@pytest.fixture(scope="module")
def agent(tmp_path_factory, micad, issuer):
    over = {"sds": {"names": [{"name": "web-cert", "is": ID}, {"name": "web-ca", "is": "ROOTCA"},
                              {"name": "front", "is": "default"}]}}
    with Agent(tmp_path_factory.mktemp("agent"), micad, issuer.token(), over) as a:
        a.wait_for("svid_issued")
        a.wait_for("bundle_taken")
        yield a


@pytest.fixture
def channel(agent):
    with grpc.insecure_channel("unix://" + agent.socket) as c:
        yield c


@pytest.fixture(scope="module")
def roots(micad):
    return micad.client().get("/v1/bundle.pem").ok().body


def test_every_name_in_one_request(channel, roots):
    s = Stream(channel)
    names = ["default", "ROOTCA", "ALL", ID, TD, "web-cert", "web-ca", "front"]
    others = ["nobody-knows", TD + "/ns/other/sa/other", "spiffe://elsewhere.org"]
    s.ask(*names, *others)
    a = s.next()
    assert a.type_url == SECRET_URL and a.version_info and a.nonce
    got = secrets(a)
    assert sorted(got) == sorted(names)
    for n in ("default", ID, "web-cert", "front"):
        check_certificate(got[n], roots.decode())
    for n in ("ROOTCA", "ALL", TD, "web-ca"):
        assert got[n].validation_context.trusted_ca.inline_bytes == roots
        assert not got[n].validation_context.HasField("custom_validator_config")
    s.ack(a, *others, *names)
    s.quiet()
    s.close()


def test_no_names_is_everything(channel, roots):
    s = Stream(channel)
    s.ask()
    assert sorted(secrets(s.next())) == [TD, ID]
    s.close()


def test_the_spiffe_validator_by_metadata(channel, roots):
    for metadata, spiffe in (({"spiffe_cert_validation": True}, True),
                             ({"disable_spiffe_cert_validation": "true"}, False),
                             ({"disable_spiffe_cert_validation": False}, True),
                             ({"something": "else"}, False)):
        s = Stream(channel)
        s.ask("ROOTCA", metadata=metadata)
        c = secrets(s.next())["ROOTCA"].validation_context
        assert c.HasField("custom_validator_config") == spiffe
        if spiffe:
            assert not c.trusted_ca.inline_bytes
            assert c.custom_validator_config.name == "envoy.tls.cert_validator.spiffe"
            typed = c.custom_validator_config.typed_config
            assert typed.type_url == "type.googleapis.com/" + TLS + "SPIFFECertValidatorConfig"
            v = types(TLS + "SPIFFECertValidatorConfig").FromString(typed.value)
            assert [(t.name, t.trust_bundle.inline_bytes) for t in v.trust_domains] == [
                (TRUST_DOMAIN, roots)]
        s.close()


def test_names_change_on_a_stream(channel):
    s = Stream(channel)
    s.ask("default")
    a = s.next()
    s.ack(a, "default", "ROOTCA")
    b = s.next()
    assert sorted(secrets(b)) == ["ROOTCA", "default"]
    assert b.nonce != a.nonce and b.version_info != a.version_info
    # what speaks of an older answer is ignored, whatever it wants
    s.ack(a, "ALL")
    s.quiet()
    s.ack(b, "ROOTCA")
    assert sorted(secrets(s.next())) == ["ROOTCA"]
    s.close()


def test_nack(agent, channel):
    """It is logged and not repeated; the stream goes on."""
    before = len(agent.events("sds_nack"))
    s = Stream(channel)
    s.ask("ROOTCA")
    a = s.next()
    s.nack(a, "ROOTCA", message="I cannot read\nlevel=error event=forged")
    s.quiet()
    e = agent.wait_for("sds_nack", before + 1)
    assert e["node"] == "envoy-1" and "cannot read" in e["error"]
    assert not agent.events("forged")
    s.send(response_nonce=a.nonce, resource_names=["default"], type_url=SECRET_URL)
    assert sorted(secrets(s.next())) == ["default"]
    s.close()


def test_another_type_is_refused(channel):
    s = Stream(channel)
    s.send(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster", resource_names=["x"])
    with pytest.raises(grpc.RpcError) as e:
        s.next()
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_fetch(channel, roots):
    go = channel.unary_unary(SERVICE + "FetchSecrets",
                             request_serializer=lambda m: m.SerializeToString(),
                             response_deserializer=types(
                                 DISCOVERY + "DiscoveryResponse").FromString)
    request = types(DISCOVERY + "DiscoveryRequest")
    got = secrets(go(request(resource_names=["default", "nobody"]), timeout=5 * SLOW))
    assert list(got) == ["default"]
    check_certificate(got["default"], roots.decode())
    with pytest.raises(grpc.RpcError) as e:
        go(request(resource_names=["nobody"]), timeout=5 * SLOW)
    assert e.value.code() == grpc.StatusCode.NOT_FOUND


def test_delta(channel, roots):
    s = Stream(channel, delta=True)
    s.send(resource_names_subscribe=["default", "nobody"], type_url=SECRET_URL)
    a = s.next()
    assert [r.name for r in a.resources] == ["default"] and a.removed_resources == ["nobody"]
    r = a.resources[0]
    secret = types(TLS + "Secret").FromString(r.resource.value)
    assert r.version and r.resource.type_url == SECRET_URL and secret.name == "default"
    check_certificate(secret, roots.decode())
    s.send(response_nonce=a.nonce, type_url=SECRET_URL)
    s.quiet()
    s.send(resource_names_subscribe=["ROOTCA"], resource_names_unsubscribe=["nobody"])
    b = s.next()
    assert [x.name for x in b.resources] == ["ROOTCA"]
    s.send(response_nonce=b.nonce)
    s.close()
    # one that comes back says what it has, and gets the rest
    s = Stream(channel, delta=True)
    s.send(resource_names_subscribe=["default", "ROOTCA"], type_url=SECRET_URL,
           initial_resource_versions={"default": r.version, "ROOTCA": "old"})
    assert [x.name for x in s.next().resources] == ["ROOTCA"]
    s.close()
    s = Stream(channel, delta=True)
    s.send(resource_names_subscribe=["*"], type_url=SECRET_URL)
    assert sorted(x.name for x in s.next().resources) == [TD, ID]
    s.close()


def test_garbage(agent, channel):
    for method in ("StreamSecrets", "DeltaSecrets"):
        go = channel.stream_stream(SERVICE + method)
        with pytest.raises(grpc.RpcError) as e:
            next(go(iter([b"\x0a\xff\xff\xff"]), timeout=5 * SLOW))
        assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    # a tree as deep as it likes is not descended into
    deep = b""
    for _ in range(2000):
        value = b"\x2a" + _varint(len(deep)) + deep
        entry = b"\x0a\x01a\x12" + _varint(len(value)) + value
        deep = b"\x0a" + _varint(len(entry)) + entry
    node = b"\x1a" + _varint(len(deep)) + deep
    m = b"\x12" + _varint(len(node)) + node
    go = channel.stream_stream(SERVICE + "StreamSecrets")
    call = go(iter([m + b"\x1a\x06ROOTCA"]), timeout=5 * SLOW)
    assert b"ROOTCA" in next(call)
    assert agent.process.alive()


def _varint(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def test_renewals_reach_streams(tmp_path, start, issuer):
    """Both kinds of stream get each new certificate, once, with its key."""
    m = start([issuer.config("file")], {"x509": {"ttl": "6s", "min_ttl": "1s"}})
    roots = m.client().get("/v1/bundle.pem").ok().body.decode()
    with Agent(tmp_path / "a", m, issuer.token()) as a, \
            grpc.insecure_channel("unix://" + a.socket) as c:
        s, d, trust = Stream(c), Stream(c, delta=True), Stream(c)
        s.ask("default")
        trust.ask("ROOTCA")
        d.send(resource_names_subscribe=["default"], type_url=SECRET_URL)
        trust.ack(trust.next(), "ROOTCA")
        seen = []
        for _ in range(3):
            x, y = s.next(), d.next()
            one = check_certificate(secrets(x)["default"], roots)
            two = check_certificate(
                types(TLS + "Secret").FromString(y.resources[0].resource.value), roots)
            assert one.serial_number == two.serial_number and one.serial_number not in seen
            seen.append(one.serial_number)
            s.ack(x, "default")
            d.send(response_nonce=y.nonce)
        trust.quiet(0.1)
        for x in (s, d, trust):
            x.close()


def test_acceptance_is_evidence(tmp_path, start, issuer):
    """micad learns what an Envoy has accepted, of that certificate, and not before."""
    m = start([issuer.config("file")])
    with Agent(tmp_path / "a", m, issuer.token()) as a, \
            grpc.insecure_channel("unix://" + a.socket) as c:
        a.wait_for("bundle_acked")
        s = Stream(c)
        s.ask("ROOTCA")
        first = s.next()
        s.ack(first, "ROOTCA")
        m.admin().post("/v1/rotation", {"action": "start", "kind": "root"}).ok(201)
        sequence = m.admin().get("/v1/bundle").ok().json()["spiffe_sequence"]
        second = s.next()

        def acked():
            return [e for e in a.events("bundle_acked") if int(e["sequence"]) >= sequence]

        time.sleep(0.5)
        assert not acked()
        s.nack(second, "ROOTCA", version=first.version_info)
        time.sleep(0.5)
        assert not acked()
        # the Envoy is gone: nobody is left who has not got it
        s.close()
        wait_until("acked", acked)
        s = Stream(c)
        s.ask("ROOTCA")
        s.ack(s.next(), "ROOTCA")
        s.quiet(0.2)
        s.close()


def test_memory(tmp_path, micad, issuer):
    """Private memory: idle, and with a stream for each secret, as Envoys do, on one connection."""
    with Agent(tmp_path, micad, issuer.token()) as a:
        a.wait_for("svid_issued")
        a.wait_for("bundle_taken")
        bounds = {0: 5000, 100: 8000, 450: 16000}
        with open("/proc/%d/maps" % a.process.pid) as f:
            if "asan" in f.read():
                bounds = dict.fromkeys(bounds, 10**9)  # a sanitizer's memory is not the program's
        for n, most in bounds.items():
            with grpc.insecure_channel("unix://" + a.socket) as c:
                streams = [Stream(c) for _ in range(n)]
                for i, s in enumerate(streams):
                    s.ask("default" if i % 2 else "ROOTCA")
                for i, s in enumerate(streams):
                    assert list(secrets(s.next(30))) == ["default" if i % 2 else "ROOTCA"]
                assert _private_kb(a.process.pid) < most, n
                for s in streams:
                    s.close()


def _private_kb(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return sum(int(l.split()[1]) for l in f if l.startswith("Private_Dirty:"))
