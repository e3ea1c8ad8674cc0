# SPDX-License-Identifier: Apache-2.0
"""RBAC filters that Mica compiles, in a real Envoy: it decides as the engine does.

    MICA_ENVOY_SETS=1000 MICA_SEED=7 tests/e2e/run.sh --all -k policy_envoy     more of the random part
"""
import collections
import dataclasses
import http.client
import json
import os
import re
import subprocess
import time

import yaml

from agent import SOURCE
from envoyrbac import PARTS, PREFIX, Oracle, Refused, compile_, is_http, localise, real
from policygen import ANY, MESH, MESH_FLAGS, Generator, judge, run, save
from proc import SLOW, wait_until
from test_agent_envoy import (ROUTER, Envoy, World, address, envoy,  # noqa: F401
                              get, http_filter, port)

SETS = int(os.environ.get("MICA_ENVOY_SETS", "60"))
SEED = int(os.environ.get("MICA_SEED", "1"))
REQUESTS = 40  # of a set


def add(oracle, name, files, workload, flags=MESH_FLAGS):
    """Both filters of a workload; how much was lost."""
    lost = 0
    for target, field, to in (("envoy-http", "http_filters", oracle.add_http),
                              ("envoy-network", "filters", oracle.add_tcp)):
        filters, report = compile_(files, workload, target, flags)
        to(name, filters[field])
        lost += report["lost"]
    return lost


def test_the_example(envoy, tmp_path):
    files = Watched(tmp_path / "policies", "http")
    files.put(("a", False, ""))
    with open(os.path.join(SOURCE, "deploy", "examples", "envoy-rbac.yaml"), encoding="utf-8") as f:
        text = f.read()
    assert text.count("/etc/envoy/policies/") == 4
    (tmp_path / "envoy.yaml").write_text(text.replace("/etc/envoy/policies", str(files.folder)))
    r = subprocess.run([envoy, "--mode", "validate", "--service-node", "n", "--service-cluster", "c",
                        "-c", str(tmp_path / "envoy.yaml")], capture_output=True, text=True,
                       timeout=60 * SLOW)
    assert r.returncode == 0 and "OK" in r.stdout + r.stderr, r


# ---- the table ------------------------------------------------------------------------------------------


def test_the_table_of_cases(envoy, tmp_path):
    """Every case that docs/POLICIES.md stands on, asked of Envoy."""
    data = os.path.join(SOURCE, "tests", "data", "policy")
    with open(os.path.join(data, "semantics.test.yaml"), encoding="utf-8") as f:
        table = yaml.safe_load(f)
    with open(os.path.join(data, "semantics.yaml"), encoding="utf-8") as f:
        policies = [localise(p) for p in yaml.safe_load_all(f)]
    mesh = table["mesh"]
    flags = ["--root-namespace", mesh["rootNamespace"], "--trust-domain", mesh["trustDomain"]]
    for a in mesh["trustDomainAliases"]:
        flags += ["--alias", a]
    save(tmp_path / "semantics.yaml", policies)
    for c in table["cases"]:
        c["request"] = real(c["request"])
    (tmp_path / "here.test.yaml").write_text(json.dumps(table))
    said = run("policy", "test", tmp_path / "here.test.yaml")
    assert said["passed"] == len(table["cases"]) > 60

    oracle, names = Oracle(envoy, tmp_path), {}
    for c in table["cases"]:
        workload = json.dumps(c["request"]["workload"], sort_keys=True)
        if workload not in names:
            names[workload] = "w%d" % len(names)
            assert add(oracle, names[workload], [tmp_path / "semantics.yaml"],
                       c["request"]["workload"], flags) == 0
    with oracle:
        for c in table["cases"]:
            name = names[json.dumps(c["request"]["workload"], sort_keys=True)]
            assert oracle.ask(name, c["request"]) == (c["expect"] == "allow"), c


# ---- at random -------------------------------------------------------------------------------------------


class Drawn:
    """A random set of policies, requests, and what the engine says of them."""

    def __init__(self, folder, seed, knobs=ANY):
        g = Generator(seed, knobs)
        self.name = "s%d" % seed
        self.policies = [localise(p) for p in g.policies()]
        self.requests = [real(g.request(self.policies)) for _ in range(REQUESTS)]
        self.verdicts = judge(folder, self.policies, self.requests, self.name)
        self.file = folder / (self.name + ".yaml")
        self.workloads = {}
        for q in self.requests:
            w = q["workload"]
            self.workloads.setdefault(json.dumps(w, sort_keys=True), ("%s-w%d" % (
                self.name, len(self.workloads)), w))

    def cases(self):
        for q, allowed in zip(self.requests, self.verdicts):
            yield self.workloads[json.dumps(q["workload"], sort_keys=True)][0], q, allowed


def test_random_policies(envoy, tmp_path):
    oracle, drawn, outside = Oracle(envoy, tmp_path), [], set()
    for seed in range(SEED, SEED + SETS):
        d = Drawn(tmp_path, seed)
        drawn.append(d)
        for name, w in d.workloads.values():
            if add(oracle, name, [d.file], w):
                outside.add(name)
    asked = collections.Counter()
    with oracle:
        for d in drawn:
            for name, q, allowed in d.cases():
                got = oracle.ask(name, q)
                kind = "http" if is_http(q) else "tcp"
                if got is None:
                    asked["not liked"] += 1
                    continue
                asked[kind, allowed] += 1
                assert allowed or not got, (d.policies, q)
                assert got == allowed or name in outside, (d.policies, q)
    inside = 1 - len(outside) / sum(len(d.workloads) for d in drawn)
    print(dict(asked), "inside the subset: %.1f %%" % (100 * inside))
    assert inside >= 0.99
    for kind in ("http", "tcp"):
        total = asked[kind, True] + asked[kind, False]
        assert total > 5 * SETS and 0.1 < asked[kind, True] / total < 0.9, asked
    assert asked["not liked"] < 0.05 * SETS * REQUESTS


# ---- what enforces nothing -------------------------------------------------------------------------------


def engine_says(folder, d, field, value):
    """Whether the engine's `field` ("dryRun", "audited") is `value`, for each request."""
    cases = [{"name": "q%d" % i, "request": q, "expect": "allow" if v else "deny", field: value}
             for i, (q, v) in enumerate(zip(d.requests, d.verdicts))]
    table = folder / "more.test.yaml"
    table.write_text(json.dumps({"apiVersion": "mica/v1", "kind": "PolicyTest", "mesh": MESH,
                                 "policies": [d.file.name], "cases": cases}))
    said = run("policy", "test", table, ok=(0, 9))
    other = {f["name"] for f in said["failures"]}
    assert said["passed"] + said["failed"] == len(cases)
    return [c["name"] not in other for c in cases]


def test_dry_runs_and_audit(envoy, tmp_path):
    """What is denied by Envoy's shadow rules is what would be denied; what its action LOG finds is
    what is audited."""
    oracle, drawn = Oracle(envoy, tmp_path), []
    often = dataclasses.replace(ANY, dry_run=0.5, actions=("ALLOW", "DENY", "DENY", "AUDIT", "AUDIT"))
    for seed in range(SEED, SEED + 25):
        d = Drawn(tmp_path, seed, often)
        d.would = engine_says(tmp_path, d, "dryRun", "allow")
        d.audited = engine_says(tmp_path, d, "audited", True)
        drawn.append(d)
        for name, w in d.workloads.values():
            filters, report = compile_([d.file], w, "envoy-http", MESH_FLAGS)
            assert report["lost"] == 0
            oracle.add_http(name, filters["http_filters"])
    seen, numbers = collections.Counter(), {}
    with oracle:
        for d in drawn:
            for (name, q, allowed), would, audited in zip(d.cases(), d.would, d.audited):
                if not is_http(q):
                    continue
                before = oracle.shadow_denied()
                got = oracle.ask(name, q)
                if got is None:
                    continue
                assert got == allowed
                numbers[oracle.number] = audited
                if allowed:  # else not all filters were asked
                    counted = oracle.shadow_denied() > before
                    assert counted != would, (d.policies, q)
                    seen["would", would] += 1
        wait_until("the log is written", lambda: numbers.keys() <= oracle.hints().keys())
        hints = oracle.hints()
    for number, audited in numbers.items():
        assert bool(hints[number]) == audited
        seen["audited", audited] += 1
    print(dict(seen))
    assert min(seen[k, v] for k in ("would", "audited") for v in (True, False)) > 20


def test_odd_requests(envoy, tmp_path):
    """Headers that came twice or are empty, queries, hosts in any case, a token of nobody's."""
    oracle, asked = Oracle(envoy, tmp_path), []
    rules = [{"when": [{"key": "request.headers[x-env]", "values": v}]}
             for v in (["a,b"], ["*"], ["a*"], ["*b"], ["b"])]
    rules += [{"when": [{"key": "request.headers[x-env]", "notValues": ["*"]}]}]
    rules += [{"to": [{"operation": o}]} for o in (
        {"paths": ["*"]}, {"paths": ["/a"]}, {"paths": ["/a*"]}, {"hosts": ["A.b"]}, {"hosts": ["a.B*"]},
        {"hosts": ["*.B:80"]}, {"methods": ["*"]}, {"notHosts": ["*"]}, {"paths": ["/{**}"]}, {"paths": ["/a/{*}"]})]
    rules += [{"from": [{"source": {"requestPrincipals": v}}]} for v in (["*"], ["i*"], ["*s"], ["i/*"], ["*/s"])]
    requests = [dict({"workload": {"namespace": "a"}, "method": "GET"}, **q) for q in (
        {"path": "/a"}, {"path": "/a?/b"}, {"path": "/a/b?x"}, {"path": "/a/"}, {"path": "/a/b=c"}, {"path": "/a//b"},
        {"path": "/a/%2e"}, {"path": "/", "host": "A.B"}, {"path": "/", "host": "a.b:80"}, {"path": "/", "host": "x.b:80"},
        {"path": "/", "headers": {"x-env": "a,b"}}, {"path": "/", "headers": {"x-env": ""}},
        {"path": "/", "headers": {"x-env": "b"}}, {"path": "/", "headers": {"x-env": "A"}},
        {"path": "/", "jwt": {"issuer": "i", "subject": "s", "claims": {}}},
        {"path": "/", "jwt": {"issuer": "i/j", "subject": "is", "claims": {}}})]
    requests = [real(q) for q in requests]
    for i, rule in enumerate(rules):
        policies = [{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                     "metadata": {"name": "x", "namespace": "a"}, "spec": {"rules": [rule]}}]
        name = "o%d" % i
        asked += [(name, rule, q, v) for q, v in zip(requests, judge(tmp_path, policies, requests, name))]
        assert add(oracle, name, [tmp_path / (name + ".yaml")], {"namespace": "a"}) == 0
    with oracle:
        wrong = [(rule, q["path"], q["host"], q.get("headers"), q.get("jwt"), v)
                 for name, rule, q, v in asked if oracle.ask(name, q) != v]
        assert not wrong, "\n".join(map(str, wrong))
    assert {True, False} == {v for _, _, _, v in asked}


def test_headers_line_by_line(envoy, tmp_path):
    """What docs/POLICIES.md warns of: why the example sets a runtime key."""
    policies = [{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                 "metadata": {"name": "x", "namespace": "a"}, "spec": {"rules": [
                     {"when": [{"key": "request.headers[x-env]", "values": ["prod"]}]}]}}]
    f = save(tmp_path / "x.yaml", policies)
    q = real({"workload": {"namespace": "a"}, "headers": {"x-env": "test,prod"}})
    assert judge(tmp_path, policies, [q]) == [False]
    for joined in (True, False):
        oracle = Oracle(envoy, tmp_path, "joined-%s" % joined, joined)
        oracle.add_http("x", compile_([f], {"namespace": "a"}, "envoy-http")[0]["http_filters"])
        with oracle:
            assert oracle.ask("x", q) == (not joined)


# ---- broken compilers ----------------------------------------------------------------------------------


def change(node, how):
    """A copy in which how(key, value) -> (key, value) was done everywhere; and how often it did something."""
    done = 0

    def walk(n):
        nonlocal done
        if isinstance(n, list):
            return [walk(x) for x in n]
        if not isinstance(n, dict):
            return n
        out = {}
        for k, v in n.items():
            k2, v2 = how(k, v)
            done += (k2, v2) != (k, v)
            out[k2] = walk(v2)
        return out
    return walk(node), done


def no_not(k, v):
    """not X -> X"""
    return next(iter(v.items())) if k in ("not_id", "not_rule") else (k, v)


def or_for_and(k, v):
    return {"and_ids": "or_ids", "and_rules": "or_rules"}.get(k, k), v


def no_namespace(k, v):
    return (k, re.sub("/ns/[a-z]+/", "/ns/[a-z]+/", v)) if k == "regex" else (k, v)


def allow_for_deny(k, v):
    return (k, "ALLOW") if (k, v) == ("action", "DENY") else (k, v)


def deny_for_allow(k, v):
    return (k, "DENY") if (k, v) == ("action", "ALLOW") else (k, v)


def no_fold(k, v):
    return ("contains", "") if k == "ignore_case" else (k, v)


def no_port(k, v):
    return ("any", True) if k == "destination_port" else (k, v)


def wide_prefix(k, v):
    return (k, v[:-1]) if k == "prefix" and len(v) > 1 else (k, v)


MUTANTS = (no_not, or_for_and, no_namespace, allow_for_deny, deny_for_allow, no_port, wide_prefix)


def test_broken_compilers_are_caught(envoy, tmp_path):
    """What the compiler wrote is broken in one way; among the random requests are some that show it."""
    oracle, drawn, broken = Oracle(envoy, tmp_path), [], collections.Counter()
    for seed in range(SEED, SEED + 40):
        d = Drawn(tmp_path, seed)
        drawn.append(d)
        for name, w in d.workloads.values():
            filters = compile_([d.file], w, "envoy-http", MESH_FLAGS)[0]["http_filters"]
            for how in MUTANTS:
                mutant, done = change(filters, how)
                if done:
                    oracle.add_http("%s-%s" % (name, how.__name__), mutant)
                    broken["%s-%s" % (name, how.__name__)] += 1
    caught = {}
    with oracle:
        for how in MUTANTS:
            for d in drawn:
                for name, q, allowed in d.cases():
                    mutant = "%s-%s" % (name, how.__name__)
                    if how in caught or not is_http(q) or mutant not in broken:
                        continue
                    got = oracle.ask(mutant, q)
                    if got is not None and got != allowed:
                        caught[how] = "%s: %s %s" % (mutant, "allows" if got else "denies", q)
    for how in MUTANTS:
        assert how in caught, how.__name__


# ---- identities -----------------------------------------------------------------------------------------

PATHS = ["", "/web", "/ns/a/sa/x", "/ns/a/sa/y", "/ns/b/sa/x", "/ns/a", "/ns/a/sa", "/ns/a/x", "/ns/ns/a/x",
         "/ns/ns/a/sa/x", "/x/ns/a/sa/x", "/x/y/ns/a/sa/x/z", "/ns/b/ns/a/sa/x", "/ns/a/ns/b/sa/x",
         "/ns/a/sa/y/sa/x", "/ns/a/sa/sa/x", "/ns/sa/sa/x", "/ns/sa/x", "/sa/x/ns/a/y", "/sa/x/ns/a/sa/x",
         "/nsx/a/ns/a/z", "/n/ns/a/sa/x", "/nn/s/ns/a/s/sa/x", "/ns/a/sax/x", "/ns/a/sa.x/x", "/ns/a/s/a/sa/x",
         "/NS/a/sa/x", "/ns/A/sa/x", "/ns/a/SA/x", "/ns/aa/sa/x", "/ns/a/sa/xx", "/ns/a.b/sa/x", "/ns/a-b/sa/x.y",
         "/ns/a/sa/x.y", "/ns/a/sa/xzy", "/ns/ab/x/sa/y", "/ns/n/sa/s", "/ns/-/sa/_", "/..." "/ns/a/sa/x"]
IDS = ["spiffe://td" + p for p in PATHS] + ["spiffe://ns/a/b", "spiffe://ns/ns/a/sa/x", "spiffe://ns",
                                            "spiffe://a/ns/sa/sa/sa", "spiffe://example.org/ns/a/sa/x", None]
SOURCES = [{f: v} for f, v in (
    ("namespaces", ["a"]), ("notNamespaces", ["a"]), ("namespaces", ["a*"]), ("namespaces", ["*b"]),
    ("namespaces", ["*"]), ("namespaces", ["ns", "sa"]), ("namespaces", ["a*b"]), ("notNamespaces", ["*"]),
    ("serviceAccounts", ["a/x"]), ("notServiceAccounts", ["a/x"]), ("serviceAccounts", ["sa/x", "ns/a"]),
    ("serviceAccounts", ["a/x.y"]), ("principals", ["td/ns/a/sa/x"]), ("principals", ["*/ns/a/sa/x"]),
    ("principals", ["*/td"]), ("principals", ["td/ns/a/*"]), ("principals", ["*.y"]), ("principals", ["*"]),
    ("notPrincipals", ["*"]), ("trustDomains", ["td"]), ("notTrustDomains", ["td"]), ("principals", ["*d"]))]


def test_identities_of_every_form(envoy, tmp_path):
    oracle, asked = Oracle(envoy, tmp_path), []
    for i, source in enumerate(SOURCES):
        for action in ("ALLOW", "DENY"):
            policies = [{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                         "metadata": {"name": "x", "namespace": "a"},
                         "spec": {"action": action, "rules": [{"from": [{"source": source}]}]}}]
            name = "i%d-%s" % (i, action)
            requests = [real(dict({"workload": {"namespace": "a"}, "method": "GET", "path": "/"},
                                  **({"peer": p} if p else {}))) for p in IDS]
            verdicts = judge(tmp_path, policies, requests, name)
            assert add(oracle, name, [tmp_path / (name + ".yaml")], {"namespace": "a"}) == 0
            asked += [(name, source, q, v) for q, v in zip(requests, verdicts)]
    with oracle:
        wrong = [(s, q.get("peer"), v) for name, s, q, v in asked if oracle.ask(name, q) != v]
        assert not wrong, wrong[:5]


# ---- regular expressions -----------------------------------------------------------------------------------


def lengths(tmp_path, field, make, upto):
    """The lengths of names with which nothing is lost."""
    side = "from" if field in ("namespaces", "serviceAccounts", "principals") else "to"
    out = []
    for n in range(1, upto):
        values = {"source" if side == "from" else "operation": {field: [make(n)]}}
        f = save(tmp_path / "long.yaml", [{
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "x", "namespace": "a"}, "spec": {"rules": [{side: [values]}]}}])
        filters, report = compile_([f], {"namespace": "a"}, "envoy-http")
        if report["lost"]:
            for strict in (False, True):
                try:
                    compile_([f], {"namespace": "a"}, "envoy-http", strict=strict)
                    assert not strict
                except Refused:
                    assert strict
            assert report["losses"][0]["reason"] == "envoy_regex_too_long"
        out.append((n, filters["http_filters"], report["lost"]))
    return out


def test_no_expression_is_longer_than_envoy_takes(envoy, tmp_path):
    """Envoy starts with every length; what is said of them in docs/POLICIES.md holds."""
    oracle, fits = Oracle(envoy, tmp_path), {}
    for field, make, upto in (("namespaces", lambda n: "n" * n, 64),
                              ("serviceAccounts", lambda n: "s" * n, 60),
                              ("principals", lambda n: "*" + "p" * n, 100),
                              ("paths", lambda n: "/%s/{*}/{*}/{**}" % ("q" * n), 80)):
        for n, filters, lost in lengths(tmp_path, field, make, upto):
            oracle.add_http("%s-%d" % (field, n), filters)
            if not lost:
                fits[field] = n
    print(fits)
    assert fits == {"namespaces": 60, "serviceAccounts": 35, "principals": 84, "paths": 63}, fits
    with oracle:
        assert not oracle.envoy.stats("re2.exceeded_warn_level").get("re2.exceeded_warn_level")


# ---- two forms -------------------------------------------------------------------------------------------


def ecds(name, path, kind="http"):
    return {"name": name, "config_discovery": {
        "config_source": {"resource_api_version": "V3", "path_config_source": {"path": str(path)}},
        "type_urls": [PREFIX + "extensions.filters.%s.rbac.v3.RBAC" % kind]}}


def dump(e):
    c = http.client.HTTPConnection("127.0.0.1", e.admin, timeout=5 * SLOW)
    c.request("GET", "/config_dump")
    out = json.loads(c.getresponse().read())
    c.close()
    return [f["ecds_filter"] for d in out["configs"] for f in d.get("ecds_filters", [])]


def forms_listener(tmp_path, f, name, kind, form):
    """With the filters of a file of policies, each read from a file of its own."""
    filters = []
    for part in PARTS:
        data, _ = compile_([f], {"namespace": "shop"}, "envoy-" + kind, MESH_FLAGS, form, part)
        path = tmp_path / ("%s-%s.%s" % (name, part, "pb" if form == "protobuf" else "json"))
        path.write_bytes(data if form == "protobuf" else json.dumps(data).encode())
        filters.append(ecds("mica." + part, path, kind))
    chain = http_filter("x", {"direct_response": {"status": 200}})
    if kind == "http":
        chain["filters"][0]["typed_config"]["http_filters"] = filters + [ROUTER]
    else:
        chain["filters"] = filters + chain["filters"]
    return {"name": name, "filter_chains": [chain], "address": address(port())}


def test_both_forms_say_the_same(envoy, tmp_path):
    """Envoy reads the JSON and the octets of each, and shows what it understood."""
    kinds = [(k, f) for k in ("http", "network") for f in ("json", "protobuf")]
    sizes = 0
    for seed in range(SEED, SEED + 8):
        f = save(tmp_path / ("%d.yaml" % seed), Generator(seed).policies())
        listeners = [forms_listener(tmp_path, f, "%d-%s" % (seed, "-".join(k)), *k) for k in kinds]
        e = Envoy(envoy, tmp_path, "forms", {"admin": {"address": address(port())}, "static_resources": {
            "listeners": listeners}}, os.getpid() % 30000 + 3)
        try:
            e.process.wait_until("all filters are there", lambda e=e: _dumped(e) == 12, timeout=60)
            seen = collections.Counter(json.dumps(x, sort_keys=True) for x in dump(e))
        finally:
            e.process.kill()
        assert len(seen) == 6 and set(seen.values()) == {2}
        sizes += sum(map(len, seen))
    assert sizes > 8 * 1000


def _dumped(e):
    try:
        return len(dump(e))
    except (OSError, http.client.HTTPException):
        return 0


# ---- two agents --------------------------------------------------------------------------------------------

HEAD = """---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: %s, namespace: shop, annotations: {istio.io/dry-run: "%s"}}
spec: {%s}
"""
FRONT = "from: [{source: {serviceAccounts: [front]}}]"
IN_TIME = 2.0  # what a change may take


class Watched:
    """Files that an Envoy watches, with the filters of policies of namespace shop."""

    def __init__(self, folder, kind):
        self.folder, self.kind = folder, kind
        folder.mkdir()

    def path(self, part):
        return self.folder / (part + ".json")

    def put(self, *policies):
        """(name, dry run, spec); the CLI replaces each file at once."""
        f = self.folder / "policies.yaml"
        f.write_text("".join(HEAD % (name, str(dry).lower(), spec) for name, dry, spec in policies))
        for part in PARTS:
            run("policy", "compile", "--target", "envoy-" + self.kind, "--namespace", "shop",
                "--part", part, "-O", self.path(part), f)

    def filters(self):
        return [ecds("mica." + p, self.path(p), self.kind) for p in PARTS]


def until(what, check):
    """How long it took, which must be within IN_TIME."""
    begin = time.monotonic()
    wait_until(what, check, timeout=30)
    took = time.monotonic() - begin
    assert took < IN_TIME * SLOW, "%s: %.2f s" % (what, took)
    return took


def ask_first(w, path):
    """The status, once the certificates are there."""
    def answered():
        try:
            return get(w.port, path)[0] != 503
        except OSError:
            return False
    wait_until("traffic flows", answered, timeout=30)


def test_http_between_agents(envoy, tmp_path, micad, issuer):
    files = Watched(tmp_path / "filters", "http")
    a = ("a", False, "rules: [{%s, to: [{operation: {methods: [GET], paths: [/a*]}}]}]" % FRONT)
    files.put(a)

    def change(config):
        hcm = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        hcm["http_filters"] = files.filters() + hcm["http_filters"]
        return config

    with World(envoy, tmp_path, micad, issuer, change=change) as w:
        def status(path, method="GET"):
            return get(w.port, path, method)[0]

        def shadow(what):
            return sum(w.back.stats("mica_dry_run_" + what).values())

        ask_first(w, "/a")
        assert get(w.port, "/a") == (200, b"hello")
        assert get(w.port, "/b") == (403, b"RBAC: access denied")
        assert status("/a", "POST") == 403
        # a change
        files.put(("a", False, "rules: [{%s, to: [{operation: {paths: [/b]}}]}]" % FRONT))
        until("the change holds", lambda: (status("/a"), status("/b")) == (403, 200))
        # another identity
        files.put(("a", False, "rules: [{from: [{source: {serviceAccounts: [other]}}]}]"))
        until("nobody is allowed", lambda: (status("/a"), status("/b")) == (403, 403))
        # DENY before ALLOW
        files.put(("a", False, "rules: [{%s}]" % FRONT),
                  ("d", False, "action: DENY, rules: [{to: [{operation: {paths: [/b]}}]}]"))
        until("one is denied", lambda: (status("/a"), status("/b")) == (200, 403))
        # a dry run enforces nothing, and counts
        files.put(("a", False, "rules: [{%s}]" % FRONT),
                  ("d", True, "action: DENY, rules: [{to: [{operation: {paths: [/b]}}]}]"))
        until("none is denied", lambda: (status("/a"), status("/b")) == (200, 200))
        before = shadow("deny_.*shadow_denied")
        assert [status("/b") for _ in range(3)] == [200] * 3
        assert shadow("deny_.*shadow_denied") == before + 3
        assert status("/a") == 200 and shadow("deny_.*shadow_denied") == before + 3
        # what Envoy does not understand changes nothing
        files.path("allow").with_suffix(".new").write_text('{"resources": [{}]}')
        os.replace(files.path("allow").with_suffix(".new"), files.path("allow"))
        wait_until("it is refused", lambda: sum(w.back.stats(
            "mica.allow.(update_rejected|config_fail|update_failure)").values()) > 0)
        assert (status("/a"), status("/b")) == (200, 200)
        # nothing for nobody
        files.put(("a", False, ""))
        until("all is denied", lambda: (status("/a"), status("/b")) == (403, 403))
        files.put(("d", False, "action: DENY"))
        until("nothing is denied, no policy allows", lambda: (status("/a"), status("/b")) == (200, 200))


def test_connections_between_agents(envoy, tmp_path, micad, issuer):
    """A connection that is denied is closed; the client's Envoy says so with 503."""
    files = Watched(tmp_path / "filters", "network")
    files.put(("a", False, "rules: [{%s}]" % FRONT))

    def change(config):
        chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
        chain["filters"] = files.filters() + chain["filters"]
        return config

    with World(envoy, tmp_path, micad, issuer, change=change) as w:
        def figure(name):
            return sum(w.back.stats(name).values())

        w.up()
        for spec, passes in (("rules: [{from: [{source: {serviceAccounts: [other]}}]}]", False),
                             ("rules: [{from: [{source: {namespaces: [shop]}}]}]", True),
                             ("rules: [{to: [{operation: {methods: [GET]}}]}]", False),
                             ("action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]", False),
                             ("action: DENY, rules: [{to: [{operation: {ports: ['1']}}]}]", True)):
            files.put(("a", False, spec))
            until(spec, lambda passes=passes: (get(w.port)[0] == 200) == passes)
        assert figure("mica_deny.rbac.denied") > 0 and figure("mica_allow.rbac.denied") > 0
        files.put(("a", True, "action: DENY, rules: [{}]"))
        wait_until("the dry run counts", lambda: get(w.port)[0] and figure(
            "mica_dry_run_deny_.*shadow_denied") > 2)
        assert get(w.port)[0] == 200


def test_micad_serves_the_parts(micad):
    """What micad compiles is what the CLI compiles."""
    admin = micad.admin()
    admin.request("PUT", "/v1/policies/shop/a", {
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "a", "namespace": "shop"}, "spec": {"rules": [{}]}}).ok()
    for part in PARTS:
        a = admin.get("/v1/policies/compiled?target=envoy-http&workload=shop&part=" + part).ok()
        assert [r["name"] for r in a.json()["resources"]] == ["mica." + part]
        rules = a.json()["resources"][0]["typed_config"].get("rules")
        assert (rules is not None) == (part == "allow")
    whole = admin.get("/v1/policies/compiled?target=envoy-http&workload=shop").ok().json()
    assert [f["name"] for f in whole["http_filters"]] == ["mica." + p for p in PARTS]
    assert admin.get("/v1/policies/compiled?target=istio&part=deny").status == 400
    assert admin.get("/v1/policies/compiled?target=envoy-http&workload=shop&part=x").status == 400
