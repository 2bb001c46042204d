"""Small files of a server that are copied at the same time come in few responses."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from urllib.parse import parse_qs, quote

import pytest
import requests

import sluiceway
from fix_server import RunningServer
from fix_taking import eventually, noise
from rude_peer import Exchange, Peer
from sluiceway.client.http.transport import Transport
from sluiceway.copying.contract import CopyItem
from sluiceway.copying.endpoints import http_together
from sluiceway.copying.endpoints.http_together import FilesTogether, TogetherFile
from sluiceway.copying.servers import RemoteServer
from sluiceway.errors import PeerFailed
from sluiceway.wire.together import MOST_EACH, MOST_FILES, TOGETHER_TYPE, parse_together

COUNT = 120
FILES = {f"many/{n % 5}/{n:03} ü&=+.bin": noise(n * 97, n) for n in range(COUNT)}
LARGE = "many/large"
LIMIT = 30.0  # seconds
LISTED = '"GET /files"'  # in the log: a listing, or a question for many


@pytest.fixture(scope="module")
def stocked(taker: RunningServer) -> RunningServer:
    for key, data in {**FILES, LARGE: noise(MOST_EACH + 1, 1)}.items():
        (taker.root / key).parent.mkdir(parents=True, exist_ok=True)
        (taker.root / key).write_bytes(data)
    return taker


def found(folder: Path) -> dict[str, bytes]:
    return {
        f"many/{path.relative_to(folder)}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def asked(server: RunningServer, words: str) -> int:
    return sum(words in line for line in server.lines)


def test_the_response_has_what_is_small_and_readable(stocked: RunningServer) -> None:
    """In the order of the question; the rest is left out, and nothing outside is read."""
    (stocked.root.parent / "secret").write_bytes(b"secret")
    keys = [*list(FILES)[:3], LARGE, "many/none", "../secret", ".sluiceway/drafts", "many", ""]
    query = "".join(f"&key={quote(key, safe='')}" for key in keys)
    response = requests.get(f"{stocked.url}/files?as=objects{query}", timeout=30)

    assert response.headers["content-type"] == TOGETHER_TYPE
    assert response.headers["x-content-type-options"] == "nosniff"
    files = parse_together(response.content)
    assert {key: data for key, (_, data) in files.items()} == {key: FILES[key] for key in keys[:3]}
    head = requests.head(f"{stocked.url}/files/{quote(keys[1])}", timeout=30)
    assert f'"{files[keys[1]][0]["etag"]}"' == head.headers["etag"]


@pytest.mark.parametrize("query", ["", "&key=a" * (MOST_FILES + 1), "&key=a&prefix=b"])
def test_a_question_that_cannot_be_is_refused(stocked: RunningServer, query: str) -> None:
    response = requests.get(f"{stocked.url}/files?as=objects{query}", timeout=30)
    assert response.status_code == 400


async def test_a_copy_asks_for_many_at_once(stocked: RunningServer, tmp_path: Path) -> None:
    before = asked(stocked, LISTED), asked(stocked, "GET /files/many/")
    report = await sluiceway.acopy_all(f"{stocked.url}/files/many/", tmp_path / "to")

    assert (report.copied, report.failed) == (COUNT + 1, 0)
    assert found(tmp_path / "to") == {**FILES, LARGE: noise(MOST_EACH + 1, 1)}
    assert 1 < asked(stocked, LISTED) - before[0] < COUNT / 2  # one was for the listing
    eventually(lambda: asked(stocked, "GET /files/many/") - before[1] == 1, "the large one")


async def test_a_file_replaced_since_the_listing_is_copied_as_it_is_now(
    stocked: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version is another one: it is asked for alone, and once more."""
    key = next(iter(FILES))
    parsed = parse_together

    def late(body: bytes) -> dict[str, tuple[dict[str, object], bytes]]:
        files = parsed(body)
        if key in files:
            (tmp_path / "new").write_bytes(b"another version")
            os.replace(tmp_path / "new", stocked.root / key)
            files[key][0]["etag"] = "other"
        return files

    monkeypatch.setattr(http_together, "parse_together", late)
    try:
        report = await sluiceway.acopy_all(
            f"{stocked.url}/files/many/0/", tmp_path / "to", include=["000*"]
        )
        assert report.copied == 1
        assert [*found(tmp_path / "to").values()] == [b"another version"]
    finally:
        (stocked.root / key).write_bytes(FILES[key])


@pytest.mark.parametrize(
    "answer", [b"no lines", b'{"key": 1}\n', b'{"key": "a", "size": 5}\nfour', b"[]\n"]
)
async def test_a_response_that_is_damaged_is_not_used(
    stocked: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """Each file is asked for alone then."""
    monkeypatch.setattr(http_together, "parse_together", lambda _: parse_together(answer))
    with pytest.raises(PeerFailed, match="many files"):
        parse_together(answer)
    report = await sluiceway.acopy_all(f"{stocked.url}/files/many/1/", tmp_path / "to")

    assert (report.copied, report.failed) == (COUNT // 5, 0)


async def test_a_server_that_knows_no_such_question_is_asked_once(
    stocked: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an older one would answer: 400."""
    monkeypatch.setattr(http_together, "MOST_FILES", 1)
    monkeypatch.setattr(http_together, "TOGETHER_TYPE", "another/type")
    before = asked(stocked, LISTED)
    report = await sluiceway.acopy_all(f"{stocked.url}/files/many/2/", tmp_path / "to")

    assert (report.copied, report.failed) == (COUNT // 5, 0)
    # One more was for the listing.
    assert 1 <= asked(stocked, LISTED) - before - 1 <= http_together.AT_ONCE


def test_lines_hold_what_a_listing_says(stocked: RunningServer) -> None:
    key = list(FILES)[7]
    listed = requests.get(f"{stocked.url}/files", {"prefix": key, "limit": "1"}, timeout=30).json()[
        "files"
    ][0]
    body = requests.get(f"{stocked.url}/files", {"as": "objects", "key": key}, timeout=30).content
    assert json.loads(body.partition(b"\n")[0]) == listed


async def test_no_question_is_forgotten_when_two_responses_end_at_once() -> None:
    """What asks for a file at that very moment gets it: nobody else may ask later and help."""
    went = threading.Semaphore(0)

    def act(exchange: Exchange) -> None:
        if len(peer.seen) <= http_together.AT_ONCE:
            assert exchange.go.wait(LIMIT)
        [key] = parse_qs(exchange.target.partition("?")[2])["key"]
        body = b'{"key": "%b", "size": 1, "etag": "v"}\n.' % key.encode()
        exchange.reply(200, {"Content-Type": TOGETHER_TYPE}, body)
        went.release()

    def item(key: str) -> CopyItem:
        return CopyItem(key, 1, "v")

    async def two(first: str, second: str) -> TogetherFile | None:
        await together.get(first, item(first))
        return await together.get(second, item(second))

    with Peer(act) as peer:
        server = RemoteServer(f"{peer.url}/files/", {})
        async with Transport() as transport, asyncio.timeout(LIMIT):
            together = FilesTogether(transport, server, f"{peer.url}/files")
            asking = [asyncio.create_task(two("a", "c"))]
            while len(peer.seen) < 1:
                await asyncio.sleep(0.01)
            asking.append(asyncio.create_task(together.get("b", item("b"))))
            while len(peer.seen) < http_together.AT_ONCE:
                await asyncio.sleep(0.01)
            for exchange in peer.seen:
                exchange.go.set()
            for _ in range(http_together.AT_ONCE):
                assert went.acquire(timeout=LIMIT)  # the event loop stands still: it sees both
            found = await asyncio.gather(*asking)
            await together.aclose()

    assert [one and one[1] for one in found] == [b".", b"."]


async def test_a_failure_of_a_library_leaves_no_question_open(
    stocked: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is asked for alone then."""

    def fails(_: bytes) -> dict[str, tuple[dict[str, object], bytes]]:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(http_together, "parse_together", fails)
    async with asyncio.timeout(LIMIT):
        report = await sluiceway.acopy_all(f"{stocked.url}/files/many/3/", tmp_path / "to")

    assert (report.copied, report.failed) == (COUNT // 5, 0)
