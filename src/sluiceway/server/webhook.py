"""Sends an event to the operator's URL: one signed POST, one status back.

No redirect is followed: the operator named this URL, and no other server may get what is signed.
The log names it without its query.
"""

from __future__ import annotations

import math
import time

from sluiceway.client.http.exchange import Deadlines, Response
from sluiceway.client.http.request import EarlyResponse, StreamingRequest
from sluiceway.client.http.tls import Trust
from sluiceway.client.http.transport import Transport
from sluiceway.client.retry import retry_after
from sluiceway.errors import BadRequest, PeerFailed, SluiceError
from sluiceway.server.settings.checked import Settings
from sluiceway.server.settings.guarded import BadSetting
from sluiceway.uploads.ledger.contract import OutboxEvent
from sluiceway.uploads.outbox.deliverer import NotTaken
from sluiceway.wire.urls import parse_address, redact_url
from sluiceway.wire.webhooks import parse_secrets, signed_headers

__all__ = ["Webhook", "open_webhook"]

GONE = 410  # the receiver wants no more of it: so Standard Webhooks reads this status
DEADLINES = Deadlines(connect=5.0, idle=10.0, answer=10.0)  # the whole try has 10 s


def open_webhook(settings: Settings) -> Webhook:
    """What sends to the URL of --on-finish. Raises BadSetting."""
    trust = Trust(settings.ca_file)
    try:
        trust.contexts()
    except BadRequest as error:
        raise BadSetting(f"--ca-file: {error.detail}") from None
    return Webhook(settings.on_finish or "", settings.on_finish_secret or "", trust)


class Webhook:
    """The receiver of events."""

    def __init__(self, url: str, secret: str, trust: Trust) -> None:
        self._address, self._keys, self._trust = parse_address(url), parse_secrets(secret), trust
        self._transport: Transport | None = None

    async def send(self, event: OutboxEvent) -> NotTaken | None:
        """One try: None when a 2xx came."""
        url, body = self._address.url, event.body.encode()
        headers = {
            "content-type": "application/json",
            **signed_headers(self._keys, event.id, math.floor(time.time()), body),
        }
        if self._address.authorization is not None:
            headers["authorization"] = self._address.authorization
        try:
            response = await _post(await self._open(), url, headers, body)
        except SluiceError as error:
            return NotTaken(error.for_log)
        status = response.head.status
        if 200 <= status < 300:
            return None
        asked = retry_after(PeerFailed("", retry_after=response.head.headers.get("retry-after")))
        why = f"{redact_url(url)} answered {status}"
        return NotTaken(why, asked or 0.0, is_final=status == GONE)

    async def aclose(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.__aexit__()

    async def _open(self) -> Transport:
        if self._transport is None:
            # Each event has a connection of its own: a kept one may be dead already.
            transport = Transport(DEADLINES, keep=False, trust=self._trust)
            self._transport = await transport.__aenter__()
        return self._transport


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
