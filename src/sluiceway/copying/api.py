"""`copy` and `acopy`: from a path, a folder, standard input or a server to a server, and from a server to a path.

Decides which way it goes and puts sources, requests and targets together; bytes move in `client`.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from sluiceway.client.download import Download, download
from sluiceway.client.file_request import FileRequest, form_request, put_request
from sluiceway.client.http.transport import Transport
from sluiceway.client.local.command import Command, command_source
from sluiceway.client.local.files import files_below, open_local, sized
from sluiceway.client.remote_source import RemoteSource
from sluiceway.client.retry import RetryPolicy
from sluiceway.client.upload import Upload, upload
from sluiceway.copying.as_zip import apack
from sluiceway.copying.curl import CurlLine, curl_line
from sluiceway.copying.network import Network
from sluiceway.copying.options import RETRIES, CopyOptions, Fields, Side, make_order
from sluiceway.copying.store_copies import keep_output, opened_at, promised, put_in, take_out
from sluiceway.errors import BadRequest, SluiceError, SourceFailed
from sluiceway.pipe.receipt import OnProgress, Progress, Receipt
from sluiceway.pipe.stages import QUEUE, SOURCE, Stages
from sluiceway.pipe.wrapped import TimedSource, throttled
from sluiceway.wire.urls import is_place, redact_url

__all__ = ["Fields", "acopy", "copy", "curl_lines"]

_TYPE = re.compile(r"[\x20-\x7e]+")  # what a part's head may carry


def copy(
    src: str | os.PathLike[str] | Command,
    dst: str | os.PathLike[str],
    *,
    name: str | None = None,
    type: str | None = None,
    form: Fields | None = None,
    field: str | None = None,
    size: int | str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    from_headers: Mapping[str, str] | None = None,
    from_token: str | None = None,
    force: bool = False,
    retries: int = RETRIES,
    pack: str | None = None,
    limit_rate: int | str | None = None,
    timeout: float | None = None,
    ca_file: str | None = None,
    client_cert: str | None = None,
    auth: str | None = None,
    on_progress: OnProgress | None = None,
) -> Receipt:
    """Copy a file, a folder, standard input (`-`) or a URL to a URL, or a URL to a file, a folder or standard output (`-`).
    A URL names a server (http, https) or an object in a database (`postgresql://HOST/DATABASE/KEY?table=NAME`).

    A `sluiceway.Command` as the source is a program whose output is copied, and which has to end well: nothing is stored else.

    Returns when the destination has confirmed that it keeps all of it. Memory does not grow with the size, and between two
    servers nothing is stored on the way.

    `name` and `type`: what the file is called and what it is, guessed otherwise. `form`: fields sent before the file in a
    multipart form; `field`: the file's own field name ("file"). Without both, files go as a raw PUT, unless the URL ends in
    `/files`. A URL that ends in `/` gets the file's name appended. `size`: bytes a pipe will give (or words such as
    "10GiB"), for servers that want to know; more or fewer are an error. `headers`: sent along. `token`: sent as Bearer, to
    the URL's own host only. Both are for the destination where source and destination are URLs; `from_headers` and
    `from_token` are for the source. `force`: replace the target of a download. `retries`: how often a broken transfer is
    tried again, where its source can be read again and the request may be repeated. `pack`: "zip" makes one zip of all that is
    below a folder, a place's prefix or a server's listing, while it is sent.
    `limit_rate`: bytes a second at most, or words such as
    "10MiB". `timeout`: seconds in which a server may send or take nothing (60), also before its answer to an upload (600),
    before it counts as gone and the transfer is tried again. `ca_file`: certificates (PEM) of authorities that are trusted
    beside the system's; `client_cert`: our own certificate with its key (PEM), shown to the one server that `token` is for.
    `auth`: "digest" tells user and password of a URL to a challenge only (RFC 7616), else they go with each request ("basic").
    `on_progress` is called with a `Progress` about ten times a second, from the thread of this call.

    Raises SluiceError; its `code` is stable, its text says what to do. `members["answered"]` is the server's status where
    it was the server that refused.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise BadRequest(
            "copy() blocks, and an event loop runs in this thread; use `await sluiceway.acopy(…)`"
        )
    return asyncio.run(
        acopy(
            src,
            dst,
            name=name,
            type=type,
            form=form,
            field=field,
            size=size,
            headers=headers,
            token=token,
            from_headers=from_headers,
            from_token=from_token,
            force=force,
            retries=retries,
            pack=pack,
            limit_rate=limit_rate,
            timeout=timeout,
            ca_file=ca_file,
            client_cert=client_cert,
            auth=auth,
            on_progress=on_progress,
        )
    )


async def acopy(
    src: str | os.PathLike[str] | Command,
    dst: str | os.PathLike[str],
    *,
    name: str | None = None,
    type: str | None = None,
    form: Fields | None = None,
    field: str | None = None,
    size: int | str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    from_headers: Mapping[str, str] | None = None,
    from_token: str | None = None,
    force: bool = False,
    retries: int = RETRIES,
    pack: str | None = None,
    limit_rate: int | str | None = None,
    timeout: float | None = None,
    ca_file: str | None = None,
    client_cert: str | None = None,
    auth: str | None = None,
    on_progress: OnProgress | None = None,
) -> Receipt:
    """`copy` for programs with an event loop. Cancelling it ends the transfer at once; nothing half-done stays visible."""
    network = Network(timeout, ca_file, client_cert, auth)
    command, src = (src, "-") if isinstance(src, Command) else (None, src)
    if pack is not None:
        if command is not None:
            raise BadRequest("A command gives one file, and a zip is made of many")
        if pack != "zip" or size is not None:
            raise BadRequest(
                'What many files can be packed as is "zip", whose size follows from theirs'
            )
        return await apack(
            os.fspath(src),
            os.fspath(dst),
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
            on_progress=on_progress,
        )
    order = make_order(
        os.fspath(src),
        os.fspath(dst),
        name=name,
        type=type,
        form=form,
        field=field,
        size=size,
        headers=headers,
        token=token,
        from_headers=from_headers,
        from_token=from_token,
        force=force,
        retries=retries,
        limit_rate=limit_rate,
        network=network,
        command=command,
    )
    async with network.transport(order.reads, order.writes) as transport:
        if is_place(order.target):
            return await put_in(transport, order, on_progress)
        if order.writes is not None:
            return await _Sending(transport, order, order.writes, on_progress).run()
        if order.command is not None:
            return await keep_output(order, on_progress)
        if is_place(order.source):
            return await take_out(order, on_progress)
        if order.reads is not None:
            reads = order.reads
            job = Download(
                reads.url,
                reads.headers,
                order.target,
                name,
                force,
                RetryPolicy(order.attempts),
                order.rate,
            )
            return await download(transport, job, on_progress)
    raise BadRequest("Nothing to copy")


def curl_lines(order: CopyOptions) -> Iterator[CurlLine]:
    """What curl would have to be told to do the same: one line, or one for each file of a folder. Asks no server."""
    if is_place(order.source) or is_place(order.target):
        raise BadRequest("curl speaks with servers, not with databases; leave out --curl")
    if order.reads is None and order.source != "-" and os.path.isdir(order.source):
        _check_folder(order)
        for path, left_out in files_below(order.source):
            if left_out is None:
                yield curl_line(order, os.path.join(order.source, path), _in_folder(order, path))
    else:
        yield curl_line(order)


class _Sending:
    """An order that ends at a server."""

    def __init__(
        self, transport: Transport, order: CopyOptions, side: Side, on_progress: OnProgress | None
    ) -> None:
        self._transport, self._order, self._side, self._on_progress = (
            transport,
            order,
            side,
            on_progress,
        )

    async def run(self) -> Receipt:
        order = self._order
        if order.reads is not None:
            return await self._from_server(order.reads)
        if is_place(order.source):
            return await self._from_place(order.source)
        if order.source != "-" and await asyncio.to_thread(os.path.isdir, order.source):
            _check_folder(order)
            return await self._folder(order.source)
        display_name = order.name_of(order.source)
        return await self._file(order.source, display_name, Stages())

    async def _file(self, path: str, display_name: str, stages: Stages) -> Receipt:
        order = self._order
        source = (
            await asyncio.to_thread(open_local, path)
            if order.command is None
            else command_source(order.command)
        )
        if order.size is not None:
            stages.enter(SOURCE)
            source = await sized(source, order.size, order.display_name(path))
            stages.enter(QUEUE)
        job = Upload(
            throttled(source, order.rate),
            self._shape(display_name, order.type_of(display_name)),
            path,
            self._side.headers,
            retry_policy=RetryPolicy(order.attempts),
        )
        return await upload(self._transport, job, self._on_progress, stages)

    async def _from_server(self, side: Side) -> Receipt:
        """What arrives from there goes on at once: no file, no memory that grows."""
        order, stages, named = self._order, Stages(), redact_url(side.url)
        source = RemoteSource(
            self._transport,
            side.url,
            side.headers,
            retry_policy=RetryPolicy(order.attempts),
            tell=lambda note: self._tell(Progress(named, "retrying", 0, source.length, note)),
        )
        try:
            stages.enter(SOURCE)
            self._tell(Progress(named, "connecting", 0, None))
            await source.meet()
            stages.enter(QUEUE)
            display_name = order.name or source.name
            told = source.type if source.type and _TYPE.fullmatch(source.type) else None
            shape = self._shape(display_name, order.type or told or order.type_of(display_name))
            job = Upload(
                throttled(source, order.rate),
                shape,
                named,
                self._side.headers,
                source.promises,
                RetryPolicy(order.attempts),
            )
            return await upload(self._transport, job, self._on_progress, stages)
        finally:
            await source.aclose()

    async def _from_place(self, place: str) -> Receipt:
        order, stages = self._order, Stages()
        async with opened_at(place) as opened:
            display_name = (
                order.name or opened.entry.metadata.filename or opened.entry.key.rpartition("/")[2]
            )
            shape = self._shape(display_name, order.type or opened.entry.metadata.type)
            source = TimedSource(throttled(opened, order.rate), stages)
            job = Upload(
                source,
                shape,
                redact_url(place),
                self._side.headers,
                promised(opened),
                RetryPolicy(order.attempts),
            )
            return await upload(self._transport, job, self._on_progress, stages)

    async def _folder(self, folder: str) -> Receipt:
        """One request a file, in sorted order, each with its receipt; the first failure ends it and tells what was sent."""
        order, stages, parts = self._order, Stages(), list[Receipt]()
        for path, left_out in await asyncio.to_thread(lambda: list(files_below(folder))):
            whole = os.path.join(folder, path)
            if left_out is not None:
                self._tell(Progress(whole, "left-out", 0, None, left_out))
                continue
            try:
                parts.append(await self._file(whole, _in_folder(order, path), Stages()))
            except SluiceError as error:
                error.members |= {"source": whole, "sent": len(parts)}
                raise
        if not parts:
            raise SourceFailed(f"{folder} holds no file")
        seconds = sum(stages.spent().values())
        spent = {QUEUE: 0.0}
        for part in parts:
            spent |= {stage: spent.get(stage, 0.0) + took for stage, took in part.stages.items()}
        spent[QUEUE] += max(0.0, seconds - sum(spent.values()))  # between the files
        return Receipt(
            size=sum(part.size for part in parts),
            sha256=None,
            location=redact_url(self._side.url),
            source=folder,
            seconds=seconds,
            stages=spent,
            parts=tuple(parts),
        )

    def _shape(self, name: str, kind: str) -> FileRequest:
        order, url = self._order, self._side.url
        if order.as_form:
            return form_request(url, name, kind, order.form, order.field, secrets.token_bytes(16))
        return put_request(url, name, kind)

    def _tell(self, now: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(now)


def _check_folder(order: CopyOptions) -> None:
    if order.name is not None or order.size is not None:
        raise BadRequest("A folder's files keep their names and sizes; leave those out")
    if (
        order.writes is not None
        and not order.as_form
        and not urlsplit(order.writes.url).path.endswith("/")
    ):
        raise BadRequest(
            "A folder goes to a URL that ends in / (each file under its own name) or in /files"
        )


def _in_folder(order: CopyOptions, path: str) -> str:
    """What a folder's file is called over there: its way from the folder, or in a form, which has no ways, its name."""
    return os.path.basename(path) if order.as_form else path
