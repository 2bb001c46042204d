"""Copies to a tus server that we did not write: tuspyserver, a router of FastAPI.

A real process behind a proxy that cuts: the file arrives, and only what was not kept goes twice.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from cutting_proxy import CuttingProxy
from fix_taking import eventually, noise
from free_ports import free_port
from sluiceway import copy

if find_spec("tuspyserver") is None:  # its import takes a second, which only its server needs
    pytest.skip("tuspyserver is not installed", allow_module_level=True)

DATA = noise(3 << 20)
PROGRAM = """
import sys
import uvicorn
from fastapi import FastAPI
from tuspyserver import create_tus_router
app = FastAPI()
app.include_router(create_tus_router(prefix="files", files_dir=sys.argv[1]))
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server, and the folder it stores into."""
    folder = tmp_path_factory.mktemp("stored")
    port = free_port()
    command = [sys.executable, "-c", PROGRAM, str(folder), str(port)]
    with subprocess.Popen(command) as process:
        eventually(lambda: _answers(port))
        yield port, folder
        process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("parallel", [1, pytest.param(3, marks=pytest.mark.torture)])
def test_a_file_arrives_over_a_line_that_cuts(
    foreign: tuple[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    """In one piece, and in parts where the server joins them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    port, folder = foreign
    path = tmp_path / f"big{parallel}.bin"
    data = DATA[parallel:]
    path.write_bytes(data)
    after = 2 << 20 if parallel == 1 else 700_000
    with CuttingProxy(port, after) as proxy:
        receipt = copy(path, f"{proxy.url}/files/", parallel=parallel)
    assert receipt.size == len(data)
    stored = [one for one in folder.rglob("*") if one.stat().st_size == len(data)]
    assert [one.read_bytes() == data for one in stored] == [True]
    assert proxy.cuts >= 1
    assert proxy.sent <= 1.02 * len(data) + proxy.cuts * (512 << 10)
