"""Exit codes of `sluiceway copy`: one table, for --help and for tests. Meanings never change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluiceway.errors import (
    BadName,
    BadRequest,
    BodyCut,
    DigestMismatch,
    Exists,
    NotFound,
    SluiceError,
    SourceFailed,
)
from sluiceway.pipe.source import SourceSpent

__all__ = ["EXITS", "INTERRUPTED", "OK", "SOME_FAILED", "UNPRINTED", "USAGE", "Exit", "exit_code"]

UNREADABLE = (SourceFailed, SourceSpent, NotFound)
OK, UNPRINTED, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 6, 130  # 130: 128 + SIGINT, as in shells


@dataclass(frozen=True, slots=True)
class Exit:
    """A code, its meaning, and which errors lead to it (None: no SluiceError)."""

    code: int
    meaning: str
    when: Callable[[SluiceError], bool] | None = None


def _answered(error: SluiceError) -> int:
    status = error.members.get("answered")
    return status if isinstance(status, int) else 0


# The first row whose `when` is true counts; code 1 takes the rest.
EXITS = (
    Exit(OK, "done: the destination confirmed that it keeps everything"),
    Exit(
        5,
        "the bytes that arrived are not the bytes that were sent",
        lambda e: isinstance(e, DigestMismatch),
    ),
    Exit(
        4,
        "the server refused (status 4xx), or the name is taken at the destination",
        lambda e: 400 <= _answered(e) < 500 or isinstance(e, Exists),
    ),
    Exit(3, "the source cannot be read", lambda e: isinstance(e, UNREADABLE)),
    Exit(
        USAGE,
        "the command cannot be carried out as given",
        lambda e: (
            isinstance(e, BadRequest) and not isinstance(e, BodyCut | BadName) and not _answered(e)
        ),
    ),
    Exit(
        UNPRINTED,
        "the transfer failed: connection, server (status 5xx) or destination; or all went "
        "well, and standard output cannot be written",
        lambda _: True,
    ),
    Exit(
        SOME_FAILED,
        "some of many objects could not be copied; the report names them, the others are there",
    ),
    Exit(INTERRUPTED, "interrupted; run it again, and an unfinished file resumes"),
)


def exit_code(error: SluiceError) -> int:
    """The code for an error."""
    return next(row.code for row in EXITS if row.when is not None and row.when(error))
