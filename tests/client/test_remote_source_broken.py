"""A source that breaks off, lies or changes never becomes a file that looks whole."""

from __future__ import annotations

import time

import pytest

from client.quick_copies import pass_on
from client.remote_peers import DATA, Act, changed, cutting, nothing_whole, taking
from rude_peer import Exchange, Peer, ranged, sha256_field
from sluiceway.client.retry import MOST_ATTEMPTS
from sluiceway.errors import (
    DigestMismatch,
    NotFound,
    PeerFailed,
    SluiceError,
    SourceFailed,
    Unauthorized,
)


def misplaced(exchange: Exchange) -> None:
    exchange.reply(
        206, {"ETag": '"v1"', "Content-Range": f"bytes 999-{len(DATA) - 1}/{len(DATA)}"}, DATA[999:]
    )


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (cutting(1_000_000, etag=None), SourceFailed, "no strong ETag"),
        (cutting(1_000_000, etag='W/"v1"'), SourceFailed, "no strong ETag"),
        (cutting(0, etag=None), SourceFailed, "broke off"),
        (cutting(1_000_000, 0, 0, 0, 0), SourceFailed, "broke off"),
        (cutting(1_000_000, then=changed), SourceFailed, "changed while it was read"),
        (cutting(1_000_000, then=misplaced), SourceFailed, "changed while it was read"),
        (
            cutting(1_000_000, then=lambda exchange: exchange.reply(403)),
            SourceFailed,
            "answered 403",
        ),
        (
            cutting(1_000_000, then=lambda exchange: exchange.reply(302, {"Location": "ftp://x/"})),
            SourceFailed,
            "redirects to",
        ),
        (
            ranged(DATA, **{"Repr-Digest": sha256_field(b"other")}),
            DigestMismatch,
            "sha-256 of the source is not",
        ),
        (
            cutting(1_000_000, then=ranged(DATA), digest=sha256_field(b"o")),
            DigestMismatch,
            "sha-256 of the source is not",
        ),
    ],
    ids=[
        "no tag",
        "weak tag",
        "at once",
        "for good",
        "changed",
        "wrong rest",
        "refused rest",
        "led away",
        "lies",
        "lies late",
    ],
)
async def test_a_wrong_or_truncated_source_never_looks_complete(
    act: Act, error: type[SluiceError], words: str
) -> None:
    """However the source fails: the destination sees a body that was cut off."""
    with Peer(act) as source, Peer(taking) as target, pytest.raises(error, match=words):
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert nothing_whole(target)


@pytest.mark.parametrize(
    "sends",
    [
        [b"5\r\nhello\r\n"],
        [b"5\r\nhel"],
        [b"5\r\nhello\r\nzz\r\n"],
        # The chunk's end wakes the reader without bytes, and the connection is closed by then.
        [b"5\r\nhello", b"\r\nzz\r\n"],
    ],
)
async def test_chunks_without_their_end_never_look_complete(sends: list[bytes]) -> None:
    """No length is known; the missing last chunk shows it."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked"})
        for data in sends:
            exchange.send(data)
            time.sleep(0.1)  # so that each is read alone

    with Peer(act) as source, Peer(taking) as target, pytest.raises((SourceFailed, PeerFailed)):
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert nothing_whole(target)


async def test_an_empty_file_with_a_wrong_digest_is_never_sent() -> None:
    """A request of no bytes would be complete with its head: it is not made."""
    act = ranged(b"", **{"Repr-Digest": sha256_field(b"something")})
    with Peer(act) as source, Peer(taking) as target, pytest.raises(DigestMismatch):
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert target.seen == []


async def test_a_source_that_breaks_for_good_is_given_up() -> None:
    """After MOST_ATTEMPTS requests that brought nothing; with retries=0 after the first."""
    act = cutting(1000, *[0] * 20)
    with Peer(act) as source, Peer(taking) as target:
        with pytest.raises(SourceFailed):
            await pass_on(f"{source.url}/f", f"{target.url}/f")
        asked = len(source.seen)
        with pytest.raises(SourceFailed):
            await pass_on(f"{source.url}/f", f"{target.url}/f", retries=0)

        assert (asked, len(source.seen) - asked) == (MOST_ATTEMPTS, 1)


async def test_a_refusal_of_the_source_is_reported_and_nothing_is_sent() -> None:
    """With the option that would help."""
    for status, error, words in (
        (401, Unauthorized, "--from-token"),
        (404, NotFound, "answered 404"),
    ):
        with (
            Peer(lambda exchange, status=status: exchange.reply(status)) as source,  # type: ignore[misc]
            Peer(taking) as target,
            pytest.raises(error, match=words),
        ):
            await pass_on(f"{source.url}/f", f"{target.url}/f")

        assert target.seen == []
