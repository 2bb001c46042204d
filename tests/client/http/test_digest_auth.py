"""Digest authentication against RFC 7616's own examples, and what may stand in a challenge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import sluiceway
from rude_peer import Exchange, Peer
from sluiceway.client.http.digest_auth import DigestLogin
from sluiceway.errors import Unauthorized
from sluiceway.pipe.source import Buffer, PassingSource

RFC = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
MD5 = RFC.replace("SHA-256", "MD5")


@pytest.mark.parametrize(
    ("header", "proof"),
    [
        (f"{RFC}, {MD5}", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        (f'Basic realm="x, Digest y", {MD5}', "8ca523f5e9506fed4657c9700eebdbec"),
        (f'{MD5}, Bearer realm="z"', "8ca523f5e9506fed4657c9700eebdbec"),
    ],
)
def test_the_answer_is_that_of_the_standards_example(
    monkeypatch: pytest.MonkeyPatch, header: str, proof: str
) -> None:
    """RFC 7616 3.9.1; the strongest of several is taken, among other schemes."""
    monkeypatch.setattr(
        "secrets.token_hex", lambda size: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    )
    login = DigestLogin("Mufasa", "Circle of Life")
    assert login.answer("GET", "http://www.example.org/dir/index.html") is None
    assert login.learn(header)
    response = login.answer("GET", "http://www.example.org/dir/index.html") or ""
    assert f'response="{proof}"' in response
    assert "nc=00000001" in response
    assert "nc=00000002" in (login.answer("GET", "http://www.example.org/dir/index.html") or "")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic realm=x",
        "Digest",
        'Digest realm="x"',
        'Digest nonce="x", algorithm=ROT13',
        'Digest nonce="x", qop="auth-int"',
    ],
)
def test_unusable_challenges_are_ignored(header: str) -> None:
    assert not DigestLogin("u", "p").learn(header)


def asks(exchange: Exchange) -> None:
    """Says no by the head alone, until it is proven."""
    if "authorization" not in exchange.headers:
        exchange.reply(
            401, {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'}
        )
    else:
        if exchange.headers.get("expect"):
            exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.read_body()
        exchange.reply(201)


async def test_a_password_goes_to_its_own_server_only(tmp_path: object) -> None:
    """A redirect to another host that asks, too, gets no proof."""
    with Peer(asks, "127.0.0.2") as other:

        def on(exchange: Exchange) -> None:
            exchange.read_body()
            exchange.reply(302, {"Location": f"{other.url}/x"})

        with Peer(on) as peer, pytest.raises(Unauthorized):
            await sluiceway.acopy(
                f"{peer.url.replace('//', '//u:p@')}/x", f"{tmp_path}/y", auth="digest"
            )
        assert ["authorization" in exchange.headers for exchange in other.seen] == [False]


async def test_a_server_that_refuses_expect_gets_the_proof_without_it(tmp_path: Path) -> None:
    """The challenge would come by the head alone; it comes behind the body now."""
    (tmp_path / "f").write_bytes(b"x" * 1000)

    def on(exchange: Exchange) -> None:
        if "expect" in exchange.headers:
            exchange.reply(417)
            return
        if "authorization" not in exchange.headers:
            exchange.read_body()
        asks(exchange)

    with Peer(on) as peer:
        url = f"{peer.url.replace('//', '//u:p@')}/x"
        receipt = await sluiceway.acopy(tmp_path / "f", url, auth="digest", retries=0)
        assert receipt.status == 201
        assert ["expect" in exchange.headers for exchange in peer.seen] == [True, False, False]


async def test_a_stream_is_sent_after_the_challenge() -> None:
    """A GET gets the challenge first. A server that asks later makes the upload fail."""
    from sluiceway.client.file_request import put_request
    from sluiceway.client.upload import UploadJob, upload
    from sluiceway.copying.options import CopyOptions

    async def once() -> AsyncIterator[Buffer]:
        yield b"x" * 1000

    async def send(url: str) -> int:
        options = CopyOptions.for_one("-", url.replace("//", "//u:p@"), auth="digest")
        side = options.writes
        assert side is not None
        async with options.network.transport(None, side) as transport:
            job = UploadJob(
                PassingSource(once()), put_request(side.url, "x", "a/b"), "-", side.headers
            )
            return (await upload(transport, job)).status or 0

    with Peer(asks) as peer:
        assert await send(f"{peer.url}/x") == 201
        assert [(exchange.method, exchange.body) for exchange in peer.seen] == [
            ("GET", b""),
            ("PUT", b"x" * 1000),
        ]

    def late(exchange: Exchange) -> None:
        if exchange.method == "GET":
            exchange.reply(404)
            return
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.read_body()
        exchange.reply(401, {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})

    with Peer(late) as peer:
        with pytest.raises(Unauthorized, match="cannot be sent again"):
            await send(f"{peer.url}/x")
        assert [exchange.method for exchange in peer.seen] == ["GET", "PUT"]


def test_a_401_to_head_that_has_a_body_is_never_asked_for(tmp_path: Path) -> None:
    """As WsgiDAV's: with its head it comes as one, and is not HTTP. OPTIONS gets the challenge."""

    def act(exchange: Exchange) -> None:
        exchange.read_body()
        if "authorization" in exchange.headers:
            exchange.head(404 if exchange.method == "HEAD" else 201, {"Content-Length": "0"})
            return
        challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
        head = f"HTTP/1.1 401 No\r\n{challenge}\r\nContent-Length: 12\r\n\r\n"
        exchange.send(head.encode() + b"<html>x</htm")

    for name in "ab":
        (tmp_path / "from").mkdir(exist_ok=True)
        (tmp_path / "from" / name).write_bytes(b"x")
    with Peer(act) as peer:
        url = f"{peer.url.replace('//', '//u:p@')}/d/"
        report = sluiceway.copy_all(tmp_path / "from", url, auth="digest", retries=0)
        assert (report.copied, report.failed) == (2, 0), report
        assert [each.method for each in peer.seen].count("OPTIONS") == 1
