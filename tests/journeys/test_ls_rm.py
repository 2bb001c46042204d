"""`sluiceway ls` and `sluiceway rm`: places and servers, for people and for programs."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_server import RunningServer, start_server
from sluiceway.pipe.budget import Budget
from sluiceway.stores.registry import open_root
from sluiceway.testing.store_suite import store_bytes

KEYS = ["a.txt", "photos/1.jpg", "photos/2.jpg", "photos/deep/3.jpg", "z/ä b.txt"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(
        tmp_path_factory.mktemp("listed") / "root", "--token", "t0ken-of-this-test"
    )
    yield running
    running.stop()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "SLUICEWAY_TOKEN": "t0ken-of-this-test"},
    )


@pytest.fixture(params=["server", "sqlite", "fsspec"])
def url(request: pytest.FixtureRequest, server: RunningServer, tmp_path: Path) -> str:
    """A place with KEYS, each with a size of its own."""
    where = {
        "server": f"{server.url}/files/{tmp_path.name}/",
        "sqlite": f"sqlite:///{tmp_path}/x.db/",
        "fsspec": f"fsspec+file://{tmp_path}/x/",
    }[request.param]
    source = tmp_path / "source"
    for number, key in enumerate(KEYS):
        (source / key).parent.mkdir(parents=True, exist_ok=True)
        (source / key).write_bytes(b"x" * (number * 1000))
    assert sluiceway.copy_all(source, where, token="t0ken-of-this-test").ok
    return where


def keys(done: subprocess.CompletedProcess[str], url: str) -> list[str]:
    """What a --json listing names, below the URL."""
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    names = [one.get("key") or one["folder"] for one in found]
    prefix = url.rpartition("/files/")[2] if url.startswith("http") else ""
    return [name.removeprefix(prefix) for name in names]


def test_a_listing_goes_folder_by_folder_or_below_all(url: str) -> None:
    assert keys(command("ls", "--json", url), url) == ["a.txt", "photos/", "z/"]
    assert keys(command("ls", "--json", f"{url}photos"), url) == [
        "photos/1.jpg",
        "photos/2.jpg",
        "photos/deep/",
    ]
    assert keys(command("ls", "--json", "-r", url), url) == KEYS
    one = keys(command("ls", "--json", f"{url}photos/2.jpg"), url)
    assert [key.rpartition("/")[2] for key in one] == ["2.jpg"]


def test_a_line_has_size_time_and_key(url: str) -> None:
    lines = command("ls", "-r", url).stdout.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["0", "B"], ["1000", "B"]]
    assert lines[2].split()[:2] == ["2.0", "KiB"]
    exact = command("ls", "-r", "--bytes", url).stdout.splitlines()
    assert [line.split()[0] for line in exact] == ["0", "1000", "2000", "3000", "4000"]
    assert exact[4].endswith("z/ä b.txt")
    one = json.loads(command("ls", "--json", f"{url}photos/1.jpg").stdout)
    assert one["size"] == 1000
    assert one["modified"].endswith("Z")


def test_nothing_there_is_exit_code_3(url: str) -> None:
    for words in (["ls"], ["ls", "-r"], ["rm"], ["rm", "-r", "--yes"]):
        missing = command(*words, f"{url}none")
        assert missing.returncode == 3, (words, missing.stderr)
        assert missing.stdout == ""


@pytest.mark.parametrize("place", ["sqlite:///{}/none.db", "fsspec+file://{}/none/"])
def test_a_place_that_does_not_exist_is_named_and_not_made(tmp_path: Path, place: str) -> None:
    url = place.format(tmp_path)
    for words in (["ls"], ["ls", "-r", "--json"], ["rm", "-r", "--yes"]):
        missing = command(*words, url)
        assert (missing.returncode, missing.stdout) == (3, ""), (words, missing.stderr)
        assert url.rstrip("/") in missing.stderr
    assert os.listdir(tmp_path) == []


def test_one_object_is_deleted(url: str) -> None:
    done = command("rm", f"{url}photos/1.jpg")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("deleted ")
    assert keys(command("ls", "--json", "-r", url), url) == [KEYS[0], *KEYS[2:]]
    assert command("rm", f"{url}photos/").returncode == 2


def test_many_are_deleted_after_a_yes_only(url: str) -> None:
    refused = command("rm", "-r", f"{url}photos")
    assert refused.returncode == 2
    assert "Delete 3 objects" in refused.stderr
    assert "--yes" in refused.stderr
    assert keys(command("ls", "--json", "-r", url), url) == KEYS
    done = command("rm", "-r", "--yes", "--json", f"{url}photos")
    assert done.returncode == 0, done.stderr
    assert len([json.loads(line)["deleted"] for line in done.stdout.splitlines()]) == 3
    assert keys(command("ls", "--json", "-r", url), url) == ["a.txt", "z/ä b.txt"]


@pytest.mark.parametrize(("word", "left"), [("y\n", 0), ("n\n", 1)])
def test_at_a_terminal_it_asks(tmp_path: Path, word: str, left: int) -> None:
    place = f"sqlite:///{tmp_path}/x.db/"
    sluiceway.copy(b"1", f"{place}a")
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "sluiceway", "rm", "-r", place],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as asked:
        os.close(theirs)
        os.write(terminal, word.encode())
        asked.wait(60)
    os.close(terminal)
    assert len(keys(command("ls", "--json", "-r", place), place) if left else []) == left
    assert asked.returncode == (2 if left else 0)


def test_a_listing_of_many_pages_ends(tmp_path: Path) -> None:
    """1,100 objects in one folder and one behind it: a folder is skipped, not read."""
    place = f"sqlite:///{tmp_path}/x.db"

    async def fill() -> None:
        store = open_root(place, Budget(64 << 20))
        await asyncio.gather(*(store_bytes(store, f"f/{n:04}", b"") for n in range(1100)))
        await store_bytes(store, "g", b"")
        await store.aclose()

    asyncio.run(fill())
    assert keys(command("ls", "--json", place), place) == ["f/", "g"]
    assert len(keys(command("ls", "--json", "-r", place), place)) == 1101
    assert command("rm", "-r", "--yes", f"{place}/f/").stdout.count("deleted") == 1100
    assert keys(command("ls", "--json", "-r", place), place) == ["g"]


def test_a_server_is_named_by_its_host_alone(server: RunningServer) -> None:
    """And without its token it refuses, in words."""
    requests.put(
        f"{server.url}/files/top.txt",
        data=b"1",
        timeout=10,
        headers={"Authorization": "Bearer t0ken-of-this-test"},
    )
    assert "top.txt" in command("ls", server.url).stdout
    refused = command("ls", "--token", "wrong", server.url)
    assert refused.returncode == 4
    assert "--token" in refused.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ls", "/tmp"], "path of this machine"),
        (["rm", "x"], "path of this machine"),
        (["ls", "ftp://host/x"], "ftp://"),
        (["ls", "sqlite:///"], "sqlite:///FILE.db"),
        (["ls"], "Missing argument"),
    ],
)
def test_what_is_neither_place_nor_server_is_refused(words: list[str], says: str) -> None:
    refused = command(*words)
    assert refused.returncode == 2
    assert says in refused.stderr
