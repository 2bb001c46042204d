"""The groups of rows by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.copies import copy_rows
from bench.crowd import crowd_rows
from bench.database import database_rows
from bench.digests import digest_rows
from bench.django_forms import django_rows
from bench.earlier import earlier_rows, earlier_small_rows
from bench.live import live_rows
from bench.objects import object_rows
from bench.operated import operated_rows
from bench.relay_pieces import pieces_rows
from bench.relay_rows import relay_groups
from bench.restore import restore_rows
from bench.results import Result, Wanted
from bench.resumable import resumable_rows
from bench.rounds import Bench
from bench.rows import ROWS
from bench.sending import sending_rows

__all__ = ["GOALS", "asked_groups", "groups_of"]

Group = Callable[[Bench, Wanted], Result]
# The rows that the project's goals for speed are about: `--rows goals`.
GOALS = (
    "upload", "form", "relay", "at-once", "download", "small", "memory", "slow", "stalled",
    "overlap", "crowd", "copies", "restore", "resumable",
)  # fmt: skip


def groups_of(stall: float, earlier: Path | None = None) -> dict[str, Group]:
    """All groups of rows.

    `stall` is how many seconds the destination of `stalled` stands still.

    `earlier` is the command of an earlier version; without one its rows are left out.
    """
    return {
        **ROWS,
        **relay_groups(stall),
        "digests": digest_rows,
        "crowd": crowd_rows,
        "live": live_rows,
        "sending": sending_rows,
        "database": database_rows,
        "objects": object_rows,
        "django": django_rows,
        "restore": restore_rows,
        "resumable": resumable_rows,
        "pieces": pieces_rows,
        "copies": copy_rows,
        "operate": operated_rows,
        "earlier": lambda bench, wanted: earlier_rows(bench, wanted, earlier),
        "earlier-small": lambda bench, wanted: earlier_small_rows(bench, wanted, earlier),
    }


def asked_groups(text: str) -> tuple[list[str], list[str]]:
    """The known groups that the option names, and the unknown words of it."""
    known = list(groups_of(0))
    names: list[str] = []
    unknown: list[str] = []
    for word in text.split(","):
        found = {"all": known, "goals": [one for one in GOALS if one in known]}.get(word, [word])
        for name in found:
            (names if name in known else unknown).append(name)
    return list(dict.fromkeys(names)), unknown
