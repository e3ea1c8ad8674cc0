#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks a transparency log from outside, from the standards alone.

    ledger_check.py VKEY DIR|URL [--old CHECKPOINT_FILE] [--receipt FILE ENTRY_FILE] [--hashes]

RFC 6962 hashing by hashlib, C2SP tlog-tiles, signed-note, tlog-checkpoint and tlog-proof read here
anew; only the Ed25519 check comes from python cryptography. Nothing of Mica's own code is used, which is the point.
Exit status 0 when everything holds, 1 with the first thing that does not. Also a module: Log, Checkpoint,
verify_inclusion, verify_consistency, check_receipt.
"""
import argparse
import base64
import hashlib
import os
import ssl
import struct
import sys
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256


class Bad(Exception):
    """The log does not hold what it promises."""


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def tree_hash(hashes):
    """MTH of RFC 6962 2.1 over leaf hashes (or equal subtrees), level by level."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    row = list(hashes)
    while len(row) > 1:
        nxt = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            nxt.append(row[-1])
        row = nxt
    return row[0]


class Key:
    def __init__(self, vkey):
        self.name, hex_id, b64 = vkey.strip().split("+", 2)
        raw = base64.b64decode(b64, validate=True)
        if raw[0] != 1 or len(raw) != 33:
            raise Bad("vkey: not an Ed25519 key")
        self.id = bytes.fromhex(hex_id)
        if hashlib.sha256(self.name.encode() + b"\n" + raw).digest()[:4] != self.id:
            raise Bad("vkey: its id is not that of its name and key")
        self.key = Ed25519PublicKey.from_public_bytes(raw[1:])


class Checkpoint:
    def __init__(self, note, key):
        self.note = note
        text, sep, sigs = note.rpartition(b"\n\n")
        if not sep:
            raise Bad("checkpoint: no signatures")
        text += b"\n"
        seen = 0
        for line in sigs.decode().splitlines():
            dash, name, b64 = line.split(" ")
            blob = base64.b64decode(b64, validate=True)
            if dash != "\u2014":
                raise Bad("checkpoint: malformed signature line")
            if name != key.name or blob[:4] != key.id:
                continue
            try:
                key.key.verify(blob[4:], text)
            except InvalidSignature:
                raise Bad("checkpoint: wrong signature") from None
            seen += 1
        if not seen:
            raise Bad("checkpoint: not signed by " + key.name)
        lines = text.decode().split("\n")
        self.origin, size, root = lines[0], lines[1], lines[2]
        if self.origin != key.name:
            raise Bad("checkpoint: origin is not the key's name")
        self.size = int(size)
        if str(self.size) != size:
            raise Bad("checkpoint: size is not canonical")
        self.root = base64.b64decode(root, validate=True)
        if len(self.root) != 32:
            raise Bad("checkpoint: root of a wrong length")


def tile_path(level, n, width):
    parts = []
    while True:
        parts.insert(0, "%03d" % (n % 1000))
        n //= 1000
        if n == 0:
            break
    path = "/".join(["x" + p for p in parts[:-1]] + parts[-1:])
    return "tile/%s/%s%s" % (level, path, "" if width == WIDTH else ".p/%d" % width)


class Log:
    """A log in a directory or below a URL."""

    def __init__(self, where, vkey, context=None):
        self.where = where.rstrip("/")
        self.key = Key(vkey)
        self.context = context

    def read(self, path):
        if not self.where.startswith(("http://", "https://")):
            with open(os.path.join(self.where, path), "rb") as f:
                return f.read()
        with urllib.request.urlopen(
            self.where + "/" + path, timeout=10, context=self.context
        ) as answer:
            return answer.read()

    def checkpoint(self):
        return Checkpoint(self.read("checkpoint"), self.key)

    def tile(self, level, n, size):
        hashes = (size >> (8 * level)) - n * WIDTH
        width = min(hashes, WIDTH)
        data = self.read(tile_path(level, n, width))
        if len(data) != 32 * width:
            raise Bad("tile %d/%d: %d octets, expected %d" % (level, n, len(data), 32 * width))
        return [data[i : i + 32] for i in range(0, len(data), 32)]

    def row(self, level, size):
        """All hashes of one tile level."""
        out = []
        for n in range(((size >> (8 * level)) + WIDTH - 1) // WIDTH):
            out += self.tile(level, n, size)
        return out

    def bundle(self, n, size):
        width = min(size - n * WIDTH, WIDTH)
        data = self.read(tile_path("entries", n, width))
        out, at = [], 0
        while at < len(data):
            (length,) = struct.unpack_from(">H", data, at)
            out.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        if at != len(data) or len(out) != width:
            raise Bad("bundle %d: malformed" % n)
        return out

    def entries(self, size):
        for n in range((size + WIDTH - 1) // WIDTH):
            yield from self.bundle(n, size)

    def verify(self, bundles=True):
        """The whole log against its checkpoint; returns the checkpoint."""
        cp = self.checkpoint()
        leaves = self.row(0, cp.size)
        if tree_hash(leaves) != cp.root:
            raise Bad("tree: the leaves do not lead to the signed root")
        below = leaves
        level = 1
        while cp.size >> (8 * level):
            row = self.row(level, cp.size)
            for i, h in enumerate(row):
                if tree_hash(below[i * WIDTH : (i + 1) * WIDTH]) != h:
                    raise Bad("tile level %d: hash %d is not that of the tile below" % (level, i))
            below = row
            level += 1
        if bundles:
            for i, entry in enumerate(self.entries(cp.size)):
                if leaf_hash(entry) != leaves[i]:
                    raise Bad("entry %d is not what the tree holds" % i)
        self.leaves = leaves
        return cp


def verify_inclusion(leaf, index, size, proof, root):
    """RFC 9162 2.1.3.2"""
    if index >= size:
        raise Bad("inclusion: index outside the tree")
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            raise Bad("inclusion: too many hashes")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            r = node_hash(r, p)
        fn >>= 1
        sn >>= 1
    if sn != 0 or r != root:
        raise Bad("inclusion: the proof does not lead to the root")


def verify_consistency(old, new, leaves):
    """With all leaves at hand: the old root is that of the first leaves."""
    if old.size > new.size or old.origin != new.origin:
        raise Bad("consistency: smaller, or another log")
    if tree_hash(leaves[: old.size]) != old.root:
        raise Bad("consistency: the log does not contain the older one")


def check_receipt(receipt, entry, vkey):
    """tlog-proof: entry is in the tree of the checkpoint inside; returns (index, checkpoint)."""
    head, sep, note = receipt.partition(b"\n\n")
    lines = head.decode().split("\n")
    if not sep or lines[0] != "c2sp.org/tlog-proof@v1":
        raise Bad("receipt: not a tlog-proof")
    lines = [x for x in lines[1:] if not x.startswith("extra ")]
    if not lines[0].startswith("index "):
        raise Bad("receipt: no index")
    index = int(lines[0][6:])
    cp = Checkpoint(note, Key(vkey))
    proof = [base64.b64decode(x, validate=True) for x in lines[1:]]
    verify_inclusion(leaf_hash(entry), index, cp.size, proof, cp.root)
    return index, cp


def main():
    p = argparse.ArgumentParser(description="check a transparency log (C2SP tlog-tiles)")
    p.add_argument("vkey")
    p.add_argument("where", help="directory or URL that holds checkpoint and tile/")
    p.add_argument("--old", help="file with an older checkpoint: must be contained")
    p.add_argument("--receipt", nargs=2, metavar=("FILE", "ENTRY"))
    p.add_argument("--hashes", action="store_true", help="there are no entry bundles")
    p.add_argument("--cafile")
    a = p.parse_args()
    context = ssl.create_default_context(cafile=a.cafile) if a.cafile else None
    try:
        log = Log(a.where, a.vkey, context)
        cp = log.verify(bundles=not a.hashes)
        if a.old:
            with open(a.old, "rb") as f:
                verify_consistency(Checkpoint(f.read(), log.key), cp, log.leaves)
        if a.receipt:
            with open(a.receipt[0], "rb") as r, open(a.receipt[1], "rb") as e:
                check_receipt(r.read(), e.read(), a.vkey)
    except (Bad, OSError, ValueError, IndexError, struct.error) as err:
        print("ledger_check: %s" % err, file=sys.stderr)
        return 1
    print("%s: %d entries, root %s" % (cp.origin, cp.size, base64.b64encode(cp.root).decode()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
