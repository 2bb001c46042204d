"""A WSGI request's body, counted, so that a server's silent end never passes for the body's end.

Most WSGI servers give an empty read when the client hangs up in the middle. Knows environ and
bytes, no framework.
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
from sluiceway.wsgi.watched import progress_of

__all__ = ["WsgiBody", "WsgiStream", "can_say_close", "expected_digests"]

# Servers return from a read only when it is full, so its length follows the client's pace: then no
# read waits long for a slow client.
# Bytes of the first read: enough for a form's head, so that the view is called early.
FIRST_READ = 1 << 10
# Bytes of the longest. gunicorn receives so much at once, and copies the rest at each smaller read.
LONGEST_READ = 1 << 20
QUICK_READ = 0.1  # seconds a read may take for the next one to be longer
SLOW_READ = 1.0  # seconds from which the next one is shorter
SILENCE_TIMEOUT = 60.0  # seconds without a byte from the client
# A body means nothing in these methods (RFC 9110 9.3), and clients send none.
BODILESS = ("GET", "HEAD", "DELETE", "MOVE", "OPTIONS")
STORED_FIRST = (
    "waitress stores a whole body before it runs the app, so nothing streams here and large bodies "
    "fill its temporary folder; run the app on gunicorn with -k gthread"
)
WITH_LENGTH = "send the request with Content-Length (curl -T FILE does, curl -T - does not)"


class WsgiBody(io.RawIOBase):
    """The bytes of a body, as many as its head says.

    `length` is in bytes, None when the body came in chunks; `limit` is the largest body that is
    taken. `ends_itself`: the body shows its own end, as a form does by its last boundary.
    Raises LengthRequired where the server hides a chunked body or its cut, TooLarge.
    """

    def __init__(
        self, environ: Mapping[str, Any], limit: int | None = None, *, ends_itself: bool = False
    ) -> None:
        self._input, self._limit = environ["wsgi.input"], limit
        self._progress = progress_of(environ)
        digits = str(environ.get("CONTENT_LENGTH") or "")
        self.length: int | None = (
            ascii_uint(digits, "Content-Length") if digits else None if _unmeasured(environ) else 0
        )
        if self.length is None:
            _check_chunks(environ, ends_itself)
        if _stores_first(environ):
            warnings.warn(STORED_FIRST, RuntimeWarning, stacklevel=1)  # Python shows it once
        # These two wait for ever for a client that sends nothing; other servers have limits.
        for server in ("gunicorn", "werkzeug"):
            if (sock := environ.get(f"{server}.socket")) is not None:
                sock.settimeout(SILENCE_TIMEOUT)
        self.taken: int = 0
        self._read_size = FIRST_READ
        if self.length is not None:
            self._check(self.length)

    def take(self, size: int = LONGEST_READ) -> bytes:
        """At most `size` bytes; none at the end.

        Raises BodyCut when the client sent less than it announced, TooSlow, TooLarge.
        """
        size = min(size, self._read_size)
        if self.length is not None:
            size = min(size, self.length - self.taken)
        if not size:
            if self._progress is not None:
                self._progress.begin_read()  # what was read last has been sent on as well
            return b""
        began = time.monotonic()
        try:
            data: bytes = self._input.read(size)
        except TimeoutError:
            raise TooSlow(
                f"No byte arrived for {SILENCE_TIMEOUT:g} seconds; nothing was stored. "
                "Send it again"
            ) from None
        except Exception as error:
            # each server has its own: OSError, ValueError, NoMoreData, ClientDisconnected
            raise _cut(self.taken, self.length) from error
        if not data and self.length is not None:
            raise _cut(self.taken, self.length)
        self.taken += len(data)
        self._check(self.taken)
        self._adapt_read_size(time.monotonic() - began)
        return data

    def _adapt_read_size(self, seconds: float) -> None:
        if seconds > SLOW_READ:
            self._read_size = max(FIRST_READ, self._read_size // 4)
        elif seconds < QUICK_READ:
            self._read_size = min(LONGEST_READ, self._read_size * 2)

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
        if self._limit is not None and size > self._limit:
            raise TooLarge(f"This app takes at most {self._limit} bytes", limit=self._limit)


class WsgiStream(io.BufferedReader):
    """The body as a binary file, which reads exactly what it is asked for, lines too."""

    def __init__(self, body: WsgiBody) -> None:
        super().__init__(body, LONGEST_READ)
        self._length: int | None = body.length

    @property
    def len(self) -> int:
        """Its bytes. `requests` looks for it, and would send the body line by line without it.

        Raises AttributeError if the length is unknown.
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
    """Whether a response may have the header `Connection: close`.

    waitress makes a 500 of it (PEP 3333), in HTTP/2 it breaks the response (RFC 9113 8.2.2);
    neither needs it.
    """
    return not (_stores_first(environ) or _is_http2(environ))


def _stores_first(environ: Mapping[str, Any]) -> bool:
    """Whether the body was complete before the app was called, as on waitress."""
    return "waitress.client_disconnected" in environ


def _is_http2(environ: Mapping[str, Any]) -> bool:
    return str(environ.get("SERVER_PROTOCOL", "")).startswith("HTTP/2")


def _unmeasured(environ: Mapping[str, Any]) -> bool:
    """Whether a body without Content-Length may follow: in chunks, or any in HTTP/2.

    Frames end it there (RFC 9113 8.1).
    """
    if _is_http2(environ):
        return environ.get("REQUEST_METHOD") not in BODILESS
    return "chunked" in str(environ.get("HTTP_TRANSFER_ENCODING", "")).lower()


def _check_chunks(environ: Mapping[str, Any], ends_itself: bool) -> None:
    """Raises LengthRequired where the server does not tell the end of such a body from its cut."""
    if not environ.get("wsgi.input_terminated"):
        # uWSGI: its chunks are read by a function of its own
        raise LengthRequired(
            f"This server does not show its apps where a chunked body ends; {WITH_LENGTH}, or run "
            "the app on gunicorn or cheroot"
        )
    if environ.get("SERVER_SOFTWARE") == "Granian" and not ends_itself:
        # an empty read, whether the body is over or was cut off
        raise LengthRequired(
            "This server gives its apps a body without Content-Length that was cut off as if it "
            f"were whole; {WITH_LENGTH} or as a form, or run the app on gunicorn or cheroot"
        )


def _cut(taken: int, length: int | None) -> BodyCut:
    of = "" if length is None else f" of {length}"
    return BodyCut(f"The body ended after {taken}{of} bytes; send it again")
