# SPDX-License-Identifier: Apache-2.0
"""What Linkerd makes of its policy objects, from its documentation and its proxy's behaviour; it
knows nothing of how Mica made them.

Authorizations of a port are a union. A port has the one Server that selects the pod; without one
the default counts. An AuthorizationPolicy is for a Server (then for its routes, too), a route or the
namespace, and all of its authentications must hold. With routes, a request that is HTTP belongs to
the best match, and to nobody when there is none."""
import ipaddress
import re

GROUP = "policy.linkerd.io"


class Invalid(Exception):
    """Linkerd would refuse the objects, or what they mean would depend on chance."""


class Request:
    def __init__(self, ns, labels, port, ip, identity=None, method=None, path=None):
        self.ns, self.labels, self.port, self.ip = ns, labels, port, ipaddress.ip_address(ip)
        self.identity, self.method, self.path = identity, method, path


def _selects(selector, labels):
    for k, v in selector.get("matchLabels", {}).items():
        if labels.get(k) != v:
            return False
    for x in selector.get("matchExpressions", []):
        has = x["key"] in labels
        holds = {"In": lambda: has and labels[x["key"]] in x["values"],
                 "NotIn": lambda: not has or labels[x["key"]] not in x["values"],
                 "Exists": lambda: has, "DoesNotExist": lambda: not has}[x["operator"]]()
        if not holds:
            return False
    return True


def _identity_matches(pattern, identity):
    if identity is None:
        return False
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return not identity.startswith("spiffe://") and identity.endswith(pattern[1:])
    return pattern == identity


def _path_length(match, path):
    """How much of the path a match takes; None: it does not match."""
    kind, value = match["type"], match["value"]
    if kind == "Exact":
        return len(path) if path == value else None
    if kind == "RegularExpression":
        return len(path) if re.fullmatch(value, path) else None
    if kind != "PathPrefix":
        raise Invalid(kind)
    if value == "/":
        return 1
    value = value.rstrip("/")
    rest = path.rstrip("/")
    if not rest.startswith(value):
        return None
    rest = rest[len(value):]
    return len(value) if rest == "" or rest.startswith("/") else None


class Linkerd:
    def __init__(self, objects, default=False):
        self.default = default
        self.by = {}
        for o in objects:
            ns, name, kind = o["metadata"]["namespace"], o["metadata"]["name"], o["kind"]
            if not o["apiVersion"].startswith(GROUP + "/"):
                raise Invalid(o["apiVersion"])
            if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", name):
                raise Invalid("name " + name)
            if self.by.setdefault(kind, {}).setdefault((ns, name), o) is not o:
                raise Invalid("twice: %s %s/%s" % (kind, ns, name))
        for o in self.by.get("HTTPRoute", {}).values():
            self._check_route(o["spec"])

    @staticmethod
    def _check_route(spec):
        if not 1 <= len(spec["rules"]) <= 16:
            raise Invalid("rules of a route")
        for r in spec["rules"]:
            if not 1 <= len(r["matches"]) <= 8:
                raise Invalid("matches of a rule")
            for m in r["matches"]:
                if len(m["path"]["value"]) > 1024:
                    raise Invalid("a path is too long")
                re.compile(m["path"]["value"])

    def _of(self, kind, ns):
        return [(name, o["spec"]) for (n, name), o in self.by.get(kind, {}).items() if n == ns]

    def _authentication_holds(self, ns, ref, q):
        """None: dangling."""
        o = self.by.get(ref["kind"], {}).get((ref.get("namespace", ns), ref["name"]))
        if o is None:
            return None
        if ref["kind"] == "MeshTLSAuthentication":
            return any(_identity_matches(p, q.identity) for p in o["spec"]["identities"])
        for n in o["spec"]["networks"]:
            if q.ip in ipaddress.ip_network(n["cidr"]) and not any(
                    q.ip in ipaddress.ip_network(x) for x in n.get("except", [])):
                return True
        return False

    def _policy_holds(self, ns, spec, q):
        refs = spec["requiredAuthenticationRefs"]
        kinds = [r["kind"] for r in refs]
        if len(set(kinds)) != len(kinds):
            raise Invalid("two authentications of one kind")
        holds = [self._authentication_holds(ns, r, q) for r in refs]
        return None not in holds and all(holds)

    def _authorized(self, ns, targets, q):
        for _, spec in self._of("AuthorizationPolicy", ns):
            t = spec["targetRef"]
            if (t["kind"], t["name"]) in targets and self._policy_holds(ns, spec, q):
                return True
        return False

    def _server(self, q):
        found = [(name, s) for name, s in self._of("Server", q.ns)
                 if s["port"] == q.port and _selects(s["podSelector"], q.labels)]
        if len(found) > 1:
            raise Invalid("two Servers for port %d of %s" % (q.port, q.labels))
        return found[0] if found else (None, None)

    def _best_route(self, routes, q):
        best, found = None, set()
        for name, spec in routes:
            for rule in spec["rules"]:
                for m in rule["matches"]:
                    length = _path_length(m["path"], q.path)
                    if length is None or m.get("method", q.method) != q.method:
                        continue
                    rank = (length, "method" in m)
                    if best is None or rank > best:
                        best, found = rank, set()
                    if rank == best:
                        found.add(name)
        if len(found) > 1:
            raise Invalid("several routes are as good: %s" % found)
        return found.pop() if found else None

    def allows(self, q):
        if q.ip.is_loopback:
            return True
        server, spec = self._server(q)
        if server is None:
            return self.default
        targets = [("Server", server), ("Namespace", q.ns)]
        routes = [(n, s) for n, s in self._of("HTTPRoute", q.ns)
                  if any(p["kind"] == "Server" and p["name"] == server for p in s["parentRefs"])]
        if routes and q.method is not None:
            route = self._best_route(routes, q)
            if route is None:
                return False
            targets.append(("HTTPRoute", route))
        if self._authorized(q.ns, targets, q):
            return True
        return spec.get("accessPolicy", "deny") in ("all-unauthenticated", "audit")
