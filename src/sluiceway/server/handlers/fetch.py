"""GET and HEAD /fetch?url=…: a remote file is passed on block by block, under our inert headers.

Which servers may be asked is decided in `server.remote`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from sluiceway.client.guarded_fetch import body_length, paced
from sluiceway.errors import BadRequest, Forbidden, TooLarge
from sluiceway.pipe.pump import close_stream
from sluiceway.pipe.source import Buffer
from sluiceway.server.door.sites import TRUSTED
from sluiceway.server.remote import Remote
from sluiceway.server.remote_headers import FILE_STATUSES, passed_headers, remote_refusal
from sluiceway.server.request_headers import joined_headers
from sluiceway.server.streaming import StreamedResponse, raw_headers, start_message

__all__ = ["pass_remote", "pass_url"]

CONDITIONS = ("if-match", "if-modified-since", "if-none-match", "if-unmodified-since")
RANGES = ("if-range", "range")  # RFC 9110 14.2: defined for GET only


def pass_remote(request: Request, remote: Remote) -> Response:
    """GET and HEAD /fetch?url=… Raises Forbidden, BadRequest."""
    # Reading elsewhere costs money and is logged there, unlike reading here: no page of another
    # site makes a browser do it.
    if request.headers.get("sec-fetch-site", "none") not in (
        "none",
        "same-origin",
    ) and not request.scope.get(TRUSTED):
        raise Forbidden(
            "A page of another site tried to fetch through this server; open the address from here"
        )
    query = request.query_params.multi_items()
    if [name for name, _ in query] != ["url"]:
        raise BadRequest(
            "Fetch with /fetch?url=… and no other parameter; write & and # within the URL as %26 "
            "and %23"
        )
    return pass_url(request, remote, query[0][1])


def pass_url(request: Request, remote: Remote, url: str) -> Response:
    """A remote file as the response to a request, with the request's conditions and ranges.

    Raises BadRequest. A remote response that breaks off breaks ours off too.
    """
    headers = joined_headers(request)
    names = CONDITIONS if request.method == "HEAD" else (*CONDITIONS, *RANGES)
    asked = {name: headers[name] for name in names if name in headers}
    if not all(value.isascii() for value in asked.values()):
        raise BadRequest("Conditions and ranges are written in ASCII")

    def body(_: Scope) -> AsyncIterator[Buffer | Message]:
        return _pass(request, remote, url, asked)

    return StreamedResponse(body, None)


async def _pass(
    request: Request, remote: Remote, url: str, asked: Mapping[str, str]
) -> AsyncIterator[Buffer | Message]:
    async with remote.open(request, url, asked, request.method) as response:
        head = response.head
        if head.status not in FILE_STATUSES:
            text = "" if "content-encoding" in head.headers else await response.text()
            raise remote_refusal(head, text)
        headers = passed_headers(head, asked)
        with_body = request.method == "GET" and head.status != 304
        remote.check_length(body_length(head) if with_body else None)
        yield start_message(head.status, raw_headers(headers))
        if not with_body:
            return
        taken, limit, chunks = 0, remote.max_bytes, paced(response)
        try:
            async for chunk in chunks:
                taken += len(chunk)
                if limit is not None and taken > limit:
                    raise TooLarge(
                        f"The remote file has more than {limit} bytes, which is the limit of this "
                        "server",
                        limit=limit,
                    )
                yield chunk
        finally:
            await close_stream(chunks)
