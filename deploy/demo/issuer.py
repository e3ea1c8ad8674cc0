#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A token issuer for playgrounds: makes a signing key, and tokens in the shape of Kubernetes' bound
service-account tokens. Never for production: whoever can read its key can be any workload.

  issuer.py init DIR    writes DIR/issuer.key (0600) and DIR/jwks.json
  issuer.py mint DIR    prints a fresh token; see --help of `mint`
"""
import argparse
import base64
import hashlib
import json
import os
import sys
import time
import uuid

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER = "https://issuer.demo.mica.example"


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(n):
    return b64url(n.to_bytes((n.bit_length() + 7) // 8, "big"))


def write(path, data, mode):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "wb") as f:
        f.write(data)


def kid_of(public):
    der = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b64url(hashlib.sha256(der).digest())[:22]


def init(folder):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key()
    numbers = public.public_numbers()
    jwk = {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": kid_of(public),
        "n": number(numbers.n),
        "e": number(numbers.e),
    }
    write(os.path.join(folder, "issuer.key"), pem, 0o600)
    write(os.path.join(folder, "jwks.json"), json.dumps({"keys": [jwk]}, indent=1).encode() + b"\n", 0o644)


def uid(*names):
    """The same object always has the same UID, as in a cluster."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((ISSUER,) + names)))


def mint(folder, args):
    with open(os.path.join(folder, "issuer.key"), "rb") as f:
        key = serialization.load_pem_private_key(f.read(), None)
    now = int(time.time())
    ns, sa, pod = args.namespace, args.serviceaccount, args.pod
    # A negative TTL is a token that was good once: ten minutes, and then so long ago.
    issued = now if args.ttl > 0 else now + args.ttl - 600
    claims = {
        "iss": ISSUER,
        "sub": f"system:serviceaccount:{ns}:{sa}",
        "aud": [args.audience],
        "iat": issued,
        "nbf": issued,
        "exp": now + args.ttl,
        "jti": str(uuid.uuid4()),
        "kubernetes.io": {
            "namespace": ns,
            "node": {"name": "node-1", "uid": uid("node", "node-1")},
            "pod": {"name": pod, "uid": uid("pod", ns, pod)},
            "serviceaccount": {"name": sa, "uid": uid("sa", ns, sa)},
        },
    }
    header = {"alg": "RS256", "kid": kid_of(key.public_key())}
    parts = [b64url(json.dumps(p, separators=(",", ":")).encode()) for p in (header, claims)]
    signed = ".".join(parts)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    print(signed + "." + b64url(signature))


def main():
    p = argparse.ArgumentParser(prog="issuer.py", description=__doc__.split("\n")[0])
    sub = p.add_subparsers(dest="command", required=True)
    sub.add_parser("init").add_argument("folder")
    m = sub.add_parser("mint", description="Prints a fresh token of the demo issuer.")
    m.add_argument("folder")
    m.add_argument("--namespace", default="shop")
    m.add_argument("--serviceaccount", default="cart")
    m.add_argument("--pod", default="cart-7d4b9c6f5-x2x9k")
    m.add_argument("--audience", default="mica")
    m.add_argument("--ttl", type=int, default=3600, help="seconds; negative: expired so long ago")
    args = p.parse_args()
    if args.command == "init":
        init(args.folder)
    else:
        mint(args.folder, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
