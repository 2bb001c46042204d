"""Links, pipes and devices in place of an object: never followed, never written to, never waited
for.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from fix_server import RunningServer, start_server
from fix_taking import tree

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # renameat2(2): two names change places in one step


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A root with links of all kinds to a folder beside it."""
    around = tmp_path_factory.mktemp("linked")
    outside = around / "outside"
    outside.mkdir()
    (outside / "file").write_text("not yours")
    server = start_server(around / "root")
    requests.put(f"{server.url}/files/real", data=b"real", timeout=10)
    root = server.root
    (root / "folder-link").symlink_to(outside)
    (root / "relative-link").symlink_to("../outside")
    (root / "file-link").symlink_to(outside / "file")
    (root / "dangling").symlink_to(outside / "new")
    (root / "to-itself").symlink_to(".")
    (root / "loop").symlink_to("loop")
    (root / "inner-link").symlink_to("real")
    yield server, outside
    server.stop()


LINKED = [
    "folder-link/file",
    "folder-link/new",
    "folder-link/deep/new",
    "relative-link/file",
    "file-link",
    "file-link/x",
    "dangling",
]
LINKED += [
    "dangling/x",
    "to-itself/real",
    "to-itself/to-itself/new",
    "loop",
    "loop/x",
    "inner-link",
    "folder-link",
]


@pytest.mark.parametrize("key", LINKED)
def test_a_symbolic_link_is_never_followed(linked: tuple[RunningServer, Path], key: str) -> None:
    """Links to folders, files, nothing, itself: PUT, GET and DELETE are refused without effect."""
    server, outside = linked
    before, inside = (
        tree(outside),
        {
            name: what
            for name, what in tree(server.root).items()
            if not name.startswith(".sluiceway")
        },
    )
    url = f"{server.url}/files/{key}"
    statuses = [
        requests.put(url, data=b"mine", timeout=10).status_code,
        requests.put(url, data=b"mine", headers={"If-None-Match": "*"}, timeout=10).status_code,
        requests.get(url, timeout=10).status_code,
        requests.head(url, timeout=10).status_code,
        requests.delete(url, timeout=10).status_code,
    ]

    assert set(statuses) <= {403, 404, 409, 412}, statuses
    assert tree(outside) == before
    assert {
        name: what for name, what in tree(server.root).items() if not name.startswith(".sluiceway")
    } == inside
    assert server.drafts() == []


def test_links_are_not_listed(linked: tuple[RunningServer, Path]) -> None:
    """Neither a link nor its target is an object."""
    server, _ = linked
    listed = [
        entry["key"] for entry in requests.get(f"{server.url}/files", timeout=10).json()["files"]
    ]

    assert listed == ["real"]


def test_a_hard_link_is_replaced_and_not_written_through(
    linked: tuple[RunningServer, Path],
) -> None:
    """A replacement is a new file under the name: the other name keeps the old bytes."""
    server, outside = linked
    os.link(outside / "file", server.root / "hard")
    try:
        assert requests.put(f"{server.url}/files/hard", data=b"mine", timeout=10).status_code == 200
        assert (outside / "file").read_text() == "not yours"
        assert (server.root / "hard").read_bytes() == b"mine"
    finally:
        (server.root / "hard").unlink()


def test_a_pipe_is_not_an_object(linked: tuple[RunningServer, Path]) -> None:
    """A FIFO is not read, written, waited for or replaced."""
    server, _ = linked
    fifo = server.root / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert requests.get(f"{server.url}/files/pipe", timeout=10).status_code == 404
        assert requests.put(f"{server.url}/files/pipe", data=b"mine", timeout=10).status_code in (
            403,
            409,
        )
        assert requests.delete(f"{server.url}/files/pipe", timeout=10).status_code in (403, 404)
        assert os.read(reader, 10) == b""
        assert fifo.is_fifo()
    finally:
        os.close(reader)
        fifo.unlink()


def test_a_socket_is_not_an_object(linked: tuple[RunningServer, Path]) -> None:
    """Nor is a socket."""
    server, _ = linked
    here = os.getcwd()
    os.chdir(server.root)  # the name of a socket has room for 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        os.chdir(here)
        assert requests.get(f"{server.url}/files/socket", timeout=10).status_code == 404
        assert requests.put(f"{server.url}/files/socket", data=b"mine", timeout=10).status_code in (
            403,
            409,
        )
        assert (server.root / "socket").is_socket()
    (server.root / "socket").unlink()


@pytest.mark.root
def test_a_device_is_not_an_object(linked: tuple[RunningServer, Path]) -> None:
    """A device node is neither read nor replaced."""
    server, _ = linked
    device = server.root / "zero"
    os.mknod(device, 0o600 | 0o020000, os.makedev(1, 5))
    try:
        assert requests.get(f"{server.url}/files/zero", timeout=10).status_code == 404
        assert requests.put(f"{server.url}/files/zero", data=b"mine", timeout=10).status_code in (
            403,
            409,
        )
        assert device.is_char_device()
    finally:
        device.unlink()


def test_a_folder_is_not_an_object(linked: tuple[RunningServer, Path]) -> None:
    """A folder at the key, or a file in place of a folder, is a conflict and stays."""
    server, _ = linked
    requests.put(f"{server.url}/files/folder/below", data=b"below", timeout=10)
    try:
        assert (
            requests.put(f"{server.url}/files/folder", data=b"mine", timeout=10).status_code == 409
        )
        assert (
            requests.put(
                f"{server.url}/files/folder/below/deeper", data=b"mine", timeout=10
            ).status_code
            == 409
        )
        assert requests.get(f"{server.url}/files/folder", timeout=10).status_code == 404
        assert (server.root / "folder" / "below").read_bytes() == b"below"
    finally:
        requests.delete(f"{server.url}/files/folder/below", timeout=10)


def test_a_folder_that_becomes_a_link_is_not_followed(
    linked: tuple[RunningServer, Path],
) -> None:
    """A folder and a link to the outside are swapped during uploads: no file lands outside."""
    server, outside = linked
    swap, link = str(server.root / "swap").encode(), str(server.root / "link").encode()
    os.mkdir(swap)
    os.symlink(outside, link)
    exchange = ctypes.CDLL(None).renameat2
    stop = threading.Event()

    def swapping() -> None:
        while not stop.is_set():
            exchange(AT_FDCWD, swap, AT_FDCWD, link, RENAME_EXCHANGE)

    def uploading() -> None:
        for number in range(100):
            try:
                statuses.append(
                    requests.put(
                        f"{server.url}/files/swap/{number}", data=b"mine", timeout=10
                    ).status_code
                )
            except requests.RequestException as error:
                problems.append(error)

    statuses: list[int] = []
    problems: list[Exception] = []
    before = tree(outside)
    threads = [threading.Thread(target=uploading) for _ in range(2)]
    swapper = threading.Thread(target=swapping)
    swapper.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    swapper.join()

    assert tree(outside) == before
    assert problems == []
    assert {201, 403} <= set(statuses) <= {200, 201, 403, 409}  # both states were met, and no other
