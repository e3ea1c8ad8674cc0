# SPDX-License-Identifier: Apache-2.0
"""The gRPC server library against clients that others wrote: grpcio (C-core), python-h2."""
import pytest

import rpcecho
from rpcecho import unary


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    with rpcecho.Echo(tmp_path_factory.mktemp("rpc"), plain=True, unix=True) as e:
        yield e


@pytest.mark.smoke
@pytest.mark.parametrize("how", ["tls", "plain", "unix"])
def test_unary(echo, how):
    with echo.channel(how) as c:
        for n in (0, 1, 5, 60000):
            assert unary(c, "Unary")(b"m" * n, timeout=10) == b"m" * n
            assert unary(c, "Later")(b"m" * n, timeout=10) == b"m" * n
