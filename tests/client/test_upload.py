"""Sending a file: what the server gets, what the receipt says, and what is never called success."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sluiceway
from rude_peer import Exchange, Peer
from sluiceway.client.upload_job import EXPECT_FROM
from sluiceway.errors import (
    BadRequest,
    DigestMismatch,
    PeerFailed,
    SourceFailed,
    TooLarge,
    Unauthorized,
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


def entry(**other: object) -> dict[str, object]:
    reports = {
        "key": "k",
        "size": len(DATA),
        "sha-256": hashlib.sha256(DATA).hexdigest(),
        "url": "/files/k%20x",
    }
    return {"files": [{**reports, **other}], "fields": {}}


async def test_a_put_carries_length_type_and_bytes(source: Path) -> None:
    """Raw, unchunked, the type guessed from the name, and a receipt with the server's word."""
    with Peer(taking(201, entry())) as peer:
        receipt = await sluiceway.acopy(source, f"{peer.url}/files/")
    asked = peer.seen[0]

    assert (asked.method, asked.target, asked.body) == ("PUT", "/files/report.txt", DATA)
    assert (asked.headers["content-length"], asked.headers["content-type"]) == (
        str(len(DATA)),
        "text/plain",
    )
    assert (receipt.size, receipt.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert (receipt.location, receipt.status, receipt.answer) == (
        f"{peer.url}/files/k%20x",
        201,
        entry(),
    )
    assert {"wait-for-source", "queue", "destination"} <= set(receipt.stages)
    assert sum(receipt.stages.values()) == pytest.approx(receipt.seconds)


async def test_a_form_has_an_exact_length(source: Path) -> None:
    """Fields first, the file's part last, and Content-Length although it streams."""
    with Peer(taking()) as peer:
        await sluiceway.acopy(
            source,
            f"{peer.url}/books",
            form={"id": "42", "tag": ["a", "b"]},
            field="cover",
            name="ü.txt",
        )
    asked = peer.seen[0]
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    parts = asked.body.split(b"--" + boundary)

    assert asked.method == "POST"
    assert int(asked.headers["content-length"]) == len(asked.body)
    assert [part.partition(b"name=")[2].partition(b"\r\n")[0] for part in parts[1:-1]] == [
        b'"id"',
        b'"tag"',
        b'"tag"',
        '"cover"; filename="ü.txt"'.encode(),
    ]
    assert parts[-2].endswith(b"\r\n\r\n" + DATA + b"\r\n")


@pytest.mark.parametrize(
    ("announced", "what"),
    [({"sha-256": "0" * 64}, "sha-256 differs"), ({"size": 7}, f"7 bytes of {len(DATA)}")],
)
async def test_a_server_that_keeps_other_bytes_is_an_error(
    source: Path, announced: dict[str, object], what: str
) -> None:
    """A 201 with another digest or size is a failed transfer."""
    with Peer(taking(201, entry(**announced))) as peer, pytest.raises(DigestMismatch, match=what):
        await sluiceway.acopy(source, f"{peer.url}/files/a")


@pytest.mark.parametrize(
    "response",
    [
        None,
        [],
        {"files": []},
        {"files": [1]},
        {"files": [{"sha-256": None}]},
        {"files": [{"size": True}]},
        "text",
    ],
)
async def test_other_servers_answers_are_taken_as_they_are(source: Path, response: object) -> None:
    """Who says nothing of digests is not held to them."""
    with Peer(taking(200, response)) as peer:
        receipt = await sluiceway.acopy(source, f"{peer.url}/a?sig=secret")

    assert (receipt.location, receipt.answer) == (f"{peer.url}/a", response)


async def test_the_query_of_another_hosts_url_is_not_printed(source: Path) -> None:
    """It is most likely a key. One of the same host may be the file's name."""
    for url, shown in (("http://cdn.test/f?token=x", "http://cdn.test/f"), ("/f?n=1", "{}/f?n=1")):
        with Peer(taking(201, entry(url=url))) as peer:
            receipt = await sluiceway.acopy(source, f"{peer.url}/files/")
        assert receipt.location == shown.format(peer.url)


async def test_a_2xx_before_everything_was_sent_is_an_error(tmp_path: Path) -> None:
    """A 201 to half a file means nothing."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(EXPECT_FROM * 40)
    with (
        Peer(lambda exchange: exchange.reply(201)) as peer,
        pytest.raises(PeerFailed, match="before it had everything"),
    ):
        await sluiceway.acopy(big, f"{peer.url}/a")


async def test_a_refusal_says_why(source: Path) -> None:
    """The problem's words, the error's class, the status."""
    problem = {"title": "T", "detail": "at most 5 bytes here", "code": "too-large", "limit": 5}
    with (
        Peer(taking(413, problem)) as peer,
        pytest.raises(TooLarge, match="at most 5 bytes here") as caught,
    ):
        await sluiceway.acopy(source, f"{peer.url}/files/a")

    assert caught.value.members["answered"] == 413


async def test_only_large_bodies_ask_before_they_are_sent(tmp_path: Path) -> None:
    """Expect from EXPECT_FROM on, exactly."""
    with Peer(taking()) as peer:
        for size in (EXPECT_FROM - 1, EXPECT_FROM):
            (tmp_path / "f").write_bytes(bytes(size))
            await sluiceway.acopy(tmp_path / "f", f"{peer.url}/f")

    assert ["expect" in asked.headers for asked in peer.seen] == [False, True]


async def test_a_server_without_expect_is_asked_again_without_it(tmp_path: Path) -> None:
    """417 is about the header, not the file."""

    def act(exchange: Exchange) -> None:
        if "expect" in exchange.headers:
            exchange.reply(417)
        else:
            exchange.read_body()
            exchange.reply(201)

    (tmp_path / "f").write_bytes(bytes(EXPECT_FROM))
    with Peer(act) as peer:
        receipt = await sluiceway.acopy(tmp_path / "f", f"{peer.url}/f")

    assert (receipt.status, len(peer.seen[1].body)) == (201, EXPECT_FROM)


@pytest.mark.parametrize("status", [307, 308])
async def test_an_upload_follows_a_redirect_without_its_token(source: Path, status: int) -> None:
    """Another origin gets the bytes but no credentials, whatever their header is called."""
    with (
        Peer(taking()) as other,
        Peer(taking(status, None, Location=f"{other.url}/there")) as first,
    ):
        by_hand = {"X-Storage-Key": "n", "Cookie": "a=b", "Accept-Language": "de"}
        await sluiceway.acopy(source, f"{first.url}/a", token="secret", headers=by_hand)

    assert first.seen[0].headers["authorization"] == "Bearer secret"
    assert (other.seen[0].method, other.seen[0].target, other.seen[0].body) == (
        "PUT",
        "/there",
        DATA,
    )
    assert first.seen[0].headers["x-storage-key"] == "n"
    assert (other.seen[0].headers["accept-language"], other.seen[0].headers["content-type"]) == (
        "de",
        "text/plain",
    )
    assert not {"authorization", "cookie", "x-storage-key"} & set(other.seen[0].headers)


async def test_a_redirect_to_the_same_origin_keeps_the_token(source: Path) -> None:
    """It is the server it was given for."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        exchange.reply(201 if exchange.target == "/b" else 307, {"Location": "/b"})

    with Peer(act) as peer:
        await sluiceway.acopy(source, f"{peer.url}/a", token="secret")

    assert [asked.headers["authorization"] for asked in peer.seen] == ["Bearer secret"] * 2


async def test_an_upload_is_not_turned_into_a_get(source: Path) -> None:
    """302 after a PUT: an error that names the other place, and no request there."""
    with (
        Peer(taking()) as other,
        Peer(taking(302, None, Location=other.url)) as first,
        pytest.raises(PeerFailed, match="use that URL"),
    ):
        await sluiceway.acopy(source, f"{first.url}/a")

    assert other.seen == []


async def test_the_urls_password_is_sent_and_never_shown(source: Path) -> None:
    """Basic authentication on the wire; host and path alone in the error."""
    with Peer(taking(401)) as peer, pytest.raises(Unauthorized) as caught:
        await sluiceway.acopy(source, peer.url.replace("http://", "http://me:hush@") + "/a")

    assert peer.seen[0].headers["authorization"] == "Basic bWU6aHVzaA=="
    assert "hush" not in repr(caught.value) + repr(caught.value.members) + caught.value.detail


async def test_the_most_explicit_credentials_are_sent(source: Path) -> None:
    """A header by hand wins over the token, the token over the URL."""
    with Peer(taking()) as peer:
        url = peer.url.replace("http://", "http://me:hush@") + "/a"
        await sluiceway.acopy(source, url, token="t")
        await sluiceway.acopy(source, url, token="t", headers={"Authorization": "Own x"})

    assert [asked.headers["authorization"] for asked in peer.seen] == ["Bearer t", "Own x"]


async def test_progress_ends_with_the_servers_answer(tmp_path: Path) -> None:
    """Bytes never go back or over the total; "waiting" is reported; "done" comes last."""
    reports: list[Progress] = []
    (tmp_path / "f").write_bytes(os.urandom(3 << 20))

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        time.sleep(0.4)
        exchange.reply(201)

    with Peer(act) as peer:
        receipt = await sluiceway.acopy(tmp_path / "f", f"{peer.url}/f", on_progress=reports.append)
    done = [now.done for now in reports]

    assert done == sorted(done)
    assert done[-1] == reports[-1].total == 3 << 20
    assert "waiting" in [now.stage for now in reports]
    assert [now.stage for now in reports].count("done") == 1
    assert (reports[-1].stage, reports[-1].receipt) == ("done", receipt)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what the peer acknowledged")
async def test_progress_counts_what_the_peer_took(tmp_path: Path) -> None:
    """When a peer stops reading, the figure stops near what it has, not what our buffers took."""
    reports: list[Progress] = []
    (tmp_path / "f").write_bytes(bytes(64 << 20))
    read = 1 << 20

    def act(exchange: Exchange) -> None:
        if exchange.method == "OPTIONS":
            exchange.reply(404)
            return
        exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.take(read)
        time.sleep(1)
        seen.extend(now.done for now in reports[-3:])
        exchange.reply(413)

    seen: list[int] = []
    with Peer(act) as peer, pytest.raises(TooLarge):
        await sluiceway.acopy(tmp_path / "f", f"{peer.url}/f", on_progress=reports.append)

    assert len(set(seen)) == 1
    assert read <= seen[0] <= read + (512 << 10)


@pytest.mark.parametrize(
    ("src", "dst", "options"),
    [
        ("a", "b", {}),
        ("a", "http://", {}),
        ("http://", "http://h/a", {}),
        ("a", "http://h/a", {"from_headers": {"X": "1"}}),
        ("http://h/a", "http://h/b", {"from_headers": {"X": "hush\n"}}),
        ("http://h/a", "http://h/b", {"from_token": "hush\r"}),
        ("http://h/a", "http://h/b", {"size": 3}),
        ("http://h/a", "b", {"size": 3}),
        ("-", "http://h/a", {"size": "3 apples"}),
        ("-", "http://h/a", {"size": -1}),
        (".", "http://h/a/", {"size": 3}),
        ("a", "http://h/a", {"retries": -1}),
        ("a", "http://h/a", {"retries": 101}),
        (".", "http://h/files/x", {}),
        (".", "http://h/files", {"name": "x"}),
        ("-", "http://h/files", {}),
        ("-", "http://h/", {}),
        ("http://h/a", "b", {"form": {"a": "b"}}),
        ("http://h/a", "b", {"type": "text/plain"}),
        ("a", "http://h/files", {"headers": {"Content-Type": "text/plain"}}),
        ("a", "http://h/a", {"headers": {"Content-Length": "1"}}),
        ("a", "http://h/a", {"headers": {"range": "bytes=1-"}}),
        ("a", "http://h/a", {"headers": {"X Y": "1"}}),
        ("a", "http://h/a", {"headers": {"X": "1\r\nY: 2"}}),
        ("a", "http://h/a", {"token": "hush\n"}),
        ("a", "http://h/a", {"type": "text/plain\r\nX: y"}),
    ],
)
async def test_contradictory_options_fail_before_anything_is_sent(
    src: str, dst: str, options: dict[str, object]
) -> None:
    """BadRequest, made here; and no secret in its words."""
    with pytest.raises(BadRequest) as caught:
        await sluiceway.acopy(src, dst, **options)  # type: ignore[arg-type]

    assert "answered" not in caught.value.members
    assert "hush" not in caught.value.detail


async def test_a_missing_source_is_no_request(tmp_path: Path) -> None:
    """The server never hears of it."""
    with Peer(taking()) as peer, pytest.raises(SourceFailed, match="nothing cannot be read"):
        await sluiceway.acopy(tmp_path / "nothing", f"{peer.url}/a")

    assert peer.seen == []


async def test_copy_in_a_running_loop_says_what_to_use() -> None:
    """It would block the loop it is called from."""
    with pytest.raises(BadRequest, match="acopy"):
        sluiceway.copy("a", "http://h/a")


def test_copy_is_acopy_for_programs_without_a_loop(source: Path) -> None:
    """Same arguments, same receipt."""
    with Peer(taking(201, entry())) as peer:
        assert sluiceway.copy(source, f"{peer.url}/files/a").size == len(DATA)
