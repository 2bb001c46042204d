"""How a file is sent to the next server: raw or in a form, its method, headers, fields, names.

Text and bytes only, no connection. A file comes raw or in a form and goes on raw or in a form: this
file is the table of the four ways.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sluiceway.errors import BadRequest, TooLarge
from sluiceway.stores.contract import UploadRequest
from sluiceway.stores.relay.backend import Backend
from sluiceway.wire.forms.charsets import CHARSET_FIELD
from sluiceway.wire.forms.encoder import FormEncoder, new_boundary
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.request_trace import trace_headers
from sluiceway.wire.urls import origin

__all__ = [
    "RelayRequest",
    "build_request",
    "check_repeated_fields",
    "fields_size",
    "goes_as_form",
]

DEFAULT_FIELD = "file"
FIELD_OVERHEAD = 80  # bytes around a field in a form, about
# Bytes of fields that one form with several files may make us send more than once.
MOST_REPEATED = 16 << 20


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """A request around a file: `head`, the file's bytes and `end()` are its body."""

    method: str
    headers: Mapping[str, str]
    head: bytes = b""
    encoder: FormEncoder | None = None
    secret: frozenset[str] = field(default_factory=frozenset)  # names of the operator's headers

    def end(self, later: Iterable[tuple[str, str]] = ()) -> bytes:
        """The bytes behind the file; `later` are the fields that came behind it."""
        if self.encoder is None:
            return b""
        return self.encoder.end_file() + _encode(self.encoder, later) + self.encoder.finish()

    def length(self, size: int) -> int:
        """Bytes of the whole body for a file of `size` bytes."""
        return len(self.head) + size + len(self.end())

    def headers_across(self, old: str, new: str) -> Mapping[str, str]:
        """The headers for the next hop of a redirect.

        The operator's headers may be a secret: they stay with the host they were given for.
        """
        if origin(old) == origin(new):
            return self.headers
        return {
            name: value for name, value in self.headers.items() if name.lower() not in self.secret
        }


def goes_as_form(
    backend: Backend, upload_request: UploadRequest, fields: Sequence[tuple[str, str]]
) -> bool:
    """Whether the file is sent in a form, together with the fields."""
    # The file of a PUT is the object that its URL names, even if it came in a form: it is sent raw
    # unless fields came with it.
    alone = upload_request.field is None or (upload_request.method == "PUT" and not fields)
    return backend.body == "form" or (backend.body == "same" and not alone)


def fields_size(fields: Iterable[tuple[str, str]]) -> int:
    """Bytes that these fields take in each request, about."""
    return sum(
        FIELD_OVERHEAD + _encoded_size(name) + _encoded_size(value) for name, value in fields
    )


def check_repeated_fields(backend: Backend, upload_request: UploadRequest, files: int) -> None:
    """Raises TooLarge when a form of so many files would repeat its fields too often.

    Call it before the first file is published: a request that another server accepted cannot be
    taken back.
    """
    fields = upload_request.fields
    if files < 2 or not goes_as_form(backend, upload_request, fields):
        return
    repeated = (files - 1) * fields_size(fields)
    if repeated > MOST_REPEATED:
        raise TooLarge(
            f"The form has {files} files, and each is passed on with all fields: {repeated} bytes "
            "more than came. Send fewer files in a form, or shorter fields "
            f"(limit: {MOST_REPEATED})",
            limit=MOST_REPEATED,
        )


def build_request(
    backend: Backend,
    upload_request: UploadRequest,
    fields: Sequence[tuple[str, str]],
    token: bytes,
) -> RelayRequest:
    """The request for a file.

    `fields` are those that came before it, `token` is 16 random bytes for a boundary. Raises
    BadRequest for a precondition that the request cannot carry.
    """
    operators = {name.lower(): value for name, value in backend.headers.items()}
    secret = frozenset(operators)
    preconditions = _preconditions(upload_request)
    came_as_form = upload_request.field is not None
    if goes_as_form(backend, upload_request, fields):
        # a raw PUT that becomes a form creates, so it becomes a POST
        method = backend.method or (upload_request.method if came_as_form else "POST")
        if preconditions and not (came_as_form and method in ("PUT", "PATCH")):
            raise _no_preconditions("a form")
        encoder = FormEncoder(new_boundary(token))
        head = _encode(encoder, [*backend.fields, *fields])
        head += encoder.begin_file(
            backend.form_field or upload_request.field or DEFAULT_FIELD,
            upload_request.folders + upload_request.filename,
            upload_request.type,
        )
        headers = {**trace_headers(), **operators, "content-type": encoder.content_type}
        return RelayRequest(method, headers, head, encoder, secret)
    method = backend.method or upload_request.method
    if preconditions and method not in ("PUT", "PATCH"):
        raise _no_preconditions(method)
    headers = {
        "content-type": upload_request.type,
        "content-disposition": format_disposition("attachment", upload_request.filename),
        **trace_headers(),
        **operators,
    }
    return RelayRequest(method, {**headers, **preconditions}, b"", None, secret)


def _encode(encoder: FormEncoder, fields: Iterable[tuple[str, str]]) -> bytes:
    """The fields in UTF-8.

    A `_charset_` field says so: the client may have used another charset.
    """
    return b"".join(
        encoder.field(name, "UTF-8" if name == CHARSET_FIELD else value) for name, value in fields
    )


def _encoded_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _preconditions(upload_request: UploadRequest) -> dict[str, str]:
    """The client's preconditions.

    They are about the object that a PUT names, so only a PUT has them.
    """
    if upload_request.method != "PUT":
        return {}
    if upload_request.replace.etag is not None:
        return {"if-match": f'"{upload_request.replace.etag}"'}
    return {} if upload_request.replace.allowed else {"if-none-match": "*"}


def _no_preconditions(what: str) -> BadRequest:
    # The precondition of a POST is about the collection: a backend could answer yes to it and so
    # let through what the client wanted to prevent.
    return BadRequest(
        f"This server passes files on as {what}, which can carry no If-Match or If-None-Match; "
        "leave them out"
    )
