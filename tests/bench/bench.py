#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What one certificate costs, as a ratio to the raw cryptography in the same run (docs/PERFORMANCE.md).

Starts the real micad, pinned to one core, and the load on another; every request has a token and a
key of its own and is sent once, over kept-alive connections, with everything durable. Prints a table
and writes a flat JSON object. Nothing here passes or fails by a time: a request that is refused, an
answer without an entry of its own in the ledger and a step that does not end are errors.

  bench.py --build DIR [--out bench.json] [--short] [--entries N ...]
"""
import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import agent_bench
import authz_bench
import rpc

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
ISSUER = "https://issuer.demo.mica.example"
STEP_S = 300  # no step lasts longer
CLIENTS = 64

CONFIG = """trust_domain: bench.mica.example
store:
  path: {dir}/store
  max_disk_percent: 99
passphrase:
  file: {dir}/passphrase
https:
  listen: 127.0.0.1:0
  watch: 127.0.0.1:0
  dns_names: [localhost]
  ip_addresses: [127.0.0.1]
  threads: 1
  max_connections: 20000
  max_connections_per_address: 20000
  max_watchers: 20000
  idle_timeout: 30m
{grpc}admin:
  socket: {dir}/admin.sock
metrics:
  listen: 127.0.0.1:0
log:
  level: info
limits:
  requests_per_identity: 1000000
  failures_per_address: 1000000
issuers:
  - name: demo
    kind: kubernetes
    issuer: {issuer}
    cluster: demo
    keys:
      jwks_file: {keys}/jwks.json
    audiences:
      rest: [mica]
      istio: [mica]
      linkerd: [mica]
"""
GRPC = """grpc:
  listen: 127.0.0.1:0
  threads: 1
  max_connections: 20000
  max_connections_per_address: 20000
"""

SHORT = {"warm": 500, "one": 300, "eight": 1500, "all": 5000, "new": 400, "held": 1000, "rounds": 1}
FULL = {"warm": 2000, "one": 1500, "eight": 6000, "all": 16000, "new": 3000, "held": 10000, "rounds": 3}


def fail(text):
    sys.exit(f"bench: {text}")


def run(*argv, **kw):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=STEP_S, **kw)
    except subprocess.TimeoutExpired:
        fail(f"did not end within {STEP_S} s: {' '.join(argv)}")
    if done.returncode:
        fail(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
    return done.stdout


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Requests:
    """One file of requests, each with its own token and key. It serves every server of this run,
    since none knows what another was asked; to one server no request is sent twice."""

    def __init__(self, args):
        s = args.size
        self.count = s["warm"] + s["one"] + s["eight"] * 2 + s["new"] + s["all"] * s["rounds"] * 3
        self.keys = os.path.join(args.folder, "issuer")
        os.mkdir(self.keys)
        run(sys.executable, os.path.join(TOP, "deploy/demo/issuer.py"), "init", self.keys)
        with open(os.path.join(self.keys, "jwks.json"), encoding="utf-8") as f:
            kid = json.load(f)["keys"][0]["kid"]
        self.path = os.path.join(args.folder, "requests")
        progress(f"making {self.count} tokens and requests")
        run(
            os.path.join(args.build, "tests/bench/load"), "prepare",
            os.path.join(self.keys, "issuer.key"), kid, ISSUER, str(self.count), self.path,
        )


class Server:
    """micad on core 0, its store in a folder of its own."""

    def __init__(self, args, requests, name, grpc=False):
        self.build, self.requests = args.build, requests
        self.dir = os.path.join(args.folder, name)
        os.mkdir(self.dir)
        fd = os.open(os.path.join(self.dir, "passphrase"), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, os.urandom(16).hex().encode())
        os.close(fd)
        self.config = os.path.join(self.dir, "micad.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(dir=self.dir, keys=requests.keys, issuer=ISSUER,
                                  grpc=GRPC if grpc else ""))
        run(os.path.join(self.build, "mica"), "init", "--config", self.config)
        self.process, self.sent = None, 0

    def grow(self, entries):
        before = self.disk_bytes()
        began = time.monotonic()
        run(os.path.join(self.build, "tests/bench/grow"), self.config, str(entries))
        progress(f"{entries} entries in {time.monotonic() - began:.0f} s")
        return (self.disk_bytes() - before) / entries

    def start(self):
        path = os.path.join(self.dir, "micad.log")
        began = time.monotonic()
        with open(path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", "0", os.path.join(self.build, "micad"), "--config", self.config],
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        while True:
            with open(path, encoding="utf-8") as f:
                text = f.read()
            ready = re.search(r"event=ready (.*)", text)
            if ready:
                break
            if self.process.poll() is not None or time.monotonic() - began > 60:
                fail(f"micad did not start\n{text}")
            time.sleep(0.005)
        self.start_ms = (time.monotonic() - began) * 1000
        where = dict(re.findall(r'(\w+)="?([^" ]+)"?', ready.group(1)))
        opened = re.search(r"event=store_opened .*?unlock_ms=([\d.]+) open_ms=([\d.]+)", text)
        self.unlock_ms, self.open_ms = (float(opened.group(i)) for i in (1, 2))
        self.host, self.port = where["https"].rsplit(":", 1)
        self.ports = {"grpc": where.get("grpc", ":").rsplit(":", 1)[1]}
        self.ports["grpc-new"] = self.ports["linkerd"] = self.ports["grpc"]
        self.watch_port = where["watch"].rsplit(":", 1)[1]
        self.metrics_at = where["metrics"]
        self.roots = os.path.join(self.dir, "roots.pem")
        with open(self.roots, "w", encoding="utf-8") as f:
            f.write(self.mica("bundle", "show", "--format", "pem"))
        self.sequence = json.loads(self.mica("bundle", "show", "--format", "json"))["spiffe_sequence"]
        return self

    def mica(self, *argv):
        env = dict(os.environ, MICA_ADMIN_SOCKET=os.path.join(self.dir, "admin.sock"))
        return run(os.path.join(self.build, "mica"), *argv, env=env)

    @property
    def pid(self):
        return str(self.process.pid)

    @property
    def etag(self):
        return f'"default-live-{self.sequence}"'

    def metric(self, name):
        with urllib.request.urlopen(f"http://{self.metrics_at}/metrics", timeout=30) as f:
            m = re.search(rf"^{re.escape(name)} (\d+)", f.read().decode(), re.M)
        if not m:
            fail(f"no metric {name}")
        return int(m.group(1))

    def wait_watchers(self, count):
        """The last of them may still be on its way."""
        until = time.monotonic() + 30
        while (waiting := self.metric('mica_watchers{listener="watch"}')) != count:
            if time.monotonic() > until:
                fail(f"{waiting} watchers wait, expected {count}")
            time.sleep(0.05)

    def rss_mb(self, field="VmRSS"):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as f:
            return int(re.search(rf"{field}:\s+(\d+)", f.read()).group(1)) / 1024

    def disk_bytes(self):
        folder = os.path.join(self.dir, "store")
        return sum(os.stat(os.path.join(folder, n)).st_blocks * 512 for n in os.listdir(folder))

    def load(self, clients, requests, *more):
        """The next `requests` of the file, none of which this server has seen."""
        entries = self.metric("mica_ledger_entries")
        r = json.loads(
            run(
                "taskset", "-c", "1", os.path.join(self.build, "tests/bench/load"), "run", self.host,
                self.ports.get("".join(more), self.port), self.roots, self.pid,
                self.requests.path, str(self.sequence),
                str(self.sent), str(requests), str(clients), *more,
            )
        )
        self.sent += requests
        grown = self.metric("mica_ledger_entries") - entries
        if not r["created"] == requests == grown:
            fail(f"{requests} requests, {r['created']} certificates, {grown} entries")
        return r

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            fail("micad did not stop within a minute")
        finally:
            self.kill()
        if status != 0:
            fail(f"micad ended with {status}")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Held:
    """Idle connections, or waiting watchers, for as long as the block lasts."""

    def __init__(self, server, count, watch=False):
        port = server.watch_port if watch else server.port
        load = os.path.join(server.build, "tests/bench/load")
        self.argv = ["timeout", str(STEP_S), "taskset", "-c", "1", load, "hold", server.host, port]
        self.argv += [server.roots, str(count), *([server.etag] if watch else [])]

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "held\n":
            fail("connections were refused")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Watches:
    """gRPC connections with one open stream each, for as long as the block lasts."""

    def __init__(self, server, count):
        self.server, self.count = server, count
        body = os.path.join(server.dir, "watch")
        with open(body, "wb") as f:
            f.write(bytes(5))  # an empty message: the server as a whole
        url = f"https://{server.host}:{server.ports['grpc']}/grpc.health.v1.Health/Watch"
        self.argv = rpc.h2load(url, body, "-n", count, "-c", count, *rpc.ARRIVING)

    def __enter__(self):
        until = time.monotonic() + STEP_S
        self.process = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL)
        while self.server.metric("mica_grpc_calls") < self.count:
            if time.monotonic() > until or self.process.poll() is not None:
                self.__exit__()
                fail(f"{self.count} streams could not be held")
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def floor_us(build):
    """Raw P-256 verify and sign, and RS256 verify, by OpenSSL's cheapest calls, on the server's core."""
    m = json.loads(run("taskset", "-c", "0", os.path.join(build, "tests/bench/micro"), "raw"))
    return m, m["raw_p256_verify_us"] + m["raw_p256_sign_us"] + m["raw_rs256_verify_us"]


def median(rows, key):
    return statistics.median(r[key] for r in rows)


def full_load(args, server, *kinds):
    """The main figure: rounds of raw operations and load by turns, so that all meet the same machine; of
    each kind its rows."""
    rows = tuple([] for _ in kinds)
    for _ in range(args.size["rounds"]):
        for kind, to in zip(kinds, rows):
            raw, floor = floor_us(args.build)
            row = server.load(CLIENTS, args.size["all"], *kind)
            row.update(raw, floor_us=min(floor, floor_us(args.build)[1]))
            row["cpu_ratio"] = row["cpu_us"] / row["floor_us"]
            to.append(row)
    return rows


def measure_load(args, server, figures):
    server.load(8, args.size["warm"])
    (rows,) = full_load(args, server, [])
    for k in ("raw_p256_verify_us", "raw_p256_sign_us", "raw_rs256_verify_us", "floor_us", "cpu_ratio"):
        figures[k] = median(rows, k)
    figures["cpu_us_per_cert"] = median(rows, "cpu_us")
    figures["certs_per_second"] = median(rows, "per_second")
    figures["switches_per_cert"] = median(rows, "switches")
    figures["p99_ms"] = median(rows, "p99_ms")
    for clients, part in ((1, "one"), (8, "eight"), (CLIENTS, None)):
        some = [server.load(clients, args.size[part])] if part else rows
        for k in ("cpu_us", "per_second", "p50_ms", "p99_ms", "p999_ms"):
            figures[f"{k}_{clients}"] = median(some, k)
    figures["rss_mb"] = server.rss_mb("VmHWM")


def measure_new(args, server, figures):
    kept = server.load(8, args.size["eight"])
    fresh = server.load(8, args.size["new"], "new")
    figures["cpu_us_new_connection"] = fresh["cpu_us"]
    figures["per_second_new_connection"] = fresh["per_second"]
    figures["handshake_cpu_us"] = fresh["cpu_us"] - kept["cpu_us"]


def measure_grpc(args, requests, figures):
    """The same tokens and keys through Istio's certificate service and through Linkerd's, and REST
    beside them."""
    server = Server(args, requests, "grpc", grpc=True).start()
    args.servers.append(server)
    server.load(8, args.size["warm"], "grpc")
    rows, rest, linkerd = full_load(args, server, ["grpc"], [], ["linkerd"])
    figures["grpc_cpu_us_per_cert"] = median(rows, "cpu_us")
    figures["grpc_cpu_ratio"] = median(rows, "cpu_ratio")
    figures["grpc_certs_per_second"] = median(rows, "per_second")
    figures["grpc_to_rest_ratio"] = figures["grpc_cpu_us_per_cert"] / median(rest, "cpu_us")
    figures["linkerd_cpu_us_per_cert"] = median(linkerd, "cpu_us")
    figures["linkerd_to_rest_ratio"] = figures["linkerd_cpu_us_per_cert"] / median(rest, "cpu_us")
    for k in ("p50_ms", "p99_ms"):
        figures[f"grpc_{k}_{CLIENTS}"] = median(rows, k)
    kept = server.load(8, args.size["eight"], "grpc")
    fresh = server.load(8, args.size["new"], "grpc-new")
    figures["grpc_handshake_cpu_us"] = fresh["cpu_us"] - kept["cpu_us"]
    measure_held_grpc(args, server, figures)
    server.stop()


def measure_held_grpc(args, server, figures):
    held = args.size["held"]
    before = server.rss_mb()
    with Watches(server, held):
        time.sleep(rpc.SETTLE_S)
        figures["grpc_connections"] = held
        figures["grpc_connections_mb"] = server.rss_mb() - before
        figures["grpc_connection_kb"] = figures["grpc_connections_mb"] * 1024 / held


def measure_held(args, server, figures):
    held = args.size["held"]
    before = server.rss_mb()
    with Held(server, held):
        figures["idle_connections"] = held
        figures["idle_connections_mb"] = server.rss_mb() - before
        figures["idle_connection_kb"] = figures["idle_connections_mb"] * 1024 / held


def measure_watchers(args, server, figures):
    """Against the same load without watchers, once before and once after."""
    n = args.size["all"] if args.size["rounds"] > 1 else args.size["all"] // 2
    base = [server.load(CLIENTS, n)]
    with Held(server, args.size["held"], watch=True):
        server.wait_watchers(args.size["held"])
        watched = server.load(CLIENTS, n)
    base.append(server.load(CLIENTS, n))
    figures["watchers"] = args.size["held"]
    figures["cpu_us_with_watchers"] = watched["cpu_us"]
    figures["p99_ms_with_watchers"] = watched["p99_ms"]
    figures["watchers_ratio"] = watched["cpu_us"] / statistics.mean(r["cpu_us"] for r in base)


def measure_entries(args, requests, figures):
    """The same load on ledgers that have entries already, by turns, and how long it takes to start."""
    servers = [Server(args, requests, f"entries-{n}") for n in args.entries]
    args.servers += servers
    for n, server in zip(args.entries, servers):
        figures[f"bytes_per_cert_{n}"] = server.grow(n)
        server.start()
        figures[f"open_ms_{n}"] = server.open_ms
        figures[f"unlock_ms_{n}"] = server.unlock_ms
        server.load(8, args.size["warm"])
    rows = {n: [] for n in args.entries}
    for _ in range(args.size["rounds"]):
        for n, server in zip(args.entries, servers):
            rows[n].append(server.load(CLIENTS, args.size["all"]))
    for n, server in zip(args.entries, servers):
        figures[f"cpu_us_at_{n}"] = median(rows[n], "cpu_us")
        figures[f"p99_ms_at_{n}"] = median(rows[n], "p99_ms")
        figures[f"rss_mb_at_{n}"] = server.rss_mb("VmHWM")
        server.stop()
    first, last = args.entries[0], args.entries[-1]
    figures["bytes_per_cert"] = figures[f"bytes_per_cert_{last}"]
    figures["entries_ratio"] = statistics.median(
        b["cpu_us"] / a["cpu_us"] for a, b in zip(rows[first], rows[last])
    )


def measure(args, figures):
    requests = Requests(args)
    server = Server(args, requests, "main").start()
    args.servers.append(server)
    figures["start_ms"], figures["unlock_ms"] = server.start_ms, server.unlock_ms
    for step in (measure_load, measure_new, measure_held, measure_watchers):
        progress(step.__name__.replace("_", " "))
        step(args, server, figures)
    server.stop()
    progress("measure the gRPC front")
    measure_grpc(args, requests, figures)
    progress(f"measure with {' and '.join(map(str, args.entries))} entries")
    measure_entries(args, requests, figures)


def machine(build):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*:\s*(.*)", f.read())
    return {
        "machine": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "openssl": run("openssl", "version").split(" (")[0].strip(),
        "version": run(os.path.join(build, "micad"), "--version").strip(),
    }


def report(args, figures):
    figures = {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}
    for k, v in figures.items():
        print(f"{k:32} {v}")
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(figures, f, indent=1)
        f.write("\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--build", required=True, help="build folder")
    p.add_argument("--out", default="bench.json")
    p.add_argument("--short", action="store_true", help="one round, and a tenth of the connections")
    p.add_argument(
        "--entries", type=int, nargs="+",
        help="ledgers to measure on (default 1000 1000000; short: 1000 20000)",
    )
    args = p.parse_args()
    args.size = SHORT if args.short else FULL
    args.entries = args.entries or ([1000, 20000] if args.short else [1000, 1000000])
    args.servers = []
    if os.cpu_count() < 2:
        fail("needs two cores: one for the server, one for its clients")
    figures = machine(args.build)
    began = time.monotonic()
    args.folder = tempfile.mkdtemp(prefix="mica-bench-", dir=os.environ.get("MICA_BENCH_DIR"))
    try:
        measure(args, figures)
        progress("measure decisions of policies")
        figures.update(json.loads(run(os.path.join(args.build, "tests/bench/policy"))))
        progress("measure decisions that Envoy asks for")
        figures.update(authz_bench.measure(args.build, args.short))
        progress("measure the gRPC server")
        figures.update(rpc.measure(args.build, args.short))
        if not args.short:
            progress("measure the agent")
            figures.update(agent_bench.measure(args.build))
    finally:
        for server in args.servers:
            server.kill()
        shutil.rmtree(args.folder)
    figures["bench_s"] = time.monotonic() - began
    report(args, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
