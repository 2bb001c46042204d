"""Fetching a file: it gets its name whole and checked, or not at all, whatever the server does."""

from __future__ import annotations

import asyncio
import hashlib
import os
from base64 import b64encode
from pathlib import Path

import pytest

import sluiceway
from client.cutting_peer import DATA, cutting
from client.quick_copies import fetch
from rude_peer import Exchange, Peer, ranged, sha256_field
from sluiceway.client.http.redirects import MOST_REDIRECTS
from sluiceway.client.local.part_notes import part_paths
from sluiceway.client.retry import MOST_ATTEMPTS
from sluiceway.errors import (
    DigestMismatch,
    PeerFailed,
    Unavailable,
)
from sluiceway.pipe.receipt import Progress

DATE = "Sat, 21 Nov 2026 10:00:00 GMT"
LATER = "Sat, 21 Nov 2026 11:00:00 GMT"


async def test_a_file_arrives_whole_and_checked(tmp_path: Path) -> None:
    """The bytes, the receipt, and nothing else in the folder."""
    with Peer(ranged(DATA)) as peer:
        receipt = await fetch(f"{peer.url}/f?sig=secret", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == DATA
    assert (receipt.size, receipt.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert (receipt.source, receipt.location, receipt.status) == (
        f"{peer.url}/f",
        str(tmp_path / "f"),
        200,
    )
    assert sum(receipt.stages.values()) == pytest.approx(receipt.seconds)
    assert os.listdir(tmp_path) == ["f"]


async def test_an_empty_file_arrives(tmp_path: Path) -> None:
    """Zero bytes are a file, too."""
    with Peer(ranged(b"")) as peer:
        receipt = await fetch(f"{peer.url}/f", tmp_path / "f")

    assert ((tmp_path / "f").read_bytes(), receipt.size) == (b"", 0)


async def test_a_connection_that_breaks_again_and_again_is_enough(tmp_path: Path) -> None:
    """More breaks than MOST_ATTEMPTS: while new bytes come, it continues from where it was."""
    cuts = [10_000] * (MOST_ATTEMPTS + 3)
    with Peer(cutting(*cuts)) as peer:
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == DATA
    assert [asked.first_byte() for asked in peer.seen] == [10_000 * n for n in range(len(cuts) + 1)]
    assert {asked.headers.get("if-range") for asked in peer.seen[1:]} == {'"v1"'}


async def test_a_truncated_download_never_becomes_the_file(tmp_path: Path) -> None:
    """A server that stops at the same byte each time: an error at MOST_ATTEMPTS; the part stays."""
    with (
        Peer(lambda exchange: cutting(0 if exchange.first_byte() else 1000)(exchange)) as peer,
        pytest.raises(PeerFailed, match="ended before"),
    ):
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert len(peer.seen) == MOST_ATTEMPTS
    assert not (tmp_path / "f").exists()
    assert os.path.getsize(part_paths(str(tmp_path / "f"))[0]) == 1000


async def test_without_ranges_a_broken_download_starts_again(tmp_path: Path) -> None:
    """A server that answers 200 to every Range: the second response counts, from its first byte."""
    responses = [1000, None]

    def act(exchange: Exchange) -> None:
        cut = responses.pop(0)
        exchange.head(200, {"Content-Length": str(len(DATA))})
        exchange.send(DATA[:cut])

    with Peer(act) as peer:
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == DATA
    assert "range" not in peer.seen[1].headers


@pytest.mark.parametrize(
    "lie",
    [
        {"Content-Range": "bytes 999-299999/300000"},
        {"Content-Range": "bytes 1001-299999/300000"},
        {"Content-Range": "bytes 1000-299999/300001"},
        {"Content-Range": "bytes 1000-299998/300000"},
        {"Content-Range": "bits 1000-299999/300000"},
        {"Content-Range": "bytes 1000-299999/300000", "ETag": '"v2"'},
        {"ETag": '"v1"'},
    ],
)
async def test_a_206_that_does_not_fit_is_not_appended(tmp_path: Path, lie: dict[str, str]) -> None:
    """Wrong start, total, end, unit or version: everything is fetched again instead."""
    responses = ["cut", "lie"]

    def act(exchange: Exchange) -> None:
        step = responses.pop(0) if responses else "honest"
        if step == "cut":
            exchange.head(200, {"Content-Length": str(len(DATA)), "ETag": '"v1"'})
            exchange.send(DATA[:1000])
        elif step == "lie":
            exchange.reply(206, {"ETag": '"v1"', **lie}, bytes(len(DATA) - 1000))
        else:
            ranged(DATA)(exchange)

    with Peer(act) as peer:
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == DATA
    assert ["range" in asked.headers for asked in peer.seen] == [False, True, False]


async def test_a_server_whose_ranges_never_fit_is_given_up(tmp_path: Path) -> None:
    """Cut, wrong 206, cut, wrong 206 …: it ends."""

    def act(exchange: Exchange) -> None:
        if exchange.first_byte():
            exchange.reply(206, {"ETag": '"v1"', "Content-Range": "bytes 0-1/2"}, b"xx")
        else:
            exchange.head(200, {"Content-Length": str(len(DATA)), "ETag": '"v1"'})
            exchange.send(DATA[:1000])

    with Peer(act) as peer, pytest.raises(PeerFailed):
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert len(peer.seen) <= 2 * MOST_ATTEMPTS
    assert not (tmp_path / "f").exists()


async def test_a_file_that_changed_is_fetched_anew(tmp_path: Path) -> None:
    """An earlier run's part has another ETag than the server now: not one old byte remains."""
    old, new = bytes(1000), DATA
    with Peer(cutting(500, 0, 0, 0, 0, data=old)) as peer:
        with pytest.raises(PeerFailed):
            await fetch(f"{peer.url}/f", tmp_path / "f")
        peer.act = ranged(new, '"v2"')
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == new
    assert peer.seen[-1].headers["if-range"] == '"v1"'


async def test_a_date_is_a_validator_once_it_is_a_minute_old(tmp_path: Path) -> None:
    """No ETag, but a Last-Modified an hour old: the rest is asked for by it."""
    responses = ["cut"]

    def act(exchange: Exchange) -> None:
        start = exchange.first_byte()
        headers = {"Last-Modified": DATE, "Date": LATER, "Content-Length": str(len(DATA) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        exchange.head(206 if start else 200, headers)
        exchange.send(DATA[start : 1000 if responses and responses.pop() else None])

    with Peer(act) as peer:
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == DATA
    assert (peer.seen[1].headers["range"], peer.seen[1].headers["if-range"]) == (
        "bytes=1000-",
        DATE,
    )


async def test_a_run_killed_at_the_very_end_only_takes_the_name(tmp_path: Path) -> None:
    """All bytes are here: a 416 with their number confirms it, and the kept digest is checked."""
    target = tmp_path / "f"
    with Peer(cutting(1000, 0, 0, 0, 0)) as peer:
        with pytest.raises(PeerFailed):
            await fetch(f"{peer.url}/f", target)
        Path(part_paths(str(target))[0]).write_bytes(DATA)
        receipt = await fetch(f"{peer.url}/f", target)

    assert (target.read_bytes(), receipt.status) == (DATA, 416)


@pytest.mark.parametrize("when", ["whole", "resumed", "complete"])
async def test_a_wrong_digest_leaves_nothing(tmp_path: Path, when: str) -> None:
    """Neither the file nor a part that would fail again, however the bytes came."""
    target = tmp_path / "f"
    lie = {"Repr-Digest": sha256_field(b"other")}
    with Peer(cutting(1000, 0, 0, 0, 0)) as peer:
        if when != "whole":
            with pytest.raises(PeerFailed):
                await fetch(f"{peer.url}/f", target)
        if when == "complete":
            Path(part_paths(str(target))[0]).write_bytes(bytes(len(DATA)))
        peer.act = ranged(DATA, **({} if when == "complete" else lie))
        with pytest.raises(DigestMismatch, match="nothing was kept"):
            await fetch(f"{peer.url}/f", target)

    assert os.listdir(tmp_path) == []


async def test_sha_512_is_checked_too(tmp_path: Path) -> None:
    """Whichever of the two active algorithms the server uses."""
    right = f"sha-512=:{b64encode(hashlib.sha512(DATA).digest()).decode()}:"
    wrong = f"sha-512=:{b64encode(bytes(64)).decode()}:"
    with Peer(ranged(DATA, **{"Repr-Digest": right})) as peer:
        await fetch(f"{peer.url}/f", tmp_path / "f")
    with Peer(ranged(DATA, **{"Repr-Digest": wrong})) as peer, pytest.raises(DigestMismatch):
        await fetch(f"{peer.url}/f", tmp_path / "g")

    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize(
    "field", ["md5=:CY9rzUYh03PK3k6DJie09g==:", "nonsense", "sha-256=:AAAA:", "sha-256=7"]
)
async def test_a_digest_that_cannot_be_read_promises_nothing(tmp_path: Path, field: str) -> None:
    """Unknown algorithms and broken fields are ignored (RFC 9530); the length still counts."""
    with Peer(ranged(DATA, **{"Repr-Digest": field})) as peer:
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == DATA


async def test_a_busy_server_is_asked_again_when_it_says(tmp_path: Path) -> None:
    """503 with Retry-After: the wait is kept and reported."""
    reports: list[Progress] = []
    responses = [503, 429]

    def act(exchange: Exchange) -> None:
        if responses:
            exchange.reply(responses.pop(0), {"Retry-After": "0"})
        else:
            ranged(DATA)(exchange)

    with Peer(act) as peer:
        await sluiceway.acopy(f"{peer.url}/f", tmp_path / "f", on_progress=reports.append)

    assert len([now for now in reports if now.stage == "retrying"]) == 2
    assert reports[-1].stage == "done"


async def test_a_retry_after_of_hours_is_an_error(tmp_path: Path) -> None:
    """An hour is no wait for a program; the message names it."""
    with (
        Peer(lambda exchange: exchange.reply(503, {"Retry-After": "3600"})) as peer,
        pytest.raises(Unavailable, match="3600 s"),
    ):
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert len(peer.seen) == 1


async def test_a_download_follows_redirects_without_its_token(tmp_path: Path) -> None:
    """Another origin gets no credentials, with the resumed request neither."""
    with (
        Peer(cutting(1000)) as other,
        Peer(lambda exchange: exchange.reply(302, {"Location": f"{other.url}/there"})) as first,
    ):
        await sluiceway.acopy(f"{first.url}/f", tmp_path / "f", token="secret")

    assert (tmp_path / "f").read_bytes() == DATA
    assert [asked.headers["authorization"] for asked in first.seen] == ["Bearer secret"] * 2
    assert [asked.headers.get("authorization") for asked in other.seen] == [None, None]


async def test_a_redirect_loop_ends(tmp_path: Path) -> None:
    """After MOST_REDIRECTS, once: it is not tried again."""
    with (
        Peer(lambda exchange: exchange.reply(302, {"Location": exchange.target + "x"})) as peer,
        pytest.raises(PeerFailed, match="check the URL"),
    ):
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert len(peer.seen) == MOST_REDIRECTS + 1
    assert os.listdir(tmp_path) == []


async def test_a_refused_connection_is_not_tried_for_long(tmp_path: Path) -> None:
    """A server that never answered is most likely a wrong URL: it fails at once."""
    with Peer(ranged(DATA)) as peer:
        pass
    with pytest.raises(PeerFailed, match="is the server running"):
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert os.listdir(tmp_path) == []


async def test_bytes_beyond_the_length_are_not_kept(tmp_path: Path) -> None:
    """A 206 in chunks that goes beyond its own range."""
    responses = ["cut"]

    def act(exchange: Exchange) -> None:
        if responses and responses.pop():
            exchange.head(200, {"Content-Length": "2000", "ETag": '"v1"'})
            exchange.send(bytes(1000))
        else:
            headers = {
                "Content-Range": "bytes 1000-1999/2000",
                "ETag": '"v1"',
                "Transfer-Encoding": "chunked",
            }
            exchange.head(206, headers)
            exchange.send(b"3e9\r\n" + bytes(1001) + b"\r\n0\r\n\r\n")

    with Peer(act) as peer, pytest.raises(DigestMismatch):
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert os.listdir(tmp_path) == []


async def test_chunks_cut_off_are_a_broken_download(tmp_path: Path) -> None:
    """No length is known; the missing last chunk shows it all the same."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        exchange.send(b"5\r\nhello\r\n")

    with Peer(act) as peer, pytest.raises(PeerFailed):
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert os.listdir(tmp_path) == []


async def test_cancelling_keeps_what_can_be_continued(tmp_path: Path) -> None:
    """The next run asks for the rest only."""
    half = asyncio.Event()
    loop = asyncio.get_running_loop()

    def act(exchange: Exchange) -> None:
        if exchange.first_byte():
            ranged(DATA)(exchange)
            return
        exchange.head(200, {"Content-Length": str(len(DATA)), "ETag": '"v1"'})
        exchange.send(DATA[:150_000])
        loop.call_soon_threadsafe(half.set)
        exchange.sock.recv(1)

    with Peer(act) as peer:
        task = asyncio.ensure_future(fetch(f"{peer.url}/f", tmp_path / "f"))
        await half.wait()
        part = Path(part_paths(str(tmp_path / "f"))[0])
        while not part.exists() or not part.stat().st_size:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await fetch(f"{peer.url}/f", tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == DATA
    assert peer.seen[1].first_byte() > 0
