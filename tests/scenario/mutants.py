#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the decision of rotation (ca/rotation.c) in one place at a time, and looks whether the tests see it.

Each mutant is compiled with the property test (tests/scenario/rotation.c) and has to fail it; what is
unharmed has to pass. A mutant whose text is no longer in the source fails, too: then it has to be
written anew.

  mutants.py --build DIR [--seeds N] [--jobs N]
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

# name: what is in ca/rotation.c once, and what is written instead
MUTANTS = {
    "nothing": ("", ""),
    # a removal does not wait for the last leaf
    "ignore leaf expiry": ("return greater(ends, held);", "return held;"),
    "ignore hold and leaves of what is below": (
        "end = greater(end, f->of[i].last_leaf);", "(void)end;"),
    "destroy a key in use": ("greater(last, d->f->look_again));", "d->f->look_again);"),
    # a root is ready when it is made
    "skip propagation": ("if (d->now < spread) {", "if (false) {"),
    "skip propagation of JWT keys": (
        "return greater(JWT_HINTS * p->refresh_hint, p->propagation) + p->skew;", "return 0;"),
    "ignore acks": ("if (!f->acked && (d->now < acks || d->f->unproven)) {", "if (false) {"),
    "ignore carried bundles": (
        "if (d->now < until || (until > d->p->skew && d->f->unproven)) {", "if (false) {"),
    "ignore confirmations": ("if (!f->confirmed) {", "if (false) {"),
    "allow two": (
        "return instead ? mica_authority_add_time(instead, MICA_AE_RETIRED, now, e) : MICA_OK;",
        "(void)instead;\n\treturn MICA_OK;"),
    "allow two when one has expired": (
        "out->instead = instead >= 0 ? instead : expired_in_use(d, out->kind);",
        "(void)expired_in_use;\n\tout->instead = instead;"),
    "begin twice": ("mica_rotation_successor(d->v, d->n, kind, d->now) >= 0)\n\t\treturn false;\n"
                    "\t/* One that ends", "false)\n\t\treturn false;\n\t/* One that ends"),
    "ignore the clock rule": (
        "if (!d->f->frozen || because_of_taint(d, &s))", "(void)because_of_taint;\n\t\tif (true)"),
    "believe a clock that jumps ahead": ("return MICA_CLOCK_AHEAD;", "return MICA_CLOCK_AGREES;"),
    "no second look": (
        "\tif (d->now < d->f->look_again) {\n\t\twait_for(d, kind, (int)i, MICA_RW_LOOK_AGAIN, "
        "d->f->look_again);\n\t\treturn false;\n\t}\n\tif (kind == MICA_AUTHORITY_JWT || hurries(d))",
        "\tif (kind == MICA_AUTHORITY_JWT || hurries(d))"),
    "serve what the canary channel has lost": ("return is_unsure(d, i) ? UNSURE : w;", "return w;"),
    "outlive the root": (
        "a->not_after = lesser(now + p->kind[step->kind].life, root_end);",
        "(void)root_end;\n\ta->not_after = now + p->kind[step->kind].life;"),
    "stay with a doomed root": (
        "bool hurry = hurries(d);\n\tint best;", "bool hurry = false;\n\tint best;\n\n\t(void)hurries;"),
    "no way forward without a standby": (
        "best = best_root(d, hurry ? KNOWN : FRESH);\n", "best = best_root(d, hurry ? KNOWN : FRESH);\n"
        "\tif (best < 0)\n\t\treturn false;\n"),
}


def variables(build):
    """What configure found out."""
    with open(os.path.join(build, "Makefile"), encoding="utf-8") as f:
        return dict(re.findall(r"(?m)^([A-Z_]+) = (.*)$", f.read()))


def try_mutant(args, v, tmp, name):
    old, new = MUTANTS[name]
    with open(os.path.join(TOP, "ca/rotation.c"), encoding="utf-8") as f:
        text = f.read()
    if old and text.count(old) != 1:
        return f"{name}: its text is {text.count(old)} times in ca/rotation.c"
    stem = os.path.join(tmp, re.sub(r"\W", "-", name))
    with open(stem + ".c", "w", encoding="utf-8") as f:
        f.write(text.replace(old, new) if old else text)
    libs = " ".join(v.get(n + "_LIBS", "") for n in ("CYAML", "YAML", "JANSSON", "LMDB", "CRYPTO", "CMOCKA"))
    argv = [*v["CC"].split(), "-std=gnu11", "-O1", "-pthread", "-I" + os.path.join(TOP, "include"), "-o", stem,
            stem + ".c", os.path.join(TOP, "tests/scenario/rotation.c"),
            os.path.join(args.build, "libmica-ca.a"), os.path.join(args.build, "libmica-base.a"),
            *libs.split(), *v.get("SAN_FLAGS", "").split()]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        return f"{name}: does not compile\n{done.stderr}"
    env = dict(os.environ, MICA_SCENARIO_SEEDS=str(args.seeds), MICA_SCENARIO_HONEST="1")
    done = subprocess.run([stem], capture_output=True, text=True, env=env, timeout=600)
    if name == "nothing":
        return None if done.returncode == 0 else f"unharmed it fails\n{done.stdout}{done.stderr}"
    return None if done.returncode else f"{name}: was not seen"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", required=True)
    p.add_argument("--seeds", type=int, default=24)
    p.add_argument("--jobs", type=int, default=2)
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    v = variables(args.build)
    with tempfile.TemporaryDirectory(prefix="mica-mutants-") as tmp, \
            concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        said = list(pool.map(lambda name: try_mutant(args, v, tmp, name), MUTANTS))
    for s in filter(None, said):
        print(s)
    print("%d mutants of the rotation decision, %d not seen" % (
        len(MUTANTS) - 1, sum(s is not None for s in said)))
    return any(said)


if __name__ == "__main__":
    sys.exit(main())
