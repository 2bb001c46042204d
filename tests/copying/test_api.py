"""The Python side of a copy: options by name, and the report of a copy that is cancelled."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import sluiceway


def acopy(*sides: str, **options: Any) -> object:
    return asyncio.run(sluiceway.acopy(*sides, **options))


def acopy_all(*sides: str, **options: Any) -> object:
    return asyncio.run(sluiceway.acopy_all(*sides, **options))


@pytest.mark.parametrize("option", ["retry", "dryrun", "jornal", "excludes"])
@pytest.mark.parametrize("call", [sluiceway.copy, acopy, sluiceway.copy_all, acopy_all])
def test_an_unknown_option_is_refused_by_name(
    call: Callable[..., object], option: str, tmp_path: Path
) -> None:
    """A misspelt `exclude` or `dry_run` must not copy what it was meant to spare."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").write_bytes(b"1")

    with pytest.raises(TypeError, match=rf"{call.__name__}\(\) got an unexpected .* '{option}'"):
        call(f"{tmp_path}/from/", f"{tmp_path}/to/", **{option: 1})
    assert not (tmp_path / "to").exists()


def test_a_cancelled_copy_reports_as_many_objects_as_its_journal_has(tmp_path: Path) -> None:
    """Also where the cancellation comes while the row of an object is on its way to the disk."""
    source = tmp_path / "from"
    source.mkdir()
    for number in range(300):
        (source / f"{number:03}").write_bytes(bytes(100))

    async def cancelled_copy(journal: Path, target: Path, seconds: float) -> int:
        reports: list[int] = []
        copying = asyncio.ensure_future(
            sluiceway.acopy_all(
                source,
                target,
                journal=journal,
                on_progress=lambda now: reports.append(now.report.copied) if now.report else None,
            )
        )
        await asyncio.sleep(seconds)
        copying.cancel()
        with suppress(asyncio.CancelledError):
            await copying
        return reports[-1] if reports else 0

    for attempt in range(12):
        journal = tmp_path / f"{attempt}.journal"
        wait = random.Random(attempt).uniform(0.03, 0.2)
        copied = asyncio.run(cancelled_copy(journal, tmp_path / f"to{attempt}", wait))
        rows = 0
        if journal.exists():
            with suppress(sqlite3.OperationalError):
                database = sqlite3.connect(journal)
                rows = database.execute("select count(*) from objects").fetchone()[0]
                database.close()
        assert copied == rows, attempt
