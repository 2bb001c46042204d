"""The head of a response as bytes: checked, framed, and whether the connection stays open after it.

Sans-IO. The rules are uvicorn's, which searches every name of every response for forbidden bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from sluiceway.errors import SluiceError
from sluiceway.wire.numbers import ascii_uint

__all__ = ["ResponseHead", "interim_head"]

_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
_NOT_IN_NAMES = re.compile(b'[\x00-\x1f\x7f()<>@,;:\\[\\]={} \t\\\\"]')
_NOT_IN_VALUES = bytes([*range(9), *range(10, 32), 127])  # a search takes five times as long
_FRAMING = frozenset([b"content-length", b"transfer-encoding", b"connection"])


class ResponseHead:
    """`keep_alive` is what the request allows. Raises SluiceError for what cannot be sent."""

    __slots__ = ("chunked", "keep_alive", "length", "written")

    def __init__(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        keep_alive: bool,
        scope: Mapping[str, Any],
    ) -> None:
        self.keep_alive: bool = keep_alive
        self.chunked: bool | None = None  # None: the response has no body
        self.length: int = 0  # bytes of the body that are expected
        line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        lines, says_close = [line], False
        for name, value in headers:
            name = _checked(name)
            if name in _FRAMING:
                says_close |= self._frame(name, value)
            lines += (name, b": ", value, b"\r\n")
        values = b"".join(lines[3::4])
        if len(values.translate(None, _NOT_IN_VALUES)) != len(values):
            raise SluiceError("A header of a response has a forbidden byte in its value")
        if not self.keep_alive and not says_close:
            lines.append(b"connection: close\r\n")
        if self.chunked is None and scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self.written: bytes = b"".join(lines)

    def _frame(self, name: bytes, value: bytes) -> bool:
        """A field that frames the body. Whether it says that the connection closes."""
        if name == b"content-length" and self.chunked is None:
            self.length, self.chunked = ascii_uint(value, "Content-Length"), False
        elif name == b"transfer-encoding" and value.lower() == b"chunked":
            self.length, self.chunked = 0, True
        elif name == b"connection" and b"close" in {
            token.strip() for token in value.lower().split(b",")
        }:
            self.keep_alive = False
            return True
        return False


def interim_head(status: int, phrase: str, headers: Mapping[str, str]) -> bytes:
    """An interim response (RFC 9110 15.2). Raises SluiceError for what cannot be sent."""
    lines = [b"HTTP/1.1 %d %b" % (status, phrase.encode())]
    for name, text in headers.items():
        value = text.encode("latin-1", "replace")
        if len(value.translate(None, _NOT_IN_VALUES)) != len(value):
            raise SluiceError("A header of a response has a forbidden byte in its value")
        lines.append(_checked(name.encode()) + b": " + value)
    return b"\r\n".join([*lines, b"", b""])


@lru_cache(512)
def _checked(name: bytes) -> bytes:
    """The name in lower case. Programs use few, so each is checked once."""
    if _NOT_IN_NAMES.search(name):
        raise SluiceError("A header of a response has a forbidden byte in its name")
    return name.lower()
