# SPDX-License-Identifier: Apache-2.0
"""The CLI as admins, workloads and auditors use it, on a running micad and on exported files."""
import base64
import json
import os
import shutil
import stat
import subprocess
import sys
import time

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ledger_check
import pki
from micad import BIN, MICA, SLOW, certificates, load_private, spiffe_id, verify_chain

ID = "spiffe://example.org/ns/payments/sa/checkout"


class Cli:
    """The CLI for one caller: nothing of the environment but what is given."""

    def __init__(self, tmp, **env):
        self.tmp = tmp
        self.env = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(tmp / "state"), **env}

    def __call__(self, *argv, status=0, **env):
        r = subprocess.run([MICA, *map(str, argv)], env={**self.env, **env}, capture_output=True,
                           text=True, timeout=60 * SLOW)
        assert r.returncode == status, "mica %s: %d\n%s%s" % (argv, r.returncode, r.stdout, r.stderr)
        return r

    def json(self, *argv, **how):
        return json.loads(self(*argv, "--output", "json", **how).stdout)

    def refused(self, reason, status, *argv, **how):
        """The error as a program reads it."""
        r = self(*argv, "--output", "json", status=status, **how)
        error = json.loads(r.stderr)
        assert error["reason"] == reason, error
        assert error["error"]
        return error

    def popen(self, *argv):
        return subprocess.Popen([MICA, *map(str, argv)], env=self.env, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)


@pytest.fixture
def admin(micad, tmp_path):
    return Cli(tmp_path, MICA_ADMIN_SOCKET=micad.config["admin"]["socket"])


@pytest.fixture
def outsider(micad, tmp_path):
    """Knows where micad is, its roots and the log's key; has no rights."""
    return Cli(tmp_path, MICA_URL="https://" + micad.ready["https"], MICA_CA=micad.roots_file,
               MICA_LOG_VKEY=micad.vkey)


@pytest.fixture
def token(issuer, tmp_path):
    return pki.write(str(tmp_path / "token"), issuer.token().encode() + b"\n")


def public(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# ---- identities ------------------------------------------------------------------------------


@pytest.mark.smoke
def test_svid_fetch_writes_a_set_that_fits(outsider, token, tmp_path):
    out = tmp_path / "svid"
    told = outsider.json("svid", "fetch", "--token-file", token, "--out", out, "--ttl", "15m")
    chain = verify_chain((out / "cert.pem").read_text(), (out / "bundle.pem").read_text())
    assert spiffe_id(chain[0]) == told["spiffe_id"] == ID
    assert "%032x" % chain[0].serial_number == told["serial"]
    key = load_private(out / "key.pem")
    assert public(key) == chain[0].public_key().public_bytes(Encoding.DER,
                                                             PublicFormat.SubjectPublicKeyInfo)
    assert stat.S_IMODE(os.stat(out / "key.pem").st_mode) == 0o600
    life = chain[0].not_valid_after - chain[0].not_valid_before
    assert 900 <= life.total_seconds() <= 1000


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048", "ed25519"])
def test_svid_fetch_makes_keys_of_each_kind(outsider, token, tmp_path, kind):
    out = tmp_path / "svid"
    outsider("svid", "fetch", "-t", token, "-O", out, "-k", kind)
    key = load_private(out / "key.pem")
    assert public(key) == certificates((out / "cert.pem").read_text())[0].public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_a_reader_never_sees_a_pair_that_does_not_fit(outsider, token, tmp_path):
    """Through the one link, while sets are replaced as fast as they come."""
    out = tmp_path / "svid"
    outsider("svid", "fetch", "-t", token, "-O", out)
    writer = subprocess.Popen(
        ["sh", "-c", 'for i in 1 2 3 4 5 6; do "$0" svid fetch -t "$1" -O "$2" >&2 || exit 1; done',
         MICA, token, str(out)], env=outsider.env, stderr=subprocess.PIPE)
    seen = set()
    while writer.poll() is None:
        try:
            now = os.readlink(out / ".current")
            cert = certificates((out / now / "cert.pem").read_text())[0]
            key = load_private(out / now / "key.pem")
        except FileNotFoundError:
            continue  # the generation went away after its link was read
        assert public(key) == cert.public_key().public_bytes(Encoding.DER,
                                                             PublicFormat.SubjectPublicKeyInfo)
        seen.add(cert.serial_number)
    assert writer.returncode == 0, writer.stderr.read()
    assert len(seen) > 1
    assert len([n for n in os.listdir(out) if n.startswith(".gen-")]) == 1


def test_renew_by_the_certificate_itself(start, issuer, tmp_path, token):
    m = start([issuer.config("uri", renewal_max_age="1h")])
    cli = Cli(tmp_path, MICA_URL="https://" + m.ready["https"], MICA_CA=m.roots_file)
    out = tmp_path / "svid"
    first = cli.json("svid", "fetch", "-t", token, "-O", out)
    second = cli.json("svid", "fetch", "--renew", "-O", out)
    assert second["spiffe_id"] == first["spiffe_id"] and second["serial"] != first["serial"]
    event = m.admin().get("/v1/events?serial=" + second["serial"]).ok().json()["events"][0]
    assert event["evidence"]["kind"] == "renewal" and event["evidence"]["id"] == first["serial"]
    assert (out / "bundle.pem").exists()
    verify_chain((out / "cert.pem").read_text(), (out / "bundle.pem").read_text())


def test_what_a_workload_is_told_when_it_is_refused(outsider, issuer, tmp_path, token):
    expired = pki.write(str(tmp_path / "old"), issuer.token(iat=1000000000, nbf=1000000000,
                                                            exp=1000000600).encode())
    e = outsider.refused("token_expired", 3, "svid", "fetch", "-t", expired)
    assert "kubelet" in e["hint"]
    bad = pki.write(str(tmp_path / "bad"), b"a.b.c")
    outsider.refused("token_invalid", 3, "svid", "fetch", "-t", bad)
    outsider.refused("no_credential", 2, "svid", "fetch")
    outsider.refused("no_such_file", 5, "svid", "fetch", "-t", tmp_path / "none")
    outsider.refused("token_file_empty", 2, "svid", "fetch", "-t",
                     pki.write(str(tmp_path / "empty"), b"\n"))
    # over plain http the token would be for all to read
    outsider.refused("bad_url", 2, "svid", "fetch", "-t", token, "--url", "http://127.0.0.1:1")
    outsider.refused("connect_failed", 75, "svid", "fetch", "-t", token, "--url",
                     "https://127.0.0.1:1")
    # roots of somebody else
    other = pki.write(str(tmp_path / "other.pem"), foreign_root(tmp_path))
    outsider.refused("tls_failed", 75, "svid", "fetch", "-t", token, "--ca", other)


def foreign_root(tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=other", "-days", "2",
                    "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", str(tmp_path / "k"), "-out", str(tmp_path / "x")], check=True,
                   capture_output=True)
    return (tmp_path / "x").read_bytes()


def test_jwt_fetch_prints_the_token_alone(outsider, micad, token, tmp_path):
    text = outsider("jwt", "fetch", "-t", token, "-a", "billing", "-a", "ledger").stdout.strip()
    kid = jwt.get_unverified_header(text)["kid"]
    jwk = next(k for k in micad.client().get("/v1/bundle").ok().json()["keys"]
               if k.get("kid") == kid)
    claims = jwt.decode(text, jwt.PyJWK({**jwk, "alg": "ES256", "use": "sig"}).key,
                        algorithms=["ES256"], audience="billing")
    assert claims["sub"] == ID and claims["aud"] == ["billing", "ledger"]
    told = outsider.json("jwt", "fetch", "-t", token, "-a", "billing", "-O", tmp_path / "jwt")
    assert "token" not in told and stat.S_IMODE(os.stat(tmp_path / "jwt").st_mode) == 0o600
    outsider.refused("missing_argument", 2, "jwt", "fetch", "-t", token)


# ---- bundles ---------------------------------------------------------------------------------


def test_bundle_show_in_every_form(outsider, micad, tmp_path):
    b = micad.client().get("/v1/bundle").ok().json()
    told = outsider.json("bundle", "show")
    assert told["sequence"] == b["spiffe_sequence"]
    assert [k["use"] for k in told["keys"]] == [k["use"] for k in b["keys"]]
    assert json.loads(outsider("bundle", "show", "-f", "json").stdout) == b
    assert outsider("bundle", "show", "-f", "pem").stdout.encode() == micad.roots()
    jws = outsider("bundle", "show", "-f", "jws").stdout.strip()
    payload = json.loads(base64.urlsafe_b64decode(jws.split(".")[1] + "=="))
    assert payload["bundle"]["spiffe_sequence"] == b["spiffe_sequence"]
    outsider("bundle", "show", "-f", "pem", "-O", tmp_path / "roots.pem")
    assert (tmp_path / "roots.pem").read_bytes() == micad.roots()
    outsider.refused("no_such_trust_domain", 5, "bundle", "show", "other.example")


def test_a_signed_bundle_leads_to_the_roots_or_is_not_shown(admin, tmp_path):
    other = pki.write(str(tmp_path / "other.pem"), foreign_root(tmp_path))
    admin("bundle", "show", "-f", "jws")
    admin.refused("bundle_jws_untrusted", 3, "bundle", "show", "-f", "jws", "--roots", other)


def test_bundle_watch_sees_what_comes(start, issuer, tmp_path):
    m = start([issuer.config("uri")])
    cli = Cli(tmp_path, MICA_ADMIN_SOCKET=m.config["admin"]["socket"])
    file = tmp_path / "bundle.json"
    watch = cli.popen("bundle", "watch", "-f", "json", "-O", file, "-o", "json")
    try:
        first = json.loads(watch.stdout.readline())
        assert json.loads(file.read_text())["spiffe_sequence"] == first["sequence"]
        # tainting the JWT key makes a new bundle
        jwt_key = next(a for a in cli.json("status")["authorities"] if a["kind"] == "jwt")
        cli("authority", "taint", jwt_key["id"])
        time.sleep(2.5)
        assert watch.poll() is None
    finally:
        watch.terminate()
        assert watch.wait(10) == 0


# ---- administration ----------------------------------------------------------------------------


def test_status_is_for_auditors_and_admins(admin, outsider, token, micad):
    s = admin.json("status")
    assert s["log"]["vkey"] == micad.vkey
    assert {a["kind"] for a in s["authorities"]} == {"root", "issuing", "jwt"}
    assert "active" in admin("status").stdout
    outsider.refused("role_required", 4, "status", "-t", token)
    e = outsider.refused("no_credential", 2, "token", "explain", "-t", token)
    assert "the token in question" in e["error"]


def test_deny_and_taint(start, issuer, tmp_path, token):
    m = start([issuer.config("uri")])
    admin = Cli(tmp_path, MICA_ADMIN_SOCKET=m.config["admin"]["socket"])
    workload = Cli(tmp_path, MICA_URL="https://" + m.ready["https"], MICA_CA=m.roots_file)
    admin("deny", "add", "spiffe_id", ID)
    assert admin.json("deny", "list")["denied"] == [
        {"kind": "spiffe_id", "value": ID, "source": "store"}]
    assert ID in admin("deny", "list").stdout
    workload.refused("denied_by_list", 4, "svid", "fetch", "-t", token)
    admin("deny", "remove", "spiffe_id", ID)
    workload("svid", "fetch", "-t", token)
    admin.refused("not_denied", 5, "deny", "remove", "spiffe_id", ID)
    admin.refused("bad_deny_entry", 2, "deny", "add", "colour", "red")
    admin.refused("bad_deny_entry", 2, "deny", "add", "spiffe_id", "red")
    admin.refused("bad_authority_id", 2, "authority", "taint", "beef")
    admin.refused("no_such_authority", 5, "authority", "taint", "00" * 20)
    issuing = next(a["id"] for a in admin.json("status")["authorities"] if a["kind"] == "issuing")
    admin("authority", "taint", issuing)
    admin.refused("tainted_already", 6, "authority", "taint", issuing)
    workload("svid", "fetch", "-t", token)  # the standby serves
    # who did it stands in the ledger
    done = admin.json("audit", "list", "--type", "deny")["events"]
    assert len(done) == 2 and done[0]["action"] != done[1]["action"]
    assert all(e["actor"]["kind"] == "local" and e["actor"]["uid"] == os.getuid() for e in done)


def test_token_explain(admin, issuer, micad, tmp_path, token):
    good = admin.json("token", "explain", "-t", token)
    assert good["accepted"] and good["spiffe_id"] == ID
    expired = pki.write(str(tmp_path / "old"), issuer.token(iat=1000000000, nbf=1000000000,
                                                            exp=1000000600).encode())
    bad = json.loads(admin("token", "explain", "-t", expired, "-o", "json", status=3).stdout)
    assert bad["reason"] == "token_expired" and bad["verified"]
    text = admin("token", "explain", "-t", expired, status=3).stdout
    signature = open(expired).read().split(".")[2]
    assert "token_expired" in text and signature not in text
    # the same judgement without micad
    keys = pki.write(str(tmp_path / "keys.json"), json.dumps(issuer.jwks()).encode())
    offline = Cli(tmp_path)
    here = offline.json("token", "explain", "-t", token, "-c", micad.config_file, "--jwks-file",
                        "prod=" + keys)
    assert here["accepted"] and here["spiffe_id"] == ID
    offline.refused("bad_option", 2, "token", "explain", "-t", token, "-c", micad.config_file,
                    "--jwks-file", "nobody=" + keys)


def test_backup_check_restore(start, issuer, tmp_path, token):
    m = start([issuer.config("uri")])
    admin = Cli(tmp_path, MICA_ADMIN_SOCKET=m.config["admin"]["socket"], MICA_LOG_VKEY=m.vkey)
    workload = Cli(tmp_path, MICA_URL="https://" + m.ready["https"], MICA_CA=m.roots_file)
    kept = workload.json("svid", "fetch", "-t", token)
    file = tmp_path / "backup"
    assert admin.json("backup", file)["path"] == str(file)
    admin.refused("exists_already", 6, "backup", file)
    lost = workload.json("svid", "fetch", "-t", token)
    admin("audit", "verify")
    # while micad has it, nobody else opens the store
    admin.refused("store_locked", 6, "store", "check", "-c", m.config_file)
    assert m.stop() == 0
    sound = admin.json("store", "check", "-c", m.config_file)
    assert sound["entries"] > lost["ledger_index"] and sound["verdict"] == "sound"
    # by its key alone, without the passphrase
    os.rename(m.passphrase, m.passphrase + ".away")
    assert admin.json("store", "check", "-c", m.config_file)["entries"] == sound["entries"]
    Cli(tmp_path).refused("no_such_file", 5, "store", "check", "-c", m.config_file)
    os.rename(m.passphrase + ".away", m.passphrase)
    # a store is never written over
    admin.refused("store_exists", 6, "restore", file, "-c", m.config_file)
    os.rename(m.path("store"), m.path("old"))
    told = admin.json("restore", file, "-c", m.config_file, "--checkpoint",
                      m.path("old/checkpoint"))
    assert told["origin"] != told["old_origin"] and told["lost_known"]
    assert told["lost_from"] <= lost["ledger_index"] < told["lost_to"]
    assert told["lost_from"] > kept["ledger_index"]
    old_vkey, m.vkey = m.vkey, told["vkey"]
    m.start()
    # it goes on under the new name, with the old entries and the gap on record
    cp = m.log().verify()
    assert cp.origin == told["origin"] and cp.size >= told["entries"]
    admin = Cli(tmp_path, MICA_ADMIN_SOCKET=m.config["admin"]["socket"], MICA_LOG_VKEY=told["vkey"])
    assert admin.json("audit", "show", kept["serial"])["entry"]["index"] == kept["ledger_index"]
    gap = admin.json("audit", "show", told["lost_from"])["entry"]
    assert gap["action"] == "restored" and gap["detail"]["lost_to"] == told["lost_to"]
    assert gap["actor"]["uid"] == os.getuid()
    # the auditor who knows the old log is not told that all is well
    e = Cli(tmp_path, MICA_ADMIN_SOCKET=m.config["admin"]["socket"], MICA_LOG_VKEY=old_vkey).refused(
        "note_unsigned", 8, "audit", "verify")
    assert "restored" in e["hint"]


def test_a_damaged_backup_is_not_restored(start, issuer, tmp_path):
    m = start([issuer.config("uri")])
    admin = Cli(tmp_path, MICA_ADMIN_SOCKET=m.config["admin"]["socket"])
    file = tmp_path / "backup"
    admin("backup", file)
    with open(file, "r+b") as f:
        f.seek(5000)
        f.write(b"\xff")
    m.config["store"]["path"] = m.path("restored")
    m.write_config()
    admin.refused("backup_damaged", 8, "restore", file, "-c", m.config_file)
    assert not os.path.exists(m.path("restored/store.lmdb"))


# ---- the ledger ------------------------------------------------------------------------------


def test_audit_list_pages(admin, outsider, token, tmp_path):
    for _ in range(5):
        outsider("svid", "fetch", "-t", token)
    everything = admin.json("audit", "list", "--all", "--limit", 3)
    indices = [e["index"] for e in everything["events"]]
    assert indices == list(range(indices[0], -1, -1)) and everything["next"] is None
    page = admin.json("audit", "list", "-n", 3)
    after = admin.json("audit", "list", "-n", 3, "--cursor", page["next"])
    assert [e["index"] for e in page["events"] + after["events"]] == indices[:6]
    mine = outsider.json("audit", "list", "-t", token, "--all")["events"]
    assert len(mine) >= 5 and {e["spiffe_id"] for e in mine} == {ID}
    assert admin.json("audit", "list", "--spiffe-id", ID, "--since", "1h")["events"]
    assert admin.json("audit", "list", "--until", "1h")["events"] == []
    text = admin("audit", "list", "--spiffe-id", ID, "-n", 1).stdout.splitlines()
    assert text[0].split() == ["INDEX", "TIME", "TYPE", "WHAT", "WHO"] and text[1].endswith(ID)
    admin.refused("bad_cursor", 2, "audit", "list", "--cursor", "zz")


@pytest.mark.smoke
def test_an_outsider_verifies_the_log(outsider, token, tmp_path):
    first = outsider.json("audit", "verify")
    assert "first time" in first["verdict"]
    outsider("svid", "fetch", "-t", token, "--out", tmp_path / "svid")
    again = outsider.json("audit", "verify", "--deep")
    assert again["seen_before"] == first["size"] < again["size"]
    # the key is remembered with the checkpoint
    outsider("audit", "verify", MICA_LOG_VKEY="")
    # a holder proves that its own certificate is in the tree
    mine = outsider.json("audit", "verify", tmp_path / "svid/cert.pem", "-t", token)
    assert mine["entries"][0]["spiffe_id"] == ID
    # entries are not for everybody
    outsider.refused("role_required", 4, "audit", "verify", "--full", "-t", token)
    outsider.refused("no_credential", 2, "audit", "verify", "--full")


def test_without_a_home_nothing_is_remembered(outsider):
    del outsider.env["XDG_STATE_HOME"]
    for _ in range(2):
        r = outsider("audit", "verify")
        assert "first time" in r.stdout and "no HOME" in r.stdout
    assert outsider.json("audit", "verify")["state"] is None


def test_a_receipt_is_checked_without_anybody(micad, outsider, token, tmp_path):
    told = outsider.json("svid", "fetch", "-t", token)
    c = micad.client(token=open(token).read().strip())
    receipt = c.get("/v1/log/proof/%d" % told["ledger_index"]).ok().body
    entry = base64.b64decode(c.get("/v1/certificates/" + told["serial"]).ok().json()["entry"])
    ledger_check.check_receipt(receipt, entry, micad.vkey)
    (tmp_path / "receipt").write_bytes(receipt)
    (tmp_path / "entry").write_bytes(entry)
    alone = Cli(tmp_path, MICA_LOG_VKEY=micad.vkey)
    r = alone.json("audit", "verify", "--receipt", tmp_path / "receipt", "--entry",
                   tmp_path / "entry")
    assert r["entry"]["serial"] == told["serial"]
    (tmp_path / "entry").write_bytes(entry[:-1] + bytes([entry[-1] ^ 1]))
    alone.refused("inclusion_proof_wrong", 8, "audit", "verify", "--receipt", tmp_path / "receipt",
                  "--entry", tmp_path / "entry")


def test_the_key_is_needed_or_believed_aloud(outsider, tmp_path):
    e = outsider.refused("log_key_unknown", 2, "audit", "verify", MICA_LOG_VKEY="")
    assert "--first-use" in e["hint"]
    r = outsider("audit", "verify", "--first-use", MICA_LOG_VKEY="")
    assert "Compare it" in r.stdout
    name, _, key = outsider.env["MICA_LOG_VKEY"].split("+", 2)
    outsider.refused("bad_vkey", 2, "audit", "verify", "--vkey", "+".join([name, "00000000", key]))


def test_export_and_verify_files(admin, outsider, micad, token, tmp_path):
    hashes, full = tmp_path / "hashes", tmp_path / "full"
    admin("ledger", "export", hashes)
    log = ledger_check.Log(str(hashes), micad.vkey)
    log.verify(bundles=False)
    # without rights: the key is known
    outsider("ledger", "export", tmp_path / "public", "--hashes")
    outsider.refused("no_credential", 2, "ledger", "export", tmp_path / "no", "--full")
    told = outsider.json("svid", "fetch", "-t", token, "--out", tmp_path / "svid")
    admin("ledger", "export", full, "--full")
    again = admin.json("ledger", "export", hashes, "--full")
    assert again["size"] == told["ledger_index"] + 1 > again["size_before"]
    for where in (hashes, full):
        cp = ledger_check.Log(str(where), micad.vkey).verify()
        assert cp.size == told["ledger_index"] + 1
    assert admin.json("ledger", "export", full, "--full")["files_written"] <= 2
    # an auditor with the files alone
    files = Cli(tmp_path / "alone", MICA_LOG_VKEY=micad.vkey)
    r = files.json("audit", "verify", "--from", full, "--full", tmp_path / "svid/cert.pem",
                   told["serial"], told["ledger_index"])
    assert [e["index"] for e in r["entries"]] == [told["ledger_index"]] * 3
    shown = files.json("audit", "show", "--from", full, told["serial"])
    assert shown["entry"]["spiffe_id"] == ID and shown["proof"]["verdict"] == "in the tree"
    # hashes alone have no entries
    Cli(tmp_path / "other", MICA_LOG_VKEY=micad.vkey).refused(
        "tile_missing", 5, "audit", "show", "--from", tmp_path / "public", 0)


# ---- logs that lie ---------------------------------------------------------------------------

FILL = os.path.join(BIN, "tests", "bench", "fill")


def fill(where, size, export="export"):
    """Grows a log of its own below `where`; its key."""
    out = subprocess.run([FILL, str(where / "store"), str(size), "256", str(where / export)],
                         check=True, capture_output=True, timeout=120)
    return json.loads(out.stdout)["vkey"]


@pytest.fixture
def log(tmp_path):
    """A log that grows, and a copy of it as it was: going on from there makes a fork."""
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    vkey = fill(a, 300)
    shutil.copytree(a, b)
    return a, b, vkey


def test_a_fork_is_found_and_kept(log, tmp_path):
    a, b, vkey = log
    auditor = Cli(tmp_path, MICA_LOG_VKEY=vkey)
    fill(a, 700)
    assert fill(b, 800) == vkey
    auditor("audit", "verify", "--from", a / "export")
    e = auditor.refused("log_forked", 8, "audit", "verify", "--from", b / "export")
    # two signatures of one key over two trees: anybody can check them
    kept = [w for w in e["detail"].split() if w.startswith(str(tmp_path))]
    assert len(kept) == 2, e
    notes = []
    for file in kept:
        note = open(file, "rb").read()
        notes.append(ledger_check.Checkpoint(note[note.find(b"\n\n") + 2:] if
                     note.startswith(b"mica-audit-1") else note, ledger_check.Key(vkey)))
    assert {n.size for n in notes} == {700, 800}
    # it stays found
    auditor.refused("log_forked", 8, "audit", "verify", "--from", b / "export")
    auditor("audit", "verify", "--from", a / "export")


def test_a_log_that_shrinks(log, tmp_path):
    a, b, vkey = log
    auditor = Cli(tmp_path, MICA_LOG_VKEY=vkey)
    fill(a, 301)
    auditor("audit", "verify", "--from", a / "export")
    auditor.refused("log_shrunk", 8, "audit", "verify", "--from", b / "export")


def test_files_that_were_altered(log, tmp_path):
    a, _, vkey = log
    auditor = Cli(tmp_path, MICA_LOG_VKEY=vkey)
    auditor("audit", "verify", "--from", a / "export", "--full")
    check = [MICA, "audit", "verify", "--from", str(a / "export"), "--full", "-o", "json"]
    cases = {"checkpoint": {"note_signature_wrong", "bad_note", "note_unsigned", "bad_checkpoint"},
             "tile/0/000": {"tiles_wrong"}, "tile/0/001.p/44": {"tiles_wrong"},
             "tile/1/000.p/1": {"tiles_wrong"}, "tile/entries/000": {"entry_wrong"},
             "tile/entries/001.p/44": {"entry_wrong"}}
    for name, reasons in cases.items():
        path = a / "export" / name
        good = path.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        path.write_bytes(bytes(bad))
        r = subprocess.run(check, env=auditor.env, capture_output=True, text=True, timeout=60)
        assert json.loads(r.stderr)["reason"] in reasons, (name, r.stderr)
        assert r.returncode == 8 or name == "checkpoint"
        path.unlink()
        r = subprocess.run(check, env=auditor.env, capture_output=True, text=True, timeout=60)
        assert r.returncode == 5, (name, r.stderr)
        path.write_bytes(good)
    auditor("audit", "verify", "--from", a / "export", "--full")


# ---- watching --------------------------------------------------------------------------------


def metrics(path):
    return dict(line.rsplit(" ", 1) for line in path.read_text().splitlines() if line[0] != "#")


def test_watch_finds_identities_and_runs_a_command(log, tmp_path):
    a, _, vkey = log
    auditor = Cli(tmp_path, MICA_LOG_VKEY=vkey)
    prom, hits = tmp_path / "mica.prom", tmp_path / "hits"
    how = ["audit", "watch", "--from", a / "export", "--once", "--metrics", prom, "--match",
           "*/checkout-00000[0-4]", "-o", "json"]
    command = ["--", "sh", "-c", 'cat >> "$0"', hits]
    # the first watch begins with what comes from now on
    auditor(*how, *command)
    assert not hits.exists() and metrics(prom)["mica_audit_tree_size"] == "300"
    auditor(*how, *command)
    r = auditor(*how, "--all", *command, status=9)
    lines = [json.loads(x) for x in r.stdout.splitlines()]
    found = [x for x in lines if x["event"] == "match"]
    assert found and all(x["entry"]["spiffe_id"][-6:] in
                         ("000000", "000001", "000002", "000003", "000004") for x in found)
    assert [json.loads(x)["index"] for x in hits.read_text().splitlines()] == \
        [x["index"] for x in found]
    m = metrics(prom)
    assert m['mica_audit_matches_total{pattern="*/checkout-00000[0-4]"}'] == str(len(found))
    assert m["mica_audit_ok"] == "1" and m["mica_audit_broken"] == "0"
    # new entries are looked at once
    fill(a, 600)
    auditor(*how, "--match", "*", *command, status=9)
    auditor(*how, "--match", "*", *command)


def test_watch_ends_when_the_log_breaks_a_promise(log, tmp_path):
    a, b, vkey = log
    auditor = Cli(tmp_path, MICA_LOG_VKEY=vkey)
    fill(a, 400)
    fill(b, 500)
    served = tmp_path / "served"
    shutil.copytree(a / "export", served)
    prom, told = tmp_path / "mica.prom", tmp_path / "told"
    watch = auditor.popen("audit", "watch", "--from", served, "--interval", "1", "--metrics", prom,
                          "-o", "json", "--", "sh", "-c", 'cat > "$0"', told)
    assert json.loads(watch.stdout.readline())["event"] == "consistent"
    shutil.rmtree(served / "tile")
    # a moment without tiles is trouble, not a broken promise
    time.sleep(1.5)
    assert watch.poll() is None
    shutil.copytree(b / "export/tile", served / "tile")
    shutil.copy(b / "export/checkpoint", served / "checkpoint")
    out, err = watch.communicate(timeout=30)
    assert watch.returncode == 8, err
    last = json.loads(out.splitlines()[-1])
    assert last["event"] == "BROKEN" and last["reason"] == "log_forked" and last["evidence"]
    assert json.loads(told.read_text())["reason"] == "log_forked"
    assert metrics(prom)["mica_audit_broken"] == "1"


def test_watch_with_an_auditors_certificate(start, issuer, tmp_path, token):
    auditor_id = "spiffe://example.org/ns/audit/sa/auditor"
    m = start([issuer.config("uri")], {"roles": {"auditors": [auditor_id]}})
    env = dict(MICA_URL="https://" + m.ready["https"], MICA_CA=m.roots_file, MICA_LOG_VKEY=m.vkey)
    cli = Cli(tmp_path, **env)
    mine = pki.write(str(tmp_path / "audit-token"), issuer.token("audit", "auditor").encode())
    cli("svid", "fetch", "-t", mine, "-O", tmp_path / "auditor")
    how = ["audit", "watch", "--once", "--svid", tmp_path / "auditor", "--match", ID]
    cli(*how)
    cli(*how)
    cli("svid", "fetch", "-t", token)
    r = cli(*how, status=9)
    assert ID in r.stdout
    # a workload may not read what others got
    cli.refused("role_required", 4, "audit", "watch", "--once", "-t", token, "--match", "*", "--all")


# ---- without a server --------------------------------------------------------------------------


@pytest.mark.smoke
def test_init_and_config_check(tmp_path):
    cli = Cli(tmp_path)
    passphrase = pki.write(str(tmp_path / "pass"), b"correct horse\n")
    good = ("trust_domain: example.org\nstore:\n  path: %s\npassphrase:\n  file: %s\nissuers:\n"
            "  - name: prod\n    kind: kubernetes\n    issuer: https://k.example\n    keys:\n"
            "      jwks_file: /k\n    audiences:\n      rest: [mica]\n") % (tmp_path / "s", passphrase)
    config = pki.write(str(tmp_path / "micad.yaml"), good.encode(), 0o644)
    assert cli.json("config", "check", config)["verdict"] == "valid"
    bad = pki.write(str(tmp_path / "bad.yaml"), good.replace("rest", "rust").encode(), 0o644)
    e = cli.refused("yaml_schema", 2, "config", "check", bad)
    assert e["line"] == 13 and "istio" in e["error"]
    cli.refused("no_such_file", 5, "config", "check", tmp_path / "none")
    made = cli.json("init", "--config", config)
    assert made["vkey"].startswith(made["origin"] + "+")
    cli.refused("store_exists", 6, "init", "--config", config)
    assert cli.json("store", "check", "-c", config)["origin"] == made["origin"]
    pki.write(passphrase, b"wrong\n")
    cli.refused("wrong_passphrase", 3, "store", "check", "-c", config)
    os.chmod(passphrase, 0o644)
    cli.refused("secret_exposed", 4, "store", "check", "-c", config)


POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: api, namespace: shop}
spec:
  rules:
  - from: [{source: {namespaces: [web]}}]
    to: [{operation: {methods: [%s]}}]
"""
TABLE = """apiVersion: mica/v1
kind: PolicyTest
policies: [policy.yaml]
cases:
- name: the shop's front may read
  request: {workload: {namespace: shop}, peer: "spiffe://example.org/ns/web/sa/front", method: GET, path: /}
  expect: allow
  by: shop/api
- name: nobody else
  request: {workload: {namespace: shop}, peer: "spiffe://example.org/ns/ops/sa/x", method: GET, path: /}
  expect: deny
"""


@pytest.mark.smoke
def test_policies_without_a_server(tmp_path):
    cli = Cli(tmp_path)
    good = pki.write(str(tmp_path / "policy.yaml"), (POLICY % "GET").encode(), 0o644)
    odd = pki.write(str(tmp_path / "odd.yaml"), (POLICY.replace("name: api", "name: b") % "get").encode(), 0o644)
    bad = pki.write(str(tmp_path / "bad.yaml"), (POLICY % '"a b"').encode(), 0o644)
    table = pki.write(str(tmp_path / "table.yaml"), TABLE.encode(), 0o644)
    other = pki.write(str(tmp_path / "other.yaml"), TABLE.replace("ops", "web").encode(), 0o644)

    d = cli.json("policy", "validate", good, odd)
    assert (d["verdict"], d["policies"], d["errors"], d["warnings"]) == ("valid", 2, 0, 1)
    assert [(p["level"], p["reason"], p["line"]) for p in d["problems"]] == [("warning", "policy_method_case", 7)]
    # every file is looked at, and the first error is no reason to stop
    r = cli("--output", "json", "policy", "validate", bad, good, tmp_path / "none", status=2)
    d = json.loads(r.stdout)
    assert d["verdict"] == "invalid" and d["policies"] == 1
    assert [p["reason"] for p in d["problems"]] == ["policy_value", "no_such_file"]
    assert (d["problems"][0]["line"], d["problems"][0]["column"]) == (7, 33)
    # the same policy in two files
    r = cli("--output", "json", "policy", "validate", good, good, status=2)
    assert json.loads(r.stdout)["problems"][0]["reason"] == "policy_duplicate"

    d = cli.json("policy", "test", table)
    assert (d["verdict"], d["passed"], d["failed"], d["failures"]) == ("passed", 2, 0, [])
    r = cli("--output", "json", "policy", "test", other, status=9)
    d = json.loads(r.stdout)
    assert (d["verdict"], d["passed"], d["failed"]) == ("failed", 1, 1)
    assert d["failures"][0]["name"] == "nobody else"
    assert d["failures"][0]["rules"] == ["ALLOW shop/api rule 1 matches"]
    cli.refused("policy_kind", 2, "policy", "test", good)


@pytest.mark.smoke
def test_explaining_a_request(tmp_path):
    cli = Cli(tmp_path)
    good = pki.write(str(tmp_path / "policy.yaml"), (POLICY % "GET").encode(), 0o644)
    ask = ["policy", "explain", "--namespace", "shop", "--peer", "spiffe://example.org/ns/web/sa/front"]
    d = cli.json(*ask, "--method", "GET", "--path", "/", "--header", "x=a=b", "--port", "80", good)
    assert (d["verdict"], d["why"], d["by"]) == ("allow", "allow_rule", "shop/api rule 1")
    d = json.loads(cli("--output", "json", *ask, "--method", "POST", good, status=9).stdout)
    assert (d["verdict"], d["why"], "by" in d) == ("deny", "no_rule", False)
    assert d["rules"][0]["text"] == 'ALLOW shop/api rule 1 does not match: to 1: methods: has none of "GET"'
    request = pki.write(str(tmp_path / "r.yaml"), b"{workload: {namespace: other}, jwt: {issuer: a, subject: b}}", 0o644)
    d = cli.json("policy", "explain", "--request", request, good)
    assert (d["verdict"], d["why"], d["rules"]) == ("allow", "no_allow_policy", [])
    cli.refused("missing_argument", 2, "policy", "explain", "--method", "GET", good)
    cli.refused("bad_option", 2, *ask, "--header", "x", good)
    cli.refused("policy_value", 2, *ask[:-1], "front", good)


def test_the_impact_on_who_holds_a_certificate(admin, outsider, token, tmp_path):
    outsider("svid", "fetch", "-t", token, "-O", tmp_path / "svid")
    old = pki.write(str(tmp_path / "policy.yaml"), (POLICY % "GET").encode(), 0o644)
    text = POLICY.replace("namespaces: [web]", "principals: [%s, example.org/nobody]" % ID[len("spiffe://"):])
    new = pki.write(str(tmp_path / "new.yaml"), (text % "GET").encode(), 0o644)
    d = json.loads(admin("--output", "json", "policy", "impact", old, "--", new, status=9).stdout)
    assert [c["what"] for c in d["changes"] if ID in c["who"] and c["change"] == "gains"] == [["GET on any path"]]
    assert "nobody" not in json.dumps(d)
    assert json.loads(admin("--output", "json", "policy", "impact", old, "--", old).stdout)["verdict"] == "same"
    # without "--" they are applied to what is in force: nothing yet, so that everybody may everything
    d = json.loads(admin("--output", "json", "policy", "impact", old, status=9).stdout)
    assert {c["change"] for c in d["changes"]} == {"loses"} and any(ID in c["who"] for c in d["changes"])
    admin("policy", "apply", old)
    assert json.loads(admin("--output", "json", "policy", "impact", old).stdout)["verdict"] == "same"
    d = json.loads(admin("--output", "json", "policy", "impact", new, status=9).stdout)
    assert [c["what"] for c in d["changes"] if ID in c["who"] and c["change"] == "gains"] == [["GET on any path"]]
    admin("policy", "delete", "shop/api")


@pytest.mark.smoke
def test_policies_in_the_form_of_a_mesh(tmp_path):
    cli = Cli(tmp_path)
    good = pki.write(str(tmp_path / "policy.yaml"), (POLICY % "GET").encode(), 0o644)
    text = cli("policy", "compile", "--target", "istio", good).stdout
    assert 'namespace: "shop"' in text and "methods" in text
    d = cli.json("policy", "compile", "--target", "istio", "--as", "json", good)
    assert json.loads(d["compiled"])["items"][0]["metadata"]["name"] == "api"
    assert (d["policies"], d["rules"], d["lost"], d["losses"]) == (1, 1, 0, [])
    # of one workload: what is about it
    d = cli.json("policy", "compile", "--target", "istio", "--namespace", "other",
                 "--label", "app=x", "-O", tmp_path / "out.yaml", good)
    assert d["policies"] == 0 and (tmp_path / "out.yaml").read_text() == ""
    cli.refused("form_unsupported", 2, "policy", "compile", "--target", "istio", "--as",
                "protobuf", good)
    cli.refused("bad_option", 2, "policy", "compile", "--target", "istio", "--label", "a=b", good)


def test_completions_are_scripts(tmp_path):
    cli = Cli(tmp_path)
    script = pki.write(str(tmp_path / "c.bash"), cli("completion", "bash").stdout.encode(), 0o644)
    ask = ('. "%s"; COMP_WORDS=(%%s); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _mica; '
           'printf "%%%%s\\n" "${COMPREPLY[@]}"') % script

    def complete(words):
        return subprocess.run(["bash", "-c", ask % words], capture_output=True, text=True,
                              check=True, cwd=tmp_path).stdout.split()

    assert "audit" in complete("mica ''") and "status" in complete("mica st")
    assert set(complete("mica audit ''")) == {"list", "show", "verify", "watch"}
    assert "--vkey" in complete("mica audit verify --v")
    assert complete("mica svid fetch --key-type p3") == ["p384"]
    assert complete("mica svid fetch --ttl 1h --key-t") == ["--key-type"]
    assert complete("mica completion z") == ["zsh"]
    for shell in ("zsh", "fish"):
        text = cli("completion", shell).stdout
        assert "audit" in text
        if shutil.which(shell):
            subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_pages_and_colours(tmp_path):
    cli = Cli(tmp_path, TERM="xterm")
    for words in (["--help"], ["audit"], ["audit", "verify", "--help"], ["help", "backup"]):
        text = cli(*words).stdout
        assert text.startswith("Usage: mica") and "\x1b" not in text
    r = cli("stauts", status=2)
    assert "did you mean status?" in r.stderr and "\x1b" not in r.stderr and r.stdout == ""
    # on a terminal there are, unless somebody asked for none
    for env, coloured in ({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False):
        shown = subprocess.run(["script", "-qec", "%s stauts" % MICA, "/dev/null"],
                               env={**cli.env, **env}, capture_output=True, text=True).stdout
        assert ("\x1b[31m" in shown) == coloured, (env, shown)


def test_manual_pages(tmp_path):
    """As mandoc reads them, where there is one."""
    man = os.path.join(os.environ.get("MICA_SRCDIR") or os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "..", ".."), "docs", "man")
    pages = [os.path.join(man, p) for p in sorted(os.listdir(man)) if p.startswith("mica")]
    assert len(pages) >= 2
    if shutil.which("mandoc"):
        r = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], capture_output=True,
                           text=True)
        assert r.returncode == 0, r.stdout
