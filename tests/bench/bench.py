#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What one certificate costs, as a ratio to the raw cryptography in the same run (docs/PERFORMANCE.md).

Starts the real micad, pinned to one core, and the load on another; every request has a token and a
key of its own, over kept-alive connections, with everything durable. Prints a table and writes a flat
JSON object. Nothing here passes or fails by a time: only a request that is refused does.

  bench.py --build DIR [--out bench.json] [--short] [--entries N ...]
"""
import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "..")
ISSUER = "https://issuer.demo.mica.example"

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
  threads: {threads}
  max_connections: 20000
  max_connections_per_address: 20000
  max_watchers: 20000
  idle_timeout: 30m
admin:
  socket: {dir}/admin.sock
metrics:
  listen: 127.0.0.1:0
log:
  level: {level}
limits:
  requests_per_identity: 1000000
  failures_per_address: 1000000
issuers:
  - name: demo
    kind: kubernetes
    issuer: {issuer}
    cluster: demo
    keys:
      jwks_file: {dir}/jwks.json
"""


def run(*argv, **kw):
    done = subprocess.run(argv, capture_output=True, text=True, **kw)
    if done.returncode:
        sys.exit(f"bench: {' '.join(argv)}\n{done.stdout}{done.stderr}")
    return done.stdout


class Server:
    """micad on core 0, its store in a folder of its own."""

    def __init__(self, build, folder, level="warn"):
        self.build, self.dir = build, folder
        os.makedirs(folder, exist_ok=True)
        run(sys.executable, os.path.join(TOP, "deploy/demo/issuer.py"), "init", folder)
        fd = os.open(os.path.join(folder, "passphrase"), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, os.urandom(16).hex().encode())
        os.close(fd)
        with open(os.path.join(folder, "micad.yaml"), "w", encoding="utf-8") as f:
            f.write(CONFIG.format(dir=folder, issuer=ISSUER, threads=1, level="info"))
        self.config = os.path.join(folder, "micad.yaml")
        run(os.path.join(build, "mica"), "init", "--config", self.config)
        self.process = None

    def start(self):
        log = open(os.path.join(self.dir, "micad.log"), "w", encoding="utf-8")
        began = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", os.path.join(self.build, "micad"), "--config", self.config],
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        while True:
            with open(log.name, encoding="utf-8") as f:
                text = f.read()
            ready = re.search(r"event=ready (.*)", text)
            if ready:
                break
            if self.process.poll() is not None or time.monotonic() - began > 60:
                sys.exit(f"bench: micad did not start\n{text}")
            time.sleep(0.005)
        self.started_s = time.monotonic() - began
        where = dict(re.findall(r'(\w+)="?([^" ]+)"?', ready.group(1)))
        opened = re.search(r"event=store_opened .*?unlock_ms=([\d.]+) open_ms=([\d.]+)", text)
        self.unlock_ms, self.open_ms = (float(opened.group(i)) for i in (1, 2))
        self.host, self.port = where["https"].rsplit(":", 1)
        self.watch_port = where["watch"].rsplit(":", 1)[1]
        self.metrics = where["metrics"]
        self.roots = os.path.join(self.dir, "roots.pem")
        env = dict(os.environ, MICA_ADMIN_SOCKET=os.path.join(self.dir, "admin.sock"))
        with open(self.roots, "w", encoding="utf-8") as f:
            f.write(run(os.path.join(self.build, "mica"), "bundle", "show", "--format", "pem", env=env))
        bundle = json.loads(
            run(os.path.join(self.build, "mica"), "bundle", "show", "--format", "json", env=env)
        )
        self.sequence = bundle["spiffe_sequence"]
        return self

    @property
    def pid(self):
        return str(self.process.pid)

    def rss_mb(self, field="VmRSS"):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as f:
            return int(re.search(rf"{field}:\s+(\d+)", f.read()).group(1)) / 1024

    def disk_bytes(self):
        folder = os.path.join(self.dir, "store")
        return sum(os.stat(os.path.join(folder, n)).st_blocks * 512 for n in os.listdir(folder))

    def wait_indexed(self):
        """Until what is written behind has caught up: it belongs to the cost of a certificate."""
        for _ in range(600):
            with urllib.request.urlopen(f"http://{self.metrics}/metrics") as f:
                m = re.search(r"^mica_ledger_index_lag_entries (\d+)", f.read().decode(), re.M)
            if not m or int(m.group(1)) < 70000:
                return
            time.sleep(0.1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            sys.exit("bench: micad did not stop well")


def micro(build):
    return json.loads(run("taskset", "-c", "0", os.path.join(build, "tests/bench/micro")))


def floor_of(m):
    """Raw P-256 verify and sign, and RS256 verify, by OpenSSL's cheapest calls."""
    return m["raw_p256_verify_us"] + m["raw_p256_sign_us"] + m["raw_rs256_verify_us"]


def prepare(build, server, count):
    path = os.path.join(server.dir, "requests")
    with open(os.path.join(server.dir, "jwks.json"), encoding="utf-8") as f:
        kid = json.load(f)["keys"][0]["kid"]
    run(
        os.path.join(build, "tests/bench/load"), "prepare", os.path.join(server.dir, "issuer.key"),
        kid, ISSUER, str(count), str(server.sequence), path,
    )
    return path


def load(build, server, path, clients, requests, *more):
    return json.loads(
        run(
            "taskset", "-c", "1", os.path.join(build, "tests/bench/load"), "run", server.host,
            server.port, server.roots, server.pid, path, str(clients), str(requests), *more,
        )
    )


class Held:
    """Idle connections, or waiting watchers, for as long as the block lasts."""

    def __init__(self, build, server, count, etag=None):
        port = server.watch_port if etag else server.port
        argv = [os.path.join(build, "tests/bench/load"), "hold", server.host, port, server.roots, str(count)]
        self.argv = ["taskset", "-c", "1", *argv, *([etag] if etag else [])]

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "held\n":
            sys.exit("bench: connections were refused")
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)


def etag_of(server):
    return f'"default-live-{server.sequence}"'


def measure(args, figures):
    build, n = args.build, 4000 if args.short else 20000
    floors = [floor_of(micro(build))]
    server = Server(build, os.path.join(args.folder, "empty")).start()
    figures["unlock_ms"] = server.unlock_ms
    path = prepare(build, server, n)
    load(build, server, path, 8, min(n, 2000))  # warm
    before = server.disk_bytes()
    for clients in (1, 8, 64):
        count = n if clients == 64 else n // 4
        r = load(build, server, path, clients, count)
        figures.update({
            f"cpu_us_{clients}": r["cpu_us"], f"per_second_{clients}": r["per_second"],
            f"p50_ms_{clients}": r["p50_ms"], f"p99_ms_{clients}": r["p99_ms"],
            f"p999_ms_{clients}": r["p999_ms"],
        })
        floors.append(floor_of(micro(build)))
    figures["floor_us"] = min(floors)
    figures["cpu_us_per_cert"] = figures["cpu_us_64"]
    figures["cpu_ratio"] = figures["cpu_us_64"] / figures["floor_us"]
    figures["certs_per_second"] = figures["per_second_64"]
    figures["p99_ms"] = figures["p99_ms_64"]
    figures["rss_mb"] = server.rss_mb("VmHWM")
    server.wait_indexed()
    time.sleep(2)
    figures["bytes_per_cert"] = (server.disk_bytes() - before) / (n + n // 4 * 2)
    fresh = load(build, server, path, 8, n // 8, "new")
    figures["cpu_us_new_connection"] = fresh["cpu_us"]
    figures["handshake_cpu_us"] = fresh["cpu_us"] - figures["cpu_us_8"]
    held = 1000 if args.short else 10000
    idle_before = server.rss_mb()
    with Held(build, server, held):
        figures["idle_connections"] = held
        figures["idle_connections_mb"] = server.rss_mb() - idle_before
        figures["idle_connection_kb"] = figures["idle_connections_mb"] * 1024 / held
    base = load(build, server, path, 64, n)
    with Held(build, server, held, etag_of(server)):
        watched = load(build, server, path, 64, n)
    figures["watchers"] = held
    figures["cpu_us_with_watchers"] = watched["cpu_us"]
    figures["watchers_ratio"] = watched["cpu_us"] / base["cpu_us"]
    server.stop()


def measure_entries(args, figures, entries):
    """The same with a ledger that has `entries` already, and how long it takes to start on it."""
    build, n = args.build, 4000 if args.short else 20000
    server = Server(build, os.path.join(args.folder, f"full-{entries}"))
    run(os.path.join(build, "tests/bench/grow"), server.config, str(entries))
    server.start()
    figures[f"open_ms_{entries}"] = server.open_ms
    path = prepare(build, server, n)
    load(build, server, path, 8, 1000)
    r = load(build, server, path, 64, n)
    figures[f"cpu_us_at_{entries}"] = r["cpu_us"]
    figures[f"p99_ms_at_{entries}"] = r["p99_ms"]
    figures[f"store_bytes_per_entry_{entries}"] = server.disk_bytes() / (entries + n)
    server.stop()
    shutil.rmtree(server.dir)


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


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", required=True, help="build folder")
    p.add_argument("--out", default="bench.json")
    p.add_argument("--short", action="store_true", help="a fifth of the requests, a tenth of the connections")
    p.add_argument("--entries", type=int, nargs="*", help="ledgers to measure on (default 1000 1000000; short: 1000 20000)")
    args = p.parse_args()
    entries = args.entries if args.entries is not None else ([1000, 20000] if args.short else [1000, 1000000])
    figures = machine(args.build)
    args.folder = tempfile.mkdtemp(prefix="mica-bench-", dir=os.environ.get("MICA_BENCH_DIR"))
    try:
        measure(args, figures)
        for n in entries:
            measure_entries(args, figures, n)
        if len(entries) > 1:
            figures["entries_ratio"] = figures[f"cpu_us_at_{entries[-1]}"] / figures[f"cpu_us_at_{entries[0]}"]
    finally:
        shutil.rmtree(args.folder)
    figures = {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}
    for k, v in figures.items():
        print(f"{k:32} {v}")
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(figures, f, indent=1)
        f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
