"""What flows past once, and is asked for a second time: an error, because a second body of no bytes would pass for the whole.

HTTP libraries read a body again after a redirect (307), a challenge (401) or a retry. To a file that has ended they look like
any reader that asks whether there is more, except that they ask for much.
"""

from __future__ import annotations

from sluiceway.pipe.source import SourceSpent

__all__ = ["Once"]

# Bytes: urllib3 and requests ask for 16 KiB at a time, httpx for 64 KiB. What asks an ended file again and means no second
# reading asks for less (gzip: 2 bytes), or comes by readinto (io.BufferedReader).
MUCH = 16 << 10


class Once:
    """The rule for one stream. It may say that it has ended as often as somebody looks, but begins only once."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._gave = False  # an empty stream is the same each time
        self._ended = False  # a reader was told

    def begin(self) -> None:
        """Somebody iterates from here. Raises SourceSpent after the end."""
        if self._ended and self._gave:
            raise SourceSpent(
                f"{self._what} flows past once and cannot be sent again; make a new one for each request"
            )

    def read(self, data: bytes, size: int) -> bytes:
        """What a read of `size` bytes gives: `data`. Raises SourceSpent for a read that begins anew after the end."""
        if data:
            self._gave = True
        elif size > 0:
            if size >= MUCH:
                self.begin()
            self._ended = True
        return data

    def gave(self) -> None:
        self._gave = True

    def ended(self) -> None:
        self._ended = True
