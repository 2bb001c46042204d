"""multipart/form-data written as browsers write it (WHATWG): pure makers of bytes whose lengths add up to Content-Length.

The caller brings the boundary, because this room has no randomness, and the files' bytes, which never pass through here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sluiceway.errors import BadForm
from sluiceway.wire.forms.part_headers import form_boundary

__all__ = ["FormEncoder", "form_length", "new_boundary"]

LEAST_TOKEN = (
    16  # bytes: who can guess the boundary can end a part from inside a file (CVE-2025-7783)
)

MOST_OWN = (
    4 << 10
)  # bytes of a part's own headers: readers take 8 KiB of a part's head, names included, and some less

_TYPE = re.compile(r"[\x20-\x7e]+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 token
_VALUE = re.compile(
    r"[\t\x20-\x7e]*"
)  # no line end: one header cannot become two, or the beginning of the content
# What the other arguments say, and what would change how the content is read (RFC 7578 4.7 gives the last one up).
_OURS = frozenset(
    ["content-disposition", "content-type", "content-length", "content-transfer-encoding"]
)


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
        form_boundary(
            f'multipart/form-data; boundary="{boundary}"'
        )  # raises BadForm for one no reader would take
        self._delimiter = b"--" + boundary.encode("ascii")
        self.content_type: str = f"multipart/form-data; boundary={boundary}"

    def field(
        self,
        name: str,
        value: str | bytes,
        type: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """A whole field; with a media type where it has one, such as application/json, and more headers of its own."""
        raw = _bytes(value) if isinstance(value, str) else value
        return self._head(b'name="%s"' % _escaped(name), type, headers) + raw + b"\r\n"

    def begin_file(
        self,
        name: str,
        filename: str,
        type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """What stands before a file's bytes."""
        return self._head(
            b'name="%s"; filename="%s"' % (_escaped(name), _escaped(filename)), type, headers
        )

    def _head(self, which: bytes, type: str | None, headers: Mapping[str, str] | None) -> bytes:
        """Raises BadForm for what would end the head, contradict it, or make a part that readers refuse."""
        lines = [b"%s\r\nContent-Disposition: form-data; %s" % (self._delimiter, which)]
        if type is not None:
            if not _TYPE.fullmatch(type):
                raise BadForm("A media type must be plain printable ASCII")
            lines.append(b"Content-Type: " + type.encode("ascii"))
        for name, value in (headers or {}).items():
            if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _OURS:
                raise BadForm(
                    f"A part cannot have the header {name!r}: it is none, or follows from the other arguments"
                )
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise BadForm(
                    f"The value of the part's header {name!r} must be plain printable ASCII in one line"
                )
            lines.append(f"{name}: {value}".encode("ascii"))
        if sum(map(len, lines[1:])) > MOST_OWN:
            raise BadForm(
                f"The headers of a part have more than {MOST_OWN >> 10} KiB; servers refuse such a form"
            )
        return b"\r\n".join(lines) + b"\r\n\r\n"

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
    return (
        _bytes(name.replace("\0", ""))
        .replace(b"\r", b"%0D")
        .replace(b"\n", b"%0A")
        .replace(b'"', b"%22")
    )


def _bytes(text: str) -> bytes:
    """UTF-8; names Linux could not decode get their bytes back, any other lone surrogate becomes U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return re.sub("[\ud800-\udfff]", "\ufffd", text).encode("utf-8")
