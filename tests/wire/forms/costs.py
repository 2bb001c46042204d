"""Checks that a cost grows linearly: against itself on the same machine, never in seconds."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable

GROWTH = 4  # the input grows by this
LINEAR = 9.0  # and the time by less than this; a quadratic cost grows by 16
ATTEMPTS = 4  # a busy machine may spoil one


def assert_linear(run: Callable[[int], object], size: int) -> None:
    """`run(size * 4)` costs less than nine times `run(size)`.

    The garbage collector pauses meanwhile: its cost depends on everything else in this process.
    """
    ratios: list[float] = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(ATTEMPTS):
            ratios.append(_fastest(run, size * GROWTH) / _fastest(run, size))
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


def _fastest(run: Callable[[int], object], size: int) -> float:
    times: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        run(size)
        times.append(time.perf_counter() - began)
    return min(times)
