# SPDX-License-Identifier: Apache-2.0
"""Policies over REST, from a directory and by the CLI: revisions, channels, watches, the signed form,
and what is left of a storm of changes that is cut."""
import base64
import hashlib
import json
import os
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

import entry
from micad import verify_chain
from proc import SLOW, wait_until
from test_plugged import Volume

YAML = {"Content_Type": "application/yaml"}


def policy(name="api", ns="payments", who="web", action="ALLOW", dry=False, path="/v1"):
    return """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: %s
  namespace: %s%s
spec:
  action: %s
  rules:
  - from:
    - source:
        principals: ["example.org/ns/%s/sa/shop"]
    to:
    - operation:
        paths: ["%s"]
""" % (name, ns, '\n  annotations:\n    istio.io/dry-run: "true"' if dry else "", action, who, path)


def put(c, text, at="payments/api", query="", **how):
    return c.request("PUT", "/v1/policies/%s%s" % (at, query), text, **dict(YAML, **how))


def names(listing):
    return {"%s/%s@%d" % (p["namespace"], p["name"], p["revision"])
            for p in listing.ok().json()["policies"]}


@pytest.fixture
def m(start, issuer):
    return start([issuer.config("file")])


def test_put_get_delete(m, issuer):
    c = m.admin()
    assert names(c.get("/v1/policies")) == set()
    c.get("/v1/policies/payments/api").problem(404, "no_such_policy")
    first = put(c, policy()).ok()
    assert first.headers["ETag"] == '"1"' and first.json()["changed"]
    assert not put(c, policy()).ok().json()["changed"]
    put(c, policy(who="other")).ok()
    one = c.get("/v1/policies/payments/api").ok()
    assert one.headers["ETag"] == '"2"' and one.json()["owner"] == "api"
    source = one.json()["document"]["spec"]["rules"][0]["from"][0]["source"]
    assert source["principals"] == ["example.org/ns/other/sa/shop"]
    assert c.get("/v1/policies/payments/api", If_None_Match='"2"').status == 304
    text = c.get("/v1/policies/payments/api?form=yaml").ok()
    assert text.kind == "application/yaml" and b"ns/other/sa/shop" in text.body
    # what was written out is read in
    assert not put(c, text.body).ok().json()["changed"]
    assert names(c.get("/v1/policies?namespace=payments")) == {"payments/api@2"}
    assert names(c.get("/v1/policies?namespace=other")) == set()
    # JSON, too
    assert not put(c, json.dumps(one.json()["document"]),
                   Content_Type="application/json").ok().json()["changed"]
    put(c, "x", Content_Type="text/plain").problem(415, "content_type")
    c.request("DELETE", "/v1/policies/payments/api").ok(204)
    c.request("DELETE", "/v1/policies/payments/api").problem(404, "no_such_policy")
    assert c.get("/v1/policies/payments/api?revision=1").ok().json()["revision"] == 1
    # a workload reads what is in force, and changes nothing, nor sees who did
    w = m.client(token=issuer.token())
    put(c, policy()).ok()
    assert names(w.get("/v1/policies")) == {"payments/api@4"}
    w.get("/v1/policies/payments/api").ok()
    put(w, policy(who="x")).problem(403, "role_required")
    w.get("/v1/policies/payments/api/history").problem(403, "role_required")
    m.client().get("/v1/policies").problem(401, "credential_missing")
    # a restart changes nothing
    before = c.get("/v1/policies").ok()
    m.restart()
    after = m.admin().get("/v1/policies").ok()
    assert after.body == before.body and after.headers["ETag"] == before.headers["ETag"]


def test_history_and_rollback(m):
    c = m.admin()
    for who in ("a", "b"):
        put(c, policy(who=who)).ok()
    c.post("/v1/policies/payments/api/rollback", {"revision": 1}).ok()
    c.post("/v1/policies/payments/api/rollback", {"revision": 9}).problem(404, "no_such_revision")
    c.post("/v1/policies/payments/none/rollback", {"revision": 1}).problem(404, "no_such_policy")
    h = c.get("/v1/policies/payments/api/history").ok().json()
    assert [(r["revision"], r["action"]) for r in h["revisions"]] == \
        [(3, "rolled_back"), (2, "put"), (1, "put")]
    assert h["revisions"][0]["from"] == 1
    assert h["revisions"][0]["channels"] == ["live", "canary"]
    assert h["revisions"][0]["actor"]["uid"] == os.geteuid()
    assert h["revisions"][0]["sha256"] == h["revisions"][2]["sha256"]
    # the ledger has the same, and every list by its hash
    log = m.log()
    entries = [entry.parse(e) for e in log.entries(log.verify().size)]
    mine = [e for e in entries if e["type"] == "policy"]
    assert [e["action"] for e in mine if e["action"] != "published"] == \
        ["put", "put", "rolled_back"]
    listing = c.get("/v1/policies").ok()
    published = [json.loads(e["detail"]) for e in mine if e["action"] == "published"]
    assert {"channel": "live", "sequence": listing.json()["sequence"], "policies": 1,
            "sha256": hashlib.sha256(listing.body).hexdigest()} in published


def test_conditions(m):
    c = m.admin()
    put(c, policy(), If_Match='"1"').problem(412, "revision_mismatch")
    put(c, policy(), If_None_Match="*").ok()
    put(c, policy(who="b"), If_None_Match="*").problem(412, "revision_mismatch")
    put(c, policy(who="b"), If_Match='"1"').ok()
    put(c, policy(who="c"), If_Match='"1"').problem(412, "revision_mismatch")
    put(c, policy(who="c"), If_Match='"7", "2"').ok()
    c.request("DELETE", "/v1/policies/payments/api", If_Match='"2"') \
        .problem(412, "revision_mismatch")
    etag = c.get("/v1/policies").headers["ETag"]
    put(c, policy("other")).problem(400, "policy_name_mismatch")
    put(c, policy("other"), "payments/other").ok()
    c.request("POST", "/v1/policies", policy(who="d"), If_Match=etag, **YAML) \
        .problem(412, "sequence_mismatch")
    etag = c.get("/v1/policies").headers["ETag"]
    c.request("POST", "/v1/policies", policy(who="d"), If_Match=etag, **YAML).ok()
    # of many who change the same revision one wins
    won, lost = [], []

    def race(n):
        a = put(m.admin(), policy(who="racer%d" % n), If_Match='"4"')
        (won if a.status == 200 else lost).append(a)

    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(won) == 1
    for a in lost:
        a.problem(412, "revision_mismatch")


def test_what_is_wrong_changes_nothing(m):
    c = m.admin()
    put(c, policy()).ok()
    before = c.get("/v1/policies").ok()
    p = put(c, policy().replace("principals", "principal")).problem(400, "policy_unknown_field")
    assert p["line"] == 11 and p["column"] > 1 and p["errors"][0]["line"] == 11
    three = policy("one").replace("ALLOW", "PERMIT") + "---\n" + policy("two") + "---\n" + \
        policy("three").replace("spec:", "spec: []\nstatus:")
    for path in ("/v1/policies", "/v1/policies:validate"):
        p = c.request("POST", path, three, **YAML)
        assert p.status == 400, p
        errors = p.json()["errors"]
        lines = three.splitlines()
        assert len(errors) == 2, errors
        assert "PERMIT" in lines[errors[0]["line"] - 1]
        assert errors[1]["line"] > lines.index("  name: two")
    # a good one beside a bad one
    p = c.request("POST", "/v1/policies", policy("two") + "---\n" + policy("two"), **YAML)
    p.problem(400, "policy_duplicate")
    assert c.get("/v1/policies").ok().body == before.body
    ok = c.request("POST", "/v1/policies:validate", policy() + "---\n" + policy("b"), **YAML).ok()
    assert ok.json()["policies"] == 2 and ok.json()["valid"]
    warned = c.request("POST", "/v1/policies:validate",
                       policy().replace('"/v1"]', '"/v1"]\n        methods: ["get"]'), **YAML).ok()
    assert [w["reason"] for w in warned.json()["warnings"]] == ["policy_method_case"]
    assert c.get("/v1/policies").ok().body == before.body
    both = c.request("POST", "/v1/policies", policy("x") + "---\n" + policy("y"), **YAML).ok()
    assert both.json()["changed"] == 2
    assert names(c.get("/v1/policies")) == {"payments/api@1", "payments/x@1", "payments/y@1"}


def test_a_watch_wakes(m, issuer):
    c, got = m.admin(), []
    put(c, policy()).ok()
    token = issuer.token()
    paths = ["/v1/policies?wait=30", "/v1/policies?namespace=payments&wait=30",
             "/v1/policies/compiled?target=istio&wait=30", "/v1/policies.jws?wait=30"]

    def wait(path):
        w = m.watcher(token=token)
        now = w.get(path).ok()
        got.append(None)
        a = w.get(path, If_None_Match=now.headers["ETag"])
        got.append((path, time.monotonic(), a))

    threads = [threading.Thread(target=wait, args=(p,)) for p in paths]
    for t in threads:
        t.start()
    wait_until("they wait", lambda: got.count(None) == len(paths))
    time.sleep(0.3)
    assert len(got) == len(paths)
    begin = time.monotonic()
    put(c, policy(who="other")).ok()
    for t in threads:
        t.join()
    for path, at, a in got[len(paths):]:
        assert a.status == 200, (path, a)
        assert at - begin < 1.5 * SLOW, (path, at - begin)
        if "jws" not in path:
            assert b"ns/other/sa/shop" in a.body
    # nothing happens: as it was
    etag = c.get("/v1/policies").headers["ETag"]
    assert c.get("/v1/policies?wait=1", If_None_Match=etag).status == 304


def unpad(s):
    return base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))


def test_the_signed_form(m, issuer):
    c = m.admin()
    put(c, policy()).ok()
    a = m.client(token=issuer.token()).get("/v1/policies.jws").ok()
    head, payload, signature = a.body.decode().split(".")
    header, claims = json.loads(unpad(head)), json.loads(unpad(payload))
    assert header["typ"] == "mica-policy+jws" and header["alg"] == "ES256"
    chain = [x509.load_der_x509_certificate(base64.b64decode(x)) for x in header["x5c"]]
    raw = unpad(signature)
    chain[0].public_key().verify(
        utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")),
        (head + "." + payload).encode(), ec.ECDSA(hashes.SHA256()))
    from cryptography.hazmat.primitives.serialization import Encoding
    verify_chain("".join(x.public_bytes(Encoding.PEM).decode() for x in chain), m.roots())
    san = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.UniformResourceIdentifier) == \
        ["spiffe://%s/mica/publisher" % m.config["trust_domain"]]
    listing = c.get("/v1/policies").ok().json()
    assert claims["policies"] == listing["policies"]
    assert claims["sequence"] == listing["sequence"] and claims["channel"] == "live"
    assert claims["exp"] - claims["iat"] == 24 * 3600
    assert claims["trust_domain"] == m.config["trust_domain"]


def test_canary_then_promote(m):
    c = m.admin()
    put(c, policy()).ok()
    live = c.get("/v1/policies").ok()
    put(c, policy(who="new"), query="?channel=canary").ok()
    put(c, policy("more"), "payments/more", "?channel=canary").ok()
    assert c.get("/v1/policies").ok().body == live.body
    assert names(c.get("/v1/policies?channel=canary")) == {"payments/api@2", "payments/more@1"}
    text = c.get("/v1/policies/compiled?target=istio&channel=canary").ok()
    assert b"ns/new/sa/shop" in text.body and "canary" in text.headers["ETag"]
    assert b"ns/web/sa/shop" in c.get("/v1/policies/compiled?target=istio").ok().body
    key = {"namespace": "payments", "name": "api"}
    assert c.post("/v1/policies:promote", {"policies": [key]}).ok().json()["policies"] == 1
    c.post("/v1/policies:promote", {"policies": [key]}).problem(409, "nothing_in_canary")
    assert names(c.get("/v1/policies")) == {"payments/api@2"}
    c.post("/v1/policies:withdraw", {}).ok()
    c.post("/v1/policies:withdraw", {}).problem(409, "nothing_in_canary")
    assert names(c.get("/v1/policies?channel=canary")) == {"payments/api@2"}
    assert c.get("/v1/policies").headers["ETag"].split("-")[2] == \
        c.get("/v1/policies?channel=canary").headers["ETag"].split("-")[2]


def test_compiled(m, issuer):
    c = m.client(token=issuer.token())
    put(m.admin(), policy()).ok()
    put(m.admin(), policy("other", "shop"), "shop/other").ok()
    a = c.get("/v1/policies/compiled?target=istio&workload=payments/app=api").ok()
    assert a.kind == "application/yaml" and a.headers["Mica-Policy-Lost"] == "0"
    assert b'name: "api"' in a.body and b'name: "other"' not in a.body
    assert c.get("/v1/policies/compiled?target=istio&workload=payments/app=api",
                 If_None_Match=a.headers["ETag"]).status == 304
    r = c.get("/v1/policies/compiled?target=istio&workload=payments/app=api&report=true").ok()
    assert r.json()["compiled"] == a.body.decode() and r.json()["report"]["policies"] == 1
    c.get("/v1/policies/compiled").problem(400, "bad_parameter")
    c.get("/v1/policies/compiled?target=nothing").problem(400, "bad_parameter")
    for nowhere in ("/x", "Payments", "a_b"):  # no policy is there: that must not mean "all is allowed"
        c.get("/v1/policies/compiled?target=istio&workload=" + nowhere).problem(400, "bad_parameter")
        m.admin().post("/v1/authorize", {"workload": {"namespace": nowhere}}).problem(400, "policy_value")
    c.get("/v1/policies/compiled?target=istio&form=protobuf").problem(400, "form_unsupported")


def test_compiled_for_consul(m):
    """Who is meant by a name is a mesh's own affair, and part of the question."""
    c = m.admin()
    text = policy(who="payments").replace("  action: ALLOW", """  selector: {matchLabels: {svc: bill}}
  action: ALLOW""").replace("payments/sa/shop", "payments/dc/dc1/svc/shop")
    put(c, text).ok()
    at = "/v1/policies/compiled?target=consul&service_label=svc"
    assert "shop" not in c.get(at).ok().body.decode()  # no such service account
    entries = c.get(at + "&datacenter=dc1").ok().json()
    assert [(e["Name"], e["Namespace"], [x["Name"] for x in e["Sources"]][0]) for e in entries
            if e["Name"] == "bill"] == [("bill", "payments", "shop")]
    community = c.get(at + "&datacenter=dc1&consul_namespace=payments").ok().body.decode()
    assert "bill" in community and "Namespace" not in community
    c.get(at + "&datacenter=").problem(400, "bad_parameter")
    c.get(at + "&datacenter=no%20one").problem(400, "datacenter_invalid")


def test_dry_run_is_shown(m):
    c = m.admin()
    put(c, policy(dry=True)).ok()
    assert c.get("/v1/policies/payments/api").ok().json()["dry_run"]
    assert c.get("/v1/policies").ok().json()["policies"][0]["dry_run"]
    assert b"mica_policies_dry_run 1\n" in m.metrics().get("/metrics").ok().body


# ---- the directory -----------------------------------------------------------------------------


def taken(m):
    return len(m.events("policies_directory_taken"))


def test_a_mounted_directory(start, issuer, tmp_path):
    volume = Volume(tmp_path / "policies")
    volume.write({"a.yaml": policy().encode(), "b.yaml": policy("b").encode(), "README": b"x"})
    m = start([issuer.config("file")], {"policies": {"directory": volume.folder}})
    c = m.admin()
    assert names(c.get("/v1/policies")) == {"payments/api@1", "payments/b@1"}
    put(c, policy("mine"), "payments/mine").ok()
    put(c, policy(who="x")).problem(409, "policy_of_directory")
    c.request("DELETE", "/v1/policies/payments/b").problem(409, "policy_of_directory")
    # another version of the ConfigMap, as a whole
    volume.write({"a.yaml": policy(who="new").encode()})
    m.process.wait_until("taken", lambda: taken(m) == 2)
    assert names(c.get("/v1/policies")) == {"payments/api@2", "payments/mine@1"}
    assert b"ns/new" in c.get("/v1/policies/compiled?target=istio").ok().body
    # one that is wrong: what was taken goes on
    before = c.get("/v1/policies").ok()
    volume.write({"a.yaml": policy("z").encode(), "bad.yaml": policy("y").encode() + b"x: 1\n"})
    e = m.process.wait_until(
        "refused", lambda: next(iter(m.events("policies_directory_refused")), None))
    assert "bad.yaml:15:1" in e["error"], e
    assert c.get("/v1/policies").ok().body == before.body
    text = m.metrics().get("/metrics").ok().body
    assert b"mica_policies_directory_valid 0\n" in text
    assert b"mica_policies_directory_refused_total 1\n" in text
    # nothing at all: not mounted
    volume.write({})
    m.process.wait_until("refused", lambda: len(m.events("policies_directory_refused")) == 2)
    assert c.get("/v1/policies").ok().body == before.body
    volume.write({"a.yaml": policy(who="good").encode()})
    m.process.wait_until("taken", lambda: taken(m) == 3)
    h = c.get("/v1/policies/payments/api/history").ok().json()
    assert h["owner"] == "directory" and h["revisions"][0]["actor"] == {"kind": "system"}
    log = m.log()
    mine = [json.loads(e["detail"]) for e in map(entry.parse, log.entries(log.verify().size))
            if e["type"] == "policy" and e["action"] == "deleted"]
    assert [(d["name"], d["owner"]) for d in mine] == [("b", "directory")]
    # what it has taken is there after a start, and without the directory everybody's
    m.stop()
    del m.config["policies"]
    m.start()
    put(m.admin(), policy(who="mine")).ok()


def test_a_checkout(start, issuer, tmp_path):
    folder = tmp_path / "repo"
    (folder / "team" / "a").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "x.yaml").write_text("no policy")
    (folder / "team" / "a" / "p.yml").write_text(policy())
    m = start([issuer.config("file")],
              {"policies": {"directory": str(folder), "poll": "1h"}})
    c = m.admin()
    assert names(c.get("/v1/policies")) == {"payments/api@1"}
    # git is at work: nothing is taken half way
    (folder / ".git" / "index.lock").write_text("")
    (folder / "team" / "a" / "p.yml").write_text(policy(who="new"))
    time.sleep(1)
    (folder / "team" / "q.json").write_text(json.dumps(
        {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
         "metadata": {"name": "mtls", "namespace": "payments"}, "spec": {"mtls": {"mode": "STRICT"}}}))
    assert names(c.get("/v1/policies")) == {"payments/api@1"}
    (folder / ".git" / "index.lock").unlink()
    m.process.wait_until("taken", lambda: taken(m) == 2)
    assert names(c.get("/v1/policies")) == {"payments/api@2", "payments/mtls@1"}
    c.get("/v1/policies/payments/mtls?kind=PeerAuthentication").ok()


# ---- what is cut -------------------------------------------------------------------------------


def test_killed_in_a_storm_of_changes(m):
    """Whatever was answered is there after a kill at any instant, whole and in the ledger."""
    total = 0
    for cycle in range(4):
        answered, stop = {}, threading.Event()

        def storm(n):
            c, i = m.admin(), 0
            while not stop.is_set():
                i += 1
                who = "c%d-%d-%d" % (cycle, n, i)
                text = policy("a%d" % n, who=who) + "---\n" + policy("b%d" % n, who=who)
                try:
                    a = c.request("POST", "/v1/policies", text, **YAML)
                except OSError:
                    return
                except Exception:  # pylint: disable=broad-except
                    return  # cut in the middle of an answer
                if a.status == 200:
                    answered[n] = (i, who, a.json()["sequence"])

        threads = [threading.Thread(target=storm, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        m.process.wait_until("changes", lambda: len(answered) == 4 and
                             sum(v[0] for v in answered.values()) > 20)
        time.sleep(0.05 * cycle)
        m.kill()
        stop.set()
        for t in threads:
            t.join()
        m.start()
        listing = m.admin().get("/v1/policies").ok().json()
        found = {p["name"]: p["document"]["spec"]["rules"][0]["from"][0]["source"]["principals"][0]
                 .split("/")[2] for p in listing["policies"]}
        for n, (i, who, sequence) in answered.items():
            # both of one change; the last that was answered, or the one that was under way
            assert found["a%d" % n] == found["b%d" % n]
            assert int(found["a%d" % n].split("-")[2]) in (i, i + 1), (found, who)
            assert listing["sequence"] >= sequence
            total += i
    log = m.log()
    puts = [e for e in map(entry.parse, log.entries(log.verify().size))
            if e["type"] == "policy" and e["action"] == "put"]
    assert len(puts) >= 2 * total
    m.stop()
    m.mica("store", "check", "--config", m.config_file)
    m.start()


# ---- the command line --------------------------------------------------------------------------


def test_cli(m, tmp_path):
    """apply, get, history, rollback, promote, withdraw, delete; errors by file and line."""
    def mica(*argv, status=0):
        r = m.mica("--output", "json", "policy", *argv, check=False)
        assert r.returncode == status, (r.stdout, r.stderr)
        return json.loads(r.stdout) if status == 0 else r

    one, two, bad = (tmp_path / n for n in ("one.yaml", "two.yaml", "bad.yaml"))
    one.write_text(policy() + "---\n" + policy("b"))
    two.write_text(policy(who="two"))
    bad.write_text(policy("c").replace("rules", "rulez"))
    assert mica("apply", one)["changed"] == 2
    assert mica("apply", one)["changed"] == 0
    assert "bad.yaml:8:3" in mica("apply", two, bad, status=2).stderr
    assert mica("get", "payments/api")["revision"] == 1
    etag = m.admin().get("/v1/policies").headers["ETag"]
    assert mica("apply", two, "--channel", "canary")["channel"] == "canary"
    assert mica("get", "payments/api")["revision"] == 1
    assert mica("get", "payments/api", "--channel", "canary")["revision"] == 2
    assert mica("promote", "payments/api")["policies"] == 1
    assert mica("apply", one, "--if-match", etag.strip('"'), status=6)
    assert [r["revision"] for r in mica("history", "payments/api")["revisions"]] == [2, 1]
    assert mica("rollback", "payments/api", "1")["revision"] == 3
    assert mica("delete", "payments/api", "--if-match", "2", status=6)
    assert mica("delete", "payments/api", "--if-match", "3")["state"] == "deleted"
    assert mica("get", "payments/api", status=5)
    assert mica("delete", "payments/b", "--channel", "canary")["state"] == "deleted"
    assert mica("withdraw", "--all")["policies"] == 1
    assert mica("promote", status=2)
    assert [p["name"] for p in mica("get", "--namespace", "payments")["policies"]] == ["b"]
    # for people: the document, which can be applied again, and tables
    text = m.mica("policy", "get", "payments/b").stdout
    assert text.startswith("apiVersion:")
    two.write_text(text)
    assert mica("apply", two)["changed"] == 0
    listing = m.mica("policy", "get").stdout.splitlines()
    assert any("payments" in line and " b " in line for line in listing), listing
    past = m.mica("policy", "history", "payments/b").stdout
    assert "put" in past and "deleted" in past
