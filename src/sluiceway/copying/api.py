"""`copy` and `copy_all`, each also for programs with an event loop: the Python side of the command.

Puts options, transport, sides, journal and engine together; knows no kind of source or target.
What only a copy of many objects needs is loaded by one: start-up is much of a short copy.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from sluiceway.client.bodies.inputs import Content, body_input
from sluiceway.client.download import download
from sluiceway.client.download_job import DownloadJob
from sluiceway.client.local.command import Command
from sluiceway.client.local.files import files_below
from sluiceway.copying.arguments.keywords import CopyAllKeywords, CopyKeywords, check_names
from sluiceway.copying.contract import CopySource, CopyTarget
from sluiceway.copying.endpoints.given import any_thread, moving_the_bar
from sluiceway.copying.in_order import copy_in_order
from sluiceway.copying.options import MOST_JOBS, CopyOptions
from sluiceway.copying.sides import (
    check_folder,
    identity,
    is_local_folder,
    one_source,
    one_target,
    send_at_once,
)
from sluiceway.errors import BadRequest
from sluiceway.pipe.receipt import OnProgress, Receipt
from sluiceway.wire.urls import is_place, is_url

if TYPE_CHECKING:
    from sluiceway.copying.curl import CurlLine
    from sluiceway.copying.journals.journal import Journal
    from sluiceway.copying.object_copier import MakeCopier
    from sluiceway.copying.report import OnOverall, Report

__all__ = ["acopy", "acopy_all", "copy", "copy_all", "curl_lines"]

T = TypeVar("T")


def copy(
    src: Content | Command,
    dst: str | os.PathLike[str],
    *,
    on_progress: OnProgress | None = None,
    **options: Unpack[CopyKeywords],
) -> Receipt:
    """Copy one object: a file, a folder file by file, a stream or a URL.

    Blocks until the destination has confirmed that it keeps all of it. Memory does not grow with
    the size, and between two servers nothing is stored on the way. A URL names a server
    (`https://HOST/…`), an object in a bucket (`s3://BUCKET/KEY`, `gs://`, `az://`), in a database
    (`postgresql://HOST/DATABASE/KEY?table=NAME`, `sqlite:///FILE.db/KEY?table=NAME`) or behind
    fsspec (`fsspec+sftp://HOST/PATH`).

    Args:
        src: a path, `-` for standard input, a URL, or a `sluiceway.Command` whose output is stored
            only if it ends well. Also an open binary file (from its current position), bytes, or
            an iterable of bytes; `acopy` takes files that are read with `await`, too.
        dst: a URL, a path, a folder, or `-` for standard output. A URL that ends in `/` gets the
            file's name appended; at a server, a URL that ends in `/files` takes a form.
        on_progress: gets a `Progress` about ten times a second, in the calling thread.
        name: the file's name at the destination; otherwise that of the source.
        type: its media type; otherwise guessed from the name.
        form: fields that are sent before the file, as a multipart form.
        field: the file's own field name in the form ("file"). Without `form` and `field`, files are
            sent as a raw PUT.
        size: bytes that a pipe will give, as a number or as text such as "10GiB"; more or fewer
            are an error. Known for files that can seek, and for bytes.
        headers: sent to the server; to the destination where both sides are URLs.
        token: sent as a Bearer token, to that URL's own host only.
        from_headers, from_token: for the source, where both sides are URLs.
        force: replace what is at the destination.
        digest: what to count of every object ("sha-256"): "sha-512", "blake3" or "crc64nvme",
            several with commas, "auto" or "none". Digests that the source names are always checked.
        retries: how often a broken transfer is retried (8), where its source can be read again and
            the request may be repeated.
        resume: send files from 2 MiB on so that a cut, or a killed process, costs only what the
            destination did not keep yet, where it is a server that offers tus or IETF resumable
            uploads, `s3://` or `postgresql://` (from 8 MiB on), or a folder (True). Run the same
            copy again to go on.
        parallel: parts of one large object that are under way at once, at most 16 (1): to `s3://`,
            to a server of tus that joins parts, and from a server that answers ranges to a file.
            Elsewhere the object is one piece, and a note says why.
        pack: "zip" makes one zip of all objects below a folder, a prefix or a server's listing.
        limit_rate: bytes a second at most, as a number or as text such as "10MiB".
        timeout: seconds in which a server may send or take nothing (60), also before its response
            to an upload (600). Then the transfer counts as broken.
        ca_file: PEM file with authorities that are trusted beside the system's.
        client_cert: PEM file with a client certificate and its key, shown to the server that
            `token` is for.
        auth: "digest" sends user and password of a URL in response to a challenge only (RFC 7616);
            "basic" sends them with each request.
        store_option: options of a bucket or of fsspec by name (`{"endpoint": "https://…"}`). They
            may also stand in the URL's query, where the two sides differ.

    Returns:
        The receipt: size in bytes, digests, location, seconds. A folder's has `parts`.

    Raises:
        SluiceError: its `code` is stable (docs/errors.md), its text says what to do;
            `members["answered"]` is the status where a server refused.

    Example:
        `receipt = sluiceway.copy("big.iso", "https://host/files/", token="…")`
    """
    check_names("copy", options, CopyKeywords)
    # Another library's file may belong to this thread, in which the event loop runs.
    return _run(_acopy(src, dst, not any_thread(src), on_progress, options), "copy")


async def acopy(
    src: Content | Command,
    dst: str | os.PathLike[str],
    *,
    on_progress: OnProgress | None = None,
    **options: Unpack[CopyKeywords],
) -> Receipt:
    """Copy one object, in a program with an event loop.

    Cancelling it ends the transfer at once; nothing half-done stays visible.

    Args:
        src, dst, on_progress, **options: as for `copy`.

    Returns:
        The receipt.

    Raises:
        SluiceError: as `copy`.

    Example:
        `receipt = await sluiceway.acopy("https://host/files/big.iso", ".")`
    """
    check_names("acopy", options, CopyKeywords)
    return await _acopy(src, dst, False, on_progress, options)


async def _acopy(
    src: Content | Command,
    dst: str | os.PathLike[str],
    own_thread: bool,
    on_progress: OnProgress | None,
    options: CopyKeywords,
) -> Receipt:
    """`own_thread`: content is read in this thread, and not in one of its own."""
    command = src if isinstance(src, Command) else None
    text, content = "-", None
    if isinstance(src, str | os.PathLike):
        text = os.fspath(src)
    elif not isinstance(src, Command):
        # Stores take a file of any length; other servers often ask for a Content-Length.
        content = body_input(src, expect_length=is_url(os.fspath(dst)))
    checked = CopyOptions.for_one(text, os.fspath(dst), command, content, **options)
    if content is not None:
        on_progress = moving_the_bar(content, on_progress, checked.writes is not None)
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(
            checked.network.transport(checked.reads, checked.writes)
        )
        if checked.is_download and checked.reads is not None:
            # Resumed from the part that an earlier run left, which no other target can do.
            job = DownloadJob(
                checked.reads.url,
                checked.reads.headers,
                checked.target,
                checked.name,
                checked.force,
                checked.retry_policy,
                checked.rate,
                checked.digests,
                checked.parallel,
            )
            return await download(transport, job, on_progress)
        folder = await asyncio.to_thread(is_local_folder, checked)
        source = await asyncio.to_thread(one_source, checked, transport, on_progress, own_thread)
        stack.push_async_callback(source.aclose)
        target = one_target(checked, transport)
        stack.push_async_callback(target.aclose)
        return await copy_in_order(
            source,
            target,
            folder=folder,
            force=checked.force,
            rate=checked.rate,
            digests=checked.digests,
            on_progress=on_progress,
            one_piece=send_at_once(checked, target),
        )


def copy_all(
    src: str | os.PathLike[str] | CopySource,
    dst: str | os.PathLike[str] | CopyTarget,
    *,
    on_progress: OnOverall | None = None,
    **options: Unpack[CopyAllKeywords],
) -> Report:
    """Copy every object below `src` to the same key below `dst`, several at once.

    Objects that are at the destination already with the same size and sha-256 are skipped. The
    failure of one object stops no other: look at the report's `ok`.

    Args:
        src: a folder, a place (`s3://BUCKET/PREFIX/`, `postgresql://HOST/DATABASE/PREFIX/` …), a
            server's listing (`https://HOST/files/PREFIX/`), or a `CopySource`.
        dst: likewise, or a `CopyTarget`; a server may be any URL that takes PUT, or one that ends
            in `/files` for forms.
        on_progress: gets an `Overall` for each object that ends, and about ten times a second, in
            the calling thread.
        jobs: objects that are copied at once, at most 256 (4; 32 of at most 64 KiB).
        journal: remembers finished objects, so that a killed copy resumes: a file (a SQLite
            database), or the URL of a PostgreSQL database (docs/many.md).
        include, exclude: patterns on keys: `*` within a name, `**` across `/`.
        dry_run: report what would be copied, and change nothing.
        force: replace objects that are different.
        digest: what to count of every object, as for `copy`.
        preserve: keep times, permissions and empty folders, where both sides can.
        limit_rate: bytes a second over all jobs, as a number or as text such as "10MiB".
        retries: of each object (8).
        unpack: "tar" reads `src` as one archive (a path, `-` or a URL; plain, gzip, bzip2 or xz)
            and copies its members while it arrives.
        engine, scheduler: "dask" and `tcp://HOST:PORT` have the workers of an existing Dask cluster
            copy the objects (docs/many.md); "local" is this process.
        resume, parallel, headers, token, from_headers, from_token, timeout (seconds), ca_file,
            client_cert, auth, store_option: as for `copy`.

    Returns:
        The report: numbers of objects, bytes, seconds, and the failures.

    Raises:
        SluiceError: if the copy cannot begin or the listing breaks off; `on_progress` got the
            report before.

    Example:
        `report = sluiceway.copy_all("photos", "s3://bucket/photos/", journal="photos.db")`
    """
    check_names("copy_all", options, CopyAllKeywords)
    return _run(acopy_all(src, dst, on_progress=on_progress, **options), "copy_all")


async def acopy_all(
    src: str | os.PathLike[str] | CopySource,
    dst: str | os.PathLike[str] | CopyTarget,
    *,
    on_progress: OnOverall | None = None,
    **options: Unpack[CopyAllKeywords],
) -> Report:
    """Copy many objects, in a program with an event loop.

    Cancelling it ends what is under way; the journal stays right.

    Args:
        src, dst, on_progress, **options: as for `copy_all`.

    Returns:
        The report.

    Raises:
        SluiceError: as `copy_all`.

    Example:
        `report = await sluiceway.acopy_all("s3://bucket/2026/", "restored", jobs=16)`
    """
    from sluiceway.copying.engine import LARGE_AT_ONCE, CopyEngine
    from sluiceway.copying.opened_sides import opened_sides
    from sluiceway.copying.overlap import refuse_overlap

    check_names("acopy_all", options, CopyAllKeywords)
    checked = CopyOptions.for_many(_text(src), _text(dst), **options)
    given = _text(src), _text(dst)
    src, dst = checked.source or src, checked.target or dst  # places with their options
    if checked.source and checked.target and checked.unpack is None:
        await asyncio.to_thread(refuse_overlap, checked.source, checked.target)
    async with AsyncExitStack() as stack:
        jobs, make_copier = checked.jobs, None
        if checked.scheduler is not None:
            jobs = jobs or MOST_JOBS  # they wait at the scheduler, and a cluster may grow
            make_copier = await stack.enter_async_context(_on_cluster(given, checked, options))
        here = jobs or LARGE_AT_ONCE if make_copier is None else 1
        sides = await stack.enter_async_context(opened_sides(src, dst, checked, here))
        journal = await _open_journal(checked, identity(src), identity(dst))
        if journal is not None:
            stack.push_async_callback(journal.aclose)
        return await CopyEngine(
            sides.source,
            sides.target,
            sides.rules,
            checked.key_filter,
            journal,
            jobs,
            on_progress,
            make_copier,
        ).run()


def curl_lines(options: CopyOptions) -> Iterator[CurlLine]:
    """Lines for curl that do the same: one, or one for each file of a folder. Asks no server."""
    from sluiceway.copying.curl import curl_line

    if is_place(options.source) or is_place(options.target):
        raise BadRequest("curl reaches servers only, not databases or buckets; leave out --curl")
    if not is_local_folder(options):
        yield curl_line(options)
        return
    check_folder(options)
    for key, left_out in files_below(options.source):
        if left_out is None:
            # A form has file names only, no paths.
            name = os.path.basename(key) if options.as_form else key
            yield curl_line(options, os.path.join(options.source, key), name)


def _run(work: Coroutine[Any, Any, T], name: str) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        work.close()
        raise BadRequest(
            f"{name}() blocks, and an event loop runs in this thread; "
            f"use `await sluiceway.a{name}(…)`"
        )
    return asyncio.run(work)


def _text(side: object) -> str:
    """The path or URL of a side; "" for an object."""
    return os.fspath(side) if isinstance(side, str | os.PathLike) else ""


@asynccontextmanager
async def _on_cluster(
    sides: tuple[str, str], checked: CopyOptions, options: CopyAllKeywords
) -> AsyncIterator[MakeCopier]:
    """What copies by the workers of a cluster. Raises BadRequest, PeerUnreachable."""
    try:
        from sluiceway.copying.cluster.dask_cluster import ClusterCopier, DaskCluster
    except ImportError:
        raise BadRequest(
            "A Dask cluster needs its library: pip install 'sluiceway[dask]'"
        ) from None

    async with DaskCluster.connected(checked.scheduler or "") as cluster:
        yield partial(ClusterCopier, cluster, sides, options)


async def _open_journal(options: CopyOptions, source: str, target: str) -> Journal | None:
    """A dry run creates none."""
    path = options.journal
    if path is None:
        return None
    if is_place(path):
        try:
            from sluiceway.copying.journals.postgres import PostgresJournal
        except ImportError:
            raise BadRequest(
                "A journal in PostgreSQL needs a driver: pip install 'sluiceway[postgresql]'"
            ) from None
        if options.dry_run and not await PostgresJournal.exists(path):
            return None
        return await PostgresJournal.opened(path, source, target, options.retry_policy)
    from sluiceway.copying.journals.sqlite import SqliteJournal

    if options.dry_run and not await asyncio.to_thread(os.path.exists, path):
        return None
    return await asyncio.to_thread(SqliteJournal, path, source, target)
