"""`copy` to a URL replaces nothing unasked; a wrong address and ^C are told at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import sluiceway
from fix_server import RunningServer, start_server
from fork_server import PlainPopen
from rude_peer import Exchange, Peer
from sluiceway.errors import PreconditionFailed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("force") / "root")
    yield running
    running.stop()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sluiceway", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_key_is_replaced_with_force_only(server: RunningServer, tmp_path: Path) -> None:
    """A file, a folder file by file, bytes: the same answer, and what is there stays."""
    url = f"{server.url}/files/taken/a.txt"
    sluiceway.copy(b"first", url)
    (tmp_path / "a.txt").write_bytes(b"second")
    refused = command("copy", str(tmp_path / "a.txt"), url)
    assert refused.returncode == 4
    assert "--force" in refused.stderr
    for source, target in ((b"second", url), (str(tmp_path), f"{server.url}/files/taken/")):
        with pytest.raises(PreconditionFailed, match="force"):
            sluiceway.copy(source, target)
    assert requests.get(url, timeout=10).content == b"first"

    assert command("copy", "--force", str(tmp_path / "a.txt"), url).returncode == 0
    assert requests.get(url, timeout=10).content == b"second"
    assert sluiceway.copy(str(tmp_path), f"{server.url}/files/taken/", force=True).size == 6


def test_the_users_own_condition_is_sent_instead(server: RunningServer) -> None:
    url = f"{server.url}/files/own"
    sluiceway.copy(b"1", url)
    etag = requests.head(url, timeout=10).headers["ETag"]
    with pytest.raises(PreconditionFailed) as caught:
        sluiceway.copy(b"2", url, headers={"If-Match": '"other"'})
    assert "--force" not in caught.value.detail
    assert sluiceway.copy(b"3", url, headers={"If-Match": etag}).size == 1


def test_the_condition_is_sent_to_every_server() -> None:
    """`If-None-Match: *` without --force, and none with it; a server that ignores it replaces."""

    def take(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(201)

    with Peer(take) as peer:
        sluiceway.copy(b"x", f"{peer.url}/dav/x")
        sluiceway.copy(b"x", f"{peer.url}/dav/x", force=True)
    sent = [request.headers.get("if-none-match") for request in peer.seen]
    assert sent == ["*", None]


def test_an_upload_whose_response_was_lost_is_no_taken_key(server: RunningServer) -> None:
    """The first attempt stored it; the second is refused, and the same bytes are there."""
    data = b"the same bytes"
    tries: list[int] = []

    def store_then_break(exchange: Exchange) -> None:
        if exchange.method != "PUT":
            exchange.reply(200, {"Content-Length": str(len(data))}, data)
            return
        tries.append(1)
        exchange.read_body()
        if len(tries) == 1:
            exchange.reset()
        else:
            exchange.reply(412)

    with Peer(store_then_break) as peer:
        assert sluiceway.copy(data, f"{peer.url}/x").size == len(data)
    assert len(tries) == 2


@pytest.mark.parametrize("side", ["target", "source"])
def test_a_closed_port_is_told_at_once(tmp_path: Path, side: str) -> None:
    """Many objects are not each retried for minutes when there was never a connection."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(30):
        (source / f"{number}.txt").write_bytes(b"x")
    url = "http://127.0.0.1:9/files/x/"
    sides = (str(source), url) if side == "target" else (url, str(tmp_path / "out"))
    began = time.monotonic()
    done = command("copy", "-r", *sides)
    assert time.monotonic() - began < 20  # with retries it took over a minute
    assert done.returncode != 0
    assert "is the server running" in done.stderr


@pytest.mark.parametrize("after", [0.05, 0.15, 0.3, 0.5, 0.8])
def test_an_interrupt_while_the_command_starts_is_130(tmp_path: Path, after: float) -> None:
    """At any moment of its first second. Before Python has a handler, the signal itself ends it."""
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    copying = PlainPopen(
        # a real start: imports take their time
        [sys.executable, "-I", "-m", "sluiceway", "copy", "-", "http://127.0.0.1:9/files/x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(after)  # the moment is what is tested
        copying.send_signal(signal.SIGINT)
        _, errors = copying.communicate(timeout=30)
    finally:
        copying.kill()
    if "init_import_site" in errors:
        return  # Python itself was still starting, and has its own words for it
    if copying.returncode == 1:
        assert "no connection" in errors  # it had ended by itself
    else:
        assert copying.returncode in (130, -signal.SIGINT), errors
    assert "Aborted" not in errors
