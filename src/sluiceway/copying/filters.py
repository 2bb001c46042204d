"""Selects objects by patterns on their keys. Text only.

`*` and `?` stay within a name, `**` crosses `/`, `[abc]` is one of these characters. Case counts,
and a pattern has to match the whole key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sluiceway.errors import BadRequest

__all__ = ["KeyFilter"]

MOST_PATTERN = 1024  # characters: no key is longer
MOST_STARS = 8  # in one pattern; each may cost a walk over the key


class KeyFilter:
    """Without `include` every key is selected; an `exclude` that matches outranks any `include`."""

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        """Raises BadRequest for a pattern that cannot be read."""
        include = tuple(include)
        self._include = [_compiled(pattern) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]
        self._literal = [re.split(r"[*?\[]", pattern, maxsplit=1)[0] for pattern in include]

    def __call__(self, key: str) -> bool:
        """Whether the key is selected."""
        if self._include and not any(pattern.fullmatch(key) for pattern in self._include):
            return False
        return not any(pattern.fullmatch(key) for pattern in self._exclude)

    def below(self, folder: str) -> bool:
        """Whether a key below the folder may be selected, where the folder cannot be listed."""
        key = f"{folder}/"
        if any(pattern.fullmatch(key) or pattern.fullmatch(folder) for pattern in self._exclude):
            return False
        return not self._literal or any(
            key.startswith(begin) or begin.startswith(key) for begin in self._literal
        )


def _compiled(pattern: str) -> re.Pattern[str]:
    if not pattern or len(pattern) > MOST_PATTERN or pattern.count("*") > MOST_STARS:
        raise BadRequest(
            f"A pattern has 1 to {MOST_PATTERN} characters and at most {MOST_STARS} stars"
        )
    made, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            made, at = made + "(?:.*/)?", at + 3  # also no folder at all, as in git
        elif pattern.startswith("**", at):
            made, at = made + ".*", at + 2
        elif pattern[at] == "*":
            made, at = made + "[^/]*", at + 1
        elif pattern[at] == "?":
            made, at = made + "[^/]", at + 1
        elif pattern[at] == "[":
            one, at = _character_set(pattern, at)
            made += one
        else:
            made, at = made + re.escape(pattern[at]), at + 1
    return re.compile(made, re.DOTALL)


def _character_set(pattern: str, at: int) -> tuple[str, int]:
    """`[abc]`, `[a-z]`, `[!a]`: one character except `/`. Returns where the pattern goes on."""
    end = pattern.find("]", at + 2)
    if end < 0:
        raise BadRequest("A pattern has a [ without its ]")
    inside = pattern[at + 1 : end]
    negated = inside.startswith("!") and len(inside) > 1
    listed = re.sub(r"[\\\[\]^&~|]", r"\\\g<0>", inside[1:] if negated else inside)
    try:
        re.compile(f"[{listed}]")
    except re.error:
        raise BadRequest(f"[{inside}] in a pattern is not a set of characters") from None
    return f"(?!/)[{'^' if negated else ''}{listed}]", end + 1
