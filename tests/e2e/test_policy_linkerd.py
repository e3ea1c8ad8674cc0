# SPDX-License-Identifier: Apache-2.0
"""Policies in Linkerd's form mean what they meant: random policies and requests, the engine on one
side, an evaluator of Linkerd's objects that knows nothing of Mica on the other."""
import base64
import copy
import dataclasses
import json
import os
import random
import re

import pytest

import linkerdpolicy
from linkerd_eval import Linkerd, Request
from policygen import ANY, MESH_FLAGS, TD, VALUES, Generator, Knobs, judge, run, save

SEED = int(os.environ.get("MICA_TEST_SEED", "1"))
WORLDS = int(os.environ.get("MICA_TEST_WORLDS", "200"))
PORTS = [80, 8080]  # that --port names; policies name 9090 besides

# What Linkerd can say, most of the time: peers are all but some now and then, which it cannot.
SAYABLE = Knobs(
    sources=("principals",) * 4 + ("namespaces",) * 2 + ("ipBlocks",) * 2 + ("serviceAccounts", "trustDomains"),
    operations=("methods", "paths", "ports"),
    conditions=("source.ip", "source.namespace", "source.principal", "destination.port"),
    forms=("exact",) * 3 + ("prefix", "present"),
    negative=0.12,
    values={"source.principal": VALUES["source.principal"][:6] * 2 + VALUES["source.principal"][6:] + [
                "*", TD + "/*", TD + "/ns/web/*", TD + "/ns/ops/sa/*", "*/ns/web/sa/front",
                "cluster.local/ns/web/sa/front", "cluster.local/ns/web/sa/*"],
            "source.namespace": ["web", "shop", "ops"], "source.trustDomain": [TD],
            "methods": ["GET", "POST", "DELETE", "*"]})
# Rules that it cannot, or in part; among others, half of them denials.
UNSAYABLE = dataclasses.replace(
    ANY, operations=("paths",) * 3 + ("methods", "hosts"), with_to=0.9, with_when=0.1,
    forms=("exact", "prefix", "suffix", "template", "template", "present"))


def linkerd_request(r, q):
    """The same for Linkerd, and whether its form promises the verdict. Adds what a proxy always has."""
    q.setdefault("port", r.choice(PORTS))
    q.setdefault("sourceIp", r.choice(VALUES["source.ip"]))
    if any(f in q for f in ("method", "path", "host", "headers", "jwt")):  # HTTP, then
        q.setdefault("method", "GET")
        q.setdefault("path", "/a")
    identity, promised = None, q["port"] in PORTS
    if "peer" in q:
        identity = q["peer"]
        pod = re.fullmatch("spiffe://%s/ns/([a-z]+)/sa/([a-z]+)" % re.escape(TD), identity)
        if pod and r.random() < 0.9:
            identity = "%s.%s.serviceaccount.identity.linkerd.cluster.local" % (pod[2], pod[1])
        else:
            promised = False
    ip = q["sourceIp"]
    if "." in ip and r.random() < 0.1:  # as a proxy on an IPv6 socket sees it
        ip, promised = "::ffff:" + ip, False
    return Request(q["workload"]["namespace"], q["workload"].get("labels", {}), q["port"], ip, identity,
                   q.get("method"), q.get("path")), promised


class World:
    """One set of policies, its compiled form, and requests with the engine's verdicts."""

    def __init__(self, tmp, seed):
        r = random.Random(seed)
        whole = seed % 2 == 0
        k = dataclasses.replace(SAYABLE, root=0.0) if whole else SAYABLE  # it is for namespaces that have policies
        if seed % 3 == 0:
            g = Generator(seed, dataclasses.replace(k, actions=("ALLOW", "DENY")), 0.5, UNSAYABLE)
        else:
            g = Generator(seed, k)
        self.policies = g.policies()
        self.file = save(tmp / ("%d.yaml" % seed), self.policies)
        of = None if whole else {"labels": {}, **g.workload(r.choice(self.policies))}
        self.args = ["policy", "compile", "--target", "linkerd", *MESH_FLAGS,
                     *(x for p in PORTS for x in ("--port", p)), *self.where(of), self.file]
        d = run(*self.args, "--as", "json")
        self.lost, self.losses = d["lost"], d["losses"]
        self.objects = json.loads(d["compiled"])["items"]
        asked = [g.request(self.policies) for _ in range(250)]
        known = {p["metadata"]["namespace"] for p in self.policies}
        if whole:  # it is compiled for namespaces that have policies
            asked = [q for q in asked if q["workload"]["namespace"] in known]
        else:
            asked = [dict(q, workload=of) for q in asked]
        self.requests = [(q, *linkerd_request(r, q)) for q in asked]
        self.verdicts = judge(tmp, self.policies, asked, "set%d" % seed)

    @staticmethod
    def where(of):
        if of is None:
            return []
        return ["--namespace", of["namespace"]] + [
            x for k, v in of["labels"].items() for x in ("--label", "%s=%s" % (k, v))]

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
    return [World(tmp, SEED * 100000 + i) for i in range(WORLDS)]


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
    assert share > 0.5
    assert 0.1 < allowed / requests < 0.9


def test_the_message_says_what_the_objects_say(worlds):
    """Of one workload and port, as a proxy would get it from micad."""
    compared = allowed = 0
    for w in worlds:
        if "--namespace" not in w.args:
            continue
        args = [a for i, a in enumerate(w.args) if w.args[max(i - 1, 0)] != "--port" and a != "--port"]
        message = linkerdpolicy.Policy(base64.b64decode(
            run(*args, "--port", PORTS[0], "--as", "protobuf")["base64"]))
        objects = Linkerd(w.objects)
        for q, request, _ in w.requests:
            request.port = PORTS[0]
            assert message.allows(request) == objects.allows(request), w.told(q)
            request.port = q["port"]
            compared += 1
            allowed += message.allows(request)
    assert compared > 50 * len(worlds) and 0.1 < allowed / compared < 0.9


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
        r.choice(found)["requiredAuthenticationRefs"].pop(r.randrange(2))
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


def lose_method(objects, r):
    found = [m for o in objects if o["kind"] == "HTTPRoute" for rule in o["spec"]["rules"]
             for m in rule["matches"] if "method" in m]
    if found:
        del r.choice(found)["method"]
    return bool(found)


@pytest.mark.parametrize("mutate,floor", [(drop_not, 0.2), (or_for_and, 0.4), (lose_namespace, 0.4),
                                          (deny_as_allow, 0.6), (lose_selector, 0.3), (lose_method, 0.5)])
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
