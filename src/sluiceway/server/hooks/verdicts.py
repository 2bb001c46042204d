"""What a hook says in JSON: whether it refuses, in which words, with which status.

From a URL's response or a command's output. Its words go to a client: one line of printable text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sluiceway.uploads.hooks.asking import MOST_WORDS

__all__ = ["HookVerdict", "read_verdict"]


@dataclass(frozen=True, slots=True)
class HookVerdict:
    """What a hook decided.

    Args:
        refuses: Whether it refuses the file.
        words: Why, for the client; "" for none.
        status: The HTTP status for the client, 400 to 499; 0 for none.
    """

    refuses: bool
    words: str = ""
    status: int = 0


def read_verdict(body: bytes) -> HookVerdict | None:
    """Read `{"refuse": "words"}`, `{"refuse": {"detail": …, "status": …}}` or problem+json.

    Returns:
        None for what is not a JSON object. Without the member `refuse` it refuses nothing by
        itself: the status or the exit code decides, and `detail` or `title` are the words.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    refuse = found.get("refuse", False)
    if isinstance(refuse, str):
        return HookVerdict(True, _line(refuse))
    if isinstance(refuse, dict):
        return HookVerdict(True, _words(refuse), _status(refuse))
    return HookVerdict(refuse is True, _words(found), _status(found))


def _words(members: Mapping[str, object]) -> str:
    for name in ("detail", "title"):
        if isinstance(text := members.get(name), str) and text.strip():
            return _line(text)
    return ""


def _line(text: str) -> str:
    """One line of at most MOST_WORDS characters, as a client may show it."""
    line = " ".join(text[: 4 * MOST_WORDS].split())
    return "".join(each if each.isprintable() else "\ufffd" for each in line)[:MOST_WORDS]


def _status(members: Mapping[str, object]) -> int:
    status = members.get("status")
    return status if isinstance(status, int) and 400 <= status < 500 else 0  # True is 1
