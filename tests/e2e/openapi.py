# SPDX-License-Identifier: Apache-2.0
"""Holds answers against the server's own OpenAPI document, strictly: a path, method, status, media
type, header or member that it does not document is an error, as is one that it promises and that
does not come. Reads as much of JSON Schema as that document uses, and refuses the rest."""
import base64
import json
import re

KNOWN = {"type", "properties", "required", "additionalProperties", "items", "enum", "const",
         "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "oneOf",
         "$ref", "format", "description", "examples", "title", "default", "contentEncoding"}
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
DATE_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


class Undocumented(AssertionError):
    """The server and its document disagree."""


def is_type(v, name):
    if name in ("integer", "number"):
        kinds = int if name == "integer" else (int, float)
        return isinstance(v, kinds) and not isinstance(v, bool)
    return isinstance(v, TYPES[name])


class Spec:
    def __init__(self, document):
        self.d = document
        self.paths = {}
        for path, item in document["paths"].items():
            # {tile} is the only one that holds slashes
            pattern = re.sub(r"\\{(tile)\\}", "(.+)", re.escape(path))
            pattern = re.sub(r"\\{\w+\\}", "([^/]+)", pattern)
            self.paths[path] = (re.compile("^%s$" % pattern), item)
        self.seen = set()

    def follow(self, o):
        while "$ref" in o:
            at = self.d
            for part in o["$ref"].lstrip("#/").split("/"):
                at = at[part]
            o = at
        return o

    def find(self, path):
        """The most literal one that fits."""
        hits = [(p.count("{"), -len(p), p) for p, (r, _) in self.paths.items() if r.match(path)]
        return min(hits)[2] if hits else None

    # ---- schemas ------------------------------------------------------------------------------

    def check(self, v, schema, where):
        schema = self.follow(schema)
        unknown = set(schema) - KNOWN
        if unknown:
            raise Undocumented("%s: the checker does not know %s" % (where, unknown))
        if "oneOf" in schema:
            fits = [s for s in schema["oneOf"] if self.fits(v, s, where)]
            if len(fits) != 1:
                raise Undocumented("%s: fits %d of oneOf: %r" % (where, len(fits), v))
            return
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        if types and not any(is_type(v, t) for t in types):
            raise Undocumented("%s: %r is no %s" % (where, v, types))
        if "enum" in schema and v not in schema["enum"]:
            raise Undocumented("%s: %r is none of %s" % (where, v, schema["enum"]))
        if "const" in schema and v != schema["const"]:
            raise Undocumented("%s: %r is not %r" % (where, v, schema["const"]))
        if isinstance(v, str):
            self.text(v, schema, where)
        elif isinstance(v, (int, float)) and not isinstance(v, bool):
            if not schema.get("minimum", v) <= v <= schema.get("maximum", v):
                raise Undocumented("%s: %r is out of bounds" % (where, v))
        elif isinstance(v, list):
            if not schema.get("minItems", 0) <= len(v) <= schema.get("maxItems", len(v)):
                raise Undocumented("%s: %d items" % (where, len(v)))
            for i, x in enumerate(v):
                self.check(x, schema.get("items", {}), "%s[%d]" % (where, i))
        elif isinstance(v, dict):
            self.members(v, schema, where)

    def fits(self, v, schema, where):
        try:
            self.check(v, schema, where)
            return True
        except Undocumented:
            return False

    def text(self, v, schema, where):
        if not schema.get("minLength", 0) <= len(v) <= schema.get("maxLength", len(v)):
            raise Undocumented("%s: %d characters" % (where, len(v)))
        if "pattern" in schema and not re.search(schema["pattern"], v):
            raise Undocumented("%s: %r does not match %s" % (where, v, schema["pattern"]))
        if schema.get("format") == "date-time" and not DATE_TIME.match(v):
            raise Undocumented("%s: %r is no time" % (where, v))
        if schema.get("contentEncoding") == "base64":
            try:
                base64.b64decode(v, validate=True)
            except ValueError:
                raise Undocumented("%s: %r is no base64" % (where, v)) from None

    def members(self, v, schema, where):
        missing = set(schema.get("required", ())) - set(v)
        if missing:
            raise Undocumented("%s: lacks %s" % (where, sorted(missing)))
        properties = schema.get("properties")
        more = schema.get("additionalProperties", properties is None)
        for k, x in v.items():
            at = "%s.%s" % (where, k)
            if properties and k in properties:
                self.check(x, properties[k], at)
            elif more is False:
                raise Undocumented("%s is not documented" % at)
            elif more is not True:
                self.check(x, more, at)

    # ---- answers ------------------------------------------------------------------------------

    def answer(self, method, target, sent, status, headers, body):
        """One request that was answered. HEAD counts as GET."""
        path = target.partition("?")[0]
        name = self.find(path)
        where = "%s %s: %d" % (method, name or path, status)
        kind = headers.get("Content-Type")
        if kind == "application/problem+json":
            self.check(json.loads(body), self.d["components"]["schemas"]["Problem"], where)
        operation = name and self.paths[name][1].get("get" if method == "HEAD" else method.lower())
        if not operation:
            if status not in (400, 404, 405, 413, 429, 503):
                raise Undocumented(where + " is not documented")
            return
        if str(status) not in operation["responses"]:
            if status == 404 and json.loads(body)["reason"] == "no_such_path":
                return  # there, but not on this listener
            raise Undocumented(where + " is not documented")
        self.seen.add((method, name, status))
        self.content(self.follow(operation["responses"][str(status)]), headers, kind, body, where)
        self.request(operation, sent, status, where)

    def content(self, response, headers, kind, body, where):
        for h in response.get("headers", {}):
            if h not in headers and h != "Retry-After":
                raise Undocumented("%s: no header %s" % (where, h))
        content = response.get("content", {})
        if not content:
            if body:
                raise Undocumented("%s: a body that is not documented" % where)
        elif kind not in content:
            raise Undocumented("%s: %s is none of %s" % (where, kind, list(content)))
        elif "schema" in content[kind] and kind.endswith("json") and not where.startswith("HEAD"):
            self.check(json.loads(body), content[kind]["schema"], where)

    def request(self, operation, sent, status, where):
        """What the document forbids must not succeed."""
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json")
        if not schema or status >= 300 or not isinstance(sent, (bytes, str)):
            return
        if "application/yaml" in content and not sent.lstrip()[:1] in ("{", b"{"):
            return  # nothing here reads it
        self.check(json.loads(sent), schema["schema"], where + " request")
