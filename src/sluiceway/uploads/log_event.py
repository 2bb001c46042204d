"""A line of the log that programs read too: a text, and the same as named values.

Ordinary handlers write the text. `server.log.formats` writes the values as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LogEvent"]


class LogEvent:
    """What happened, in words and in values: `log.info(LogEvent("swept", {"count": 3}))`.

    Args:
        text: The line for people. It holds no secret and no control byte of a client.
        values: The same for programs: JSON values by name.

    Example:
        log.info(LogEvent("link abc revoked", {"event": "audit", "link": "abc"}))
    """

    def __init__(self, text: str, values: Mapping[str, object]) -> None:
        self._text, self._values = text, values

    def __str__(self) -> str:
        return self._text

    def values(self) -> Mapping[str, object]:
        """The values of the line, by name."""
        return self._values
