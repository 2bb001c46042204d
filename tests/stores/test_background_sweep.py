"""A store in use sweeps in the background: at most once an hour, and a failure is only logged."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sluiceway.errors import StoreFailed
from sluiceway.stores.background_sweep import BackgroundSweep


async def test_it_sweeps_at_most_once_an_hour() -> None:
    """However often the store is used; closing waits for the sweep under way."""
    began, ended = [], []

    async def sweep() -> None:
        began.append(1)
        await asyncio.sleep(0.01)
        ended.append(1)

    background = BackgroundSweep(sweep)
    await background.aclose()
    for _ in range(3):
        background.start_if_due()
    await background.aclose()
    background.start_if_due()
    await background.aclose()

    assert (began, ended) == ([1], [1])


async def test_a_failed_sweep_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It reaches no upload and no closing."""

    async def sweep() -> None:
        raise StoreFailed("There is no such bucket")

    background = BackgroundSweep(sweep)
    with caplog.at_level(logging.WARNING):
        background.start_if_due()
        await background.aclose()

    assert "There is no such bucket" in caplog.text
