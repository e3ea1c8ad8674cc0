#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What it costs to be asked by Envoy (envoy.service.auth.v3.Authorization/Check): a real micad with four
policies about the workload, requests of HTTP with fifteen headers and the peer's certificate, h2load as the
client. On one core with the client on another, and on two with the client beside it.

    authz_bench.py --build FOLDER [--short]		prints one JSON object of figures
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
  - from: [{source: {principals: [example.org/ns/web/sa/front]}}]
    to: [{operation: {methods: [GET], paths: [/orders/*]}}]
  - from: [{source: {namespaces: [batch]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-secrets, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/orders/secret*]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-night, namespace: shop, annotations: {istio.io/dry-run: "true"}}
spec: {action: DENY, rules: [{when: [{key: "request.headers[x-time]", values: [night]}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: look, namespace: shop}
spec: {action: AUDIT, rules: [{to: [{operation: {methods: [DELETE]}}]}]}
"""


class Bench:
    def __init__(self, build, folder):
        os.environ["MICA_BIN"] = os.path.abspath(build)
        import authzproto
        import issuer
        import micad
        import pki
        self.ap, self.pki, self.micad = authzproto, pki, micad
        self.folder = folder
        self.issuer = issuer.Issuer(os.path.join(folder, "issuer"))

    def server(self, loops, cores):
        over = {"grpc": {"listen": "127.0.0.1:0", "plaintext": "127.0.0.1:0", "threads": loops},
                "limits": {"requests_per_identity": 0}}
        m = self.micad.Micad(os.path.join(self.folder, "micad-%d" % loops),
                             [self.issuer.config("file")], over)
        m.init()
        m.start()
        subprocess.run(["taskset", "-a", "-cp", cores, str(m.process.pid)], check=True,
                       stdout=subprocess.DEVNULL)
        return m

    def frame(self, m):
        a = m.fetch(self.issuer.token("web", "front", "front-1")).ok(201).json()
        leaf = self.micad.certificates(a["certificate_chain"])[0].public_bytes(self.pki.PEM)
        headers = {"x-header-%d" % i: "what it says, which is not long" for i in range(13)}
        q = self.ap.request("spiffe://example.org/ns/web/sa/front", label__app="orders",
                            method="GET", path="/orders/17", certificate=leaf, headers=headers)
        b = q.SerializeToString()
        path = os.path.join(self.folder, "frame")
        with open(path, "wb") as f:
            f.write(b"\0" + struct.pack(">I", len(b)) + b)
        return path

    def load(self, m, frame, client_cores, clients, streams, n):
        """Calls a second, microseconds of CPU for one."""
        def cpu():
            with open("/proc/%d/stat" % m.process.pid) as f:
                t = f.read().rsplit(")", 1)[1].split()
            return (int(t[11]) + int(t[12])) / os.sysconf("SC_CLK_TCK")

        begin, used = time.monotonic(), cpu()
        said = subprocess.run(
            ["taskset", "-c", client_cores, "h2load", "-H", "content-type: application/grpc",
             "-H", "te: trailers", "-d", frame, "-n", str(n), "-c", str(clients), "-m",
             str(streams), "http://" + m.ready["grpc_plaintext"] + self.ap.METHOD],
            capture_output=True, text=True, check=True).stdout
        seconds = time.monotonic() - begin
        if " %d succeeded" % n not in said:
            raise SystemExit("h2load: not all calls were answered:\n" + said)
        return n / seconds, 1e6 * (cpu() - used) / n


def allowed(m):
    name = 'mica_policy_decisions_total{door="ext_authz",verdict="allow",why="allow_rule"} '
    for line in m.metrics().get("/metrics").ok().body.decode().splitlines():
        if line.startswith(name):
            return int(line[len(name):])
    return 0


def measure(build, short=False):
    n = 20000 if short else 200000
    figures = {}
    with tempfile.TemporaryDirectory(prefix="mica-bench-") as folder:
        b = Bench(build, folder)
        with b.issuer:
            for name, loops, cores, client in (("ext_authz_core", 1, "0", "1"),
                                               ("ext_authz", 2, "0,1", "0,1")):
                m = b.server(loops, cores)
                try:
                    b.ap.put_policies(m, POLICIES)
                    frame = b.frame(m)
                    b.load(m, frame, client, 16, 1, n // 10)
                    before = allowed(m)
                    figures[name + "_per_s"], figures[name + "_cpu_us"] = b.load(
                        m, frame, client, 16, 1, n)
                    figures[name + "_16_streams_per_s"], figures[
                        name + "_16_streams_cpu_us"] = b.load(m, frame, client, 8, 16, n)
                    if allowed(m) - before != 2 * n:
                        raise SystemExit("not every call was allowed by the policy that is meant")
                finally:
                    m.stop()
                    m.sockets.cleanup()
    return figures


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--build", required=True, help="build folder")
    p.add_argument("--short", action="store_true", help="a tenth of the calls")
    args = p.parse_args()
    print(json.dumps({k: round(v, 3) for k, v in measure(args.build, args.short).items()},
                     indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
