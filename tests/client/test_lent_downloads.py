"""A large file comes down round the event loop: a thread receives, hashes and writes it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from client.quick_copies import fetch
from fix_taking import SMALL_DISK, noise
from lent_ways import ON, RANDOM, lend_here
from rude_peer import Exchange, Peer, ranged
from sluiceway.client.local.part_notes import part_paths
from sluiceway.errors import NoSpace

MIB = 1 << 20
DATA = noise(SMALL_DISK + 4 * MIB)
LIMIT = 30.0  # seconds


@pytest.mark.root
@pytest.mark.parametrize("way", [ON, RANDOM])
async def test_a_disk_that_fills_up_in_a_burst_is_an_error_and_can_be_resumed(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """What was written before is right, and the next run goes on behind it."""
    lent, target = lend_here(monkeypatch, way), small_disk / "f"
    part = Path(part_paths(str(target))[0])
    filler = small_disk / "filler"
    # Before it lends, the HTTP library may have read twice 2 MiB: that has to fit.
    filler.write_bytes(bytes(4096) + noise(2 * MIB))
    data = DATA[: SMALL_DISK - MIB // 2]
    with Peer(ranged(data)) as peer:
        with pytest.raises(NoSpace):
            await fetch(f"{peer.url}/f", target, retries=0)
        have = part.stat().st_size
        assert lent
        assert 0 < have < len(data)
        assert not target.exists()
        filler.unlink()
        receipt = await fetch(f"{peer.url}/f", target)

    assert receipt.size == len(data)
    assert target.read_bytes() == data
    assert peer.seen[-1].first_byte() == have
    assert os.listdir(small_disk) == ["f"]


@pytest.mark.parametrize("way", [ON, RANDOM])
async def test_a_download_that_is_cancelled_in_a_burst_keeps_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def holds(exchange: Exchange) -> None:
        exchange.head(200, {"ETag": '"v1"', "Content-Length": str(len(DATA))})
        exchange.send(DATA[: 6 * MIB])
        exchange.go.wait(LIMIT)

    lent, target = lend_here(monkeypatch, way), tmp_path / "f"
    part = Path(part_paths(str(target))[0])
    with Peer(holds) as peer:
        copying = asyncio.create_task(fetch(f"{peer.url}/f", target))
        async with asyncio.timeout(LIMIT):
            while not part.exists() or part.stat().st_size < MIB:
                await asyncio.sleep(0.01)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(copying, LIMIT)
        peer.seen[0].go.set()
        have = part.stat().st_size
        peer.act = ranged(DATA)
        await fetch(f"{peer.url}/f", target)

    assert lent
    assert MIB <= have <= 6 * MIB
    assert target.read_bytes() == DATA
    assert peer.seen[-1].first_byte() == have
