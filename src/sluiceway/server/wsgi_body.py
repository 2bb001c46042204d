"""A WSGI request's body, counted: no server's silent end passes for the end of the body.

Most WSGI servers give an empty read when the client hangs up in the middle. Knows environ and bytes, no framework.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from sluiceway.errors import BodyCut, LengthRequired, TooLarge
from sluiceway.wire.numbers import ascii_uint

__all__ = ["WsgiBody"]

READ = 64 << 10  # bytes; servers return from a read only when it is full, so a larger one would wait longer for a slow client


class WsgiBody(io.RawIOBase):
    """`length` in bytes, None when it came in chunks; `most` is the largest that is taken.

    Raises LengthRequired where the server hides a chunked body, TooLarge.
    """

    def __init__(self, environ: Mapping[str, Any], most: int | None = None) -> None:
        self._input, self._most = environ["wsgi.input"], most
        told = str(environ.get("CONTENT_LENGTH") or "")
        chunked = "chunked" in str(environ.get("HTTP_TRANSFER_ENCODING", "")).lower()
        self.length: int | None = ascii_uint(told, "Content-Length") if told else None if chunked else 0
        if self.length is None and not environ.get("wsgi.input_terminated"):
            raise LengthRequired(
                "This server does not show its apps where a chunked body ends; send the request with Content-Length "
                "(curl -T FILE does, curl -T - does not), or run the app on gunicorn, granian or cheroot"
            )
        self.taken = 0
        if self.length is not None:
            self._check(self.length)

    def take(self, size: int = READ) -> bytes:
        """At most `size` bytes; none at the end. Raises BodyCut when the client sent less than it said, TooLarge."""
        most = size if self.length is None else min(size, self.length - self.taken)
        if not most:
            return b""
        try:
            data: bytes = self._input.read(most)
        except Exception as error:  # each server has its own: OSError, ValueError, NoMoreData, ClientDisconnected
            raise _cut(self.taken, self.length) from error
        if not data and self.length is not None:
            raise _cut(self.taken, self.length)
        self.taken += len(data)
        self._check(self.taken)
        return data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """For io.BufferedReader, which makes lines and exact reads of it."""
        view = memoryview(buffer).cast("B")
        data = self.take(len(view))
        view[: len(data)] = data
        return len(data)

    def _check(self, size: int) -> None:
        if self._most is not None and size > self._most:
            raise TooLarge(f"This app takes at most {self._most} bytes", limit=self._most)


def _cut(taken: int, length: int | None) -> BodyCut:
    of = "" if length is None else f" of {length}"
    return BodyCut(f"The body ended after {taken}{of} bytes; send it again")
