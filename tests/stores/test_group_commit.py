"""Work that is done in groups: a group whose commit fails is an error, and stops no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluiceway.pipe.cancellation import cancel_task
from sluiceway.stores.group_commit import RUNNERS, GroupCommit

LIMIT = 30.0  # seconds


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(RUNNERS) as threads:
        yield threads


async def test_a_commit_that_fails_is_raised_and_later_groups_are_done(
    threads: ThreadPoolExecutor,
) -> None:
    """More of them fail than there are runners."""
    done = list[str]()

    def commit(group: Sequence[str]) -> None:
        if "bad" in group:
            raise OSError("the disk is gone")
        done.extend(group)

    groups = GroupCommit(commit, threads)
    async with asyncio.timeout(LIMIT):
        for _ in range(2 * RUNNERS):
            with pytest.raises(OSError, match="the disk is gone"):
                await groups.run("bad")
        await asyncio.gather(*(groups.run(f"{number}") for number in range(99)))

    assert sorted(done) == sorted(f"{number}" for number in range(99))


async def test_a_caller_that_is_cancelled_waits_for_what_it_asked_for(
    threads: ThreadPoolExecutor,
) -> None:
    """A success stands, a failure raises the cancellation: nothing looks done that is not."""
    begun, go_on = threading.Event(), threading.Event()
    done = list[str]()

    def commit(group: Sequence[str]) -> None:
        begun.set()
        assert go_on.wait(LIMIT)
        if "bad" in group:
            raise OSError("the disk is gone")
        done.extend(group)

    groups = GroupCommit(commit, threads)
    async with asyncio.timeout(LIMIT):
        for item in ("good", "bad"):
            begun.clear()
            go_on.clear()
            running = asyncio.create_task(groups.commit(item, alone=False))
            await asyncio.to_thread(begun.wait, LIMIT)
            for _ in range(2):
                running.cancel()
                await asyncio.sleep(0)
            assert not running.done()
            go_on.set()
            await asyncio.wait([running])
            assert running.cancelled() is (item == "bad")

        go_on.clear()
        running = asyncio.create_task(groups.run("fine"))
        await asyncio.sleep(0)
        running.cancel()
        go_on.set()
        await asyncio.wait([running])

    assert running.cancelled()
    assert done == ["good", "fine"]


async def test_a_caller_that_is_to_end_hears_of_it_where_it_waits_next(
    threads: ThreadPoolExecutor,
) -> None:
    """Its commit stands; one that goes on committing would never end. An error of one item is
    raised for that one alone."""
    go_on = threading.Event()

    def commit(_: Sequence[str]) -> None:
        assert go_on.wait(LIMIT)

    def error_of(item: str) -> Exception | None:
        return OSError(item) if item == "bad" else None

    groups = GroupCommit(commit, threads, error_of=error_of)
    committed = list[str]()

    async def commit_then_wait() -> None:
        await groups.commit("good", alone=False)
        committed.append("good")
        await asyncio.sleep(2 * LIMIT)

    async with asyncio.timeout(LIMIT):
        running = asyncio.create_task(commit_then_wait())
        failing = asyncio.create_task(groups.commit("bad", alone=False))
        await asyncio.sleep(0)
        cancel_task(running)
        go_on.set()
        await asyncio.wait([running, failing])

    assert running.cancelled()
    assert committed == ["good"]
    assert str(failing.exception()) == "bad"
