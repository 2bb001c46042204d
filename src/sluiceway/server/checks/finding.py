"""What a check found: a sentence, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sluiceway.errors import SluiceError

__all__ = ["Finding", "failed", "from_error", "passed", "warned"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of `sluiceway check`.

    Args:
        check: What was looked at: "settings", "destination", "port" …
        level: "failed": the server would not start, or could not work. "warning": it works, and
            that may change.
        text: What was found, without secrets.
        cure: What to do; "" where all is well.
    """

    check: str
    level: Literal["ok", "warning", "failed"]
    text: str
    cure: str = ""


def passed(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def warned(check: str, text: str, cure: str) -> Finding:
    return Finding(check, "warning", text, cure)


def failed(check: str, text: str, cure: str) -> Finding:
    return Finding(check, "failed", text, cure)


def from_error(check: str, error: SluiceError | OSError, cure: str) -> Finding:
    """The error that a start would end with. Most say what to do themselves, behind `;` or `.`"""
    if isinstance(error, OSError):
        return failed(check, f"{error.filename or 'a file'}: {error.strerror or error}", cure)
    for mark in ("; ", ". "):
        text, found, own = error.for_log.rpartition(mark)
        if found:
            return failed(check, text, own)
    return failed(check, error.for_log, cure)
