"""Where a download goes: a file, a folder and the server's name, a pipe; what exists stays."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import sluiceway
from client.cutting_peer import DATA, cutting
from client.quick_copies import fetch
from rude_peer import Exchange, Peer, ranged
from sluiceway.errors import (
    Exists,
    NotFound,
    PeerFailed,
    SluiceError,
    StoreFailed,
)


async def test_an_existing_target_is_not_touched(tmp_path: Path) -> None:
    """No request is made; --force replaces it, and only by the whole."""
    target = tmp_path / "f"
    target.write_bytes(b"mine")
    with Peer(ranged(DATA)) as peer:
        with pytest.raises(Exists, match="--force"):
            await fetch(f"{peer.url}/f", target)
        assert peer.seen == []
        await fetch(f"{peer.url}/f", target, force=True)

    assert target.read_bytes() == DATA


async def test_a_failed_forced_download_leaves_the_old_file(tmp_path: Path) -> None:
    """Replacing happens at the end or not at all."""
    (tmp_path / "f").write_bytes(b"mine")
    with Peer(lambda exchange: exchange.reply(404)) as peer, pytest.raises(NotFound):
        await fetch(f"{peer.url}/f", tmp_path / "f", force=True)

    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("path", "disposition", "name"),
    [
        ("/d/a%20b.txt?x=1", None, "a b.txt"),
        ("/d/", None, "d"),
        ("/", None, "unnamed"),
        ("/x", 'attachment; filename="report.pdf"', "report.pdf"),
        ("/x", "attachment; filename=\"e\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("/x", 'attachment; filename="../../etc/passwd"', "passwd"),
        ("/x", 'attachment; filename="..\\\\..\\\\boot.ini"', "boot.ini"),
        ("/x", 'attachment; filename="/etc/cron.d/evil"', "evil"),
        ("/x", 'attachment; filename=".."', "unnamed"),
        ("/x", 'attachment; filename=".bashrc"', "_bashrc"),
        ("/x", 'attachment; filename=""', "x"),
        ("/x", 'attachment; filename="a"; filename="b"', "x"),
        ("/%2e%2e%2fup", None, "up"),
        ("/..%2f..%2fup", None, "up"),
        ("/a%00b%1b", None, "ab"),
    ],
)
async def test_a_name_from_the_server_stays_in_the_folder(
    tmp_path: Path, path: str, disposition: str | None, name: str
) -> None:
    """Whatever a server calls it: one harmless segment in the chosen folder."""
    folder = tmp_path / "chosen"
    folder.mkdir()
    more = {} if disposition is None else {"Content-Disposition": disposition}
    with Peer(ranged(DATA, **more)) as peer:
        receipt = await sluiceway.acopy(peer.url + path, folder)

    assert receipt.location == str(folder / name)
    assert [entry for entry in tmp_path.rglob("*") if entry.is_file()] == [folder / name]


async def test_a_name_by_hand_beats_the_servers(tmp_path: Path) -> None:
    """And is made harmless as well."""
    with Peer(ranged(DATA, **{"Content-Disposition": 'attachment; filename="b"'})) as peer:
        await sluiceway.acopy(f"{peer.url}/x", tmp_path, name="mine.txt")

    assert os.listdir(tmp_path) == ["mine.txt"]


async def test_a_download_into_a_folder_is_resumed(tmp_path: Path) -> None:
    """Its name is known only from the response; then the rest is asked for."""
    with Peer(cutting(1000, 0, 0, 0, 0)) as peer:
        with pytest.raises(PeerFailed):
            await fetch(f"{peer.url}/f", tmp_path)
        await fetch(f"{peer.url}/f", tmp_path)

    assert (tmp_path / "f").read_bytes() == DATA
    assert peer.seen[-1].headers["range"] == "bytes=1000-"


async def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A slash at the end says folder; a typing error must not become one."""
    with Peer(ranged(DATA)) as peer, pytest.raises(StoreFailed, match="no folder"):
        await sluiceway.acopy(f"{peer.url}/f", f"{tmp_path}/typo/")


async def test_progress_ends_with_the_name(tmp_path: Path) -> None:
    """When "done" is reported, the file is there; before, it is not."""
    there: list[tuple[str, bool]] = []
    with Peer(ranged(DATA)) as peer:
        await sluiceway.acopy(
            f"{peer.url}/f",
            tmp_path / "f",
            on_progress=lambda now: there.append((now.stage, (tmp_path / "f").exists())),
        )

    assert there[-1] == ("done", True)
    assert not any(exists for stage, exists in there if stage != "done")


async def test_a_named_pipe_is_written_not_replaced(tmp_path: Path) -> None:
    """The pipe gets the bytes, also of a resumed download; a changed file is an error."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with Peer(cutting(1000)) as peer:
        reading = asyncio.to_thread(pipe.read_bytes)
        receipt, read = await asyncio.gather(sluiceway.acopy(f"{peer.url}/f", pipe), reading)

    assert (read, receipt.size) == (DATA, len(DATA))


async def test_an_output_stream_cannot_start_again(tmp_path: Path) -> None:
    """The file changed in the middle: an error, never half of each."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def act(exchange: Exchange) -> None:
        if exchange.first_byte():
            ranged(DATA, '"v2"')(exchange)
        else:
            exchange.head(200, {"Content-Length": "2000", "ETag": '"v1"'})
            exchange.send(bytes(1000))

    with Peer(act) as peer:
        reading = asyncio.ensure_future(asyncio.to_thread(pipe.read_bytes))
        with pytest.raises(SluiceError, match="copy it to a file instead"):
            await sluiceway.acopy(f"{peer.url}/f", pipe)

    assert await reading == bytes(1000)
