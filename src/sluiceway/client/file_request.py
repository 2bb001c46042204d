"""How one file becomes one request: a raw PUT, or a form by POST. Text and bytes only, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sluiceway.wire.urls import below

__all__ = ["DEFAULT_FIELD", "FORM_END", "FileRequest", "form_request", "is_form", "put_request"]

FORM_END = "/files"  # a URL with this end takes forms; with fields, every URL does
DEFAULT_FIELD = "file"


@dataclass(frozen=True, slots=True)
class FileRequest:
    """A request around a file: its body is `head`, the file's bytes, `tail`."""

    method: str
    url: str
    type: str  # the whole body's Content-Type
    head: bytes = b""
    tail: bytes = b""


def is_form(url: str, form: Sequence[tuple[str, str]], field: str | None) -> bool:
    """Whether files go to this URL as multipart/form-data."""
    return bool(form) or field is not None or urlsplit(url).path.endswith(FORM_END)


def put_request(url: str, name: str, type: str) -> FileRequest:
    """Build a raw PUT. A URL that ends in `/` is a folder: the file's name is put behind it.

    The name may have `/` between its segments.
    """
    return FileRequest("PUT", below(url, name) if urlsplit(url).path.endswith("/") else url, type)


def form_request(
    url: str, name: str, type: str, form: Sequence[tuple[str, str]], field: str | None, token: bytes
) -> FileRequest:
    """Build a form. Its fields come first, so that the server knows them when the file begins.

    `token` is 16 random bytes.
    """
    # Late: a raw request needs nothing of forms.
    from sluiceway.wire.forms.encoder import FormEncoder, new_boundary

    encoder = FormEncoder(new_boundary(token))
    head = b"".join(encoder.field(key, value) for key, value in form)
    head += encoder.begin_file(field or DEFAULT_FIELD, name, type)
    tail = encoder.end_file() + encoder.finish()
    return FileRequest("POST", url, encoder.content_type, head, tail)
