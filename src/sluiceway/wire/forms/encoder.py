"""Writes multipart/form-data as browsers do (WHATWG); the lengths add up to Content-Length.

The caller brings the boundary, because this room has no randomness, and the files' bytes, which
never pass through here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sluiceway.errors import BadForm
from sluiceway.wire.forms.part_headers import form_boundary

__all__ = ["FormEncoder", "form_length", "new_boundary"]

LEAST_TOKEN = 16  # bytes: a boundary that can be guessed lets a file end its part (CVE-2025-7783)

# bytes of a part's own headers: readers take a head of 8 KiB, names included, some less
MOST_OWN = 4 << 10

_TYPE = re.compile(r"[\x20-\x7e]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 token
_VALUE = re.compile(
    r"[\t\x20-\x7e]*"
)  # no line end: one header cannot become two, or begin the content
# Headers that the other arguments write, and those that change how the content is read (RFC 7578
# 4.7 deprecates the last one).
_OURS = frozenset(
    ["content-disposition", "content-type", "content-length", "content-transfer-encoding"]
)


def new_boundary(token: bytes) -> str:
    """Return a boundary from at least LEAST_TOKEN random bytes, as of secrets.token_bytes(16)."""
    if len(token) < LEAST_TOKEN:
        raise BadForm(f"A boundary needs {LEAST_TOKEN} random bytes or more")
    return "sluiceway-" + token.hex()


class FormEncoder:
    """field() for each field; begin_file(), the file's bytes, end_file() for each file; finish()
    once.

    Values are written as they are. The CRLF that a browser makes of every line break belongs to
    typed text, not to data.
    """

    def __init__(self, boundary: str) -> None:
        form_boundary(
            f'multipart/form-data; boundary="{boundary}"'
        )  # raises BadForm for one that no reader takes
        self._delimiter = b"--" + boundary.encode("ascii")
        self.content_type: str = f"multipart/form-data; boundary={boundary}"

    def field(
        self,
        name: str,
        value: str | bytes,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Write a whole field, perhaps with a media type and more headers of its own."""
        raw = _bytes(value) if isinstance(value, str) else value
        return self._head(b'name="%s"' % _escaped(name), type, headers) + raw + b"\r\n"

    def begin_file(
        self,
        name: str,
        filename: str,
        type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Write the head of a file's part."""
        return self._head(
            b'name="%s"; filename="%s"' % (_escaped(name), _escaped(filename)), type, headers
        )

    def _head(self, which: bytes, type: str | None, headers: Mapping[str, str] | None) -> bytes:
        """Raises BadForm for a header that ends the head, contradicts it, or that readers
        refuse."""
        lines = [b"%s\r\nContent-Disposition: form-data; %s" % (self._delimiter, which)]
        if type is not None:
            if not _TYPE.fullmatch(type):
                raise BadForm("A media type must be plain printable ASCII")
            lines.append(b"Content-Type: " + type.encode("ascii"))
        for name, value in (headers or {}).items():
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _OURS:
                raise BadForm(
                    f"A part cannot have the header {name!r}: it is invalid, or the other arguments"
                    " write it"
                )
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise BadForm(
                    f"The value of the part's header {name!r} must be plain printable ASCII in one"
                    " line"
                )
            lines.append(f"{name}: {value}".encode("ascii"))
        if sum(map(len, lines[1:])) > MOST_OWN:
            raise BadForm(
                f"The headers of a part have more than {MOST_OWN >> 10} KiB;"
                " servers refuse such a form"
            )
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def end_file(self) -> bytes:
        """Write the end of a file's part."""
        return b"\r\n"

    def finish(self) -> bytes:
        """Write the end of the form."""
        return self._delimiter + b"--\r\n"


def form_length(pieces: Iterable[bytes | int | None]) -> int | None:
    """Return the Content-Length of a form; None when the size of one file is unknown.

    `pieces` are those that the encoder wrote.
    """
    total = 0
    for piece in pieces:
        if piece is None:
            return None
        total += piece if isinstance(piece, int) else len(piece)
    return total


def _escaped(name: str) -> bytes:
    """Apply WHATWG's three escapes, and drop NUL: decoders refuse it, and no file name has one."""
    return (
        _bytes(name.replace("\0", ""))
        .replace(b"\r", b"%0D")
        .replace(b"\n", b"%0A")
        .replace(b'"', b"%22")
    )


def _bytes(text: str) -> bytes:
    """Encode as UTF-8. Names that Linux could not decode get their bytes back.

    Any other lone surrogate becomes U+FFFD.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "\ufffd", text).encode("utf-8")
