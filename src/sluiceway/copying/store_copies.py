"""Copies that end or begin in a store: a file, a pipe or a server's file into it, and its objects out of it.

The same loop, digests and endings as an upload; nothing is visible before it is whole. Knows nothing of requests to us.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from sluiceway.client.http.transport import Transport
from sluiceway.client.local.command import command_source
from sluiceway.client.local.download_target import Sink, open_in_folder, open_target
from sluiceway.client.local.files import files_below, open_local, sized
from sluiceway.client.remote_source import RemoteSource
from sluiceway.client.retry import RetryPolicy
from sluiceway.copying.options import CopyOptions
from sluiceway.errors import BadRequest, BodyCut, DigestMismatch, SluiceError, SourceFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.digests import Digests, Tap
from sluiceway.pipe.pump import pump
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt, Stage
from sluiceway.pipe.source import Buffer, Source
from sluiceway.pipe.stages import ANSWER, DESTINATION, QUEUE, SOURCE, Stages
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import TimedSource, throttled
from sluiceway.stores.contract import (
    Entry,
    Metadata,
    ObjectReader,
    Pairs,
    Replace,
    Store,
    UploadRequest,
)
from sluiceway.stores.registry import Place, open_place, split_place
from sluiceway.uploads.keys import new_id
from sluiceway.wire.headers.digests import Promise
from sluiceway.wire.names import clean_name, stays_inside
from sluiceway.wire.urls import is_place, redact_url

__all__ = [
    "Coming",
    "Tell",
    "keep_in_store",
    "keep_in_target",
    "keep_output",
    "opened_at",
    "promised",
    "put_in",
    "take_out",
]

MEMORY = 32 << 20  # bytes one copy may hold
TELL_EVERY = 0.1  # seconds between two looks at the progress


@dataclass(frozen=True, slots=True)
class Coming:
    """What is copied: its bytes, what it is called and is, and what its source said of its digest."""

    source: Source
    shown: str
    name: str
    type: str
    promises: tuple[Promise, ...] = ()
    headers: Pairs = ()  # what a store knows of it besides, see Metadata
    user: Pairs = ()


class _Says(Tap, Protocol):
    """A tap that is told of the stages, too."""

    def say(self, stage: Stage) -> None: ...


class Tell:
    """A tap that tells how far it is; `stage` is what goes on while bytes move."""

    def __init__(
        self, name: str, stage: Stage, total: int | None, on_progress: OnProgress | None
    ) -> None:
        self._name, self._stage, self._total, self._on_progress = name, stage, total, on_progress
        self._done, self._told = 0, 0.0

    async def take(self, data: Buffer) -> None:
        self._done += len(data)
        if time.monotonic() - self._told >= TELL_EVERY:
            self._told = time.monotonic()
            self.say(self._stage)

    def say(self, stage: Stage, receipt: Receipt | None = None) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self._name, stage, self._done, self._total, "", receipt))


async def put_in(
    transport: Transport, order: CopyOptions, on_progress: OnProgress | None
) -> Receipt:
    """Copy what the order names into the store it names. A taken key is replaced with `force` only.

    Raises Exists, what the source raises, and what the store does.
    """
    budget = Budget(MEMORY)
    place = open_place(order.target, budget)
    if place.key.rstrip("/") and not stays_inside(place.key.rstrip("/")):
        raise BadRequest(f"{place.key!r} is no key: no empty segments, no . and ..")
    try:
        if (
            order.reads is None
            and order.source != "-"
            and await asyncio.to_thread(os.path.isdir, order.source)
        ):
            return await _put_folder(place, order, budget, on_progress)
        stages = Stages()
        async with _coming(transport, order, budget, stages) as coming:
            return await _put(
                place.store, _key(place, coming.name), coming, order, budget, on_progress, stages
            )
    finally:
        await place.store.aclose()


async def take_out(order: CopyOptions, on_progress: OnProgress | None) -> Receipt:
    """Copy an object to a path, into a folder or to standard output. Raises NotFound, Exists, DigestMismatch."""
    stages = Stages()
    async with opened_at(order.source) as opened:
        entry, sink = opened.entry, await in_thread(lambda: _sink(order, opened))
        tell = Tell(sink.target, "receiving", entry.size, on_progress)
        try:
            size, sha256 = await keep_in_target(
                sink,
                TimedSource(throttled(opened, order.rate), stages),
                redact_url(order.source),
                promised(opened),
                order.force,
                stages,
                tell,
            )
        finally:
            await in_thread(sink.close)
    spent = stages.spent()
    receipt = Receipt(
        size,
        sha256,
        sink.target,
        source=redact_url(order.source),
        seconds=sum(spent.values()),
        stages=spent,
    )
    tell.say("done", receipt)
    return receipt


async def keep_output(order: CopyOptions, on_progress: OnProgress | None) -> Receipt:
    """What a command writes, as a file of this machine. Raises SourceFailed when it does not end well, Exists, NoSpace."""
    if order.command is None:
        raise BadRequest("There is no command")
    stages, named = Stages(), order.display_name("-")
    source: Source = command_source(order.command)
    if order.size is not None:
        source = await sized(source, order.size, named)
    sink = await in_thread(lambda: open_target(order.target, order.name, order.force, order.target))
    if sink is None:
        raise BadRequest(f"{named} has no name; give one with --name, or a file as the destination")
    tell = Tell(sink.target, "receiving", order.size, on_progress)
    try:
        timed = TimedSource(throttled(source, order.rate), stages)
        size, sha256 = await keep_in_target(sink, timed, named, (), order.force, stages, tell)
    finally:
        await in_thread(sink.close)
    spent = stages.spent()
    receipt = Receipt(
        size, sha256, sink.target, source=named, seconds=sum(spent.values()), stages=spent
    )
    tell.say("done", receipt)
    return receipt


async def keep_in_target(
    sink: Sink,
    source: Source,
    display_name: str,
    promises: tuple[Promise, ...],
    force: bool,
    stages: Stages,
    tell: _Says | None = None,
    dress: Callable[[], object] | None = None,
) -> tuple[int, str]:
    """The source's bytes from the first to the last into a fresh target, checked and published; their number and sha-256.

    `dress` gives it what it has beside bytes, blocking, right before it is published. The caller closes the sink.
    Raises Exists, DigestMismatch, what the source raises, and what the target does.
    """
    digests = Digests(("sha-256",))
    try:
        await in_thread(lambda: sink.restart(None))
        size = await pump(
            source, sink, taps=(digests,) if tell is None else (digests, tell), stages=stages
        )
        if tell is not None:
            tell.say("checking")
        found = await digests.finish()
        if _differs(found, promises):
            await in_thread(sink.discard)
            raise DigestMismatch(
                f"{display_name} is not what was stored (sha-256 differs); nothing was kept"
            )
        stages.enter(DESTINATION)
        await sink.settle()
        if dress is not None:
            await in_thread(dress)
        await in_thread(lambda: sink.publish(force))
    finally:
        await digests.aclose()
        await sink.settle()
    return size, found["sha-256"].hex()


async def keep_in_store(
    store: Store,
    key: str,
    coming: Coming,
    force: bool,
    budget: Budget,
    stages: Stages,
    tell: _Says | None = None,
) -> tuple[int, Metadata, Entry]:
    """The source's bytes as a new object, checked and published; their number, what is told of them, and the store's word.

    Raises Exists, DigestMismatch, SourceFailed for a source that ends early, what the source raises, and what the store does.
    """
    source, digests = coming.source, Digests(("sha-256",), budget)
    name = clean_name(coming.name) if coming.name else ""
    upload_request = UploadRequest(
        key,
        name,
        coming.type,
        {one.algorithm: one.value for one in coming.promises},
        headers=coming.headers,
        user=coming.user,
        method="PUT",
    )
    draft = await store.draft(new_id(), source.length, upload_request)
    try:
        if tell is not None:
            tell.say("connecting")
        taps = (digests,) if tell is None else (digests, tell)
        size = await pump(
            TimedSource(source, stages), draft, taps=taps, stages=stages, budget=budget
        )
        found = await digests.finish()
        if _differs(found, coming.promises):
            raise DigestMismatch(
                f"What came from {coming.shown} is not what it told (sha-256 differs); nothing was stored"
            )
        if tell is not None:
            tell.say("waiting")
        stages.enter(ANSWER)
        metadata = Metadata(name, coming.type, found["sha-256"].hex(), coming.headers, coming.user)
        return size, metadata, await draft.publish(key, metadata, Replace(allowed=force))
    except BodyCut as error:
        raise SourceFailed(
            f"{coming.shown} ended before its {source.length} bytes; nothing was stored"
        ) from error
    finally:
        await digests.aclose()
        await draft.discard()


@asynccontextmanager
async def opened_at(text: str) -> AsyncIterator[ObjectReader]:
    """The object a place's URL names. Raises BadRequest, NotFound."""
    place = open_place(text, Budget(MEMORY))
    try:
        if not stays_inside(place.key):
            raise BadRequest(
                f"{place.display_name} names no object; put its key behind the database: …/DATABASE/KEY"
            )
        opened = await place.store.open(place.key)
        try:
            yield opened
        finally:
            await opened.aclose()
    finally:
        await place.store.aclose()


def promised(opened: ObjectReader) -> tuple[Promise, ...]:
    """What the store knows of an object's digest."""
    known = opened.entry.metadata.sha256
    return () if known is None else (Promise("sha-256", bytes.fromhex(known)),)


def _sink(order: CopyOptions, opened: ObjectReader) -> Sink:
    """Blocking."""
    metadata = opened.entry.metadata
    display_name = order.name or metadata.filename or opened.entry.key.rpartition("/")[2]
    sink = open_target(order.target, display_name, order.force, order.source)
    return sink or open_in_folder(order.target, display_name, order.force, order.source)


@asynccontextmanager
async def _coming(
    transport: Transport, order: CopyOptions, budget: Budget, stages: Stages
) -> AsyncIterator[Coming]:
    """What the order's source is, open for one reading."""
    if is_place(order.source):
        async with opened_at(order.source) as opened:
            name = (
                order.name or opened.entry.metadata.filename or opened.entry.key.rpartition("/")[2]
            )
            metadata = opened.entry.metadata
            kind = order.type or metadata.type
            yield Coming(
                opened,
                redact_url(order.source),
                name,
                kind,
                promised(opened),
                metadata.headers,
                metadata.user,
            )
    elif order.reads is not None:
        source = RemoteSource(
            transport,
            order.reads.url,
            order.reads.headers,
            retry_policy=RetryPolicy(order.attempts),
        )
        try:
            stages.enter(SOURCE)
            await source.meet()
            stages.enter(QUEUE)
            name = order.name or source.name
            kind = order.type or source.type or order.type_of(name)
            yield Coming(source, redact_url(order.reads.url), name, kind, tuple(source.promises))
        finally:
            await source.aclose()
    else:
        local = (
            await asyncio.to_thread(open_local, order.source)
            if order.command is None
            else command_source(order.command)
        )
        if order.size is not None:
            local = await sized(local, order.size, order.display_name(order.source))
        name = order.name or ("" if order.source == "-" else os.path.basename(order.source))
        yield Coming(
            local,
            order.display_name(order.source) if order.command else order.source,
            name,
            order.type_of(name),
        )


def _key(place: Place, name: str) -> str:
    if place.key and not place.key.endswith("/"):
        return place.key
    if not name:
        raise BadRequest("What comes has no name; give one with --name, or a key in the URL")
    return place.key + clean_name(name)


async def _put(
    store: Store,
    key: str,
    coming: Coming,
    order: CopyOptions,
    budget: Budget,
    on_progress: OnProgress | None,
    stages: Stages,
) -> Receipt:
    tell = Tell(coming.shown, "sending", coming.source.length, on_progress)
    coming = replace(coming, source=throttled(coming.source, order.rate))
    size, metadata, entry = await keep_in_store(
        store, key, coming, order.force, budget, stages, tell
    )
    spent = stages.spent()
    receipt = Receipt(
        size,
        metadata.sha256,
        _under(order, entry.key),
        source=coming.shown,
        seconds=sum(spent.values()),
        stages=spent,
    )
    tell.say("done", receipt)
    return receipt


def _under(order: CopyOptions, key: str) -> str:
    """The place's URL with the key, for people."""
    root = redact_url(split_place(order.target)[1])
    return f"{root}{key}" if root.endswith("/") else f"{root}/{key}"


async def _put_folder(
    place: Place, order: CopyOptions, budget: Budget, on_progress: OnProgress | None
) -> Receipt:
    """Each file under its own way below the key, in sorted order; the first failure ends it and tells what was stored."""
    if place.key and not place.key.endswith("/"):
        raise BadRequest(
            "A folder goes to a place whose key ends in /, each file under its own name"
        )
    if order.name is not None or order.size is not None:
        raise BadRequest("A folder's files keep their names and sizes; leave those out")
    stages, parts = Stages(), list[Receipt]()
    for path, left_out in await asyncio.to_thread(lambda: list(files_below(order.source))):
        whole = os.path.join(order.source, path)
        if left_out is not None:
            if on_progress is not None:
                on_progress(Progress(whole, "left-out", 0, None, left_out))
            continue
        source = await asyncio.to_thread(open_local, whole)
        coming = Coming(source, whole, os.path.basename(path), order.type_of(path))
        try:
            parts.append(
                await _put(
                    place.store, place.key + path, coming, order, budget, on_progress, Stages()
                )
            )
        except SluiceError as error:
            error.members |= {"source": whole, "sent": len(parts)}
            raise
    if not parts:
        raise SourceFailed(f"{order.source} holds no file")
    seconds = sum(stages.spent().values())
    return Receipt(
        sum(part.size for part in parts),
        None,
        place.display_name,
        source=order.source,
        seconds=seconds,
        parts=tuple(parts),
    )


def _differs(found: dict[str, bytes], promises: tuple[Promise, ...]) -> bool:
    return any(one.algorithm in found and found[one.algorithm] != one.value for one in promises)
