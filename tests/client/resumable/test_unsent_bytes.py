"""Digests over several requests: each byte counts once, whatever was sent twice."""

from __future__ import annotations

import hashlib
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.client.resumable.unsent_bytes import go_on
from sluiceway.pipe.digests import RunningDigests
from sluiceway.pipe.source import BytesSource

DATA = os.urandom(5000)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), max_size=6))
async def test_pieces_in_any_order_give_the_digest_of_the_whole(
    pieces: list[tuple[int, int]],
) -> None:
    """A cut goes back, another process jumps ahead: what is missing is read."""
    running = RunningDigests(("sha-256",))
    for start, stop in pieces:
        await go_on(running, BytesSource(DATA), start)
        for at in range(start, stop, 700):
            if at % 1400:
                await running.take(DATA[at : min(at + 700, stop)])
            else:
                await running.settle()
                running.update(memoryview(DATA)[at : min(at + 700, stop)])
    await go_on(running, BytesSource(DATA), len(DATA))
    assert (await running.finish())["sha-256"] == hashlib.sha256(DATA).digest()
    await running.aclose()


async def test_nothing_is_read_where_nothing_is_counted() -> None:
    running = RunningDigests(())
    await go_on(running, BytesSource(b""), 100)
    assert not running.algorithms
    assert await running.finish() == {}
