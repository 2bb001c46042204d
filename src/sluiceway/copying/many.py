"""`copy_all` and `acopy_all`: many objects from a folder, a store or a REST API to a folder, a store or a REST API.

Decides what the two sides are and how they are asked; the work is `run`'s.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sluiceway.client.file_request import FORM_END
from sluiceway.client.http.transport import Transport
from sluiceway.copying.contract import CopySource, CopyTarget
from sluiceway.copying.endpoints.http import FormTarget, HttpSource, HttpTarget
from sluiceway.copying.endpoints.preserved import dressed, preserve_folders
from sluiceway.copying.endpoints.sources import FolderSource, StoreSource
from sluiceway.copying.endpoints.targets import FolderTarget, StoreTarget
from sluiceway.copying.engine import CopyEngine
from sluiceway.copying.from_tar import tar_opened
from sluiceway.copying.journal import Journal
from sluiceway.copying.key_filter import KeyFilter
from sluiceway.copying.network import Network
from sluiceway.copying.object_copier import Terms
from sluiceway.copying.options import MOST_RETRIES, Side, make_order
from sluiceway.copying.overlap import journal_keys, refuse_overlap
from sluiceway.copying.report import OnOverall, Report
from sluiceway.copying.retry_policy import RetryPolicy
from sluiceway.errors import BadRequest
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.wrapped import Throttle
from sluiceway.stores.registry import FSSPEC, Place, open_place
from sluiceway.wire.names import stays_inside
from sluiceway.wire.sizes import parse_size
from sluiceway.wire.urls import is_place, is_url, redact_url

__all__ = ["JOBS", "MANY_RETRIES", "MOST_JOBS", "acopy_all", "copy_all", "origin_of"]

JOBS = 4
MOST_JOBS = 256  # each has a connection on both sides and pieces in hand
MANY_RETRIES = (
    8  # more than for one file: among thousands of objects, five failures in a row do happen
)
MEMORY = 32 << 20  # bytes stores may hold, and
MEMORY_EACH = 8 << 20  # for each job: four blocks, or a part of a multipart upload


def copy_all(
    src: str | os.PathLike[str] | CopySource,
    dst: str | os.PathLike[str] | CopyTarget,
    *,
    jobs: int = JOBS,
    journal: str | os.PathLike[str] | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    dry_run: bool = False,
    force: bool = False,
    preserve: bool = False,
    limit_rate: int | str | None = None,
    retries: int = MANY_RETRIES,
    unpack: str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    from_headers: Mapping[str, str] | None = None,
    from_token: str | None = None,
    timeout: float | None = None,
    ca_file: str | None = None,
    client_cert: str | None = None,
    auth: str | None = None,
    on_progress: OnOverall | None = None,
) -> Report:
    """Copy every object below `src` to the same way below `dst`: a folder, a place such as `postgresql://HOST/DATABASE/PREFIX/`,
    or a server (`https://HOST/files/PREFIX/`; as a destination any URL that takes PUT, or one that ends in `/files` for forms).

    Objects that are there already with the same size and sha-256 are skipped; different ones fail, and are replaced with
    `force`. One failed object stops no other: look at the report's `ok`. `journal` is a file that remembers what is done, so
    that a killed copy goes on where it was. `include` and `exclude` are patterns on keys (`*` within a name, `**` across `/`).
    `limit_rate` is bytes a second over all `jobs` together, or words such as "10MiB". `retries` is for each object. With
    `unpack="tar"`, `src` is one archive (a path, `-`, a URL or a place's object; plain, gzip, bzip2 or xz), and its members are
    copied one by one while it arrives.
    `timeout`, `ca_file`, `client_cert` and `auth` are those of `copy`.
    `preserve` keeps time of change and permissions, and empty folders, where both sides can.
    `on_progress` is called with an `Overall` for each object that ends and about ten times a second, from this thread.

    Raises SluiceError where the whole cannot be begun or its listing breaks off; `on_progress` got the report before.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise BadRequest(
            "copy_all() blocks, and an event loop runs in this thread; use `await sluiceway.acopy_all(…)`"
        )
    return asyncio.run(
        acopy_all(
            src,
            dst,
            jobs=jobs,
            journal=journal,
            include=include,
            exclude=exclude,
            dry_run=dry_run,
            force=force,
            preserve=preserve,
            limit_rate=limit_rate,
            retries=retries,
            unpack=unpack,
            headers=headers,
            token=token,
            from_headers=from_headers,
            from_token=from_token,
            timeout=timeout,
            ca_file=ca_file,
            client_cert=client_cert,
            auth=auth,
            on_progress=on_progress,
        )
    )


async def acopy_all(
    src: str | os.PathLike[str] | CopySource,
    dst: str | os.PathLike[str] | CopyTarget,
    *,
    jobs: int = JOBS,
    journal: str | os.PathLike[str] | None = None,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    dry_run: bool = False,
    force: bool = False,
    preserve: bool = False,
    limit_rate: int | str | None = None,
    retries: int = MANY_RETRIES,
    unpack: str | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
    from_headers: Mapping[str, str] | None = None,
    from_token: str | None = None,
    timeout: float | None = None,
    ca_file: str | None = None,
    client_cert: str | None = None,
    auth: str | None = None,
    on_progress: OnOverall | None = None,
) -> Report:
    """`copy_all` for programs with an event loop. Cancelling it ends what is under way; the journal stays right."""
    if not 1 <= jobs <= MOST_JOBS:
        raise BadRequest(f"The number of jobs is 1 to {MOST_JOBS}")
    if not 0 <= retries <= MOST_RETRIES:
        raise BadRequest(f"The number of retries is 0 to {MOST_RETRIES}")
    choice, patience = KeyFilter(include, exclude), RetryPolicy(retries)
    rate = parse_size(limit_rate, "The rate") if isinstance(limit_rate, str) else limit_rate
    terms = Terms(patience, force, dry_run, None if rate is None else Throttle(rate))
    network = Network(timeout, ca_file, client_cert, auth)
    reads, writes = _servers(src, dst, headers, token, from_headers, from_token, network)
    if isinstance(src, str | os.PathLike) and isinstance(dst, str | os.PathLike) and unpack is None:
        await asyncio.to_thread(refuse_overlap, os.fspath(src), os.fspath(dst))
    own, taken = await asyncio.to_thread(
        lambda: tuple(journal_keys(x, journal) for x in (src, dst))
    )
    budget = Budget(MEMORY + jobs * MEMORY_EACH)
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(network.transport(reads, writes))
        origin = await stack.enter_async_context(
            _opened(src, unpack, reads, transport, patience, budget, choice, own)
        )
        goal = _goal(dst, writes, transport, patience, budget, preserve, taken)
        if preserve:
            terms = dataclasses.replace(
                terms, dress=dressed, folders=lambda: preserve_folders(origin, goal)
            )
        stack.push_async_callback(goal.aclose)
        book: Journal | None = None
        if journal is not None:
            book = await asyncio.to_thread(
                _journal, os.fspath(journal), _identity(src), _identity(dst), dry_run
            )
        if book is not None:
            stack.push_async_callback(asyncio.to_thread, book.close)
        return await CopyEngine(origin, goal, terms, choice, book, jobs, on_progress).run()


def _journal(path: str, src: str, dst: str, dry_run: bool) -> Journal | None:
    """Blocking. A dry run begins none."""
    return None if dry_run and not os.path.exists(path) else Journal(path, src, dst)


def _servers(
    src: object,
    dst: object,
    headers: Mapping[str, str] | None,
    token: str | None,
    from_headers: Mapping[str, str] | None,
    from_token: str | None,
    network: Network,
) -> tuple[Side | None, Side | None]:
    """What each side that is a server is told, checked as for one file."""
    texts = [os.fspath(side) if isinstance(side, str | os.PathLike) else "" for side in (src, dst)]
    if not any(is_url(text) for text in texts):
        if headers or from_headers:
            raise BadRequest("Headers are for servers, and neither side is a URL; leave them out")
        return None, None
    order = make_order(
        *texts,
        headers=headers,
        token=token,
        from_headers=from_headers,
        from_token=from_token,
        network=network,
    )
    return order.reads, order.writes


@asynccontextmanager
async def _opened(
    side: str | os.PathLike[str] | CopySource,
    unpack: str | None,
    reads: Side | None,
    transport: Transport,
    patience: RetryPolicy,
    budget: Budget,
    choice: KeyFilter,
    journals: frozenset[str],
) -> AsyncIterator[CopySource]:
    if unpack is None:
        origin = origin_of(side, reads, transport, patience, budget, journals)
        try:
            yield origin
        finally:
            await origin.aclose()
    elif unpack != "tar" or not isinstance(side, str | os.PathLike):
        raise BadRequest("What can be unpacked is a tar, named by its path or URL")
    else:
        async with tar_opened(
            os.fspath(side), reads, transport, patience.retries + 1, meant=choice
        ) as unpacked:
            yield unpacked


def origin_of(
    side: str | os.PathLike[str] | CopySource,
    reads: Side | None,
    transport: Transport,
    patience: RetryPolicy,
    budget: Budget,
    journals: frozenset[str] = frozenset(),
) -> CopySource:
    """Where the many objects of a copy are. Blocking, for a moment."""
    if not isinstance(side, str | os.PathLike):
        return side
    text = os.fspath(side)
    if reads is not None:
        return HttpSource(transport, Side(_below(reads.url), reads.headers), patience)
    if is_place(text):
        place = open_place(text, budget)
        named = text.lower().startswith(
            FSSPEC
        )  # a bucket or a table that is missing says so itself
        return StoreSource(place.store, _prefix(place), _display_name(text), patience, named)
    if not os.path.isdir(text):
        raise BadRequest(
            f"{text} is no folder; many objects come from a folder, a store or a server"
        )
    return FolderSource(text, journals)


def _goal(
    side: str | os.PathLike[str] | CopyTarget,
    writes: Side | None,
    transport: Transport,
    patience: RetryPolicy,
    budget: Budget,
    preserve: bool,
    journals: frozenset[str],
) -> CopyTarget:
    if not isinstance(side, str | os.PathLike):
        return side
    text = os.fspath(side)
    if writes is not None:
        if urlsplit(writes.url).path.endswith(FORM_END):
            return FormTarget(transport, writes, patience)
        return HttpTarget(transport, Side(_below(writes.url), writes.headers))
    if is_place(text):
        place = open_place(text, budget)
        return StoreTarget(place.store, _prefix(place), _display_name(text), budget)
    if text == "-" or (os.path.lexists(text) and not os.path.isdir(text)):
        raise BadRequest(f"{text} is no folder; many objects go to a folder, a store or a server")
    return FolderTarget(text, preserve, journals)


def _below(url: str) -> str:
    """The URL of what is below it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/"))


def _prefix(place: Place) -> str:
    prefix = place.key.rstrip("/")
    if prefix and not stays_inside(prefix):
        raise BadRequest(
            f"{place.display_name} names no part of the store: no empty segments, no . and .."
        )
    return f"{prefix}/" if prefix else ""


def _display_name(text: str) -> str:
    return redact_url(text).rstrip("/") + "/"


def _identity(side: object) -> str:
    """What a journal is bound to: the side without who asks. Of a query, which may hold keys, only what says where it is."""
    if not isinstance(side, str | os.PathLike):
        return str(getattr(side, "display_name", ""))
    text = os.fspath(side)
    if not (is_url(text) or is_place(text)):
        return os.path.abspath(text)
    parts = urlsplit(text)
    where = [
        (name, value) for name, value in parse_qsl(parts.query) if name in ("endpoint", "table")
    ]
    query = (
        urlencode(where)
        if is_place(text)
        else hashlib.sha256(parts.query.encode()).hexdigest()[:16]
        if parts.query
        else ""
    )
    return urlunsplit(
        parts._replace(
            netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/"), query=query
        )
    )
