"""How a file is wrapped for the next server: raw or in a form, with which method, headers, fields and names.

Text and bytes only: four ways lead from how a file came to how it goes on, and this file is the table of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sluiceway.errors import BadRequest, TooLarge
from sluiceway.stores.contract import UploadRequest
from sluiceway.wire.forms.charsets import CHARSET_FIELD
from sluiceway.wire.forms.encoder import FormEncoder, new_boundary
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.urls import origin

__all__ = ["Envelope", "OneUpload", "Wrapping", "build_request", "fields_size", "goes_as_form"]

DEFAULT_FIELD = "file"
MOST_REPEATED = (
    16 << 20
)  # bytes of fields that the files of one form may make us send more than once


class Wrapping(Protocol):
    """What the operator said about it; a Backend has it."""

    @property
    def method(self) -> str | None: ...
    @property
    def body(self) -> str: ...
    @property
    def form_field(self) -> str | None: ...
    @property
    def fields(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request around a file: `head`, the file's bytes and `end()` are its body."""

    method: str
    headers: Mapping[str, str]
    head: bytes = b""
    encoder: FormEncoder | None = None
    secret: frozenset[str] = field(
        default_factory=frozenset
    )  # names of headers that the operator gave

    def end(self, later: Iterable[tuple[str, str]] = ()) -> bytes:
        """What comes behind the file; `later` are the fields that did."""
        if self.encoder is None:
            return b""
        return self.encoder.end_file() + _written(self.encoder, later) + self.encoder.finish()

    def length(self, size: int) -> int:
        """Bytes of the whole body for a file of `size` bytes."""
        return len(self.head) + size + len(self.end())

    def headers_across(self, old: str, new: str) -> Mapping[str, str]:
        """The headers for the next hop: what the operator gave may be a secret, and stays with the host it was given for."""
        if origin(old) == origin(new):
            return self.headers
        return {
            name: value for name, value in self.headers.items() if name.lower() not in self.secret
        }


def goes_as_form(
    backend: Wrapping, upload_request: UploadRequest, fields: Sequence[tuple[str, str]]
) -> bool:
    """Whether the fields go on with the file."""
    # The file of a PUT is the object its URL names, whatever it came in: it goes on alone, unless fields came with it.
    alone = upload_request.field is None or (upload_request.method == "PUT" and not fields)
    return backend.body == "form" or (backend.body == "same" and not alone)


def fields_size(fields: Iterable[tuple[str, str]]) -> int:
    """Bytes that these fields take in each request, about: what is written around each of them has 80."""
    return sum(
        80
        + sum(len(text) if text.isascii() else len(text.encode("utf-8", "replace")) for text in one)
        for one in fields
    )


class OneUpload:
    """What the files of one form have in common: each goes on in a request of its own, with all fields."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: int = 0

    def check(self, backend: Wrapping, upload_request: UploadRequest) -> None:
        """Raises TooLarge. Before the first of them is published, for what was said to another server cannot be taken back."""
        if self.files > 1 and goes_as_form(backend, upload_request, upload_request.fields):
            again = (self.files - 1) * fields_size(upload_request.fields)
            if again > MOST_REPEATED:
                raise TooLarge(
                    f"The form has {self.files} files, and each is passed on with all fields: {again} bytes more than came. "
                    f"Send fewer files in a form, or shorter fields (limit: {MOST_REPEATED})",
                    limit=MOST_REPEATED,
                )


def _written(encoder: FormEncoder, fields: Iterable[tuple[str, str]]) -> bytes:
    """The fields in UTF-8, which `_charset_` has to say as well: the client may have sent them in another charset."""
    return b"".join(
        encoder.field(name, "UTF-8" if name == CHARSET_FIELD else value) for name, value in fields
    )


def build_request(
    backend: Wrapping,
    upload_request: UploadRequest,
    fields: Sequence[tuple[str, str]],
    token: bytes,
) -> Envelope:
    """The envelope of a file. `fields` are those that came before it, `token` 16 random bytes for a boundary."""
    given = {name.lower(): value for name, value in backend.headers.items()}
    secret = frozenset(given)
    asked = _asked(upload_request)
    came_as_form = upload_request.field is not None
    if goes_as_form(backend, upload_request, fields):
        method = backend.method or (
            upload_request.method if came_as_form else "POST"
        )  # a raw PUT that becomes a form creates
        if asked and not (came_as_form and method in ("PUT", "PATCH")):
            raise _no_put("a form")
        encoder = FormEncoder(new_boundary(token))
        head = _written(encoder, [*backend.fields, *fields])
        head += encoder.begin_file(
            backend.form_field or upload_request.field or DEFAULT_FIELD,
            upload_request.folders + upload_request.filename,
            upload_request.type,
        )
        headers = {**given, "content-type": encoder.content_type}
        return Envelope(method, headers, head, encoder, secret)
    method = backend.method or upload_request.method
    if asked and method not in ("PUT", "PATCH"):
        raise _no_put(method)
    headers = {
        "content-type": upload_request.type,
        "content-disposition": format_disposition("attachment", upload_request.filename),
        **given,
    }
    return Envelope(method, {**headers, **asked}, b"", None, secret)


def _asked(upload_request: UploadRequest) -> dict[str, str]:
    """The client's precondition; it holds for the object that it names, so only a PUT has one."""
    if upload_request.method != "PUT":
        return {}
    if upload_request.replace.etag is not None:
        return {"if-match": f'"{upload_request.replace.etag}"'}
    return {} if upload_request.replace.allowed else {"if-none-match": "*"}


def _no_put(what: str) -> BadRequest:
    # A POST asks about the collection: the answer to that one could let through what the client wanted to prevent.
    return BadRequest(
        f"This server passes files on as {what}, which can carry no If-Match or If-None-Match; leave them out"
    )
