#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the gRPC server itself costs, with methods that do nothing (tests/e2e/rpc_echo): CPU time of a
call and of a connection, and memory of a connection that is open. The server has one loop on one core,
h2load is the client.

    rpc.py --build FOLDER [--short]		prints one JSON object of figures
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
SETTINGS = {"loops": 1, "max_connections": 30000, "max_calls": 30000, "max_age_ms": 0, "idle_ms": 3600000,
            "handshake_ms": 60000}
ARRIVING = ("-r", 400)  # new connections a second
SETTLE_S = 11  # what the handshakes left behind is given back by then


def h2load(url, body, *args):
    return ["taskset", "-c", "1", "h2load", "-H", "content-type: application/grpc",
            "-H", "te: trailers", "-d", body, *map(str, args), url]


class Bench:
    def __init__(self, folder):
        import rpcecho  # wants the build folder in the environment
        self.rpcecho = rpcecho
        self.folder = folder
        self.body = os.path.join(folder, "frame")
        with open(self.body, "wb") as f:  # as long as a request for a certificate
            f.write(rpcecho.frame(b"m" * 1500))

    def server(self):
        return self.rpcecho.Echo(os.path.join(self.folder, "echo"), plain=True,
                                 wrap=("taskset", "-c", "0"), **SETTINGS)

    def url(self, server, how, method):
        scheme = "https" if how == "tls" else "http"
        return "%s://%s/test.Echo/%s" % (scheme, server.address[how], method)

    def cpu_us(self, server, method, clients, streams, calls):
        """Of one more call: the difference between a long and a short run."""
        used = []
        for n in (clients * streams, calls + clients * streams):
            before = server.cpu()
            said = subprocess.run(
                h2load(self.url(server, "tls", method), self.body, "-n", n, "-c", clients,
                       "-m", streams), capture_output=True, text=True, check=True).stdout
            if " %d succeeded" % n not in said:
                raise SystemExit("h2load: not all calls were answered:\n" + said)
            used.append(server.cpu() - before)
        return 1e6 * (used[1] - used[0]) / calls

    def handshake_us(self, server, n):
        before = server.cpu()
        for _ in range(n // 200):
            subprocess.run(h2load(self.url(server, "tls", "Unary"), self.body, "-n", 200,
                                  "-c", 200), stdout=subprocess.DEVNULL, check=True)
        return 1e6 * (server.cpu() - before) / n

    def held_kb(self, how, n):
        """Each of n connections has one stream open, whose first message was sent."""
        with self.server() as server:
            before = server.rss()
            client = subprocess.Popen(
                h2load(self.url(server, how, "Forever"), self.body, "-n", n, "-c", n, *ARRIVING),
                stdout=subprocess.DEVNULL)
            try:
                end = time.monotonic() + 300
                while server.stats()["calls_now"] <= n:
                    if time.monotonic() > end or client.poll() is not None:
                        raise SystemExit("%d connections could not be held" % n)
                    time.sleep(0.2)
                time.sleep(SETTLE_S)
                return (server.rss() - before) / 1024 / n, server.rss() / 1e6
            finally:
                client.kill()
                client.wait()


def measure(build, short=False):
    os.environ["MICA_BUILDDIR"] = os.path.abspath(build)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    calls, held = (20000, 1000) if short else (200000, 10000)
    figures = {}
    with tempfile.TemporaryDirectory(prefix="mica-bench-") as folder:
        b = Bench(folder)
        with b.server() as server:
            figures["rpc_cpu_us_call"] = b.cpu_us(server, "Unary", 64, 1, calls)
            figures["rpc_cpu_us_call_deferred"] = b.cpu_us(server, "Later", 64, 1, calls)
            figures["rpc_cpu_us_call_16_streams"] = b.cpu_us(server, "Unary", 8, 16, calls)
            figures["rpc_cpu_us_connection"] = b.handshake_us(server, calls // 50)
        figures["rpc_connections"] = held
        for how in ("tls", "plain"):
            kb, mb = b.held_kb(how, held)
            figures["rpc_connection_kb_" + how] = kb
            figures["rpc_connections_mb_" + how] = mb
    return figures


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--build", required=True, help="build folder")
    p.add_argument("--short", action="store_true", help="a tenth of the calls and connections")
    args = p.parse_args()
    figures = measure(args.build, args.short)
    print(json.dumps({k: round(v, 3) for k, v in figures.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
