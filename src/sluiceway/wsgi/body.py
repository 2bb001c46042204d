"""A WSGI request's body, counted: no server's silent end passes for the end of the body.

Most WSGI servers give an empty read when the client hangs up in the middle. Knows environ and bytes, no framework.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Mapping
from typing import Any

from sluiceway.errors import BodyCut, LengthRequired, TooLarge, TooSlow
from sluiceway.wire.headers.checksums import expected_of
from sluiceway.wire.numbers import ascii_uint

__all__ = ["WsgiBody", "WsgiStream", "can_say_close", "expected_digests"]

# Servers return from a read only when it is full, so its length follows the client's pace: a slow one is not waited for.
LEAST = (
    1 << 10
)  # bytes; the first read: enough for a form's head, which a slow client's view is called to judge
MOST = (
    1 << 20
)  # bytes; gunicorn receives so much at once, and copies what is left of it at each smaller read
QUICK, SLOW = (
    0.1,
    1.0,
)  # seconds a read may take to become longer the next time, and from which it becomes shorter
SILENCE = 60.0  # seconds without a byte from the client
BODILESS = (
    "GET",
    "HEAD",
    "DELETE",
    "OPTIONS",
)  # a body means nothing there (RFC 9110 9.3), and clients send none
STORED = (
    "waitress stores a whole body before it runs the app, so nothing streams here and large bodies fill its temporary folder; "
    "run the app on gunicorn with -k gthread"
)
WITH_LENGTH = "send the request with Content-Length (curl -T FILE does, curl -T - does not)"


class WsgiBody(io.RawIOBase):
    """`length` in bytes, None when it came in chunks; `most` is the largest that is taken.

    `ends_itself`: who reads it knows its end without the server's word, as a form's reader knows the last boundary.
    Raises LengthRequired where the server hides a chunked body or its cut, TooLarge.
    """

    def __init__(
        self, environ: Mapping[str, Any], most: int | None = None, *, ends_itself: bool = False
    ) -> None:
        self._input, self._most = environ["wsgi.input"], most
        told = str(environ.get("CONTENT_LENGTH") or "")
        self.length: int | None = (
            ascii_uint(told, "Content-Length") if told else None if _unmeasured(environ) else 0
        )
        if self.length is None:
            _check_chunks(environ, ends_itself)
        if _stores_first(environ):
            warnings.warn(STORED, RuntimeWarning, stacklevel=1)  # Python shows it once
        for server in (
            "gunicorn",
            "werkzeug",
        ):  # which wait for ever for a client that says nothing; others have limits
            if (line := environ.get(f"{server}.socket")) is not None:
                line.settimeout(SILENCE)
        self.taken: int = 0
        self._piece = LEAST
        if self.length is not None:
            self._check(self.length)

    def take(self, size: int = MOST) -> bytes:
        """At most `size` bytes; none at the end. Raises BodyCut when the client sent less than it said, TooSlow, TooLarge."""
        most = min(size, self._piece)
        if self.length is not None:
            most = min(most, self.length - self.taken)
        if not most:
            return b""
        began = time.monotonic()
        try:
            data: bytes = self._input.read(most)
        except TimeoutError:
            raise TooSlow(
                f"No byte arrived for {SILENCE:g} seconds; nothing was stored. Send it again"
            ) from None
        except (
            Exception
        ) as error:  # each server has its own: OSError, ValueError, NoMoreData, ClientDisconnected
            raise _cut(self.taken, self.length) from error
        if not data and self.length is not None:
            raise _cut(self.taken, self.length)
        self.taken += len(data)
        self._check(self.taken)
        self._keep_pace(time.monotonic() - began)
        return data

    def _keep_pace(self, took: float) -> None:
        if took > SLOW:
            self._piece = max(LEAST, self._piece // 4)
        elif took < QUICK:
            self._piece = min(MOST, self._piece * 2)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.taken

    def readinto(self, buffer: Any) -> int:
        """For io.BufferedReader, which makes lines and exact reads of it."""
        view = memoryview(buffer).cast("B")
        data = self.take(len(view))
        view[: len(data)] = data
        return len(data)

    def _check(self, size: int) -> None:
        if self._most is not None and size > self._most:
            raise TooLarge(f"This app takes at most {self._most} bytes", limit=self._most)


class WsgiStream(io.BufferedReader):
    """The body as a binary file, which reads exactly what it is asked for, lines too."""

    def __init__(self, body: WsgiBody) -> None:
        super().__init__(body, MOST)
        self._length: int | None = body.length

    @property
    def len(self) -> int:
        """Its bytes, where requests looks for it: else it would send the body line by line, in chunks.

        Raises AttributeError when nobody knows.
        """
        if self._length is None:
            raise AttributeError("The length of this body is unknown")
        return self._length


def expected_digests(environ: Mapping[str, Any]) -> dict[str, bytes]:
    """The digests that the body must have, by algorithm. Raises BadDigest, BadRequest."""
    headers = {
        name[5:].replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return expected_of(headers)


def can_say_close(environ: Mapping[str, Any]) -> bool:
    """Whether an answer may say `Connection: close`. waitress makes a 500 of it (PEP 3333), in HTTP/2 it breaks the answer
    (RFC 9113 8.2.2); neither needs it."""
    return not (_stores_first(environ) or _is_http2(environ))


def _stores_first(environ: Mapping[str, Any]) -> bool:
    """Whether the body was whole before the app was called, as on waitress."""
    return "waitress.client_disconnected" in environ


def _is_http2(environ: Mapping[str, Any]) -> bool:
    return str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/2")


def _unmeasured(environ: Mapping[str, Any]) -> bool:
    """Whether a body without Content-Length may follow: chunked, or any in HTTP/2, where frames end it (RFC 9113 8.1)."""
    if _is_http2(environ):
        return environ.get("REQUEST_METHOD") not in BODILESS
    return "chunked" in str(environ.get("HTTP_TRANSFER_ENCODING", "")).lower()


def _check_chunks(environ: Mapping[str, Any], ends_itself: bool) -> None:
    """Raises LengthRequired where the server's word for the end of such a body is none."""
    if not environ.get(
        "wsgi.input_terminated"
    ):  # uWSGI: its chunks are read by a function of its own
        raise LengthRequired(
            f"This server does not show its apps where a chunked body ends; {WITH_LENGTH}, or run the app on gunicorn or cheroot"
        )
    if (
        environ.get("SERVER_SOFTWARE") == "Granian" and not ends_itself
    ):  # an empty read, whether it is over or was cut off
        raise LengthRequired(
            "This server gives its apps a body without Content-Length that was cut off as if it were whole; "
            f"{WITH_LENGTH} or as a form, or run the app on gunicorn or cheroot"
        )


def _cut(taken: int, length: int | None) -> BodyCut:
    of = "" if length is None else f" of {length}"
    return BodyCut(f"The body ended after {taken}{of} bytes; send it again")
