# SPDX-License-Identifier: Apache-2.0
"""Writes a C file with the bytes of a file: embed.py FILE NAME > OUT.c

A JSON document is checked and written without its white space."""

import json
import sys

path, name = sys.argv[1:3]
with open(path, "rb") as f:
    data = f.read()
if path.endswith(".json"):
    data = json.dumps(json.loads(data), separators=(",", ":"), ensure_ascii=False).encode()
print("/* Made from %s by embed.py. */" % path.rsplit("/", 1)[-1])
# as in embed.h, which an out-of-tree build would have to search for
print("extern const unsigned char %s[];\nextern const unsigned long %s_len;\n" % (name, name))
print("const unsigned char %s[] = {" % name)
for i in range(0, len(data), 16):
    print("\t" + "".join("%d," % b for b in data[i : i + 16]))
print("};\nconst unsigned long %s_len = sizeof(%s);" % (name, name))
