"""GET /files?as=zip&prefix=… and POST /files?as=zip: many files as one zip, made while it is sent.

No temporary file, one object open at a time, the client's speed; the length is known before the
first byte. An error on the way breaks the response off, so that a part of a zip never passes for
the whole. Byte ranges are not offered: every request makes the zip anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from sluiceway.archives.zip_writer import MOST_MEMBERS, ZipContents, ZipSource
from sluiceway.errors import BadRequest, NotFound, SluiceError, StoreFailed, TooLarge
from sluiceway.pipe.budget import Budget
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.server.operator_log import Omissions, loses_data
from sluiceway.server.request_body import small_body
from sluiceway.server.request_headers import view_asked
from sluiceway.server.responses import INERT_POLICY
from sluiceway.server.streaming import StreamedResponse
from sluiceway.stores.contract import Omitted, Store
from sluiceway.stores.zipped_files import FilesBelow, FilesOfView, SelectedFiles, ZippedFiles
from sluiceway.uploads.keys import shown_path
from sluiceway.wire.headers.disposition import format_disposition
from sluiceway.wire.headers.media_types import essence
from sluiceway.wire.names import clean_name, stays_inside

__all__ = ["list_as_zip", "selection_as_zip"]

MOST_SELECTED = 10_000  # files of one selection; each is looked up
MOST_SELECTION = 1 << 20  # bytes of the form that names them


async def list_as_zip(
    request: Request, store: Store, budget: Budget, omissions: Omissions
) -> Response:
    """All files below a prefix, or those of a view (?folder=, ?search=).

    Files that a zip cannot hold are left out, and named in its comment and in the log. Raises
    BadRequest, NotFound, TooLarge for more files than can be held, and Unavailable when there is no
    memory for them.
    """
    query = request.query_params
    if query.get("as") != "zip":
        raise BadRequest("as can only be zip: ?prefix=photos/&as=zip")
    if unknown := sorted(set(query) - {"as", "prefix", "folder", "search"}):
        raise BadRequest(f"A zip holds all files below its prefix; leave out {', '.join(unknown)}")
    if "prefix" in query and len(query) > 2:
        raise BadRequest("prefix selects keys and folder selects paths; give one of them")
    if "folder" in query or "search" in query:
        files: ZippedFiles = FilesOfView(store, view_asked(request), budget, shown_path)
    else:
        files = FilesBelow(store, query.get("prefix", ""), budget)
    return await _zip_of(files, store, omissions)


async def selection_as_zip(
    request: Request, store: Store, budget: Budget, omissions: Omissions
) -> Response:
    """POST /files?as=zip with a form `key=…&key=…`: these files, as a page's form asks for them.

    Raises as `list_as_zip`.
    """
    keys = await _selected_keys(request)
    return await _zip_of(SelectedFiles(store, keys, budget, shown_path), store, omissions)


async def _selected_keys(request: Request) -> list[str]:
    if essence(request.headers.get("content-type", "")) != "application/x-www-form-urlencoded":
        raise BadRequest("Send the selected files as a URL-encoded form: key=…&key=…")
    if (body := await small_body(request, MOST_SELECTION)) is None:
        raise TooLarge("The selection is too long; choose fewer files", limit=MOST_SELECTION)
    try:
        fields = parse_qsl(
            body.decode(), strict_parsing=True, errors="strict", max_num_fields=MOST_SELECTED
        )
    except ValueError:
        raise BadRequest(
            f"A selection has 1 to {MOST_SELECTED} keys in UTF-8: key=…&key=…"
        ) from None
    return list(dict.fromkeys(key for name, key in fields if name == "key" and stays_inside(key)))


async def _zip_of(files: ZippedFiles, store: Store, omissions: Omissions) -> Response:
    if not store.traits.readable:
        raise NotFound("This server sends files on and keeps none; ask the server that has them")
    try:
        omitted: list[Omitted] = []
        source = await _zip_source(files, omitted)
        omissions.log(omitted)
        if not source.members:
            why = f" that a zip can hold; {len(omitted)} cannot be in one" if omitted else ""
            raise NotFound(f"There is no file {files.where}{why}")
    except BaseException:
        await files.aclose()
        raise
    return _zip_response(source, files)


async def _zip_source(files: ZippedFiles, omitted: list[Omitted]) -> ZipSource:
    contents = ZipContents()

    def leave_out(one: Omitted) -> None:
        if loses_data(one):
            omitted.append(one)
            contents.leave_out(one.name, one.detail)

    try:
        async with aclosing(files.items()) as items:
            async for item in items:
                if isinstance(item, Omitted):
                    leave_out(item)
                elif (reason := contents.add(item)) is not None:
                    leave_out(Omitted(item.name, "bad-name", reason))
    except TooLarge as error:
        raise TooLarge(f"{error.detail}: choose a longer prefix", limit=MOST_MEMBERS) from None
    return await contents.source(files.open)


def _zip_response(source: ZipSource, files: ZippedFiles) -> Response:
    async def body(_: Scope) -> AsyncIterator[Buffer | Message]:
        chunks = source.open()
        try:
            async for chunk in chunks:
                yield chunk
        except SluiceError as error:
            # The client sees only a broken connection, also for its own fault: the log has to say
            # why.
            raise StoreFailed(
                f"The zip of the files {files.where} was broken off: {error.detail}"
            ) from error
        finally:
            await close_stream(chunks)

    return StreamedResponse(body, _headers(files.name, source), close=files.aclose)


def _headers(name: str, source: ZipSource) -> dict[str, str]:
    headers = {
        "content-type": "application/zip",
        "content-disposition": format_disposition(
            "attachment", f"{clean_name(name) if name else 'files'}.zip"
        ),
        "accept-ranges": "none",
        "x-content-type-options": "nosniff",
        "content-security-policy": INERT_POLICY,
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",
    }
    if source.length is not None:
        headers["content-length"] = str(source.length)
    return headers
