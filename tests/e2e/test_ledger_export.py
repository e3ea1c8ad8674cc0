# SPDX-License-Identifier: Apache-2.0
"""Exported logs against the checker, which knows the standards and nothing of Mica."""
import json
import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ledger_check

BUILD = os.environ.get("MICA_BIN") or os.environ.get("MICA_BUILDDIR") or os.getcwd()
FILL = os.path.join(BUILD, "tests", "bench", "fill")


def fill(tmp, size, batch=64):
    out = subprocess.run(
        [FILL, str(tmp / "store"), str(size), str(batch), str(tmp / "export")],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return json.loads(out.stdout)


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 65537])
def test_sizes(tmp_path, size):
    told = fill(tmp_path, size, 256)
    log = ledger_check.Log(str(tmp_path / "export"), told["vkey"])
    cp = log.verify()
    assert cp.size == size
    assert cp.origin == told["vkey"].split("+")[0]


def test_grows_and_stays_consistent(tmp_path):
    told = fill(tmp_path, 3)
    log = ledger_check.Log(str(tmp_path / "export"), told["vkey"])
    old = log.checkpoint()
    for size in (4, 256, 300, 1500):
        fill(tmp_path, size)
        cp = log.verify()
        assert cp.size == size
        ledger_check.verify_consistency(old, cp, log.leaves)
        old = cp
    # partial tiles of older sizes are gone where the full one is there
    assert not (tmp_path / "export/tile/0/000.p").exists()


def test_every_octet_counts(tmp_path):
    told = fill(tmp_path, 300)
    export = tmp_path / "export"
    vkey = told["vkey"]
    ledger_check.Log(str(export), vkey).verify()
    for name in ("checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1",
                 "tile/entries/000", "tile/entries/001.p/44"):
        path = export / name
        good = path.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        path.write_bytes(bytes(bad))
        with pytest.raises((ledger_check.Bad, ValueError)):
            ledger_check.Log(str(export), vkey).verify()
        path.write_bytes(good)
    ledger_check.Log(str(export), vkey).verify()


def test_another_logs_directory_is_refused(tmp_path):
    fill(tmp_path, 5)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copytree(tmp_path / "export", other / "export")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        fill(other, 5)
    assert b"export_foreign" in failed.value.stderr + failed.value.stdout
