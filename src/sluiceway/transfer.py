"""`copy` and `acopy`: from a path, a folder or standard input to a server, and from a server to a path.

Decides which way it goes and puts sources, requests and targets together; bytes move in `client`.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from sluiceway.client.address import Address, is_url, parse_address, shown
from sluiceway.client.download import Download, download
from sluiceway.client.local import files_below, open_local
from sluiceway.client.shape import Shape, is_form, shape_form, shape_put
from sluiceway.client.transport import Transport
from sluiceway.client.upload import Upload, upload
from sluiceway.errors import BadRequest, SluiceError, SourceFailed
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt
from sluiceway.wire.types import guess_type

__all__ = ["Fields", "acopy", "copy"]

Fields = Mapping[str, str | Iterable[str]] | Iterable[tuple[str, str]]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 token
_TEXT = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")  # no control characters: a header cannot grow into two
_OURS = frozenset(  # what the body decides; given by hand they would contradict it
    ["accept-encoding", "connection", "content-length", "expect", "if-range", "range", "te", "transfer-encoding"]
)


def copy(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    name: str | None = None,
    type: str | None = None,
    form: Fields | None = None,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Receipt:
    """Copy a file, a folder or standard input (`-`) to a URL, or a URL to a file, a folder or standard output (`-`).

    Returns when the destination has confirmed that it keeps all of it. Memory does not grow with the size.

    `name` and `type`: what the file is called and what it is, guessed otherwise. `form`: fields sent before the file in a
    multipart form; `field`: the file's own field name ("file"). Without both, files go as a raw PUT, unless the URL ends in
    `/files`. A URL that ends in `/` gets the file's name appended. `headers`: sent along. `token`: sent as Bearer, to the
    URL's own host only. `force`: replace the target of a download.
    `on_progress` is called with a `Progress` about ten times a second, from the thread of this call.

    Raises SluiceError; its `code` is stable, its text says what to do. `members["answered"]` is the server's status where
    it was the server that refused.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise BadRequest("copy() blocks, and an event loop runs in this thread; use `await sluiceway.acopy(…)`")
    return asyncio.run(
        acopy(
            src,
            dst,
            name=name,
            type=type,
            form=form,
            field=field,
            headers=headers,
            token=token,
            force=force,
            on_progress=on_progress,
        )
    )


async def acopy(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    name: str | None = None,
    type: str | None = None,
    form: Fields | None = None,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Receipt:
    """`copy` for programs with an event loop. Cancelling it ends the transfer at once; nothing half-done stays visible."""
    source, target = os.fspath(src), os.fspath(dst)
    if is_url(source) == is_url(target):
        raise BadRequest("Exactly one of source and destination is an http:// or https:// URL; the other is a path or -")
    address = parse_address(target if is_url(target) else source)
    sent = _headers(address, headers or {}, token)
    if is_url(source):
        if form or field is not None or type is not None:
            raise BadRequest("A form, a field name and a type belong to uploads; leave them out")
        async with Transport() as transport:
            return await download(transport, Download(address.url, sent, target, name, force), on_progress)
    sending = _Sending(address.url, sent, _fields(form), field, type, on_progress)
    if source != "-" and await asyncio.to_thread(os.path.isdir, source):
        if name is not None:
            raise BadRequest("A folder's files keep their names; leave the name out")
        return await sending.folder(source)
    return await sending.single(source, name)


class _Sending:
    """Uploads with the same address, fields and headers."""

    def __init__(
        self,
        url: str,
        headers: dict[str, str],
        form: Sequence[tuple[str, str]],
        field: str | None,
        type: str | None,
        on_progress: OnProgress | None,
    ) -> None:
        given = headers.pop("content-type", None)
        self._as_form = is_form(url, form, field)
        if given is not None and self._as_form:
            raise BadRequest("A form brings its own Content-Type; use --type for the file's")
        self._url, self._headers, self._form, self._field = url, headers, form, field
        self._type = _plain(type if type is not None else given, "type")
        self._on_progress = on_progress

    async def single(self, source: str, name: str | None) -> Receipt:
        opened = await asyncio.to_thread(open_local, source)
        called = name if name is not None else self._name_of(source)
        async with Transport() as transport:
            return await upload(transport, Upload(opened, self._shape(called), source, self._headers), self._on_progress)

    async def folder(self, source: str) -> Receipt:
        """One request a file, in sorted order, each with its receipt; the first failure ends it and tells what was sent."""
        if not self._as_form and not urlsplit(self._url).path.endswith("/"):
            raise BadRequest("A folder goes to a URL that ends in / (each file under its own name) or in /files")
        began, parts = time.monotonic(), []
        async with Transport() as transport:
            for path, left_out in await asyncio.to_thread(lambda: list(files_below(source))):
                if left_out is not None:
                    if self._on_progress is not None:
                        self._on_progress(Progress(os.path.join(source, path), "left-out", 0, None, left_out))
                    continue
                whole = os.path.join(source, path)
                opened = await asyncio.to_thread(open_local, whole)
                called = os.path.basename(path) if self._as_form else path
                job = Upload(opened, self._shape(called), whole, self._headers)
                try:
                    parts.append(await upload(transport, job, self._on_progress))
                except SluiceError as error:
                    error.members |= {"source": whole, "sent": len(parts)}
                    raise
        if not parts:
            raise SourceFailed(f"{source} holds no file")
        return Receipt(
            size=sum(part.size for part in parts),
            sha256=None,
            location=shown(self._url),
            source=source,
            seconds=time.monotonic() - began,
            parts=tuple(parts),
        )

    def _shape(self, name: str) -> Shape:
        kind = self._type or guess_type(name)
        if self._as_form:
            return shape_form(self._url, name, kind, self._form, self._field, secrets.token_bytes(16))
        return shape_put(self._url, name, kind)

    def _name_of(self, source: str) -> str:
        if source != "-":
            return os.path.basename(source)
        path = urlsplit(self._url).path
        if self._as_form or path.endswith("/"):
            raise BadRequest("Standard input has no name; give one with --name")
        return unquote(path.rpartition("/")[2])


def _headers(address: Address, given: Mapping[str, str], token: str | None) -> dict[str, str]:
    """Names in lower case; the strongest word on who we are wins: a header by hand, the token, the URL's user."""
    sent: dict[str, str] = {}
    if address.authorization is not None:
        sent["authorization"] = address.authorization
    if token is not None:
        sent["authorization"] = f"Bearer {_plain(token, 'token')}"
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadRequest("A header is written as 'Name: value'")
        if name.lower() in _OURS:
            raise BadRequest(f"The header {name} follows from what is sent; leave it out")
        sent[name.lower()] = _plain(value, f"header {name}") or ""
    return sent


def _plain(value: str | None, what: str) -> str | None:
    """As it is; control characters are refused without being repeated, for the value may be a secret."""
    if value is not None and not _TEXT.fullmatch(value):
        raise BadRequest(f"The {what} holds a control character, such as a line end")
    return value


def _fields(form: Fields | None) -> list[tuple[str, str]]:
    if form is None:
        return []
    if not isinstance(form, Mapping):
        return list(form)
    pairs: list[tuple[str, str]] = []
    for name, value in form.items():
        pairs += [(name, value)] if isinstance(value, str) else [(name, one) for one in value]
    return pairs
