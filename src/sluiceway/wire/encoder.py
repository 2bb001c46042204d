"""multipart/form-data written as browsers write it (WHATWG): pure makers of bytes whose lengths add up to Content-Length.

The caller brings the boundary, because this room has no randomness, and the files' bytes, which never pass through here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sluiceway.errors import BadForm
from sluiceway.wire.partheads import form_boundary

__all__ = ["FormEncoder", "form_length", "new_boundary"]

LEAST_TOKEN = 16  # bytes: who can guess the boundary can end a part from inside a file (CVE-2025-7783)

_TYPE = re.compile(r"[\x20-\x7e]+")


def new_boundary(token: bytes) -> str:
    """A boundary from at least LEAST_TOKEN random bytes, such as secrets.token_bytes(16)."""
    if len(token) < LEAST_TOKEN:
        raise BadForm(f"A boundary needs {LEAST_TOKEN} random bytes or more")
    return "sluiceway-" + token.hex()


class FormEncoder:
    """field() for each field; begin_file(), the file's bytes, end_file() for each file; finish() once.

    Values are sent as they are: the CRLF a browser makes of every line break belongs to typed text, not to data.
    """

    def __init__(self, boundary: str) -> None:
        form_boundary(f'multipart/form-data; boundary="{boundary}"')  # raises BadForm for one no reader would take
        self._delimiter = b"--" + boundary.encode("ascii")
        self.content_type: str = f"multipart/form-data; boundary={boundary}"

    def field(self, name: str, value: str | bytes) -> bytes:
        """A whole field."""
        raw = _bytes(value) if isinstance(value, str) else value
        return b'%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (self._delimiter, _escaped(name), raw)

    def begin_file(self, name: str, filename: str, type: str = "application/octet-stream") -> bytes:
        """What stands before a file's bytes."""
        if not _TYPE.fullmatch(type):
            raise BadForm("A media type must be plain printable ASCII")
        return b'%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: %s\r\n\r\n' % (
            self._delimiter,
            _escaped(name),
            _escaped(filename),
            type.encode("ascii"),
        )

    def end_file(self) -> bytes:
        """What stands behind a file's bytes."""
        return b"\r\n"

    def finish(self) -> bytes:
        """The end of the form."""
        return self._delimiter + b"--\r\n"


def form_length(pieces: Iterable[bytes | int | None]) -> int | None:
    """Content-Length of a form: the pieces made above and, for each file, its size; None as soon as one size is unknown."""
    total = 0
    for piece in pieces:
        if piece is None:
            return None
        total += piece if isinstance(piece, int) else len(piece)
    return total


def _escaped(name: str) -> bytes:
    """WHATWG's three escapes. A NUL, which it would let pass, is dropped: decoders refuse it, and no file has one."""
    return _bytes(name.replace("\0", "")).replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b'"', b"%22")


def _bytes(text: str) -> bytes:
    """UTF-8; names Linux could not decode get their bytes back, any other lone surrogate becomes U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "\ufffd", text).encode("utf-8")
