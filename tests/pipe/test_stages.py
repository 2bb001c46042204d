"""Where the time went: the stages, the header and the verdict."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from sluiceway.pipe.pump import pump
from sluiceway.pipe.source import PassingSource
from sluiceway.pipe.stages import (
    ANSWER,
    CLIENT,
    DECODE,
    DESTINATION,
    QUEUE,
    Stages,
    server_timing,
    verdict,
)
from sluiceway.stores.memory import MemoryStore


def test_the_stages_sum_up_to_the_whole() -> None:
    """The seconds by stage sum up to the time since the stopwatch was made."""
    earliest = time.perf_counter()
    stages = Stages()
    began = time.perf_counter()
    for stage in (CLIENT, QUEUE, CLIENT, DESTINATION, ANSWER):
        stages.enter(stage)
        time.sleep(0.002)
    ended = time.perf_counter()
    spent = stages.spent()
    latest = time.perf_counter()
    assert set(spent) == {QUEUE, CLIENT, DESTINATION, ANSWER}
    assert ended - began - 1e-6 <= sum(spent.values()) <= latest - earliest + 1e-6


def test_enter_returns_the_stage_before() -> None:
    """A wait inside another stage returns to it."""
    stages = Stages()
    stages.enter(DESTINATION)
    before = stages.enter(CLIENT)
    assert before == DESTINATION
    assert stages.enter(before) == CLIENT


async def test_a_slow_sink_is_the_destinations_time() -> None:
    """The time of a write counts for the destination, not for this side."""

    class Slow:
        kept = 0

        async def write(self, data: object) -> None:
            time.sleep(0.02)

        async def sync(self) -> int:
            return 0

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"

    stages = Stages()
    await pump(PassingSource(chunks()), Slow(), stages=stages)
    spent = stages.spent()
    assert spent[DESTINATION] >= 0.06
    assert verdict(spent, "backend").endswith("% backend")


async def test_a_draft_is_pumped_without_a_stopwatch_too() -> None:
    """Stages are optional."""
    draft = await MemoryStore().draft("u", None)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"abc"

    assert await pump(PassingSource(chunks()), draft) == 3


def test_server_timing_is_in_milliseconds_with_the_total_last() -> None:
    """In the form that browsers' developer tools read."""
    assert (
        server_timing({CLIENT: 0.5, ANSWER: 0.25})
        == "wait-for-client;dur=500.000, wait-for-answer;dur=250.000, total;dur=750.000"
    )


def test_the_verdict_names_the_slowest_side() -> None:
    """Waiting for its response is the destination's time; decoding and hashing are this side's."""
    assert (
        verdict({CLIENT: 1, DECODE: 1, QUEUE: 1, DESTINATION: 5, ANSWER: 2}, "backend")
        == "70 % backend"
    )
    assert verdict({CLIENT: 9, QUEUE: 1}, "disk") == "90 % client"
    assert verdict({DECODE: 3, QUEUE: 1}, "disk") == "100 % sluiceway"
    assert verdict({}, "disk").startswith("100 %")
