"""One rule of a text, and the function that finds out whether a server keeps it.

A case raises Violation, or NotOffered for what the server does not announce. All cases register in
one list, in the order of their files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from sluiceway.testing.conformance.outcomes import Violation
from sluiceway.testing.conformance.peer import SeenResponse

__all__ = ["Case", "Level", "check", "fail", "numbered", "require_status"]


class Level(StrEnum):
    """How binding a rule is."""

    MUST = "must"
    SHOULD = "should"
    CHOICE = "choice"  # the text leaves it open; this is our reading


@dataclass(frozen=True, slots=True)
class Case:
    """A rule and its proof.

    Args:
        id: Stable, for reports: `tus-core-03`.
        rule: The rule in one sentence.
        reference: The text and its section.
        level: How binding it is.
        run: Gets the server; raises Violation and NotOffered.
    """

    id: str
    rule: str
    reference: str
    level: Level
    run: Callable[[Any], None]


def numbered(
    name: str, rows: Iterable[tuple[Level, str, str, Callable[[Any], None]]]
) -> tuple[Case, ...]:
    """Return the cases of a table: level, reference, rule and proof in each row."""
    return tuple(
        Case(f"{name}-{number:02}", rule, reference, level, run)
        for number, (level, reference, rule, run) in enumerate(rows, 1)
    )


def check(holds: object, found: str) -> None:
    """Raises Violation with what was found."""
    if not holds:
        raise Violation(found)


def fail(found: str) -> NoReturn:
    """Raises Violation."""
    raise Violation(found)


def require_status(response: SeenResponse, *wanted: int) -> None:
    """Raises Violation for another status. -200 stands for any 2xx, -400 for any 4xx."""
    for each in wanted:
        if response.status == each or (each < 0 and response.status // 100 == -each // 100):
            return
    names = ", ".join(f"{-each // 100}xx" if each < 0 else str(each) for each in wanted)
    raise Violation(f"{response.status} {response.text!r}, not {names}")
