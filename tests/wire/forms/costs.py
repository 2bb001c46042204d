"""Checks that a cost grows linearly: against itself on the same machine, never in seconds."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

GROWTH = 4  # the input grows by this
LINEAR = 9.0  # and the time by less than this; a quadratic cost grows by 16
ATTEMPTS = 4  # a busy machine may spoil one
REPEATED = 2  # measurements of each input; the first also asks the kernel for new pages
MEASURED = 0.001  # seconds that one measurement takes at least: 20 us are noise of the clock


def assert_linear(run: Callable[[int], object], size: int) -> None:
    """`run(size * 4)` costs less than nine times `run(size)`.

    The garbage collector pauses meanwhile: its cost depends on everything else in this process.
    """
    ratios: list[float] = []
    gc.disable()
    try:
        for _ in range(ATTEMPTS):
            ratios.append(_cost(run, size * GROWTH) / _cost(run, size))
            if ratios[-1] < LINEAR:
                return
    finally:
        gc.enable()
    raise AssertionError(f"four times the input cost {ratios} times as much")


def peak_memory(run: Callable[[], object]) -> int:
    """Return the most bytes that Python held while `run` ran, beyond those before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _cost(run: Callable[[int], object], size: int) -> float:
    """Return the processor seconds of one run in this thread: other processes do not count."""
    return min(_measured(run, size) for _ in range(REPEATED))


def _measured(run: Callable[[int], object], size: int) -> float:
    """Return the mean cost of as many runs as fill MEASURED."""
    began = time.thread_time()
    runs, spent = 0, 0.0
    while spent < MEASURED:
        run(size)
        runs += 1
        spent = time.thread_time() - began
    return spent / runs
