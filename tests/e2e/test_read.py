# SPDX-License-Identifier: Apache-2.0
"""What is published: bundles with ETag and long poll, log, certificates, events, figures."""
import base64
import json
import os
import threading
import time

import jwt
import pytest
from cryptography import x509

import ledger_check
import pki
from micad import TRUST_DOMAIN, ServedLog, certificates, signed_by, spiffe_id
from offline import Keeper
from proc import SLOW


# ---- bundles ----------------------------------------------------------------------------------


def test_forms_of_the_bundle(micad):
    c = micad.client()
    b = c.get("/v1/bundle").ok()
    assert b.kind == "application/json"
    doc = b.json()
    assert doc["spiffe_refresh_hint"] == 300 and doc["spiffe_sequence"] > 0
    roots = [k for k in doc["keys"] if k["use"] == "x509-svid"]
    assert roots and all(len(k["x5c"]) == 1 and "kid" not in k for k in roots)
    pem = c.get("/v1/bundle.pem").ok()
    assert pem.kind == "application/x-pem-file"
    assert [x.public_bytes(pki.DER) for x in certificates(pem.body)] == [
        base64.b64decode(k["x5c"][0]) for k in roots]
    for root in certificates(pem.body):
        signed_by(root, root)
        assert spiffe_id(root) == "spiffe://" + TRUST_DOMAIN
    assert any(k["use"] == "jwt-svid" and k["kid"] for k in doc["keys"])
    # the general form is the same document
    assert c.get("/v1/bundles/" + TRUST_DOMAIN).ok().body == b.body
    assert c.get("/v1/bundle?channel=live").ok().body == b.body
    canary = c.get("/v1/bundle?channel=canary").ok()
    assert canary.headers["ETag"] != b.headers["ETag"]


def test_signed_bundle(micad):
    """A cache can serve it and cannot lie: by PyJWT, from the chain inside up to the root."""
    c = micad.client()
    r = c.get("/v1/bundle.jws").ok()
    assert r.kind == "application/jose"
    token = r.body.decode().strip()
    header = jwt.get_unverified_header(token)
    assert header["typ"] == "mica-bundle+jws" and header["alg"] == "ES256"
    chain = [x509.load_der_x509_certificate(base64.b64decode(x)) for x in header["x5c"]]
    assert spiffe_id(chain[0]) == "spiffe://%s/mica/publisher" % TRUST_DOMAIN
    root = next(r for r in certificates(micad.roots()) if r.subject == chain[-1].issuer)
    for cert, by in zip(chain, chain[1:] + [root]):
        signed_by(cert, by)
    payload = jwt.decode(token, chain[0].public_key(), algorithms=["ES256"])
    assert payload["channel"] == "live" and payload["set"] == "default"
    assert 23 * 3600 < payload["exp"] - time.time() <= 24 * 3600 + 60
    doc = c.get("/v1/bundle").ok().json()
    assert payload["sequence"] == doc["spiffe_sequence"]
    assert any(payload.get(k) == doc for k in payload), "the document itself is inside"


def test_etag_and_wait(micad):
    c = micad.watcher()
    for path in ("/v1/bundle", "/v1/bundle.pem", "/v1/bundle.jws"):
        r = c.get(path).ok()
        etag = r.headers["ETag"]
        assert etag.startswith('"') and "default-live-" in etag
        for match in (etag, "W/" + etag, '"other", ' + etag, "*"):
            n = c.get(path, If_None_Match=match)
            assert n.status == 304 and n.body == b"" and n.headers["ETag"] == etag
        assert c.get(path, If_None_Match='"other"').ok().body == r.body
        begin = time.monotonic()
        n = c.get(path + "?wait=1", If_None_Match=etag)
        took = time.monotonic() - begin
        assert n.status == 304 and 0.9 < took < 2 + 2 * SLOW
        # who holds nothing has nothing to wait for
        begin = time.monotonic()
        c.get(path + "?wait=60").ok()
        c.get(path + "?wait=60", If_None_Match='"older"').ok()
        assert time.monotonic() - begin < 1 + SLOW


def test_both_ports_and_the_socket_say_the_same(micad):
    body = micad.client().get("/v1/bundle").ok().body
    assert micad.watcher().get("/v1/bundle").ok().body == body
    assert micad.admin().get("/v1/bundle").ok().body == body


def test_waiting_costs_the_others_nothing(micad, issuer):
    """A hundred wait; a certificate is had at once."""
    etag = micad.client().get("/v1/bundle").ok().headers["ETag"]
    done = []

    def wait():
        done.append(micad.watcher().get("/v1/bundle?wait=3", If_None_Match=etag).status)

    threads = [threading.Thread(target=wait) for _ in range(100)]
    for t in threads:
        t.start()
    begin = time.monotonic()
    for _ in range(5):
        micad.fetch(issuer.token()).ok(201)
    took = time.monotonic() - begin
    for t in threads:
        t.join()
    assert done == [304] * 100 and took < 3 * SLOW


def test_acks(micad, issuer):
    c = micad.client()
    sequence = c.get("/v1/bundle").ok().json()["spiffe_sequence"]
    token = issuer.token()
    micad.fetch(token).ok(201)
    c.post("/v1/bundle/acks", {"sequence": sequence}, token=token).ok(204)
    c.post("/v1/bundle/acks", {"channel": "live", "sequence": sequence}, token=token).ok(204)
    c.post("/v1/bundle/acks", {"sequence": sequence}).problem(401, "credential_missing")
    c.post("/v1/bundle/acks", {"sequence": 0}, token=token).problem(400, "json_range")
    c.post("/v1/bundle/acks", {"channel": "x", "sequence": 1}, token=token).problem(
        400, "json_range")


# ---- the log ----------------------------------------------------------------------------------


def test_the_log_for_everybody(micad, issuer):
    """Hashes are public and immutable, entries are not."""
    for _ in range(3):
        micad.fetch(issuer.token()).ok(201)
    c = micad.client()
    r = c.get("/log/checkpoint").ok()
    assert r.headers["Content-Type"] == "text/plain; charset=utf-8"
    log = ServedLog(c, micad.vkey)
    cp = log.verify(bundles=False)
    r = c.get("/log/" + ledger_check.tile_path(0, 0, min(cp.size, 256))).ok()
    assert r.kind == "application/octet-stream" and "immutable" in r.headers["Cache-Control"]
    # narrower ones stay to be had, wider ones are not there yet
    assert c.get("/log/tile/0/000.p/1").ok().body == r.body[:32]
    if cp.size < 255:
        c.get("/log/tile/0/000.p/%d" % 255).problem(404, "no_such_tile")
    for bad in ("0/0", "0/00", "0/000.p/0", "0/000.p/256", "0/000.p/01", "0/x000/000", "64/000",
                "00/000", "0/000/", "0/000.p", "x/000"):
        assert c.get("/log/tile/" + bad).status == 404, bad


def test_receipts_are_the_holders(micad, issuer):
    a = micad.fetch(issuer.token()).ok(201).json()
    c = micad.client()
    path = "/v1/log/proof/%d" % a["ledger_index"]
    c.get(path, token=issuer.token()).ok()
    c.get(path, token=issuer.token("shop", "thief")).problem(404, "no_such_entry")
    c.get(path).problem(401, "credential_missing")
    micad.admin().get("/v1/log/proof/999999").problem(404, "no_such_entry")
    for bad in ("-1", "x", "1e3", "99999999999999999999"):
        assert micad.admin().get("/v1/log/proof/" + bad).status in (400, 404)
    certificate = "/v1/certificates/" + a["serial"]
    d = c.get(certificate, token=issuer.token()).ok().json()
    assert d["spiffe_id"] == a["spiffe_id"] and d["ledger_index"] == a["ledger_index"]
    assert certificates(d["certificate"])[0] == certificates(a["certificate_chain"])[0]
    c.get(certificate, token=issuer.token("shop", "thief")).problem(404, "no_such_certificate")
    assert micad.admin().get(certificate).ok().json()["certificate"] == d["certificate"]
    micad.admin().get("/v1/certificates/" + "0" * 32).problem(404, "no_such_certificate")
    # with the certificate instead of the token
    files = micad.svid_files(issuer.token())
    mine = micad.client(cert=files)
    mine.get(path).ok()
    mine.get(certificate).ok()


# ---- events -----------------------------------------------------------------------------------


def pages(client, query, limit=7, **how):
    """Everything behind a cursor; what else happens meanwhile does not matter."""
    out, cursor = [], None
    while True:
        r = client.get("/v1/events?limit=%d%s%s" % (
            limit, query, "&cursor=" + cursor if cursor else ""), **how).ok().json()
        assert len(r["events"]) <= limit
        out += r["events"]
        cursor = r["next"]
        if not cursor:
            return out


def test_events(micad, issuer):
    ns = "events"
    serials = [micad.fetch(issuer.token(ns, "a", "a-%d" % (i % 3))).ok(201).json()["serial"]
               for i in range(9)]
    micad.client().post("/v1/jwt-svids", {"audience": ["db"]}, token=issuer.token(ns, "a")).ok(201)
    admin = micad.admin()
    me = "&spiffe_id=spiffe://%s/ns/%s/sa/a" % (TRUST_DOMAIN, ns)

    got = pages(admin, me + "&order=oldest", 4)
    assert [e["serial"] for e in got if e["type"] == "x509_issued"] == serials
    assert got[-1]["type"] == "jwt_issued" and got[-1]["audience"] == ["db"]
    assert [e["index"] for e in got] == sorted(e["index"] for e in got)
    assert pages(admin, me, 3) == got[::-1], "newest first by default"
    e = got[0]
    assert e["principal"]["namespace"] == ns and e["principal"]["pod"] == "a-0"
    assert e["evidence"]["kind"] == "token" and e["evidence"]["front"] == "rest"

    assert len(pages(admin, me + "&type=x509_issued")) == 9
    assert len(pages(admin, "&pod_uid=" + issuer.uid("pod", ns, "a-1"))) == 3
    assert [x["serial"] for x in pages(admin, "&serial=" + serials[4])] == [serials[4]]
    assert pages(admin, me + "&until=2020-01-01T00:00:00Z") == []
    assert len(pages(admin, me + "&since=2020-01-01T00:00:00Z")) == 10
    assert {"log", "authority", "bundle", "key"} <= {x["type"] for x in pages(admin, "", 1000)}


def test_a_cursor_outlives_what_comes(micad, issuer):
    ns = "cursor"
    for _ in range(6):
        micad.fetch(issuer.token(ns, "a")).ok(201)
    admin = micad.admin()
    query = "/v1/events?limit=2&spiffe_id=spiffe://%s/ns/%s/sa/a" % (TRUST_DOMAIN, ns)
    seen, cursor = [], ""
    for _ in range(3):
        r = admin.get(query + cursor).ok().json()
        seen += [e["index"] for e in r["events"]]
        cursor = "&cursor=%s" % r["next"]
        micad.fetch(issuer.token(ns, "a")).ok(201)
    assert seen == sorted(seen, reverse=True) and len(set(seen)) == 6
    assert seen[0] - seen[-1] >= 5


def test_events_are_ones_own(micad, issuer):
    micad.fetch(issuer.token("mine", "a")).ok(201)
    micad.fetch(issuer.token("yours", "b")).ok(201)
    c = micad.client()
    for query in ("", "&type=x509_issued", "&spiffe_id=spiffe://%s/ns/mine/sa/a" % TRUST_DOMAIN):
        got = pages(c, query, token=issuer.token("mine", "a"))
        assert len(got) == 1 and got[0]["spiffe_id"].endswith("/ns/mine/sa/a"), query
    assert pages(c, "&spiffe_id=spiffe://%s/ns/yours/sa/b" % TRUST_DOMAIN,
                 token=issuer.token("mine", "a")) == []
    c.get("/v1/events").problem(401, "credential_missing")


@pytest.mark.parametrize("query, reason", [
    ("limit=0", "bad_parameter"), ("limit=1001", "bad_parameter"), ("limit=x", "bad_parameter"),
    ("since=yesterday", "bad_parameter"), ("serial=12", "bad_parameter"),
    ("order=random", "bad_parameter"), ("type=x", "bad_filter"), ("pod_uid=x", None),
    ("cursor=zzzz", "bad_cursor"), ("spiffe_id=x", None), ("nonsense=1", "unknown_parameter"),
])
def test_events_refused(micad, query, reason):
    r = micad.admin().get("/v1/events?" + query)
    assert r.status == 400, r
    assert reason is None or r.json()["reason"] == reason


# ---- roles ------------------------------------------------------------------------------------


def test_roles_by_spiffe_id(start, issuer):
    """An auditor reads everything, an admin also acts; both are names in the configuration."""
    m = start([issuer.config("file")], {"roles": {
        "admins": ["spiffe://%s/ns/ops/sa/admin" % TRUST_DOMAIN],
        "auditors": ["spiffe://%s/ns/ops/sa/auditor" % TRUST_DOMAIN]}})
    a = m.fetch(issuer.token()).ok(201).json()
    auditor, admin = issuer.token("ops", "auditor"), issuer.token("ops", "admin")
    by_certificate = m.client(cert=m.svid_files(auditor))
    deny = {"kind": "pod_uid", "value": issuer.uid("pod", "x", "y")}
    for c, token in ((m.client(), auditor), (by_certificate, None), (m.client(), admin)):
        assert c.get("/v1/certificates/" + a["serial"], token=token).ok().json()["serial"] == \
            a["serial"]
        c.get("/v1/status", token=token).ok()
        ServedLog(c, m.vkey, token).verify()
        r = c.post("/v1/deny", deny, token=token)
        if token == admin:
            r.ok(204)
        else:
            r.problem(403, "role_required")
    denied = [e for e in pages(m.admin(), "&type=deny")][0]
    assert denied["actor"] == {"kind": "spiffe",
                               "id": "spiffe://%s/ns/ops/sa/admin" % TRUST_DOMAIN}


def test_explain(micad, issuer):
    """Why a token would be refused, without the token."""
    token = issuer.token(ttl=-3600, audience=["other"])
    d = micad.admin().post("/v1/tokens/explain", {"token": token}).ok()
    assert token.split(".")[2].encode() not in d.body and token.split(".")[1].encode() not in d.body
    e = d.json()
    assert e["accepted"] is False and e["verified"] is True and e["issuer"] == issuer.name
    failed = {s["check"] for s in e["steps"] if not s["passed"]}
    assert len(failed) == 2, "all checks run, also after one failed"
    assert micad.admin().post("/v1/tokens/explain", {"token": issuer.token()}).ok().json()[
        "accepted"] is True


# ---- about itself ------------------------------------------------------------------------------


def test_configuration(micad, issuer):
    d = micad.client().get("/v1/configuration").ok().json()
    assert d["trust_domain"] == TRUST_DOMAIN
    assert d["issuers"][0]["issuer"] == issuer.url
    assert d["issuers"][0]["audiences"] == {"rest": ["mica"]}
    assert d["x509"]["ttl"] == 3600 and d["x509"]["max_ttl"] == 86400
    assert "p256" in d["x509"]["key_types"]
    assert d["log"]["vkey"].startswith(d["log"]["origin"] + "+")
    assert micad.ready["watch"].rsplit(":", 1)[1] in json.dumps(d), "where to wait"


def test_status(micad):
    d = micad.admin().get("/v1/status").ok().json()
    states = {(a["kind"], a["state"]) for a in d["authorities"]}
    assert ("root", "active") in states and ("issuing", "active") in states
    text = json.dumps(d)
    assert "PRIVATE" not in text and "passphrase" not in text


def test_health_and_metrics(micad, issuer):
    micad.fetch(issuer.token()).ok(201)
    micad.fetch(None).problem(401, "credential_missing")
    c = micad.metrics()
    c.get("/healthz").ok()
    c.get("/readyz").ok()
    r = c.get("/metrics").ok()
    assert r.kind == "text/plain"
    lines = [x for x in r.body.decode().splitlines() if x and x[0] != "#"]
    for line in lines:
        name, value = line.rsplit(" ", 1)
        float(value)
        assert name.startswith(("mica_", "process_")), line
    assert len({x.rsplit(" ", 1)[0] for x in lines}) == len(lines), "each series once"
    issued = [x for x in lines
              if x.startswith('mica_issuance_total{kind="x509",outcome="issued"}')]
    assert float(issued[0].rsplit(" ", 1)[1]) >= 1
    c.get("/v1/bundle").problem(404, "no_such_path")


def with_an_offline_root(start, issuer, tmp_path):
    """What only an authority whose key is elsewhere needs."""
    keeper = Keeper(tmp_path / "keeper")
    m = start([issuer.config("file")], {"authorities": {"root": "offline", "issuing_life": "90d"}})
    admin = m.admin()
    admin.post("/v1/authority-requests", {}).ok()
    m.mica("authority", "csr", "--out", m.path("requests"))
    root = open(keeper.root, encoding="ascii").read()
    pem = root + "".join(open(f, encoding="ascii").read() for f in keeper.sign(m.path("requests")))
    admin.post("/v1/authority-certificates", {"pem": pem, "new_root": True}).ok(201)
    id = next(x["id"] for x in admin.get("/v1/authorities").ok().json()["authorities"]
              if x["kind"] == "root")
    admin.post("/v1/authorities/%s/crl" % id, {"crl": keeper.crl()}).ok(204)
    return m


def policies(admin):
    """All that can be done with a policy."""
    one = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
           "metadata": {"name": "deny-all", "namespace": "shop"}, "spec": {}}
    admin.post("/v1/policies:validate", one).ok()
    admin.post("/v1/policies", one).ok()
    admin.request("PUT", "/v1/policies/shop/deny-all?channel=canary",
                  dict(one, spec={"action": "DENY"})).ok()
    admin.post("/v1/policies:withdraw", {}).ok()
    admin.post("/v1/policies/shop/deny-all/rollback?channel=canary", {"revision": 2}).ok()
    admin.post("/v1/policies:promote", {}).ok()
    for path in ("", ".jws", "/compiled?target=istio", "/shop/deny-all", "/shop/deny-all/history"):
        admin.get("/v1/policies" + path).ok()
    admin.request("DELETE", "/v1/policies/shop/deny-all").ok(204)


def test_every_documented_operation(start, issuer, tmp_path):
    """openapi.json is the whole truth: each answer of all tests is held against it (openapi.py), and
    each operation in it works."""
    m = start([issuer.config("file")], {"jwt": {"oidc_discovery": True},
                                        "https": {"public_host": "mica.example"},
                                        "join_tokens": {"spiffe_path": "/vm/{name}"}})
    token, c, admin = issuer.token(), m.client(), m.admin()
    a = m.fetch(token).ok(201).json()
    c.post("/v1/jwt-svids", {"audience": ["db"]}, token=token).ok(201)
    c.post("/v1/bundle/acks", {"sequence": a["bundle_sequence"]}, token=token).ok(204)
    for path in ("/v1/bundle", "/v1/bundle.pem", "/v1/bundle.jws", "/v1/bundles/" + TRUST_DOMAIN,
                 "/v1/configuration", "/log/checkpoint", "/log/tile/0/000.p/1", "/openapi.json",
                 "/.well-known/openid-configuration", "/v1/jwks"):
        r = c.get(path).ok()
        h = c.request("HEAD", path).ok()
        assert h.body == b"" and h.headers["Content-Length"] == str(len(r.body))
    issuing = next(x["id"] for x in admin.get("/v1/status").ok().json()["authorities"]
                   if x["kind"] == "issuing")
    for path in ("/v1/crl.pem", "/v1/crl/%s.crl" % issuing, "/v1/crl/%s.pem" % issuing):
        c.get(path).ok()
    admin.post("/v1/certificates/%s/revoke" % a["serial"], {"reason": "superseded"}).ok(204)
    admin.get("/v1/revocations").ok()
    for path in ("/v1/certificates/" + a["serial"], "/v1/events", "/v1/log/proof/1", "/v1/status",
                 "/log/tile/entries/000.p/1", "/v1/deny", "/v1/authorities", "/v1/rotation",
                 "/v1/rotation/plan?ahead=30d"):
        admin.get(path).ok()
    admin.post("/v1/tokens/explain", {"token": token}).ok()
    admin.post("/v1/authorize", {"workload": {"namespace": "shop"}}).ok()
    admin.get("/v1/authorize/dry-run").ok()
    policy = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
              "metadata": {"namespace": "shop", "name": "orders"}, "spec": {"rules": [{}]}}
    admin.post("/v1/policies:validate", policy).ok()
    admin.post("/v1/policies", policy).ok()
    for then in ("withdraw", "promote"):
        admin.post("/v1/policies?channel=canary", dict(policy, spec={"action": "DENY"})).ok()
        admin.post("/v1/policies:" + then, {}).ok()
    one = "/v1/policies/shop/orders"
    admin.request("PUT", one, policy).ok()
    for path in ("/v1/policies", "/v1/policies.jws", "/v1/policies/compiled?target=istio", one,
                 one + "/history"):
        admin.get(path).ok()
    admin.post(one + "/rollback", {"revision": 1}).ok()
    admin.request("DELETE", one).ok(204)
    deny = {"kind": "key", "value": "ab" * 32}
    admin.post("/v1/deny", deny).ok(204)
    admin.request("DELETE", "/v1/deny", deny).ok(204)
    join = admin.post("/v1/join-tokens", {"ttl": 60}).ok(201).json()["id"]
    admin.get("/v1/join-tokens").ok()
    admin.request("DELETE", "/v1/join-tokens/" + join).ok(204)
    policies(admin)
    admin.post("/v1/backups", {"path": str(tmp_path / "backup")}).ok(201)
    for path in ("/healthz", "/readyz", "/metrics"):
        m.metrics().get(path).ok()
    made = admin.post("/v1/rotation", {"action": "start", "kind": "root"}).ok(201).json()["id"]
    admin.get("/v1/authorities/" + made).ok()
    admin.post("/v1/authorities/%s/activate" % made, {"force": True}).ok(204)
    admin.post("/v1/rotation", {"action": "rollback", "kind": "root"}).ok(204)
    admin.post("/v1/authorities/%s/revoke" % made, {"force": True}).ok(204)
    admin.post("/v1/authorities", {"kind": "jwt"}).ok(201)
    admin.post("/v1/rotation", {"action": "start"}).problem(400, "bad_rotation")
    admin.post("/v1/rotation", {"action": "confirm", "outlet": "x"}).problem(404, "no_such_outlet")
    admin.post("/v1/authorities/%s/taint" % issuing).ok(204)
    offline = with_an_offline_root(start, issuer, tmp_path)
    documented = {(method.upper(), path) for path, item in m.spec.d["paths"].items()
                  for method in item if method in ("get", "post", "put", "delete")}
    worked = {(method, path) for method, path, status in m.spec.seen | offline.spec.seen
              if status < 300}
    assert documented - worked == set()


def test_oidc_discovery_of_our_own(start, issuer):
    """JWT-SVIDs by OpenID Connect, for who knows no SPIFFE; off by default."""
    m = start([issuer.config("file")], {"jwt": {"oidc_discovery": True},
                                        "https": {"public_host": "mica.example"}})
    d = m.client().get("/.well-known/openid-configuration").ok().json()
    assert d["issuer"] == "https://mica.example" and d["jwks_uri"].startswith(d["issuer"] + "/")
    r = m.client().get("/v1/jwks").ok()
    keys = {k["kid"]: k for k in r.json()["keys"]}
    token = m.client().post("/v1/jwt-svids", {"audience": ["db"]}, token=issuer.token()).ok(
        201).json()["token"]
    key = keys[jwt.get_unverified_header(token)["kid"]]
    c = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["ES256"], audience="db",
                   issuer="https://mica.example")
    assert c["sub"].startswith("spiffe://")


def test_no_oidc_discovery_by_default(micad):
    for path in ("/.well-known/openid-configuration", "/v1/jwks"):
        micad.client().get(path).problem(404, "no_such_path")


def test_the_serving_certificate_is_an_svid(micad):
    c = micad.client().connect()
    leaf = x509.load_der_x509_certificate(c.c.sock.getpeercert(True))
    assert spiffe_id(leaf) == "spiffe://%s/mica/server" % TRUST_DOMAIN
    assert c.c.sock.version() == "TLSv1.3"
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in san.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    # it has an entry like all others
    d = micad.admin().get("/v1/certificates/%032x" % leaf.serial_number).ok().json()
    assert d["spiffe_id"].endswith("/mica/server")


def test_common_headers(micad):
    for path in ("/v1/bundle", "/v1/configuration", "/log/checkpoint", "/nothing"):
        h = micad.client().get(path).headers
        assert h["X-Content-Type-Options"] == "nosniff" and h["Cache-Control"], path
        assert "Server" not in h or "/" not in h["Server"], "no version"


def test_the_socket_is_the_admins(micad):
    mode = os.stat(micad.config["admin"]["socket"]).st_mode & 0o777
    assert mode == 0o660
