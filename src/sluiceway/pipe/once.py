"""A body that can be read once is asked for a second time: an error, never an empty body.

HTTP libraries read a body again after a redirect (307), a challenge (401) or a retry, and an empty
body would look like the whole. To a file that has ended, they look like any reader that asks
whether there is more, except that they ask for many bytes. Knows nothing of the body itself.
"""

from __future__ import annotations

from sluiceway.pipe.source import SourceSpent

__all__ = ["Once"]

# Bytes: urllib3 and requests ask for 16 KiB at a time, httpx for 64 KiB. A reader that asks an
# ended file again and does not begin anew asks for less (gzip: 2 bytes), or uses readinto
# (io.BufferedReader).
REREAD_SIZE = 16 << 10


class Once:
    """The rule for one stream: it may report its end again and again, but begins only once."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._gave = False  # an empty stream is the same each time
        self._ended = False  # a reader has seen the end

    def begin(self) -> None:
        """A reader begins at the first byte. Raises SourceSpent after the end."""
        if self._ended and self._gave:
            raise SourceSpent(
                f"{self._what} can be read once and cannot be sent again;"
                " make a new one for each request"
            )

    def read(self, data: bytes, size: int) -> bytes:
        """Return `data`, the result of a read of `size` bytes.

        Raises SourceSpent for a read that begins anew after the end.
        """
        if data:
            self._gave = True
        elif size > 0:
            if size >= REREAD_SIZE:
                self.begin()
            self._ended = True
        return data

    def mark_read(self) -> None:
        """A reader has got bytes."""
        self._gave = True

    def mark_ended(self) -> None:
        """A reader has seen the end."""
        self._ended = True
