"""Large objects between servers and folders, one and many, go round the event loop.

With connections that are never lent, always lent, and handed back at random bytes: the same bytes,
receipts, counts and errors.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sluiceway
from client.cutting_peer import cutting
from fix_server import RunningServer, start_server
from fix_taking import noise
from lent_ways import OFF, RANDOM, WAYS, lend_here
from rude_peer import Exchange, Peer, sha256_field
from sluiceway.copying.report import Overall
from sluiceway.errors import DigestMismatch, SluiceError, SourceFailed

MIB = 1 << 20
SIZE = 9 * MIB + 4097
DATA = noise(SIZE)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("served") / "root")
    yield running
    running.stop()


@pytest.fixture(params=WAYS)
def lent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return lend_here(monkeypatch, request.param)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return lend_here(monkeypatch, RANDOM)


def way(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["lent"])


def took(exchange: Exchange) -> None:
    exchange.read_body()
    exchange.reply(201)


@pytest.mark.parametrize("digest", ["sha-256", "none"])
async def test_many_go_up_across_and_down(
    lent: list[int],
    server: RunningServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    digest: str,
) -> None:
    """`copy -r`: a folder to a server, that to itself, and back to a folder. All is counted."""
    source, target, place = tmp_path / "from", tmp_path / "to", f"{way(request)}-{digest}"
    source.mkdir()
    (source / "large").write_bytes(DATA)
    (source / "small").write_bytes(b"small")
    steps: list[tuple[str | Path, str | Path]] = [
        (source, f"{server.url}/files/{place}/"),
        (f"{server.url}/files/{place}/", f"{server.url}/files/{place}-2/"),
        (f"{server.url}/files/{place}-2/", target),
    ]
    for one, other in steps:
        seen = list[Overall]()
        before = sum(lent)
        report = await sluiceway.acopy_all(one, other, digest=digest, on_progress=seen.append)
        assert (report.ok, report.copied, report.bytes) == (True, 2, SIZE + 5), report
        assert (seen[-1].moving, seen[-1].bytes) == (0, SIZE + 5)
        assert max(each.moving for each in seen) <= SIZE + 5
        assert (sum(lent) > before) is (way(request) != OFF)
    assert (target / "large").read_bytes() == DATA
    assert (target / "small").read_bytes() == b"small"


async def test_one_goes_from_server_to_server(
    lent: list[int], server: RunningServer, request: pytest.FixtureRequest
) -> None:
    (server.root / "across").write_bytes(DATA)
    to = f"{server.url}/files/across-{way(request)}"
    receipt = await sluiceway.acopy(f"{server.url}/files/across", to)

    assert (receipt.size, dict(receipt.digests)) == (SIZE, {"sha-256": SHA256})
    assert (server.root / f"across-{way(request)}").read_bytes() == DATA
    assert bool(lent) is (way(request) != OFF)
    assert sum(receipt.stages.values()) == pytest.approx(receipt.seconds, rel=0.02, abs=0.001)


async def test_a_source_that_breaks_off_in_a_burst_is_continued(often: list[int]) -> None:
    """Every byte that came was sent, and is not asked for again."""
    cut = 6 * MIB + 1
    with Peer(cutting(cut, data=DATA)) as one, Peer(took) as other:
        receipt = await sluiceway.acopy(f"{one.url}/f", f"{other.url}/f")

    assert [exchange.method for exchange in other.seen] == ["OPTIONS", "PUT"]
    assert other.seen[1].body == DATA
    assert receipt.size == SIZE
    assert one.seen[1].first_byte() == cut
    assert often


async def test_a_source_that_cannot_be_continued_is_never_sent_whole(often: list[int]) -> None:
    def breaks(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(SIZE)})
        exchange.send(DATA[: 6 * MIB])

    with Peer(breaks) as one, Peer(took) as other:
        with pytest.raises(SourceFailed):
            await sluiceway.acopy(f"{one.url}/f", f"{other.url}/f")
        assert other.seen[-1].was_cut()


async def test_other_bytes_than_announced_are_never_sent_whole(often: list[int]) -> None:
    def lies(exchange: Exchange) -> None:
        exchange.head(200, {"Content-Length": str(SIZE), "Repr-Digest": sha256_field(b"other")})
        exchange.send(DATA)

    with Peer(lies) as one, Peer(took) as other:
        with pytest.raises(DigestMismatch):
            await sluiceway.acopy(f"{one.url}/f", f"{other.url}/f", digest="none")
        assert other.seen[-1].was_cut()


async def test_a_target_that_answers_within_a_burst_is_heard(often: list[int]) -> None:
    def refuses(exchange: Exchange) -> None:
        if exchange.method == "OPTIONS":  # has no body
            exchange.reply(405)
            return
        exchange.ask_for_body()
        exchange.take(3 * MIB)
        exchange.reply(507, body=b"no room")

    with Peer(cutting(data=DATA)) as one, Peer(refuses) as other:
        copying = sluiceway.acopy(f"{one.url}/f", f"{other.url}/f", retries=0)
        with pytest.raises(SluiceError) as raised:
            await copying

    assert raised.value.members["answered"] == 507


async def test_a_rate_holds_for_every_byte(
    server: RunningServer, tmp_path: Path, often: list[int]
) -> None:
    """Nothing is lent where the speed is limited."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "f").write_bytes(DATA[: 5 * MIB])
    began, to = time.monotonic(), f"{server.url}/files/limited/"
    report = await sluiceway.acopy_all(tmp_path / "from", to, limit_rate="10MiB")

    assert (report.ok, often) == (True, [])
    assert time.monotonic() - began > 0.3
