# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a token issuer, a running micad, a real Kubernetes API server."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kubeapi
from issuer import Issuer
from micad import Micad


def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: the few that `make check` runs")


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    with Issuer(tmp_path_factory.mktemp("issuer")) as i:
        yield i


@pytest.fixture(scope="module")
def micad(tmp_path_factory, issuer):
    """One server for a whole file of tests; they must not get in each other's way."""
    with Micad(tmp_path_factory.mktemp("micad"), [issuer.config("uri")]) as m:
        yield m


@pytest.fixture
def start(tmp_path):
    """Starts servers of one test: start(issuers, over); they end with it."""
    running = []

    def go(issuers, over=None, **how):
        m = Micad(tmp_path / ("micad%d" % len(running)), issuers, over, **how)
        running.append(m)
        m.__enter__()
        return m

    yield go
    for m in running:
        assert m.stop() == 0
        m.sockets.cleanup()


@pytest.fixture(scope="session")
def kube(tmp_path_factory):
    """One API server for all tests that do not restart it."""
    try:
        with kubeapi.KubeApi(tmp_path_factory.mktemp("kube")) as api:
            yield api
    except kubeapi.Skip as why:
        pytest.skip(str(why))
