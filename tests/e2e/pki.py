# SPDX-License-Identifier: Apache-2.0
"""Keys, certificates and requests for tests, by python cryptography alone."""
import datetime
import ipaddress
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER


def key(kind="p256"):
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1,
              "secp256k1": ec.SECP256K1}
    return ec.generate_private_key(curves[kind]())


def key_pem(k):
    return k.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def public_pem(k):
    return k.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def spki(public):
    return public.public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def digest_for(k):
    return None if isinstance(k, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def write(path, data, mode=0o600):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as f:
        f.write(data)
    return str(path)


def csr(k, subject=(), sans=(), digest="default"):
    """A PKCS#10 request in PEM; subject and sans are what Mica must ignore."""
    b = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, s) for s in subject]))
    if sans:
        b = b.add_extension(x509.SubjectAlternativeName(list(sans)), critical=False)
    return b.sign(k, digest_for(k) if digest == "default" else digest).public_bytes(PEM).decode()


class Ca:
    """A small CA for servers on loopback."""

    def __init__(self, name="test CA"):
        self.key = key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ski = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        self.cert = self._base(self.name, self.key.public_key()).add_extension(
            x509.BasicConstraints(True, 0), True).add_extension(ski, False).add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False),
            True).sign(self.key, hashes.SHA256())

    def _base(self, subject, public):
        now = datetime.datetime.utcnow()
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
                .public_key(public).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=30)))

    def pem(self):
        return self.cert.public_bytes(PEM)

    def server(self, *names):
        """(certificate, key) in PEM for DNS names and addresses."""
        k = key()
        sans = []
        for n in names:
            try:
                sans.append(x509.IPAddress(ipaddress.ip_address(n)))
            except ValueError:
                sans.append(x509.DNSName(n))
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        cert = self._base(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]),
                          k.public_key()).add_extension(
            x509.SubjectAlternativeName(sans), False).add_extension(
            x509.BasicConstraints(False, None), True).add_extension(aki, False).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False).sign(
            self.key, hashes.SHA256())
        return cert.public_bytes(PEM), key_pem(k)

    def server_files(self, folder, *names):
        cert, k = self.server(*names)
        return (write(os.path.join(folder, "server.crt"), cert, 0o644),
                write(os.path.join(folder, "server.key"), k))


def client_context(ca_file=None, ca_pem=None, cert=None):
    """A TLS client that trusts only the given roots; cert = (chain file, key file)."""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file or ca_pem:
        c.load_verify_locations(cafile=ca_file, cadata=ca_pem)
    if cert:
        c.load_cert_chain(*cert)
    return c
