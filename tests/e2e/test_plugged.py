# SPDX-License-Identifier: Apache-2.0
"""An issuing authority from files: Istio's and cert-manager's, as Kubernetes mounts them and as
people copy them; made by openssl as their tools do."""
import os
import shutil
import time

import pytest

from micad import certificates, verify_chain
from offline import openssl
from proc import wait_until

SHORT = {"x509": {"ttl": 5, "max_ttl": 10, "min_ttl": 1}, "bundle": {"refresh_hint": 1},
         "rotation": {"ack_timeout": "1s", "skew": "1s"}}
CA = "basicConstraints=critical,CA:true%s\nkeyUsage=critical,keyCertSign,cRLSign\n" \
     "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"


class Forge:
    """Roots and what is below them, by openssl."""

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def root(self, name):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout",
                self.path(name + ".key"), "-out", self.path(name + ".pem"), "-days", "3650",
                "-subj", "/O=Istio/CN=" + name, "-addext", "basicConstraints=critical,CA:true",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        return name

    def below(self, name, by, pathlen=",pathlen:0", key="rsa:2048", ext=None, days="730"):
        with open(self.path("ext"), "w", encoding="ascii") as f:
            f.write("[ x ]\n" + (ext if ext is not None else CA % pathlen) +
                    "subjectAltName=DNS:istiod.istio-system.svc\n")
        openssl("req", "-new", "-newkey", *key.split(), "-nodes", "-keyout",
                self.path(name + ".key"), "-out", self.path(name + ".csr"), "-subj",
                "/O=Istio/CN=" + name)
        openssl("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.path(by + ".pem"),
                "-CAkey", self.path(by + ".key"), "-CAcreateserial", "-days", days, "-extfile",
                self.path("ext"), "-extensions", "x", "-out", self.path(name + ".pem"))
        return name

    def read(self, *names):
        return b"".join(open(self.path(n), "rb").read() for n in names)

    def istio(self, ca, root, between=()):
        chain = [n + ".pem" for n in (ca, *between, root)]
        return {"ca-cert.pem": self.read(ca + ".pem"), "ca-key.pem": self.read(ca + ".key"),
                "cert-chain.pem": self.read(*chain), "root-cert.pem": self.read(root + ".pem")}

    def cert_manager(self, ca, root, between=()):
        chain = [n + ".pem" for n in (ca, *between)]
        return {"tls.crt": self.read(*chain), "tls.key": self.read(ca + ".key"),
                "ca.crt": self.read(root + ".pem")}


class Volume:
    """A secret as kubelet mounts it: a folder for each version, and links that are swapped."""

    def __init__(self, folder):
        self.folder, self.n = str(folder), 0
        os.makedirs(self.folder)

    def write(self, files):
        self.n += 1
        version = "..2026_11_25_%d" % self.n
        os.mkdir(os.path.join(self.folder, version))
        for name, data in files.items():
            with open(os.path.join(self.folder, version, name), "wb") as f:
                f.write(data)
        old = os.readlink(os.path.join(self.folder, "..data")) if self.n > 1 else None
        os.symlink(version, os.path.join(self.folder, "..data_tmp"))
        os.rename(os.path.join(self.folder, "..data_tmp"), os.path.join(self.folder, "..data"))
        for name in files:
            if not os.path.islink(os.path.join(self.folder, name)):
                os.symlink(os.path.join("..data", name), os.path.join(self.folder, name))
        if old:
            shutil.rmtree(os.path.join(self.folder, old))


@pytest.fixture
def forge(tmp_path):
    return Forge(tmp_path / "forge")


def config(directory, **over):
    return dict(over, authorities={"root": "files"},
                plugged=dict({"directory": str(directory), "poll": "300s"}, **over.pop("plugged", {})))


def subject(pem):
    return certificates(pem)[0].subject


def signer(m, issuer):
    """The subject of the authority that signs now; the chain verifies."""
    with open(m.roots_file, "wb") as f:
        f.write(m.admin().get("/v1/bundle.pem").ok().body)
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    return certificates(verify_chain_of(m, chain))[1].subject


def verify_chain_of(m, chain):
    verify_chain(chain, m.admin().get("/v1/bundle.pem").ok().body)
    return chain


def wait_taken(m, n):
    wait_until("%d sets are taken" % n, lambda: len(m.events("plugged_taken")) >= n, timeout=10)


def wait_refused(m, reason):
    e = wait_until("it is refused", lambda: next(
        (e for e in m.events("plugged_refused") if e["reason"] == reason), None), timeout=10)
    assert e["error"] and e["next"]
    status = m.admin().get("/v1/status").ok().json()["server"]["plugged"]
    assert not status["valid"] and status["reason"] == reason and status["error"] == e["error"]
    assert "\nmica_plugged_valid 0\n" in m.metrics().get("/metrics").ok().body.decode()


def test_istio_files_and_their_swaps(start, issuer, forge, tmp_path):
    """The files of a Kubernetes volume, swapped while certificates are issued."""
    forge.root("root1")
    forge.below("a", "root1")
    forge.below("b", "root1", key="ec -pkeyopt ec_paramgen_curve:P-256")
    volume = Volume(tmp_path / "cacerts")
    volume.write(forge.istio("a", "root1"))
    m = start([issuer.config("file")], config(volume.folder, **SHORT))
    assert m.events("plugged_taken")[0]["issues"] == "now"
    assert m.roots() == forge.read("root1.pem")
    assert signer(m, issuer) == subject(forge.read("a.pem"))
    # kubelet does not tell: the kernel does
    volume.write(forge.istio("b", "root1"))
    wait_taken(m, 2)
    assert signer(m, issuer) == subject(forge.read("b.pem"))
    # what is wrong is refused by its name, and changes nothing
    volume.write(dict(forge.istio("b", "root1"), **{"ca-key.pem": forge.read("a.key")}))
    wait_refused(m, "plugged_key_mismatch")
    assert signer(m, issuer) == subject(forge.read("b.pem"))
    volume.write({"ca-cert.pem": forge.read("a.pem")})
    wait_refused(m, "plugged_files_missing")
    assert signer(m, issuer) == subject(forge.read("b.pem"))
    # and right again
    volume.write(forge.istio("a", "root1"))
    wait_taken(m, 3)
    assert signer(m, issuer) == subject(forge.read("a.pem"))
    figures = m.metrics().get("/metrics").ok().body.decode()
    assert "\nmica_plugged_valid 1\n" in figures and "\nmica_plugged_taken_total 3\n" in figures
    assert "\nmica_plugged_refused_total 2\n" in figures
    events = m.admin().get("/v1/events?type=authority&limit=1000").ok().json()["events"]
    done = [(e["action"], e.get("detail", {}).get("source")) for e in events]
    assert done.count(("imported", "files")) == 3 and ("returned", "files") in done
    # no private key is in the log
    assert "PRIVATE" not in m.process.text()


def test_another_root_is_known_before_it_is_used(start, issuer, forge, tmp_path):
    forge.root("root1")
    forge.below("a", "root1")
    forge.root("root2")
    forge.below("mid", "root2", pathlen="")
    forge.below("b", "mid")
    volume = Volume(tmp_path / "cacerts")
    volume.write(forge.istio("a", "root1"))
    m = start([issuer.config("file")], config(volume.folder, **SHORT))
    begin = time.monotonic()
    volume.write(forge.istio("b", "root2", between=("mid",)))
    wait_taken(m, 2)
    assert m.events("plugged_taken")[1]["issues"] != "now"
    assert len(certificates(m.admin().get("/v1/bundle.pem").ok().body)) == 2
    assert signer(m, issuer) == subject(forge.read("a.pem"))
    wait_until("it signs", lambda: signer(m, issuer) == subject(forge.read("b.pem")), timeout=30,
               step=0.5)
    assert time.monotonic() - begin > 3  # rotation.propagation
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    assert [c.subject for c in certificates(chain)[1:]] == [
        subject(forge.read("b.pem")), subject(forge.read("mid.pem"))]
    # a start needs no files
    shutil.rmtree(volume.folder)
    m.restart()
    assert m.events("plugged_refused")[0]["reason"] == "plugged_files_missing"
    assert signer(m, issuer) == subject(forge.read("b.pem"))


def test_cert_manager_files_with_a_passphrase(start, issuer, forge, tmp_path):
    """Copied one by one into a plain folder, which is there only after the start."""
    forge.root("root1")
    forge.below("a", "root1")
    forge.below("b", "root1")
    folder, passphrase = str(tmp_path / "tls"), str(tmp_path / "passphrase")
    with open(passphrase, "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write("open sesame\n")
    for n in "ab":
        openssl("pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", forge.path(n + ".key"), "-out",
                forge.path(n + ".enc"), "-passout", "file:" + passphrase)

    def write(n, *names):
        files = dict(forge.cert_manager(n, "root1"), **{"tls.key": forge.read(n + ".enc")})
        for name in names or files:
            with open(os.path.join(folder, name), "wb") as f:
                f.write(files[name])

    m = start([issuer.config("file")], dict(config(folder, **SHORT), plugged={
        "directory": folder, "passphrase_file": passphrase, "poll": "1s"}))
    assert m.events("plugged_refused")[0]["reason"] == "plugged_files_missing"
    assert "https" not in m.ready
    os.mkdir(folder)
    write("a")
    wait_taken(m, 1)
    m.ready.update(wait_until("https is open", lambda: next(iter(m.events("listening")), None)))
    assert signer(m, issuer) == subject(forge.read("a.pem"))
    # half of it for longer than anything settles: refused, then taken as a whole
    write("b", "tls.crt")
    wait_refused(m, "plugged_key_mismatch")
    assert signer(m, issuer) == subject(forge.read("a.pem"))
    write("b", "tls.key")
    wait_taken(m, 2)
    assert signer(m, issuer) == subject(forge.read("b.pem"))


def test_what_istio_makes_itself(start, issuer, forge, tmp_path):
    """Its makefile: a PKCS #1 key, and no cRLSign."""
    forge.root("root1")
    forge.below("a", "root1", ext="basicConstraints=critical,CA:true,pathlen:0\n"
                "keyUsage=critical,digitalSignature,nonRepudiation,keyEncipherment,keyCertSign\n")
    openssl("rsa", "-traditional", "-in", forge.path("a.key"), "-out", forge.path("old.key"))
    assert b"BEGIN RSA PRIVATE KEY" in forge.read("old.key")
    volume = Volume(tmp_path / "cacerts")
    volume.write(dict(forge.istio("a", "root1"), **{"ca-key.pem": forge.read("old.key")}))
    m = start([issuer.config("file")], config(volume.folder))
    taken = m.events("plugged_taken")[0]
    assert "cRLSign" in taken["crl"]
    chain = m.fetch(issuer.token()).ok(201).json()["certificate_chain"]
    assert certificates(chain)[1].subject == subject(forge.read("a.pem"))
    time.sleep(2)
    assert not m.events("maintenance_failed")


def test_a_signal_looks_too(start, issuer, forge, tmp_path):
    """What the kernel does not tell: here a link to another folder is swapped."""
    forge.root("root1")
    forge.below("a", "root1")
    forge.below("b", "root1")
    for n in "ab":
        Volume(tmp_path / n).write(forge.istio(n, "root1"))
    link = str(tmp_path / "link")
    os.symlink(str(tmp_path / "a"), link)
    m = start([issuer.config("file")], config(link))
    os.symlink(str(tmp_path / "b"), link + "2")
    os.rename(link + "2", link)
    time.sleep(1)
    assert len(m.events("plugged_taken")) == 1
    m.reload()
    wait_taken(m, 2)
    assert signer(m, issuer) == subject(forge.read("b.pem"))
