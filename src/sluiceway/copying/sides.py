"""Which kind of source or target a path or URL means, for a copy of one object and of many.

The only file that knows all endpoints; it loads those that a copy needs. Opens stores, sends
nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sluiceway.client.file_request import FORM_END
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.contract import CopySource, CopyTarget
from sluiceway.copying.endpoints.given import GivenObject, sized_content
from sluiceway.copying.endpoints.http_source import HttpSource, RemoteObject
from sluiceway.copying.endpoints.local import LocalFiles, LocalObject, PathTarget
from sluiceway.copying.options import CopyOptions
from sluiceway.copying.servers import RemoteServer
from sluiceway.errors import BadRequest, SourceFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.receipt import OnProgress
from sluiceway.stores.registry import Place, open_place, place_identity, split_place
from sluiceway.wire.names import clean_name, stays_inside
from sluiceway.wire.urls import is_place, is_url, join_url, redact_url

if TYPE_CHECKING:  # the transport loads the HTTP library
    from sluiceway.client.http.transport import Transport
    from sluiceway.copying.endpoints.store_target import StoreResuming, StoreTarget
    from sluiceway.copying.endpoints.tar_source import TarSource

__all__ = [
    "check_folder",
    "identity",
    "is_local_folder",
    "many_source",
    "many_target",
    "one_source",
    "one_target",
    "send_at_once",
    "tar_source",
]

MEMORY = 32 << 20  # bytes that the store of one side may hold
MEMORY_EACH = 32 << 20  # more for each parallel part: 16 MiB on their way, and the next ones


def is_local_folder(options: CopyOptions) -> bool:
    """Blocking. Whether the source is a folder of this machine, to copy file by file."""
    source = options.source
    local = options.reads is None and options.command is None and not is_place(source)
    return local and options.pack is None and source != "-" and os.path.isdir(source)


def check_folder(options: CopyOptions) -> None:
    """Raises BadRequest for options that do not fit a folder."""
    if options.name is not None or options.size is not None:
        raise BadRequest("A folder's files keep their names and sizes; leave those out")
    if options.as_form:
        return
    url = options.target if options.writes is None else options.writes.url
    if is_place(url):
        if (key := split_place(url)[0]) and not key.endswith("/"):
            raise BadRequest(
                "A folder goes to a place whose key ends in /, each file under its own name"
            )
    elif not urlsplit(url).path.endswith("/"):
        raise BadRequest(
            "A folder goes to a URL that ends in / (each file under its own name) or in /files"
        )


def one_source(
    options: CopyOptions,
    transport: Transport | None,
    on_progress: OnProgress | None,
    own_thread: bool = False,
) -> CopySource:
    """The source of `copy`. Blocking, for a moment. Raises BadRequest, SourceFailed."""
    path = options.source
    if options.pack is not None:
        from sluiceway.copying.endpoints.as_zip import ZipOfSource, zip_name

        many = many_source(path, options, transport, Budget(MEMORY))
        name = options.name or zip_name(path)
        return ZipOfSource(many, path, name, options.type, on_progress)
    if options.content is not None:
        name = options.name_of(path) if options.writes is not None else options.name or ""
        return GivenObject(
            sized_content(options.content, options.size), name, options.type_of(name), own_thread
        )
    if is_place(path):
        from sluiceway.copying.endpoints.store import StoreObject

        return StoreObject(open_place(path, Budget(MEMORY)), options.name, options.type)
    if options.reads is not None:
        return RemoteObject(
            _needed(transport),
            options.reads,
            options.retry_policy,
            options.name,
            options.type,
            on_progress,
        )
    if is_local_folder(options):
        check_folder(options)
        return LocalFiles(path, options.type_of)
    if options.writes is not None:
        name = options.name_of(path)
    else:
        name = options.name or ("" if path == "-" else os.path.basename(path))
    return LocalObject(path, name, options.type_of(name), options.command, options.size)


def one_target(options: CopyOptions, transport: Transport | None) -> CopyTarget:
    """The target of `copy`. Raises BadRequest."""
    if is_place(options.target):
        budget = Budget(max(MEMORY, options.parallel * MEMORY_EACH))
        return _object_of(open_place(options.target, budget), options)
    if options.writes is None:
        return PathTarget(options.target, options.resume)
    from sluiceway.copying.endpoints.http_target import FormTarget, HttpTarget, ResumingPolicy

    transport, policy = _needed(transport), options.retry_policy
    resuming = ResumingPolicy(transport, policy, options.parallel) if options.resume else None
    if options.as_form:
        fields = options.form
        return FormTarget(transport, options.writes, policy, fields, options.field, resuming)
    return HttpTarget(transport, options.writes, policy, resuming)


def send_at_once(options: CopyOptions, target: CopyTarget) -> str:
    """Have the target send as many parts of an object at once as the options say.

    Returns why no object of this copy goes in parts although they were asked for, else "". A server
    says that of each object.
    """
    if options.parallel == 1:
        return ""
    if options.writes is not None:
        from sluiceway.copying.endpoints.http_target import FormTarget

        if not options.resume:
            return "with --no-resume (resume=False) it is one request"
        one = isinstance(target, FormTarget) and not target.resumes
        return "a form with fields, or to a URL with a name, is one request" if one else ""
    if is_place(options.target):
        from sluiceway.copying.endpoints.store_target import StoreTarget

        sends = isinstance(target, StoreTarget) and target.send_at_once(options.parallel)
        return "" if sends else "this destination takes one"
    return "only a single file from a server comes here in parts"


def _object_of(place: Place, options: CopyOptions) -> StoreTarget:
    """The key that the place names, or a key below it that follows from the object's name."""
    from sluiceway.copying.endpoints.store_target import StoreTarget

    if place.key.rstrip("/") and not stays_inside(place.key.rstrip("/")):
        raise BadRequest(f"{place.key!r} is not a key: no empty segments, no . and ..")
    resuming = _resuming(options, options.retry_policy)
    if is_local_folder(options):
        return StoreTarget(
            place.store, place.key, place.display_name, Budget(MEMORY), resuming=resuming
        )

    def key_for(name: str) -> str:
        if place.key and not place.key.endswith("/"):
            return place.key
        if not name:
            raise BadRequest(
                "The source has no name; give one with --name, or a key in the destination's URL"
            )
        return place.key + clean_name(name)

    root = _display_name(split_place(options.target)[1])
    return StoreTarget(place.store, "", root, Budget(MEMORY), key_for, resuming)


def _resuming(options: CopyOptions, retry_policy: RetryPolicy) -> StoreResuming | None:
    from sluiceway.copying.endpoints.store_target import StoreResuming

    destination = identity(split_place(options.target)[1])
    return StoreResuming(destination, retry_policy) if options.resume else None


def many_source(
    side: str | os.PathLike[str] | CopySource,
    options: CopyOptions,
    transport: Transport | None,
    budget: Budget,
    journals: frozenset[str] = frozenset(),
) -> CopySource:
    """The source of `copy_all`. `journals`: keys of its own journal. Blocking, for a moment."""
    if not isinstance(side, str | os.PathLike):
        return side
    text, policy = os.fspath(side), options.retry_policy
    if options.reads is not None:
        return HttpSource(_needed(transport), _below(options.reads), policy)
    if is_place(text):
        from sluiceway.copying.endpoints.store import StoreSource, empty_or_missing

        place = open_place(text, budget)
        return StoreSource(
            place.store, _prefix(place), _display_name(text), policy, empty_or_missing(text)
        )
    if not os.path.isdir(text):
        raise BadRequest(
            f"{text} is not a folder; many objects come from a folder, a store or a server"
        )
    from sluiceway.copying.endpoints.folder import FolderSource

    return FolderSource(text, journals)


def many_target(
    side: str | os.PathLike[str] | CopyTarget,
    options: CopyOptions,
    transport: Transport | None,
    budget: Budget,
    journals: frozenset[str],
) -> CopyTarget:
    """The target of `copy_all`; see `many_source`."""
    if not isinstance(side, str | os.PathLike):
        return side
    text = os.fspath(side)
    if options.writes is not None:
        from sluiceway.copying.endpoints.http_target import FormTarget, HttpTarget, ResumingPolicy

        transport = _needed(transport)
        policy = options.retry_policy
        resuming = ResumingPolicy(transport, policy, options.parallel) if options.resume else None
        if urlsplit(options.writes.url).path.endswith(FORM_END):
            return FormTarget(transport, options.writes, policy, resuming=resuming)
        return HttpTarget(transport, _below(options.writes), resuming=resuming)
    if is_place(text):
        from sluiceway.copying.endpoints.store_target import StoreTarget

        place = open_place(text, budget)
        return StoreTarget(
            place.store,
            _prefix(place),
            _display_name(text),
            budget,
            resuming=_resuming(options, RetryPolicy(1)),  # the engine's own retries count
        )
    if text == "-" or (os.path.lexists(text) and not os.path.isdir(text)):
        raise BadRequest(
            f"{text} is not a folder; many objects go to a folder, a store or a server"
        )
    from sluiceway.copying.endpoints.folder import FolderTarget

    return FolderTarget(text, options.preserve, journals, options.resume)


@asynccontextmanager
async def tar_source(options: CopyOptions, transport: Transport | None) -> AsyncIterator[TarSource]:
    """The members of the tar that `options.source` names. Raises what opening it raises."""
    from sluiceway.copying.endpoints.tar_source import TarSource

    one = replace(options, writes=None)  # the archive's own name does not matter
    if await asyncio.to_thread(is_local_folder, one):
        raise SourceFailed(f"{one.source} is a folder, and a tar is one file")
    archive = await asyncio.to_thread(one_source, one, transport, None)
    try:
        async for item in archive.items():
            async with archive.open(item) as reading:
                label = "Standard input" if reading.label == "-" else reading.label
                yield TarSource(reading.source, label, selects=options.key_filter)
    finally:
        await archive.aclose()


def identity(side: object) -> str:
    """What binds a journal to a side: its location, without credentials.

    A query may hold secrets. Of a place's query, only the part that says where it is counts; of a
    server's, a fingerprint.
    """
    if not isinstance(side, str | os.PathLike):
        return str(getattr(side, "display_name", ""))
    text = os.fspath(side)
    if not (is_url(text) or is_place(text)):
        return os.path.abspath(text)
    if is_place(text):
        text = place_identity(text)  # a relative path is another one in another folder
    parts, query = urlsplit(text), ""
    if is_place(text):
        pairs = parse_qsl(parts.query)
        query = urlencode([pair for pair in pairs if pair[0] in ("endpoint", "table")])
    elif parts.query:
        query = hashlib.sha256(parts.query.encode()).hexdigest()[:16]
    host, path = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
    return join_url(parts._replace(netloc=host, path=path, query=query))


def _needed(transport: Transport | None) -> Transport:
    """It is None only in a copy without a server."""
    if transport is None:
        raise BadRequest("A server needs a transport")
    return transport


def _below(server: RemoteServer) -> RemoteServer:
    """The server with the URL of what is below the given one."""
    parts = urlsplit(server.url)
    url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/"))
    return RemoteServer(url, server.headers)


def _prefix(place: Place) -> str:
    prefix = place.key.rstrip("/")
    if prefix and not stays_inside(prefix):
        raise BadRequest(
            f"{place.display_name} names no part of the store: no empty segments, no . and .."
        )
    return f"{prefix}/" if prefix else ""


def _display_name(text: str) -> str:
    return redact_url(text).rstrip("/") + "/"
