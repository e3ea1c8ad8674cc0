# SPDX-License-Identifier: Apache-2.0
"""Random policy sets, requests that meet them, and what the engine says of them.

    g = Generator(seed, Knobs(), odd=0.1, outside=ANY)
    policies = g.policies()                    # documents, as `mica policy validate` reads them
    requests = [g.request(policies) for _ in range(500)]
    verdicts = judge(folder, policies, requests)   # [True, False, ...]: one run of `mica policy test`

Knobs say what may stand in a policy. A test of a target draws from the knobs that describe what the
target can express, and with probability `odd` a rule from `outside` instead.
"""
import dataclasses
import json
import os
import random
import subprocess

from proc import SLOW

MICA = os.path.join(os.environ.get("MICA_BIN") or os.environ.get("MICA_BUILDDIR") or ".", "mica")
TD = "example.org"
ROOT = "istio-system"
ALIASES = ["old.example.org"]
MESH = {"rootNamespace": ROOT, "trustDomain": TD, "trustDomainAliases": ALIASES}
MESH_FLAGS = ["--root-namespace", ROOT, "--trust-domain", TD] + [x for a in ALIASES for x in ("--alias", a)]

ACCOUNTS = [(ns, sa) for ns in ("web", "shop", "ops") for sa in ("front", "back")]
LABELS = ({}, {"app": "orders"}, {"app": "pay"}, {"app": "orders", "tier": "db"}, {"tier": "db"})

# What requests have; the values of policies are made of these.
VALUES = {
    "source.principal": ["%s/ns/%s/sa/%s" % (TD, *a) for a in ACCOUNTS] + [
        "old.example.org/ns/web/sa/front", "other.org/ns/web/sa/front", "other.org/job", TD + "/vm/db"],
    "source.namespace": ["web", "shop", "ops"],
    "source.serviceAccount": ["%s/%s" % a for a in ACCOUNTS],
    "source.trustDomain": [TD, "other.org"],
    "source.ip": ["10.0.0.9", "10.1.2.3", "10.1.2.4", "192.168.0.7", "172.16.0.1", "fd00::1", "fd00:1::1"],
    "remote.ip": ["10.0.0.9", "10.1.2.3", "198.51.100.7", "2001:db8::1"],
    "destination.ip": ["10.9.0.1", "10.9.1.1"],
    "destination.port": ["80", "8080", "9090"],
    "connection.sni": ["orders.shop", "pay.shop", "www.example.org"],
    "hosts": ["orders.shop", "orders.shop:8080", "pay.shop", "www.example.org"],
    "methods": ["GET", "POST", "DELETE", "PURGE"],
    "paths": ["/", "/a", "/ab", "/a/", "/a/b", "/a/b/c", "/a/bc", "/b", "/x.y", "/xzy", "/b/a.html"],
    "request.headers[x-env]": ["prod", "production", "test", "pro"],
    "request.headers[x-user]": ["ann", "bob"],
    "request.auth.principal": ["https://idp.example.org/ann", "https://idp.example.org/bob", "https://idp2/ann"],
    "request.auth.audiences": ["shop", "ops"],
    "request.auth.presenter": ["app1", "app2"],
    "request.auth.claims[group]": ["admin", "dev", "devops"],
    "request.auth.claims[realm][role]": ["reader", "writer"],
}
BLOCKS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "192.168.0.0/24", "fd00::/8", "fd00:1::/32", "0.0.0.0/0"]
TEMPLATES = ["/a/{*}", "/a/{**}", "/a/{*}/c", "/{*}/a.html", "/{**}/c"]
# What values look like that cannot be cut anywhere.
PATTERNS = {
    "source.principal": ["*", TD + "/*", TD + "/ns/web/*", TD + "/ns/ops/sa/*", "*/ns/web/sa/front", "*/sa/front",
                         TD + "/ns/web/sa/f*", "cluster.local/ns/web/sa/front", "cluster.local/ns/web/sa/*", "*ck"],
    "source.namespace": ["w*", "*p", "*", "o*s", "s*p"],
    "request.auth.principal": ["*", "https://idp.example.org/*", "*/ann", "https://idp2/a*"],
}
HTTP = ("hosts", "methods", "paths", "request.")

SOURCES = {"principals": "source.principal", "requestPrincipals": "request.auth.principal",
           "namespaces": "source.namespace", "serviceAccounts": "source.serviceAccount",
           "trustDomains": "source.trustDomain", "ipBlocks": "source.ip", "remoteIpBlocks": "remote.ip"}
OPERATIONS = {"hosts": "hosts", "ports": "destination.port", "methods": "methods", "paths": "paths"}
CONDITIONS = [a for a in VALUES if a not in ("hosts", "methods", "paths")]
# Forms of values that an attribute has, but for those that are always exact.
EXACT = ("source.serviceAccount", "source.trustDomain", "destination.port")
BLOCK = ("source.ip", "remote.ip", "destination.ip")


@dataclasses.dataclass(frozen=True)
class Knobs:
    """What may be drawn, the more often the more often it is named; numbers are (least, most)."""
    sources: tuple = ("principals",) * 4 + ("namespaces",) * 2 + tuple(SOURCES)
    operations: tuple = ("methods", "paths") * 2 + tuple(OPERATIONS)
    conditions: tuple = tuple(CONDITIONS)
    forms: tuple = ("exact",) * 5 + ("prefix", "suffix", "present", "template")
    negative: float = 0.2   # of fields that are notFields
    values: dict = dataclasses.field(default_factory=dict)  # attribute -> values instead of VALUES and forms
    actions: tuple = ("ALLOW",) * 5 + ("DENY",) * 2 + ("AUDIT",)
    selectors: tuple = LABELS  # of policies, of workloads
    namespaces: tuple = ("shop", "web")
    root: float = 0.1       # of policies that stand in the root namespace
    dry_run: float = 0.05
    n_policies: tuple = (1, 5)
    n_rules: tuple = (1, 2)
    n_clauses: tuple = (1, 2)
    n_fields: tuple = (1, 2)
    n_values: tuple = (1, 3)
    no_rules: float = 0.05
    with_from: float = 0.75
    with_to: float = 0.6
    with_when: float = 0.2


ANY = Knobs()


class Generator:
    def __init__(self, seed, knobs=ANY, odd=0.0, outside=ANY):
        self.r = random.Random(seed)
        self.knobs, self.odd, self.outside = knobs, odd, outside

    def upto(self, bounds):
        return self.r.randint(*bounds)

    # ---- policies

    def value(self, k, attr):
        r = self.r
        if attr in k.values:
            return r.choice(k.values[attr])
        if attr in BLOCK:
            return r.choice(BLOCKS + VALUES[attr])
        v, form = r.choice(VALUES[attr]), r.choice(k.forms)
        if attr in EXACT or form == "exact" or (form == "template" and attr != "paths"):
            return v
        if form == "present":
            return "*"
        if form == "template":
            return r.choice(TEMPLATES)
        if attr in PATTERNS:
            return r.choice(PATTERNS[attr])
        cut = r.randint(1, len(v))
        return v[:cut] + "*" if form == "prefix" else "*" + v[cut - 1:]

    def test(self, k, attr):
        return sorted({self.value(k, attr) for _ in range(self.upto(k.n_values))})

    def clause(self, k, fields, names):
        out = {}
        for field in sorted({self.r.choice(fields) for _ in range(self.upto(k.n_fields))}):
            negative = self.r.random() < k.negative
            out["not" + field[0].upper() + field[1:] if negative else field] = self.test(k, names[field])
            if negative and self.r.random() < 0.3:
                out[field] = self.test(k, names[field])
        return {key: out[key] for key in sorted(out)}

    def rule(self, k):
        r, rule = self.r, {}
        if k.sources and r.random() < k.with_from:
            rule["from"] = [{"source": self.clause(k, k.sources, SOURCES)} for _ in range(self.upto(k.n_clauses))]
        if k.operations and r.random() < k.with_to:
            rule["to"] = [{"operation": self.clause(k, k.operations, OPERATIONS)}
                          for _ in range(self.upto(k.n_clauses))]
        if k.conditions and r.random() < k.with_when:
            attr = r.choice(k.conditions)
            rule["when"] = [{"key": attr, "notValues" if r.random() < k.negative else "values": self.test(k, attr)}]
        return rule

    def policy(self, i):
        k, r = self.knobs, self.r
        meta = {"name": "p%d" % i, "namespace": ROOT if r.random() < k.root else r.choice(k.namespaces)}
        spec = {"action": r.choice(k.actions), "rules": []}
        if r.random() >= k.no_rules:
            spec["rules"] = [self.rule(self.outside if r.random() < self.odd else k)
                             for _ in range(self.upto(k.n_rules))]
        labels = r.choice(k.selectors)
        if labels:
            spec["selector"] = {"matchLabels": labels}
        if spec["action"] != "AUDIT" and r.random() < k.dry_run:
            meta["annotations"] = {"istio.io/dry-run": "true"}
        return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": meta, "spec": spec}

    def policies(self):
        return [self.policy(i) for i in range(self.upto(self.knobs.n_policies))]

    # ---- requests

    def like(self, attr, value):
        """Something that a request may have of `attr` and that `value` probably matches."""
        r = self.r
        fits = [v for v in VALUES[attr] if _fits(attr, value, v)]
        if attr in BLOCK:
            return value if "/" not in value and r.random() < 0.7 else r.choice(VALUES[attr])
        if attr == "paths" and "{" in value:
            return value.replace("{**}", r.choice(["b", "b/c", ""])).replace("{*}", r.choice(["b", "x.y", "="]))
        if fits and r.random() < 0.9:
            return r.choice(fits)
        if attr in ("paths", "methods", "hosts") or attr.startswith("request.headers"):
            whole = value.strip("*") or "x"
            if attr == "paths" and whole[0] != "/":
                return "/q" + whole
            return r.choice([whole, whole + ("Z" if attr == "methods" else "z"), whole[:-1] or whole])
        return r.choice(VALUES[attr])

    def wishes(self, policies):
        """What the request is to have: of one rule of one policy, one source, one operation, the conditions."""
        r, want = self.r, {}
        with_rules = [p for p in policies if p["spec"]["rules"]]
        policy = r.choice(with_rules or policies)
        rule = r.choice(policy["spec"]["rules"] or [{}])
        parts = []
        if rule.get("from"):
            parts += [(SOURCES, f, v) for f, v in r.choice(rule["from"])["source"].items()]
        if rule.get("to"):
            parts += [(OPERATIONS, f, v) for f, v in r.choice(rule["to"])["operation"].items()]
        for names, field, values in parts:
            negative = field.startswith("not")
            attr = names[field[3].lower() + field[4:] if negative else field]
            if not negative or (attr not in want and r.random() < 0.3):
                want[attr] = self.like(attr, r.choice(values))
        for c in rule.get("when", []):
            if "values" in c:
                want[c["key"]] = self.like(c["key"], r.choice(c["values"]))
        return policy, want

    def workload(self, policy):
        r = self.r
        ns = policy["metadata"]["namespace"]
        if ns == ROOT or r.random() < 0.1:
            ns = r.choice(self.knobs.namespaces)
        labels = dict(policy["spec"].get("selector", {}).get("matchLabels", {}))
        if r.random() < 0.3:
            labels = dict(r.choice(self.knobs.selectors))
        return {"namespace": ns, "labels": labels} if labels else {"namespace": ns}

    def peer(self, want):
        """A principal that has the wished for namespace, account and trust domain, where there is one."""
        fits = [p for p in VALUES["source.principal"] if all(
            a not in want or _of_principal(a, p) == want[a]
            for a in ("source.namespace", "source.serviceAccount", "source.trustDomain"))]
        return want.get("source.principal") or self.r.choice(fits or VALUES["source.principal"])

    def jwt(self, want):
        if not any(a.startswith("request.auth.") for a in want) and self.r.random() < 0.8:
            return None
        principal = want.get("request.auth.principal") or self.r.choice(VALUES["request.auth.principal"])
        issuer, subject = principal.rsplit("/", 1)
        out = {"issuer": issuer, "subject": subject, "claims": {}}
        if "request.auth.audiences" in want:
            out["audiences"] = [want["request.auth.audiences"]]
        if "request.auth.presenter" in want:
            out["presenter"] = want["request.auth.presenter"]
        if "request.auth.claims[group]" in want:
            out["claims"]["group"] = [want["request.auth.claims[group]"], "x"]
        if "request.auth.claims[realm][role]" in want:
            out["claims"]["realm"] = {"role": want["request.auth.claims[realm][role]"]}
        return out

    def request(self, policies):
        """In the form of a case. Near misses: some attribute is another one, or absent."""
        r = self.r
        policy, want = self.wishes(policies)
        for attr in list(want):
            if r.random() < 0.12:
                want[attr] = r.choice(VALUES[attr])
        q = {"workload": self.workload(policy), "peer": "spiffe://" + self.peer(want)}
        for field, attr, default in (("sourceIp", "source.ip", 0.9), ("remoteIp", "remote.ip", 0.5),
                                     ("destinationIp", "destination.ip", 0.3), ("sni", "connection.sni", 0.3),
                                     ("port", "destination.port", 0.9)):
            if attr in want or r.random() < default:
                q[field] = want.get(attr) or r.choice(VALUES[attr])
        q["port"] = int(q["port"]) if "port" in q else None
        if r.random() < (0.97 if any(a.startswith(HTTP) for a in want) else 0.6):
            q.update(host=want.get("hosts") or r.choice(VALUES["hosts"]),
                     method=want.get("methods") or r.choice(VALUES["methods"]),
                     path=want.get("paths") or r.choice(VALUES["paths"]), jwt=self.jwt(want))
            headers = {a[16:-1]: v for a, v in want.items() if a.startswith("request.headers[")}
            q["headers"] = headers or {"x-user": r.choice(VALUES["request.headers[x-user]"])}
        if r.random() < 0.1:
            q[r.choice([f for f in q if f != "workload"])] = None
        return {f: v for f, v in q.items() if v is not None}


def _fits(attr, value, v):
    """Roughly; what is wrong here makes requests duller, nothing else."""
    if attr == "source.serviceAccount" and "/" not in value:
        return v.endswith("/" + value)
    if value.startswith("*"):
        return v.endswith(value[1:])
    if value.endswith("*"):
        return v.startswith(value[:-1])
    return v == value


def _of_principal(attr, principal):
    td, _, rest = principal.partition("/")
    parts = rest.split("/")
    if attr == "source.trustDomain":
        return td
    if len(parts) != 4 or parts[0] != "ns":
        return None
    return parts[1] if attr == "source.namespace" else "%s/%s" % (parts[1], parts[3])


# ---- mica ------------------------------------------------------------------------------------------


def run(*argv, ok=(0,)):
    """A command's JSON."""
    r = subprocess.run([MICA, "--output", "json", *map(str, argv)], capture_output=True, text=True,
                       timeout=60 * SLOW)
    assert r.returncode in ok, "%s\n%s" % (r.stdout[-2000:], r.stderr)
    return json.loads(r.stdout)


def save(path, policies):
    """As YAML of several documents (of JSON, which YAML contains)."""
    path.write_text("".join("---\n%s\n" % json.dumps(p, indent=1) for p in policies))
    return path


def judge(folder, policies, requests, name="set"):
    """The engine's verdict for each request. A table expects all to be allowed; what is not fails there."""
    save(folder / (name + ".yaml"), policies)
    cases = [{"name": "q%d" % i, "request": q, "expect": "allow"} for i, q in enumerate(requests)]
    table = folder / (name + ".test.yaml")
    table.write_text(json.dumps({"apiVersion": "mica/v1", "kind": "PolicyTest", "policies": [name + ".yaml"],
                                 "mesh": MESH, "cases": cases}))
    said = run("policy", "test", table, ok=(0, 9))
    denied = {f["name"] for f in said["failures"]}
    assert said["passed"] + said["failed"] == len(cases) and len(denied) == said["failed"]
    assert all(f["verdict"] == "deny" for f in said["failures"])
    return ["q%d" % i not in denied for i in range(len(cases))]
