# SPDX-License-Identifier: Apache-2.0
"""The real Envoy: two of them with mTLS between them, certificates and roots by SDS from two agents,
names matched; leaf, issuing authority and root are rotated under load, and micad is killed and
restarted meanwhile: no request fails."""
import http.client
import json
import os
import socket
import subprocess
import threading
import time

import pytest

import pki
from agent import SOURCE, Agent
from micad import TRUST_DOMAIN, certificates
from proc import SLOW, Process, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
HCM = ("type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
       "HttpConnectionManager")
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}


@pytest.fixture(scope="module")
def envoy():
    """The path of the binary; tests/e2e/envoy.sh gets it."""
    r = subprocess.run([os.path.join(HERE, "envoy.sh")], capture_output=True, text=True,
                       timeout=600)
    if r.returncode == 77:
        pytest.skip(r.stderr.strip().splitlines()[-1])
    assert r.returncode == 0, r.stderr
    return r.stdout.strip().splitlines()[-1]


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def address(p):
    return {"socket_address": {"address": "127.0.0.1", "port_value": p}}


def sds(name):
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": {
        "api_type": "GRPC", "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "mica_agent"}}]}}}


def common(peer, roots):
    return {"tls_certificate_sds_secret_configs": [sds("default")],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [
                    {"san_type": "URI", "matcher": {"exact": peer}}]},
                "validation_context_sds_secret_config": sds(roots)}}


def http_filter(name, route):
    return {"filters": [{"name": "http", "typed_config": {
        "@type": HCM, "stat_prefix": name, "http_filters": [ROUTER],
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [
            dict({"match": {"prefix": "/"}}, **route)]}]}}}]}


def agent_cluster(path):
    return {"name": "mica_agent", "type": "STATIC", "connect_timeout": "1s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3."
                             "HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}}}},
            "load_assignment": {"cluster_name": "mica_agent", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": path}}}}]}]}}


def server_config(admin, listen, agent, peer, roots):
    f = http_filter("server", {"direct_response": {"status": 200,
                                                   "body": {"inline_string": "hello"}}})
    f["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": TLS + "DownstreamTlsContext", "require_client_certificate": True,
        "common_tls_context": common(peer, roots)}}
    return {"admin": {"address": address(admin)}, "static_resources": {
        "listeners": [{"name": "in", "address": address(listen), "filter_chains": [f]}],
        "clusters": [agent_cluster(agent)]}}


def client_config(admin, listen, agent, upstream, peer, roots):
    cluster = {"name": "server", "type": "STATIC", "connect_timeout": "2s",
               # each request a handshake: with what holds at that moment
               "typed_extension_protocol_options": {
                   "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                       "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3."
                                "HttpProtocolOptions",
                       "common_http_protocol_options": {"max_requests_per_connection": 1},
                       "explicit_http_config": {"http_protocol_options": {}}}},
               "load_assignment": {"cluster_name": "server", "endpoints": [
                   {"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}]},
               "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                   "@type": TLS + "UpstreamTlsContext",
                   "common_tls_context": common(peer, roots)}}}
    return {"admin": {"address": address(admin)}, "static_resources": {
        "listeners": [{"name": "out", "address": address(listen), "filter_chains": [
            http_filter("client", {"route": {"cluster": "server"}})]}],
        "clusters": [cluster, agent_cluster(agent)]}}


class Envoy:
    def __init__(self, binary, folder, name, config, base):
        path = pki.write(os.path.join(str(folder), name + ".json"),
                         json.dumps(config).encode(), 0o644)
        self.admin = config["admin"]["address"]["socket_address"]["port_value"]
        self.process = Process([binary, "-c", path, "--base-id", str(base), "--concurrency", "1",
                                "-l", "warning", "--service-node", name,
                                "--service-cluster", "test"],
                               os.path.join(str(folder), name + ".log"))

    def stats(self, contains):
        c = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5 * SLOW)
        c.request("GET", "/stats?format=json&filter=" + contains)
        out = json.loads(c.getresponse().read())["stats"]
        c.close()
        return {s["name"]: s["value"] for s in out if "value" in s}

    def certificates(self):
        c = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5 * SLOW)
        c.request("GET", "/certs")
        out = json.loads(c.getresponse().read())
        c.close()
        return out


def get(p, path="/", method="GET"):
    c = http.client.HTTPConnection("127.0.0.1", p, timeout=10 * SLOW)
    try:
        c.request(method, path)
        r = c.getresponse()
        return r.status, r.read()
    finally:
        c.close()


class Load:
    """Requests one after the other, from two threads, until it is stopped."""

    def __init__(self, p):
        self.port, self.good, self.bad, self.go = p, 0, [], True
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(2)]
        for t in self.threads:
            t.start()

    def run(self):
        while self.go:
            try:
                answer = get(self.port)
            except OSError as e:
                answer = repr(e)
            if answer == (200, b"hello"):
                self.good += 1
            else:
                self.bad.append((time.time(), answer))
            time.sleep(0.01)

    def stop(self):
        self.go = False
        for t in self.threads:
            t.join(20)
        return self.good, self.bad


class World:
    """micad, two agents, two Envoys, in one folder."""

    def __init__(self, envoy, folder, micad, issuer, roots="ROOTCA", allow="front",
                 change=lambda config: config):
        self.m = micad
        self.agents = {}
        for name in ("front", "back"):
            self.agents[name] = Agent(os.path.join(str(folder), name), micad,
                                      issuer.token("shop", name, name + "-1")).start()
        ids = {n: "spiffe://%s/ns/shop/sa/%s" % (TRUST_DOMAIN, n) for n in ("front", "back",
                                                                             "other")}
        inner, self.port = port(), port()
        base = os.getpid() % 30000
        self.back = Envoy(envoy, folder, "back", change(server_config(
            port(), inner, self.agents["back"].socket, ids[allow], roots)), base)
        self.front = Envoy(envoy, folder, "front", client_config(
            port(), self.port, self.agents["front"].socket, inner, ids["back"], roots), base + 1)

    def up(self):
        def answers():
            try:
                return get(self.port) == (200, b"hello")
            except OSError:
                return False
        wait_until("traffic flows", answers, timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        for e in (self.front, self.back):
            if kind:
                print(e.process.tail(15))
            e.process.kill()
        for a in self.agents.values():
            if kind:
                print(a.process.tail(15))
            assert a.stop() == 0
            a.sockets.cleanup()


def test_the_example(envoy):
    r = subprocess.run([envoy, "--mode", "validate", "--service-node", "n", "--service-cluster", "c",
                        "-c", os.path.join(SOURCE, "deploy", "examples", "mica-agent-envoy.yaml")],
                       capture_output=True, text=True, timeout=60 * SLOW)
    assert r.returncode == 0 and "OK" in r.stdout + r.stderr, r


def test_mtls_between_envoys(envoy, tmp_path, micad, issuer):
    with World(envoy, tmp_path, micad, issuer) as w:
        w.up()
        for e in (w.back, w.front):
            sans = [s["uri"] for c in e.certificates()["certificates"]
                    for x in c["cert_chain"] for s in x["subject_alt_names"] if "uri" in s]
            assert sans
        assert not any(a.events("sds_nack") for a in w.agents.values())


def test_another_name_is_not_let_in(envoy, tmp_path, micad, issuer):
    with World(envoy, tmp_path, micad, issuer, allow="other") as w:
        def refused():
            try:
                return get(w.port)[0] == 503 and sum(
                    w.back.stats("fail_verify_san").values()) > 0
            except OSError:
                return False

        wait_until("a handshake is refused", refused, timeout=30)
        assert get(w.port)[0] == 503


# Lives of seconds; what is not said follows from them (micad.yaml).
LIVES = {"x509": {"ttl": 7, "max_ttl": 7, "min_ttl": 1}, "jwt": {"ttl": 5, "max_ttl": 6},
         "bundle": {"refresh_hint": 1}, "limits": {"requests_per_identity": 0},
         "authorities": {"root_life": 90, "issuing_life": 30, "jwt_life": 30}}


def test_everything_rotates_under_load(envoy, tmp_path, start, issuer):
    """Until the root of the beginning is in no bundle any more; micad is killed on the way."""
    m = start([issuer.config("file")], LIVES)
    m.config["https"].update(listen=m.ready["https"], watch=m.ready["watch"])

    def authorities():
        a = certificates(m.fetch(issuer.token()).ok(201).json()["certificate_chain"])[-1]
        return a.subject, a.issuer

    first_issuing, first_root = authorities()
    with World(envoy, tmp_path, m, issuer) as w:
        w.up()
        load = Load(w.port)
        wait_until("another issuing authority signs", lambda: authorities()[0] != first_issuing,
                   timeout=60)
        m.kill()
        m.start()
        wait_until("the root of the beginning is gone", lambda: first_root not in [
            c.subject for c in certificates(m.admin().get("/v1/bundle.pem").ok().body)],
            timeout=150)
        time.sleep(2)
        good, bad = load.stop()
        assert not bad, (good, bad[:5])
        assert good > 1000
        for a in w.agents.values():
            assert len(a.events("svid_issued")) > 10
            assert len(a.events("bundle_taken")) > 2 and a.events("bundle_acked")
            assert not a.events("sds_nack")
