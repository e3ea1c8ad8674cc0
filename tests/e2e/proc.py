# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive the tests, free ports, and waiting with an end."""
import ctypes
import os
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
# Sanitizers and busy machines are slow: every wait of the tests is stretched by this.
SLOW = float(os.environ.get("MICA_TEST_SLOW", "1"))


def wait_until(what, check, timeout=10.0, step=0.02):
    """The first true value of check(); AssertionError with `what` when none comes in time."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("after %g s still not: %s" % (timeout * SLOW, what))
        time.sleep(step)


def free_ports(n):
    """n loopback ports that nobody listens on now."""
    held = []
    for _ in range(n):
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        held.append(s)
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def _child():
    # In the child: the kernel kills it when the tests die, however they die.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A program in a process group of its own, its output in a file."""

    def __init__(self, argv, log, env=None, cwd=None, pass_fds=()):
        self.argv = [str(a) for a in argv]
        self.log = str(log)
        with open(self.log, "ab") as out:
            self.start = out.tell()
            self.child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd,
                pass_fds=pass_fds, start_new_session=True, preexec_fn=_child)
        self.pid = self.child.pid

    def alive(self):
        return self.child.poll() is None

    def text(self):
        """What it has said so far."""
        with open(self.log, "rb") as f:
            f.seek(self.start)
            return f.read().decode(errors="replace")

    def tail(self, lines=30):
        return "\n".join(self.text().splitlines()[-lines:])

    def wait_until(self, what, check, timeout=10.0):
        """As wait_until; a process that ends meanwhile fails at once with its last words."""

        def look():
            value = check()
            if not value and not self.alive():
                raise AssertionError("%s ended with %s before %s:\n%s" % (
                    os.path.basename(self.argv[0]), self.child.returncode, what, self.tail()))
            return value

        try:
            return wait_until(what, look, timeout)
        except AssertionError as e:
            if "ended with" in str(e):
                raise
            raise AssertionError("%s\n%s" % (e, self.tail())) from None

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, timeout=10.0):
        return self.child.wait(timeout * SLOW)

    def kill(self):
        """At once, with everything that it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()

    def stop(self, timeout=10.0):
        """SIGTERM, and SIGKILL when that is not enough; the exit status."""
        if self.alive():
            self.child.terminate()
            try:
                self.child.wait(timeout * SLOW)
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        return self.child.returncode
