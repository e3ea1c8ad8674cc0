# SPDX-License-Identifier: Apache-2.0
"""Lines of certificates: who renews, who does not, and who has a copy; over real handshakes."""
import time

import entry
import pki
from proc import wait_until

OVER = {"x509": {"ttl": 600, "max_ttl": 600, "min_ttl": 1}}


class Holder:
    """One key and its certificate, as files for handshakes."""

    def __init__(self, m, name, chain, key):
        self.m, self.name = m, name
        self.files = (pki.write(m.path(name + ".pem"), chain.encode()),
                      pki.write(m.path(name + ".key"), pki.key_pem(key)))

    def client(self):
        return self.m.client(cert=self.files)

    def renew(self, name, **body):
        key = pki.key()
        a = self.m.fetch(None, key, self.client(), **body).ok(201).json()
        return Holder(self.m, name, a["certificate_chain"], key)

    def show(self):
        """Presents itself, and gets nothing for it."""
        self.client().get("/v1/events?limit=1").ok()


def first(m, issuer, name="first", **body):
    key = pki.key()
    a = m.fetch(issuer.token(), key, **body).ok(201).json()
    return Holder(m, name, a["certificate_chain"], key)


def lineage(m, action):
    events = m.admin().get("/v1/events?type=lineage&limit=1000").ok().json()["events"]
    return [e for e in events if e["action"] == action]


def figure(m, name):
    text = m.metrics().get("/metrics").ok().body.decode()
    line = next(x for x in text.split("\n") if x.startswith(name + " "))
    return int(line.split()[1])


def test_a_copied_key_is_seen(start, issuer):
    m = start([issuer.config("file", renewal_max_age="1h")], OVER)
    a = first(m, issuer)
    rightful = a.renew("rightful")
    rightful.show()
    lost = a.renew("lost")  # an answer that nobody got
    assert not lineage(m, "forked")
    thief = a.renew("thief")
    thief.show()
    wait_until("it is recorded", lambda: lineage(m, "forked"))
    told = lineage(m, "forked")
    assert len(told) == 1 and told[0]["detail"]["spiffe_id"].endswith("/sa/checkout")
    assert figure(m, "mica_lineage_forks_total") == 1
    wait_until("it is logged", lambda: m.events("lineage_forked"))
    # told, not refused: that is a setting
    rightful.renew("next")
    del lost
    m.config["x509"]["refuse_forks"] = True
    m.write_config()
    m.reload()
    for who in (rightful, thief):
        m.fetch(None, client=who.client()).problem(403, "lineage_forked")
    again = first(m, issuer, "again")
    again.renew("goes-on")


def test_a_fork_is_seen_across_a_crash(start, issuer):
    m = start([issuer.config("file", renewal_max_age="1h")], OVER)
    a = first(m, issuer)
    one, two = a.renew("one"), a.renew("two")
    one.show()
    time.sleep(2.5)  # until it is written behind
    m.kill()
    m.restart()
    time.sleep(4)
    two.show()
    wait_until("it is recorded", lambda: lineage(m, "forked"))


def test_a_line_that_ends_is_told(start, issuer):
    m = start([issuer.config("file", renewal_max_age="1h")],
              {"x509": {"ttl": 4, "max_ttl": 6, "min_ttl": 1}})
    first(m, issuer).renew("second")
    first(m, issuer, "alone")  # with a token and nothing else: no line
    for i in range(2):
        m.fetch(issuer.token(), instance="proxy").ok(201)
        m.fetch(issuer.token(), instance="app-%d" % i).ok(201)
    wait_until("both are told", lambda: len(lineage(m, "renewal_missed")) == 2, timeout=30)
    time.sleep(2)
    told = lineage(m, "renewal_missed")
    assert len(told) == 2 and all(e["detail"]["pod_uid"] for e in told)
    assert figure(m, "mica_renewals_missed_total") == 2
    assert figure(m, "mica_lineage_certificates") == 0


def test_an_instance_stands_in_the_entry(start, issuer):
    m = start([issuer.config("file")], OVER)
    a = m.fetch(issuer.token(), instance="envoy.1").ok(201).json()
    assert entry.parse(m.receipt(a["ledger_index"])[0])["instance"] == "envoy.1"
    plain = m.fetch(issuer.token()).ok(201).json()
    assert "instance" not in entry.parse(m.receipt(plain["ledger_index"])[0])
    m.fetch(issuer.token(), instance="a b").problem(400, "bad_instance")
    m.fetch(issuer.token(), instance="").problem(400, "json_range")
    m.fetch(issuer.token(), instance="x" * 65).problem(400, "json_range")
