"""`copy` with `pack="zip"`: many objects as one file that is made while it flows, to a path, a pipe, a store or a server.

Nothing is stored on the way. Whoever takes it sees one file with a known length; what fails on the way leaves none.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import unquote, urlsplit

from sluiceway.archives.zip_writer import ZipContents, ZipMember, ZipSource
from sluiceway.client import retry
from sluiceway.client.file_request import form_request, put_request
from sluiceway.client.http.transport import Transport
from sluiceway.client.local.download_target import open_in_folder, open_target
from sluiceway.client.upload import Upload, upload
from sluiceway.copying.contract import CopyItem, by_rule
from sluiceway.copying.many import origin_of
from sluiceway.copying.network import Network
from sluiceway.copying.options import RETRIES, CopyOptions, Fields, Side, make_order
from sluiceway.copying.retry_policy import RetryPolicy
from sluiceway.copying.store_copies import Coming, Tell, keep_in_store, keep_in_target
from sluiceway.errors import BadRequest, SourceFailed
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt
from sluiceway.pipe.source import Source
from sluiceway.pipe.stages import Stages
from sluiceway.pipe.worker_thread import in_thread
from sluiceway.pipe.wrapped import TimedSource, throttled
from sluiceway.stores.contract import FOLDER_MARKER, Omitted
from sluiceway.stores.registry import open_place
from sluiceway.wire.names import clean_name, stays_inside
from sluiceway.wire.sizes import parse_size
from sluiceway.wire.urls import is_place, is_url, redact_url

__all__ = ["apack"]

MEMORY = 32 << 20  # bytes each side's store may hold
TYPE = "application/zip"


async def apack(
    src: str,
    dst: str,
    *,
    name: str | None = None,
    type: str | None = None,
    form: Fields | None = None,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    from_headers: Mapping[str, str] | None = None,
    from_token: str | None = None,
    force: bool = False,
    retries: int = RETRIES,
    limit_rate: int | str | None = None,
    network: Network = Network(),
    on_progress: OnProgress | None = None,
) -> Receipt:
    """See `sluiceway.copy`. Raises BadRequest, TooLarge for too many objects, SourceFailed for none, and what the sides raise."""
    if any(is_url(side) or is_place(side) for side in (src, dst)):
        order = make_order(
            src,
            dst,
            name=name,
            type=type,
            form=form,
            field=field,
            headers=headers,
            token=token,
            from_headers=from_headers,
            from_token=from_token,
            force=force,
            retries=retries,
            limit_rate=limit_rate,
            network=network,
        )
    elif headers or from_headers or form or field is not None or type is not None:
        raise BadRequest(
            "Headers, forms and types are for servers, and neither side is a URL; leave them out"
        )
    else:
        rate = parse_size(limit_rate, "The rate") if isinstance(limit_rate, str) else limit_rate
        order = CopyOptions(
            src, dst, None, None, name=name, force=force, attempts=retries + 1, rate=rate
        )
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(network.transport(order.reads, order.writes))
        origin = await asyncio.to_thread(
            origin_of, src, order.reads, transport, RetryPolicy(retries), Budget(MEMORY)
        )
        stack.push_async_callback(origin.aclose)

        contents, missing = ZipContents(), list[str]()
        items = origin.items()
        try:
            async for item in items:
                omitted = item.omitted
                if omitted is None:
                    reason = contents.add(
                        ZipMember(item.key, item.size, item.modified, item.version)
                    )
                    if reason is None:
                        continue
                    omitted = Omitted(item.key, "bad-name", reason)
                if not by_rule(omitted):
                    missing.append(f"{omitted.name!r}: {omitted.detail}")
                    continue
                if omitted.code != FOLDER_MARKER:
                    contents.leave_out(omitted.name, omitted.detail)
                if on_progress is not None:
                    on_progress(Progress(omitted.name, "left-out", 0, None, omitted.detail))
        finally:
            await close_stream(items)

        @asynccontextmanager
        async def open_member(member: ZipMember) -> AsyncIterator[Source]:
            item = CopyItem(member.name, member.size, member.version, member.modified)
            async with origin.open(item) as reading:
                yield reading.source

        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise SourceFailed(
                f"{missing[0]}{more} cannot be in the zip, and nothing was sent: "
                "it would not be all of it"
            )
        source = await contents.source(open_member, origin.rereadable)
        if not source.members:
            raise SourceFailed(f"{origin.display_name} holds no file")
        return await _Packing(transport, order, source, on_progress).run()


class _Packing:
    """One zip on its way."""

    def __init__(
        self,
        transport: Transport,
        order: CopyOptions,
        source: ZipSource,
        on_progress: OnProgress | None,
    ) -> None:
        self._transport, self._order, self._on_progress = transport, order, on_progress
        self._source = throttled(source, order.rate)
        self._name = order.name or _name(order.source)
        self._shown = redact_url(order.source)

    async def run(self) -> Receipt:
        order = self._order
        if order.writes is not None:
            return await self._to_server(order.writes)
        if is_place(order.target):
            return await self._to_place()
        return await self._to_target()

    async def _to_server(self, side: Side) -> Receipt:
        order, kind = self._order, self._order.type or TYPE
        if order.as_form:
            shape = form_request(
                side.url, self._name, kind, order.form, order.field, secrets.token_bytes(16)
            )
        else:
            shape = put_request(side.url, self._name, kind)
        job = Upload(
            self._source,
            shape,
            self._shown,
            side.headers,
            retry_policy=retry.RetryPolicy(order.attempts),
        )
        return await upload(self._transport, job, self._on_progress)

    async def _to_place(self) -> Receipt:
        order, stages, budget = self._order, Stages(), Budget(MEMORY)
        place = open_place(order.target, budget)
        try:
            key = (
                place.key
                if place.key and not place.key.endswith("/")
                else place.key + clean_name(self._name)
            )
            if not stays_inside(key):
                raise BadRequest(f"{key!r} is no key: no empty segments, no . and ..")
            coming = Coming(self._source, self._shown, key.rpartition("/")[2], order.type or TYPE)
            tell = Tell(self._shown, "sending", self._source.length, self._on_progress)
            size, metadata, entry = await keep_in_store(
                place.store, key, coming, order.force, budget, stages, tell
            )
        finally:
            await place.store.aclose()
        location = (
            place.display_name
            if entry.key == place.key
            else f"{place.display_name.rstrip('/')}/{entry.key[len(place.key) :]}"
        )
        return self._receipt(size, metadata.sha256, location, stages, tell)

    async def _to_target(self) -> Receipt:
        order, stages = self._order, Stages()
        sink = await in_thread(
            lambda: (
                open_target(order.target, self._name, order.force, order.source)
                or open_in_folder(order.target, self._name, order.force, order.source)
            )
        )
        tell = Tell(sink.target, "receiving", self._source.length, self._on_progress)
        try:
            source = TimedSource(self._source, stages)
            size, sha256 = await keep_in_target(
                sink, source, self._shown, (), order.force, stages, tell
            )
        finally:
            await in_thread(sink.close)
        return self._receipt(size, sha256, sink.target, stages, tell)

    def _receipt(
        self, size: int, sha256: str | None, location: str, stages: Stages, tell: Tell
    ) -> Receipt:
        spent = stages.spent()
        receipt = Receipt(
            size, sha256, location, source=self._shown, seconds=sum(spent.values()), stages=spent
        )
        tell.say("done", receipt)
        return receipt


def _name(source: str) -> str:
    """What the zip is called where nobody says: after the folder, or the last part of the prefix."""
    if is_url(source) or is_place(source):
        last = unquote(urlsplit(source).path).rstrip("/").rpartition("/")[2]
    else:
        last = os.path.basename(os.path.abspath(source))
    return f"{clean_name(last) if last else 'files'}.zip"
