# SPDX-License-Identifier: Apache-2.0
"""What Consul decides by service-intentions entries. Written from Consul's documentation and the way it
fills Envoy's filters; knows nothing of Mica.

- Of all intentions about source and destination one counts: the most exact destination, then the most exact
  source. None: the default.
- An intention with permissions: the first that matches decides; none: the default. What is not HTTP is denied.
- A source is matched by its SPIFFE ID: /ns/NS/dc/DC/svc/NAME of the mesh; who has none is never connected.
- Paths are compared without query; headers as Envoy does it: one that is absent matches nothing but an inverted
  Present, and the pseudo headers are headers.
"""
import dataclasses
import re

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"}


class Refused(Exception):
    """Consul would not take the entry."""


@dataclasses.dataclass
class Request:
    source: tuple       # (namespace, service), None: no service of the mesh
    destination: tuple
    http: bool
    headers: dict       # with :method and :path


def need(ok, why):
    if not ok:
        raise Refused(why)


class Consul:
    def __init__(self, entries, default=False, enterprise=True):
        self.default, self.enterprise = default, enterprise
        self.by = {}
        for e in entries:
            self.check(e)
            to = (self.ns(e), e["Name"])
            need(to not in self.by, "an entry twice: %s/%s" % to)
            self.by[to] = e["Sources"]

    def ns(self, o):
        return o.get("Namespace", "default") if self.enterprise else "default"

    # ---- what is refused

    def check_name(self, o):
        ns, name = self.ns(o), o["Name"]
        need(name, "Name is required")
        need(self.enterprise or "Namespace" not in o, "namespaces are Enterprise's")
        need("*" not in name or name == "*", "a part of a name")
        need("*" not in ns or ns == "*", "a part of a namespace")
        need(ns != "*" or name == "*", "a name in all namespaces")

    def precedence(self, e, s):
        def exact(o):
            return 0 if self.ns(o) == "*" else 1 if o["Name"] == "*" else 2
        return (3, 6, 9)[exact(e)] - (2 - exact(s))

    def check(self, e):
        need(e["Kind"] == "service-intentions", "Kind")
        self.check_name(e)
        need(e["Sources"], "at least one source")
        seen = set()
        for s in e["Sources"]:
            self.check_name(s)
            need((self.ns(s), s["Name"]) not in seen, "a source twice")
            seen.add((self.ns(s), s["Name"]))
            need(s.get("Type", "consul") == "consul", "Type")
            need(s.get("Precedence", 0) in (0, self.precedence(e, s)), "Precedence")
            if "Permissions" in s:
                need("Action" not in s and s["Permissions"], "Action and Permissions")
                need(e["Name"] != "*", "Permissions of a wildcard")
                for p in s["Permissions"]:
                    self.check_permission(p)
            else:
                need(s["Action"] in ("allow", "deny"), "Action")

    def check_permission(self, p):
        need(set(p) == {"Action", "HTTP"} and p["Action"] in ("allow", "deny"), "Action")
        h = p["HTTP"]
        need(h and set(h) <= {"PathExact", "PathPrefix", "PathRegex", "Methods", "Header"}, "HTTP")
        need(sum(k.startswith("Path") for k in h) <= 1, "one path")
        need(all(h.get(k, "/").startswith("/") for k in ("PathExact", "PathPrefix")), "a path")
        methods = h.get("Methods", ["GET"])
        need(methods and set(methods) <= METHODS and len(set(methods)) == len(methods), "Methods")
        for d in h.get("Header", [{"Name": "x", "Present": True}]):
            forms = {"Present", "Exact", "Prefix", "Suffix", "Regex"} & {k for k, v in d.items() if v}
            need(d["Name"] and len(forms) == 1 and set(d) <= forms | {"Name", "Invert"}, "Header")

    # ---- decisions

    def intention(self, source, destination):
        def matches(pattern, name):
            return pattern[0] in ("*", name[0]) and pattern[1] in ("*", name[1])
        found = [(self.precedence({"Namespace": to[0], "Name": to[1]}, s), to, s)
                 for to, sources in self.by.items() if matches(to, destination)
                 for s in sources if matches((self.ns(s), s["Name"]), source)]
        return max(found, key=lambda f: f[0])[2] if found else None

    def header(self, h, headers):
        value, invert = headers.get(h["Name"]), h.get("Invert", False)
        if value is None:
            return h.get("Present", False) and invert
        if "Present" in h:
            got = True
        elif "Exact" in h:
            got = value == h["Exact"]
        elif "Prefix" in h:
            got = value.startswith(h["Prefix"])
        elif "Suffix" in h:
            got = value.endswith(h["Suffix"])
        else:
            got = re.fullmatch(h["Regex"], value) is not None
        return got != invert

    def permission(self, http, headers):
        path = headers.get(":path")
        path = None if path is None else re.split("[?#]", path)[0]
        if any(k.startswith("Path") for k in http) and path is None:
            return False
        if "PathExact" in http and path != http["PathExact"]:
            return False
        if "PathPrefix" in http and not path.startswith(http["PathPrefix"]):
            return False
        if "PathRegex" in http and not re.fullmatch(http["PathRegex"], path):
            return False
        if "Methods" in http and headers.get(":method") not in http["Methods"]:
            return False
        return all(self.header(h, headers) for h in http.get("Header", []))

    def allows(self, q):
        if q.source is None:
            return False
        one = self.intention(q.source, q.destination)
        if one is None:
            return self.default
        if "Permissions" not in one:
            return one["Action"] == "allow"
        if not q.http:
            return False
        for p in one["Permissions"]:
            if self.permission(p["HTTP"], q.headers):
                return p["Action"] == "allow"
        return self.default
