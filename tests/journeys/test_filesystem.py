"""A server whose destination is an SFTP server behind fsspec, and copies into it and out of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fix_server import RunningServer, Serve, start_server
from fix_sftp import SftpServer
from fix_taking import eventually, noise
from raw_http import Wire, head

MIB = 1 << 20
DATA = noise(3_000_017)
SHA = hashlib.sha256(DATA).hexdigest()


def sluiceway(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", *words],
        input=given,
        capture_output=True,
        timeout=60,
        check=False,
    )


def receipt(done: subprocess.CompletedProcess[bytes]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place(sftp: SftpServer) -> str:
    return sftp.fresh()


@pytest.fixture(scope="module")
def server(
    sftp: SftpServer, place: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("sftp-server") / "none", to=sftp.url(place))
    yield running
    running.stop()


def test_files_are_stored_read_listed_and_deleted(
    server: RunningServer, sftp: SftpServer, place: str
) -> None:
    """Raw and form, whole and in ranges, with conditions. The file itself is stored there."""
    url = f"{server.url}/files/a/ä b.bin"
    assert requests.put(url, data=DATA, timeout=30).status_code == 201
    assert (sftp.folder / place / "a" / "ä b.bin").read_bytes() == DATA
    got = requests.get(url, timeout=30)
    assert got.content == DATA
    assert got.headers["Repr-Digest"]
    for start, stop in ((0, 1), (524_287, 524_290), (1_000_000, 2_500_000), (3_000_016, 3_000_017)):
        assert (
            requests.get(url, headers={"Range": f"bytes={start}-{stop - 1}"}, timeout=10).content
            == DATA[start:stop]
        )
    assert (
        requests.put(url, data=b"x", headers={"If-None-Match": "*"}, timeout=10).status_code == 412
    )
    assert (
        requests.put(
            url, data=b"x", headers={"If-Match": got.headers["ETag"]}, timeout=10
        ).status_code
        == 200
    )
    assert requests.get(url, timeout=10).content == b"x"
    stored = requests.post(
        f"{server.url}/files", files=[("f", ("1.txt", b"1")), ("f", ("2.bin", DATA))], timeout=30
    ).json()["files"]
    assert requests.get(server.url + stored[1]["url"], timeout=30).content == DATA
    keys = {
        entry["key"] for entry in requests.get(f"{server.url}/files", timeout=10).json()["files"]
    }
    assert keys >= {"a/ä b.bin", stored[0]["key"]}
    assert requests.delete(url, timeout=10).status_code == 204
    assert requests.get(url, timeout=10).status_code == 404
    assert sftp.drafts(place) == []


def test_missing_promises_are_logged_at_the_start(
    server: RunningServer, sftp: SftpServer, serve: Serve
) -> None:
    """One line for each, without the password; none for a folder."""
    log = server.log()
    for words in (
        "create one key at once",
        "replace one version at once",
        "may be lost",
        "replaced meanwhile",
    ):
        assert (
            len(re.findall(f"WARNING sluiceway fsspec.sftp://127.0.0.1:{sftp.port}/.*{words}", log))
            == 1
        ), log
    assert "secret" not in log
    assert "WARNING" not in serve().log()


def test_a_cut_upload_leaves_nothing(server: RunningServer, sftp: SftpServer, place: str) -> None:
    with Wire(server.port) as wire:
        wire.send(head("PUT", "/files/cut", f"Content-Length: {2 * len(DATA)}") + DATA)
        eventually(lambda: sftp.drafts(place), "a draft exists")
    eventually(lambda: not sftp.drafts(place), "the draft is gone")
    assert requests.get(f"{server.url}/files/cut", timeout=10).status_code == 404


def test_a_sweep_removes_the_leftovers_of_a_killed_server(sftp: SftpServer, tmp_path: Path) -> None:
    """No object is visible after SIGKILL; the command deletes drafts that are an hour old."""
    place = sftp.fresh()
    assert sluiceway("init", sftp.url(place)).returncode == 0
    victim = start_server(tmp_path / "none", to=sftp.url(place))
    wires = [Wire(victim.port) for _ in range(5)]
    try:
        for number, wire in enumerate(wires):
            wire.send(
                head("PUT", f"/files/killed-{number}", f"Content-Length: {2 * len(DATA)}") + DATA
            )
        eventually(lambda: len(sftp.drafts(place)) >= 5, "five drafts")
        victim.stop(signal.SIGKILL)
    finally:
        for wire in wires:
            wire.close()
    # None is old enough.
    assert b": 0 leftovers removed" in sluiceway("sweep", sftp.url(place)).stdout
    folder = sftp.folder / place / ".sluiceway" / "drafts"
    for name in os.listdir(folder):
        os.utime(folder / name, (time.time() - 7200, time.time() - 7200))
    assert b": 5 leftovers removed" in sluiceway("sweep", sftp.url(place)).stdout
    assert sorted(os.listdir(sftp.folder / place)) == [".sluiceway"]
    assert sftp.drafts(place) == []


def test_a_wrong_configuration_is_named_at_the_start(sftp: SftpServer) -> None:
    """A wrong password, no server, no package: one line with what to do, and no password."""
    for url, words in (
        (sftp.url("x", password="geheim"), b"password or key was refused"),
        ("fsspec+sftp://u:geheim@127.0.0.1:1/x", b"no server answers"),
        ("fsspec+smb://u:geheim@host/share", b"pip install 'smbprotocol'"),
    ):
        done = sluiceway("serve", "--to", url, "--port", "0")
        assert (done.returncode, words in done.stderr, b"geheim" in done.stderr) == (
            2,
            True,
            False,
        ), done.stderr


def test_a_file_is_copied_in_and_out(
    sftp: SftpServer, server: RunningServer, tmp_path: Path
) -> None:
    """From a file to SFTP to a file, by key and by folder, to standard output, to a server."""
    place = sftp.fresh()
    (tmp_path / "ü b.bin").write_bytes(DATA)
    copied = receipt(
        sluiceway("copy", "--json", str(tmp_path / "ü b.bin"), sftp.url(f"{place}/in/"))
    )
    assert (copied["size"], copied["sha-256"]) == (len(DATA), SHA)
    assert copied["location"] == f"fsspec+sftp://127.0.0.1:{sftp.port}/{place}/in/ü b.bin"
    assert (sftp.folder / place / "in" / "ü b.bin").read_bytes() == DATA
    (tmp_path / "out").mkdir()
    assert (
        receipt(
            sluiceway(
                "copy", "--json", sftp.url(f"{place}/in/%C3%BC%20b.bin"), str(tmp_path / "out")
            )
        )["sha-256"]
        == SHA
    )
    assert (tmp_path / "out" / "ü b.bin").read_bytes() == DATA
    assert sluiceway("copy", sftp.url(f"{place}/in/ü b.bin"), "-").stdout == DATA
    assert (
        receipt(
            sluiceway("copy", "--json", sftp.url(f"{place}/in/ü b.bin"), f"{server.url}/files/on")
        )["sha-256"]
        == SHA
    )
    assert requests.get(f"{server.url}/files/on", timeout=30).content == DATA


def test_an_existing_name_is_replaced_only_by_force(sftp: SftpServer, tmp_path: Path) -> None:
    url = sftp.url(f"{sftp.fresh()}/k#1")
    assert sluiceway("copy", "-", url, given=b"one").returncode == 0
    done = sluiceway("copy", "-", url, given=b"two")
    assert (done.returncode != 0, b"already" in done.stderr) == (True, True), done.stderr
    assert sluiceway("copy", "-", url, "--force", given=b"two").returncode == 0
    assert sluiceway("copy", url, "-").stdout == b"two"
    assert b"no object" in sluiceway("copy", sftp.url("nothing/here"), "-").stderr
