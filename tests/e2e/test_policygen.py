# SPDX-License-Identifier: Apache-2.0
"""The generator of policies is worth something: what it makes is valid, both verdicts come up, every
attribute, action and form is drawn."""
import json

import policygen
from policygen import ANY, Generator, Knobs, judge, run, save

SETS, REQUESTS = 40, 100


def test_sets_are_valid_and_the_same_for_a_seed(tmp_path):
    for seed in range(SETS):
        policies = Generator(seed).policies()
        assert policies == Generator(seed).policies()
        run("policy", "validate", save(tmp_path / ("%d.yaml" % seed), policies))


def test_all_is_drawn():
    text = json.dumps([Generator(seed).policies() for seed in range(10 * SETS)])
    for word in [*policygen.SOURCES, *policygen.OPERATIONS, *policygen.CONDITIONS, "ALLOW", "DENY", "AUDIT",
                 "dry-run", "matchLabels", "{*}", "notValues", "notPaths", policygen.ROOT]:
        assert word in text, word


def test_both_verdicts_come_up(tmp_path):
    allowed = mixed = 0
    for seed in range(SETS):
        g = Generator(seed)
        policies = g.policies()
        requests = [g.request(policies) for _ in range(REQUESTS)]
        verdicts = judge(tmp_path, policies, requests)
        allowed += sum(verdicts)
        mixed += 0 < sum(verdicts) < REQUESTS
    share = allowed / (SETS * REQUESTS)
    print("allowed %.0f %%; both verdicts in %d of %d sets" % (100 * share, mixed, SETS))
    assert 0.25 < share < 0.75 and mixed > 0.5 * SETS


def test_requests_meet_what_is_asked_for(tmp_path):
    """One ALLOW rule with everything in it: it is met far more often than by chance, and missed, too."""
    k = Knobs(actions=("ALLOW",), selectors=({},), n_policies=(1, 1), n_rules=(1, 1), n_fields=(2, 2), n_clauses=(1, 1),
              negative=0.0, no_rules=0.0, dry_run=0.0, with_from=1.0, with_to=1.0, with_when=0.5, root=0.0,
              namespaces=("shop",))
    met = 0
    for seed in range(SETS):
        g = Generator(seed, k)
        policies = g.policies()
        met += sum(judge(tmp_path, policies, [g.request(policies) for _ in range(REQUESTS)]))
    share = met / (SETS * REQUESTS)
    print("met: %.0f %%" % (100 * share))
    assert 0.2 < share < 0.8


def test_knobs_are_kept():
    k = Knobs(sources=("principals",), operations=("methods",), conditions=(), forms=("exact",), negative=0.0,
              actions=("ALLOW",), dry_run=0.0)
    text = json.dumps([Generator(s, k).policies() for s in range(SETS)])
    assert "*" not in text and "not" not in text and "DENY" not in text and "namespaces" not in text
    assert "namespaces" in json.dumps([Generator(s, k, 0.5, ANY).policies() for s in range(SETS)])
