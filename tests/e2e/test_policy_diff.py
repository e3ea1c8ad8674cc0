# SPDX-License-Identifier: Apache-2.0
"""`mica policy diff` tells every difference: random sets, changed at random; whenever some request is decided
otherwise by the two, it says so, and when it says that nothing changed, no request is."""
import copy
import json
import os
import random

from policygen import ANY, MESH_FLAGS, TD, Generator, judge, run, save

SEED = int(os.environ.get("MICA_TEST_SEED", "1"))
WORLDS = int(os.environ.get("MICA_TEST_WORLDS", "60"))


def diff(tmp, before, after, flags=MESH_FLAGS):
    return run("policy", "diff", *flags, save(tmp / "old.yaml", before), "--", save(tmp / "new.yaml", after),
               ok=(0, 9))


def change(policies, g):
    """A set that differs by one edit."""
    r, out = g.r, copy.deepcopy(policies)
    p = r.choice(out)
    edit = r.choice(["drop", "add", "action", "rule", "namespace"])
    if edit == "drop":
        out.remove(p)
    elif edit == "add":
        out.append(g.policy(99))
    elif edit == "action":
        p["spec"]["action"] = "DENY" if p["spec"]["action"] == "ALLOW" else "ALLOW"
    elif edit == "rule":
        p["spec"]["rules"] = p["spec"]["rules"][:-1] + [g.rule(ANY)]
    else:
        p["metadata"]["namespace"] = "shop" if p["metadata"]["namespace"] == "web" else "web"
    return out or policies


def test_every_difference_is_told(tmp_path):
    told = silent = missed = seen = 0
    for i in range(WORLDS):
        g = Generator(SEED * 5000 + i)
        before = g.policies()
        after = change(before, g)
        d = diff(tmp_path, before, after)
        requests = [g.request(r) for r in (before, after) for _ in range(150)]
        a, b = judge(tmp_path, before, requests, "a"), judge(tmp_path, after, requests, "b")
        differ = [(q, x, y) for q, x, y in zip(requests, a, b) if x != y]
        seen += bool(differ)
        told += d["verdict"] == "different"
        silent += d["verdict"] == "same"
        if differ and d["verdict"] == "same" and d["complete"]:
            missed += 1
            print(before, after, differ[0])
        for q, x, y in differ:
            # in the right direction, of the namespace
            ns = q["workload"]["namespace"]
            if d["complete"] and not any(c["namespace"] in (ns, "*") and (c["change"] == "gains") == y
                                         for c in d["changes"]):
                missed += 1
                print(json.dumps([before, after]), q, x, y, [c["text"] for c in d["changes"]])
    print("different: %d, same: %d; a request shows it in %d" % (told, silent, seen))
    assert missed == 0
    assert seen > WORLDS // 4 and silent > WORLDS // 20


def test_another_text_is_no_difference(tmp_path):
    for i in range(10):
        before = Generator(i).policies()
        after = copy.deepcopy(before)[::-1]
        for p in after:
            p["metadata"]["labels"] = {"team": "x"}
            random.Random(i).shuffle(p["spec"]["rules"])
        assert diff(tmp_path, before, after)["verdict"] == "same"


def test_in_words(tmp_path):
    def policy(who, methods, paths):
        return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                "metadata": {"name": "orders", "namespace": "shop"},
                "spec": {"selector": {"matchLabels": {"app": "orders"}}, "rules": [
                    {"from": [{"source": {"principals": who}}],
                     "to": [{"operation": {"methods": methods, "paths": paths}}]}]}}
    front, ops = "example.org/ns/web/sa/front", "example.org/ns/ops/*"
    before, after = [policy([front], ["GET"], ["/a", "/b*"])], [policy([front, ops], ["GET", "POST"], ["/a"])]
    d = diff(tmp_path, before, after, ["--trust-domain", TD])
    assert (d["verdict"], d["complete"]) == ("different", True)
    assert [(c["namespace"], c["labels"], c["change"], c["who"], c["what"]) for c in d["changes"]] == [
        ("shop", {"app": "orders"}, "gains", [front], ["POST on /a"]),
        ("shop", {"app": "orders"}, "gains", [ops], ["GET, POST on /a"]),
        ("shop", {"app": "orders"}, "loses", [front], ["GET on /b*"])]
    assert d["changes"][2]["text"] == "shop, workloads with app=orders: %s may no longer: GET on /b*" % front
    peers = tmp_path / "peers"
    peers.write_text("spiffe://example.org/ns/ops/sa/x\n\nspiffe://example.org/ns/web/sa/other\n")
    d = diff(tmp_path, before, after, ["--trust-domain", TD, "--peers", peers])
    assert [(c["who"], c["what"]) for c in d["changes"]] == [
        (["spiffe://example.org/ns/ops/sa/x"], ["GET, POST on /a"])]
    # where no policy is about a workload, all may do everything
    elsewhere = copy.deepcopy(before)
    elsewhere[0]["metadata"]["namespace"] = "web"
    d = diff(tmp_path, before + elsewhere, elsewhere)
    assert {(c["namespace"], c["change"]) for c in d["changes"]} == {("shop", "gains")}
    assert ["everything"] in [c["what"] for c in d["changes"] if "who has no identity" in c["who"]]
