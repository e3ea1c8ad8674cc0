# SPDX-License-Identifier: Apache-2.0
"""Machines without an issuer: join tokens of a real micad, by the CLI and by REST, and a real
mica-agent that joins with one, renews by mTLS, and outlives restarts."""
import json
import os
import re
import threading
import time

import pytest
from cryptography.hazmat.primitives import serialization

import pki
from agent import Agent, chain
from micad import Micad, TRUST_DOMAIN, certificates, spiffe_id
from proc import SLOW

VM = "spiffe://%s/vm/" % TRUST_DOMAIN
JOIN = {"spiffe_path": "/vm/{name}"}
SHORT = {"min_ttl": "2s", "ttl": "6s", "max_ttl": "1h"}


@pytest.fixture(scope="module")
def vms(tmp_path_factory):
    with Micad(tmp_path_factory.mktemp("vms"),
               over={"join_tokens": JOIN, "x509": SHORT, "log": {"level": "debug"}}) as m:
        yield m
        assert "mica-join-" not in m.process.text()


def create(m, name=None, **how):
    body = dict(how)
    if name:
        body["spiffe_id"] = VM + name
    return m.admin().post("/v1/join-tokens", body).ok(201).json()


def state(m, ident):
    return {t["id"]: t for t in m.admin().get("/v1/join-tokens").ok().json()["tokens"]}[ident]


def entries(m, name):
    return m.admin().get("/v1/events?spiffe_id=" + VM + name).ok().json()["events"]


def agent_of(folder, m, token, **over):
    os.makedirs(str(folder), exist_ok=True)
    passphrase = pki.write(os.path.join(str(folder), "passphrase"), b"of this machine\n")
    a = Agent(folder, m, token, over={
        "state": {"passphrase_file": passphrase}, **over})
    a.config["identities"] = [{"name": "vm", "join": {"token_file": a.token_file},
                               "allow": {"any": True}}]
    return a


def leaf_of(a):
    w = a.workload()
    try:
        s = w.first("FetchX509SVID").svids[0]
        return s, chain(s.x509_svid)[0]
    finally:
        w.close()


def expires(m, ident):
    """Until the token has."""
    end = time.monotonic() + 20 * SLOW
    while state(m, ident)["state"] != "expired":
        assert time.monotonic() < end
        time.sleep(0.2)


# ---- micad -----------------------------------------------------------------------------------


@pytest.mark.smoke
def test_a_token_gives_one_certificate(vms):
    made = create(vms, "web-1", ttl=600)
    assert re.fullmatch("mica-join-%s-[0-9a-f]{64}" % made["id"], made["token"])
    assert state(vms, made["id"])["state"] == "fresh"
    a = vms.fetch(made["token"]).ok(201).json()
    assert spiffe_id(certificates(a["certificate_chain"])[0]) == VM + "web-1"
    assert state(vms, made["id"])["state"] == "spent"
    # another request with it gets nothing
    vms.fetch(made["token"]).problem(401, "join_token_spent")
    (e,) = entries(vms, "web-1")
    assert e["evidence"]["kind"] == "join_token" and e["evidence"]["id"] == made["id"]
    assert e["principal"]["issuer"] == "join" and e["evidence"]["origin_index"] == e["index"]
    assert made["token"] not in json.dumps(vms.admin().get("/v1/events?limit=1000").json())


def test_the_same_request_gets_the_same_answer(vms):
    """Whose answer was lost repeats it, within a minute."""
    token, csr = create(vms, "again")["token"], pki.csr(pki.key())
    ask = lambda: vms.client().post("/v1/x509-svids", {"csr": csr}, token=token).ok(201)
    assert ask().body == ask().body
    assert len(entries(vms, "again")) == 1


def test_of_many_at_once_one_gets_it(vms):
    token, got = create(vms, "race")["token"], []
    go = threading.Barrier(8)

    def ask():
        c, csr = vms.client(), pki.csr(pki.key())
        go.wait()
        got.append(c.post("/v1/x509-svids", {"csr": csr}, token=token))
    threads = [threading.Thread(target=ask) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(a.status for a in got) == [201] + [401] * 7
    for a in got:
        if a.status != 201:
            a.problem(401, "join_token_spent")
    assert len(entries(vms, "race")) == 1


def test_what_is_refused(vms):
    made = create(vms, "short", ttl=1)
    expires(vms, made["id"])
    vms.fetch(made["token"]).problem(401, "join_token_expired")
    gone = create(vms, "gone")
    vms.admin().request("DELETE", "/v1/join-tokens/" + gone["id"]).ok(204)
    vms.fetch(gone["token"]).problem(401, "join_token_revoked")
    # nothing is said of what does not hold
    fresh = create(vms, "fresh")
    token = fresh["token"]
    for bad in (token[:-1], token[:-1] + ("0" if token[-1] != "0" else "1"), token.upper(),
                token + "0", "mica-join-", "mica-join-" + "0" * 16 + "-" + "0" * 64):
        p = vms.fetch(bad).problem(401, "token_invalid")
        assert "another" not in p["detail"] and "handle" not in p["detail"]
    # it is for a certificate, and for nothing else
    c = vms.client()
    c.post("/v1/jwt-svids", {"audience": ["x"]}, token=token).problem(403, "role_required")
    c.post("/v1/bundle/acks", {"sequence": 1}, token=token).problem(403, "role_required")
    c.get("/v1/join-tokens", token=token).problem(403, "role_required")
    assert state(vms, fresh["id"])["state"] == "fresh"
    # a denied name gets nothing, and its token is not spent
    vms.admin().post("/v1/deny", {"kind": "spiffe_id", "value": VM + "fresh"}).ok(204)
    vms.fetch(token).problem(403, "denied_by_list")
    assert state(vms, fresh["id"])["state"] == "fresh"


def test_what_administrators_are_told(vms):
    a = vms.admin()
    p = a.post("/v1/join-tokens", {"spiffe_id": "spiffe://%s/ns/x/sa/y" % TRUST_DOMAIN})
    assert "/vm/{name}" in p.problem(400, "name_not_allowed")["detail"]
    a.post("/v1/join-tokens", {"spiffe_id": VM + "a/b"}).problem(400, "name_not_allowed")
    a.post("/v1/join-tokens", {"ttl": 86401}).problem(400, "bad_join_ttl")
    a.request("DELETE", "/v1/join-tokens/" + "0" * 16).problem(404, "no_such_join_token")
    vms.client().get("/v1/join-tokens").problem(401, "credential_missing")
    # by the CLI: with --out the secret is in the file alone
    out = vms.path("join-token")
    r = vms.mica("token", "create", "--out", out, "--ttl", "5m", "--output", "json")
    made = json.loads(r.stdout)
    with open(out) as f:
        token = f.read().strip()
    assert os.stat(out).st_mode & 0o777 == 0o600 and token not in r.stdout
    assert made["spiffe_id"] == VM + made["id"] and made["id"] in token
    vms.mica("token", "revoke", made["id"])
    vms.mica("token", "revoke", token)  # it holds already
    listed = vms.mica("token", "list").stdout
    assert re.search(made["id"] + r"\s+revoked", listed) and token not in listed
    spent = create(vms, "told")
    vms.fetch(spent["token"]).ok(201)
    r = vms.mica("token", "revoke", spent["id"], check=False)
    assert r.returncode and "join_token_spent" in r.stderr
    log = vms.admin().get("/v1/events?type=admin&limit=1000").ok().json()["events"]
    acts = [(e["action"], e["detail"]["id"]) for e in log
            if e["action"].startswith("join_token")]
    assert ("join_token_created", made["id"]) in acts
    assert ("join_token_revoked", made["id"]) in acts


def test_without_an_agent(vms):
    """The CLI does what it does for tokens of issuers."""
    out, token = vms.path("cli-svid"), vms.path("cli-token")
    vms.mica("token", "create", "--spiffe-id", VM + "cli", "--out", token)
    vms.mica("svid", "fetch", "--token-file", token, "--ttl", "1h", "--out", out)
    vms.mica("svid", "fetch", "--renew", "--out", out)
    assert [e["evidence"]["kind"] for e in entries(vms, "cli")] == ["renewal", "join_token"]
    r = vms.mica("svid", "fetch", "--token-file", token, "--out", vms.path("other"), check=False)
    assert r.returncode == 3 and "join_token_spent" in r.stderr


def test_off_without_a_path(tmp_path, micad):
    micad.admin().post("/v1/join-tokens", {}).problem(409, "join_tokens_off")
    micad.fetch("mica-join-" + "0" * 16 + "-" + "0" * 64).problem(401, "token_invalid")


def test_killed_in_the_middle(tmp_path):
    """A token is spent, and its certificate is in the ledger, or neither."""
    with Micad(tmp_path, over={"join_tokens": JOIN}) as m:
        for turn in range(4):
            made = [create(m, "k%d-%d" % (turn, i)) for i in range(40)]
            answered, stop = [], threading.Event()

            def ask(part):
                c = m.client()
                for t in part:
                    try:
                        if c.post("/v1/x509-svids", {"csr": pki.csr(pki.key())},
                                  token=t["token"]).status == 201:
                            answered.append(t["id"])
                    except OSError:
                        return
                    except Exception:
                        if not stop.is_set():
                            raise
                        return
            threads = [threading.Thread(target=ask, args=(made[k::4],)) for k in range(4)]
            [t.start() for t in threads]
            end = time.monotonic() + 20 * SLOW
            while len(answered) < 5 + 3 * turn and time.monotonic() < end:
                time.sleep(0.001)
            stop.set()
            m.kill()
            [t.join() for t in threads]
            m.start()
            spent = 0
            for i, t in enumerate(made):
                was = state(m, t["id"])["state"]
                n = len(entries(m, "k%d-%d" % (turn, i)))
                assert (was, n) in (("spent", 1), ("fresh", 0)), (was, n)
                assert was == "spent" or t["id"] not in answered
                spent += n
            assert 0 < spent
            left = [t for t in made if state(m, t["id"])["state"] == "fresh"]
            if left:
                m.fetch(left[0]["token"]).ok(201)
            used = next(t for t in made if t["id"] in answered)
            m.fetch(used["token"]).problem(401, "join_token_spent")


def test_a_restored_store_has_no_tokens(tmp_path):
    with Micad(tmp_path / "a", over={"join_tokens": JOIN}) as m:
        token = create(m, "old")["token"]
        m.mica("backup", m.path("copy"))
        m.fetch(token).ok(201)
        assert m.stop() == 0
        os.rename(m.config["store"]["path"], m.path("lost"))
        m.mica("restore", m.path("copy"), "--config", m.config_file)
        m.start()
        m.fetch(token).problem(401, "token_invalid")


# ---- the agent -------------------------------------------------------------------------------


def test_a_machine_joins_renews_and_restarts(tmp_path, vms):
    made = create(vms, "agent-1")
    with agent_of(tmp_path, vms, made["token"]) as a:
        a.wait_for("svid_issued")
        s, leaf = leaf_of(a)
        assert s.spiffe_id == VM + "agent-1"
        # used, and gone
        assert not os.path.exists(a.token_file)
        # many times, each by the one before
        a.wait_for("svid_issued", 5, timeout=60)
        got = entries(vms, "agent-1")
        assert [e["evidence"]["kind"] for e in got][-1] == "join_token"
        assert {e["evidence"]["kind"] for e in got[:-1]} == {"renewal"}
        assert {e["evidence"]["origin_index"] for e in got} == {got[-1]["index"]}
        assert not a.events("svid_not_issued")
        # JWT-SVIDs too
        w = a.workload()
        token = w.call("FetchJWTSVID", audience=["billing"]).svids[0]
        assert token.spiffe_id == VM + "agent-1"
        w.close()
        # what is on disk is not the key
        key = serialization.load_der_private_key(leaf_of(a)[0].x509_svid_key, None)
        secret = key.private_numbers().private_value.to_bytes(32, "big")
        for at, _, names in os.walk(a.folder):
            for name in names:
                with open(os.path.join(at, name), "rb") as f:
                    text = f.read()
                assert secret not in text and secret.hex().encode() not in text, name
                assert made["token"].encode() not in text, name
        kept = os.path.join(a.folder, "state", "vm.svid")
        assert os.stat(kept).st_mode & 0o777 == 0o600
        for _ in range(2):
            before = leaf_of(a)[1]
            a.restart()
            a.wait_for("svid_loaded")
            a.wait_for("svid_issued", timeout=30)
            assert leaf_of(a)[1].serial_number != before.serial_number
        # killed: what it has shown to anybody is kept
        a.kill()
        a.start()
        a.wait_for("svid_loaded")
        a.wait_for("svid_issued", timeout=30)
        assert sum(e["evidence"]["kind"] == "join_token" for e in entries(vms, "agent-1")) == 1


def test_down_for_too_long_says_what_to_do(tmp_path, vms):
    with agent_of(tmp_path, vms, create(vms, "agent-2")["token"]) as a:
        a.wait_for("svid_issued")
        assert a.stop() == 0
        time.sleep(7)
        a.start()
        said = a.wait_for("svid_not_issued")
        assert said["reason"] == "join_needed", said
        assert "mica token create --spiffe-id " + VM + "agent-2" in said["error"], said
        assert a.token_file in said["error"]
        # and that is all that it takes
        a.set_token(create(vms, "agent-2")["token"])
        a.wait_for("svid_issued", timeout=30)
        assert leaf_of(a)[0].spiffe_id == VM + "agent-2"


def test_what_an_agent_is_refused(tmp_path, vms):
    spent = create(vms, "agent-3")["token"]
    vms.fetch(spent).ok(201)
    with agent_of(tmp_path / "spent", vms, spent) as a:
        said = a.wait_for("svid_not_issued")
        assert "join_token_spent" in said["error"] and "mica token create" in said["error"]
        assert os.path.exists(a.token_file)
    # a name that is denied: what it has is handed out until it ends
    with agent_of(tmp_path / "denied", vms, create(vms, "agent-4")["token"]) as a:
        a.wait_for("svid_issued")
        vms.admin().post("/v1/deny", {"kind": "spiffe_id", "value": VM + "agent-4"}).ok(204)
        said = a.wait_for("svid_not_issued", timeout=20)
        assert "denied_by_list" in said["error"] and said["still_valid"] == "true", said
        assert leaf_of(a)[0].spiffe_id == VM + "agent-4"
    # a wrong passphrase, and a file that was altered
    with agent_of(tmp_path / "kept", vms, create(vms, "agent-3")["token"]) as a:
        a.wait_for("svid_issued")
        assert a.stop() == 0
        pki.write(a.path("passphrase"), b"of another machine\n")
        a.start(wait=False)
        assert a.process.wait(20) not in (0, None)
        assert a.wait_for("not_started")["reason"] == "wrong_passphrase"
        pki.write(a.path("passphrase"), b"of this machine\n")
        kept = os.path.join(a.folder, "state", "vm.svid")
        with open(kept) as f:
            doc = json.load(f)
        doc["bundle_sequence"] += 1
        pki.write(kept, json.dumps(doc).encode())
        a.start()
        assert a.wait_for("svid_not_loaded")["reason"] == "key_envelope_damaged"
    assert not [e for e in entries(vms, "agent-3") if e["evidence"]["kind"] == "token"]


def test_renewal_ends_without_fresh_evidence(tmp_path):
    """renewal_max_age counts from the token; another token goes on."""
    with Micad(tmp_path / "m", over={"join_tokens": dict(JOIN, renewal_max_age="8s"),
                                     "x509": SHORT}) as m:
        with agent_of(tmp_path / "a", m, create(m, "old")["token"]) as a:
            said = a.wait_for("svid_not_issued", timeout=40)
            assert "fresh_evidence_needed" in said["error"], said
            assert "mica token create" in said["error"], said
            n = len(a.events("svid_issued"))
            a.set_token(create(m, "old")["token"])
            a.wait_for("svid_issued", n + 1, timeout=40)
            assert entries(m, "old")[0]["evidence"]["kind"] == "join_token"


def test_what_must_be_configured(tmp_path, vms):
    import subprocess
    from agent import AGENT
    a = agent_of(tmp_path, vms, None)
    for change, word in (({"state": {}}, "state.directory"),
                         ({"state": {"directory": "/x"}}, "passphrase_file")):
        config = dict(a.config, **change)
        from micad import yaml
        path = pki.write(a.path("c.yaml"), yaml(config).encode())
        r = subprocess.run([AGENT, "--check-config", "--config", path], capture_output=True,
                           text=True)
        assert r.returncode == 2 and word in r.stderr, r.stderr
