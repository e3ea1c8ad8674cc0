# SPDX-License-Identifier: Apache-2.0
"""Policies in Consul's form mean what they meant: random policies and requests, the engine on one side, an
evaluator of intentions that knows nothing of Mica on the other."""
import copy
import json
import os
import random
import re

import pytest

from consul_eval import Consul, Refused, Request
from policygen import ANY, MESH_FLAGS, ROOT, TD, Generator, Knobs, judge, run, save

SEED = int(os.environ.get("MICA_TEST_SEED", "1"))
WORLDS = int(os.environ.get("MICA_TEST_WORLDS", "150"))
REQUESTS = 200
LABELS = ({}, {}, {"app": "orders"}, {"app": "pay"})

# What docs/POLICIES.md says is compiled without loss.
SUBSET = Knobs(
    sources=("principals",) * 4 + ("namespaces", "serviceAccounts"), operations=("methods", "paths"),
    conditions=("request.headers[x-env]", "request.headers[x-user]", "source.namespace"), selectors=LABELS, root=0.08,
    forms=("exact",) * 5 + ("prefix", "suffix", "present", "template"), n_policies=(1, 4),
    actions=("ALLOW",) * 5 + ("DENY",) * 2 + ("AUDIT",),
    values={"source.principal": ["%s/ns/%s/sa/%s" % (TD, ns, sa) for ns in ("web", "shop", "ops")
                                 for sa in ("front", "back")] + [
                                     "*", TD + "/*", TD + "/ns/web/*", TD + "/ns/ops/sa/*", "*/ns/web/sa/front",
                                     "cluster.local/ns/web/sa/back", "cluster.local/ns/web/sa/*", "other.org/job"],
            "source.namespace": ["web", "shop", "ops", "*"]})
SPARSE = Knobs(**{**SUBSET.__dict__, "with_to": 0.15, "with_when": 0.05})  # so that namespaces need no permissions


class Form:
    """How names are: of a service, as a principal."""

    def __init__(self, flags=(), enterprise=True):
        self.flags, self.enterprise = list(flags), enterprise

    def source(self, peer):
        m = re.fullmatch("spiffe://" + re.escape(TD) + "/ns/([^/]+)/sa/([^/]+)", peer or "")
        return (m[1], m[2]) if m else None

    def name(self, ns, name):
        return (ns, name)

    def told(self, value):
        """Policies or requests, with principals in this form."""
        return value


class Datacenter(Form):
    """Consul's own principals."""

    def __init__(self):
        super().__init__(["--consul-datacenter", "dc1"])

    def source(self, peer):
        return super().source((peer or "").replace("/dc/dc1/svc/", "/sa/"))

    def told(self, value):
        return json.loads(json.dumps(value).replace("/sa/", "/dc/dc1/svc/"))


class Community(Form):
    """Without namespaces: "web" is the one there is."""

    def __init__(self):
        super().__init__(["--consul-namespace", "shop"], False)

    def source(self, peer):
        s = super().source(peer)
        return ("default", s[1]) if s and s[0] == "shop" else None

    def name(self, ns, name):
        return ("default", name) if ns == "shop" else None


class World:
    def __init__(self, tmp, seed, knobs, odd, form):
        self.form = form
        g = Generator(seed, knobs, odd, ANY)
        policies = g.policies()
        self.policies = form.told(policies)
        file = save(tmp / "world.yaml", self.policies)
        d = run("policy", "compile", "--target", "consul", *MESH_FLAGS, *form.flags, file)
        self.lost, self.losses = d["lost"], d["losses"]
        self.entries = json.loads(d["compiled"])
        made = form.told([g.request(policies) for _ in range(REQUESTS)])
        if not form.enterprise:
            for q in made:
                q["workload"]["namespace"] = "shop"
        # HTTP has a method; a workload without a service is none of Consul's.
        self.mica = [q for q in made if self.destination(q) and ("method" in q or not self.http(q))]
        verdicts = judge(tmp, self.policies, self.mica)
        known = {p["metadata"]["namespace"] for p in self.policies
                 if p["spec"]["action"] != "AUDIT" and "annotations" not in p["metadata"]}
        root = ROOT in known
        self.requests = []
        for q, v in zip(self.mica, verdicts):
            r = self.consul(q)
            # The set is compiled for namespaces with policies in force; others are left to the default.
            covered = root or q["workload"]["namespace"] in known
            self.requests.append((r, v, covered, covered and r.source is not None))

    @staticmethod
    def http(q):
        return any(f in q for f in ("host", "method", "path", "headers", "jwt"))

    def destination(self, q):
        app = q["workload"].get("labels", {}).get("app")
        return self.form.name(q["workload"]["namespace"], app) if app else None

    def consul(self, q):
        headers = dict(q.get("headers", {}))
        for f, name in (("method", ":method"), ("path", ":path")):
            if f in q:
                headers[name] = q[f]
        if ":path" in headers and len(q["path"]) % 3 == 0:
            headers[":path"] += "?q=/a#b"
        return Request(self.form.source(q.get("peer")), self.destination(q), self.http(q), headers)

    def differences(self, entries):
        """Requests that Consul allows and the engine denies; and the other way, of those that are promised."""
        strict = Consul(entries, False, self.form.enterprise)
        loose = Consul(entries, True, self.form.enterprise)
        wider, narrower = [], []
        for q, allowed, covered, promised in self.requests:
            got = strict.allows(q)
            # what is written does not lean on the default
            if not allowed and (got or (covered and loose.allows(q))):
                wider.append(q)
            if allowed and not got and promised:
                narrower.append(q)
        return wider, narrower

    def told(self, request):
        return "%s\n%s\n%s\n%s" % (json.dumps(self.policies, indent=1), request, json.dumps(self.losses, indent=1),
                                   json.dumps(self.entries, indent=1))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("consul")
    forms = [Form(), Community(), Form(), Datacenter(), Form()]
    return [World(tmp, SEED * 100000 + i, (SUBSET, SPARSE)[i % 2], 0.0 if i % 3 else 0.2, forms[i % 5])
            for i in range(WORLDS)]


def test_never_wider_and_equal_inside_the_subset(worlds):
    inside = requests = allowed = 0
    for w in worlds:
        wider, narrower = w.differences(w.entries)
        assert not wider, w.told(wider[0])
        if w.lost == 0:
            assert not narrower, w.told(narrower[0])
            inside += 1
            promised = [v for _, v, _, p in w.requests if p]
            requests += len(promised)
            allowed += sum(promised)
    share = inside / len(worlds)
    print("inside the subset: %.0f %% of %d sets; %d requests, %.0f %% of them allowed" % (
        100 * share, len(worlds), requests, 100 * allowed / requests))
    assert share > 0.35
    assert 0.15 < allowed / requests < 0.85


def test_anything_is_never_wider(tmp_path):
    for seed in range(WORLDS // 2):
        w = World(tmp_path, SEED * 7000 + seed, ANY, 0.0, Form())
        wider, narrower = w.differences(w.entries)
        assert not wider, w.told(wider[0])
        assert w.lost or not narrower, w.told(narrower[0])


# ---- mutants: what the comparison must notice ------------------------------------------------------


def places(entries):
    return [(e, s, p) for e in entries for s in e["Sources"] for p in s.get("Permissions", [])]


def drop_not(entries, r):
    found = [h for _, _, p in places(entries) for h in p["HTTP"].get("Header", []) if "Invert" in h]
    if found:
        del r.choice(found)["Invert"]
    return bool(found)


def or_for_and(entries, r):
    """A permission that asks for two things asks for one of them."""
    found = [(s, p) for _, s, p in places(entries) if p["Action"] == "allow" and len(p["HTTP"]) > 1]
    if found:
        s, p = r.choice(found)
        for k, v in p["HTTP"].items():
            s["Permissions"].insert(s["Permissions"].index(p), {"Action": "allow", "HTTP": {k: v}})
    return bool(found)


def lose_namespace(entries, r):
    """A service of one namespace becomes that of all of them."""
    found = [s for e in entries for s in e["Sources"] if s["Name"] != "*" and "Namespace" in s]
    if found:
        s = r.choice(found)
        for e in entries:
            for other in [x for x in e["Sources"] if x["Name"] == s["Name"] and x is not s]:
                if s in e["Sources"]:
                    e["Sources"].remove(other)
            for ns in ("web", "shop", "ops"):
                if s in e["Sources"] and ns != s["Namespace"]:
                    e["Sources"].append(dict(s, Namespace=ns))
    return bool(found)


def deny_as_allow(entries, r):
    found = [x for e in entries for s in e["Sources"] for x in [s, *s.get("Permissions", [])]
             if x.get("Action") == "deny"]
    if found:
        r.choice(found)["Action"] = "allow"
    return bool(found)


def denies_last(entries, r):
    """Allows before denies."""
    found = [s for e in entries for s in e["Sources"] if len({p["Action"] for p in s.get("Permissions", [])[:-1]}) > 1]
    if found:
        r.choice(found)["Permissions"].sort(key=lambda p: p["Action"])
    return bool(found)


def lose_source(entries, r):
    """An intention less: the next wider one decides."""
    found = [(e, s) for e in entries for s in e["Sources"] if len(e["Sources"]) > 1]
    if found:
        e, s = r.choice(found)
        e["Sources"].remove(s)
    return bool(found)


@pytest.mark.parametrize("mutate,floor", [(drop_not, 0.15), (or_for_and, 0.2), (lose_namespace, 0.2),
                                          (deny_as_allow, 0.3), (denies_last, 0.3), (lose_source, 0.3)])
def test_mutants_are_caught(worlds, mutate, floor):
    """Mutants that the requests of their own world show; one may also change nothing."""
    made = caught = 0
    for i, w in enumerate(worlds):
        entries = copy.deepcopy(w.entries)
        if not mutate(entries, random.Random(i)):
            continue
        made += 1
        try:
            wider, narrower = w.differences(entries)
            caught += bool(wider or (narrower and w.lost == 0))
        except Refused:
            caught += 1
    print("%s: %d of %d caught" % (mutate.__name__, caught, made))
    assert made >= 10 and caught > floor * made
