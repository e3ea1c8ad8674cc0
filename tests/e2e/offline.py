# SPDX-License-Identifier: Apache-2.0
"""The keeper of an offline root: openssl's programs and files, and nothing else."""
import glob
import os
import subprocess

CA_CNF = """
[ ca ]
default_ca = keeper
[ keeper ]
dir = %(dir)s
new_certs_dir = $dir
database = $dir/index.txt
serial = $dir/serial
crlnumber = $dir/crlnumber
certificate = $dir/root.pem
private_key = $dir/root.key
default_md = sha256
default_days = 90
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = copy
[ any ]
organizationName = optional
commonName = supplied
[ req ]
distinguished_name = name
prompt = no
[ name ]
O = example.org
CN = %(name)s
"""


def openssl(*argv, check=True):
    r = subprocess.run(["openssl", *map(str, argv)], capture_output=True, text=True)
    assert not check or r.returncode == 0, r.stdout + r.stderr
    return r


class Keeper:
    """A root in `folder`, which might as well be on another machine."""

    def __init__(self, folder, name="Offline root 1", days=3650, uri=True):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.cnf = self.path("ca.cnf")
        with open(self.cnf, "w", encoding="ascii") as f:
            f.write(CA_CNF % {"dir": self.folder, "name": name})
        for file, text in (("index.txt", ""), ("serial", "1000\n"), ("crlnumber", "1000\n")):
            with open(self.path(file), "w", encoding="ascii") as f:
                f.write(text)
        san = ["-addext", "subjectAltName=URI:spiffe://example.org"] if uri else []
        openssl("req", "-config", self.cnf, "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.path("root.key"), "-out",
                self.root, "-days", days, "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign", *san)

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def root(self):
        return self.path("root.pem")

    def crl(self):
        """A fresh one, PEM."""
        openssl("ca", "-config", self.cnf, "-gencrl", "-out", self.path("root.crl"))
        with open(self.path("root.crl"), encoding="ascii") as f:
            return f.read()

    def crl_file(self):
        self.crl()
        return self.path("root.crl")

    def sign(self, requests, days=(90, 135, 180), how="x509"):
        """All requests of a directory that `mica authority csr --out` wrote; the certificates."""
        out = []
        for i, csr in enumerate(sorted(glob.glob(os.path.join(requests, "*.csr")))):
            who = os.path.basename(csr)[:-4]
            cert = self.path(who + ".pem")
            ext = ["-extfile", os.path.join(requests, "extensions.cnf"), "-extensions",
                   "mica_" + who]
            if how == "x509":
                openssl("x509", "-req", "-in", csr, "-CA", self.root, "-CAkey",
                        self.path("root.key"), "-days", days[i % len(days)], "-out", cert, *ext)
            else:
                openssl("ca", "-batch", "-config", self.cnf, "-notext", "-in", csr, "-days",
                        days[i % len(days)], "-out", cert, *ext)
            out.append(cert)
        return out
