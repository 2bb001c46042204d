"""How one file becomes one request: raw PUT or a form by POST, and the bytes around the file. Text and bytes only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sluiceway.wire.forms.encoder import FormEncoder, new_boundary
from sluiceway.wire.urls import below

__all__ = ["Shape", "is_form", "shape_form", "shape_put"]

FORM_END = "/files"  # a URL that ends so takes forms; so does every URL when fields are given
DEFAULT_FIELD = "file"


@dataclass(frozen=True, slots=True)
class Shape:
    """A request around a file: `head`, the file's bytes, `tail` are its body."""

    method: str
    url: str
    type: str  # the whole body's Content-Type
    head: bytes = b""
    tail: bytes = b""


def is_form(url: str, form: Sequence[tuple[str, str]], field: str | None) -> bool:
    """Whether files go to this URL as multipart/form-data."""
    return bool(form) or field is not None or urlsplit(url).path.endswith(FORM_END)


def shape_put(url: str, name: str, type: str) -> Shape:
    """A raw PUT. A URL that ends in `/` names a place: the file's name (`/` between its segments) is put behind it."""
    return Shape("PUT", below(url, name) if urlsplit(url).path.endswith("/") else url, type)


def shape_form(
    url: str, name: str, type: str, form: Sequence[tuple[str, str]], field: str | None, token: bytes
) -> Shape:
    """A form with the fields first, so that the server knows them when the file begins. `token`: 16 random bytes."""
    encoder = FormEncoder(new_boundary(token))
    head = b"".join(encoder.field(key, value) for key, value in form)
    head += encoder.begin_file(field or DEFAULT_FIELD, name, type)
    return Shape("POST", url, encoder.content_type, head, encoder.end_file() + encoder.finish())
