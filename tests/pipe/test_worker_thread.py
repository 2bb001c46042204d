"""Blocking work in threads: a cancelled caller leaves no thread behind that uses its descriptor."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sluiceway.pipe.worker_thread import Beside, commit_in_thread, in_thread, open_in_thread


async def _cancelled_caller(run: Callable[[Callable[[], int]], Any]) -> asyncio.Task[Any]:
    """A caller that was cancelled while its thread worked, once the thread's work is done."""
    started, go_on = threading.Event(), threading.Event()

    def work() -> int:
        started.set()
        assert go_on.wait(30)
        return 7

    async def call() -> Any:
        return await run(work)

    caller = asyncio.ensure_future(call())
    assert await asyncio.to_thread(started.wait, 30)
    caller.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([caller])
    return caller


async def test_the_outcome_and_the_pool_are_as_asked() -> None:
    def failing() -> None:
        raise LookupError("no seven")

    with ThreadPoolExecutor(1, thread_name_prefix="chosen") as threads:
        for run in (in_thread, commit_in_thread):
            assert (await run(lambda: threading.current_thread().name, threads))[:6] == "chosen"
            assert await run(lambda: 7) == 7
            with pytest.raises(LookupError, match="no seven"):
                await run(failing, threads)


async def test_a_cancelled_caller_of_in_thread_leaves_after_the_thread() -> None:
    done: list[int] = []
    caller = await _cancelled_caller(lambda work: in_thread(lambda: done.append(work())))

    assert caller.cancelled()
    assert done == [7]


async def test_a_cancelled_caller_of_commit_in_thread_gets_the_success() -> None:
    assert (await _cancelled_caller(commit_in_thread)).result() == 7


async def test_open_in_thread_closes_what_a_cancelled_caller_cannot_take() -> None:
    closed: list[int] = []
    arrived = asyncio.Event()

    def close(opened: int) -> None:
        closed.append(opened)
        arrived.set()

    caller = await _cancelled_caller(lambda work: open_in_thread(work, close))
    assert caller.cancelled()
    async with asyncio.timeout(30):
        await arrived.wait()
    assert closed == [7]

    assert await open_in_thread(lambda: 8, close) == 8
    assert closed == [7], "a caller that stays keeps what it opened"


async def test_open_in_thread_raises_and_closes_nothing_where_opening_fails() -> None:
    def failing() -> int:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        await open_in_thread(failing, lambda _: pytest.fail("nothing was opened"))


def test_pieces_are_worked_in_beside_in_their_order() -> None:
    """At most one at a time; an error is raised by the next call, and at the end."""
    seen: list[bytes] = []
    caller = threading.get_ident()

    def work(piece: memoryview) -> None:
        assert threading.get_ident() != caller
        time.sleep(0.001)
        if bytes(piece) == b"bad":
            raise ValueError("it is bad")
        seen.append(bytes(piece))

    buffer = bytearray(2)
    with Beside(work) as beside:
        for number in range(20):
            half = number % 2
            buffer[half] = number  # which the call before has let go
            beside.show(memoryview(buffer)[half : half + 1])
    assert seen == [bytes([number]) for number in range(20)]
    with pytest.raises(ValueError, match="bad"), Beside(work) as beside:
        beside.show(memoryview(b"bad"))
