"""Work that is done in groups: a group whose commit fails is an error, and stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

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
                await groups.run("bad", alone=False)
        await asyncio.gather(*(groups.run(f"{number}", alone=False) for number in range(99)))

    assert sorted(done) == sorted(f"{number}" for number in range(99))
