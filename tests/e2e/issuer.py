# SPDX-License-Identifier: Apache-2.0
"""A token issuer for tests that looks like a cluster's: keys over HTTPS, bound tokens, TokenReview.

It can misbehave on demand: `fault` is one of FAULTS or None, and holds for every request until it
is changed. `asked` counts requests by path.
"""
import base64
import collections
import http.server
import json
import os
import ssl
import sys
import threading
import time
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import pki

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

FAULTS = {
    "down": "closes the connection without a word",
    "error": "answers 500",
    "slow": "one octet of the answer a second",
    "hang": "takes the request and says nothing for a minute",
    "huge": "an answer without an end",
    "garbage": "200 with something that is no JSON",
    "empty": "a key set without keys",
    "redirect": "sends elsewhere",
    "lying": "discovery that names another issuer and another host's keys",
}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n, width=None):
    return b64(n.to_bytes(width or (n.bit_length() + 7) // 8, "big"))


def jws(key, header, payload):
    """Compact form with any header; payload as octets or an object."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, separators=(",", ":")).encode()
    text = b64(json.dumps(header, separators=(",", ":")).encode()) + "." + b64(payload)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        width = (key.curve.key_size + 7) // 8
        sig = r.to_bytes(width, "big") + s.to_bytes(width, "big")
    else:
        sig = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return text + "." + b64(sig)


class Issuer:
    """Use as a context manager; `url` is its issuer name and address."""

    def __init__(self, folder, name="prod", url=None):
        self.name = name
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.keys = {}
        self.kid = None
        self.fault = None
        self.asked = collections.Counter()
        self.gone = set()  # UIDs of pods that TokenReview says no to
        self.review_status = 201
        self.uids = {}
        self.ca = pki.Ca("%s issuer CA" % name)
        self.ca_file = pki.write(os.path.join(self.folder, "ca.crt"), self.ca.pem(), 0o644)
        self.wanted_url = url
        self.httpd = None
        self.rotate()

    # ---- keys and tokens ---------------------------------------------------------------------

    def rotate(self, keep_old=True, kind="rsa2048"):
        """A new signing key; the old ones stay published unless told otherwise."""
        if not keep_old:
            self.keys = {}
        self.kid = "%s-%s" % (self.name, uuid.uuid4().hex[:12])
        self.keys[self.kid] = pki.key(kind)

    def jwk(self, kid):
        n = self.keys[kid].public_key().public_numbers()
        if hasattr(n, "n"):
            return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
                    "n": number(n.n), "e": number(n.e)}
        return {"kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": kid,
                "x": number(n.x, 32), "y": number(n.y, 32)}

    def jwks(self):
        return {"keys": [self.jwk(k) for k in self.keys]}

    def jwks_file(self):
        return pki.write(os.path.join(self.folder, "jwks.json"),
                         json.dumps(self.jwks()).encode(), 0o644)

    def uid(self, *what):
        """The same object has the same UID as long as it is not forgotten."""
        return self.uids.setdefault(what, str(uuid.uuid4()))

    def claims(self, ns="payments", sa="checkout", pod="checkout-1", node="node-1",
               audience=("mica",), ttl=3600, now=None, **over):
        """What a bound token says; a claim of None is left out."""
        now = int(time.time() if now is None else now)
        k = {"namespace": ns, "serviceaccount": {"name": sa, "uid": self.uid("sa", ns, sa)}}
        if pod:
            k["pod"] = {"name": pod, "uid": self.uid("pod", ns, pod)}
            k["node"] = {"name": node, "uid": self.uid("node", node)}
        iat = now if ttl > 0 else now + ttl - 600  # an expired one was good once
        c = {"aud": list(audience), "exp": now + ttl, "iat": iat, "iss": self.url,
             "jti": str(uuid.uuid4()), "kubernetes.io": k, "nbf": iat,
             "sub": "system:serviceaccount:%s:%s" % (ns, sa)}
        c.update(over)
        return {k: v for k, v in c.items() if v is not None}

    def sign(self, payload, header=None, key=None):
        h = {"alg": "RS256", "kid": self.kid}
        if isinstance(key or self.keys[self.kid], ec.EllipticCurvePrivateKey):
            h["alg"] = "ES256"
        h.update(header or {})
        return jws(key or self.keys[self.kid], {k: v for k, v in h.items() if v is not None},
                   payload)

    def token(self, *names, header=None, key=None, **claims):
        return self.sign(self.claims(*names, **claims), header, key)

    # ---- the server ---------------------------------------------------------------------------

    @property
    def review_url(self):
        return self.base + "/apis/authentication.k8s.io/v1/tokenreviews"

    @property
    def jwks_uri(self):
        return self.base + "/openid/v1/jwks"

    def __enter__(self):
        issuer = self

        class Handler(_Handler):
            pass

        Handler.issuer = issuer
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.handle_error = lambda *unused: None  # clients that hang up are normal here
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.ca.server_files(self.folder, "localhost", "127.0.0.1"))
        # the handshake belongs to the connection's thread, not to the accepting one
        self.httpd.socket = context.wrap_socket(self.httpd.socket, server_side=True,
                                                do_handshake_on_connect=False)
        self.base = "https://localhost:%d" % self.httpd.server_address[1]
        self.url = self.wanted_url or self.base
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *unused):
        self.httpd.shutdown()
        self.httpd.server_close()

    # ---- how micad is told of it ----------------------------------------------------------------

    def config(self, source="file", review=None, **over):
        """An entry of `issuers` in micad's configuration; source file, uri or discovery."""
        keys = {"file": {"jwks_file": self.jwks_file()},
                "uri": {"jwks_uri": self.jwks_uri, "ca_file": self.ca_file},
                "discovery": {"discovery": True, "ca_file": self.ca_file}}[source]
        c = {"name": self.name, "kind": "kubernetes", "issuer": self.url, "cluster": self.name,
             "keys": keys, "audiences": {"rest": ["mica"]}}
        if review:
            c["review"] = {"mode": review, "url": self.review_url, "ca_file": self.ca_file,
                           "token_file": pki.write(os.path.join(self.folder, "reviewer"),
                                                   b"reviewer-secret")}
        c.update(over)
        return c


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 70
    issuer = None

    def log_message(self, *unused):
        pass

    def answer(self, body, status=200, kind="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for k, v in headers.items():
            self.send_header(k, v)
        self.end_headers()
        if self.issuer.fault == "slow":
            for i in range(len(data)):
                self.wfile.write(data[i : i + 1])
                time.sleep(1)
        else:
            self.wfile.write(data)

    def faulty(self):
        """Whether the fault of now answered."""
        fault = self.issuer.fault
        if fault == "down":
            self.close_connection = True
        elif fault == "error":
            self.answer({"message": "not today"}, 500)
        elif fault == "hang":
            end = time.monotonic() + 60
            while self.issuer.fault == "hang" and time.monotonic() < end:
                time.sleep(0.05)
            self.close_connection = True
        elif fault == "huge":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.close_connection = True
            self.wfile.write(b'{"keys":[')
            while self.issuer.fault == "huge":
                self.wfile.write(b'{"kty":"oct"},' * 4096)
        elif fault == "garbage":
            self.answer(b"<html>please log in</html>", 200, "text/html")
        elif fault == "redirect":
            self.answer(b"", 302, Location=self.issuer.base + "/elsewhere")
        else:
            return False
        return True

    def do_GET(self):
        i = self.issuer
        i.asked[self.path] += 1
        if self.faulty():
            return
        if self.path == "/.well-known/openid-configuration":
            lying = i.fault == "lying"
            self.answer({"issuer": "https://evil.example" if lying else i.url,
                         "jwks_uri": "https://evil.example/keys" if lying else i.jwks_uri,
                         "response_types_supported": ["id_token"],
                         "subject_types_supported": ["public"],
                         "id_token_signing_alg_values_supported": ["RS256"]})
        elif self.path in ("/openid/v1/jwks", "/elsewhere"):
            self.answer({"keys": []} if i.fault == "empty" else i.jwks(), 200,
                        "application/jwk-set+json")
        else:
            self.answer({"message": "no such path"}, 404)

    def do_POST(self):
        i = self.issuer
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        i.asked[self.path] += 1
        if self.faulty():
            return
        if not self.path.endswith("/tokenreviews"):
            self.answer({"message": "no such path"}, 404)
        elif self.headers.get("Authorization") != "Bearer reviewer-secret":
            self.answer({"kind": "Status", "code": 401}, 401)
        else:
            self.answer(self.review(json.loads(body)), i.review_status)

    def review(self, ask):
        """As the real one answers; tests/data/kube/reviews.json has originals."""
        part = ask["spec"]["token"].split(".")[1]
        c = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        k = c["kubernetes.io"]
        status = {"authenticated": True, "audiences": ask["spec"]["audiences"], "user": {
            "username": c["sub"], "uid": k["serviceaccount"]["uid"],
            "groups": ["system:serviceaccounts", "system:serviceaccounts:" + k["namespace"],
                       "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=" + c["jti"]]}}}
        if "pod" in k:
            extra = status["user"]["extra"]
            for what in ("pod", "node"):
                for field in ("name", "uid"):
                    extra["authentication.kubernetes.io/%s-%s" % (what, field)] = [k[what][field]]
            if k["pod"]["uid"] in self.issuer.gone:
                status = {"user": {}, "error": "[invalid bearer token, service account token has "
                          "been invalidated]"}
        return {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"creationTimestamp": None}, "spec": ask["spec"], "status": status}
