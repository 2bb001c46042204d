"""Which of many objects are meant: patterns on their keys. Text only.

`*` and `?` stay within a name, `**` goes across `/`, `[abc]` is one of these; case counts, and the whole key has to fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sluiceway.errors import BadRequest

__all__ = ["KeyFilter"]

MOST_PATTERN = 1024  # characters: no key is longer
MOST_STARS = 8  # in one pattern; each may cost a walk over the key


class KeyFilter:
    """Without `include` everything is meant; what fits an `exclude` is not, whatever else it fits. Raises BadRequest."""

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self._include = [_compiled(pattern) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]
        self._literal = [re.split(r"[*?\[]", pattern, maxsplit=1)[0] for pattern in include]

    def __call__(self, key: str) -> bool:
        if self._include and not any(pattern.fullmatch(key) for pattern in self._include):
            return False
        return not any(pattern.fullmatch(key) for pattern in self._exclude)

    def below(self, folder: str) -> bool:
        """Whether something below a folder may be meant: of what is in a folder that cannot be read, no key is known."""
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
            made, at = made + "(?:.*/)?", at + 3  # also no folder at all, as git says it
        elif pattern.startswith("**", at):
            made, at = made + ".*", at + 2
        elif pattern[at] == "*":
            made, at = made + "[^/]*", at + 1
        elif pattern[at] == "?":
            made, at = made + "[^/]", at + 1
        elif pattern[at] == "[":
            one, at = _one_of(pattern, at)
            made += one
        else:
            made, at = made + re.escape(pattern[at]), at + 1
    return re.compile(made, re.DOTALL)


def _one_of(pattern: str, at: int) -> tuple[str, int]:
    """`[abc]`, `[a-z]`, `[!a]`: one character that is no `/`."""
    end = pattern.find("]", at + 2)
    if end < 0:
        raise BadRequest("A pattern has a [ without its ]")
    inside = pattern[at + 1 : end]
    negated = inside.startswith("!") and len(inside) > 1
    listed = re.sub(r"[\\\[\]^&~|]", r"\\\g<0>", inside[1:] if negated else inside)
    try:
        re.compile(f"[{listed}]")
    except re.error:
        raise BadRequest(f"The pattern's [{inside}] is no set of characters") from None
    return f"(?!/)[{'^' if negated else ''}{listed}]", end + 1
