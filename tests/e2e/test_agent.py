# SPDX-License-Identifier: Apache-2.0
"""mica-agent beside a workload: identity, renewal, trust, and the SPIFFE Workload API as grpcio
clients see it, against a real micad."""
import hashlib
import json
import os
import subprocess
import time

import grpc
import pytest
from cryptography.hazmat.primitives import serialization

import pki
from agent import AGENT, Agent, Workload, chain
from micad import TRUST_DOMAIN, certificates, spiffe_id, verify_chain
from proc import SLOW

ID = "spiffe://%s/ns/payments/sa/checkout" % TRUST_DOMAIN


@pytest.fixture(scope="module")
def agent(tmp_path_factory, micad, issuer):
    with Agent(tmp_path_factory.mktemp("agent"), micad, issuer.token()) as a:
        yield a


@pytest.fixture
def workload(agent):
    w = agent.workload()
    yield w
    w.close()


def refused(code, call):
    with pytest.raises(grpc.RpcError) as e:
        call()
    assert e.value.code() == code, (e.value.code(), e.value.details())
    return e.value


def pem(certs):
    return b"".join(c.public_bytes(pki.PEM) for c in certs)


# ---- X.509 -----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_a_workload_gets_its_svid(agent, workload, micad):
    m = workload.first("FetchX509SVID")
    assert len(m.svids) == 1
    s = m.svids[0]
    assert s.spiffe_id == ID
    certs, roots = chain(s.x509_svid), chain(s.bundle)
    leaf = verify_chain(pem(certs), pem(roots))[0]
    assert spiffe_id(leaf) == ID
    key = serialization.load_der_private_key(s.x509_svid_key, None)
    assert pki.spki(key.public_key()) == pki.spki(leaf.public_key())
    assert pem(roots) == micad.client().get("/v1/bundle.pem").ok().body
    # nothing that was handed out is anywhere on disk
    for at, _, names in os.walk(agent.folder):
        for name in names:
            with open(os.path.join(at, name), "rb") as f:
                assert s.x509_svid_key not in f.read(), name


def test_bundles(workload, micad):
    m = workload.first("FetchX509Bundles")
    assert list(m.bundles) == ["spiffe://" + TRUST_DOMAIN]
    assert pem(chain(m.bundles["spiffe://" + TRUST_DOMAIN])) == \
        micad.client().get("/v1/bundle.pem").ok().body
    m = workload.first("FetchJWTBundles")
    keys = json.loads(m.bundles["spiffe://" + TRUST_DOMAIN])["keys"]
    published = micad.client().get("/v1/bundle").ok().json()["keys"]
    assert keys == [k for k in published if k["use"] == "jwt-svid"] and keys


@pytest.mark.parametrize("metadata", [(), (("workload.spiffe.io", "True"),),
                                      (("workload.spiffe.io", "true"),) * 2])
def test_the_security_header(workload, metadata):
    """Workload Endpoint 3: exactly once, exactly true."""
    for method in Workload.KINDS:
        stream = Workload.KINDS[method][1]
        e = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: (
            next(workload.call(method, metadata=metadata)) if stream
            else workload.call(method, metadata=metadata, audience="x")
            if method == "ValidateJWTSVID"
            else workload.call(method, metadata=metadata, audience=["x"])))
        assert "workload.spiffe.io" in e.details()


# ---- JWT -------------------------------------------------------------------------------------


def test_jwt_svids(agent, workload, micad):
    before = len(agent.events("jwt_issued"))
    m = workload.call("FetchJWTSVID", audience=["db", "cache"])
    assert len(m.svids) == 1 and m.svids[0].spiffe_id == ID
    token = m.svids[0].svid
    # the same audiences in any order are one token; others are another
    assert workload.call("FetchJWTSVID", audience=["cache", "db"]).svids[0].svid == token
    assert workload.call("FetchJWTSVID", audience=["db"], spiffe_id=ID).svids[0].svid != token
    assert len(agent.events("jwt_issued")) == before + 2

    v = workload.call("ValidateJWTSVID", audience="db", svid=token)
    assert v.spiffe_id == ID
    claims = v.claims.fields
    assert claims["sub"].string_value == ID
    assert sorted(a.string_value for a in claims["aud"].list_value.values) == ["cache", "db"]
    assert claims["exp"].number_value > time.time()


def test_what_jwt_calls_refuse(workload):
    bad = grpc.StatusCode.INVALID_ARGUMENT
    token = workload.call("FetchJWTSVID", audience=["db"]).svids[0].svid
    refused(bad, lambda: workload.call("FetchJWTSVID"))
    refused(bad, lambda: workload.call("FetchJWTSVID", audience=[""]))
    refused(grpc.StatusCode.PERMISSION_DENIED, lambda: workload.call(
        "FetchJWTSVID", audience=["db"], spiffe_id="spiffe://%s/other" % TRUST_DOMAIN))
    refused(bad, lambda: workload.call("ValidateJWTSVID", svid=token))
    refused(bad, lambda: workload.call("ValidateJWTSVID", audience="db"))
    refused(bad, lambda: workload.call("ValidateJWTSVID", audience="other", svid=token))
    refused(bad, lambda: workload.call("ValidateJWTSVID", audience="db", svid=token[:-4] + "AAAA"))
    head, payload, sig = token.split(".")
    refused(bad, lambda: workload.call("ValidateJWTSVID", audience="db",
                                       svid=".".join((head, payload))))


# ---- the endpoint ----------------------------------------------------------------------------


def test_health_and_reflection(agent, workload):
    check = workload.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"\x0a\x11SpiffeWorkloadAPI", timeout=5 * SLOW) == b"\x08\x01"
    talk = workload.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    answer = next(talk(iter([b"\x3a\x01*"]), timeout=5 * SLOW))
    assert b"SpiffeWorkloadAPI" in answer and b"grpc.health.v1.Health" in answer
    answer = next(talk(iter([b"\x22\x11SpiffeWorkloadAPI"]), timeout=5 * SLOW))
    assert b"FetchX509SVID" in answer


def test_what_is_not_there(workload):
    go = workload.channel.unary_unary("/SpiffeWorkloadAPI/FetchWITSVID")
    refused(grpc.StatusCode.UNIMPLEMENTED,
            lambda: go(b"", metadata=(("workload.spiffe.io", "true"),), timeout=5 * SLOW))


def test_garbage(workload):
    go = workload.channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")
    refused(grpc.StatusCode.INVALID_ARGUMENT,
            lambda: next(go(b"\xff\xff", metadata=(("workload.spiffe.io", "true"),),
                            timeout=5 * SLOW)))


# ---- peers -----------------------------------------------------------------------------------


def test_identities_by_user(tmp_path, micad, issuer):
    """Each peer sees what it may use, in the order of the configuration, and nothing else."""
    a = Agent(tmp_path, micad, None)
    uid = os.getuid()
    names = []
    for name, allow in (("mine", {"uids": [uid]}), ("all", {"any": True}),
                        ("theirs", {"uids": [uid + 1]}), ("group", {"gids": [os.getgid()]})):
        token = pki.write(a.path(name), issuer.token("shop", name).encode())
        names.append({"name": name, "token_file": token, "allow": allow, "hint": name})
    a.config["identities"] = names
    with a:
        a.wait_for("svid_issued", 4)
        w = a.workload()
        m = w.first("FetchX509SVID")
        assert [(s.spiffe_id.rsplit("/", 1)[1], s.hint) for s in m.svids] == [
            (n, n) for n in ("mine", "all", "group")]
        m = w.call("FetchJWTSVID", audience=["x"])
        assert [s.hint for s in m.svids] == ["mine", "all", "group"]
        refused(grpc.StatusCode.PERMISSION_DENIED, lambda: w.call(
            "FetchJWTSVID", audience=["x"],
            spiffe_id="spiffe://%s/ns/shop/sa/theirs" % TRUST_DOMAIN))
        w.close()


def test_a_peer_without_identity(tmp_path, micad, issuer):
    a = Agent(tmp_path, micad, issuer.token())
    a.config["identities"][0]["allow"] = {"uids": [os.getuid() + 1]}
    with a:
        w = a.workload()
        for method, (_, stream) in Workload.KINDS.items():
            how = {} if stream else {"audience": "x" if method[0] == "V" else ["x"]}
            refused(grpc.StatusCode.PERMISSION_DENIED, lambda: (
                next(w.call(method)) if stream else w.call(method, **how)))
        w.close()


# ---- renewal ---------------------------------------------------------------------------------


def test_renewal_on_the_stream(tmp_path, start, issuer):
    """With a short life: new keys come on the open stream, each before the old one's end."""
    m = start([issuer.config("uri")], {"x509": {"ttl": "6s", "min_ttl": "1s"}})
    with Agent(tmp_path / "a", m, issuer.token()) as a:
        w = a.workload()
        stream = w.call("FetchX509SVID", timeout=60)
        seen, ends = set(), []
        for _ in range(4):
            s = next(stream).svids[0]
            leaf = chain(s.x509_svid)[0]
            assert leaf.serial_number not in seen and s.x509_svid_key not in seen
            seen |= {leaf.serial_number, s.x509_svid_key}
            if ends:
                assert time.time() < ends[-1]
            ends.append(leaf.not_valid_after.timestamp() - time.timezone)
        stream.cancel()
        w.close()


def test_micad_away(tmp_path, start, issuer):
    """Valid secrets are served while micad is away; after everything has expired the token file,
    which is another one by then, brings it back."""
    m = start([issuer.config("file")], {"x509": {"ttl": "8s", "min_ttl": "1s"},
                                        "https": {"listen": "127.0.0.1:0"}})
    address, watch = m.ready["https"], m.ready["watch"]
    m.config["https"].update(listen=address, watch=watch)
    with Agent(tmp_path / "a", m, issuer.token(ttl=600)) as a:
        w = a.workload()
        first = w.first("FetchX509SVID").svids[0]
        m.kill()
        again = w.first("FetchX509SVID").svids[0]
        assert again.x509_svid == first.x509_svid
        end = chain(first.x509_svid)[0].not_valid_after.timestamp() - time.timezone
        open_stream = w.call("FetchX509SVID", timeout=60)
        assert next(open_stream).svids[0].spiffe_id == ID
        time.sleep(max(0, end - time.time()) + 1.5)
        e = refused(grpc.StatusCode.UNAVAILABLE, lambda: w.first("FetchX509SVID"))
        assert "no valid SVID" in e.details()
        # bundles are what they were
        assert w.first("FetchX509Bundles").bundles
        a.set_token(issuer.token("payments", "checkout", "checkout-2"))
        m.start()
        s = next(open_stream).svids[0]
        assert chain(s.x509_svid)[0].not_valid_after.timestamp() - time.timezone > time.time()
        open_stream.cancel()
        w.close()


def test_denied(tmp_path, start, issuer):
    """micad's no is PERMISSION_DENIED; once it says yes, clients that try again are served."""
    m = start([issuer.config("file")])
    m.admin().post("/v1/deny", {"kind": "spiffe_id", "value": ID}).ok(204)
    with Agent(tmp_path / "a", m, issuer.token()) as a:
        w = a.workload()
        e = refused(grpc.StatusCode.PERMISSION_DENIED, lambda: w.first("FetchX509SVID"))
        assert "denied_by_list" in e.details()
        w.close()


# ---- trust -----------------------------------------------------------------------------------


def test_a_new_root_comes_at_once(tmp_path, start, issuer):
    m = start([issuer.config("file")])
    with Agent(tmp_path / "a", m, issuer.token()) as a:
        w = a.workload()
        x509, jwt = w.call("FetchX509Bundles", timeout=60), w.call("FetchX509SVID", timeout=60)
        td = "spiffe://" + TRUST_DOMAIN
        old = chain(next(x509).bundles[td])
        assert chain(next(jwt).svids[0].bundle) == old
        a.wait_for("bundle_taken")
        m.admin().post("/v1/rotation", {"action": "start", "kind": "root"}).ok(201)
        began = time.monotonic()
        new = chain(next(x509).bundles[td])
        assert len(new) > len(old)
        assert chain(next(jwt).svids[0].bundle) == new
        # micad spreads its wakes over a second
        assert time.monotonic() - began < 2.5 * SLOW
        x509.cancel()
        jwt.cancel()
        w.close()


def test_the_last_good_bundle_outlives_a_restart(tmp_path, start, issuer):
    """Without micad, and without the bootstrap file, a new process has the bundle of before."""
    m = start([issuer.config("file")])
    with Agent(tmp_path / "a", m, issuer.token()) as a:
        a.wait_for("bundle_taken")
        w = a.workload()
        before = w.first("FetchX509Bundles").bundles
        a.stop()
        m.kill()
        os.remove(a.bootstrap)
        w.close()
        a.start()
        w = a.workload()
        assert w.first("FetchX509Bundles").bundles == before
        assert a.events("state_loaded")
        w.close()


def test_a_sequence_does_not_go_back(tmp_path, start, issuer):
    """A micad that publishes an older bundle is not followed; a new bootstrap file is the way out."""
    m = start([issuer.config("file")])
    with Agent(tmp_path / "a", m, issuer.token()) as a:
        a.wait_for("bundle_taken")
        a.stop()
        state = a.path("state/bundle.json")
        with open(state) as f:
            kept = json.load(f)
        real = kept["bundle"]["spiffe_sequence"]
        kept["bundle"]["spiffe_sequence"] = real + 10**9
        with open(state, "w") as f:
            json.dump(kept, f)
        a.start()
        e = a.wait_for("bundle_not_fetched")
        assert e["reason"] == "bundle_went_back"
        assert not a.events("bundle_taken")
        # certificates go on meanwhile
        w = a.workload()
        assert w.first("FetchX509SVID").svids[0].spiffe_id == ID
        w.close()
        with open(a.bootstrap, "ab") as f:
            f.write(b"\n")  # another file, the same roots
        taken = a.wait_for("bundle_taken", timeout=40)
        assert taken["by_bootstrap"] == "true" and int(taken["sequence"]) == real


def test_another_ca_is_not_micad(tmp_path, start, issuer):
    """What the bootstrap does not vouch for gets no token."""
    m = start([issuer.config("file")])
    a = Agent(tmp_path / "a", m, issuer.token())
    pki.write(a.bootstrap, pki.Ca("other").pem(), 0o644)
    with a:
        e = a.wait_for("svid_not_issued")
        assert e["reason"] == "tls_failed"
        assert a.wait_for("bundle_not_fetched")["reason"] == "tls_failed"
        assert not a.events("bundle_taken")


def test_bootstrap_by_pin(tmp_path, start, issuer):
    m = start([issuer.config("file")])
    answer = m.fetch(issuer.token()).ok(201).json()
    # the root that signs now, and so micad's own certificate, too
    top = certificates(answer["certificate_chain"])[-1].issuer
    root = [r for r in certificates(answer["bundle"]) if r.subject == top][0]
    pin = "sha256:" + hashlib.sha256(pki.spki(root.public_key())).hexdigest()
    a = Agent(tmp_path / "a", m, issuer.token())
    del a.config["micad"]["bootstrap_file"]
    a.config["micad"]["pin"] = pin
    with a:
        w = a.workload()
        assert w.first("FetchX509SVID").svids[0].spiffe_id == ID
        assert a.wait_for("bundle_taken")["by_bootstrap"] == "true"
        a.restart()
        assert a.wait_for("state_loaded")
        w.close()
    b = Agent(tmp_path / "b", m, issuer.token())
    del b.config["micad"]["bootstrap_file"]
    b.config["micad"]["pin"] = "sha256:" + "0" * 64
    with b:
        assert b.wait_for("svid_not_issued")["reason"] == "pin_mismatch"
        assert not b.events("svid_issued")


# ---- the program -----------------------------------------------------------------------------


def test_check_config(tmp_path, micad, issuer):
    a = Agent(tmp_path, micad, issuer.token())
    a.write_config()
    r = subprocess.run([AGENT, "--check-config", "--config", a.config_file], capture_output=True,
                       text=True)
    assert r.returncode == 0 and "1 identity of example.org" in r.stdout, r
    a.config["identities"][0]["allow"] = {}
    a.write_config()
    r = subprocess.run([AGENT, "--check-config", "--config", a.config_file], capture_output=True,
                       text=True)
    assert r.returncode == 2 and "identities[0]" in r.stderr and "who may use it" in r.stderr, r
    a.sockets.cleanup()
