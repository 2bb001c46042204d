"""Copies to a tus server that we did not write: @tus/server.

A real process behind a proxy that cuts: the file arrives, and only what was not kept goes twice.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutting_proxy import CuttingProxy
from fix_npm import npm_package
from fix_taking import noise
from sluiceway import copy

DATA = noise(3 << 20)


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a server, and the folder it stores into."""
    folder = tmp_path / "stored"
    folder.mkdir()
    npm_package("@tus/server")
    script = Path(__file__).parents[1] / "npm" / "tus_server.mjs"
    command = ["node", str(script), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), folder
        process.terminate()


def test_a_file_arrives_over_a_line_that_cuts(
    foreign: tuple[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    port, folder = foreign
    path = tmp_path / "big.bin"
    path.write_bytes(DATA)
    with CuttingProxy(port, 2 << 20) as proxy:
        receipt = copy(path, f"{proxy.url}/files/")
    assert receipt.size == len(DATA)
    stored = [one for one in folder.rglob("*") if one.stat().st_size == len(DATA)]
    assert [one.read_bytes() == DATA for one in stored] == [True]
    assert proxy.cuts >= 1
    # Of a request that is cut, this server drops what it has read and not yet written: 100 kB.
    assert proxy.sent <= 1.02 * len(DATA) + proxy.cuts * (128 << 10)
