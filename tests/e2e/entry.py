# SPDX-License-Identifier: Apache-2.0
"""Reads ledger entries from docs/LEDGER.md alone ("Entry, format 1")."""
import struct
import uuid

TYPES = {1: "x509_issued", 2: "jwt_issued", 16: "log", 17: "authority", 18: "bundle", 19: "key",
         20: "policy", 21: "deny", 22: "admin", 23: "revocation", 24: "lineage"}
TEXTS = {1: "set", 2: "issuer", 3: "cluster", 4: "namespace", 5: "serviceaccount", 6: "pod",
         7: "node", 8: "subject", 17: "address", 18: "asker_namespace",
         19: "asker_serviceaccount", 20: "asker_pod", 22: "instance", 33: "sub", 34: "jti", 35: "kid", 36: "audience",
         48: "action", 51: "detail"}
UIDS = {9: "serviceaccount_uid", 10: "pod_uid", 11: "node_uid", 21: "asker_pod_uid"}
NUMBERS = {13: "evidence_expires", 15: "requested_ttl"}
EVIDENCE = {1: "token", 2: "renewal", 3: "pod-certificate-request", 4: "join", 5: "admin",
            6: "self"}
FRONTS = {0: "rest", 1: "istio", 2: "linkerd", 3: "consul"}


def parse(data):
    """One entry as a dictionary; ValueError for what is malformed."""
    if data[0] != 1:
        raise ValueError("format %d" % data[0])
    out = {"type": TYPES.get(data[1], "type_%d" % data[1]),
           "time_ms": int.from_bytes(data[2:8], "big"), "salt": data[8:24]}
    at, last = 24, 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length == 0xFF:
            (length,) = struct.unpack_from(">H", data, at)
            at += 2
        value = data[at : at + length]
        at += length
        if len(value) != length or not length or tag < last or (tag == last and tag != 36):
            raise ValueError("field %d" % tag)
        last = tag
        field(out, tag, value)
    return out


def field(out, tag, value):
    if tag == 36:
        out.setdefault("audience", []).append(value.decode())
    elif tag in TEXTS:
        out[TEXTS[tag]] = value.decode()
    elif tag in UIDS:
        out[UIDS[tag]] = str(uuid.UUID(bytes=value))
    elif tag in NUMBERS:
        out[NUMBERS[tag]] = int.from_bytes(value, "big")
    elif tag == 12:
        out["evidence"] = (EVIDENCE[value[0]], FRONTS[value[1]], value[2:].decode())
    elif tag == 14:
        out["origin"] = struct.unpack(">QQ", value)
    elif tag == 16:
        out["outlet"] = value[0]
    elif tag == 32:
        out["certificate"] = value
    elif tag == 37:
        out["iat"], out["exp"] = struct.unpack(">QQ", value)
    elif tag == 49:
        out["authority"] = value.hex()
    elif tag == 50:
        out["actor"] = value
