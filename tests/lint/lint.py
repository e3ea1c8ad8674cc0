#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a compiler does not know (docs/ARCHITECTURE.md).

Prints FILE:LINE: RULE: what is wrong, one a line; exit 1 when there is any. `--self-test` plants one
breach of every rule in a tree of its own and fails unless each is found: a lint that cannot fail
guards nothing.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# A folder may include what stands to its left, and its own headers.
MAY_USE = {
    "base": {"base"},
    "ca": {"base", "ca"},
    "policies": {"base", "ca", "policies"},
    "rpc": {"base", "rpc"},
    "server": {"base", "ca", "policies", "rpc", "server"},
    "agent": {"base", "ca", "policies", "rpc", "agent"},
    "cli": {"base", "ca", "policies", "rpc", "cli"},
}
# Whose contract a public header is; the others are ca's.
HEADER_OF = {h: "base" for h in "err mem slice buf secret clock log json yaml file threads metric".split()}
for h in "http_client http_plain rpc wire".split():
    HEADER_OF[h] = "rpc"
for h in "policy policy_set policy_case policy_compile".split():
    HEADER_OF[h] = "policies"

# A foreign library has one owner: header pattern -> where it may be included.
OWNERS = [
    (r"lmdb\.h", r"ca/store_lmdb\.c|tests/"),
    (r"microhttpd\.h", r"server/http[a-z_]*\.[ch]|tests/"),
    (r"gnutls/.*", r"server/http_tls\.[ch]|server/http\.c|server/http_impl\.h|tests/"),
    (r"nghttp2/.*", r"rpc/h2\.c|tests/"),
    (r"event2/.*", r"rpc/"),
    (r"openssl/ssl\.h", r"rpc/tls\.c|tests/"),
    (r"curl/.*", r"rpc/http_client\.c"),
    (r"yaml\.h", r"base/yaml_tree\.c"),
    (r"cyaml/.*", r"include/mica/yaml\.h|base/yaml\.c"),
    (r"openssl/.*", r"ca/|rpc/|tests/"),
    (r"jose/.*", r"tests/"),
    (r"systemd/.*", r"server/|agent/"),
]

# A function that has one owner, or none at all: call pattern -> where it may stand.
BANNED = [
    (r"\b(strcpy|strcat|sprintf|vsprintf|strtok|strtok_r|atoi|atol|atoll|sscanf|alloca|system|popen|gets|rand|srand|random|mktemp|tmpnam)\s*\(", r"(?!)", "banned"),
    (r"(?<![\w.>])(malloc|calloc|realloc|free|strdup|strndup)\s*\(", r"base/mem\.c", "mica/mem.h owns memory"),
    (r"(?<![\w.>])time\s*\(", r"(?!)", "mica/clock.h owns the clock"),
    (r"\b(clock_gettime|gettimeofday)\s*\(", r"base/clock\.c", "mica/clock.h owns the clock"),
    (r"(?<!_)\b(getenv|secure_getenv)\s*\(", r"base/(file|secret)\.c", "mica/file.h owns the environment"),
    (r"\bgoto\s+\w+\s*;", r"(?!)", "no goto: early return and scope cleanup"),
]
# ca/ and policies/ are pure: no socket, clock, thread or log.
PURE = [
    (r"\b(socket|connect|bind|listen|accept4?|sendto|recvfrom)\s*\(", "opens a socket"),
    (r"\bmica_(now|now_ms|mono_ns|mono_ms)\s*\(", "reads a clock"),
    (r"\bpthread_create\s*\(", "starts a thread"),
    (r"\bMICA_LOG\s*\(|\bmica_log_event\s*\(", "writes a log"),
]
PURE_EXCEPT = r"(?!)"
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def code_only(text):
    """Comments and strings blanked, lines kept."""
    out = re.sub(
        r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
        lambda m: re.sub(r"[^\n]", " ", m.group(0)),
        text,
        flags=re.S,
    )
    return out


def sources(root):
    folders = list(MAY_USE) + ["include", "tests"]
    for folder in folders:
        for at, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(at, name), root)


def check_layers(rel, text):
    folder = rel.split("/")[0]
    for n, line in enumerate(text.split("\n"), 1):
        m = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
        if not m:
            continue
        inc = m.group(1)
        for pattern, allowed in OWNERS:
            if re.fullmatch(pattern, inc) and not re.match(allowed, rel):
                yield n, "owner", f"<{inc}> belongs to {allowed}"
        if folder not in MAY_USE:
            continue
        if inc.startswith("mica/"):
            layer = HEADER_OF.get(inc[5:-2], "ca")
            if layer not in MAY_USE[folder]:
                yield n, "layer", f"{folder}/ may not use {inc} of {layer}/"
        elif "/" in inc and inc.split("/")[0] in MAY_USE and inc.split("/")[0] != folder:
            yield n, "layer", f"{inc} is private to its folder: use include/mica"
        elif inc.startswith(".."):
            yield n, "layer", f"{inc} leaves its folder"


def check_calls(rel, code):
    folder = rel.split("/")[0]
    for n, line in enumerate(code.split("\n"), 1):
        if folder in MAY_USE:
            for pattern, allowed, why in BANNED:
                m = re.search(pattern, line)
                if m and not re.fullmatch(allowed, rel):
                    yield n, "banned", f"{m.group(0).strip()} ({why})"
        if folder in ("ca", "policies") and not re.fullmatch(PURE_EXCEPT, rel):
            for pattern, what in PURE:
                if re.search(pattern, line):
                    yield n, "pure", f"{folder}/ {what}"


def check_file(root, rel):
    with open(os.path.join(root, rel), encoding="utf-8") as f:
        text = f.read()
    if not text.startswith("/* SPDX-License-Identifier: Apache-2.0 */"):
        yield 1, "license", "the first line is not the SPDX line"
    yield from check_layers(rel, text)
    yield from check_calls(rel, code_only(text))
    for n, line in enumerate(text.split("\n"), 1):
        if UNFINISHED.search(line):
            yield n, "unfinished", line.strip()


def lint(root):
    found = []
    for rel in sources(root):
        for n, rule, what in check_file(root, rel):
            found.append((rel, n, rule, what))
    return found


PLANTED = {
    "base/a.c": ('#include "mica/core.h"\n', "layer"),
    "rpc/b.c": ('#include "mica/token.h"\n', "layer"),
    "server/c.c": ('#include "ca/token.h"\n', "layer"),
    "server/d.c": ("#include <lmdb.h>\n", "owner"),
    "rpc/o.c": ("#include <nghttp2/nghttp2.h>\n", "owner"),
    "rpc/p.c": ("#include <openssl/ssl.h>\n", "owner"),
    "server/q.c": ("#include <event2/event.h>\n", "owner"),
    "ca/e.c": ("int f(void) { return mica_now(); }\n", "pure"),
    "ca/f.c": ('void f(void) { MICA_LOG(MICA_INFO, "x"); }\n', "pure"),
    "cli/g.c": ("void f(char *a) { strcpy(a, a); }\n", "banned"),
    "cli/h.c": ("void *f(void) { return malloc(3); }\n", "banned"),
    "cli/i.c": ("long f(void) { return time(0); }\n", "banned"),
    "cli/j.c": ("int f(void) { goto out; out: return 1; }\n", "banned"),
    "cli/k.c": ("/* TO" + "DO: more */\n", "unfinished"),
    "cli/n.c": ("char *f(void) { return getenv(0); }\n", "banned"),
}


def self_test():
    root = tempfile.mkdtemp(prefix="mica-lint-")
    try:
        for rel, (body, _) in PLANTED.items():
            os.makedirs(os.path.join(root, os.path.dirname(rel)), exist_ok=True)
            with open(os.path.join(root, rel), "w", encoding="utf-8") as f:
                f.write("/* SPDX-License-Identifier: Apache-2.0 */\n" + body)
        with open(os.path.join(root, "cli/l.c"), "w", encoding="utf-8") as f:
            f.write("int x;\n")
        with open(os.path.join(root, "cli/m.c"), "w", encoding="utf-8") as f:
            f.write('/* SPDX-License-Identifier: Apache-2.0 */\n/* goto x; */ const char *s = "free(";\n')
        found = {(rel, rule) for rel, _, rule, _ in lint(root)}
        want = {(rel, rule) for rel, (_, rule) in PLANTED.items()} | {("cli/l.c", "license")}
        for rel, rule in sorted(want - found):
            print(f"self-test: the breach of {rule} in {rel} was not found")
        for rel, rule in sorted(found - want):
            print(f"self-test: {rel} was blamed for {rule}")
        return 0 if found == want else 1
    finally:
        shutil.rmtree(root)


def check_format(root):
    tool = shutil.which("clang-format-14")
    if not tool:
        print("clang-format-14 is missing: apt-get install clang-format-14")
        return 77
    files = list(sources(root))
    done = subprocess.run([tool, "--dry-run", "-Werror", *files], cwd=root, capture_output=True, text=True)
    if done.returncode:
        lines = sorted({l.split(":")[0] for l in done.stderr.split("\n") if "error:" in l})
        print("\n".join(f"{l}: not formatted: clang-format-14 -i {l}" for l in lines))
    return 1 if done.returncode else 0


def main():
    root = os.environ.get("MICA_SRCDIR") or os.path.join(os.path.dirname(__file__), "..", "..")
    if sys.argv[1:] == ["--format"]:
        return check_format(root)
    if sys.argv[1:]:
        print("usage: lint.py [--format]", file=sys.stderr)
        return 2
    bad = self_test()
    found = lint(root)
    for rel, n, rule, what in found:
        print(f"{rel}:{n}: {rule}: {what}")
    return 1 if bad or found else 0


if __name__ == "__main__":
    sys.exit(main())
