"""How a file is wrapped for the next server: raw or in a form, with which method, headers, fields and names.

Text and bytes only: four ways lead from how a file came to how it goes on, and this file is the table of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sluiceway.client.address import origin
from sluiceway.errors import BadRequest
from sluiceway.stores.contract import Label
from sluiceway.wire.disposition import format_disposition
from sluiceway.wire.encoder import FormEncoder, new_boundary

__all__ = ["Envelope", "Wrapping", "seal"]

DEFAULT_FIELD = "file"


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
    secret: frozenset[str] = field(default_factory=frozenset)  # names of headers that the operator gave

    def end(self, later: Iterable[tuple[str, str]] = ()) -> bytes:
        """What comes behind the file; `later` are the fields that did."""
        if self.encoder is None:
            return b""
        return self.encoder.end_file() + b"".join(self.encoder.field(*one) for one in later) + self.encoder.finish()

    def length(self, size: int) -> int:
        """Bytes of the whole body for a file of `size` bytes."""
        return len(self.head) + size + len(self.end())

    def headers_across(self, old: str, new: str) -> Mapping[str, str]:
        """The headers for the next hop: what the operator gave may be a secret, and stays with the host it was given for."""
        if origin(old) == origin(new):
            return self.headers
        return {name: value for name, value in self.headers.items() if name.lower() not in self.secret}


def seal(backend: Wrapping, label: Label, fields: Sequence[tuple[str, str]], token: bytes) -> Envelope:
    """The envelope of a file. `fields` are those that came before it, `token` 16 random bytes for a boundary."""
    given = {name.lower(): value for name, value in backend.headers.items()}
    secret = frozenset(given)
    asked = _asked(label)
    came_as_form = label.field is not None
    # The file of a PUT is the object its URL names, whatever it came in: it goes on alone, unless fields came with it.
    alone = not came_as_form or (label.method == "PUT" and not fields)
    if backend.body == "form" or (backend.body == "same" and not alone):
        method = backend.method or (label.method if came_as_form else "POST")  # a raw PUT that becomes a form creates
        if asked and not (came_as_form and method in ("PUT", "PATCH")):
            raise _no_put("a form")
        encoder = FormEncoder(new_boundary(token))
        head = b"".join(encoder.field(*one) for one in [*backend.fields, *fields])
        head += encoder.begin_file(backend.form_field or label.field or DEFAULT_FIELD, label.filename, label.type)
        headers = {**given, "content-type": encoder.content_type}
        return Envelope(method, headers, head, encoder, secret)
    method = backend.method or label.method
    if asked and method not in ("PUT", "PATCH"):
        raise _no_put(method)
    headers = {"content-type": label.type, "content-disposition": format_disposition("attachment", label.filename), **given}
    return Envelope(method, {**headers, **asked}, b"", None, secret)


def _asked(label: Label) -> dict[str, str]:
    """The client's precondition; it holds for the object that it names, so only a PUT has one."""
    if label.method != "PUT":
        return {}
    if label.replace.etag is not None:
        return {"if-match": f'"{label.replace.etag}"'}
    return {} if label.replace.allowed else {"if-none-match": "*"}


def _no_put(what: str) -> BadRequest:
    # A POST asks about the collection: the answer to that one could let through what the client wanted to prevent.
    return BadRequest(f"This server passes files on as {what}, which can carry no If-Match or If-None-Match; leave them out")
