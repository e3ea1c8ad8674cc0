#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The long, seeded evidence behind what Mica promises (docs/PROOF.md): power cuts, kills, hostile input.

Runs the tests that find it, many times with seeds of their own, and writes what they counted as one
flat JSON object. Every run must pass; a figure that should be zero is in the file to be looked at.

  proof.py --build DIR [--out proof.json] [--short]
"""
import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import time

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def run(figures, argv, env=None):
    done = subprocess.run(argv, capture_output=True, text=True, env=dict(os.environ, **(env or {})), timeout=3000)
    figures["runs"] += 1
    if done.returncode:
        sys.exit(f"proof: {' '.join(argv)} {env or ''} failed\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def add(figures, **more):
    for k, v in more.items():
        figures[k] = figures.get(k, 0) + int(v)


def numbers(pattern, text):
    m = re.search(pattern, text)
    if not m:
        sys.exit(f"proof: no line like '{pattern}'")
    return m.groups()


def durability(args, figures, seed):
    text = run(figures, [os.path.join(args.build, "tests/unit/test_durable")], {"MICA_SEED": str(seed)})
    w, s, cuts, torn, lost = numbers(
        r"(?m)^(\d+) writes, (\d+) syncs, (\d+) cuts, (\d+) with unsynced data: (\d+) lost", text)
    add(figures, power_cuts=cuts, power_cuts_with_unsynced_data=torn, power_cuts_that_lost_an_answer=lost)
    add(figures, control_cuts_that_lost_an_answer=numbers(r"control: .* (\d+) lost", text)[0])
    kills, entries = numbers(r"(\d+) kills, (\d+) entries answered for", text)
    add(figures, store_kills=kills, store_entries_answered_for=entries)


def tokens(args, figures, seed):
    text = run(figures, [os.path.join(args.build, "tests/unit/test_token_said")], {"MICA_SEED": str(seed)})
    n, deep = numbers(r"(\d+) mutations of good tokens refused, (\d+) of them by their signature", text)
    add(figures, token_mutations_refused=n, token_mutations_refused_by_signature=deep)


def crashes(args, figures, cycles):
    text = run(
        figures,
        ["/usr/bin/python3", "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider",
         os.path.join(TOP, "tests/e2e/test_crash.py"), "-k", "killed"],
        {"MICA_CRASH_CYCLES": str(cycles), "MICA_BIN": args.build},
    )
    kills, found, size = numbers(r"(\d+) kills of micad under load, (\d+) certificates found in a ledger of (\d+)", text)
    add(figures, micad_kills=kills, micad_certificates_found=found, micad_ledger_entries=size)


SHORT_WORLDS = 99  # any would do


def rotations(args, figures, seed):
    """Every promise of rotation, over a hundred thousand times that another authority took over."""
    text = run(
        figures, [os.path.join(args.build, "tests/scenario/rotation")],
        {"MICA_SEED": str(seed), "MICA_SCENARIO_SEEDS": "60", "MICA_SCENARIO_ACTIVATIONS": "100000"},
    )
    add(figures, rotation_activations=numbers(r"(\d+) activations in virtual time", text)[0])
    for worlds, leaves, taints, back, cut, broken in re.findall(
            r"(\d+) worlds: .*? (\d+) leaves, .*? (\d+) taints, .*? (\d+) roll-backs, .*? (\d+) holders cut off; "
            r"(\d+) broken(?:\n|$)", text):
        add(figures, rotation_worlds=worlds, rotation_leaves=leaves, rotation_taints=taints,
            rotation_roll_backs=back, rotation_holders_cut_off=cut, rotation_promises_broken=broken)
    if not args.short:  # each is a build and a run
        text = run(figures, [sys.executable, os.path.join(TOP, "tests/scenario/mutants.py"), "--build", args.build])
        mutants, missed = numbers(r"(\d+) mutants of the rotation decision, (\d+) not seen", text)
        add(figures, rotation_mutants=mutants, rotation_mutants_not_seen=missed)
    text = run(figures, [os.path.join(args.build, "tests/scenario/play")], {"MICA_SRCDIR": TOP})
    for days, judged in re.findall(r"(\d+) days, .*? (\d+) times judged", text):
        add(figures, scenarios=1, scenario_days=days, scenario_certificates_judged=judged)


def handshakes(args, figures, rounds):
    text = run(
        figures,
        ["/usr/bin/python3", "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider",
         os.path.join(TOP, "tests/e2e/test_handshakes.py"), "-k", "killed"],
        {"MICA_KILL_ROUNDS": str(rounds), "MICA_BIN": args.build},
    )
    shaken, failed, kills = numbers(r"(\d+) handshakes, (\d+) failed, .* (\d+) kills", text)
    add(figures, rotation_handshakes=shaken, rotation_handshakes_failed=failed, rotation_kills=kills)


def fuzz_inputs(args, figures):
    """Every input that a fuzzer found worth keeping, through the code as users run it."""
    folder = os.path.join(TOP, "tests/fuzz/corpus")
    for target in sorted(os.listdir(folder)):
        program = os.path.join(args.build, f"tests/fuzz/fuzz_{target}")
        if os.path.exists(program):
            run(figures, [program], {"MICA_SRCDIR": TOP})
            add(figures, fuzz_targets=1, fuzz_corpus_inputs=len(os.listdir(os.path.join(folder, target))))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", required=True)
    p.add_argument("--out", default="proof.json")
    p.add_argument("--short", action="store_true", help="a twentieth of it, for every change")
    p.add_argument("--seed", type=int, default=None, help="of the seeds; default: by chance, and told")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 31)
    seeds = random.Random(seed)
    began = time.monotonic()
    figures = {"machine": platform.machine(), "kernel": platform.release(), "seed": seed, "runs": 0}
    for _ in range(2 if args.short else 40):
        durability(args, figures, seeds.randrange(1 << 31))
        tokens(args, figures, seeds.randrange(1 << 31))
    crashes(args, figures, 20 if args.short else 400)
    fuzz_inputs(args, figures)
    # a change is judged by the same worlds as the one before it; the long form goes to new ones
    rotations(args, figures, SHORT_WORLDS if args.short else seeds.randrange(1 << 31))
    handshakes(args, figures, 2 if args.short else 40)
    figures["seconds"] = round(time.monotonic() - began)
    if figures["power_cuts_that_lost_an_answer"] or not figures["control_cuts_that_lost_an_answer"]:
        sys.exit("proof: an answer was lost, or the control lost none")
    for k, v in figures.items():
        print(f"{k:36} {v}")
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(figures, f, indent=1)
        f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
