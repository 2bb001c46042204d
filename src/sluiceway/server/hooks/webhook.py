"""A hook that is a URL: one signed POST of the event, and what the status and the JSON say.

No redirect is followed: the operator named this URL, and no other server may get what is signed.
The log names it without its query.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from sluiceway.client.http.exchange import Deadlines, Response
from sluiceway.client.http.request import EarlyResponse, StreamingRequest
from sluiceway.client.http.tls import Trust
from sluiceway.client.http.transport import Transport
from sluiceway.client.retry import retry_after
from sluiceway.errors import PeerFailed, SluiceError
from sluiceway.server.hooks.verdicts import HookVerdict, read_verdict
from sluiceway.uploads.hooks.contract import HookCall, HookResponse
from sluiceway.wire.events.cloud_events import MEDIA_TYPE
from sluiceway.wire.events.webhooks import signed_headers
from sluiceway.wire.headers.media_types import essence
from sluiceway.wire.urls import parse_address, redact_url

__all__ = ["Webhook"]

GONE = 410  # the receiver wants no more of it: so Standard Webhooks reads this status
AT_ONCE = 32  # calls of each URL that a process makes at the same time; the others wait
CONNECT = 5.0  # seconds for name, TCP and TLS
JSON_TYPES = ("application/json", "application/problem+json")


class Webhook:
    """One URL.

    Args:
        url: http or https.
        keys: Each of them signs.
        trust: The authorities.
        timeout: Seconds for one call.
    """

    def __init__(self, url: str, keys: Sequence[bytes], trust: Trust, timeout: float) -> None:
        self._address, self._keys, self._trust = parse_address(url), keys, trust
        self._deadlines = Deadlines(connect=min(CONNECT, timeout), idle=timeout, answer=timeout)
        self._transport: Transport | None = None
        self.at_once: int = AT_ONCE

    async def call(self, call: HookCall) -> HookResponse:
        url, body = self._address.url, call.body.encode()
        headers = {
            "content-type": MEDIA_TYPE,
            "accept": ", ".join(JSON_TYPES),
            **signed_headers(self._keys, call.id, math.floor(time.time()), body),
        }
        if self._address.authorization is not None:
            headers["authorization"] = self._address.authorization
        try:
            response = await _post(await self._open(), url, headers, body)
        except SluiceError as error:
            return HookResponse("failed", why=error.for_log)
        return _read(response, redact_url(url))

    async def aclose(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.__aexit__()

    async def _open(self) -> Transport:
        if self._transport is None:
            # Each event has a connection of its own: a kept one may be dead already.
            transport = Transport(self._deadlines, keep=False, trust=self._trust)
            self._transport = await transport.__aenter__()
        return self._transport


def _read(response: Response, shown_url: str) -> HookResponse:
    """A 2xx accepts, unless its JSON refuses. A 4xx with JSON refuses; all else is a failure.

    A proxy's page, or that of a wrong path, is not a decision about a file.
    """
    head = response.head
    why = f"{shown_url} answered {head.status}"
    if response.error is not None or response.cut:
        return HookResponse("failed", why=f"{why}, and its body broke off or is too long")
    is_json = essence(head.headers.get("content-type", "")) in JSON_TYPES
    verdict = read_verdict(response.body) if is_json else None
    if 200 <= head.status < 300:
        if verdict is None or not verdict.refuses:
            return HookResponse("accepted")
        return _refused(verdict, why)
    asked = retry_after(PeerFailed("", retry_after=head.headers.get("retry-after"))) or 0.0
    if 400 <= head.status < 500 and verdict is not None:
        status = verdict.status or head.status
        refused = HookVerdict(True, verdict.words, status)
        return _refused(refused, why, wait=asked, is_final=head.status == GONE)
    return HookResponse("failed", why=why, wait=asked, is_final=head.status == GONE)


def _refused(
    verdict: HookVerdict, why: str, *, wait: float = 0.0, is_final: bool = False
) -> HookResponse:
    why = f"{why}: {verdict.words}" if verdict.words else why
    return HookResponse("refused", verdict.words, verdict.status, why, wait, is_final)


async def _post(transport: Transport, url: str, headers: dict[str, str], body: bytes) -> Response:
    request = StreamingRequest(transport, "POST", url, headers, len(body))
    try:
        await request.open()
        await request.write(body)
        return await request.finish()
    except EarlyResponse as early:
        return early.response
    finally:
        await request.abort()
