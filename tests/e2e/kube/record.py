#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records tokens, keys and TokenReview answers of a real API server as fixtures.

    tests/e2e/kube/record.py [tests/data/kube]

The files are input for tests that inject the clock, so they never expire; run this again only
when another version of Kubernetes is to be met, and look at the difference. The server and its
private keys live for the recording only.
"""
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import kubeapi

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")


class Recorder:
    def __init__(self, api):
        self.api = api
        self.tokens, self.reviews = [], []

    def token(self, name, what, ns="payments", sa="checkout", **how):
        """Asks for a token and notes what it is."""
        t = self.api.token(ns, sa, **how)
        self.note(name, what, t)
        return t

    def note(self, name, what, token):
        c = kubeapi.claims(token)
        k = c["kubernetes.io"]
        self.tokens.append({
            "name": name, "what": what, "iat": c["iat"], "nbf": c["nbf"], "exp": c["exp"],
            "warnafter": k.get("warnafter", 0), "jti": c["jti"], "aud": c["aud"],
            "sub": c["sub"], "namespace": k["namespace"],
            "serviceaccount_uid": k["serviceaccount"]["uid"],
            "pod": k.get("pod", {}).get("name", ""), "pod_uid": k.get("pod", {}).get("uid", ""),
            "node": k.get("node", {}).get("name", ""),
            "node_uid": k.get("node", {}).get("uid", ""), "token": token})

    def review(self, name, what, token, audiences=("mica",), by=kubeapi.ADMIN):
        """Asks TokenReview; the answer is kept octet by octet."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                   "spec": {"token": token, "audiences": list(audiences)}}
        status, answer = self.api.raw(
            "POST", "/apis/authentication.k8s.io/v1/tokenreviews", request, by)
        self.reviews.append({"name": name, "what": what,
                             "token": next(t["name"] for t in self.tokens if t["token"] == token),
                             "request": request, "status": status, "answer": answer.decode()})


def bound_to_others(r, api):
    """Tokens that no pod was given: refused by whoever requires one."""
    r.token("no_pod", "bound to nothing")
    base = "/api/v1/namespaces/payments/"
    api.call("POST", base + "secrets", {"metadata": {"name": "sealed"}})
    for name, kind in (("secret_bound", "Secret"), ("node_bound", "Node")):
        t = api.call("POST", base + "serviceaccounts/checkout/token", {"spec": {
            "audiences": ["mica"], "expirationSeconds": 3600,
            "boundObjectRef": {"kind": kind, "apiVersion": "v1",
                               "name": "sealed" if kind == "Secret" else "node-1"}}})
        r.note(name, "bound to a %s" % kind, t["status"]["token"])


def gone(r, api, pod):
    """What is said of tokens whose pod or account went. Each is asked about once: the server
    remembers a yes for 10 s."""
    late = r.token("late", "of a pod that is deleted soon", **pod)
    later = r.token("later", "of a pod that is replaced soon", **pod)
    cart = r.token("cart_late", "of a service account that is deleted soon", ns="shop",
                   sa="cart.v2", pod="cart-0")
    cart_later = r.token("cart_later", "of a service account that is replaced soon", ns="shop",
                         sa="cart.v2", pod="cart-0")
    api.delete_pod("payments", pod["pod"])
    api.delete_service_account("shop", "cart.v2")
    time.sleep(1)  # the server's own watches
    r.review("pod_gone", "the pod was deleted", late)
    r.review("account_gone", "the service account was deleted", cart)
    api.pod("payments", "checkout", pod["pod"])
    api.service_account("shop", "cart.v2")
    time.sleep(1)
    r.review("pod_replaced", "a new pod has its name", later)
    r.review("account_replaced", "a new service account has its name", cart_later)


def record(api, r):
    api.pod("payments", "checkout", "checkout-6f7d9c5b4-x2x7k")
    api.pod("shop", "cart.v2", "cart-0", node="node-2.example")
    pod = {"pod": "checkout-6f7d9c5b4-x2x7k"}
    good = r.token("pod", "what kubelet asks for a pod", **pod)
    r.token("short", "ten minutes, the least there is", ttl=600, **pod)
    cart = r.token("other_pod", "another pod, service account and node; two audiences",
                   ns="shop", sa="cart.v2", pod="cart-0", audiences=["istio-ca", "mica"])
    istio = r.token("istio", "for the Istio front only", audiences=["istio-ca"], **pod)
    r.token("api", "for the API server itself", audiences=[api.issuer], **pod)
    r.token("extended", "for the API server, by an old client: a year long, with warnafter",
            audiences=[api.issuer], ttl=3607, **pod)
    bound_to_others(r, api)

    r.review("yes", "authenticated", good)
    r.review("yes_other", "authenticated, somebody else", cart)
    r.review("wrong_audience", "a good token for another audience", istio)
    nobody = api.token("payments", "nobody", audiences=[api.issuer])
    r.review("forbidden", "the asker lacks RBAC", good, by=nobody)
    r.review("unknown_asker", "the asker's own token is not good", good, by="not-a-token")
    gone(r, api, pod)

    before = api.raw("GET", "/openid/v1/jwks")[1]
    api.rotate_signing_key()
    r.token("rotated", "signed with a new key", **pod)
    api.sa_keys.pop() # the old key is withdrawn
    api.stop_server()
    api.start_server()
    r.review("key_gone", "the signing key was withdrawn", good)
    api.sa_keys.append(api.path("sa-1"))
    api.stop_server()
    api.start_server()
    return before


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.normpath(
        os.path.join(TOP, "tests", "data", "kube"))
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp, kubeapi.KubeApi(tmp) as api:
        r = Recorder(api)
        before = record(api, r)
        version = api.call("GET", "/version")["gitVersion"]
        files = {
            "jwks.json": before,
            "jwks-rotated.json": api.raw("GET", "/openid/v1/jwks")[1],
            "discovery.json": api.raw("GET", "/.well-known/openid-configuration")[1],
            "tokens.json": {"server": version, "issuer": api.issuer, "tokens": r.tokens},
            "reviews.json": {"server": version, "reviews": r.reviews},
        }
    for name, content in files.items():
        if not isinstance(content, bytes):
            content = json.dumps(content, indent=1).encode() + b"\n"
        with open(os.path.join(out, name), "wb") as f:
            f.write(content)
    print("%d tokens, %d reviews of %s in %s" % (len(r.tokens), len(r.reviews), version, out))


if __name__ == "__main__":
    main()
