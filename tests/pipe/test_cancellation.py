"""Work comes to its end although its caller is cancelled, and the caller learns the right thing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from sluiceway.pipe import cancellation
from sluiceway.pipe.cancellation import (
    cancel_task,
    end_task,
    finish_all,
    finish_or_undo,
    finish_then_cancel,
    shield_until_done,
)

Waiting = Callable[[Awaitable[Any]], Awaitable[Any]]
BOTH = pytest.mark.parametrize("wait", [finish_then_cancel, shield_until_done])


async def _cancel_while_waiting(
    wait: Waiting, outcome: Any, times: int = 1
) -> tuple[asyncio.Task[Any], asyncio.Future[Any]]:
    """Cancel a caller `times` times, and only then end its work with `outcome`."""
    work: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def call() -> Any:
        return await wait(work)

    caller = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    for _ in range(times):
        caller.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not caller.done(), "the caller did not wait for its work"
        assert not work.done(), "the work was cancelled with its caller"
    if isinstance(outcome, asyncio.CancelledError):
        work.cancel()
    elif isinstance(outcome, Exception):
        work.set_exception(outcome)
    else:
        work.set_result(outcome)
    await asyncio.wait([caller])
    return caller, work


@BOTH
async def test_the_outcome_is_the_work_s_own(wait: Waiting) -> None:
    async def seven() -> int:
        await asyncio.sleep(0)
        return 7

    async def failing() -> int:
        await asyncio.sleep(0)
        raise LookupError("no seven")

    assert await wait(seven()) == 7
    with pytest.raises(LookupError, match="no seven"):
        await wait(failing())


@pytest.mark.parametrize("times", [1, 3])
async def test_finish_then_cancel_raises_the_cancellation_after_a_success(times: int) -> None:
    caller, work = await _cancel_while_waiting(finish_then_cancel, 7, times)

    assert caller.cancelled()
    assert work.result() == 7


@pytest.mark.parametrize("times", [1, 3])
async def test_shield_until_done_returns_a_success_to_a_cancelled_caller(times: int) -> None:
    caller, _ = await _cancel_while_waiting(shield_until_done, 7, times)

    assert caller.result() == 7


@BOTH
async def test_a_failure_after_a_cancellation_raises_the_cancellation(wait: Waiting) -> None:
    """And asyncio logs nothing of the failure: it counts as retrieved."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    caller, work = await _cancel_while_waiting(wait, LookupError("no seven"))
    assert caller.cancelled()
    del caller, work

    assert complaints == []


@BOTH
async def test_work_that_is_itself_cancelled_cancels_its_caller(wait: Waiting) -> None:
    work = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(work.cancel)
    with pytest.raises(asyncio.CancelledError):
        await wait(work)

    caller, _ = await _cancel_while_waiting(wait, asyncio.CancelledError())
    assert caller.cancelled()


@BOTH
async def test_a_deadline_raises_its_timeout_after_the_end_of_the_work(wait: Waiting) -> None:
    """`asyncio.timeout` around either works: a late failure is a TimeoutError as usual."""

    async def late() -> None:
        await asyncio.sleep(0.05)
        raise LookupError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wait(late())


async def test_finish_all_waits_for_all_and_raises_none_of_their_errors() -> None:
    loop = asyncio.get_running_loop()
    jobs: list[asyncio.Future[int]] = [loop.create_future() for _ in range(3)]
    caller = asyncio.ensure_future(finish_all(jobs))
    await asyncio.sleep(0)
    caller.cancel()
    jobs[0].set_result(1)
    jobs[1].set_exception(LookupError())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not caller.done()

    jobs[2].cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    assert isinstance(jobs[1].exception(), LookupError)
    await finish_all(jobs)
    await finish_all([])


async def _commit_for_ever() -> None:
    while True:
        await shield_until_done(asyncio.sleep(0.02))
        await asyncio.sleep(0)


async def test_a_loop_that_commits_all_the_time_can_be_ended() -> None:
    """Each commit stands and takes up a cancellation; a server that stops waited for ever."""
    loop = asyncio.create_task(_commit_for_ever())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await end_task(loop)
    assert loop.cancelled()
    await end_task(loop)  # once more, after its end


async def test_an_end_that_a_library_took_for_its_own_error_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancellation, "CANCEL_AGAIN", 0.05)
    caught: list[BaseException] = []

    async def deaf_once() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError as error:
                if caught:
                    raise
                caught.append(error)

    loop = asyncio.create_task(deaf_once())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_task(loop)
    assert len(caught) == 1


async def test_a_cancellation_is_repeated_only_while_it_is_wanted() -> None:
    """A request that publishes meanwhile comes to its end."""

    async def commit_then_go_on() -> str:
        await shield_until_done(asyncio.sleep(0.02))
        await asyncio.sleep(0)
        return "published"

    for is_wanted in (True, False):
        task = asyncio.create_task(commit_then_go_on())
        await asyncio.sleep(0.01)
        cancel_task(task, lambda: is_wanted)  # noqa: B023  # it ends within this round
        await asyncio.wait([task])
        assert task.cancelled() == is_wanted


async def test_what_is_taken_for_a_cancelled_caller_is_given_back() -> None:
    """Before the cancellation is raised, also where giving it back fails or takes a while."""
    events: list[str] = []

    async def take(fails: bool = False) -> str:
        await asyncio.sleep(0.02)
        events.append("taken")
        if fails:
            raise LookupError
        return "it"

    async def undo(result: str, fails: bool = False) -> None:
        await asyncio.sleep(0.02)
        events.append(f"{result} given back")
        if fails:
            raise LookupError

    assert await finish_or_undo(take(), undo) == "it"
    with pytest.raises(LookupError):
        await finish_or_undo(take(True), undo)
    for fails in (False, True):
        events.clear()
        caller = asyncio.create_task(finish_or_undo(take(), partial(undo, fails=fails)))
        await asyncio.sleep(0.01)
        caller.cancel()
        await asyncio.wait([caller])
        assert caller.cancelled()
        assert events == ["taken", "it given back"]
