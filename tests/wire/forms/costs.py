"""Checks that a cost grows linearly: against itself on the same machine, never in seconds."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

GROWTH = 4  # the input grows by this
LINEAR = 9.0  # and the time by less than this; a quadratic cost grows by 16
ATTEMPTS = 4  # a busy machine may spoil one
REPEATED = 3  # times that the small input is run: one disturbed run of it would hide a growth


def assert_linear(run: Callable[[int], object], size: int) -> None:
    """`run(size * 4)` costs less than nine times `run(size)`.

    The garbage collector pauses meanwhile: its cost depends on everything else in this process.
    """
    ratios: list[float] = []
    gc.disable()
    try:
        for _ in range(ATTEMPTS):
            ratios.append(
                _cost(run, size * GROWTH) / min(_cost(run, size) for _ in range(REPEATED))
            )
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
    """Return the processor seconds of this thread: other processes do not count."""
    began = time.thread_time()
    run(size)
    return time.thread_time() - began
