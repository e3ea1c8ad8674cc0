#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What mica-agent needs: private memory idle and with SDS streams, the time from its start to the first
certificate, and the time from a new root to a stream that has it. micad, agent and client share the
machine; nothing is pinned.

    agent_bench.py --build FOLDER		prints one JSON object of figures
"""
import argparse
import datetime
import json
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
STREAMS = (0, 100, 450)
STARTS = 5


def memory(pid):
    """Private_Dirty and Rss in MB."""
    figures = {}
    with open("/proc/%d/smaps_rollup" % pid) as f:
        for line in f:
            name = line.split(":")[0]
            if name in ("Private_Dirty", "Rss"):
                figures[name] = int(line.split()[1]) / 1024
    return figures["Private_Dirty"], figures["Rss"]


def first_svid_ms(Agent, folder, micad, issuer):
    """From the start of the program to what its log says; the best of some."""
    times = []
    for i in range(STARTS):
        began = time.time()
        with Agent(os.path.join(folder, "start%d" % i), micad, issuer.token()) as a:
            at = a.wait_for("svid_issued")["ts"]
        at = datetime.datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()
        times.append(1000 * (at - began))
    return min(times)


def measure_streams(sds, grpc, a, figures):
    for n in STREAMS:
        with grpc.insecure_channel("unix://" + a.socket) as c:
            streams = [sds.Stream(c) for _ in range(n)]
            for i, s in enumerate(streams):
                s.ask("default" if i % 2 else "ROOTCA")
            for s in streams:
                s.next(30)
            private, rss = memory(a.process.pid)
            figures["agent_private_mb_%d_streams" % n] = private
            figures["agent_rss_mb_%d_streams" % n] = rss
            for s in streams:
                s.close()


def root_change_ms(sds, grpc, a, micad):
    """From the command that publishes a new root to the stream that has it; micad spreads what it
    tells those who wait over a second."""
    with grpc.insecure_channel("unix://" + a.socket) as c:
        s = sds.Stream(c)
        s.ask("ROOTCA")
        s.ack(s.next(30), "ROOTCA")
        began = time.monotonic()
        micad.mica("authority", "prepare", "root")
        s.next(30)
        ms = 1000 * (time.monotonic() - began)
        s.close()
    return ms


def measure(build):
    os.environ["MICA_BUILDDIR"] = os.path.abspath(build)
    from agent import Agent  # these want the build folder in the environment; this one before grpc,
    import grpc              # which it tells that we fork
    import test_agent_sds as sds
    from issuer import Issuer
    from micad import Micad
    figures = {}
    with tempfile.TemporaryDirectory(prefix="mica-bench-") as folder, \
            Issuer(os.path.join(folder, "issuer")) as issuer, \
            Micad(os.path.join(folder, "micad"), [issuer.config("uri")]) as micad:
        figures["agent_first_svid_ms"] = first_svid_ms(Agent, folder, micad, issuer)
        with Agent(os.path.join(folder, "agent"), micad, issuer.token()) as a:
            a.wait_for("svid_issued")
            a.wait_for("bundle_taken")
            measure_streams(sds, grpc, a, figures)
            figures["agent_root_change_ms"] = root_change_ms(sds, grpc, a, micad)
    return figures


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--build", required=True, help="build folder")
    args = p.parse_args()
    print(json.dumps({k: round(v, 3) for k, v in measure(args.build).items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
