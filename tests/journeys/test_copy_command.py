"""`copy --from-command`: a program's output is stored only if the program ends well."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sluiceway
from fix_postgres import Database
from fix_s3 import Objects
from fix_server import RunningServer
from fix_sftp import SftpServer
from fix_taking import eventually
from sluiceway.client.local import command as commands

GOOD, BROKEN = "head -c 300000 /dev/zero", "head -c 300000 /dev/zero; exit 3"


def run(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", "copy", *words],
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_command_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """Neither a file nor a part; a command that ends well is stored, also with --size."""
    done = run("--from-command", BROKEN, str(tmp_path / "x"))
    assert (done.returncode, b"exit code 3" in done.stderr, os.listdir(tmp_path)) == (3, True, [])
    assert run("--from-command", "exit 1", str(tmp_path / "x")).returncode == 3
    assert run("--from-command", f"{GOOD} | false", str(tmp_path / "x")).returncode == 3
    assert run("--from-command", "false | cat", str(tmp_path / "x")).returncode == 3
    assert run("--from-command", BROKEN, "--size", "300000", str(tmp_path / "x")).returncode == 3
    assert os.listdir(tmp_path) == []

    assert run("--from-command", GOOD, "--size", "300000", str(tmp_path / "x")).returncode == 0
    assert (tmp_path / "x").read_bytes() == bytes(300_000)


@pytest.mark.parametrize("size", [None, 300_000])
def test_a_command_that_fails_leaves_nothing_at_a_server(
    taker: RunningServer, size: int | None
) -> None:
    """As a raw body and as a form, in chunks and with an announced length."""
    before = taker.stored()
    for url in (f"{taker.url}/files/dump{size}", f"{taker.url}/files"):
        with pytest.raises(sluiceway.SluiceError, match="exit code 3") as caught:
            sluiceway.copy(sluiceway.Command(BROKEN), url, size=size, name="dump", retries=0)
        assert caught.value.code == "source-failed"
    eventually(lambda: taker.stored() == before)

    receipt = sluiceway.copy(
        sluiceway.Command(["head", "-c", "300000", "/dev/zero"]),
        f"{taker.url}/files/dump{size}",
        size=size,
    )
    assert (receipt.size, taker.stored()[f"dump{size}"]) == (300_000, 300_000)


def nothing_after(place: Callable[[str], str]) -> None:
    with pytest.raises(sluiceway.SluiceError, match="exit code 3"):
        sluiceway.copy(sluiceway.Command(BROKEN), place("dump"))
    with pytest.raises(sluiceway.SluiceError) as caught:
        sluiceway.copy(place("dump"), os.devnull)
    assert caught.value.code == "not-found"
    assert sluiceway.copy(sluiceway.Command(GOOD), place("dump")).size == 300_000


def test_a_command_that_fails_leaves_nothing_in_a_database(database: Database) -> None:
    table = database.fresh()
    subprocess.run(
        [sys.executable, "-m", "sluiceway", "init", f"{database.url}&table={table}"],
        check=True,
        capture_output=True,
    )
    place, mark, query = database.url.partition("?")
    nothing_after(lambda key: f"{place}/{key}{mark}{query}&table={table}")
    assert database.leftovers(table) == []
    database.drop(table)


def test_a_command_that_fails_leaves_nothing_in_a_bucket(
    s3: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    bucket = s3.fresh()
    nothing_after(lambda key: s3.url(bucket, key))


def test_a_command_that_fails_leaves_nothing_over_sftp(sftp: SftpServer) -> None:
    nothing_after(lambda key: sftp.url(key))


def test_a_command_needs_a_name_for_a_folder(tmp_path: Path) -> None:
    done = run("--from-command", GOOD, str(tmp_path))
    assert (done.returncode, b"no name" in done.stderr) == (2, True)
    assert run("--from-command", GOOD, "--name", "dump", str(tmp_path)).returncode == 0
    assert run("--from-command", GOOD, "a", "b").returncode == 2
    assert run("only-one").returncode == 2


async def test_a_copy_that_is_cancelled_ends_the_program_and_those_it_started(
    tmp_path: Path,
) -> None:
    """No process stays that writes to a closed pipe."""
    mark = f"sluiceway-{os.getpid()}-{time.monotonic_ns()}"
    line = f"sleep 300 & echo $! > '{tmp_path}/{mark}'; cat /dev/zero"
    copying = asyncio.create_task(
        sluiceway.acopy(sluiceway.Command(line), tmp_path / "x", limit_rate="1MiB")
    )
    while not (tmp_path / mark).exists() or not (tmp_path / mark).read_text():
        await asyncio.sleep(0.01)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying

    child = int((tmp_path / mark).read_text())
    eventually(
        lambda: (
            not Path(f"/proc/{child}").exists()
            or "State:\tZ" in Path(f"/proc/{child}/status").read_text()
        )
    )
    assert [path.name for path in tmp_path.iterdir()] == [mark]


def test_a_program_that_does_not_end_times_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "END_TIMEOUT", 0.2)
    with pytest.raises(sluiceway.SluiceError, match="did not end"):
        sluiceway.copy(sluiceway.Command("echo x; exec >&-; sleep 300"), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
