"""A folder is sent file by file; a failure names what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import sluiceway
from rude_peer import Exchange, Peer
from sluiceway.errors import (
    SluiceError,
)
from sluiceway.pipe.receipt import Progress

DATA = b"some bytes " * 1000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_bytes(DATA)
    return path


def taking(
    status: int = 201, response: object = None, **headers: str
) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.read_body()
        body = b"" if response is None else json.dumps(response).encode()
        exchange.reply(status, {"Content-Type": "application/json", **headers}, body)

    return act


async def test_a_folder_is_sent_file_by_file_in_order(tmp_path: Path) -> None:
    """Under its own relative names behind a slash, with one receipt each."""
    folder = tmp_path / "photos"
    for name in ("b.txt", "a/ü 1.txt", "a/0.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "away").symlink_to("nowhere")
    reports: list[Progress] = []
    with Peer(taking()) as peer:
        receipt = await sluiceway.acopy(folder, f"{peer.url}/p/", on_progress=reports.append)

    assert [asked.target for asked in peer.seen] == [
        "/p/a/0.txt",
        "/p/a/%C3%BC%201.txt",
        "/p/b.txt",
    ]
    assert [asked.body.decode() for asked in peer.seen] == ["a/0.txt", "a/ü 1.txt", "b.txt"]
    assert [part.source for part in receipt.parts] == [
        f"{folder}/a/0.txt",
        f"{folder}/a/ü 1.txt",
        f"{folder}/b.txt",
    ]
    assert receipt.size == sum(part.size for part in receipt.parts)
    assert [now.name for now in reports if now.stage == "left-out"] == [f"{folder}/away"]


async def test_a_folder_as_forms_is_one_request_a_file(tmp_path: Path) -> None:
    """Each with all fields and its plain name."""
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "1").write_text("one")
    (tmp_path / "d" / "e" / "2").write_text("two")
    with Peer(taking()) as peer:
        await sluiceway.acopy(tmp_path / "d", f"{peer.url}/files", form=[("id", "42")])

    assert [asked.body.count(b'name="id"') for asked in peer.seen] == [1, 1]
    assert b'filename="1"' in peer.seen[0].body
    assert b'filename="2"' in peer.seen[1].body


async def test_a_folders_failure_names_what_was_sent(tmp_path: Path) -> None:
    """It ends at the first one that fails, and says which and how many came before."""
    for name in "abc":
        (tmp_path / name).write_text(name)

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(507 if exchange.target == "/b" else 201)

    with Peer(act) as peer, pytest.raises(SluiceError) as caught:
        await sluiceway.acopy(tmp_path, f"{peer.url}/")

    assert len(peer.seen) == 2
    assert (
        caught.value.members | {"answered": 507, "sent": 1, "source": f"{tmp_path}/b"}
        == caught.value.members
    )
