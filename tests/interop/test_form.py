"""sluiceway.Form and Sized with requests, httpx, urllib3 and aiohttp, against real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
import urllib3
from requests_toolbelt import MultipartEncoder, MultipartEncoderMonitor, StreamingIterator
from requests_toolbelt.multipart.encoder import FileFromURLWrapper

import sluiceway
from fix_gateway import parts, takes
from fix_server import RunningServer
from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway.errors import BadRequest, PeerFailed, SluiceError, SourceFailed
from sluiceway.pipe.source import SourceSpent

Body = sluiceway.Form | sluiceway.Sized
DATA = noise(3_000_001)


def by_requests(url: str, body: Body) -> int:
    return requests.post(url, data=body, headers=body.headers, timeout=20).status_code


def by_httpx(url: str, body: Body) -> int:
    return httpx.post(
        url, content=body, headers=body.headers, timeout=20, follow_redirects=True
    ).status_code


def by_httpx_async(url: str, body: Body) -> int:
    async def main() -> int:
        async with httpx.AsyncClient(timeout=20) as client:
            return (await client.post(url, content=aiter(body), headers=body.headers)).status_code

    return asyncio.run(main())


def by_urllib3(url: str, body: Body) -> int:
    with urllib3.PoolManager(timeout=20) as pool:
        return pool.request("POST", url, body=body, headers=body.headers).status


def by_aiohttp(url: str, body: Body) -> int:
    async def main() -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=body.headers) as response,
        ):
            return response.status

    return asyncio.run(main())


Send = Callable[[str, Body], int]
CLIENTS = [by_requests, by_httpx, by_httpx_async, by_urllib3, by_aiohttp]


@pytest.fixture(params=CLIENTS)
def send(request: pytest.FixtureRequest) -> Send:
    client: Send = request.param
    return client


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / 'bo"ok ü.pdf'
    path.write_bytes(DATA)
    return path


def test_every_client_sends_it_with_its_exact_length(send: Send, book: Path) -> None:
    """Fields first, names as browsers write them, no chunk."""
    with Peer(takes) as peer:
        form = (
            sluiceway.Form({"title": "Über\r\n"})
            .file("file", book)
            .file("more", b"second", filename="b.txt")
        )
        assert send(f"{peer.url}/books", form) == 201
        seen = peer.seen[0]

    assert seen.headers["content-length"] == str(form.length) == str(len(seen.body))
    assert "transfer-encoding" not in seen.headers
    assert parts(seen) == [
        'Content-Disposition: form-data; name="title"\r\n\r\nÜber\r\n'.encode(),
        'Content-Disposition: form-data; name="file"; filename="bo%22ok ü.pdf"\r\n'.encode()
        + b"Content-Type: application/pdf\r\n\r\n"
        + DATA,
        (
            b'Content-Disposition: form-data; name="more"; filename="b.txt"\r\n'
            b"Content-Type: text/plain\r\n\r\nsecond"
        ),
    ]


def test_an_unknown_length_is_sent_in_chunks(send: Send) -> None:
    """A file from a generator is still one form."""
    with Peer(takes) as peer:
        form = sluiceway.Form().file(
            "file",
            (DATA[at : at + 100_000] for at in range(0, len(DATA), 100_000)),
            filename="a.bin",
        )
        assert send(f"{peer.url}/books", form) == 201
        seen = peer.seen[0]

    assert form.length is None
    assert seen.headers["transfer-encoding"] == "chunked"
    assert parts(seen)[0].endswith(b"\r\n\r\n" + DATA)


def test_a_server_stores_what_they_send(send: Send, taker: RunningServer, book: Path) -> None:
    """Our server stores the bytes, with the right digest."""
    assert (
        send(
            f"{taker.url}/files?prefix=form",
            sluiceway.Form([("a", "1"), ("a", "2")]).file("file", book),
        )
        == 201
    )
    found = requests.get(f"{taker.url}/files?limit=1000", timeout=10).json()["files"]
    assert hashlib.sha256(DATA).hexdigest() in {file["sha-256"] for file in found}


@pytest.mark.parametrize("size", [0, 1, 700_000])
def test_the_bytes_of_a_pipe_are_sent_raw_with_their_length(send: Send, size: int) -> None:
    """Sized sends no chunks, also for a generator. An empty body is sent as the client does it."""
    with Peer(takes) as peer:
        assert (
            send(
                f"{peer.url}/raw",
                sluiceway.Sized(iter([DATA[: size // 2], DATA[size // 2 : size]]), size),
            )
            == 201
        )
        seen = peer.seen[0]

    assert seen.body == DATA[:size]
    assert not seen.was_cut()
    assert size == 0 or (seen.headers["content-length"], seen.headers.get("transfer-encoding")) == (
        str(size),
        None,
    )


@pytest.mark.parametrize("given", [999, 1001])
def test_a_source_with_a_wrong_size_fails_the_request(send: Send, given: int) -> None:
    """The server sees no whole body, and does not wait for bytes that never come."""
    with Peer(takes) as peer:
        for body in (
            sluiceway.Sized(iter([bytes(given)]), 1000),
            sluiceway.Form().file("f", iter([bytes(given)]), size=1000),
        ):
            with pytest.raises(Exception) as caught:
                send(f"{peer.url}/raw", body)
            chain = [caught.value, caught.value.__cause__, caught.value.__context__]
            assert any(isinstance(error, SourceFailed) for error in chain), chain
        for exchange in peer.seen:
            assert exchange.was_cut()


def test_a_redirect_sends_it_again(book: Path) -> None:
    """307: the file is read again from its start; a spent stream is refused, not sent empty."""

    def points_on(exchange: Exchange) -> None:
        if exchange.target == "/old":
            exchange.read_body()
            exchange.reply(307, {"Location": "/new"})
        else:
            takes(exchange)

    with Peer(points_on) as peer:
        for send in (by_requests, by_httpx):
            assert send(f"{peer.url}/old", sluiceway.Form().file("file", book)) == 201
            assert peer.seen[-1].body == peer.seen[-2].body
        with pytest.raises(SourceSpent):
            by_requests(f"{peer.url}/old", sluiceway.Form().file("file", iter([b"once"])))


# What can be sent


def test_files_are_sent_from_their_position(book: Path) -> None:
    """An open file, and one that cannot seek."""
    with book.open("rb") as file:
        file.seek(1000)
        form = sluiceway.Form().file("f", file)
        body = b"".join(form)
        assert b"".join(form) == body, "read again from where it stood"
    assert body.count(DATA[1000:]) == 1
    assert form.length == len(body)

    bridge = sluiceway.Bridge.feed(lambda out: out.write(DATA))
    form = sluiceway.Form().file("f", bridge)
    assert (form.length, form.repeatable) == (None, False)
    assert DATA in b"".join(form)
    with pytest.raises(SourceSpent):
        list(form)


def test_a_url_is_sent_as_a_files_bytes(taker: RunningServer) -> None:
    """Its length, name and type come from the other server; nothing is stored in between."""
    requests.put(f"{taker.url}/files/shelf/old.pdf", data=DATA, timeout=20)
    with Peer(takes) as peer:
        form = sluiceway.Form().file("file", f"{taker.url}/files/shelf/old.pdf")
        assert by_requests(f"{peer.url}/in", form) == 201
        assert by_requests(f"{peer.url}/in", form) == 201, "and once more"
        first, second = peer.seen

    assert parts(first)[0] == (
        b'Content-Disposition: form-data; name="file"; filename="old.pdf"\r\n'
        b"Content-Type: application/pdf\r\n\r\n" + DATA
    )
    assert first.headers["content-length"] == str(len(first.body))
    assert second.body == first.body
    with pytest.raises(SluiceError) as caught:
        sluiceway.Form().file("file", f"{taker.url}/files/none")
    assert caught.value.members["answered"] == 404
    with pytest.raises(PeerFailed):
        sluiceway.Form().file("file", "http://127.0.0.1:1/none")


def test_a_folder_is_packed_while_it_is_sent(taker: RunningServer, book: Path) -> None:
    """Bridge: tarfile writes while requests reads; the whole archive exists nowhere on the way."""

    def pack(out: sluiceway.BridgeWriter) -> None:
        with tarfile.open(fileobj=out, mode="w|") as archive:
            archive.add(book, "book.pdf")

    response = requests.put(
        f"{taker.url}/files/packed.tar", data=sluiceway.Bridge.feed(pack), timeout=20
    )
    stored = io.BytesIO(requests.get(f"{taker.url}/files/packed.tar", timeout=20).content)
    with tarfile.open(fileobj=stored) as archive:
        file = archive.extractfile("book.pdf")
        assert file is not None
        assert file.read() == DATA
    assert response.status_code == 201


def test_a_failed_archive_stores_nothing(taker: RunningServer) -> None:
    """The client raises the producer's error, and the server stores nothing."""

    def fail(out: sluiceway.BridgeWriter) -> None:
        out.write(DATA)
        raise RuntimeError("disk gone")

    with pytest.raises((SourceFailed, requests.ConnectionError)) as caught:
        requests.put(f"{taker.url}/files/half.bin", data=sluiceway.Bridge.feed(fail), timeout=20)
    assert "disk gone" in str(caught.value) or isinstance(caught.value.__context__, SourceFailed)
    assert requests.get(f"{taker.url}/files/half.bin", timeout=20).status_code == 404


@pytest.mark.parametrize("given", [5, None, 1.5, open])
def test_unsupported_sources_are_refused(given: object) -> None:
    with pytest.raises(BadRequest, match="A path, a URL, a binary file"):
        sluiceway.Form().file("f", given)  # type: ignore[arg-type]  # the point of the test


def test_unreadable_files_are_named_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="cannot be read"):
        sluiceway.Form().file("f", tmp_path / "none")
    with (tmp_path / "t").open("w") as text, pytest.raises(BadRequest, match="mode 'rb'"):
        sluiceway.Form().file("f", text)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(BadRequest, match="size is 5"):
        sluiceway.Form().file("f", b"1234", size=5)


def test_a_file_that_changes_meanwhile_fails(book: Path) -> None:
    """A file that grows or shrinks: the form never looks complete."""
    for change in (DATA + b"more", DATA[:-1]):
        form = sluiceway.Form().file("f", book)
        book.write_bytes(change)
        with pytest.raises(SourceFailed, match=r"changed|ended after"):
            list(form)
        book.write_bytes(DATA)


def test_progress_counts_what_was_taken(book: Path) -> None:
    reports: list[tuple[int, int | None]] = []
    form = sluiceway.Form(
        {"a": "b"}, on_progress=lambda sent, length: reports.append((sent, length))
    ).file("f", book)
    with Peer(takes) as peer:
        by_requests(f"{peer.url}/in", form)

    assert reports[-1] == (form.length, form.length)
    assert [sent for sent, _ in reports] == sorted({sent for sent, _ in reports})


# Compared with requests_toolbelt


def seen(exchange: Exchange) -> list[tuple[str, bytes]]:
    """Each part's head in lower case, and its body."""
    pieces = (part.partition(b"\r\n\r\n") for part in parts_of(exchange))
    return [(head.decode().replace("\r\n", "; ").lower(), body) for head, _, body in pieces]


def test_a_server_sees_what_the_toolbelt_sends(book: Path) -> None:
    """The same parts as from MultipartEncoder, and the monitor counts the same bytes."""
    reports: dict[str, list[int]] = {"theirs": [], "ours": []}
    with Peer(takes) as peer, book.open("rb") as file:
        encoder = MultipartEncoder({"id": "42", "file": ("book.pdf", file, "application/pdf")})
        theirs = MultipartEncoderMonitor(
            encoder, lambda monitor: reports["theirs"].append(monitor.bytes_read)
        )
        requests.post(
            peer.url, data=theirs, headers={"Content-Type": theirs.content_type}, timeout=20
        )
        ours = sluiceway.Form(
            {"id": "42"}, on_progress=lambda sent, _: reports["ours"].append(sent)
        )
        by_requests(peer.url, ours.file("file", book, filename="book.pdf"))
        first, second = peer.seen

    assert seen(first) == seen(second)
    assert reports["theirs"][-1] == int(first.headers["content-length"])
    assert reports["ours"][-1] == int(second.headers["content-length"])


def test_a_server_sees_what_the_toolbelts_iterator_sends() -> None:
    """StreamingIterator and Sized: the same bytes under the same length, without chunks."""
    pieces = [DATA[at : at + 100_000] for at in range(0, len(DATA), 100_000)]
    with Peer(takes) as peer:
        requests.post(peer.url, data=StreamingIterator(len(DATA), iter(pieces)), timeout=20)
        requests.post(peer.url, data=sluiceway.Sized(iter(pieces), len(DATA)), timeout=20)
        first, second = peer.seen

    assert first.body == second.body == DATA
    assert first.headers["content-length"] == second.headers["content-length"] == str(len(DATA))
    assert "transfer-encoding" not in first.headers | second.headers


def test_a_server_sees_what_the_toolbelt_passes_on_from_a_url(taker: RunningServer) -> None:
    """FileFromURLWrapper and the URL itself."""
    url = f"{taker.url}/files/passed-on"
    assert requests.put(url, data=DATA, timeout=20).status_code == 201
    with Peer(takes) as peer, requests.Session() as session:
        theirs = MultipartEncoder(
            {
                "file": (
                    "a.bin",
                    FileFromURLWrapper(url, session=session),
                    "application/octet-stream",
                )
            }
        )
        requests.post(
            peer.url, data=theirs, headers={"Content-Type": theirs.content_type}, timeout=20
        )
        by_requests(
            peer.url,
            sluiceway.Form().file("file", url, filename="a.bin", type="application/octet-stream"),
        )
        first, second = peer.seen

    assert seen(first) == seen(second)
    assert seen(first)[0][1] == DATA


def parts_of(exchange: Exchange) -> Iterator[bytes]:
    boundary = exchange.headers["content-type"].partition("boundary=")[2].encode()
    for piece in (b"\r\n" + exchange.body).split(b"\r\n--" + boundary)[1:-1]:
        yield piece.removeprefix(b"\r\n")
