# SPDX-License-Identifier: Apache-2.0
"""A small mesh: workloads that hold SVIDs and bundles of micad, and shake hands with each other.

Every handshake is real TLS with certificates on both sides, by OpenSSL through Python's ssl; each
side trusts nothing but its own bundle, which is as old as the rules allow. A workload that is late
itself, because the machine is busy, is left out of a handshake and counted: the promise is about
bundles within the rules.
"""
import calendar
import collections
import http.client
import os
import random
import ssl
import tempfile
import threading
import time

import jwt
from cryptography import x509

import pki
from micad import Client, certificates
from proc import SLOW

# A workload that meets the rules fetches the bundle before it is `stale` old; what is older, when
# the machine was too busy, is not asked. Leaves are used to their end, but for this margin.
MARGIN = 0.4


class Refused(Exception):
    """One side did not believe the other."""


def shake(server, client):
    """One handshake in memory, to the end; Refused with what OpenSSL said."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = {"server": server.context(True).wrap_bio(to_server, to_client, server_side=True),
             "client": client.context(False).wrap_bio(to_client, to_server)}
    waiting = dict(sides)
    for _ in range(8):
        for who in list(waiting):
            try:
                waiting[who].do_handshake()
                del waiting[who]
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as e:
                raise Refused("%s: %s" % (who, e)) from None
        if not waiting:
            # TLS 1.3: the client is done before the server has judged its certificate
            sides["server"].write(b"x")
            if sides["client"].read(1) != b"x":
                raise Refused("no data")
            return
    raise Refused("no end")


class Held:
    """What a workload holds at one moment: it never changes."""

    def __init__(self, name, folder, answer, key, bundle):
        self.name, self.bundle, self.answer = name, bundle, answer
        chain = certificates(answer["certificate_chain"])
        self.leaf, self.issuing = chain[0], chain[1]
        self.authority = self.leaf.extensions.get_extension_for_class(
            x509.AuthorityKeyIdentifier).value.key_identifier.hex()
        self.end = self.leaf.not_valid_after.timestamp()
        self.contexts = {}
        self.file = pki.write(os.path.join(folder, "%s-%s.pem" % (name, answer["serial"])),
                              answer["certificate_chain"].encode() + pki.key_pem(key))

    def with_bundle(self, bundle):
        """The same certificate with a newer bundle."""
        other = object.__new__(Held)
        other.__dict__.update(self.__dict__, bundle=bundle, contexts={})
        return other

    def context(self, server):
        if server not in self.contexts:
            c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
            c.minimum_version = ssl.TLSVersion.TLSv1_2
            c.check_hostname = False
            c.verify_mode = ssl.CERT_REQUIRED
            c.verify_flags |= ssl.VERIFY_X509_STRICT
            c.load_verify_locations(cadata=self.bundle.pem)
            c.load_cert_chain(self.file)
            if server:
                c.num_tickets = 0
            self.contexts[server] = c
        return self.contexts[server]


class Bundle:
    def __init__(self, pem, doc, at):
        self.pem, self.at = pem, at
        self.sequence = doc["spiffe_sequence"]
        self.roots = {c.subject.rfc4514_string() for c in certificates(pem)}
        self.keys = {k["kid"]: jwt.PyJWK(dict(k, alg="ES256")).key
                     for k in doc["keys"] if k["use"] == "jwt-svid"}


class Workload(threading.Thread):
    """Gets certificates and tokens as it is told to, and keeps all of them that have not ended.

    stale    its bundle is this old at most, and nearly always this old
    says     it says which bundle it has: it is waited for
    late     it uses each certificate to its end"""

    def __init__(self, mesh, name, stale, says=False, late=False):
        super().__init__(name=name, daemon=True)
        self.mesh, self.m = mesh, mesh.m
        self.stale, self.says, self.late = stale, says, late
        self.key = pki.key()
        self.held, self.tokens = None, collections.deque(maxlen=6)
        self.issued, self.sequence, self.trouble, self.failed = [], 0, 0, []

    # ---- micad --------------------------------------------------------------------------------

    def client(self):
        pem = self.held.bundle.pem if self.held else None
        context = pki.client_context(ca_pem=pem) if pem else self.m.context()
        return Client(self.m.ready["https"], context, timeout=5)

    def token(self):
        """A new one each time: an equal request would get the same answer."""
        return self.mesh.issuer.token("mesh", self.name, self.name + "-1")

    def fetch_bundle(self, c):
        at = time.monotonic()
        doc = c.get("/v1/bundle").ok()
        b = Bundle(c.get("/v1/bundle.pem").ok().body.decode(), doc.json(), at)
        assert b.sequence >= self.sequence, "the sequence went back"
        self.sequence = b.sequence
        if self.says:
            c.post("/v1/bundle/acks", {"channel": "live", "sequence": b.sequence},
                   token=self.token()).ok(204)
        return b

    def renew(self, c, bundle):
        body = {"csr": pki.csr(self.key)}
        if self.says:
            body["bundle_sequence"] = bundle.sequence
        a = c.post("/v1/x509-svids", body, token=self.token())
        if a.status != 201:
            self.trouble += 1
            assert a.status in (429, 503), a
            return None
        held = Held(self.name, self.mesh.folder, a.json(), self.key, bundle)
        self.issued.append(held)
        return held

    def get_token(self, c):
        a = c.post("/v1/jwt-svids", {"audience": ["x"]}, token=self.token())
        if a.status == 201:
            self.tokens.append(a.json()["token"])

    def due(self):
        if not self.held:
            return True
        left = self.held.end - time.time()
        if self.late:
            return left < 1.0
        renew = pki_time(self.held.answer["renew_after"])
        return time.time() >= renew or left < 1.0

    def turn(self):
        """What is due; the connection is new each time: micad's own chain is looked at, too."""
        old = self.held and time.monotonic() - self.held.bundle.at > self.stale - 2 * MARGIN
        if not self.due() and not old:
            return
        c = self.client()
        try:
            bundle = self.fetch_bundle(c) if old or not self.held else self.held.bundle
            held = self.renew(c, bundle) if self.due() else None
            if held:
                self.get_token(c)
                self.held = held
            elif self.held and bundle is not self.held.bundle:
                self.held = self.held.with_bundle(bundle)
        finally:
            c.close()

    def run(self):
        while not self.mesh.over.is_set():
            try:
                self.turn()
            except (ConnectionError, http.client.HTTPException, TimeoutError) as e:
                # micad is killed in some of the tests; else that is a failure, too
                self.trouble += 1
                if not self.mesh.killing:
                    self.failed.append("%s: %r" % (self.name, e))
            except ssl.SSLCertVerificationError as e:
                if self.fresh():
                    self.failed.append("%s does not believe micad: %s" % (self.name, e))
                else:
                    self.held = None  # too late: it begins anew, as an agent does
            except ssl.SSLError as e:
                if not self.mesh.killing:
                    self.failed.append("%s: %r" % (self.name, e))
            except BaseException as e:  # pylint: disable=broad-except
                self.failed.append("%s: %r" % (self.name, e))
            time.sleep(0.05)

    def fresh(self):
        """Whether its bundle is within the rules."""
        return self.held and self.mesh.age(self.held.bundle) < self.stale


def pki_time(text):
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


class Mesh:
    """Workloads and the thread that lets them meet. As a context manager."""

    def __init__(self, m, issuer, hint):
        self.m, self.issuer, self.hint = m, issuer, hint
        self.over, self.killing = threading.Event(), False
        self.down, self.up_since = False, 0.0
        self.tmp = tempfile.TemporaryDirectory(prefix="mica-mesh-")
        self.folder = self.tmp.name
        self.workloads = [
            Workload(self, "prompt", 1.5 * hint, says=True),
            Workload(self, "slow", 3 * hint, says=True),
            Workload(self, "quiet", 3 * hint),
            Workload(self, "late", 3 * hint, late=True),
        ]
        self.handshakes, self.left_out, self.judged = 0, 0, 0
        self.failed = []
        self.authorities, self.kids = set(), set()
        self.exempt = lambda held: False
        self.meeting = threading.Thread(target=self.meet, daemon=True)

    def __enter__(self):
        for w in self.workloads:
            w.start()
        self.meeting.start()
        return self

    def __exit__(self, kind, *unused):
        self.over.set()
        self.meeting.join(30 * SLOW)
        for w in self.workloads:
            w.join(30 * SLOW)
        self.tmp.cleanup()
        if not kind:
            assert not self.failed, self.failed[:3]
            assert not self.trouble(), self.trouble()[:3]
            assert not any(w.is_alive() for w in self.workloads)

    def age(self, bundle):
        """For how long somebody with this bundle could have had a newer one: while micad does not
        run nothing changes, and after a start it gives everybody the time to look."""
        return 0 if self.down else time.monotonic() - max(bundle.at, self.up_since)

    def trouble(self):
        return [f for w in self.workloads for f in w.failed]

    def usable(self, w):
        """What a workload would take part with now, or None when it is not within the rules."""
        held = w.held
        if not held or held.end < time.time() + MARGIN or \
                self.age(held.bundle) > w.stale:
            self.left_out += 1
            return None
        return held

    def meet(self):
        chance = random.Random(1)
        while not self.over.is_set():
            a, b = chance.sample(self.workloads, 2)
            x, y = self.usable(a), self.usable(b)
            if not x or not y:
                time.sleep(0.02)
                continue
            self.handshake(x, y)
            self.judge(a, y)
            time.sleep(0.01)

    def handshake(self, x, y):
        begin = time.time()
        try:
            shake(x, y)
        except Refused as e:
            # a machine that stood still for a while has let one of them end
            if min(x.end, y.end) < time.time() + 0.1 or time.time() - begin > 1:
                self.left_out += 1
                return
            if self.exempt(x) or self.exempt(y):
                return
            self.failed.append("%s with %s: %s\n%s; %s\nbundles of %.1f and %.1f s" % (
                x.name, y.name, e, x.issuing.issuer, y.issuing.issuer,
                self.age(x.bundle), self.age(y.bundle)))
            return
        self.handshakes += 1
        self.authorities |= {x.authority, y.authority}

    def judge(self, w, held):
        """The tokens of a workload by another one's keys."""
        for t in list(w.tokens):
            if self.age(held.bundle) > 5 * self.hint or \
                    jwt.decode(t, options={"verify_signature": False})["exp"] < time.time() + MARGIN:
                continue
            kid = jwt.get_unverified_header(t)["kid"]
            if kid not in held.bundle.keys:
                self.failed.append("a token of %s: %s does not know its key" % (w.name, held.name))
                continue
            jwt.decode(t, held.bundle.keys[kid], algorithms=["ES256"], audience="x")
            self.judged += 1
            self.kids.add(kid)

    def hold(self, name, answer, key, bundle):
        return Held(name, self.folder, answer, key, bundle)

    def issued(self):
        return [h for w in self.workloads for h in w.issued]
