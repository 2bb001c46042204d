"""A stream that is sent twice is an error, never an empty second body that gets a 201."""

from __future__ import annotations

import asyncio
import gzip
import io
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
from requests.auth import HTTPDigestAuth

import sluiceway
from fix_gateway import takes
from fix_taking import noise
from rude_peer import Exchange, Peer
from sluiceway.pipe.source import SourceSpent
from sluiceway.server.forms.walk import FileBegan, FileEnded
from sluiceway.starlette import LiveUpload
from sluiceway.wsgi.streaming_form import LiveForm

DATA = noise(200_001)
CHALLENGE = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'


def bridge() -> Any:
    return sluiceway.Bridge.feed(lambda out: out.write(DATA))


def sized() -> Any:
    return sluiceway.Sized(iter([DATA]), len(DATA))


def sized_bridge() -> Any:
    return sluiceway.Sized(bridge(), len(DATA))


def form() -> Any:
    return sluiceway.Form().file("f", iter([DATA]))


def form_of_a_bridge() -> Any:
    return sluiceway.Form().file("f", bridge(), size=len(DATA))


def live() -> Any:
    """A file of a form that still arrives, as a Flask view has it."""
    sent = io.BytesIO(b"".join(whole := sluiceway.Form().file("f", DATA)))
    file = LiveForm(sent.read, whole.content_type, None).file("f")
    assert file is not None
    return file


ONCE: list[Callable[[], Any]] = [bridge, sized, sized_bridge, form, form_of_a_bridge, live]


def asks_again(exchange: Exchange) -> None:
    """Answers 307, a challenge or 503 first, by the path; then stores each body."""
    exchange.read_body()
    if exchange.target == "/redirect":
        exchange.reply(307, {"Location": "/end"})
    elif exchange.target == "/digest" and "authorization" not in exchange.headers:
        exchange.reply(401, {"WWW-Authenticate": CHALLENGE})
    elif exchange.target == "/busy" and "x-again" not in exchange.headers:
        exchange.reply(503, {"Retry-After": "0"})
    elif not exchange.cut:
        exchange.reply(201)


def by_requests(url: str, body: Any, how: str) -> None:
    auth = HTTPDigestAuth("u", "p") if how == "digest" else None
    with requests.Session() as session:
        if how == "busy":
            session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry()))
        session.put(url, data=body, headers=getattr(body, "headers", None), auth=auth, timeout=20)


def retry() -> urllib3.Retry:
    return urllib3.Retry(3, status_forcelist=[503], allowed_methods=None, backoff_factor=0)


def by_urllib3(url: str, body: Any, how: str) -> None:
    with urllib3.PoolManager(timeout=20, retries=retry()) as pool:
        pool.request("PUT", url, body=body, headers=getattr(body, "headers", None))


def by_httpx(url: str, body: Any, how: str) -> None:
    auth = httpx.DigestAuth("u", "p") if how == "digest" else None
    httpx.put(
        url,
        content=body,
        headers=getattr(body, "headers", None),
        auth=auth,
        follow_redirects=True,
        timeout=20,
    )


def by_httpx_async(url: str, body: Any, how: str) -> None:

    async def main() -> None:
        auth = httpx.DigestAuth("u", "p") if how == "digest" else httpx.USE_CLIENT_DEFAULT
        async with httpx.AsyncClient(timeout=20, follow_redirects=True) as client:
            await client.put(
                url, content=aiter(body), headers=getattr(body, "headers", None), auth=auth
            )

    asyncio.run(main())


def by_aiohttp(url: str, body: Any, how: str) -> None:

    async def main() -> None:
        digest = (aiohttp.DigestAuthMiddleware("u", "p"),) if how == "digest" else ()
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(middlewares=digest, timeout=timeout) as session,
            session.put(url, data=body, headers=getattr(body, "headers", None)),
        ):
            pass

    asyncio.run(main())


Send = Callable[[str, Any, str], None]

# urllib3 has no digest authentication; only urllib3, also below requests, retries a 503
WAYS: list[tuple[Send, str]] = [
    *((by_requests, how) for how in ("redirect", "digest", "busy")),
    *((by_urllib3, how) for how in ("redirect", "busy")),
    *(
        (send, how)
        for send in (by_httpx, by_httpx_async, by_aiohttp)
        for how in ("redirect", "digest")
    ),
]
BLOCKING = (by_requests, by_urllib3, by_httpx)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("send", "how", "make"),
    [
        (send, how, make)
        for send, how in WAYS
        for make in ONCE
        if make is not live or send in BLOCKING
    ],  # it is no async iterable
)
def test_a_spent_stream_is_not_sent_as_an_empty_body(
    send: Send, how: str, make: Callable[[], Any]
) -> None:
    """The client raises because of SourceSpent (httpx its own error), and stores no empty body."""
    with Peer(asks_again) as peer:
        with pytest.raises(Exception) as caught:
            send(f"{peer.url}/{how}", make(), how)
        seen = peer.seen
        assert all(exchange.done.wait(20) for exchange in seen)

    assert any(
        isinstance(error, SourceSpent | httpx.StreamConsumed) for error in chain(caught.value)
    ), list(chain(caught.value))
    assert DATA in seen[0].body, "the first one was sent whole"
    assert all(exchange.was_cut() for exchange in seen[1:]), "and none after it looked whole"


@pytest.mark.parametrize(("send", "how"), [way for way in WAYS if way[0] is not by_httpx_async])
def test_repeatable_bodies_are_sent_again(send: Send, how: str, tmp_path: Path) -> None:
    """The same bytes both times. (httpx's asynchronous client never sends aiter(body) twice.)"""
    (tmp_path / "f").write_bytes(DATA)
    for body in (
        sluiceway.Form().file("f", tmp_path / "f"),
        sluiceway.Sized(tmp_path / "f", len(DATA)),
    ):
        second = False

        def act(exchange: Exchange) -> None:
            nonlocal second
            if how == "busy" and second:
                takes(exchange)
            else:
                second = True
                asks_again(exchange)

        with Peer(act) as peer:
            send(f"{peer.url}/{how}", body, how)
            assert len(peer.seen) == 2
            assert peer.seen[0].body == peer.seen[1].body
            assert DATA in peer.seen[1].body


def test_a_part_of_starlette_is_not_sent_twice() -> None:
    """aiohttp sends an exhausted asynchronous iterable as an empty body; a part raises an error."""

    async def items() -> AsyncIterator[Any]:
        yield DATA
        yield FileEnded()

    async def main() -> None:
        part = LiveUpload(items(), FileBegan("f", "a.bin", "application/x-test", len(DATA)))
        digest = aiohttp.DigestAuthMiddleware("u", "p")
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(middlewares=(digest,), timeout=timeout) as session,
            session.put(f"{peer.url}/digest", data=part),
        ):
            pass

    with Peer(asks_again) as peer:
        with pytest.raises(aiohttp.ClientError) as caught:
            asyncio.run(main())
        assert any(isinstance(error, SourceSpent) for error in chain(caught.value))
        assert all(exchange.done.wait(20) for exchange in peer.seen)
        assert peer.seen[0].body == DATA
        assert all(exchange.was_cut() for exchange in peer.seen[1:])


def test_reading_at_the_end_is_no_error() -> None:
    """As for files: gzip and io.BufferedReader read again at the end."""
    packed = sluiceway.Bridge.feed(lambda out: out.write(gzip.compress(DATA)))
    got = io.BytesIO()
    with gzip.GzipFile(fileobj=packed) as file:
        shutil.copyfileobj(file, got, 10_000)
        assert file.read(100_000) == b""
    assert got.getvalue() == DATA

    buffered = io.BufferedReader(bridge())
    assert buffered.read() == DATA
    assert [buffered.read(1 << 20), buffered.read(1 << 20)] == [b"", b""]

    reader = bridge()
    assert reader.read() == DATA
    assert [reader.read(), reader.read(), reader.read(10), reader.read(10)] == [b""] * 4
    with pytest.raises(SourceSpent):
        reader.read(64 << 10)
    with pytest.raises(SourceSpent):
        list(reader)

    empty = sluiceway.Bridge.feed(lambda out: None)
    assert [list(empty), list(empty), empty.read(1 << 20), empty.read(1 << 20)] == [
        [],
        [],
        b"",
        b"",
    ]


def test_an_iterable_that_is_empty_the_second_time_is_an_error() -> None:
    """An iterable that pretends to start again, and one around an exhausted iterator."""

    class Wrapped:
        def __init__(self) -> None:
            self._inner = iter([DATA])

        def __iter__(self) -> Iterator[bytes]:
            yield from self._inner

    body = sluiceway.Form().file("f", Wrapped())
    assert DATA in b"".join(body)
    with pytest.raises(SourceSpent):
        list(body)
