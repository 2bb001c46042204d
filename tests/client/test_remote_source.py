"""From one server to another: the whole and right file, or nothing that looks like it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

import sluiceway
from client.quick_copies import pass_on
from client.remote_peers import DATA, changed, cutting, nothing_whole, taking, uploads
from rude_peer import Exchange, Peer, ranged, sha256_field
from sluiceway.client.retry import MOST_ATTEMPTS
from sluiceway.errors import (
    PeerFailed,
    SourceFailed,
)
from sluiceway.pipe.receipt import Progress

DIGEST = hashlib.sha256(DATA).hexdigest()


async def test_a_file_goes_on_with_length_type_name_and_digest() -> None:
    """The destination gets what the source's first response tells; the receipt names both."""
    reports = {
        "Content-Type": "image/webp",
        "Content-Disposition": 'attachment; filename="../b c.webp"',
    }
    with Peer(ranged(DATA, **reports)) as source, Peer(taking) as target:
        receipt = await sluiceway.acopy(f"{source.url}/f?sig=secret", f"{target.url}/d/")
    (asked,) = uploads(target)

    assert [one.method for one in source.seen] == ["GET"]
    assert (asked.method, asked.target, asked.body) == ("PUT", "/d/b%20c.webp", DATA)
    assert (asked.headers["content-length"], asked.headers["content-type"]) == (
        str(len(DATA)),
        "image/webp",
    )
    assert (receipt.size, receipt.sha256, receipt.status) == (len(DATA), DIGEST, 201)
    assert (receipt.source, receipt.location) == (f"{source.url}/f", f"{target.url}/d/b%20c.webp")
    assert sum(receipt.stages.values()) == pytest.approx(receipt.seconds)


async def test_it_goes_on_as_a_form_too() -> None:
    """With fields before the file, the type by hand and an exact length."""
    with Peer(ranged(DATA)) as source, Peer(taking) as target:
        await sluiceway.acopy(
            f"{source.url}/f.txt",
            f"{target.url}/books",
            form={"id": "42"},
            field="cover",
            type="text/x",
        )
    asked = target.seen[0]

    assert int(asked.headers["content-length"]) == len(asked.body)
    assert b'name="cover"; filename="f.txt"\r\nContent-Type: text/x\r\n\r\n' + DATA in asked.body
    assert asked.body.index(b'name="id"') < asked.body.index(b'name="cover"')


async def test_an_unknown_length_goes_on_in_chunks() -> None:
    """What the source does not tell is not invented."""

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Transfer-Encoding": "chunked", "Repr-Digest": sha256_field(b"hello")})
        exchange.send(b"5\r\nhello\r\n0\r\n\r\n")

    with Peer(act) as source, Peer(taking) as target:
        receipt = await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert (target.seen[0].body, target.seen[0].headers["transfer-encoding"]) == (
        b"hello",
        "chunked",
    )
    assert receipt.size == 5


@pytest.mark.parametrize("size", [0, 1])
async def test_the_smallest_files_go_on(size: int) -> None:
    """Nothing, and one byte."""
    with Peer(ranged(DATA[:size])) as source, Peer(taking) as target:
        receipt = await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert (target.seen[0].body, receipt.size) == (DATA[:size], size)


async def test_a_broken_source_is_continued_and_the_destination_does_not_notice() -> None:
    """More breaks than MOST_ATTEMPTS, each continued by Range; the destination gets one body."""
    reports: list[Progress] = []
    cuts = [300_000] * (MOST_ATTEMPTS + 3)
    with Peer(cutting(*cuts)) as source, Peer(taking) as target:
        receipt = await sluiceway.acopy(
            f"{source.url}/f", f"{target.url}/f", on_progress=reports.append
        )

    assert [asked.body for asked in uploads(target)] == [DATA]
    assert [asked.first_byte() for asked in source.seen] == [
        300_000 * n for n in range(len(cuts) + 1)
    ]
    assert {asked.headers.get("if-range") for asked in source.seen[1:]} == {'"v1"'}
    assert receipt.sha256 == DIGEST
    assert [now.stage for now in reports].count("retrying") == len(cuts)


async def test_a_source_without_ranges_is_skipped_to_the_offset() -> None:
    """It answers 200 to every Range, of the same version: bytes sent before are skipped."""
    responses = [1_000_000, 2_000_000, None]

    def act(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(len(DATA)), "ETag": '"v1"'})
        exchange.send(DATA[: responses.pop(0)])

    with Peer(act) as source, Peer(taking) as target:
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert [asked.body for asked in target.seen] == [DATA]


async def test_a_busy_source_is_asked_again_when_it_says() -> None:
    """503 at the beginning and in the middle."""
    responses = [503, 200, 429]

    def act(exchange: Exchange) -> None:
        status = responses.pop(0) if responses else 206
        if status == 200:
            cutting(1000)(exchange)
        elif status == 206:
            ranged(DATA)(exchange)
        else:
            exchange.reply(status, {"Retry-After": "0"})

    with Peer(act) as source, Peer(taking) as target:
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert [asked.body for asked in target.seen] == [DATA]


async def test_a_missing_end_is_asked_for() -> None:
    """All bytes are here, the last chunk is not: 416 with their number is the end."""
    responses = ["cut"]

    def act(exchange: Exchange) -> None:
        if responses:
            responses.pop()
            exchange.head(200, {"Transfer-Encoding": "chunked", "ETag": '"v1"'})
            exchange.send(b"5\r\nhello\r\n")
        else:
            exchange.reply(416, {"Content-Range": "bytes */5"})

    with Peer(act) as source, Peer(taking) as target:
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert [asked.body for asked in target.seen] == [b"hello"]


async def test_each_side_gets_its_own_credentials() -> None:
    """URL, token and headers: none of one side's is ever seen by the other."""
    with Peer(ranged(DATA)) as source, Peer(taking) as target:
        await sluiceway.acopy(
            f"{source.url}/f",
            f"{target.url}/f",
            token="to",
            from_token="from",
            headers={"X-To": "1"},
            from_headers={"X-From": "2"},
        )
        await sluiceway.acopy(
            source.url.replace("//", "//a:b@") + "/f", target.url.replace("//", "//c:d@") + "/f"
        )
        await sluiceway.acopy(f"{source.url}/f", f"{target.url}/f", token="to")

    assert [asked.headers.get("authorization") for asked in source.seen] == [
        "Bearer from",
        "Basic YTpi",
        None,
    ]
    # Each upload, and before it what the server takes.
    assert [asked.headers.get("authorization") for asked in target.seen] == [
        *["Bearer to"] * 2,
        *["Basic Yzpk"] * 2,
        *["Bearer to"] * 2,
    ]
    assert ("x-from" in source.seen[0].headers, "x-to" in source.seen[0].headers) == (True, False)
    for asked in target.seen[:2]:
        assert ("x-from" in asked.headers, "x-to" in asked.headers) == (False, True)


async def test_the_sources_credentials_stay_with_its_server() -> None:
    """A redirect to another host gets none of them, also when the rest is asked for."""
    with Peer(cutting(1000)) as other, Peer(taking) as target:

        def away(exchange: Exchange) -> None:
            exchange.reply(302, {"Location": f"{other.url}/there"})

        with Peer(away) as source:
            await sluiceway.acopy(
                f"{source.url}/f",
                f"{target.url}/f",
                from_token="hush",
                from_headers={"X-Storage-Key": "hush", "Accept": "a/b"},
            )

    assert [asked.headers["authorization"] for asked in source.seen] == ["Bearer hush"] * 2
    assert len(other.seen) == 2
    for asked in other.seen:
        assert "hush" not in str(asked.headers)
        assert asked.headers["accept"] == "a/b"
    assert [asked.body for asked in uploads(target)] == [DATA]


async def test_a_broken_upload_starts_again_from_the_beginning() -> None:
    """The source can be read again, so the request can be made again."""
    responses = ["break"]

    def act(exchange: Exchange) -> None:
        if responses:
            responses.pop()
            exchange.recv()
            exchange.reset()
        else:
            taking(exchange)

    with Peer(ranged(DATA)) as source, Peer(act) as target:
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert target.seen[1].body == DATA
    assert [asked.first_byte() for asked in source.seen] == [0, 0]


async def test_a_file_that_changed_between_two_tries_is_not_sent() -> None:
    """The second reading would be another file under the first one's length and digest."""

    def act(exchange: Exchange) -> None:
        source.act = changed
        exchange.recv()
        exchange.reset()

    with (
        Peer(ranged(DATA)) as source,
        Peer(act) as target,
        pytest.raises(SourceFailed, match="changed"),
    ):
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert nothing_whole(target) or all(not asked.body for asked in target.seen)


async def test_what_flows_past_once_is_not_sent_twice() -> None:
    """No validator, and the destination broke: the error says why it ends here."""

    def act(exchange: Exchange) -> None:
        exchange.recv()
        exchange.reset()

    plain = cutting(etag=None, then=lambda exchange: exchange.reply(200, {}, DATA))
    with (
        Peer(plain) as source,
        Peer(act) as target,
        pytest.raises(PeerFailed, match="can be read only once"),
    ):
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert len(target.seen) == len(source.seen) == 1


async def test_an_unreachable_source_fails_at_once() -> None:
    """A wrong URL, most likely; the destination hears nothing."""
    with Peer(taking) as target, pytest.raises(PeerFailed, match="is the server running"):
        await sluiceway.acopy("http://127.0.0.1:1/f", f"{target.url}/f")

    assert target.seen == []


async def test_a_slow_destination_slows_the_source() -> None:
    """While the destination takes nothing, only the buffers on the way are filled."""
    sent = 0

    def giving(exchange: Exchange) -> None:
        nonlocal sent
        exchange.head(200, {"Content-Length": str(200 << 20)})
        while sent < 200 << 20:
            exchange.send(bytes(1 << 20))
            sent += 1 << 20

    before = 0

    def act(exchange: Exchange) -> None:
        nonlocal before
        exchange.recv(1000)
        time.sleep(1.5)
        before = sent
        exchange.reset()

    with Peer(giving) as source, Peer(act) as target, pytest.raises(PeerFailed):
        await pass_on(f"{source.url}/f", f"{target.url}/f")

    assert 0 < before < 64 << 20


def test_both_sides_are_urls_for_programs_without_a_loop(tmp_path: Path) -> None:
    """`copy` takes the same."""
    with Peer(ranged(DATA)) as source, Peer(taking) as target:
        assert sluiceway.copy(f"{source.url}/f", f"{target.url}/f", from_token="t").size == len(
            DATA
        )
