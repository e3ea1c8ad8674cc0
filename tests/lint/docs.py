#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the documents say against what the sources say.

- every setting of deploy/examples/micad.yaml is in micad.yaml(5), and no other; so for mica-agent;
- every metric and every log event of the sources is in docs/OPERATIONS.md (the agent's in
  docs/AGENT.md), and no other metric;
- every reason that a caller of the API can get is in docs/API.md, or in openapi.json;
- every route of the server is in docs/API.md;
- every .md file's relative links lead somewhere, to a heading that is there;
- no document, script or source names a path of the machine that it was written on;
- man pages are clean for mandoc, where there is one.

Prints FILE: what is wrong, one a line; exit 1 when there is any. Each check is run on planted
breaches first: one that finds nothing there guards nothing.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

EXAMPLE = "deploy/examples/micad.yaml"
MAN = "docs/man/micad.yaml.5"
PAGES = ((EXAMPLE, MAN), ("deploy/examples/mica-agent.yaml", "docs/man/mica-agent.yaml.5"))
OPERATIONS = "docs/OPERATIONS.md"
AGENT = "docs/AGENT.md"
API = "docs/API.md"

# Reasons that no answer of the API holds, by what they are about. They are told on standard error or in
# the log, or would be a bug of ours, which callers know as any reason with status 500.
NOT_FOR_CALLERS = re.compile("|".join([
    # a start: configuration, issuers, templates, passphrase, listeners
    r"config_.*|yaml_.*|template_.*|pattern_.*|issuer_(?!keys_).*|names_overlap|same_names_unknown",
    r"secret_(?!bound).*|no_credentials_directory|no_such_variable|not_a_file|wrong_passphrase",
    r"listen_address|address_in_use|no_such_group|thread_failed|no_threads|scrypt_failed|tls_key_invalid|tls_failed|http_failed",
    r"address_invalid|dns_name_invalid|too_many_names|trust_domain_(invalid|mismatch)|spiffe_id_.*",
    # a store, a ledger, keys and backups at rest
    r"store_(?!full|failed|busy).*|log_.*|kek_.*|key_(envelope_.*|name_invalid|seal_failed|mismatch|not_exportable)",
    r"backup_(?!running).*|record_.*|snapshot_malformed|no_such_record|checkpoint_.*|origin_reused|export_.*",
    r"authority_(?!tainted).*|too_many_(authorities|times)|entry_.*|path_too_long|sequence_exhausted|directory_not_empty|no_serving_key",
    # a plugged-in authority: told in the log and in the status of the server
    r"plugged_.*|key_given_up|root_(renamed|not_in_files)|same_key_other_root",
    # a directory of policies: the same
    r"policies_directory_.*",
    # what others prove to the command line
    r"note_.*|vkey_.*|bad_(checkpoint|note|proof|proof_range|receipt|tile_path|vkey)|.*_proof_wrong|jwt_invalid",
    # what micad fetches itself: callers learn issuer_keys_* and token_review_failed
    r"pods_(?!unavailable).*|impersonation_misuse|linkerd_(namespace|trust_domain)_invalid",
    r"jwks_.*|no_such_issuer|jwk_.*|discovery_.*|http_status|bad_url|timeout|cancelled|token_file_unusable|review_.*|file_too_long",
    # certificates that are read or written wrong: callers learn svid_*, or it is a bug
    r"cert_.*|name_invalid|not_an_authority|outside_issuer_validity|serial_invalid|signature_invalid|validity_empty",
    r"too_many_roots|change_too_large|decision_changed|token_not_open|too_long|pem_end|tile_out_of_range"]))


def read(root, rel):
    with open(os.path.join(root, rel), encoding="utf-8", errors="replace") as f:
        return f.read()


def sources(root, *folders):
    for folder in folders:
        for at in sorted(glob.glob(os.path.join(root, folder, "*.c"))):
            yield os.path.relpath(at, root)


# ---- settings ---------------------------------------------------------------------------------

def settings(text):
    """Dotted names of the example, in which defaults are commented out by '#key:' and examples by
    '#   key:'; [] stands for an entry of a list."""
    out, path = set(), []
    for line in text.split("\n"):
        m = re.match(r"( *)(# *)?(- )?([a-z_0-9]+):(?: |$)", line)
        if not m or (m.group(2) and len(m.group(2)) == 2):
            continue
        indent = len(m.group(1))
        if m.group(2):
            # "#   key" stands where its indent without '#' and the three spaces would be
            indent += len(m.group(2)) - 4 if len(m.group(2)) > 1 else 0
        if m.group(3):
            indent += 2
        path = [p for p in path if p[0] < indent]
        name = m.group(4)
        if any(p[1] in ("claims", "require") for p in path):
            continue
        out.add(".".join(p[1] for p in path) + "." * bool(path) + name)
        path.append((indent, name))
    return {re.sub(r"^(issuers|rules|identities|sds\.names)\.", r"\1[].", s) for s in out}


def leaves(names):
    flat = {n.replace("[]", "") for n in names}
    return {n for n in names if not any(o.startswith(n.replace("[]", "") + ".") for o in flat)}


def check_settings(root):
    for example, man in PAGES:
        want = leaves(settings(read(root, example)))
        have = set(re.findall(r"^\.It Cm ([a-z_0-9\[\].]+)", read(root, man), re.M))
        for name in sorted(want - have):
            yield man, f"the setting {name} of {example} is missing"
        for name in sorted(have - want):
            yield man, f"{example} has no setting {name}"


# ---- metrics, events, reasons, routes --------------------------------------------------------

def check_metrics(root):
    # those of `mica audit watch` are in mica-audit(1); an Envoy's cluster is none
    for page, folders, others in ((OPERATIONS, ("server", "base"), r"mica_audit\w*"),
                                  (AGENT, ("agent", "base"), r"mica_agent")):
        want = set()
        for rel in sources(root, *folders):
            want |= set(re.findall(r'"(mica_[a-z0-9_]+_?[a-z0-9]+)"', read(root, rel)))
        want = {re.sub(r"(_duration_seconds)_(bucket|sum|count)$", r"\1", w) for w in want}
        have = set(re.findall(r"\bmica_[a-z0-9_]+[a-z0-9]", read(root, page)))
        for name in sorted(want - have):
            yield page, f"the metric {name} is missing"
        for name in sorted(n for n in have - want if not re.fullmatch(others, n)):
            yield page, f"no source makes a metric {name}"


def check_events(root):
    for rel in sources(root, "server", "agent"):
        page = AGENT if rel.startswith("agent/") else OPERATIONS
        text = read(root, page)
        code = read(root, rel)
        found = re.findall(r'MICA_LOG\(\s*[A-Za-z_]+,\s*([^;]*?)(?:,\s*MICA_|,\s*field|,\s*door)', code)
        names = [n for f in found for n in re.findall(r'"([a-z_]+)"', f)]
        for call in re.findall(r"api_log_admin\(c, ([^,]*),", code):
            names += re.findall(r'"([a-z_]+)"', call)
        names += [n for pair in re.findall(r'\btell\("([a-z_]+)", "([a-z_]+)"', code) for n in pair]
        for name in sorted(set(names)):
            if f"`{name}`" not in text:
                yield page, f"the event {name} of {rel} is missing"


def check_reasons(root):
    text = read(root, API) + read(root, "server/openapi.json")
    # the fine reasons of tokens are those of mica/token.h, which API.md names
    known = set(re.findall(r"[a-z][a-z0-9_]+", text + read(root, "include/mica/token.h")))
    pattern = re.compile(
        r'mica_fail(?:_fine|_at)?\(\s*[^;"]*,\s*"([a-z0-9_]+)"|'
        r'problem\([a-z], \d+, "([a-z_]+)"')
    for rel in sources(root, "ca", "server", "base"):
        for m in pattern.finditer(read(root, rel)):
            reason = m.group(1) or m.group(2)
            if reason not in known and not NOT_FOR_CALLERS.fullmatch(reason):
                yield API, f"the reason {reason} of {rel} is missing"


def check_routes(root):
    text = read(root, API)
    for path in re.findall(r'\{HTTP_[A-Z]+, "(/[^"]+)"', read(root, "server/api_routes.c")):
        want = {"/log/tile/{tile}": "/log/tile/{L}", "/log/tile/entries/{tile}": "/log/tile/entries/"}
        if want.get(path, path) not in text:
            yield API, f"the path {path} is missing"


# ---- links and places ------------------------------------------------------------------------

def documents(root):
    for at, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith((".", "build", "mica-")) and f != "autom4te.cache"]
        for name in sorted(names):
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(at, name), root)


def anchors(text):
    for title in re.findall(r"^#+ (.*)$", text, re.M):
        yield re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def check_links(root):
    for rel in documents(root):
        text = re.sub(r"```.*?```", "", read(root, rel), flags=re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            at = os.path.normpath(os.path.join(os.path.dirname(rel), path)) if path else rel
            if not os.path.exists(os.path.join(root, at)):
                yield rel, f"the link {link} leads nowhere"
            elif anchor and anchor not in anchors(read(root, at)):
                yield rel, f"the link {link}: no such heading"


# What only the machine of an author has: home and work folders, a temporary folder of one run.
PLACES = re.compile(
    r"(?<![\w.])/(?:work|root|workspace|Users)/(?!roots\.pem)\w|/home/(?!mica|alice|bob)\w|/tmp/(?:tmp\.|pg|b-)\w")


def texts(root):
    yield from documents(root)
    for pattern in ("*.sh", "docs/man/*", "deploy/*/*", "base/*.[ch]", "ca/*.[ch]", "rpc/*.[ch]",
                    "server/*.[ch]", "cli/*.[ch]", "include/mica/*.h", "tests/*/*.c", "tests/*/*.py"):
        for at in sorted(glob.glob(os.path.join(root, pattern))):
            if os.path.isfile(at):
                yield os.path.relpath(at, root)


def check_places(root):
    for rel in texts(root):
        if rel == "tests/lint/docs.py":
            continue
        for n, line in enumerate(read(root, rel).split("\n"), 1):
            m = PLACES.search(line)
            if m:
                yield f"{rel}:{n}", f"a path of somebody's machine: {m.group(0)}..."


def check_man(root):
    tool = shutil.which("mandoc")
    if not tool:
        return
    for page in sorted(glob.glob(os.path.join(root, "docs/man/*.[1-8]"))):
        r = subprocess.run([tool, "-T", "lint", "-W", "style", page], capture_output=True, text=True, check=False)
        for line in (r.stdout + r.stderr).split("\n"):
            # pages of each other, and of a system whose index is not there
            if line and "referenced manual not found" not in line and "mandoc.db" not in line:
                yield os.path.relpath(page, root), line.split(":", 2)[-1].strip()


CHECKS = [check_settings, check_metrics, check_events, check_reasons, check_routes, check_links,
          check_places, check_man]

# check -> file, text to look for in it, what to write instead
PLANTED = [
    (check_settings, MAN, ".It Cm store.path", ".It Cm store.pfad"),
    (check_settings, MAN, ".It Cm issuers[].keys.refresh", ".It Cm issuers[].keys.refreshed"),
    (check_settings, MAN, ".It Cm rules[].max_ttl", ".It Cm rules[].most"),
    (check_settings, PAGES[1][1], ".It Cm identities[].allow.gids", ".It Cm identities[].gids"),
    (check_settings, PAGES[1][1], ".It Cm sds.names[].is", ".It Cm sds.names[].are"),
    (check_events, AGENT, "`sds_nack`", ""),
    (check_metrics, OPERATIONS, "mica_store_space_low", "mica_store_space"),
    (check_metrics, OPERATIONS, "`mica_parked`", "`mica_packed`"),
    (check_events, OPERATIONS, "`deny_removed`", "deny removed"),
    (check_events, OPERATIONS, "`issuer_keys_changed`", ""),
    (check_events, OPERATIONS, "`maintenance_works_again`", ""),
    (check_reasons, API, "`too_many_watchers`", ""),
    (check_reasons, "ca/core_authority.c", '"no_such_authority"', '"there_is_none"'),
    (check_routes, API, "/v1/tokens/explain", "/v1/tokens"),
    (check_links, "README.md", "(docs/SECURITY.md)", "(docs/SAFETY.md)"),
    (check_links, OPERATIONS, "(API.md#limits)", "(API.md#borders)"),
    (check_places, "README.md", "# Mica", "# Mica in /wo" "rk/tree"),
]


def self_test(root):
    bad = 0
    with tempfile.TemporaryDirectory(prefix="mica-docs-") as tmp:
        for folder in ("docs", "deploy", "server", "agent", "cli", "ca", "base", "include"):
            shutil.copytree(os.path.join(root, folder), os.path.join(tmp, folder))
            subprocess.run(["chmod", "-R", "u+w", os.path.join(tmp, folder)], check=True)
        for name in ("README.md", "CONTRIBUTING.md", "LICENSE"):
            shutil.copy(os.path.join(root, name), tmp)
            os.chmod(os.path.join(tmp, name), 0o644)
        for check, rel, old, new in PLANTED:
            text = read(tmp, rel)
            before = set(check(tmp))
            with open(os.path.join(tmp, rel), "w", encoding="utf-8") as f:
                f.write(text.replace(old, new))
            if old not in text or not set(check(tmp)) - before:
                print(f"self-test: {check.__name__} does not see that {old!r} of {rel} is gone")
                bad = 1
            with open(os.path.join(tmp, rel), "w", encoding="utf-8") as f:
                f.write(text)
    return bad


def main():
    root = os.environ.get("MICA_SRCDIR") or os.path.join(os.path.dirname(__file__), "..", "..")
    bad = self_test(root)
    for check in CHECKS:
        for where, what in sorted(set(check(root))):
            print(f"{where}: {what}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
