# SPDX-License-Identifier: Apache-2.0
"""Policies in Linkerd's form mean what they meant: random policies and requests, the engine on one
side, an evaluator of Linkerd's objects that knows nothing of Mica on the other."""
import base64
import copy
import json
import os
import random
import re
import subprocess

import pytest

import linkerdpolicy
from linkerd_eval import Linkerd, Request
from proc import SLOW

MICA = os.path.join(os.environ.get("MICA_BIN") or os.environ.get("MICA_BUILDDIR") or ".", "mica")
TD = "example.org"
ROOT = "istio-system"
NAMESPACES = ["shop", "web"]
PORTS = [8080, 9090]
SEED = int(os.environ.get("MICA_TEST_SEED", "1"))

ACCOUNTS = [(ns, sa) for ns in ("web", "shop", "ops") for sa in ("front", "back", "a.b")]
PRINCIPALS = ["%s/ns/%s/sa/%s" % (TD, *a) for a in ACCOUNTS]
FOREIGN = ["other.org/ns/web/sa/front", "other.org/job", TD + "/vm/db"]
BLOCKS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "192.168.0.0/24", "fd00::/8", "fd00:1::/32"]
IPS = ["10.0.0.9", "10.1.2.3", "10.1.2.4", "192.168.0.7", "172.16.0.1", "fd00::1", "fd00:1::1", "2001:db8::1"]
PATHS = ["/", "/a", "/ab", "/a/", "/a/b", "/a/b/c", "/x.y", "/xzy", "/a.html", "/b", "/a/bc"]
PATH_VALUES = ["/a", "/a/*", "/a*", "/a/b", "/a/b*", "/x.y", "/b", "*", "/*"]
METHODS = ["GET", "POST", "DELETE", "PURGE"]
LABELS = [{}, {"app": "x"}, {"app": "y"}, {"app": "x", "tier": "db"}, {"tier": "db"}]


class Generator:
    """Policies; `odd` is how often something stands in them that Linkerd has no form for."""

    def __init__(self, seed, odd):
        self.r = random.Random(seed)
        self.odd = odd

    def some(self, values, most=3):
        return self.r.sample(values, self.r.randint(1, min(most, len(values))))

    def source(self):
        r, s = self.r, {}
        for _ in range(r.choice([1, 1, 1, 2])):
            field = r.choice(["principals", "principals", "namespaces", "ipBlocks", "notIpBlocks",
                              "serviceAccounts", "trustDomains", "notPrincipals", "notNamespaces"])
            s[field] = {
                "principals": lambda: self.some(PRINCIPALS + PRINCIPALS + FOREIGN[:1] + [
                    TD + "/ns/web/*", TD + "/ns/ops/sa/*", "*", TD + "/*", "*/ns/web/sa/front"]),
                "notPrincipals": lambda: self.some(PRINCIPALS),
                "namespaces": lambda: self.some(["web", "ops", "shop"], 2),
                "notNamespaces": lambda: self.some(["web", "ops"], 1),
                "serviceAccounts": lambda: self.some(["front", "web/back", "ops/front"]),
                "trustDomains": lambda: [TD],
                "ipBlocks": lambda: self.some(BLOCKS),
                "notIpBlocks": lambda: self.some(BLOCKS, 2)}[field]()
        if r.random() < self.odd:
            field = r.choice(["remoteIpBlocks", "requestPrincipals", "namespaces", "principals", "trustDomains"])
            s[field] = {"remoteIpBlocks": ["10.0.0.0/8"], "requestPrincipals": ["*"], "namespaces": ["w*"],
                        "principals": [TD + "/ns/web/sa/f*", "*ack"], "trustDomains": ["other.org"]}[field]
        if "serviceAccounts" in s:  # Istio: not beside these
            for f in ("principals", "namespaces", "notPrincipals", "notNamespaces"):
                s.pop(f, None)
        return {"source": s}

    def operation(self):
        r, o = self.r, {}
        for _ in range(r.choice([1, 1, 2])):
            field = r.choice(["methods", "paths", "ports", "notMethods", "notPaths", "notPorts"])
            values = {"ethods": METHODS[:3], "aths": PATH_VALUES, "orts": ["8080", "9090", "7000"]}
            o[field] = self.some([v for k, v in values.items() if field.endswith(k)][0], 2)
        if r.random() < self.odd:
            o.update(r.choice([{"hosts": ["a.test"]}, {"paths": ["*.html"]}, {"methods": ["PURGE"]},
                               {"paths": ["/a/{*}"]}, {"methods": ["P*"]}]))
        return {"operation": o}

    def rule(self):
        r, rule = self.r, {}
        if r.random() < 0.8:
            rule["from"] = [self.source() for _ in range(r.choice([1, 1, 2]))]
        if r.random() < 0.6:
            rule["to"] = [self.operation() for _ in range(r.choice([1, 1, 2]))]
        if r.random() < 0.1:
            rule["when"] = [{"key": "source.namespace", "values": ["web"]}]
        if r.random() < self.odd / 2:
            rule.setdefault("when", []).append({"key": "request.headers[x-env]", "values": ["prod"]})
        return rule

    def policy(self, i):
        r = self.r
        spec = {"action": r.choice(["ALLOW", "ALLOW", "ALLOW", "DENY"]),
                "rules": [self.rule() for _ in range(r.choice([1, 1, 2]))]}
        if r.random() < 0.1:
            spec["rules"] = []
        labels = r.choice(LABELS)
        if labels and r.random() < 0.7:
            spec["selector"] = {"matchLabels": labels}
        ns = r.choice(NAMESPACES * 4 + [ROOT])
        return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                "metadata": {"name": "p%d" % i, "namespace": ns}, "spec": spec}

    def policies(self):
        return [self.policy(i) for i in range(self.r.choice([1, 2, 3, 4, 6]))]

    def request(self, workload=None):
        """A request as the engine reads it; as Linkerd reads it; whether the form promises to be equal."""
        r = self.r
        ns, labels = workload or (r.choice(NAMESPACES), r.choice(LABELS))
        port, ip = r.choice(PORTS * 4 + [7000]), r.choice(IPS)
        mica = {"workload": {"namespace": ns, "labels": labels}, "sourceIp": ip, "port": port}
        identity, promised = None, port in PORTS
        if r.random() < 0.85:
            principal = r.choice(PRINCIPALS * 3 + FOREIGN)
            mica["peer"] = identity = "spiffe://" + principal
            m = re.fullmatch(TD + r"/ns/([a-z0-9-]+)/sa/([a-z0-9-]+)", principal)
            if m and r.random() < 0.9:
                identity = "%s.%s.serviceaccount.identity.linkerd.cluster.local" % (m[2], m[1])
            else:
                promised = False
        method = path = None
        if r.random() < 0.8:
            method, path = r.choice(METHODS), r.choice(PATHS)
            mica.update(method=method, path=path)
        return mica, Request(ns, labels, port, ip, identity, method, path), promised


def run(*argv, ok=(0,)):
    r = subprocess.run([MICA, *map(str, argv), "--output", "json"], capture_output=True, text=True,
                       timeout=60 * SLOW)
    assert r.returncode in ok, r.stderr
    return json.loads(r.stdout)


class World:
    """One set of policies, its compiled form, and requests with the engine's verdicts."""

    def __init__(self, tmp, seed, odd):
        g = Generator(seed, odd)
        self.policies = g.policies()
        self.file = tmp / ("%d.yaml" % seed)
        self.file.write_text("".join("---\n%s\n" % json.dumps(p) for p in self.policies))
        of = (g.r.choice(NAMESPACES), g.r.choice(LABELS)) if g.r.random() < 0.4 else None
        where = [] if of is None else ["--namespace", of[0]] + [
            x for k, v in of[1].items() for x in ("--label", "%s=%s" % (k, v))]
        d = run("policy", "compile", "--target", "linkerd", "--as", "json", "--trust-domain", TD,
                "--root-namespace", ROOT, *(x for p in PORTS for x in ("--port", p)), *where, self.file)
        self.lost = d["lost"]
        self.losses = d["losses"]
        self.objects = json.loads(d["compiled"])["items"]
        self.requests = [g.request(of) for _ in range(250)]
        if of is None:
            # The whole set is compiled for namespaces that have policies.
            known = {p["metadata"]["namespace"] for p in self.policies}
            self.requests = [q for q in self.requests if q[1].ns in known]
        self.verdicts = self.judge(tmp / ("%d.test.yaml" % seed))

    def judge(self, table):
        cases = [{"name": "q%d" % i, "request": q[0], "expect": "allow"} for i, q in enumerate(self.requests)]
        if not cases:
            return []
        table.write_text(json.dumps({
            "apiVersion": "mica/v1", "kind": "PolicyTest", "policies": [self.file.name],
            "mesh": {"rootNamespace": ROOT, "trustDomain": TD}, "cases": cases}))
        denied = {f["name"] for f in run("policy", "test", table, ok=(0, 9))["failures"]}
        return ["q%d" % i not in denied for i in range(len(cases))]

    def differences(self, objects):
        """(wider, narrower) requests; narrower only of those that are promised."""
        linkerd = Linkerd(objects)
        wider, narrower = [], []
        for (mica, request, promised), allowed in zip(self.requests, self.verdicts):
            got = linkerd.allows(request)
            if got and not allowed:
                wider.append(mica)
            elif allowed and not got and promised:
                narrower.append(mica)
        return wider, narrower

    def told(self, request):
        return "%s\n%s\n%s" % (self.file.read_text(), json.dumps(request), json.dumps(self.losses, indent=1))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("linkerd")
    n = int(os.environ.get("MICA_TEST_WORLDS", "150"))
    return [World(tmp, SEED * 100000 + i, 0.0 if i % 3 else 0.15) for i in range(n)]


def test_never_wider_and_equal_inside_the_subset(worlds):
    inside = requests = allowed = 0
    for w in worlds:
        wider, narrower = w.differences(w.objects)
        assert not wider, w.told(wider[0])
        if w.lost == 0:
            inside += 1
            requests += len(w.verdicts)
            allowed += sum(w.verdicts)
            assert not narrower, w.told(narrower[0])
    share = inside / len(worlds)
    print("inside the subset: %.0f %% of %d sets; %d requests, %.0f %% of them allowed" % (
        100 * share, len(worlds), requests, 100 * allowed / requests))
    assert share > 0.4
    assert 0.1 < allowed / requests < 0.9


def test_the_message_says_what_the_objects_say(tmp_path):
    """Of one workload and port, as a proxy would get it from micad."""
    compared = allowed = 0
    for seed in range(SEED * 100000, SEED * 100000 + 60):
        g = Generator(seed, 0.15 if seed % 3 == 0 else 0.0)
        file = tmp_path / ("%d.yaml" % seed)
        file.write_text("".join("---\n%s\n" % json.dumps(p) for p in g.policies()))
        ns, labels = g.r.choice(NAMESPACES), g.r.choice(LABELS)
        args = ["policy", "compile", "--target", "linkerd", "--trust-domain", TD, "--root-namespace", ROOT,
                "--port", PORTS[0], "--namespace", ns, *(
                    x for k, v in labels.items() for x in ("--label", "%s=%s" % (k, v))), file]
        objects = Linkerd(json.loads(run(*args, "--as", "json")["compiled"])["items"])
        message = linkerdpolicy.Policy(base64.b64decode(run(*args, "--as", "protobuf")["base64"]))
        for _ in range(100):
            q = g.request((ns, labels))[1]
            q.port = PORTS[0]
            assert message.allows(q) == objects.allows(q), (file.read_text(), vars(q))
            compared += 1
            allowed += message.allows(q)
    assert 0.1 < allowed / compared < 0.9


# ---- mutants: what the comparison must notice -----------------------------------------------------


def drop_not(objects, r):
    """An exception less."""
    found = [n for o in objects if o["kind"] == "NetworkAuthentication" for n in o["spec"]["networks"] if "except" in n]
    if found:
        del r.choice(found)["except"]
    return bool(found)


def or_for_and(objects, r):
    found = [o["spec"] for o in objects if o["kind"] == "AuthorizationPolicy"
             and len(o["spec"]["requiredAuthenticationRefs"]) == 2]
    if found:
        spec = r.choice(found)
        spec["requiredAuthenticationRefs"].pop(r.randrange(2))
    return bool(found)


def lose_namespace(objects, r):
    found = [(o["spec"]["identities"], i) for o in objects if o["kind"] == "MeshTLSAuthentication"
             for i, x in enumerate(o["spec"]["identities"]) if re.match(r"\*\.[a-z]+\.serviceaccount\.", x)]
    if found:
        ids, i = r.choice(found)
        ids[i] = "*.serviceaccount.identity.linkerd.cluster.local"
    return bool(found)


def deny_as_allow(objects, r):
    """What nobody may, everybody may."""
    targets = {(o["metadata"]["namespace"], o["spec"]["targetRef"]["name"]) for o in objects
               if o["kind"] == "AuthorizationPolicy"}
    found = [o for o in objects if o["kind"] in ("Server", "HTTPRoute")
             and (o["metadata"]["namespace"], o["metadata"]["name"]) not in targets]
    if found:
        o = r.choice(found)
        objects.append({"apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy",
                        "metadata": {"name": "mutant", "namespace": o["metadata"]["namespace"]},
                        "spec": {"targetRef": {"kind": o["kind"], "name": o["metadata"]["name"]},
                                 "requiredAuthenticationRefs": []}})
    return bool(found)


def lose_selector(objects, r):
    """Labels that a Server no longer asks for: two then claim a pod, or one too many has it."""
    found = [o["spec"]["podSelector"] for o in objects if o["kind"] == "Server"
             and o["spec"]["podSelector"].get("matchExpressions")]
    if found:
        del r.choice(found)["matchExpressions"]
    return bool(found)


@pytest.mark.parametrize("mutate,floor", [(drop_not, 0.1), (or_for_and, 0.3), (lose_namespace, 0.3),
                                          (deny_as_allow, 0.3), (lose_selector, 0.3)])
def test_mutants_are_caught(worlds, mutate, floor):
    """Mutants that the requests of their own world show; a mutant may also change nothing."""
    made = caught = 0
    for i, w in enumerate(worlds):
        objects = copy.deepcopy(w.objects)
        if not mutate(objects, random.Random(i)):
            continue
        made += 1
        try:
            wider, narrower = w.differences(objects)
            caught += bool(wider or narrower and w.lost == 0)
        except Exception:  # the evaluator refuses the objects
            caught += 1
    print("%s: %d of %d caught" % (mutate.__name__, caught, made))
    assert made >= 5 and caught > floor * made
