# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes API server on loopback: etcd and kube-apiserver of kube/build.sh, no kubelet.

    with KubeApi(folder) as api:
        api.pod("payments", "checkout", "checkout-1")
        token = api.token("payments", "checkout", pod="checkout-1")

Everything lives in `folder` and ends with the object, or with the tests themselves.
"""
import base64
import http.client
import json
import os
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import pki
from proc import Process, free_ports

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "kube", "build.sh")
DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
ADMIN = "test-admin-secret"


class Skip(Exception):
    """There is no API server here."""


class ApiError(Exception):
    """An answer that is a Status with a failure."""

    def __init__(self, method, path, status, body):
        super().__init__("%s %s: %d %s" % (method, path, status, body))
        self.status, self.body = status, body


def binaries(build=False):
    """The folder with etcd and kube-apiserver; Skip with the reason when there is none."""
    r = subprocess.run([BUILD] if build else [BUILD, "--check"], stdout=subprocess.PIPE,
                       stderr=None if build else subprocess.PIPE, text=True)
    if r.returncode == 77:
        raise Skip("no kube-apiserver here: tests/e2e/kube/build.sh builds it (needs Go)")
    if r.returncode:
        raise AssertionError("tests/e2e/kube/build.sh failed")
    return r.stdout.strip()


def claims(token):
    """What a token says, unverified."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class KubeApi:
    """issuer None = the server's own address, so that discovery begins at the issuer itself."""

    def __init__(self, folder, issuer=DEFAULT_ISSUER):
        self.bin = binaries()
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.ca = pki.Ca("kubernetes test CA")
        self.ca_file = self.path("ca.crt")
        pki.write(self.ca_file, self.ca.pem(), 0o644)
        self.cert, self.cert_key = self.ca.server_files(
            self.folder, "localhost", "127.0.0.1", "kubernetes.default.svc")
        pki.write(self.path("tokens.csv"), b'%s,admin,uid1,"system:masters"\n' % ADMIN.encode())
        self.wanted_issuer = issuer
        self.sa_keys = []
        self.etcd = self.server = None
        self.new_signing_key()

    def path(self, name):
        return os.path.join(self.folder, name)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *unused):
        self.stop()

    # ---- life -----------------------------------------------------------------------------

    def start(self):
        client, peer, self.port = free_ports(3)
        self.url = "https://localhost:%d" % self.port
        self.issuer = self.wanted_issuer or self.url
        self.etcd_url = "http://127.0.0.1:%d" % client
        peer_url = "http://127.0.0.1:%d" % peer
        self.etcd = Process([
            os.path.join(self.bin, "etcd"), "--data-dir", self.path("etcd"), "--name=test",
            "--listen-client-urls", self.etcd_url, "--advertise-client-urls", self.etcd_url,
            "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
            "--initial-cluster", "test=" + peer_url, "--unsafe-no-fsync", "--log-level=error",
        ], self.path("etcd.log"))
        self.start_server()

    def start_server(self):
        argv = [
            os.path.join(self.bin, "kube-apiserver"), "--etcd-servers", self.etcd_url,
            "--bind-address=127.0.0.1", "--secure-port=%d" % self.port,
            "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
            "--external-hostname=localhost",
            "--cert-dir", self.path("run"), "--tls-cert-file", self.cert,
            "--tls-private-key-file", self.cert_key, "--service-account-issuer", self.issuer,
            "--service-account-jwks-uri", self.url + "/openid/v1/jwks",
            "--service-account-signing-key-file", self.sa_keys[0] + ".key",
            "--api-audiences", self.issuer, "--authorization-mode=Node,RBAC",
            "--token-auth-file", self.path("tokens.csv"),
            "--service-cluster-ip-range=10.0.0.0/24",
            # no controller manager makes default service accounts and quotas here
            "--disable-admission-plugins=ServiceAccount", "--v=0",
        ]
        for k in self.sa_keys:
            argv += ["--service-account-key-file", k + ".pub"]
        self.server = Process(argv, self.path("apiserver.log"))
        self.server.wait_until("kube-apiserver ready", self.ready, timeout=90)

    def ready(self):
        try:
            return self.raw("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def stop_server(self):
        if self.server:
            self.server.stop(5)
            self.server = None

    def stop(self):
        self.stop_server()
        if self.etcd:
            self.etcd.stop(5)
            self.etcd = None

    # ---- requests ----------------------------------------------------------------------------

    def raw(self, method, path, body=None, token=ADMIN, accept="*/*"):
        """(status, octets). The keys are not to be had as application/json, only as
        application/jwk-set+json: 406 otherwise."""
        c = http.client.HTTPSConnection("localhost", self.port, timeout=30,
                                        context=pki.client_context(self.ca_file))
        try:
            headers = {"Accept": accept}
            if token:
                headers["Authorization"] = "Bearer " + token
            if body is not None:
                body = json.dumps(body)
                headers["Content-Type"] = "application/json"
            c.request(method, path, body, headers)
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def call(self, method, path, body=None, token=ADMIN):
        status, data = self.raw(method, path, body, token)
        if status >= 300:
            raise ApiError(method, path, status, data.decode(errors="replace"))
        return json.loads(data)

    def ensure(self, collection, name, body):
        """Makes an object unless it is there; the object."""
        try:
            return self.call("POST", collection, body)
        except ApiError as e:
            if e.status != 409:
                raise
        return self.call("GET", collection + "/" + name)

    # ---- objects ----------------------------------------------------------------------------

    def namespace(self, ns):
        return self.ensure("/api/v1/namespaces", ns, {"metadata": {"name": ns}})

    def service_account(self, ns, sa):
        self.namespace(ns)
        return self.ensure("/api/v1/namespaces/%s/serviceaccounts" % ns, sa,
                           {"metadata": {"name": sa}})

    def node(self, name):
        return self.ensure("/api/v1/nodes", name, {"metadata": {"name": name}})

    def pod(self, ns, sa, name, node="node-1", annotations=None, labels=None):
        self.service_account(ns, sa)
        self.node(node)
        return self.ensure("/api/v1/namespaces/%s/pods" % ns, name, {
            "metadata": {"name": name, "annotations": annotations or {}, "labels": labels or {}},
            "spec": {"serviceAccountName": sa, "nodeName": node,
                     "automountServiceAccountToken": False,
                     "containers": [{"name": "main", "image": "registry.invalid/none"}]}})

    def delete(self, path):
        return self.call("DELETE", path, {"gracePeriodSeconds": 0})

    def delete_pod(self, ns, name):
        """At once: no kubelet would end it."""
        return self.delete("/api/v1/namespaces/%s/pods/%s" % (ns, name))

    def phase(self, ns, name, phase):
        """What kubelet would report."""
        path = "/api/v1/namespaces/%s/pods/%s" % (ns, name)
        pod = self.call("GET", path)
        pod["status"]["phase"] = phase
        return self.call("PUT", path + "/status", pod)

    def delete_service_account(self, ns, sa):
        return self.delete("/api/v1/namespaces/%s/serviceaccounts/%s" % (ns, sa))

    # ---- tokens -----------------------------------------------------------------------------

    def token(self, ns, sa, pod=None, audiences=("mica",), ttl=3600):
        """A bound token, as kubelet would ask for one (ttl >= 600)."""
        self.service_account(ns, sa)
        spec = {"audiences": list(audiences), "expirationSeconds": ttl}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod}
        return self.call("POST", "/api/v1/namespaces/%s/serviceaccounts/%s/token" % (ns, sa),
                         {"spec": spec})["status"]["token"]

    def new_signing_key(self):
        """Its public half goes in front; the older ones stay valid. For the next start."""
        k = pki.key("rsa2048")
        base = self.path("sa-%d" % (len(self.sa_keys) + 1))
        pki.write(base + ".key", pki.key_pem(k))
        pki.write(base + ".pub", pki.public_pem(k))
        self.sa_keys.insert(0, base)

    def rotate_signing_key(self, keep_old=True):
        """Restarts the server on the same port with a new key."""
        self.new_signing_key()
        if not keep_old:
            del self.sa_keys[1:]
        self.stop_server()
        self.start_server()

    def reviewer(self, ns="mica-system", sa="micad", ttl=3600):
        """A bearer token that may ask TokenReview, as micad's own service account has it."""
        self.service_account(ns, sa)
        self.ensure("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "mica-reviewer", {
            "metadata": {"name": "mica-reviewer"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "system:auth-delegator"},
            "subjects": [{"kind": "ServiceAccount", "namespace": ns, "name": sa}]})
        return self.token(ns, sa, audiences=[self.issuer], ttl=ttl)

    def lister(self, ns="mica-system", sa="micad-lister", ttl=3600):
        """A bearer token that may list pods and nothing else (docs/OPERATIONS.md)."""
        self.service_account(ns, sa)
        rbac = "/apis/rbac.authorization.k8s.io/v1/"
        self.ensure(rbac + "clusterroles", "mica-node-pods", {
            "metadata": {"name": "mica-node-pods"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]})
        self.ensure(rbac + "clusterrolebindings", "mica-node-pods", {
            "metadata": {"name": "mica-node-pods"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "mica-node-pods"},
            "subjects": [{"kind": "ServiceAccount", "namespace": ns, "name": sa}]})
        return self.token(ns, sa, audiences=[self.issuer], ttl=ttl)

    def review(self, token, audiences=("mica",), by=ADMIN):
        """(request, answer) of a TokenReview. The server remembers a yes for 10 s (by token): ask
        about a deleted pod with a token that it was never asked about."""
        ask = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
               "spec": {"token": token, "audiences": list(audiences)}}
        return ask, self.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", ask, by)

    @property
    def review_url(self):
        return self.url + "/apis/authentication.k8s.io/v1/tokenreviews"

    @property
    def discovery_url(self):
        return self.url + "/.well-known/openid-configuration"

    def jwks(self):
        return self.call("GET", "/openid/v1/jwks")

    def discovery(self):
        return self.call("GET", urllib.parse.urlsplit(self.discovery_url).path)
