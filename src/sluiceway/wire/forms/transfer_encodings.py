"""Decodes Content-Transfer-Encoding of form parts (RFC 2045 6.7, 6.8): base64 and quoted-printable.

Old curl (`encoder=`) and mail gateways send them. Linear time for every input, at most 3 bytes held
back. A decoder fails exactly when the bytes so far are wrong, so the cuts between them never
matter.
"""

from __future__ import annotations

import binascii
import re
import string
from typing import Protocol

from sluiceway.errors import BadForm

__all__ = ["Base64Decoder", "QuotedPrintableDecoder", "TransferDecoder"]

_WHITE = b" \t\r\n"
_BASE64 = (string.ascii_letters + string.digits + "+/=").encode()
_BAD_ESCAPE = re.compile(rb"=(?!\r?\n|[0-9A-Fa-f]{2})")
_OPEN_ESCAPE = re.compile(rb"=(?:\r|[0-9A-Fa-f])?\Z")


class TransferDecoder(Protocol):
    def feed(self, data: bytes) -> bytes:
        """Decode the next bytes, perhaps to nothing yet. Raises BadForm."""
        ...

    def close(self) -> bytes:
        """Return the rest. Raises BadForm when the part ends in the middle of a code."""
        ...


class Base64Decoder:
    """Skips white space quickly. The last group must be padded, and nothing may follow it."""

    def __init__(self) -> None:
        self._held = b""  # the characters of a group not yet complete
        self._padded = False

    def feed(self, data: bytes) -> bytes:
        text = self._held + data.translate(None, _WHITE)
        if not text:
            return b""
        if self._padded or text.translate(None, _BASE64):
            raise BadForm(
                "A part is not base64, as its header says; send the bytes as they are, without an"
                " encoding"
            )
        whole = len(text) & ~3
        pad = text.find(b"=")
        if pad >= 0:
            group = pad & ~3
            if pad - group < 2 or len(text) > group + 4 or text[pad:].strip(b"="):
                raise BadForm(
                    "A part's base64 padding is misplaced; send the bytes as they are, without an"
                    " encoding"
                )
            self._padded = whole == group + 4
        self._held = text[whole:]
        return binascii.a2b_base64(text[:whole])

    def close(self) -> bytes:
        if self._held:
            raise BadForm(
                "A part's base64 ends inside a group of four;"
                " send the bytes as they are, without an encoding"
            )
        return b""


class QuotedPrintableDecoder:
    """`=XX` is a byte, and `=` at the end of a line joins it to the next one.

    White space before a line's end is kept: nothing on the way of an HTTP body adds any.
    """

    def __init__(self) -> None:
        self._held = b""  # an escape not yet complete, at most two bytes

    def feed(self, data: bytes) -> bytes:
        text = self._held + data
        held = _OPEN_ESCAPE.search(text, max(len(text) - 2, 0))
        ready = text[: held.start()] if held else text
        self._held = text[len(ready) :]
        if _BAD_ESCAPE.search(ready):
            raise BadForm(
                "A part is not quoted-printable, as its header says;"
                " send the bytes as they are, without an encoding"
            )
        return binascii.a2b_qp(ready)

    def close(self) -> bytes:
        if self._held:
            raise BadForm(
                "A part's quoted-printable ends inside a code;"
                " send the bytes as they are, without an encoding"
            )
        return b""
